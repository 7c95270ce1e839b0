"""Write the table of a scenario's fields, `docs/scenario-fields.md`, from the models themselves.

`python -m tools.fields`; a test holds the page to the models.
"""

import types
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from configs.loading import Bytes, Seconds, format_bytes, write_atomic
from scenarios import curves, work
from scenarios.content import Content
from scenarios.mixes import Mix
from scenarios.quantities import (
    Amount,
    AmountField,
    Rate,
    Span,
    written_amount,
    written_rate,
    written_span,
)
from scenarios.schema import Entry, Scenario

PAGE = Path(__file__).parents[1] / "docs" / "scenario-fields.md"
HEAD = """\
# Fields of a scenario

Made by `python -m tools.fields` from the models; do not edit. How they go together is told, with
examples, in [scenarios.md](scenarios.md). A *size* is bytes (`300MiB`), a *share* a part of
something larger (`30%`), a *time* seconds (`200ms`), a *span* a time or two that it is drawn
between (`[5s, 30s]`), a *mix* values with how often each comes up (`{small: 3, large: 1}`), a
*rate* so many a second (`200`) or a second and GiB of the guest (`150/GiB`), *content* kinds of
content with their shares (`{zero: 0.1, "shared:debian12": 0.3}`). An *entry* of the timeline is one
of those with a `do`, a *phase* one with an `op`, a *curve* one with a `kind` below. A field without
a default is required; one whose default is *none* is left out unless you say something.

"""
SCALARS = {
    int: "count",
    float: "number",
    str: "text",
    bool: "true or false",
    Path: "path",
    Any: "value",
}
QUANTITIES = {Amount: "size or share", Rate: "rate", Span: "span"}
CHOICES = {id(work.Phase): "phase", id(curves.Curve): "curve", id(Entry): "entry"}


def page() -> str:
    """The whole page."""
    return HEAD + sections(models())


def sections(chosen: Iterable[type[BaseModel]]) -> str:
    """A table of the fields of each model."""
    return "\n".join(_section(model) for model in chosen)


def models(*roots: type[BaseModel]) -> list[type[BaseModel]]:
    """All models that these (a scenario) are made of, in the order in which a reader meets them."""
    found: list[type[BaseModel]] = []
    waiting: list[type[BaseModel]] = list(roots or [Scenario])
    while waiting:
        model = waiting.pop(0)
        if model in found:
            continue
        found.append(model)
        for field in model.model_fields.values():
            waiting += _inside(field.annotation)
    return found


def _inside(kind: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401  any annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for part in get_args(kind):
        yield from _inside(part)


def _section(model: type[BaseModel]) -> str:
    lines = [f"## {_title(model)}", "", (model.__doc__ or "").strip().splitlines()[0], ""]
    lines += ["| field | value | default | meaning |", "|---|---|---|---|"]
    lines += [_row(name, field) for name, field in model.model_fields.items()]
    return "\n".join(lines) + "\n"


def _title(model: type[BaseModel]) -> str:
    for tag in ("op", "do", "kind"):
        field = model.model_fields.get(tag)
        if field is not None and get_origin(field.annotation) is Literal:
            choices = get_args(field.annotation)
            if len(choices) == 1:
                return f"{model.__name__} (`{tag}: {choices[0]}`)"
    return model.__name__


def _row(name: str, field: FieldInfo) -> str:
    kind = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    default = "" if field.is_required() else _written(field.get_default(call_default_factory=True))
    cells = (f"`{name}`", value(kind), default, field.description or "")
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def value(kind: Any) -> str:  # noqa: ANN401  any annotation
    """What a field holds, in words."""
    if id(kind) in CHOICES:
        return CHOICES[id(kind)]
    known = {Bytes: "size", Seconds: "time", Mix: "mix", AmountField: "size or share"}
    for alias, words in known.items():
        if kind == alias:
            return words
    if kind == Content:
        return "content"
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _annotated(parts)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(value(one) for one in parts if one is not type(None)))
    if origin is tuple:
        if parts[-1] is Ellipsis:
            return f"list of {value(parts[0])}"
        return f"[{', '.join(value(one) for one in parts)}]"
    if origin is dict:
        return f"{{{value(parts[0])}: {value(parts[1])}}}"
    return _plain(kind)


def _annotated(parts: tuple[Any, ...]) -> str:
    kind, marks = parts[0], parts[1:]
    for alias, words in ((Bytes, "size"), (Seconds, "time")):
        own = get_args(alias)
        if kind is own[0] and own[1] in marks:
            return words
    return value(kind)


def _plain(kind: Any) -> str:  # noqa: ANN401  any annotation
    if kind in SCALARS:
        return SCALARS[kind]
    if kind in QUANTITIES:
        return QUANTITIES[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{one.value}`" for one in kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"[{kind.__name__}](#{_anchor(kind)})"
    return str(getattr(kind, "__name__", kind)).strip("'")


def _anchor(model: type[BaseModel]) -> str:
    kept = [c for c in _title(model).lower() if c.isalnum() or c in " -_"]
    return "".join(kept).replace(" ", "-")


def _written(default: Any) -> str:  # noqa: ANN401  any default
    if default is None or default in ({}, (), ""):
        return "none"
    if isinstance(default, BaseModel):
        return "as below"
    writers = {Amount: written_amount, Rate: written_rate, Span: written_span}
    for kind, written in writers.items():
        if isinstance(default, kind):
            text = written(default)  # type: ignore[operator]
            return f"`{text:g}`" if isinstance(text, float) else f"`{text}`"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, Enum):
        return f"`{default.value}`"
    if isinstance(default, int) and default >= 1 << 12:
        return f"`{format_bytes(default)}`"
    if isinstance(default, float):
        return f"{default:g}"
    if isinstance(default, dict):
        return ", ".join(f"{key}: {_written(one)}" for key, one in default.items())
    if isinstance(default, tuple):
        return "[" + ", ".join(_written(one) for one in default) + "]"
    return f"`{default}`" if isinstance(default, str) else str(default)


def main() -> None:
    """Write the page anew."""
    write_atomic(PAGE, page())


if __name__ == "__main__":
    main()
