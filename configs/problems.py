"""What a failed validation has to say: field path, value and expectation, one line a field."""

import difflib
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

STRANGE = 3  # unknown fields at the top from which on the whole file is taken for another kind
SHOWN_CHARACTERS = 80  # of a value; a whole section would bury the message

FIELD = re.compile(r"([A-Za-z_][\w.-]*): ")  # what a complaint about several fields begins with

WORDINGS = {  # by pydantic's type of error
    "missing": "this field is required",
    "model_type": "expected a mapping of fields",
    "dict_type": "expected a mapping",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "set_type": "expected a list",
    "frozen_set_type": "expected a list",
}


class Complaint(NamedTuple):
    """What is wrong at one place."""

    text: str
    section: str  # path of all that may be to blame: a field's own, or where fields must fit


def describe(error: ValidationError, model: type[BaseModel], data: object) -> dict[str, Complaint]:
    """Word every problem of a validation of `data`: {field path: complaint}.

    What the members of a union expected at one place is joined by "or".  What fields must be to
    each other is said at the field that the complaint begins with, without the whole section; the
    path is "" where it is about the whole.
    """
    expected: dict[str, list[str]] = {}
    values: dict[str, str] = {}
    together: dict[str, Complaint] = {}
    unknown: list[str] = []  # at the top
    for detail in error.errors(include_url=False):
        if _only_follows(detail):
            continue
        path = ".".join(str(step) for step in _place(detail, model, data))
        wording = _expectation(detail, model)
        if found := _of_fields(detail, path, wording):
            for own, text in found:
                before = f"{together[own].text}; " if own in together else ""
                together[own] = Complaint(before + text, path)
            continue
        if detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1:
            unknown.append(path)
        if wording not in expected.setdefault(path, []):
            expected[path].append(wording)
        values[path] = "" if detail["type"] == "missing" else f"got {shown(detail['input'])}; "
    if len(unknown) >= STRANGE:
        expected = {path: words for path, words in expected.items() if path not in unknown}
        together[""] = Complaint(_another_kind(unknown, model), "")
    plain = {
        path: Complaint(values[path] + " or ".join(words), path) for path, words in expected.items()
    }
    return plain | together


def shown(value: object) -> str:
    """A value, short enough for one line."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _only_follows(detail: ErrorDetails) -> bool:
    """Whether a list is called too short only because its entries have problems of their own."""
    found, least = detail["input"], detail.get("ctx", {}).get("min_length", 0)
    return detail["type"] == "too_short" and isinstance(found, Sequence) and len(found) >= least


def _of_fields(detail: ErrorDetails, path: str, wording: str) -> list[tuple[str, str]]:
    """Paths and texts of a complaint about how fields of a section fit; none if it is no such."""
    if detail["type"] != "value_error" or not isinstance(detail["input"], Mapping):
        return []
    named = [(FIELD.match(line), line) for line in wording.split("\n")]
    if path and not all(start for start, _ in named):
        return []
    before = f"{path}." if path else ""
    return [
        (before + start[1], line[start.end() :]) if start else ("", line) for start, line in named
    ]


def _another_kind(unknown: Sequence[str], model: type[BaseModel]) -> str:
    return (
        f"{', '.join(unknown)}: there are no such fields; expected some of"
        f" {', '.join(model.model_fields)}: is the file meant for something else?"
    )


def _place(detail: ErrorDetails, model: type[BaseModel], data: object) -> Iterator[int | str]:
    """The steps of an error's location, without pydantic's union tags.

    They exist in the data; the last one may be a field that is missing or has its default.
    """
    steps = detail["loc"]
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        if isinstance(data, Mapping) and (
            step in data or (last and step in _fields_at(model, steps[:-1]))
        ):
            data = data.get(step)
            yield step
        elif isinstance(data, Sequence) and isinstance(step, int) and step < len(data):
            data = data[step]
            yield step


def _expectation(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """What was expected, in the words of YAML rather than of JSON."""
    message = detail["msg"]
    if detail["type"] == "extra_forbidden":
        return _unknown_field(str(detail["loc"][-1]), _fields_at(model, detail["loc"][:-1]))
    if detail["type"] == "union_tag_not_found":
        return f"its field {detail['ctx']['discriminator'].strip(chr(39))} is required"
    if detail["type"] == "union_tag_invalid":
        return _unknown_tag(detail)
    if detail["type"] == "too_short":
        return f"expected at least {detail['ctx']['min_length']}"
    if detail["type"] in WORDINGS:
        return WORDINGS[detail["type"]]
    if detail["type"] in ("value_error", "assertion_error"):
        return str(detail.get("ctx", {}).get("error", message))
    start = "Input should be "
    return f"expected {message.removeprefix(start)}" if message.startswith(start) else message


def _unknown_tag(detail: ErrorDetails) -> str:
    said = detail["ctx"]
    field, known = str(said["discriminator"]).strip("'"), str(said["expected_tags"])
    close = difflib.get_close_matches(str(said["tag"]), known.replace("'", "").split(", "), n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{field} {said['tag']!r}: expected one of {known}{hint}"


def _unknown_field(name: str, fields: Sequence[str]) -> str:
    if not fields:
        return "there is no such field"
    close = difflib.get_close_matches(name, fields, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"there is no such field; expected one of {', '.join(fields)}{hint}"


def _fields_at(model: type[BaseModel], steps: Sequence[int | str]) -> list[str]:
    """The names of the fields that the model has at a location of an error."""
    here = list(_members(model))
    for step in steps:
        inner = [part for kind in here for part in _inside(kind, step)]
        here = inner or [kind for kind in here if _tagged(kind, step)] or here
    models = [kind for kind in here if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return list(dict.fromkeys(name for kind in models for name in kind.model_fields))


def _members(kind: Any) -> Iterator[Any]:  # noqa: ANN401  any annotation
    """The plain types of an annotation: unions opened, metadata dropped."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _members(get_args(kind)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(kind):
            yield from _members(member)
    else:
        yield kind


def _inside(kind: Any, step: int | str) -> Iterator[Any]:  # noqa: ANN401  any annotation
    """The types that one step into a model, a list or a mapping can lead to."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(step))
        if field is not None:
            yield from _members(field.annotation)
        return
    origin, arguments = get_origin(kind), get_args(kind)
    if not isinstance(origin, type):
        return
    if issubclass(origin, Mapping) and len(arguments) == 2:
        yield from _members(arguments[1])
    elif issubclass(origin, Sequence) and isinstance(step, int):
        for argument in arguments:
            if argument is not Ellipsis:
                yield from _members(argument)


def _tagged(kind: Any, step: int | str) -> bool:  # noqa: ANN401  any annotation
    """Whether a location's step is pydantic's name or tag for this member of a union."""
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return False
    literals = (field.annotation for field in kind.model_fields.values())
    tags = {tag for kind in literals if get_origin(kind) is Literal for tag in get_args(kind)}
    return step == kind.__name__ or step in tags
