"""Experiments in general: ranges, labels, JSON, the page, and names that are wrong."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from scenarios import outcome
from validation import __main__ as command
from validation import document, page, table
from validation.document import CurvesFound, Document, DocumentError, LineFound, QuantityFound
from validation.experiment import Quantity, UnknownExperiment, catalogue, chosen
from validation.page import IncompleteDocument
from validation.running import Measured, jobs_of

FOUND = QuantityFound(
    name="work, async / block",
    unit="",
    kind="predicted",
    published="1.91",
    low=1.7,
    high=2.05,
    values=(1.8, 1.9, 2.0),
    missed="",
)


def a_document(*quantities: QuantityFound, complete: bool = True) -> Document:
    line = LineFound("blind", (1.0, 2.0), (41.0, 21.0), ((40.0, 20.0), (42.0, 21.0), (44.0, 19.0)))
    experiment = document.ExperimentFound(
        name="V4",
        title="A title",
        source="A source",
        set_up="A set-up.",
        grain="",
        seconds=1.0,
        quantities=quantities or (FOUND,),
        curves=(CurvesFound("Passes", "pass", "s", (line,)),),
    )
    return Document(quick=False, seeds=3, complete=complete, experiments=(experiment,))


@pytest.mark.parametrize(
    ("values", "low", "high", "passed", "by"),
    [
        ((1.8, 2.2), 1.7, 2.05, True, ""),
        ((1.0, 1.0), 1.0, None, True, ""),
        ((8.0,), None, 8.0, True, ""),
        ((2.46,), 1.7, 2.05, False, "20% above"),
        ((1.53,), 1.7, None, False, "10% below"),
        ((0.5,), None, 0.0, False, "0.5 above"),
        ((1.0, None), 0.0, 2.0, False, "there is no value"),
    ],
)
def test_the_mean_has_to_lie_in_the_range(
    values: tuple[float | None, ...], low: float | None, high: float | None, passed: bool, by: str
) -> None:
    found = replace(FOUND, values=values, low=low, high=high)
    assert found.passed is passed
    assert found.by == by


def test_a_miss_is_explained_or_not() -> None:
    missed = replace(FOUND, values=(3.0,))
    assert missed.unexplained
    assert not replace(missed, missed="The disk is faster here.").unexplained
    assert not FOUND.unexplained


@pytest.mark.parametrize(
    ("mean", "explained"), [(2.6, True), (2.9, True), (3.05, False), (1.0, False), (None, False)]
)
def test_a_reason_holds_for_the_miss_that_it_was_written_for(
    mean: float | None, explained: bool
) -> None:
    missed = replace(FOUND, values=(mean,), missed="The disk is faster here.", missed_at=2.65)
    assert missed.unexplained is not explained
    assert missed.why.startswith("The disk" if explained else "Not explained yet; for 2.65 the")


def test_a_reason_comes_with_the_mean_that_it_explains() -> None:
    for reason in ({"missed": "Why."}, {"missed_at": 2.0}, {"missed": "Why.", "missed_at": 1.0}):
        with pytest.raises(ValueError, match="a reason for a mean that was out of range"):
            Quantity("x", lambda _: 0.0, "1", high=1.5, **reason)


def test_a_quantity_has_a_bound() -> None:
    with pytest.raises(ValueError, match="expected a bound"):
        Quantity("x", lambda _: 0.0, "1")
    with pytest.raises(ValueError, match="range 2 to 1"):
        Quantity("x", lambda _: 0.0, "1", low=2, high=1)


def test_a_document_survives_json(tmp_path: Path) -> None:
    found = a_document(FOUND, replace(FOUND, name="other", values=(1.0, None, 1.0)))
    document.write(found, tmp_path / "found.json")
    document.write(document.read(tmp_path / "found.json"), tmp_path / "again.json")
    assert (tmp_path / "found.json").read_bytes() == (tmp_path / "again.json").read_bytes()
    assert document.read(tmp_path / "found.json").quantities[0] == FOUND


def test_a_run_that_ends_too_soon_has_no_value() -> None:
    (first,) = chosen(["V1"])
    missing = Quantity("x", lambda runs: runs["async"].between("begin", "never").seconds, "1", 0.0)
    odd = Quantity("y", lambda _: float("nan"), "1", 0.0)
    idle = Quantity("z", lambda runs: 1.0 / runs["async"].between().task("done", "none"), "1", 0.0)
    quantities = (missing, odd, idle)
    experiment = replace(first, quantities=quantities, runs={"async": first.runs["async"]})
    scenario = experiment.runs["async"].load(["length=1s"])
    found = document.document(
        [Measured(experiment, ({"async": outcome.run(scenario)},), 1.0)], False, True
    )
    assert [quantity.values for quantity in found.quantities] == 3 * [(None,)]
    assert [quantity.by for quantity in found.quantities] == 3 * ["there is no value"]


@pytest.mark.parametrize("content", ["", "{}", '{"format": 2}', "[1]"])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "file.json").write_text(content)
    with pytest.raises(DocumentError, match=r"file\.json: .*expected a --json file"):
        document.read(tmp_path / "file.json")
    with pytest.raises(DocumentError, match=r"none\.json: cannot be read"):
        document.read(tmp_path / "none.json")


def test_a_quantity_without_a_value_a_seed_is_refused(tmp_path: Path) -> None:
    document.write(a_document(), tmp_path / "file.json")
    text = (tmp_path / "file.json").read_text()
    start, end = text.index('"values"'), text.index('"missed"')
    (tmp_path / "file.json").write_text(text[:start] + '"values": [],' + text[end:])
    with pytest.raises(DocumentError, match=r"values: Tuple should have at least 1 item"):
        document.read(tmp_path / "file.json")


def test_the_table_has_a_line_a_quantity_and_fits_a_terminal() -> None:
    missed = replace(FOUND, name="second", kind="calibrated", values=(3.0,), missed="A reason.")
    console = Console(width=80, record=True, highlight=False)
    table.show(a_document(FOUND, missed), console)
    text = console.export_text()
    assert all(len(line) <= 80 for line in text.splitlines())
    assert sum("pass" in line for line in text.splitlines()) == 1
    assert "* second" in text and "MISS" in text
    assert "V4 second: 46% above. A reason." in text
    assert "1 of 1 predicted quantities, 0 of 1 calibrated quantities" in text


def test_the_page_depends_on_the_document_alone(tmp_path: Path) -> None:
    calibrated = replace(FOUND, name="rate", kind="calibrated", values=(3.0,))
    found = a_document(FOUND, calibrated)
    for folder in ("one", "two"):
        page.write(found, tmp_path / folder / "validation.md")
    for name in ("validation.md", "figures/validation_v4.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    text = (tmp_path / "one" / "validation.md").read_text()
    predicted, rest = text.split("## Calibrated")
    assert "work, async / block" in predicted and "rate" not in predicted.split("## Predicted")[1]
    assert "**V4, rate**: 3.00 instead of 1.70–2.05, 46% above.\n\n  Not explained yet." in rest


def test_a_reason_stands_once_below_all_that_it_is_for(tmp_path: Path) -> None:
    one, other = (
        replace(FOUND, name=name, values=(3.0,), missed="A slow disk.") for name in ("a", "b")
    )
    page.write(a_document(one, other), tmp_path / "validation.md")
    text = (tmp_path / "validation.md").read_text()
    assert "**V4, a**" in text and "**V4, b**" in text and text.count("A slow disk.") == 1


def test_no_curve_hides_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(*published: tuple[float, ...] | None) -> Axes:
        made: list[Figure] = []

        def keep(**how: Any) -> Figure:  # noqa: ANN401  passed on
            made.append(Figure(**how))
            return made[0]

        monkeypatch.setattr(page, "Figure", keep)
        lines = tuple(
            LineFound(str(number), (1.0, 2.0), line, ((20.0, 21.0),))
            for number, line in enumerate(published)
        )
        page.figure(CurvesFound("t", "x", "y", lines))
        return made[0].axes[0]

    shared = drawn((20.0, 30.0), (20.0, 30.0))
    dashed = [line for line in shared.lines if line.get_linestyle() == "--"]
    assert [line.get_label() for line in dashed] == ["published"]
    sizes = [line.get_markersize() for line in shared.lines if line not in dashed]
    assert sizes[0] > sizes[1]
    assert shared.get_yscale() == "linear"
    apart = drawn((20.0, 30.0), (20.0, 600.0))
    assert sum(line.get_linestyle() == "--" for line in apart.lines) == 2
    assert apart.get_yscale() == "log"


def test_the_page_is_of_a_full_run(tmp_path: Path) -> None:
    with pytest.raises(IncompleteDocument):
        page.write(a_document(complete=False), tmp_path / "validation.md")
    assert not list(tmp_path.iterdir())


def test_an_unknown_name_is_told_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownExperiment, match=r"V5, V99: expected some of V1"):
        chosen(["v1", "V5", "v99"])
    assert command.main(["V99"]) == 2
    assert "expected some of V1" in capsys.readouterr().err


def test_names_choose_in_the_order_of_numbers() -> None:
    assert [one.name for one in chosen([])] == list(catalogue())
    assert [one.name for one in chosen(["v1"])] == ["V1"]
    numbers = [int(name[1:]) for name in catalogue()]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("name", catalogue())
def test_every_set_up_is_a_scenario(name: str) -> None:
    experiment = catalogue()[name]
    for run in experiment.runs.values():
        assert run.load().description
        run.load(experiment.quick or ())


def test_a_full_run_has_three_seeds_and_a_quick_one_a_single_seed() -> None:
    (first,) = chosen(["V1"])
    assert len(jobs_of([first], quick=False)) == 9
    assert len(jobs_of([first], quick=True)) == 3
    assert not jobs_of([replace(first, quick=None)], quick=True)


def test_the_command_reads_what_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document.write(a_document(replace(FOUND, values=(9.0,))), tmp_path / "found.json")
    where = tmp_path / "docs" / "validation.md"
    given = ["--from", str(tmp_path / "found.json"), "--page", str(where)]
    assert command.main(given) == 1  # a miss that nobody explained
    assert where.is_file()
    assert "MISS" in capsys.readouterr().out


@pytest.mark.parametrize(
    "given",
    [
        ["V1", "--processes", "0"],
        ["V1", "--from", "x"],
        ["--quick", "--from", "x"],
        ["V1", "--page", "x"],
    ],
)
def test_what_does_not_go_together_is_refused(given: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(given)


def test_a_file_that_cannot_be_written_is_found_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: object) -> None:
        raise AssertionError("it ran")

    monkeypatch.setattr(command, "_run", run)
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "found.json"):
        assert command.main(["V1", "--json", str(path)]) == 2
        assert str(tmp_path) in capsys.readouterr().err
