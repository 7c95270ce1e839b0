"""Who won: one standing per policy or arm, and the sentence that says it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports import gap, measures, service
from reports.episodes import BASELINE_SEED, BOUND, Episode, GuestEpisode, Key, Results
from reports.slowdown import JOB_LIMIT
from reports.statistics import (
    FEW,
    RESAMPLES,
    Interval,
    interquartile_mean,
    spread,
    tail_mean,
)

VIOLATED = 1.10  # slowdown that breaks the usual service level
MANY = 8  # names in a sentence; the table has them all
IQM_SEEDS = 3  # interquartile means need at least this many training seeds


@dataclass(frozen=True)
class Standing:
    """One policy or arm over all its episodes."""

    label: str
    learned: bool
    episodes: int
    training_seeds: int
    j: Interval
    difference: Interval | None  # of J to the reference, paired; None for the reference itself
    gap_closed: Interval | None  # share; None of the reference, the bound, and where there is none
    interquartile_j: float  # across training seeds; NaN for fewer than IQM_SEEDS
    tail_score: float  # mean of the worst 5 % of guest scores
    slowdown_p95: float  # over guest-episodes; one that was killed counts JOB_LIMIT at least
    kills_per_guest_hour: float
    warm_up_kills: int
    progress: float
    lost_share: float  # of the task time that was not idle
    swap_bytes_per_s: float  # host swap in and out, per host
    hypercalls_per_s: float  # per host
    resize_share: float  # guest CPU seconds on resizing per second and host
    interventions_per_hour: float  # of the guard, per host
    fairness: float  # mean over hosts of Jain's index of the guests' scores, by weight
    violations: float  # share of guest-episodes slowed down by more than the limit, or killed
    limit: float  # slowdown that breaks the service level
    refault_bytes_per_s: float  # page cache read again, per host
    interventions: Mapping[str, float]  # of the guard, per host and hour, by name
    free_share: float  # mean free memory of the host, as a share of the guests' largest sizes

    def as_dict(self) -> dict[str, object]:
        """Plain data, intervals as value, low and high."""
        return {
            name: value._asdict() if isinstance(value, Interval) else value
            for name, value in vars(self).items()
        }


def standings(
    results: Results,
    reference: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
    limit: float = VIOLATED,
) -> tuple[Standing, ...]:
    """All policies or arms, best J first, compared with `reference` where it takes part.

    Args:
        results: of the evaluation.
        reference: label that the others are paired with.
        resamples: of the bootstrap.
        seed: of its draws.
        limit: slowdown that breaks the service level.
    """
    labels = results.labels()
    other = results.of(reference) if reference in labels else None
    shares = gap.shares(results, reference, resamples, seed)
    found = [
        _standing(results, label, reference, other, resamples, seed, limit, shares.get(label))
        for label in labels
    ]
    return tuple(sorted(found, key=lambda standing: -standing.j.value))


def verdict(
    results: Results,
    table: Sequence[Standing],
    reference: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[str, ...]:
    """Plain sentences: who won, how each learned policy fared, and what the numbers cannot say."""
    lines = [_winner(results, table, resamples, seed)]
    for standing in table:
        if standing.learned and standing.difference is not None:
            lines.append(_learned(standing, reference))
    return (*lines, *gap.caution(results, reference, resamples, seed), *cautions(results))


def contenders(table: Sequence[Standing]) -> Sequence[Standing]:
    """All but bounds, which see the future and cannot win; bounds where nobody else takes part."""
    return [row for row in table if not row.label.endswith(BOUND)] or table


def cautions(results: Results) -> tuple[str, ...]:
    """Plain sentences on what the numbers of any policies or arms cannot say."""
    return (*_left_out(results.episodes), *_warm_up_kills(results), *_few(results.episodes))


def _winner(results: Results, table: Sequence[Standing], resamples: int, seed: int) -> str:
    table = contenders(table)
    best = table[0]
    score = f"J {best.j.value:.3f}"
    if len(table) == 1:
        return f"{best.label} ran alone: {score}, nothing to compare it with."
    # Luck decides which of many has the best mean; it must pass all comparisons at once.
    others = table[1:]
    own = results.of(best.label)
    gaps = {
        other.label: measures.difference(
            own, results.of(other.label), measures.score, resamples, seed, len(others)
        )
        for other in others
    }
    second = table[1].label
    level = [label for label, gap in gaps.items() if not gap.low > 0]
    note = f"; intervals so wide that all {len(gaps)} hold at once" if len(gaps) > 1 else ""
    if not level:
        return f"{_subject(best)} won: {score}, ahead of {second} by {spread(gaps[second])}{note}."
    return (
        f"No clear winner: {best.label} has the best mean, {score}, but there is no evidence of a"
        f" difference to {_listed(level)} ({spread(gaps[level[0]])} against {level[0]}{note})."
        f"{_by_themselves(results, own, best.label, level, resamples, seed)}"
    )


def _by_themselves(
    results: Results,
    own: tuple[Episode, ...],
    best: str,
    level: Sequence[str],
    resamples: int,
    seed: int,
) -> str:
    """Whom the best is ahead of by an interval of its own, which a choice after the fact is not."""
    alone = {
        label: measures.difference(own, results.of(label), measures.score, resamples, seed)
        for label in level
    }
    ahead = [label for label, gap in alone.items() if gap.low > 0]
    if not ahead:
        return ""
    return (
        f" By an interval of its own the difference to {_listed(ahead)} leaves 0 out; that is not"
        f" enough, as {best} was picked because it came out best."
    )


def _learned(standing: Standing, reference: str) -> str:
    gap = standing.difference
    assert gap is not None
    name = _subject(standing, "The learned policy ")
    end = "; others may differ." if standing.training_seeds == 1 else "."
    if gap.low > 0:
        return f"{name} beat {reference} by {spread(gap)} in J{end}"
    if gap.high < 0:
        return f"{name} lost to {reference}: {spread(gap)} in J{end}"
    return f"{name} and {reference}: no evidence of a difference ({spread(gap)} in J){end}"


def _subject(standing: Standing, title: str = "") -> str:
    """Who a sentence is about: from a single training run nothing follows for others."""
    if standing.training_seeds == 1:
        return f"This one training run of {standing.label}"
    return f"{title}{standing.label}"


def _warm_up_kills(results: Results) -> list[str]:
    kills = {
        label: sum(episode.warm_up_kills for episode in results.of(label))
        for label in results.labels()
    }
    told = [f"{label} {count}" for label, count in kills.items() if count]
    return [f"Kills in the warm-up, which is not scored: {', '.join(told)}."] if told else []


def _left_out(episodes: Sequence[Episode]) -> list[str]:
    """A sentence for each policy or arm that asked a scenario's hosts for what they do not have."""
    found = {(part.label, part.scenario, part.left_out) for part in episodes if part.left_out}
    return [
        f"{label} on {scenario}: {columns} had no effect, as not all hosts there have it."
        for label, scenario, columns in sorted(found)
    ]


