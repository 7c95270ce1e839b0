"""The growth rule: its account against a scalar one, and a host that never runs out."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract import growth, guard
from contract.arrays import GIB, MIB, PAGE, Ints
from contract.decision import Decision
from contract.guard import GuardConfig
from contract.telemetry import Telemetry
from tests.contract.readings import arbitrary, mib, reading

LIMITS = GuardConfig("limits")


def ask(telemetry: Telemetry, targets: object) -> Decision:
    return Decision(np.broadcast_to(np.asarray(targets, np.int64), telemetry.present.shape))


def test_reserve_is_two_percent_and_at_least_64_mib() -> None:
    assert growth.reserve_bytes(np.array([GIB, 100 * GIB])).tolist() == [64 * MIB, 2 * GIB]


def test_asks_beyond_the_budget_scale_by_one_factor_in_whole_pages() -> None:
    budget, asked = np.array([10 * PAGE, 10 * PAGE]), np.array([[15, 5], [4, 6]]) * PAGE
    grants = growth.scaled(budget, asked)
    assert (grants // PAGE).tolist() == [[7, 2], [4, 6]]
    assert (grants % PAGE == 0).all()


def test_unscaled_asks_are_granted_to_the_byte() -> None:
    assert growth.scaled(np.array([100]), np.array([[7, 5]])).tolist() == [[7, 5]]


def test_a_queue_serves_one_after_another() -> None:
    asked = np.array([[4, 4, 4]]) * PAGE
    grants = growth.queued(np.array([6 * PAGE + 5]), asked, np.array([[2, 0, 1]]))
    assert (grants // PAGE).tolist() == [[2, 0, 4]]
    assert (grants % PAGE == 0).all()


def test_a_grant_is_unbacked_until_resident_has_risen_by_as_much() -> None:
    """Room for 7.68 GiB beyond the reserve; 1 GiB granted counts until it is resident."""
    state, spare = guard.reset(1, 1), 8 * GIB - int(0.02 * 16 * GIB)
    first = reading(resident_bytes=2 * GIB)
    decision, state, _ = guard.guard(first, ask(first, 3 * GIB), state, LIMITS)
    assert decision.target_bytes.tolist() == [[3 * GIB]]
    for resident, unbacked in ((2 * GIB, GIB), (2 * GIB + GIB // 4, 3 * GIB // 4), (3 * GIB, 0)):
        seen = first._replace(
            applied_target_bytes=mib([[3072]]), resident_bytes=np.array([[resident]])
        )
        settled, size = growth.settle(seen, state.promises)
        assert size.tolist() == [[3 * GIB]]
        assert settled.unbacked_bytes.tolist() == [[unbacked]]
        assert growth.budget_bytes(seen, settled).tolist() == [spare - unbacked]


def test_a_cut_frees_its_promise_as_the_size_falls_and_not_before() -> None:
    """2 -> 3 GiB is granted; back at 2 the promise is gone only once current has followed."""
    state = guard.reset(1, 1)
    start = reading(resident_bytes=2 * GIB)
    _, state, _ = guard.guard(start, ask(start, 3 * GIB), state, LIMITS)
    grown = start._replace(applied_target_bytes=mib([[3072]]), current_bytes=mib([[3072]]))
    _, state, _ = guard.guard(grown, ask(grown, 2 * GIB), state, LIMITS)
    cut = grown._replace(applied_target_bytes=mib([[2048]]))
    for current, unbacked in ((3072, 1024), (2560, 512), (2048, 0)):
        now = cut._replace(current_bytes=mib([[current]]))
        settled, _ = growth.settle(now, state.promises)
        assert settled.unbacked_bytes.tolist() == mib([[unbacked]]).tolist()


def test_unknown_available_forbids_growth_and_nothing_else() -> None:
    telemetry = reading(1, 2, available_bytes=-1)
    decision, _, _ = guard.guard(
        telemetry, ask(telemetry, [3 * GIB, GIB]), guard.reset(1, 2), LIMITS
    )
    assert decision.target_bytes.tolist() == [[2 * GIB, GIB]]


def test_unknown_resident_is_backed_once_current_reaches_the_target() -> None:
    state = guard.reset(1, 1)
    blind = reading(resident_bytes=-1)
    _, state, _ = guard.guard(blind, ask(blind, 3 * GIB), state, LIMITS)
    for current, unbacked in ((2048, 1024), (3071, 1024), (3072, 0)):
        now = blind._replace(applied_target_bytes=mib([[3072]]), current_bytes=mib([[current]]))
        assert growth.settle(now, state.promises)[0].unbacked_bytes.tolist() == [[unbacked * MIB]]


def test_the_size_at_boot_is_no_growth() -> None:
    telemetry = reading(current_bytes=4 * GIB, applied_target_bytes=-1, available_bytes=0)
    decision, state, fired = guard.guard(
        telemetry, ask(telemetry, 4 * GIB), guard.reset(1, 1), LIMITS
    )
    assert decision.target_bytes.tolist() == [[4 * GIB]]
    assert state.promises.unbacked_bytes.tolist() == [[0]]
    assert not fired.any()


def test_a_new_guest_in_a_slot_owes_nothing() -> None:
    state = guard.reset(1, 1)
    telemetry = reading(resident_bytes=2 * GIB)
    _, state, _ = guard.guard(telemetry, ask(telemetry, 3 * GIB), state, LIMITS)
    other = telemetry._replace(guest_id=np.array([[7]]))
    assert growth.settle(other, state.promises)[0].unbacked_bytes.tolist() == [[0]]


@dataclass
class Account:
    """The rule for one guest, in scalars, as the module's text has it."""

    target: int = -1
    size: int = -1
    resident: int = -1
    unbacked: int = 0

    def settle(self, t: Telemetry, g: int) -> int:
        current, resident = int(t.current_bytes[0, g]), int(t.resident_bytes[0, g])
        applied = int(t.applied_target_bytes[0, g])
        applied = self.target if applied < 0 else applied
        size = max(applied, current)
        change = resident - self.resident if min(resident, self.resident) >= 0 else 0
        if size >= 0 and self.size >= 0:
            self.unbacked -= max(max(self.size - size, 0) + min(change, 0), 0)
        self.unbacked -= max(change, 0)
        if resident >= 0:
            self.unbacked = min(self.unbacked, size - resident if size >= 0 else self.unbacked)
        elif current >= 0 and current >= applied - PAGE:
            self.unbacked = 0
        self.unbacked = max(self.unbacked, 0)
        if size >= 0:
            self.size = size if self.size < 0 else min(self.size, size)
        self.resident = resident if resident >= 0 else self.resident
        self.target = applied
        return size


