"""When episodes end and begin, and what is told of it."""

from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

from envs import keys
from envs.vector import OvercommitVectorEnv
from tests.envs.batches import actions, batch, host, touching


def still(env: OvercommitVectorEnv) -> np.ndarray:
    return np.zeros((env.num_envs, env.core.guests), np.float32)


def test_first_episodes_end_apart_and_later_ones_have_full_length() -> None:
    env = batch(num_envs=6, episode_steps=10)
    env.reset(seed=0)
    ends: list[list[int]] = [[] for _ in range(6)]
    for number in range(34):
        _, _, terminated, truncated, _ = env.step(still(env))
        assert not terminated.any()
        for row in np.flatnonzero(truncated).tolist():
            ends[row].append(number)
    for host_number, found in enumerate(ends):
        first = keys.first_horizon(host_number, 10)
        # one step of each episode is the reset
        assert found[:3] == [first - 1, first - 1 + 11, first - 1 + 22][: len(found[:3])]
    assert len({found[0] for found in ends}) > 2


def test_the_step_after_an_end_begins_the_next_episode() -> None:
    env = batch(num_envs=2, episode_steps=3, staggered=False)
    env.reset(seed=0)
    for _ in range(3):
        seen, _, _, truncated, _ = env.step(still(env))
    assert truncated.all()
    before = env.telemetry.time_s.copy()
    seen, reward, terminated, truncated, infos = env.step(np.full_like(still(env), -1.0))
    assert reward.tolist() == [0.0, 0.0]
    assert not terminated.any()
    assert not truncated.any()
    assert infos["episode_number"].tolist() == [1, 1]
    assert not infos["_progress"].any()
    assert (env.telemetry.time_s == 10.0).all()
    assert (before == 25.0).all()
    fresh = batch(num_envs=2, episode_steps=3, staggered=False)
    fresh.reset(seed=0)
    again, _ = fresh.reset()  # the next episode, by hand
    for name, part in again.items():
        np.testing.assert_array_equal(part, seen[name], name)


def test_without_autoreset_an_ended_host_must_be_reset() -> None:
    env = batch(num_envs=3, episode_steps=6, autoreset_mode="Disabled")
    env.reset(seed=0)
    ended = np.zeros(3, bool)
    while not ended.any():
        _, _, terminated, truncated, _ = env.step(still(env))
        ended = terminated | truncated
    with pytest.raises(ResetNeeded, match=rf"hosts \[{np.flatnonzero(ended)[0]}"):
        env.step(still(env))
    _, infos = env.reset(options={"reset_mask": ended})
    assert infos["_episode_number"].tolist() == ended.tolist()
    assert (infos["episode_number"][ended] == 1).all()
    env.step(still(env))


def test_seeds_name_hosts() -> None:
    env = batch(num_envs=3)
    _, infos = env.reset(seed=40)
    assert infos["seed"].tolist() == [40, 41, 42]
    assert infos["episode_number"].tolist() == [0, 0, 0]
    wanted = [keys.pool_host(40 + row, 0, 4)[0] for row in range(3)]
    assert infos["host"].tolist() == wanted
    _, infos = env.reset()
    assert infos["seed"].tolist() == [40, 41, 42]
    assert infos["episode_number"].tolist() == [1, 1, 1]
    _, infos = env.reset(seed=np.int64(40))  # type: ignore[arg-type]  # an int to users
    assert infos["seed"].tolist() == [40, 41, 42]
    _, infos = env.reset(seed=[7, 7, 9])
    assert infos["seed"].tolist() == [7, 7, 9]
    mask = np.array([False, False, True])
    _, infos = env.reset(seed=[1, 2, 3], options={"reset_mask": mask})
    assert infos["seed"].tolist() == [0, 0, 3]
    _, infos = env.reset()
    assert infos["seed"].tolist() == [7, 7, 3]
    assert infos["episode_number"].tolist() == [1, 1, 1]


