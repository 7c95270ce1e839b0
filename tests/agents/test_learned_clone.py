import numpy as np
import pytest
from stable_baselines3.common.logger import Logger

from agents.learned.clone import clone
from agents.learned.lessons import Lessons, record, returns
from agents.learned.ppo import GuestPPO
from agents.learned.settings import CloneSettings, NetworkSettings, PpoSettings
from tests.agents.toy import ToyHosts


class CappedShare:
    """Gives every guest its demand, at most half of all, and counts how often it was asked."""

    def __init__(self, env: ToyHosts) -> None:
        self.env, self.asked, self.restarted = env, 0, 0

    def actions(self) -> np.ndarray:
        self.asked += 1
        action: np.ndarray = np.where(
            self.env.present, np.minimum(self.env.demand, 0.5) * 2 - 1, 0.0
        )
        return action.astype(np.float32)

    def restart(self, rows: np.ndarray) -> None:
        self.restarted += len(rows)


def make_run() -> tuple[GuestPPO, CappedShare]:
    env = ToyHosts(16, 4)
    run = GuestPPO(env, PpoSettings(gamma=0.9), NetworkSettings(width=32), seed=2)
    run.set_logger(Logger(None, []))
    return run, CappedShare(env)


def test_the_clone_acts_like_its_teacher() -> None:
    run, teacher = make_run()
    ticks: list[int] = []
    report = clone(
        run,
        teacher,
        CloneSettings(steps=6400, rounds=2, epochs=20, minibatch_hosts=128),
        ticks.append,
    )
    assert report.steps == sum(ticks) == 6400
    assert teacher.asked == 400
    assert teacher.restarted > 2 * 16
    assert report.spread > 0.2
    assert report.error_before > report.spread
    assert report.error < 0.1 * report.spread
    assert report.value_explained > 0.5
    env = ToyHosts(64, 4)
    env.seed(123)
    seen = env.reset()
    action, _ = run.policy.predict(seen, deterministic=True)
    wanted = CappedShare(env).actions()
    assert np.abs(action - wanted)[env.present].mean() < 0.05


def test_the_teacher_drives_and_every_step_is_labelled() -> None:
    env = ToyHosts(3, 4, horizon=6)
    env.seed(5)
    teacher = CappedShare(env)
    lessons = record(env, teacher, lambda seen, label: label, 10, lambda steps: None)
    assert lessons.labels.shape == (10, 3, 4)
    assert lessons.observations["guests"].shape == (11, 3, 12)
    shares = lessons.observations["guests"].reshape(11, 3, 4, 3)[1:, ..., 1]
    goes_on = ~lessons.ends
    present = lessons.observations["present"][1:] == 1
    followed = np.where(present, (lessons.labels + 1) / 2, 0.0)
    assert shares[goes_on] == pytest.approx(followed[goes_on], abs=1e-6)
    assert set(lessons.cut) == {(int(t), int(h)) for t, h in np.argwhere(lessons.ends)}
    assert lessons.ends.any()


def test_returns_are_bootstrapped_where_a_limit_cut_and_nowhere_else() -> None:
    run, _ = make_run()
    policy = run.policy
    env = ToyHosts(2, 4)
    env.seed(1)
    seen = env.reset()
    observations = {key: np.stack([part] * 3) for key, part in seen.items()}
    rewards = np.array([[1.0, 1.0], [2.0, 2.0]])
    ends = np.array([[True, True], [False, False]])
    cut = {(0, 0): {key: part[0] for key, part in seen.items()}}  # host 0 cut, host 1 finished
    lessons = Lessons(observations, np.zeros((2, 2, 4), np.float32), rewards, ends, cut)
    value = policy.predict_values(policy.obs_to_tensor(seen)[0]).detach().numpy()[:, 0]
    found = returns(policy, lessons, gamma=0.5, gae_lambda=1.0)
    assert found[0] == pytest.approx([1.0 + 0.5 * value[0], 1.0], abs=1e-5)
    assert found[1] == pytest.approx(2.0 + 0.5 * value, abs=1e-5)
