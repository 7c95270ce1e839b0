"""What happens to guests is what the reward says, on hosts made to hurt them."""

import numpy as np
import pytest

from envs.meter import read
from envs.vector import OvercommitVectorEnv
from tests.envs.batches import batch, host, touching

HARD = {
    "page": "256KiB",
    "ram": "512MiB",
    "reserved": "16MiB",
    "cores": 2,
    "devices": {"disk": {"preset": "nvme"}},
}


def told(env: OvercommitVectorEnv, action: float) -> tuple[float, dict[str, np.ndarray]]:
    _, reward, _, _, infos = env.step(np.full((1, env.core.guests), action, np.float32))
    return float(reward[0]), infos


def test_a_guest_squeezed_until_it_kills_costs_more_than_the_rest_of_the_episode() -> None:
    guest = {"name": "g", "count": 2, "size": "96MiB", "min": "24MiB", "work": touching("80MiB")}
    guest["mechanisms"] = {"deflate_on_oom": False}
    env = batch(
        host({}, host=HARD, guests=[guest]),
        1,
        episode_steps=40,
        staggered=False,
        decoding="absolute",
        warm_up_s=0.0,
    )
    env.reset(seed=0)
    weights = env.settings.weights
    calm = [told(env, 1.0) for _ in range(5)]
    assert all(infos["reward"]["oom"][0] == 0 for _, infos in calm)
    squeezed = [told(env, -1.0) for _ in range(10)]
    killed = [infos for _, infos in squeezed if infos["kills"][0] > 0]
    assert killed
    assert all(infos["reward"]["oom"][0] < -40 * weights.step for infos in killed)
    # 5 s of two guests are 10 guest-seconds: a kill is 360 an hour
    assert {infos["kills"][0] for infos in killed} <= {360.0, 720.0}
    # redone work is loss: the guest stays in the mean
    assert min(infos["progress"][0] for infos in killed) < 0.9
    assert env.telemetry.present.all()


def test_a_guest_that_the_host_throws_out_stays_in_the_mean() -> None:
    crowded = HARD | {"ram": "128MiB", "swap": {"device": "disk", "size": "16MiB"}}
    guest = {
        "name": "g",
        "count": 2,
        "size": "96MiB",
        "min": "24MiB",
        "boot": "20s",
        "work": touching("88MiB"),
        "mechanisms": {"resize": "none"},
    }
    env = batch(
        host({}, host=crowded, guests=[guest]), 1, episode_steps=60, staggered=False, warm_up_s=0.0
    )
    env.reset(seed=0)
    while not env.core.hosts.truth().guest["host_kills"].any():
        _, infos = told(env, 0.0)
        assert env._clocks["steps"][0] < 60
    assert infos["reward"]["oom"][0] < -60 * env.settings.weights.step
    state = env.core.hosts.truth().guest["state"][0]
    assert 1 in state  # boots again, by force
    before = read(env.core.hosts.truth(), 2)
    _, infos = told(env, 0.0)
    after = read(env.core.hosts.truth(), 2)
    booting = int(np.flatnonzero(state == 1)[0])
    assert after.lost_s[0, booting] - before.lost_s[0, booting] > 4.9
    assert infos["progress"][0] <= 0.5 + 1e-9


def test_nothing_is_paid_for_memory_saved() -> None:
    idle = {
        "kernel": "8MiB",
        "regions": {"heap": {"kind": "anon", "size": "8MiB"}},
        "tasks": {"rest": {"phases": [{"op": "sleep", "seconds": "1000s"}]}},
    }
    env = batch(host(idle), 1, episode_steps=40, staggered=False, warm_up_s=0.0)
    env.reset(seed=0)
    for _ in range(3):
        assert told(env, 0.0)[0] == 0.0
    shrinking, infos = told(env, -1.0)
    tenth = 10 / 96  # of the largest size, in mode `change` and whole MiB
    assert infos["reward"]["progress"][0] == 0.0
    assert shrinking == pytest.approx(-env.settings.weights.resize * tenth)
    for _ in range(10):
        told(env, -1.0)
    assert (env.telemetry.current_bytes < 0.5 * env.telemetry.max_bytes).all()
    assert told(env, 0.0)[0] == 0.0  # the host is nearly empty, and the reward is the same


def test_guests_of_no_weight_are_left_out() -> None:
    def losses(weight: int) -> float:
        guests = [
            {
                "name": "a",
                "size": "96MiB",
                "min": "24MiB",
                "work": touching("80MiB"),
                "weight": weight,
            },
            {"name": "b", "size": "96MiB", "min": "24MiB", "work": touching("8MiB")},
        ]
        swapping = HARD | {"ram": "64MiB", "swap": {"device": "disk", "size": "256MiB"}}
        env = batch(host({}, host=swapping, guests=guests), 1, staggered=False, warm_up_s=30.0)
        env.reset(seed=0)
        return float(sum(told(env, 0.0)[1]["reward"]["progress"][0] for _ in range(6)))

    of_b = losses(0)
    of_a = 2 * losses(1000) - of_b
    assert of_a < 2 * of_b < 0
    assert losses(1) == pytest.approx((of_a + 1000 * of_b) / 1001)
