"""Configurations: what is accepted, and that every mistake is named where it was made."""

import enum
import math
import os
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from configs import document
from configs.loading import (
    Bytes,
    Config,
    ConfigError,
    Seconds,
    build,
    check_writable,
    dump,
    format_bytes,
    load,
    packaged,
    parse_bytes,
    parse_seconds,
    write_atomic,
)


class Mode(enum.Enum):
    OFF = "off"
    ON = "on"


class Disk(Config):
    kind: Literal["disk"] = "disk"
    latency_s: Seconds = 0.005


class Zram(Config):
    kind: Literal["zram"]
    ratio: float


class Guest(Config):
    name: str
    size: Bytes
    floor: Bytes = 0

    @model_validator(mode="after")
    def _floor_below_size(self) -> "Guest":
        if self.floor > self.size:
            raise ValueError(f"floor ({self.floor}) must be at most size ({self.size})")
        return self


class Pair(Config):
    low: int
    high: int

    @model_validator(mode="after")
    def _in_order(self) -> "Pair":
        if self.low > self.high:
            raise ValueError(f"low: {self.low}: expected at most high, {self.high}")
        return self


class Spread(Config):
    inner: Pair


class House(Config):
    guests: tuple[Guest, ...]
    swap: Annotated[Disk | Zram, Field(discriminator="kind")] = Disk()
    period: Seconds = 5.0
    seeds: int | list[int] = 0
    mode: Mode = Mode.OFF
    limit: float = math.inf
    labels: dict[str, str] = {}  # noqa: RUF012  pydantic copies defaults


GOOD = """
guests:
  - {name: web, size: 4GiB, floor: 64 MiB}
  - {name: db, size: 4096}
swap: {kind: zram, ratio: 2.5}
period: 10min
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    path = tmp_path / "house.yaml"
    path.write_text(GOOD)
    return path


def complaint(path: Path, text: str, *overrides: str) -> str:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(House, path, overrides)
    return str(caught.value)


def test_a_good_file_becomes_its_model(house: Path) -> None:
    assert load(House, house) == House(
        guests=(Guest(name="web", size=2**32, floor=2**26), Guest(name="db", size=4096)),
        swap=Zram(kind="zram", ratio=2.5),
        period=600.0,
    )


def test_models_are_frozen(house: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(House, house).period = 1.0


def test_overrides_apply_in_order_and_reach_into_lists_and_missing_sections(house: Path) -> None:
    changes = ["guests.1.size=1.5GiB", "period=1", "period=2s"]
    changed = load(House, house, [*changes, "labels.owner=ann", "seeds=[1, 2]", "mode=on"])
    assert changed.guests[1].size == 3 * 2**29
    assert changed.guests[0].size == 2**32
    assert (changed.period, changed.labels, changed.seeds) == (2.0, {"owner": "ann"}, [1, 2])
    assert changed.mode is Mode.ON


def test_every_problem_is_named_at_once_with_file_path_value_and_expectation(house: Path) -> None:
    text = complaint(
        house,
        """
guests:
  - {name: web, size: 4GiX}
  - {name: 7, size: -1, weights: 3}
  - {size: 1}
