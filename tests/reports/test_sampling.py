import numpy as np
import pytest

from memsim.account import N_CLASSES
from memsim.state import guest_dtype, host_dtype
from memsim.views import task_view_dtype
from reports.sampling import Sampler, continued


class Clockwork:
    """Hosts whose counters are simple functions of their clocks."""

    def __init__(self, hosts: int) -> None:
        self.host = np.zeros(hosts, host_dtype)
        self.guest = np.zeros((hosts, 2), guest_dtype)
        self.task = np.zeros((hosts, 2, 3), task_view_dtype)
        self.account = np.zeros((hosts, 2, 3, N_CLASSES))
        self.calls = 0

    def advance(self, until_s: np.ndarray) -> None:
        self.calls += 1
        assert (until_s >= self.host["time_s"]).all()
        self.host["time_s"] = until_s
        self.guest["host_swap_in"] = (until_s[:, None] * 10).astype(np.int64)
        self.task["nominal_s"] = until_s[:, None, None] * [0.25, 0.5, 1.0]
        self.account[:] = until_s[:, None, None, None]


def test_samples_lie_on_the_grid_whatever_drives_the_hosts() -> None:
    clocks = Clockwork(2)
    passed: list[float] = []
    sampler = Sampler(lambda: clocks, clocks.advance, 5.0, 20.0, passed.append)
    sampler.wait_until(np.zeros(2))
    sampler.wait_until(np.array([7.0, 0.0]))  # clocks of their own
    sampler.wait_until(np.array([7.5, 12.0]))
    sampler.wait_until(np.array([20.0, 20.0]))
    samples = sampler.samples()
    assert samples.time_s.tolist() == [0, 5, 10, 15, 20]
    assert samples.counter["host_swap_in"][:, :, 0].tolist() == [[0, 50, 100, 150, 200]] * 2
    assert samples.task["nominal_s"][1, :, 0, 2].tolist() == [0, 5, 10, 15, 20]
    assert samples.account_s[0, -1, 0].tolist() == [60.0] * N_CLASSES
    assert sum(passed) == pytest.approx(40)
    assert clocks.host["time_s"].tolist() == [20, 20]


def test_the_past_changes_nothing() -> None:
    clocks = Clockwork(1)
    sampler = Sampler(lambda: clocks, clocks.advance, 5.0, 10.0, lambda _: None)
    sampler.wait_until(np.array([8.0]))
    sampler.wait_until(np.array([3.0]))
    assert clocks.host["time_s"].tolist() == [8.0]


def test_samples_before_the_end_are_an_error() -> None:
    clocks = Clockwork(2)
    sampler = Sampler(lambda: clocks, clocks.advance, 5.0, 10.0, lambda _: None)
    sampler.wait_until(np.array([10.0, 6.0]))
    with pytest.raises(ValueError, match=r"\[3 2\] taken; expected 3"):
        sampler.samples()


def test_counters_go_on_over_a_reboot() -> None:
    values = np.array([[[2, 0], [5, 1], [1, 1], [4, 3]]])  # first column begins anew after 5
    assert continued(values).tolist() == [[[2, 0], [5, 1], [6, 1], [9, 3]]]
