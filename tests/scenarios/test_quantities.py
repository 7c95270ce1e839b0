"""Amounts, rates and spans: what they read, what they refuse, and what they write back."""

import pytest

from scenarios.quantities import (
    parse_amount,
    parse_rate,
    parse_span,
    written_amount,
    written_rate,
    written_span,
)

MIB = 2**20


def test_an_amount_is_a_size_or_a_share() -> None:
    assert parse_amount("300MiB").of(0) == 300 * MIB
    assert parse_amount(4096).of(10**9) == 4096
    assert parse_amount("12.5%").of(1000) == 125
    assert parse_amount("150%").of(1000) == 1500


def test_a_rate_may_follow_the_size_of_the_guest() -> None:
    assert parse_rate(200).of(2**31) == 200
    assert parse_rate("150/GiB").of(2**29) == 75
    assert parse_rate("1.5e3 / GiB").of(2**30) == 1500


def test_a_span_is_drawn_between_its_ends() -> None:
    assert parse_span("30s").at(0.7) == 30
    assert parse_span(["5s", "1min"]).at(0.5) == pytest.approx(32.5)


@pytest.mark.parametrize("text", ["300MiB", "30%", "12.5%", 4097])
def test_amounts_are_written_as_they_are_read(text: object) -> None:
    assert parse_amount(written_amount(parse_amount(text))) == parse_amount(text)


@pytest.mark.parametrize("text", [200, 1.25, "150/GiB"])
def test_rates_are_written_as_they_are_read(text: object) -> None:
    assert parse_rate(written_rate(parse_rate(text))) == parse_rate(text)


@pytest.mark.parametrize("text", ["30s", ["5s", "30s"]])
def test_spans_are_written_as_they_are_read(text: object) -> None:
    assert parse_span(written_span(parse_span(text))) == parse_span(text)


@pytest.mark.parametrize("text", ["", "-5%", "5 apples", -1, True, None, "1e3%"])
def test_other_amounts_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a size such as"):
        parse_amount(text)


@pytest.mark.parametrize("text", ["fast", -1, True, None, "5/MiB", float("nan"), float("inf")])
def test_other_rates_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a rate"):
        parse_rate(text)


@pytest.mark.parametrize("text", [["30s", "5s"], ["5s"], "soon", -1, [1, 2, 3]])
def test_other_spans_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_span(text)
