import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from gymnasium import spaces

from agents.baselines import load_policy
from agents.learned.export import TOLERANCE, ExportError, export, to_onnx
from agents.learned.network import SharedActor
from agents.learned.policy import GuestSetPolicy
from agents.onnx_policy import CONTRACT, MODEL, ModelError, OnnxPolicy
from contract import features
from contract.arrays import GIB, MIB
from contract.decode import Decoding, decode
from contract.features import GUEST_FEATURES, HOST_FEATURES
from contract.guard import GuardConfig
from contract.loop import start, step
from contract.telemetry import Telemetry, select, unknown
from contract.version import Contract, ContractError

HOSTS, SLOTS = 6, 5


def make_policy(width: int = 32, guest_features: int = len(GUEST_FEATURES)) -> GuestSetPolicy:
    torch.manual_seed(3)
    space = spaces.Dict(
        {
            "guests": spaces.Box(-1.0, 1.0, (SLOTS * guest_features,)),
            "host": spaces.Box(-1.0, 1.0, (len(HOST_FEATURES),)),
            "present": spaces.MultiBinary(SLOTS),
        }
    )
    policy = GuestSetPolicy(space, spaces.Box(-1, 1, (SLOTS,)), lambda _: 1e-3, width=width)
    torch.nn.init.normal_(policy.actor.last.weight, std=0.3)  # decisive, so that errors show
    return policy


