"""The table of constants in the documentation."""

import pytest

from memsim import params
from tools import parameters


def test_every_constant_has_a_row_that_says_what_it_is() -> None:
    source = parameters.PARAMS.read_text()
    rows = {p.name: p for group in parameters.groups(source) for p in group.parameters}
    constants = {name for name in vars(params) if name.isupper()}
    assert set(rows) == constants
    assert [name for name, row in rows.items() if not row.meaning] == []


def test_a_comment_may_go_on_in_the_next_line() -> None:
    source = "# Costs\nSLICE_S = 1.0  # one,\n    # two\n"
    (group,) = parameters.groups(source)
    assert group.title == "Costs"
    assert group.parameters[0].meaning == "one, two"


def test_the_page_is_that_of_the_present_constants() -> None:
    page = parameters.PAGE.read_text()
    assert parameters.written(page, parameters.PARAMS.read_text()) == page, (
        "run python -m tools.parameters"
    )


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="marks"):
        parameters.written("# The model", "A = 1  # a")
