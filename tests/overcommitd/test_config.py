"""The configuration: terms of guests, and what is refused with its place."""

from pathlib import Path
from typing import Any

import pytest

from configs.loading import ConfigError, build, load, packaged
from overcommitd.config import DaemonConfig, Guests, Rule, Terms

GIB = 1 << 30


def guests(**fields: Any) -> Guests:  # noqa: ANN401
    return build(Guests, fields, "guests")


@pytest.mark.parametrize("name", packaged("daemon"))
def test_what_ships_is_valid(name: str) -> None:
    load(DaemonConfig, f"daemon/{name}")


@pytest.mark.parametrize(
    ("fields", "own", "terms"),
    [
        ({}, None, Terms(2 * GIB, 8 * GIB, 1000)),
        ({"defaults": {"min": "1GiB"}}, None, Terms(GIB, 8 * GIB, 1000)),
        ({"defaults": {"min": "1GiB"}, "by_name": {"db*": {"min_share": 0.5}}}, None,
         Terms(4 * GIB, 8 * GIB, 1000)),
        ({"by_name": {"db*": {"weight": 5}, "db1": {"weight": 7}}}, None,
         Terms(2 * GIB, 8 * GIB, 7)),
        ({"by_name": {"web*": {"weight": 5}}}, None, Terms(2 * GIB, 8 * GIB, 1000)),
        ({"by_name": {"db1": {"manage": False}}}, None, Terms(2 * GIB, 8 * GIB, 0)),
        ({}, Rule(max=4 * GIB, weight=9), Terms(2 * GIB, 4 * GIB, 9)),
        ({"defaults": {"min": "20GiB"}}, None, Terms(8 * GIB, 8 * GIB, 1000)),
    ],
)  # fmt: skip
def test_terms(fields: dict[str, Any], own: Rule | None, terms: Terms) -> None:
    assert guests(**fields).terms("db1", 8 * GIB, own) == terms


def test_selection_is_by_pattern() -> None:
    chosen = guests(select=["web*", "db1"])
    assert [chosen.selected(name) for name in ("web3", "db1", "db2")] == [True, True, False]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("mode=maybe", "mode: "),
        ("guard.level=limits", "guard.level: limits: expected full"),
        ("guard.caution.shrink_stp_share=0.1", "shrink_stp_share"),
        ("guard.caution.stuck_s=-1", "stuck_s"),
        ("guests.defaults.min_share=2", "guests.defaults.min_share"),
        ("period=0", "period"),
        ("record.size=1", "record.size"),
        ("metrics.port=70000", "metrics.port"),
        ("backend.knd=qmp", "backend.knd"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(change: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "daemon.yaml"
    file.write_text("backend: {kind: qmp, options: {sockets: x}}\n")
    with pytest.raises(ConfigError, match=says) as caught:
        load(DaemonConfig, file, [change])
    assert str(file) in str(caught.value)


def test_limits_are_for_the_simulated_backend(tmp_path: Path) -> None:
    load(DaemonConfig, "daemon/try", ["guard.level=limits"])
