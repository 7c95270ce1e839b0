"""From samples of one batch to rows: one per episode, one per guest, and timelines."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from contract.interventions import NAMES
from memsim.account import CLASSES, FIRST_LOST, NOMINAL
from reports.episodes import Episode, GuestEpisode, Key, Timeline
from reports.sampling import Samples
from reports.slowdown import Outcome, Work, outcome, script
from scenarios.draw import DrawnHost


class EvaluationError(Exception):
    """An evaluation that cannot give a result; the message says which host and why."""


class Window(NamedTuple):
    """The scored part as samples."""

    first: int
    last: int
    begin_s: float
    end_s: float


class Batch(NamedTuple):
    """H hosts under one policy."""

    keys: tuple[Key, ...]  # (H,)
    drawn: tuple[DrawnHost, ...]  # (H,)
    samples: Samples
    fired: np.ndarray  # (H, len(NAMES)) int64 interventions of the guard in the scored part
    left_out: tuple[str, ...] = ()  # columns of decisions that the hosts cannot carry out


def window(samples: Samples, warm_up_s: float) -> Window:
    """The scored part: from the end of the warm-up to the last sample."""
    first = int(np.searchsorted(samples.time_s, warm_up_s - 1e-6))
    return Window(first, len(samples.time_s) - 1, warm_up_s, float(samples.time_s[-1]))


def rows(
    batch: Batch, references: Sequence[Mapping[int, Work]], warm_up_s: float
) -> tuple[list[Episode], list[GuestEpisode], list[Timeline]]:
    """All rows of a batch.

    Args:
        batch: what was simulated.
        references: (H,) slot -> the guest's reference run.
        warm_up_s: left out of the rows.

    Raises:
        EvaluationError: a host had no guest to score.
    """
    scored = window(batch.samples, warm_up_s)
    episodes, everyone, timelines = [], [], []
    for host, key in enumerate(batch.keys):
        guests = _guests(batch, host, references[host], scored)
        if not any(guest.weight > 0 for guest in guests):
            raise EvaluationError(f"{key.scenario}, seed {key.seed}: no guest took part")
        episodes.append(_episode(batch, host, guests, scored))
        everyone += guests
        timelines.append(_timeline(batch, host, scored))
    return episodes, everyone, timelines


def cluster(drawn: DrawnHost, key: Key) -> str:
    """What an episode depends on: its seed, or the trace and the day that it replays."""
    return drawn.trace or f"seed {key.seed}"


def _guests(
    batch: Batch, host: int, references: Mapping[int, Work], scored: Window
) -> list[GuestEpisode]:
    found = []
    for slot, spec in enumerate(batch.drawn[host].spec.guests):
        work = batch.samples.work(host, slot, len(spec.tasks))
        scripts = [script(task) for task in spec.tasks]
        result = outcome(work, references[slot], scripts, scored.begin_s, scored.end_s)
        if result is not None:
            found.append(_guest(batch, host, slot, result, scored))
    return found


def _guest(batch: Batch, host: int, slot: int, result: Outcome, scored: Window) -> GuestEpisode:
    drawn, samples = batch.drawn[host], batch.samples
    facts, page = drawn.guests[slot], drawn.spec.page_bytes
    account = _grown(samples.account_s[host, :, slot], scored)
    inside = slice(scored.first, scored.last + 1)
    present = samples.gauge["state"][host, inside, slot] > 0
    size = samples.gauge["pages"] - samples.gauge["taken_pages"]
    return GuestEpisode(
        **batch.keys[host]._asdict(),
        **_counters(samples, host, slot, page, scored),
        account_s=dict(zip(CLASSES, account.tolist(), strict=True)),
        guest_id=facts.guest_id,
        name=facts.name,
        machine=facts.source,
        weight=facts.weight,
        max_bytes=facts.size,
        present_s=result.present_s,
        score=result.score,
        slowdown=result.slowdown,
        progress=progress(account),
        killed_s=result.killed_s,
        served=int(_grown(samples.task["served"][host, :, slot], scored).sum()),
        dropped=int(_grown(samples.task["dropped"][host, :, slot], scored).sum()),
        mean_size_bytes=int(size[host, inside, slot][present].mean() * page),
    )


def _episode(batch: Batch, host: int, guests: Sequence[GuestEpisode], scored: Window) -> Episode:
    samples, drawn, key = batch.samples, batch.drawn[host], batch.keys[host]
    page, seconds = drawn.spec.page_bytes, scored.end_s - scored.begin_s
    counted = [guest for guest in guests if guest.weight > 0]
    weight = np.array([guest.weight for guest in counted], np.float64)
    totals = _summed(guests)
    totals["host_swap_in_bytes"] = _traffic(samples, "swap_in_pages", host, scored) * page
    totals["host_swap_out_bytes"] = _traffic(samples, "swap_out_pages", host, scored) * page
    kills = samples.counter["oom_kills"] + samples.counter["host_kills"]
    free = samples.host["free_pages"][host, scored.first : scored.last + 1]
    return Episode(
        **key._asdict(),
        **totals,
        account_s={name: math.fsum(guest.account_s[name] for guest in guests) for name in CLASSES},
        cluster=cluster(drawn, key),
        guests=len(counted),
        guest_hours=sum(guest.present_s for guest in guests) / 3600,
        warm_up_s=scored.begin_s,
        scored_s=seconds,
        j=float(np.average([guest.score for guest in counted], weights=weight)),
        worst_score=min(guest.score for guest in counted),
        progress=float(np.average([guest.progress for guest in counted], weights=weight)),
        warm_up_kills=int(kills[host, scored.first].sum()),
        free_bytes=int(free.mean() * page),
        interventions=dict(zip(NAMES, batch.fired[host].tolist(), strict=True)),
        left_out=", ".join(batch.left_out),
    )


def progress(account_s: np.ndarray) -> float:
    """Nominal over nominal and lost time: (C,) task seconds by class; 1 if neither passed."""
    lost = float(account_s[FIRST_LOST:].sum())
    useful = float(account_s[NOMINAL])
    return useful / (useful + lost) if useful + lost > 0 else 1.0


def _counters(samples: Samples, host: int, slot: int, page: int, scored: Window) -> dict[str, Any]:
    def grown(name: str) -> float:
        return float(_grown(samples.counter[name][host, :, slot], scored))

    pages = {
        "host_swap_in_bytes": "host_swap_in",
        "host_swap_out_bytes": "host_swap_out",
        "guest_swap_in_bytes": "guest_swap_in",
        "guest_swap_out_bytes": "guest_swap_out",
        "discarded_bytes": "discarded",
        "refaulted_bytes": "refaults",
        "inflated_bytes": "inflated",
        "deflated_bytes": "deflated",
    }
    counts = ("hypercalls", "oom_kills", "host_kills")
    return {
        **{column: int(grown(name)) * page for column, name in pages.items()},
        **{name: int(grown(name)) for name in counts},
        "resize_s": grown("resize_s"),
    }


def _summed(guests: Sequence[GuestEpisode]) -> dict[str, Any]:
    names = [
        "guest_swap_in_bytes",
        "guest_swap_out_bytes",
        "discarded_bytes",
        "refaulted_bytes",
        "inflated_bytes",
        "deflated_bytes",
        "hypercalls",
        "oom_kills",
        "host_kills",
        "resize_s",
    ]
    return {name: sum(getattr(guest, name) for guest in guests) for name in names}


def _grown(values: np.ndarray, scored: Window) -> np.ndarray:
    """Totals (N, ...) -> what they grew by in the scored part (...)."""
    return np.asarray(values[scored.last] - values[scored.first])


def _traffic(samples: Samples, name: str, host: int, scored: Window) -> int:
    values = samples.host[name][host]
    return int(values[scored.last] - values[scored.first])


def _timeline(batch: Batch, host: int, scored: Window) -> Timeline:
    drawn, samples = batch.drawn[host], batch.samples
    guests, page = len(drawn.guests), drawn.spec.page_bytes
    gauge = {name: values[host, :, :guests] for name, values in samples.gauge.items()}
    present = gauge["state"] > 0
    taken, balloon = gauge["taken_pages"], gauge["balloon_pages"]
    period_s = float(samples.time_s[1] - samples.time_s[0])

    def held(pages: np.ndarray) -> np.ndarray:
        return np.where(present, np.maximum(pages, 0), 0) * page

    def rate(totals: np.ndarray) -> np.ndarray:
        return np.diff(totals, axis=0, prepend=totals[:1]) / period_s

    cached, free = gauge["file_pages"], gauge["free_pages"]
    return Timeline(
        key=batch.keys[host],
        guest_id=np.array([facts.guest_id for facts in drawn.guests], np.int64),
        name=tuple(facts.name for facts in drawn.guests),
        max_bytes=np.array([facts.size for facts in drawn.guests], np.int64),
        time_s=samples.time_s - scored.begin_s,
        used_bytes=held(gauge["pages"] - cached - free - balloon),
        cache_bytes=held(cached),
        free_bytes=held(free - (taken - balloon)),  # a free target takes from what is free
        ballooned_bytes=held(taken),
        swapped_bytes=held(gauge["host_swapped_pages"]),
        swap_in_bytes_per_s=rate(samples.host["swap_in_pages"][host]) * page,
        swap_out_bytes_per_s=rate(samples.host["swap_out_pages"][host]) * page,
        host_free_bytes=samples.host["free_pages"][host] * page,
        time_share=rate(samples.account_s[host, :, :guests].sum(axis=1)),
    )