def _few(episodes: Sequence[Episode]) -> list[str]:
    """A sentence for each scenario whose hosts are too few, or too alike, to tell chance."""
    clusters: dict[str, set[str]] = {}
    seeds: dict[str, set[int]] = {}
    for episode in episodes:
        clusters.setdefault(episode.scenario, set()).add(episode.cluster)
        seeds.setdefault(episode.scenario, set()).add(episode.seed)
    return [
        _too_few(scenario, len(found), len(seeds[scenario]))
        for scenario, found in clusters.items()
        if len(found) < FEW
    ]


def _too_few(scenario: str, clusters: int, hosts: int) -> str:
    effect = "too few for intervals to be trusted" if clusters > 1 else "there is no interval"
    windows = clusters < hosts  # of traces, which several hosts replay
    return (
        f"Only {clusters} independent host{'s' * (clusters > 1)} in {scenario}"
        f"{f', as its {hosts} replay the same times of a trace' if windows else ''}: {effect};"
        f" {'longer traces have more times' if windows else 'raise seeds.count'}."
    )


def _listed(names: Sequence[str]) -> str:
    """Names for a sentence; where they are many, the first ones and how many more."""
    if len(names) > MANY:
        return f"{', '.join(names[:MANY])} and {len(names) - MANY} more"
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _standing(
    results: Results,
    label: str,
    reference: str,
    other: tuple[Episode, ...] | None,
    resamples: int,
    seed: int,
    limit: float,
    gap_closed: Interval | None,
) -> Standing:
    episodes, guests = results.of(label), results.guests_of(label)
    seconds = sum(episode.scored_s for episode in episodes)
    swapped = sum(part.host_swap_in_bytes + part.host_swap_out_bytes for part in episodes)
    busy = sum(sum(part.account_s.values()) - part.account_s["idle"] for part in episodes)
    kills = sum(episode.oom_kills + episode.host_kills for episode in episodes)
    slowdowns = [value for guest in guests if not math.isnan(value := _slowdown(guest))]
    largest = sum(guest.max_bytes for guest in guests)
    trained = sorted({episode.training_seed for episode in episodes})
    fired = _fired(episodes, seconds / 3600)
    difference = None
    if other is not None and label != reference:
        difference = measures.difference(episodes, other, measures.score, resamples, seed)
    return Standing(
        label=label,
        learned=trained[0] != BASELINE_SEED,
        episodes=len(episodes),
        training_seeds=len(trained) if trained[0] != BASELINE_SEED else 0,
        j=_in_range(measures.mean(episodes, measures.score, resamples, seed)),
        difference=difference,
        gap_closed=gap_closed,
        interquartile_j=_interquartile(episodes, trained),
        tail_score=tail_mean([guest.score for guest in guests]) if guests else math.nan,
        slowdown_p95=float(np.percentile(slowdowns, 95)) if slowdowns else math.nan,
        kills_per_guest_hour=kills / max(sum(part.guest_hours for part in episodes), 1e-9),
        warm_up_kills=sum(episode.warm_up_kills for episode in episodes),
        progress=float(np.mean([episode.progress for episode in episodes])),
        lost_share=sum(episode.lost_s for episode in episodes) / busy if busy else 0.0,
        swap_bytes_per_s=swapped / seconds,
        hypercalls_per_s=sum(episode.hypercalls for episode in episodes) / seconds,
        resize_share=sum(episode.resize_s for episode in episodes) / seconds,
        interventions_per_hour=sum(fired.values()),
        interventions=fired,
        fairness=float(np.mean(_fairness(guests))) if guests else math.nan,
        violations=float(np.mean(service.slowdowns(guests) > limit)) if guests else math.nan,
        limit=limit,
        refault_bytes_per_s=sum(episode.refaulted_bytes for episode in episodes) / seconds,
        free_share=sum(episode.free_bytes for episode in episodes) / max(largest, 1),
    )


