import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import statistics
from reports.statistics import Sample, bootstrap_mean, interquartile_mean, tail_mean

Values = Sequence[float] | np.ndarray


def sample(
    values: Values,
    training: Values | None = None,
    cluster: Values | None = None,
    scenario: Sequence[str] | None = None,
) -> Sample:
    size = len(values)
    return Sample(
        np.array(values, dtype=float),
        np.array(training if training is not None else [0] * size),
        np.array(cluster if cluster is not None else range(size)),
        np.array(scenario if scenario is not None else ["s"] * size),
    )


def test_tail_mean_takes_parts_of_the_value_on_the_border() -> None:
    values = list(range(1, 41))  # 5 % of 40 are the lowest two
    assert tail_mean(values) == pytest.approx(1.5)
    assert tail_mean(values[:30]) == pytest.approx((1 + 0.5 * 2) / 1.5)  # one and a half
    assert tail_mean(values[:10]) == pytest.approx(1)  # half of the lowest


def test_tail_mean_against_a_percentile_by_hand() -> None:
    assert tail_mean([5, 3, 1, 4, 2], share=0.4) == pytest.approx(1.5)


def test_interquartile_mean_by_hand() -> None:
    assert interquartile_mean([100, 2, 3, -50]) == pytest.approx(2.5)
    # Five values: the middle half is 2.5 of them, 0.75 + 1 + 0.75.
    assert interquartile_mean([0, 1, 2, 4, 9]) == pytest.approx((0.75 * 1 + 2 + 0.75 * 4) / 2.5)
    assert interquartile_mean([7]) == pytest.approx(7)


@pytest.mark.parametrize("function", [tail_mean, interquartile_mean])
def test_no_values_is_an_error(function: Callable[[Sequence[float]], float]) -> None:
    with pytest.raises(ValueError, match="no values"):
        function([])


def test_paired_difference_by_hand() -> None:
    own = sample([0.9, 0.5, 0.8])
    other = sample([0.2, 0.6, 0.4, 0.8])
    found = statistics.paired_difference(
        own, other, np.array(["a", "b", "a"]), np.array(["b", "a", "b", "a"])
    )
    assert found.value == pytest.approx([0.3, 0.1, 0.3, 0.1, 0.2, 0.0])


def test_paired_difference_names_the_missing_key() -> None:
    with pytest.raises(ValueError, match="host-9"):
        statistics.paired_difference(
            sample([1.0]), sample([1.0]), np.array(["host-9"]), np.array(["host-1"])
        )


def test_interval_is_the_exact_bootstrap_of_a_small_sample_stretched() -> None:
    values = np.array([0.1, 0.2, 0.4, 0.9, 0.7, 0.3])
    exact = [np.mean(draw) for draw in itertools.product(values, repeat=len(values))]
    low, high = np.quantile(exact, (0.025, 0.975))
    mean, stretch = np.mean(values), np.sqrt(6 / 5) * 2.570582 / 1.959964  # t of five over z
    found = bootstrap_mean(sample(values), resamples=40_000)
    assert found.value == pytest.approx(mean)
    assert found.low == pytest.approx(mean - stretch * (mean - low), abs=0.006)
    assert found.high == pytest.approx(mean + stretch * (high - mean), abs=0.006)


def test_few_hosts_stretch_an_interval_and_many_do_not() -> None:
    assert statistics.stretch(100_000, 1) == pytest.approx(1, abs=1e-4)
    assert statistics.stretch(5, 1) == pytest.approx(np.sqrt(5 / 4) * 2.776445 / 1.959964)


@pytest.mark.parametrize("hosts", [2, 3, 4, 8])
def test_intervals_cover_a_normal_mean_about_as_often_as_they_say(hosts: int) -> None:
    generator = np.random.default_rng(5)
    covered = 0
    for index in range(300):
        found = bootstrap_mean(sample(generator.normal(size=hosts)), resamples=800, seed=index)
        covered += found.low <= 0 <= found.high
    assert 0.9 <= covered / 300 <= 0.985


@pytest.mark.parametrize("windows", [2, 3, 4])
def test_many_hosts_of_one_scenario_do_not_vouch_for_few_of_another(windows: int) -> None:
    generator = np.random.default_rng(windows)
    cluster = np.concatenate([np.arange(12), 12 + np.arange(12) % windows])
    covered = 0
    for index in range(300):
        spread = np.append(generator.normal(0, 0.1, 12), generator.normal(0, 1, windows))
        found = bootstrap_mean(
            sample(spread[cluster], cluster=cluster, scenario=[*"a" * 12, *"b" * 12]), 800, index
        )
        covered += found.low <= 0 <= found.high
    assert covered / 300 >= 0.9


def test_episodes_of_one_cluster_do_not_count_as_independent() -> None:
    generator = np.random.default_rng(0)
    by_cluster = generator.normal(size=10)
    values = np.repeat(by_cluster, 20)
    alone = bootstrap_mean(sample(by_cluster))
    clustered = bootstrap_mean(sample(values, cluster=np.repeat(np.arange(10), 20)))
    assert clustered == pytest.approx(alone)
    naive = bootstrap_mean(sample(values))
    assert naive.high - naive.low < 0.4 * (clustered.high - clustered.low)


