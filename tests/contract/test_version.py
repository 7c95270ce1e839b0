"""The digest, and the file that a trained policy carries."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract import version
from contract.decode import Decoding
from contract.features import FEATURES, encode, remember, reset
from contract.guard import GuardConfig
from contract.version import (
    CONTRACT_VERSION,
    Contract,
    ContractError,
    contract_json,
    digest,
    read_contract,
    write_contract,
)
from tests.contract.readings import arbitrary

Golden = Callable[[str, Any], None]


def test_the_table_of_features_is_the_one_that_policies_were_trained_on(golden: Golden) -> None:
    """A new digest is a new contract: raise CONTRACT_VERSION and retrain."""
    golden("digest", {"version": CONTRACT_VERSION, "digest": digest(Decoding(), 5.0)})


def test_what_the_features_mean_is_what_policies_were_trained_on(golden: Golden) -> None:
    """Formulas are not in the table: a change here needs a new CONTRACT_VERSION."""
    rng = np.random.default_rng(20)
    state = reset(2, 3)
    seen = []
    first = arbitrary(rng, 2, 3)
    for number in range(3):
        telemetry = arbitrary(rng, 2, 3, 5.0 * number)
        telemetry = telemetry._replace(guest_id=first.guest_id, present=first.present)
        observation, state = encode(telemetry, state)
        state = remember(state, telemetry.max_bytes)
        seen.append({"guests": observation.guests, "host": observation.host})
    golden("observations", seen)


def test_the_digest_covers_actions_period_and_features(monkeypatch: pytest.MonkeyPatch) -> None:
    base = digest(Decoding(), 5.0)
    assert digest(Decoding(), 5) == base
    assert digest(Decoding("change"), 5.0) != base
    assert digest(Decoding(target_quantum_bytes=4096), 5.0) != base
    assert digest(Decoding(), 10.0) != base
    changed = (replace(FEATURES[0], high=2.0), *FEATURES[1:])
    monkeypatch.setattr(version, "FEATURES", changed)
    assert digest(Decoding(), 5.0) != base


def test_a_contract_is_read_back_as_written(tmp_path: Path) -> None:
    contract = Contract(
        Decoding("correction", rule="slides", correction_share=0.125), 2.5, GuardConfig("full")
    )
    write_contract(tmp_path / "contract.json", contract)
    assert read_contract(tmp_path / "contract.json") == contract
    assert [path.name for path in tmp_path.iterdir()] == ["contract.json"]


def test_the_file_shows_digest_and_features() -> None:
    content = json.loads(contract_json(Contract()))
    assert content["digest"] == Contract().digest
    assert content["features"][0]["name"] == "max_of_ram"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"digest": "0" * 64}, "digest: 0000"),
        ({"period_s": 4.0}, "digest: "),
        ({"decoding": {"mode": "absolute"}}, "Decoding: .*expected the fields"),
        ({"guard": None}, "TypeError"),
        ({"period_s": "soon"}, "ValueError"),
    ],
)
def test_another_contract_is_refused(
    tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    content = {**json.loads(contract_json(Contract())), **change}
    path = tmp_path / "contract.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ContractError, match=complaint) as caught:
        read_contract(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", '{"version": 1}'])
def test_a_broken_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "contract.json"
    path.write_text(text)
    with pytest.raises(ContractError, match=r"contract\.json"):
        read_contract(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="No such file"):
        read_contract(tmp_path / "contract.json")