swap: {kind: floppy}
period: soon
seeds: x
mode: maybe
speed: 3
""",
    )
    lines = text.splitlines()
    assert all(line.startswith(f"{house}: ") for line in lines)
    expected = {
        "guests.0.size": ["'4GiX'", "a size of 0 or more whole bytes"],
        "guests.1.name": ["got 7", "expected a valid string"],
        "guests.1.size": ["got -1", "a size of 0 or more whole bytes"],
        "guests.1.weights": ["got 3", "no such field; expected one of name, size, floor"],
        "guests.2.name": ["this field is required"],
        "swap": ["'kind'", "'disk', 'zram'"],
        "period": ["'soon'", "a duration"],
        "seeds": ["got 'x'; expected a valid integer or expected a list"],
        "mode": ["'maybe'", "'off' or 'on'"],
        "speed": ["got 3", "expected one of guests, swap, period", "labels"],
    }
    assert len(lines) == len(expected)
    for path, parts in expected.items():
        (line,) = [line for line in lines if line.startswith(f"{house}: {path}: ")]
        assert all(part in line for part in parts), line


def test_an_unknown_field_inside_a_tagged_union_names_the_right_fields(house: Path) -> None:
    text = complaint(house, "guests: []\nswap: {kind: zram, ratio: 2.0, latency: 1}")
    assert text == (
        f"{house}: swap.latency: got 1; there is no such field; expected one of kind, ratio"
    )


def test_a_tagged_union_without_its_tag_says_which_field_is_missing(house: Path) -> None:
    text = complaint(house, "guests: 3\nswap: {ratio: 2.0}\nlabels: []")
    assert f"{house}: swap: got {{'ratio': 2.0}}; its field kind is required" in text
    assert f"{house}: guests: got 3; expected a list" in text
    assert f"{house}: labels: got []; expected a mapping" in text


def test_a_combination_broken_by_an_override_is_blamed_on_it(house: Path) -> None:
    text = complaint(house, GOOD, "guests.1.floor=8KiB", "guests.0.name=x")
    assert text.startswith(f"{house}: guests.1: got ")
    assert text.endswith("(from --set guests.1.floor=8KiB)")


def test_a_field_that_does_not_fit_another_is_named_and_the_override_of_either_blamed() -> None:
    data = {"low": 3, "high": 5}
    with pytest.raises(ConfigError) as caught:
        build(Spread, {"inner": data}, "x", ["inner.high=2"])
    assert (
        str(caught.value) == "x: inner.low: 3: expected at most high, 2 (from --set inner.high=2)"
    )
    with pytest.raises(ConfigError) as caught:
        build(Pair, data, "x", ["high=2"])
    assert str(caught.value) == "x: low: 3: expected at most high, 2"


def test_a_misspelt_field_gets_a_suggestion(house: Path) -> None:
    assert "did you mean period?" in complaint(house, "guests: []\nperoid: 5")


def test_an_impossible_combination_is_named_at_its_section(house: Path) -> None:
    text = complaint(house, "guests: [{name: a, size: 1KiB, floor: 2KiB}]")
    assert text.startswith(f"{house}: guests.0: got {{'name': 'a'")
    assert text.endswith("floor (2048) must be at most size (1024)")


def test_a_long_value_is_cut(house: Path) -> None:
    assert len(complaint(house, f"guests: {'x' * 5000}")) < len(str(house)) + 200


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("period", "expected the form path.to.field=value"),
        ("=3", "expected the form path.to.field=value"),
        ("guests..size=3", "expected the form path.to.field=value"),
        ("guests.7.size=4GiB", "'7' is no place in a list of 2"),
        ("guests.-1.size=4GiB", "'-1' is no place in a list of 2"),
        ("guests.x.size=4GiB", "'x' is no place in a list of 2"),
        ("period.unit=4", "'unit' cannot be set inside the plain value '10min'"),
        ("period=[", "the value is not YAML"),
        ("guests.0.size=-4", "guests.0.size: got -4; expected a size"),
        ("guests.0.weight=4", "guests.0.weight: got 4; there is no such field"),
        ("swap.nothing.here=4", "swap.nothing: got {'here': 4}; there is no such field"),
        ("period=", "period: got None; expected a duration"),
    ],
)
def test_a_bad_override_is_blamed(house: Path, override: str, expected: str) -> None:
    text = complaint(house, GOOD, override)
    assert expected in text
    assert f"--set {override}" in text
    assert len(text.splitlines()) == 1


def test_only_the_guilty_override_is_blamed(house: Path) -> None:
    text = complaint(house, GOOD, "period=never", "guests.1.size=8GiB")
    assert text.endswith("(from --set period=never)")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("# only a comment", "is empty"),
        ("- 1\n- 2", "holds a list"),
        ("just words", "holds a str"),
        ("period: 1\nguests: []\nperiod: 2", "line 3, column 1: the key 'period' stands twice"),
        ("guests: [{name: a, name: b}]", "line 1, column 20: the key 'name' stands twice"),
        ("labels: {1: a}", "line 1, column 10: a key that is not text"),
        ("labels: {true: a}", "a key that is not text"),
        ("labels: {[a]: b}", "is not text"),
        ("guests: [", "line 1, column 10"),
        ("guests:\n\t- a", "line 2, column 1"),
        ("a: 1\n---\nb: 2", "line 2"),
        ("a: !!python/object/apply:os.system ['true']", "line 1, column 4"),
        ("a: !!timestamp nonsense", "line 1"),
        ("a: *nobody", "undefined alias"),
        ("guests: &loop [*loop]", "is not plain data"),
        ("a: \x07", "special characters are not allowed"),
        (f"guests: {'[' * 5000}", "cannot be read as plain data"),
        ('labels: {a: "\\ud800"}', "is not plain data"),
    ],
)
def test_text_that_is_no_configuration(house: Path, text: str, expected: str) -> None:
    said = complaint(house, text)
    assert said.startswith(f"{house}: ")
    assert expected in said


def test_a_file_that_is_not_utf8_or_cannot_be_read(house: Path, tmp_path: Path) -> None:
    house.write_bytes(b"guests: \xff\xfe\xfa")
    with pytest.raises(ConfigError, match="invalid start byte"):
        load(House, house)
    with pytest.raises(ConfigError, match="there is no such file"):
        load(House, tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="there is no such file"):
        load(House, tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("off", "off"),
        ("on", "on"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("010", "010"),
        ("2026-11-22", "2026-11-22"),
        ("0x10", 16),
        ("1_000_000", 1_000_000),
        ("-3", -3),
        ("1e6", 1e6),
        ("1.5e-3", 0.0015),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("-.inf", -math.inf),
    ],
)
def test_scalars_mean_what_they_look_like(text: str, expected: object) -> None:
    value = document.parse(text)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("value", ["true", "'3'", "3.5", "[true]", "null"])
def test_wrong_types_are_not_coerced(house: Path, value: str) -> None:
    assert f"{house}: seeds" in complaint(house, f"guests: []\nseeds: {value}")


def test_a_section_may_be_merged_before_it_is_reached() -> None:
    text = "deep: {er: {a: &a {x: 1}, b: &b {<<: *a, x: 2}}}\nflat: {<<: *b, x: 3}"
    assert document.parse(text) == {
        "deep": {"er": {"a": {"x": 1}, "b": {"x": 2}}},
        "flat": {"x": 3},
    }


def test_aliases_share_values_and_an_override_changes_one_of_them(house: Path) -> None:
    house.write_text("guests: [&a {name: a, size: 1KiB}, *a, {<<: *a, name: c}]")
    loaded = load(House, house, ["guests.1.size=2KiB"])
    assert [guest.size for guest in loaded.guests] == [1024, 2048, 1024]
    assert loaded.guests[2].name == "c"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (4096, 4096),
        (0, 0),
        ("0B", 0),
        ("4GiB", 2**32),
        ("64 MiB", 2**26),
        ("1.5GiB", 3 * 2**29),
        (".5KiB", 512),
        ("2kB", 2000),
        ("2KB", 2000),
        ("1.000001GB", 1_000_001_000),
        ("0.1KiB", 102),
        ("8TiB", 8 * 2**40),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text",
    [
        -1,
        "-1GiB",
        "4G",
        "4 gib",
        "GiB",
        "",
        "4",
        "4  GiB",
        "0.4B",
        "1e3MiB",
        "٤GiB",
        "4GiB\x00",
        1.5,
        4096.0,
        True,
        None,
        math.nan,
        math.inf,
        [],
        2**63,
        "8388608TiB",
        "1_000KiB",
    ],
)
def test_sizes_that_are_none(text: object) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (5, 5.0),
        (0.25, 0.25),
        ("5s", 5.0),
        ("3ns", 3e-9),
        ("10min", 600.0),
        ("1h", 3600.0),
        ("1.5 h", 5400.0),
        ("200ms", 0.2),
        ("100us", 0.0001),
        ("2d", 172800.0),
        (0, 0.0),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_seconds(text) == seconds
    assert isinstance(parse_seconds(text), float)


@pytest.mark.parametrize(
    "text",
    [
        -1,
        -0.5,
        "-5s",
        "5",
        "5m",
        "5 sec",
        "s",
        "",
        "1h30min",
        "12:30",
        True,
        None,
        math.nan,
        math.inf,
        [5],
        f"{'9' * 400}h",
    ],
)
def test_durations_that_are_none(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_seconds(text)


@given(
    st.integers(min_value=0, max_value=2**63 - 1)
    | st.integers(0, 2**23 - 1).map(lambda n: n * 2**40)
)
def test_a_size_reads_back_as_it_was_written(size: int) -> None:
    assert parse_bytes(format_bytes(size)) == size


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(
        ["on", "1e6", "010", "12:30", "~", "null", "<<", "0x1", "=", "1_0", ".5", " "]
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_data_reads_back_as_it_was_written(data: object) -> None:
    assert document.parse(document.write(data)) == data


def test_shared_values_are_written_out() -> None:
    shared = [1, 2]
    assert document.write({"a": shared, "b": shared}) == "a:\n- 1\n- 2\nb:\n- 1\n- 2\n"


def test_a_model_reads_back_as_it_was_dumped(house: Path, tmp_path: Path) -> None:
    original = load(House, house, ["seeds=[1, 2]", "mode=on", "labels={a: '1e6', b: 'off'}"])
    copy = tmp_path / "runs" / "mine" / "config.yaml"
    write_atomic(copy, dump(original))
    assert "size: 4GiB" in copy.read_text()
    assert load(House, copy) == original


def test_data_from_python_is_checked_like_a_file() -> None:
    assert build(House, {"guests": []}, "the scenario argument").guests == ()
    with pytest.raises(ConfigError, match=r"the scenario argument: period: got -1"):
        build(House, {"guests": [], "period": -1}, "the scenario argument")
    with pytest.raises(ConfigError, match="is not plain data"):
        build(House, {"guests": object()}, "the scenario argument")


def test_building_leaves_the_given_data_alone() -> None:
    data = {"guests": [{"name": "a", "size": 1}]}
    build(House, data, "here", ["guests.0.size=2"])
    assert data == {"guests": [{"name": "a", "size": 1}]}


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder of our own, and a working folder that is somewhere else."""
    package = tmp_path / "site" / "configs"
    (package / "evaluate").mkdir(parents=True)
    (package / "evaluate" / "talk.yaml").write_text("guests: []\nperiod: 7")
    (package / "evaluate" / "demo.yaml").write_text("guests: []\nperiod: 8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("configs.files.PACKAGE", package)
    monkeypatch.chdir(elsewhere)
    return package


@pytest.mark.parametrize(
    "name", ["evaluate/talk", "evaluate/talk.yaml", "configs/evaluate/talk.yaml"]
)
def test_packaged_files_are_found_from_any_folder(shipped: Path, name: str) -> None:
    assert load(House, name).period == 7.0
    assert load(House, Path(name)).period == 7.0


def test_a_file_in_the_working_folder_comes_first(shipped: Path) -> None:
    mine = Path("configs/evaluate/talk.yaml")
    mine.parent.mkdir(parents=True)
    mine.write_text("guests: []\nperiod: 9")
    assert load(House, "configs/evaluate/talk.yaml").period == 9.0
    assert load(House, "evaluate/talk").period == 7.0


def test_packaged_names_are_listed(shipped: Path) -> None:
    assert packaged("evaluate") == ["demo", "talk"]
    assert packaged() == ["evaluate/demo", "evaluate/talk"]
    assert packaged("nothing") == []


@pytest.mark.parametrize("name", ["evaluate/tlak", "nothing", "", ".", "evaluate", "a\x00b"])
def test_an_unknown_name_is_an_error_that_says_what_there_is(shipped: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"there is no such file, and|no such file") as caught:
        load(House, name)
    assert "evaluate/talk" in str(caught.value) or name in ("", ".")


@pytest.mark.parametrize("name", ["../site/configs/evaluate/tal", "/evaluate/talk"])
def test_packaged_lookup_does_not_leave_the_package(shipped: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load(House, name)


def test_atomic_write_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    write_atomic(path, "old")
    write_atomic(path, b"new\r\n")
    assert path.read_bytes() == b"new\r\n"
    assert os.listdir(path.parent) == ["file.txt"]


def test_a_failed_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    write_atomic(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_what_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.txt"
    for wrong in (tmp_path / "none" / "file.txt", tmp_path):
        with pytest.raises(OSError, match=str(tmp_path)):
            check_writable(wrong)
    assert not os.listdir(tmp_path)
    check_writable(path)
    assert not os.listdir(tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/file.txt'$"):
        write_atomic(path, "new")


def test_a_file_of_another_kind_is_one_complaint(house: Path) -> None:
    text = complaint(house, "guests: []\nsteps: 3\nppo: {}\nclone: {}")
    assert text == (
        f"{house}: steps, ppo, clone: there are no such fields; expected some of"
        f" {', '.join(House.model_fields)}: is the file meant for something else?"
    )


def test_many_names_are_not_listed(shipped: Path) -> None:
    (shipped / "train").mkdir()
    for number in range(30):
        (shipped / "train" / f"x{number}.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"what ships is in \w+/evaluate, \w+/train$"):
        load(House, "missing.yaml")
    with pytest.raises(ConfigError, match=r"there are evaluate/demo, evaluate/talk$"):
        load(House, "evaluate/zzz")
    with pytest.raises(ConfigError, match=r"did you mean evaluate/talk\?$"):
        load(House, "evaluate/tlak")
