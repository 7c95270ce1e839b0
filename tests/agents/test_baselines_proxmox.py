"""Proxmox's rule: what the policy feeds it, and a round in closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.baselines.proxmox import Guest, Proxmox, ProxmoxConfig, rule
from contract.arrays import GIB, MIB, Ints
from contract.telemetry import Telemetry
from tests.contract.readings import arbitrary, mib, reading

C = ProxmoxConfig()


def decided(telemetry: Telemetry) -> Ints:
    policy = Proxmox()
    decision, _, wake_at_s = policy.decide(telemetry, policy.reset(*telemetry.guest_id.shape))
    assert (wake_at_s == telemetry.time_s + 10.0).all()
    return decision.target_bytes


@given(st.integers(0, 2**32 - 1))
def test_decide_is_the_rule_on_what_the_host_tells(seed: int) -> None:
    rng = np.random.default_rng(seed)
    telemetry = arbitrary(rng, 2, 5)
    size = rng.integers(1, 64, (2, 5)) * 64 * MIB
    telemetry = telemetry._replace(
        min_bytes=size // 4, current_bytes=size // 2, max_bytes=size, total_bytes=mib([8000, 4000])
    )
    telemetry = telemetry._replace(available_bytes=mib(rng.integers(0, 4000, 2)))
    target = decided(telemetry)
    for host in range(2):
        guests = {
            slot: Guest(
                maxmem=int(telemetry.max_bytes[host, slot]),
                balloon=int(telemetry.current_bytes[host, slot]),
                balloon_min=int(telemetry.min_bytes[host, slot]),
                freemem=None if (free := int(telemetry.stats_free_bytes[host, slot])) < 0 else free,
                shares=None if (weight := int(telemetry.weight[host, slot])) < 0 else weight,
                lock="migrate" if telemetry.state[host, slot] == 3 else None,
            )
            for slot in range(5)
            if telemetry.present[host, slot]
        }
        total, available = int(telemetry.total_bytes[host]), int(telemetry.available_bytes[host])
        sizes = rule(guests, int(total * 0.8) - (total - available), C)
        assert target[host].tolist() == [sizes.get(slot, -1) for slot in range(5)]


def test_a_poor_guest_grows_by_the_step_while_the_host_has_room() -> None:
    """16 GiB with 8 GiB available: 80 % leaves 4.8 GiB to hand out."""
    poor = reading(1, 2, stats_free_bytes=[[GIB, 0]])
    assert decided(poor).tolist() == [[-1, 2 * GIB + 100 * MIB]]


def test_rich_guests_give_first_and_all_if_they_cannot() -> None:
    short = reading(1, 2, available_bytes=GIB, stats_free_bytes=[[GIB, 0]])
    assert decided(short).tolist() == [[2 * GIB - 100 * MIB, -1]]
    starved = reading(1, 2, available_bytes=GIB, stats_free_bytes=0)
    assert decided(starved).tolist() == [[2 * GIB - 100 * MIB] * 2]


@pytest.mark.parametrize("beyond", [-1, 0])
def test_a_goal_within_ten_mib_is_met(beyond: int) -> None:
    short = reading(total_bytes=10 * GIB, available_bytes=2 * GIB - 10 * MIB + beyond)
    assert (decided(short)[0, 0] >= 0) == (beyond < 0)


@pytest.mark.parametrize(
    "columns",
    [
        {"total_bytes": -1},
        {"available_bytes": -1},
        {"min_bytes": 0},
        {"min_bytes": -1},
        {"max_bytes": -1},
        {"current_bytes": -1},
        {"weight": 0},
        {"state": 3},
    ],
    ids=str,
)
def test_who_is_not_managed_or_not_known_is_left_alone(columns: dict[str, int]) -> None:
    assert decided(reading(**{"available_bytes": GIB, **columns})).tolist() == [[-1]]


@pytest.mark.parametrize(
    "settings",
    [{"target_percent": 101.0}, {"step_bytes": -1}, {"rich_share": float("nan")}],
    ids=str,
)
def test_settings_without_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ProxmoxConfig(**settings)  # type: ignore[arg-type]