def test_without_a_seed_hosts_choose_among_those_that_are_kept() -> None:
    _, first = batch(num_envs=1).reset()
    _, second = batch(num_envs=1).reset()
    assert first["seed"] != second["seed"]
    assert 0 <= first["seed"][0] < keys.SEEDS_A_BLOCK


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"mask": 1}, "options: mask: expected reset_mask"),
        ({"reset_mask": [True]}, r"reset_mask: \[True\]: expected \(3,\) bool"),
        ({"reset_mask": np.ones(2, bool)}, r"expected \(3,\) bool"),
        ({"reset_mask": np.ones(3)}, r"expected \(3,\) bool"),
        ({"reset_mask": np.zeros(3, bool)}, "one True at least"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        batch().reset(seed=0, options=options)


def test_the_first_reset_is_of_all_hosts() -> None:
    mask = np.array([True, False, True])
    with pytest.raises(ResetNeeded, match="expected a reset of all hosts first"):
        batch().reset(seed=0, options={"reset_mask": mask})


def test_wrappers_of_gymnasium_fit() -> None:
    env = batch(num_envs=3, episode_steps=6)
    wrapped = DictInfoToList(RecordEpisodeStatistics(env))
    wrapped.reset(seed=0)
    lengths: list[list[int]] = [[], [], []]
    for _ in range(16):
        *_, infos = wrapped.step(still(env))
        for row, info in enumerate(infos):
            if "episode" in info:
                lengths[row].append(int(info["episode"]["l"]))
    for row, found in enumerate(lengths):
        assert found[:2] == [keys.first_horizon(row, 6), 6][: len(found)]


def test_steps_before_a_reset_and_wrong_shapes_are_refused() -> None:
    env = batch()
    with pytest.raises(ResetNeeded):
        env.step(still(env))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions: \(2, 2\): expected \(3, 2\)"):
        env.step(still(env)[:2])
    with pytest.raises(ValueError, match="seed"):
        env.reset(seed=[1, 2])


def test_the_end_of_all_work_terminates() -> None:
    jobs = touching(heap="16MiB", count=20_000)
    env = batch(host(jobs), 1, episode_steps=20, staggered=False, warm_up_s=0.0)
    env.reset(seed=0)
    for number in range(20):  # noqa: B007  it is used below
        _, _, terminated, truncated, _ = env.step(still(env))
        jobs_there, over = env.core.hosts.jobs()
        assert terminated.tolist() == (jobs_there == over).tolist()
        assert not truncated.any()
        if terminated[0]:
            break
    assert 0 < number < 10
    finished_s = env.core.hosts.truth().task["finished_s"][0, :, 0]
    assert 5.0 * number < finished_s.max() <= 5.0 * (number + 1)


def test_a_host_with_endless_work_is_only_cut() -> None:
    both = touching(heap="16MiB", count=1000)
    both["tasks"]["serve"] = {"phases": [{"op": "touch", "region": "heap", "cost": "1ms"}]}
    env = batch(host(both), 1, episode_steps=6, staggered=False, warm_up_s=0.0)
    env.reset(seed=0)
    ends = [env.step(still(env))[2:4] for _ in range(6)]
    jobs, over = env.core.hosts.jobs()
    assert jobs.tolist() == over.tolist() == [2]
    assert not any(terminated[0] for terminated, _ in ends)
    assert [bool(truncated[0]) for _, truncated in ends] == [False] * 5 + [True]


def test_an_end_at_the_horizon_is_an_end_and_no_cut() -> None:
    jobs = touching(heap="16MiB", count=20_000)
    free = batch(host(jobs), 1, episode_steps=20, staggered=False, warm_up_s=0.0)
    free.reset(seed=0)
    lasts = next(n for n in range(1, 20) if free.step(still(free))[2][0])
    tight = batch(host(jobs), 1, episode_steps=lasts, staggered=False, warm_up_s=0.0)
    tight.reset(seed=0)
    for _ in range(lasts):
        _, _, terminated, truncated, _ = tight.step(still(tight))
    assert (bool(terminated[0]), bool(truncated[0])) == (True, False)


def test_infos_are_told_by_host_and_add_up() -> None:
    env = batch(num_envs=3)
    env.reset(seed=0)
    for action in actions(env, 5):
        _, reward, _, _, infos = env.step(action)
        there = infos["_reward"]
        total = sum(infos["reward"][name] for name in ("progress", "tail", "oom", "resize"))
        np.testing.assert_allclose(reward[there], total[there], atol=1e-12)
        assert ((infos["progress"] >= 0) & (infos["progress"] <= 1)).all()
        np.testing.assert_allclose(
            infos["reward"]["progress"][there], infos["progress"][there] - 1.0, atol=1e-12
        )
        assert infos["interventions"].keys() >= {"growth", "_growth", "min", "distress"}


def test_the_guard_is_seen_at_work() -> None:
    env = batch(host(touching(heap="80MiB")), 1, warm_up_s=20.0, decoding="absolute")
    env.reset(seed=0)
    env.step(np.full((1, 2), -1.0, np.float32))
    env.step(np.full((1, 2), -1.0, np.float32))
    growth = []
    for _ in range(3):
        infos = env.step(np.full((1, 2), 1.0, np.float32))[4]
        growth.append(int(infos["interventions"]["growth"][0]))
    assert max(growth) > 0  # two guests of 96 MiB do not fit into 160 MiB
    assert infos["guarded"][0] <= 1.0
