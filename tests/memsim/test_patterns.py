"""Which pages an access goes to, how often, and that nothing but its key and number decides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from memsim import rng
from memsim.build import build
from memsim.jit import entry
from memsim.machine import Machine
from memsim.popularity import alias_table, popularity
from memsim.spec import Curve, Pattern
from memsim.touch import _target
from tests.memsim.hosts import (
    again,
    allocate,
    anon,
    file,
    guest,
    host,
    machine,
    read,
    run,
    task,
    touch,
)


def drawn(table: np.ndarray) -> np.ndarray:
    """Probabilities that an alias table gives, (N,), exactly."""
    n = len(table)
    keep = np.where(table["other"] == np.arange(n), 1.0, table["keep"] / 2**32)
    found = keep / n
    np.add.at(found, table["other"], (1 - keep) / n)
    return found


@given(hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(1e-3, 1e3)))
def test_an_alias_table_draws_its_weights(weights: np.ndarray) -> None:
    assert drawn(alias_table(weights)) == pytest.approx(weights / weights.sum(), abs=1e-8)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_popularity_is_zipf_in_an_order_of_the_key(exponent: float) -> None:
    one = popularity(50, exponent, np.uint64(1))
    other = popularity(50, exponent, np.uint64(2))
    ranks = 1.0 / np.arange(1, 51) ** exponent
    assert np.sort(one)[::-1] == pytest.approx(ranks)
    assert sorted(one) == sorted(other)
    assert (one != other).any()


@entry
def targets_of(m: Machine, size: int, count: int, out: np.ndarray) -> None:
    """What the first task's first phase would draw: its first `count` accesses."""
    ph = m.phase[0]
    for n in range(count):
        out[n] = _target(m, 0, ph, size, np.uint64(n))


def draws(count: int, pages: int, size: int | None = None, **fields: object) -> np.ndarray:
    one = guest(task(touch(0, **fields)), pages=2 * pages, regions=[anon(pages, block_pages=16)])
    out = np.zeros(count, np.int64)
    targets_of(build(host(one, seed=5)), size or pages, count, out)
    return out


def test_uniform_draws_are_uniform() -> None:
    found = np.bincount(draws(200_000, 100, pattern=Pattern.UNIFORM), minlength=100)
    assert stats.chisquare(found).pvalue > 1e-4


def test_zipf_draws_follow_their_table_and_are_uniform_in_a_block() -> None:
    pages = 20 * 16
    one = guest(
        task(touch(0, pattern=Pattern.ZIPF, zipf_s=1.1)),
        pages=1024,
        regions=[anon(pages, block_pages=16)],
    )
    expected = np.repeat(drawn(build(host(one, seed=5)).alias[:20]) / 16, 16)
    found = np.bincount(draws(200_000, pages, pattern=Pattern.ZIPF, zipf_s=1.1), minlength=pages)
    assert stats.chisquare(found, 200_000 * expected).pvalue > 1e-4


def test_patterns_in_order() -> None:
    assert draws(7, 3, pattern=Pattern.SEQUENTIAL).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert draws(7, 3, pattern=Pattern.LOOP).tolist() == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("pattern", [Pattern.UNIFORM, Pattern.ZIPF, Pattern.LOOP])
def test_a_smaller_size_is_a_smaller_range(pattern: Pattern) -> None:
    found = draws(20_000, 100, size=37, pattern=pattern)
    assert found.min() == 0
    assert found.max() == 36


def test_every_access_uses_the_draw_of_its_own_number() -> None:
    # However it was held up: the draws used are the accesses done, so what is touched n-th is
    # the same under any pressure, any policy, alone or not.
    script = task(allocate(0), touch(0, count=3000, write=0.5), read(1, count=2000))
    ample = guest(script, pages=2048, regions=[anon(600), file(900)])
    for ram in (8000, 900):
        fleet = run(host(ample, ram_pages=ram), 300.0)
        row = machine(fleet).task[0]
        assert row["done"] == 600 + 3000 + 2000
        assert row["draws"] == row["done"]