def _fired(episodes: Sequence[Episode], hours: float) -> dict[str, float]:
    """Interventions of the guard per host and hour, by name."""
    total: Counter[str] = Counter()
    for part in episodes:
        total.update(part.interventions)
    return {name: count / hours for name, count in total.items()}


def _fairness(guests: Sequence[GuestEpisode]) -> list[float]:
    """Of each episode; guests of weight 0 are left out."""
    hosts: dict[Key, list[GuestEpisode]] = {}
    for guest in guests:
        if guest.weight > 0:
            hosts.setdefault(guest.key, []).append(guest)
    return [
        measures.fairness(
            np.array([guest.score for guest in own]), np.array([guest.weight for guest in own])
        )
        for own in hosts.values()
    ]


def _slowdown(guest: GuestEpisode) -> float:
    """A guest's slowdown; a kill ends what is measured, so it must not look like speed."""
    if math.isnan(guest.killed_s):
        return guest.slowdown
    return float(np.fmax(guest.slowdown, JOB_LIMIT))


def _in_range(score: Interval) -> Interval:
    """The interval of a score cut to what a score can be; NaN bounds stay."""
    return score._replace(
        low=float(np.clip(score.low, 0, 1)), high=float(np.clip(score.high, 0, 1))
    )


def _interquartile(episodes: Sequence[Episode], trained: Sequence[int]) -> float:
    if len(trained) < IQM_SEEDS:
        return math.nan
    return interquartile_mean(
        [
            float(np.mean([part.j for part in episodes if part.training_seed == seed]))
            for seed in trained
        ]
    )
