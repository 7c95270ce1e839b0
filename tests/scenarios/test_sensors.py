"""Sensors: noise by key, agents that freeze with the guest, errors that stay in range."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsim.state import guest_dtype
from scenarios.sensors import AGENT, GAUGES, blurred, collect, no_answers, noise

KEYS = np.arange(40, dtype=np.uint64) * np.uint64(7919)
IDS = np.tile(np.arange(8), (40, 1))
TIMES = np.full((40, 8), 12.5)


def test_noise_is_standard_normal_and_uncorrelated() -> None:
    draws = np.concatenate([noise(KEYS, IDS, TIMES + n, 3) for n in range(100)])
    flat = draws.reshape(-1, 3)
    error = 4 / np.sqrt(len(flat))
    assert np.abs(flat.mean(axis=0)).max() < error
    assert np.abs(flat.std(axis=0) - 1).max() < error
    assert np.abs(np.corrcoef(flat.T) - np.eye(3)).max() < error
    assert np.abs(flat).max() > 3.5


def test_noise_depends_on_key_guest_and_moment_alone() -> None:
    draws = noise(KEYS, IDS, TIMES, 2)
    assert np.array_equal(noise(KEYS[5:6], IDS[5:6], TIMES[5:6], 2)[0], draws[5])
    assert np.array_equal(noise(KEYS, IDS[:, ::-1], TIMES, 2)[:, ::-1], draws)
    assert np.array_equal(noise(KEYS, IDS, TIMES, 1)[..., 0], noise(KEYS, IDS, TIMES, 1)[..., 0])
    for other in (
        noise(KEYS + np.uint64(1), IDS, TIMES, 2),
        noise(KEYS, IDS + 8, TIMES, 2),
        noise(KEYS, IDS, TIMES + 1e-3, 2),
    ):
        assert not np.isclose(other, draws).any()


@given(st.integers(-1, 2**40), st.floats(-6, 6), st.floats(0, 0.5))
def test_a_blurred_value_stays_in_range(value: int, draw: float, relative: float) -> None:
    most = np.array([[2**39]])
    found = blurred(np.array([[value]]), most, np.array([[relative]]), np.array([[draw]]))[0, 0]
    if value < 0:
        assert found == -1
    else:
        assert 0 <= found <= most[0, 0]
        assert found % 4096 == 0


def test_a_blurred_value_has_its_relative_error() -> None:
    found = blurred(np.array([[2**30]]), np.array([[2**31]]), np.array([[0.1]]), np.array([[0.5]]))
    assert found[0, 0] == pytest.approx(2**30 * 1.05, abs=4096)


def records(time_s: float, anon: int) -> np.ndarray:
    guest = np.zeros((1, 2), guest_dtype)
    guest["stats_time_s"], guest["anon_pages"] = time_s, anon
    guest["stats_free"] = 11
    return guest


def test_an_agent_reports_when_the_balloon_driver_does() -> None:
    anon = AGENT.index("anon_pages")
    first = collect(records(1.0, 100), no_answers(1, 2), with_agent=True)
    assert first.agent[0, 0, anon] == 100 and first.gauges[0, 0, GAUGES.index("stats_free")] == 11
    frozen = collect(records(1.0, 900), first, with_agent=True)
    assert frozen.agent[0, 0, anon] == 100
    later = collect(records(2.0, 900), frozen, with_agent=True)
    assert later.agent[0, 0, anon] == 900
    without = collect(records(1.0, 100), no_answers(1, 2), with_agent=False)
    assert np.isnan(without.agent).all()