def ends(crowd: bool, target: int) -> tuple[np.ndarray, int]:
    """What the same guest has touched at the end: alone or in company, with or without a policy."""
    script = task(touch(0, count=400, write=0.5), read(1, count=300))
    one = guest(script, pages=2048, regions=[anon(600), file(900)], guest_id=7, kernel_pages=10)
    other = guest(task(touch(0, write=1.0)), pages=2048, regions=[anon(1500)], guest_id=3)
    guests = (other, one) if crowd else (one,)
    fleet = run(host(*guests, seed=9, ram_pages=1900 if crowd else 9000), 0.001)
    g = len(guests) - 1
    fleet.set_targets(np.array([[-1] * g + [target]]))
    fleet.advance(np.array([500.0]))
    fleet.check()
    m = machine(fleet)
    gs = m.guest[g]
    pages = m.vpage["page"][gs["vpage0"] : gs["vpage0"] + gs["vpages"]]
    return pages != -1, int(m.task[gs["task0"]]["done"])


def test_a_guest_touches_the_same_under_two_policies_and_alone() -> None:
    plain = ends(crowd=False, target=-1)
    assert plain[1] == 700
    assert 300 < plain[0].sum() < 700
    for crowd, target in ((False, 300), (True, -1), (True, 700)):
        touched, done = ends(crowd, target)
        assert done == 700
        assert (touched == plain[0]).all()


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_keys_and_draws_are_64_bits_of_their_arguments(seed: int, n: int) -> None:
    key = np.uint64(rng.derive(np.uint64(seed), np.uint64(1), np.uint64(2), rng.PAGE))
    other = np.uint64(rng.derive(np.uint64(seed), np.uint64(2), np.uint64(1), rng.PAGE))
    assert key != other
    assert rng.draw(key, np.uint64(n)) == rng.draw(key, np.uint64(n))
    assert rng.draw(key, np.uint64(n)) != rng.draw(key, np.uint64(n ^ 1))


def test_draws_are_equidistributed_bit_by_bit() -> None:
    key = np.uint64(rng.derive(np.uint64(0), np.uint64(0), np.uint64(0), rng.STORE))
    found = np.array([rng.draw(key, np.uint64(i)) for i in range(4096)], np.uint64)
    bits = np.unpackbits(found.view(np.uint8)).reshape(4096, 64).sum(axis=0).astype(int)
    assert stats.chisquare([bits.sum(), 4096 * 64 - bits.sum()]).pvalue > 1e-4
    assert abs(bits - 2048).max() < 5 * 32  # five standard deviations


def test_arrivals_are_poisson_and_keyed_by_number() -> None:
    # Gaps are exponential whatever happens to the arrivals: dropped ones use their number too.
    rate, life_s = 200.0, 500.0
    idle = task(touch(0, rate=rate, cost_s=1e-6))
    swamped = task(touch(0, rate=rate, cost_s=0.02, backlog_s=0.1))
    counts = []
    for script in (idle, swamped):
        fleet = run(host(guest(script, regions=[anon(10)], pages=256)), life_s)
        row = fleet.task[0, 0, 0]
        counts.append(int(row["arrivals"]))
        assert row["served"] + row["dropped"] == row["arrivals"]
    assert counts[0] == pytest.approx(rate * life_s, abs=5 * (rate * life_s) ** 0.5)
    assert counts[0] == pytest.approx(counts[1], abs=30)  # those still in line at the end


def test_a_rate_follows_its_curve() -> None:
    ramp = Curve(np.array([0.0, 100.0, 100.0, 200.0]), np.array([0.0, 200.0, 0.0, 0.0]))
    script = task(touch(0, rate=1.0, rate_curve=0, cost_s=1e-6))
    one = guest(script, regions=[anon(10)], pages=256, curves=(ramp,))
    fleet = run(host(one), 100.0)
    half = int(fleet.task[0, 0, 0]["arrivals"])
    assert half == pytest.approx(200 * 100 / 2, rel=0.05)
    fleet.advance(np.array([200.0]))
    assert fleet.task[0, 0, 0]["arrivals"] - half <= 1


def test_a_size_follows_its_curve() -> None:
    grow = Curve(np.array([0.0, 100.0]), np.array([10.0, 500.0]))
    script = task(touch(0, size=0, seconds=0.1, cost_s=1e-4), again())
    one = guest(script, regions=[anon(500)], pages=1024, curves=(grow,))
    fleet = run(host(one), 50.0)
    assert 240 <= fleet.guest[0, 0]["anon_pages"] <= 256
    fleet.advance(np.array([101.0]))
    fleet.check()
    assert fleet.guest[0, 0]["anon_pages"] == 500