def reading(time_s: float, hosts: int = HOSTS, slots: int = SLOTS) -> Telemetry:
    """Hosts of 8 GiB whose guests' sizes and statistics vary with host, slot and time."""
    generator = np.random.default_rng(int(time_s))
    present = np.arange(slots) < 1 + np.arange(hosts)[:, None] % slots
    size = np.where(present, generator.integers(256, 1024, (hosts, slots)) * MIB, -1)

    def part(share: float) -> np.ndarray:
        return np.where(present, (size * share * generator.random((hosts, slots))), -1).astype(
            np.int64
        )

    return unknown(hosts, slots)._replace(
        time_s=np.full(hosts, time_s),
        total_bytes=np.full(hosts, 8 * GIB),
        available_bytes=generator.integers(1, 4, hosts) * GIB,
        swap_used_bytes=generator.integers(0, 4, hosts) * GIB,
        present=present,
        guest_id=np.where(present, np.arange(slots), -1),
        min_bytes=np.where(present, 256 * MIB, -1),
        max_bytes=np.where(present, 2 * GIB, -1),
        current_bytes=size,
        resident_bytes=part(1.0),
        stats_age_s=np.where(present, 1.0, np.nan),
        stats_total_bytes=size,
        stats_available_bytes=part(0.5),
        applied_target_bytes=size,
        applied_age_s=np.where(present, 5.0, np.nan),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    export(make_policy(), Contract(), folder)
    return folder


def test_the_loop_runs_it_at_its_period(folder: Path) -> None:
    policy = OnnxPolicy(folder)
    assert policy.name == "mine"
    state = start(policy, HOSTS, SLOTS)
    turn, state = step(policy, GuardConfig(), reading(0.0), state)
    assert turn.due.all()
    present = turn.telemetry.present
    asked = turn.asked.target_bytes
    assert (asked[~present] == -1).all()
    assert (asked[present] >= 256 * MIB).all() and (asked[present] <= 2 * GIB).all()
    assert (asked[present] % MIB == 0).all()
    assert len(np.unique(asked[present])) > 5
    assert state.wake_at_s.tolist() == [5.0] * HOSTS
    turn, _ = step(policy, GuardConfig(), reading(3.0), state)
    assert not turn.due.any()


def test_decides_as_torch_does_within_one_quantum(folder: Path) -> None:
    torch_policy, policy = make_policy(), OnnxPolicy(folder)
    state, encoder = policy.reset(HOSTS, SLOTS), features.reset(HOSTS, SLOTS)
    for time_s in (0.0, 5.0, 10.0):
        telemetry = reading(time_s)
        decision, state, _ = policy.decide(telemetry, state)
        observation, encoder = features.encode(telemetry, encoder)
        seen = {
            "guests": torch.from_numpy(observation.guests.reshape(HOSTS, -1)),
            "host": torch.from_numpy(observation.host),
            "present": torch.from_numpy(observation.present),
        }
        with torch.no_grad():
            action = torch_policy.get_distribution(seen).mode().numpy()
        assert np.abs(policy.act(observation) - action.clip(-1, 1)).max() < TOLERANCE
        expected = decode(action, telemetry, Decoding())
        encoder = features.remember(encoder, decision.target_bytes)
        assert np.abs(decision.target_bytes - expected.target_bytes).max() <= MIB


def test_a_host_alone_decides_bit_for_bit_as_in_a_batch(folder: Path) -> None:
    policy = OnnxPolicy(folder)
    batch, alone = policy.reset(HOSTS, SLOTS), [policy.reset(1, SLOTS) for _ in range(HOSTS)]
    for time_s in np.arange(20) * 5.0:
        telemetry = reading(time_s)
        observation, _ = features.encode(telemetry, batch.encoder)
        actions = policy.act(observation)
        decision, batch, _ = policy.decide(telemetry, batch)
        for host in range(HOSTS):
            one = select(telemetry, np.array([host]))
            seen, _ = features.encode(one, alone[host].encoder)
            assert np.array_equal(policy.act(seen)[0], actions[host])
            found, alone[host], _ = policy.decide(one, alone[host])
            assert np.array_equal(found.target_bytes[0], decision.target_bytes[host])


def test_empty_slots_and_their_place_change_no_bit(folder: Path) -> None:
    policy = OnnxPolicy(folder)
    observation, _ = features.encode(reading(0.0), features.reset(HOSTS, SLOTS))
    actions = policy.act(observation)
    wide = features.Observation(
        np.insert(observation.guests, [0, 2, 2], 7.0, axis=1),
        observation.host,
        np.insert(observation.present, [0, 2, 2], False, axis=1),
    )
    found = policy.act(wide)
    assert np.array_equal(found[:, [1, 2, 5, 6, 7]], actions)
    assert (found[:, [0, 3, 4]] == 0.0).all()


def test_a_host_without_guests_is_left_alone(folder: Path) -> None:
    policy = OnnxPolicy(folder)
    telemetry = unknown(2, SLOTS)._replace(total_bytes=np.full(2, GIB))
    decision, _, wake_at_s = policy.decide(telemetry, policy.reset(2, SLOTS))
    assert (decision.target_bytes == -1).all()
    assert wake_at_s.tolist() == [5.0, 5.0]


def test_correction_runs_its_rule(tmp_path: Path) -> None:
    decoding = Decoding(mode="correction", rule="slides")
    export(make_policy(), Contract(decoding), tmp_path)
    with pytest.raises(ModelError, match=r"decoding\.rule: 'slides': the rule given is none"):
        OnnxPolicy(tmp_path)
    policy = OnnxPolicy(tmp_path, rule=load_policy("slides"))
    decision, _, _ = policy.decide(reading(0.0), policy.reset(HOSTS, SLOTS))
    assert (decision.target_bytes[reading(0.0).present] > 0).all()


def test_the_model_is_one_file_with_free_axes(folder: Path) -> None:
    model = onnx.load(folder / MODEL, load_external_data=False)
    assert all(not weights.external_data for weights in model.graph.initializer)
    assert model.opset_import[0].version == 20
    shapes = {
        entry.name: [axis.dim_param or axis.dim_value for axis in entry.type.tensor_type.shape.dim]
        for entry in model.graph.input
    }
    assert shapes == {
        "guests": ["batch", "guests", len(GUEST_FEATURES)],
        "host": ["batch", len(HOST_FEATURES)],
        "present": ["batch", "guests"],
    }


def copied(folder: Path, target: Path) -> Path:
    target.mkdir()
    for name in (MODEL, CONTRACT):
        (target / name).write_bytes((folder / name).read_bytes())
    return target


def test_another_period_or_digest_is_refused(folder: Path, tmp_path: Path) -> None:
    run = copied(folder, tmp_path / "run")
    content = json.loads((run / CONTRACT).read_text())
    (run / CONTRACT).write_text(json.dumps(content | {"period_s": 10.0}))
    with pytest.raises(ContractError, match=r"contract\.json: digest: \w+, expected \w+"):
        OnnxPolicy(run)


def test_a_model_beside_another_contract_is_refused(folder: Path, tmp_path: Path) -> None:
    run = copied(folder, tmp_path / "run")
    export(make_policy(), Contract(period_s=10.0), tmp_path / "other")
    (run / CONTRACT).write_bytes((tmp_path / "other" / CONTRACT).read_bytes())
    with pytest.raises(ModelError, match=r"model\.onnx: contract_digest: \w+, expected \w+"):
        OnnxPolicy(run)


def test_a_model_of_another_shape_is_refused(tmp_path: Path) -> None:
    export(make_policy(guest_features=7), Contract(), tmp_path)
    expected = f"model.onnx: input guests: 7 features, expected {len(GUEST_FEATURES)}"
    with pytest.raises(ModelError, match=expected):
        OnnxPolicy(tmp_path)


def test_a_truncated_or_missing_model_is_refused(folder: Path, tmp_path: Path) -> None:
    run = copied(folder, tmp_path / "run")
    content = (run / MODEL).read_bytes()
    (run / MODEL).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"model\.onnx: is not a whole ONNX model"):
        OnnxPolicy(run)
    (run / MODEL).unlink()
    with pytest.raises(ModelError, match=r"model\.onnx: there is no such file"):
        OnnxPolicy(run)


def test_an_export_that_differs_from_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = SharedActor.forward
    calls = [0]

    def drifting(self: SharedActor, *rows: torch.Tensor) -> torch.Tensor:
        calls[0] += torch.compiler.is_exporting() is False
        return exact(self, *rows) + (0.0 if torch.compiler.is_exporting() else 3e-5)

    monkeypatch.setattr(SharedActor, "forward", drifting)
    with pytest.raises(ExportError, match=r"differ by .* expected at most 1e-05"):
        to_onnx(make_policy(), Contract().digest)
    assert calls[0] > 0