@given(st.integers(0, 2**32 - 1))
def test_any_sequence_of_readings_keeps_bounds_and_budget(seed: int) -> None:
    """Differential: the vectorised account equals the scalar one, and every call obeys the law."""
    rng = np.random.default_rng(seed)
    guests = int(rng.integers(1, 5))
    by_guest: dict[int, Account] = {}
    state = guard.reset(1, guests)
    previous = arbitrary(rng, 1, guests)
    for _ in range(6):
        fresh = arbitrary(rng, 1, guests)
        stays = fresh._replace(guest_id=previous.guest_id, present=previous.present)
        telemetry = previous = stays if rng.random() < 0.8 else fresh
        here = {int(guest) for guest in telemetry.guest_id[0] if guest >= 0}
        by_guest = {guest: by_guest.get(guest, Account()) for guest in here}
        accounts = [by_guest.get(int(guest), Account()) for guest in telemetry.guest_id[0]]
        sizes = [
            account.settle(telemetry, g) if telemetry.present[0, g] else -1
            for g, account in enumerate(accounts)
        ]
        targets = np.exp2(rng.uniform(0, 42, (1, guests))).astype(np.int64) - 1
        decision, state, _ = guard.guard(telemetry, Decision(targets), state, LIMITS)
        grown, budget = 0, 0
        if telemetry.available_bytes[0] >= 0 and telemetry.total_bytes[0] >= 0:
            reserve = max(64 * MIB, int(telemetry.total_bytes[0] * 0.02))
            promised = sum(account.unbacked for account in accounts)
            budget = max(0, int(telemetry.available_bytes[0]) - reserve - promised)
        for g, account in enumerate(accounts):
            target = int(decision.target_bytes[0, g])
            assert target >= -1
            if target < 0:
                continue
            size, smallest = sizes[g], int(telemetry.min_bytes[0, g])
            largest = int(telemetry.max_bytes[0, g])
            assert size >= 0, "a target was sent to a guest of unknown size"
            assert target <= (largest if largest >= 0 else size)
            floor = min(smallest, largest) if largest >= 0 else smallest
            assert target >= (min(floor, size) if smallest >= 0 else min(size, max(largest, 0)))
            grant = max(0, target - size)
            grown += grant
            account.unbacked += grant
            account.target = target
            account.size = target if grant else account.size
        assert grown <= budget
        assert state.promises.unbacked_bytes[0].tolist() == [a.unbacked for a in accounts]


