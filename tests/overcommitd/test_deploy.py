"""What operators install beside the daemon speaks of what the daemon has."""

import configparser
import json
import re
from pathlib import Path

import pytest
import yaml

import overcommitd
from tools import daemon_fields

FOLDER = Path(overcommitd.__file__).parent / "deploy"
GUIDE = Path(__file__).parents[2] / "docs" / "operating.md"
METRIC = re.compile(r"overcommit_[a-z0-9_]+")


def declared() -> set[str]:
    return set(METRIC.findall(daemon_fields.page()))


def test_the_page_of_fields_is_current() -> None:
    assert daemon_fields.PAGE.read_text() == daemon_fields.page(), "python -m tools.daemon_fields"


@pytest.mark.parametrize("name", ["grafana-dashboard.json", "alerts.yml"])
def test_every_metric_that_is_asked_for_exists(name: str) -> None:
    used = set(METRIC.findall((FOLDER / name).read_text()))
    assert used and used <= declared()


def test_panels_have_names_and_places_of_their_own() -> None:
    panels = json.loads((FOLDER / "grafana-dashboard.json").read_text())["panels"]
    assert (
        len({panel["id"] for panel in panels}) == len({p["title"] for p in panels}) == len(panels)
    )
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)


def test_every_alert_is_in_the_guide_with_what_to_do() -> None:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    text = GUIDE.read_text()
    for rule in rules:
        assert rule["annotations"]["summary"] and rule["labels"]["severity"]
        assert f"`{rule['alert']}`" in text, rule["alert"]
    known = {rule["alert"] for rule in rules}
    assert set(re.findall(r"`(Overcommit[A-Z]\w+)`", text)) <= known


def test_the_unit_is_hardened_and_finds_its_folders() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    unit.read(FOLDER / "overcommitd.service")
    service = unit["Service"]
    wanted = {
        "Type": "notify",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "CapabilityBoundingSet": "",
        "StateDirectory": "overcommit",
        "RuntimeDirectory": "overcommit",
    }
    assert {key: service[key] for key in wanted} == wanted
    assert "User" in service and "WatchdogSec" in service