def test_a_spread_between_training_seeds_widens_the_interval() -> None:
    hosts = np.tile([0.5, 0.6, 0.7, 0.6, 0.5], 4)
    training = np.repeat([0, 1, 2, 3], 5)
    cluster = np.tile(np.arange(5), 4)
    steady = bootstrap_mean(sample(hosts, training, cluster))
    shaky = bootstrap_mean(sample(hosts + 0.2 * (training - 1.5), training, cluster))
    assert shaky.high - shaky.low > 2 * (steady.high - steady.low)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.2, 4.0])  # between training seeds, of that between hosts
def test_intervals_cover_with_few_training_seeds(seeds: int, spread: float) -> None:
    generator = np.random.default_rng(seeds)
    training, cluster = np.repeat(np.arange(seeds), 12), np.tile(np.arange(12), seeds)
    covered = 0
    for index in range(300):
        runs, hosts = generator.normal(0, spread, seeds), generator.normal(0, 1, 12)
        values = (runs[:, None] + hosts).ravel()
        found = bootstrap_mean(sample(values, training, cluster), resamples=300, seed=index)
        covered += found.low <= 0 <= found.high
    assert covered / 300 >= 0.91


def test_the_training_seeds_of_either_side_widen_a_difference() -> None:
    hosts, runs = np.array([0.1, 0.2, 0.3, 0.4]), np.array([-0.1, 0.0, 0.1])
    one = sample(hosts + 0.5)
    many = sample((runs[:, None] + hosts).ravel(), np.repeat([1, 2, 3], 4), np.tile(range(4), 3))
    keys, others = np.arange(4), np.tile(np.arange(4), 3)
    ahead = bootstrap_mean(statistics.paired_difference(one, many, keys, others))
    behind = bootstrap_mean(statistics.paired_difference(many, one, others, keys))
    assert ahead == pytest.approx((-behind.value, -behind.high, -behind.low))
    half = 4.302653 * 0.1 / np.sqrt(3)  # t of two degrees of freedom
    assert ahead == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    again = bootstrap_mean(statistics.paired_difference(many, many, others, others))
    assert again == pytest.approx((0, 0, 0))


def test_many_comparisons_widen_every_interval() -> None:
    alone = bootstrap_mean(sample([0.1, 0.2, 0.4, 0.9, 0.7, 0.3]))
    one_of_ten = bootstrap_mean(sample([0.1, 0.2, 0.4, 0.9, 0.7, 0.3]), comparisons=10)
    ratio = 4.773341 / 2.570582  # t of five degrees of freedom at 0.9975 and 0.975
    assert one_of_ten.high - one_of_ten.value == pytest.approx(ratio * (alone.high - alone.value))


def test_a_scenario_with_one_cluster_is_not_certain() -> None:
    values = [0.1, 0.2, 0.3, 0.2, 5.1, 5.2]
    found = bootstrap_mean(sample(values, cluster=[0, 1, 2, 3, 4, 4], scenario=[*"aaaabb"]))
    assert found.value == pytest.approx(np.mean(values))
    assert np.isnan(found.low) and np.isnan(found.high)


def test_scenarios_with_a_cluster_in_common_are_one_stratum() -> None:
    values = [0.1, 0.2, 0.3, 0.2, 0.1, 0.2]
    found = bootstrap_mean(sample(values, cluster=[0, 1, 2, 2, 3, 4], scenario=[*"aaabbb"]))
    assert found.low < found.value < found.high


def test_scenarios_keep_their_shares_whichever_clusters_are_drawn() -> None:
    cluster, scenario = [0, 0, 0, 1, 1, 2, 3, 3], [*"aaaabbbb"]
    found = bootstrap_mean(sample([0.2] * 4 + [0.8] * 4, cluster=cluster, scenario=scenario))
    assert found == pytest.approx((0.5, 0.5, 0.5))


def test_a_difference_between_scenarios_is_no_uncertainty() -> None:
    values = [0.1, 0.2, 0.3, 0.2, 5.1, 5.2, 5.3, 5.2]
    found = bootstrap_mean(sample(values, scenario=["a"] * 4 + ["b"] * 4))
    assert found.value == pytest.approx(2.7)
    assert 2.5 < found.low < found.high < 2.9


def test_a_cluster_across_scenarios_is_drawn_as_one() -> None:
    shared = sample([1.0, 2, 3, 1, 2, 3], cluster=[0, 1, 2] * 2, scenario=["a"] * 3 + ["b"] * 3)
    assert bootstrap_mean(shared) == pytest.approx(bootstrap_mean(sample([1.0, 2, 3])))


def test_one_host_has_no_interval_and_shows_nothing() -> None:
    found = bootstrap_mean(sample([0.4, 0.6], training=[0, 1], cluster=[0, 0]))
    assert found.value == pytest.approx(0.5)
    assert np.isnan(found.low)
    assert np.isnan(found.high)
    assert not found.shows_difference


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12), st.integers(0, 10))
def test_intervals_hold_the_mean_and_come_out_again(values: list[float], seed: int) -> None:
    found = bootstrap_mean(sample(values), resamples=400, seed=seed)
    assert found.low - 1e-9 <= np.mean(values) <= found.high + 1e-9
    assert found == bootstrap_mean(sample(values), resamples=400, seed=seed)