@dataclass
class Machine:
    """A host whose guests follow late and touch what they may, all in MiB and fully backed."""

    ram: int
    size: list[int]
    resident: list[int] = field(init=False)
    target: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.resident, self.target = list(self.size), list(self.size)

    @property
    def available(self) -> int:
        return self.ram - sum(self.resident)

    def read(self, time_s: float) -> Telemetry:
        return reading(
            1,
            len(self.size),
            time_s=time_s,
            total_bytes=self.ram * MIB,
            available_bytes=max(self.available, 0) * MIB,
            min_bytes=64 * MIB,
            max_bytes=2048 * MIB,
            current_bytes=mib(self.size),
            resident_bytes=mib(self.resident),
            applied_target_bytes=mib(self.target),
        )

    def command(self, targets: Ints) -> None:
        for g, target in enumerate(targets[0].tolist()):
            if target >= 0:
                self.target[g] = target // MIB

    def move(self, guest: int, share: float, from_resident: float, touched: float) -> None:
        """Go part of the way to the target; then touch part of what the size allows."""
        change = int((self.target[guest] - self.size[guest]) * share)
        self.size[guest] += change
        held = int(self.resident[guest] + min(change, 0) * from_resident)
        held = max(min(held, self.size[guest]), 0)
        self.resident[guest] = held + int((self.size[guest] - held) * touched)


shares = st.sampled_from([0.0, 0.3, 1.0])
acts = st.lists(
    st.tuples(
        st.lists(st.integers(-1, 2100), min_size=3, max_size=3),
        st.lists(st.tuples(shares, shares, shares), min_size=3, max_size=3),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("level", ["limits", "full"])
@given(ram=st.integers(1600, 4000), acts=acts)
@example(
    ram=3600,
    acts=[([777, 2048, 0], [(1.0,) * 3] * 2 + [(0.0,) * 3]), ([0, 0, 703], [(0.0,) * 3] * 3)],
)
def test_a_host_of_lagging_guests_never_promises_what_it_lacks(
    level: str, ram: int, acts: list[tuple[list[int], list[tuple[float, float, float]]]]
) -> None:
    """Whoever grows may touch all of it at once, at any time, and the reserve is still there."""
    config = GuardConfig("full" if level == "full" else "limits")
    machine, state = Machine(ram, [500, 500, 500]), guard.reset(1, 3)
    reserve = max(64, -(-ram // 50))  # 2 %, rounded up to the MiB that all here is counted in
    for number, (targets, moves) in enumerate(acts):
        telemetry = machine.read(5.0 * number)
        asked = np.where(np.array([targets]) < 0, -1, mib([targets]))
        decision, state, _ = guard.guard(telemetry, Decision(asked), state, config)
        machine.command(decision.target_bytes)
        most = sum(
            max(size, target) for size, target in zip(machine.size, machine.target, strict=True)
        )
        assert most <= max(ram - reserve, 1500)
        for guest, (share, from_resident, touched) in enumerate(moves):
            machine.move(guest, share, from_resident, touched)
        assert machine.available >= min(reserve, ram - 1500)
