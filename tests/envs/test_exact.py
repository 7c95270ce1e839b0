"""The same to the last bit: twice, alone or in a batch, on any threads, from a copy."""

import io
from typing import Any

import numpy as np
import pytest

from contract.decode import Decoding
from envs.vector import OvercommitVectorEnv
from tests.envs.batches import actions, batch

Run = list[tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]]


def steps(env: OvercommitVectorEnv, told: np.ndarray) -> Run:
    return [env.step(action)[:4] for action in told]


def equal(one: Run, other: Run, rows: slice | None = None) -> None:
    """Assert that two runs are the same, the second being of some rows of the first."""
    assert len(one) == len(other)
    for (seen, *rest), (seen_again, *rest_again) in zip(one, other, strict=True):
        assert seen.keys() == seen_again.keys()
        for name, part in seen.items():
            np.testing.assert_array_equal(part[rows or slice(None)], seen_again[name], name)
        for part, again in zip(rest, rest_again, strict=True):
            np.testing.assert_array_equal(part[rows or slice(None)], again)


def run(env: OvercommitVectorEnv, told: np.ndarray, seed: int = 0) -> Run:
    env.reset(seed=seed)
    return steps(env, told)


def test_the_same_seed_and_actions_do_the_same() -> None:
    told = actions(batch(), 20)
    equal(run(batch(), told), run(batch(), told))
    env = batch()
    equal(run(env, told), run(env, told))


def test_another_seed_does_not() -> None:
    told = actions(batch(), 3)
    first, second = run(batch(), told)[0][0], run(batch(), told, seed=7)[0][0]
    assert (first["guests"] != second["guests"]).any()


@pytest.mark.parametrize("scenario", ["small", "family", ["small", "slides", "burst"]])
def test_a_host_alone_does_what_it_does_in_a_batch(scenario: Any) -> None:  # noqa: ANN401
    told = actions(batch(scenario), 16)
    together = run(batch(scenario, privileged=True), told)
    assert any(ended.any() for _, _, *ends in together for ended in ends)  # over resets too
    for row in range(3):
        single = scenario if isinstance(scenario, str) else scenario[row]
        alone_env = batch(single, 1, privileged=True)
        alone = run(alone_env, told[:, row : row + 1, : alone_env.core.guests], seed=row)
        if isinstance(scenario, str):
            equal(together, alone, slice(row, row + 1))
        else:  # the batch has more slots
            for (_, reward, *_), (_, again, *_) in zip(together, alone, strict=True):
                assert reward[row] == again[0]


def test_threads_change_nothing() -> None:
    told = actions(batch(), 8)
    equal(run(batch(threads=1), told), run(batch(threads=2), told))


def test_a_masked_reset_leaves_the_others_alone() -> None:
    told = actions(batch(), 8)
    straight, masked = (
        batch(episode_steps=50, staggered=False),
        batch(episode_steps=50, staggered=False, autoreset_mode="Disabled"),
    )
    expected = run(straight, told)
    masked.reset(seed=0)
    found = steps(masked, told[:4])
    seen, _ = masked.reset(options={"reset_mask": np.array([False, True, False])})
    for name, part in seen.items():
        np.testing.assert_array_equal(part[[0, 2]], expected[3][0][name][[0, 2]], name)
    assert (seen["guests"][1] != expected[3][0]["guests"][1]).any()
    found += steps(masked, told[4:])
    for (_, reward, *_), (_, again, *_) in zip(expected, found, strict=True):
        np.testing.assert_array_equal(reward[[0, 2]], again[[0, 2]])


def through_a_file(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as file:
        return dict(file)


CORRECTION = Decoding(mode="correction", rule="slides")


@pytest.mark.parametrize(
    ("scenario", "options"),
    [
        ("small", {}),
        ("small", {"overrides": ["sensors.delay=3s", "sensors.noise=0.1", "sensors.agents=0.5"]}),
        ("small", {"decoding": CORRECTION, "guard": "full", "privileged": True}),
        ("talk", {"overrides": ["timeline.0.at=12s", "timeline.1.at=20s"]}),  # has marks
    ],
)
def test_a_copy_goes_on_as_the_original(scenario: str, options: dict[str, Any]) -> None:
    told = actions(batch(scenario), 20)
    original = batch(scenario, **options)
    original.reset(seed=3)
    steps(original, told[:7])
    copied = through_a_file(original.snapshot())
    expected = steps(original, told[7:])
    fresh = batch(scenario, **options)
    fresh.restore(copied)
    equal(expected, steps(fresh, told[7:]))
    assert original.core.hosts.marks(0) or scenario != "talk"
    original.restore(copied)  # and back again, in place
    equal(expected, steps(original, told[7:]))
    left, right = original.snapshot(), fresh.snapshot()
    assert left.keys() == right.keys()
    differing = [name for name in left if left[name].tobytes() != right[name].tobytes()]
    assert not differing


def test_a_copy_is_apart_from_the_original() -> None:
    env = batch()
    env.reset(seed=0)
    copied = env.snapshot()
    before = {name: part.copy() for name, part in copied.items()}
    steps(env, actions(env, 3))
    assert all(copied[name].tobytes() == part.tobytes() for name, part in before.items())


def test_a_copy_of_something_else_is_refused() -> None:
    env = batch()
    env.reset(seed=0)
    copied = env.snapshot()
    with pytest.raises(ValueError, match="other settings"):
        batch(episode_steps=13).restore(copied)
    with pytest.raises(ValueError, match="rows for 3 hosts"):
        batch(num_envs=2).restore(copied)
    with pytest.raises(ValueError, match="another scenario"):
        batch("slides").restore(copied)
    copied.pop("ended")
    with pytest.raises(ValueError, match="'ended': missing in the copy"):
        batch().restore(copied)
