"""YAML text as plain data, with the traps of YAML 1.1 closed, and `--set` on top of it.

`on`, `off`, `yes` and `no` are text, `12:30` and `010` are text, `1e6` is a number, a key that
stands twice is an error, and every key is text.  Tags build nothing but plain data.
"""

import re
from collections.abc import Sequence
from typing import Any

import yaml

PLAIN_TYPES = frozenset({"map", "seq", "str", "int", "float", "bool", "null"})


class DocumentError(Exception):
    """Text that is no YAML mapping, or a `--set` that fits nothing; the message says where."""


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader with the scalar rules of YAML 1.2 and without repeated keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  PyYAML's own name and place for them

    yaml_constructors = {  # noqa: RUF012  the same; tags such as !!timestamp and !!set are errors
        tag: build
        for tag, build in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in PLAIN_TYPES
    }

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401  a name; the stubs say otherwise
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                raise yaml.MarkedYAMLError(
                    problem="a key that is not text; put it in quotes",
                    problem_mark=key.start_mark,
                )
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return node


_SCALARS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?"
        r"|[0-9][0-9_]*[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
)


class _PlainDumper(yaml.SafeDumper):
    """Puts text in quotes where either version of YAML would take it for something else."""

    def ignore_aliases(self, data: object) -> bool:
        return True  # values that happen to be shared are written out


for _name, _pattern, _first in _SCALARS:
    for _class in (_PlainLoader, _PlainDumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern})$"), list(_first)
        )


def parse(text: str | bytes) -> Any:  # noqa: ANN401  whatever YAML holds
    """Read one YAML document.

    Raises:
        DocumentError: not YAML, a repeated key, a key that is not text, or nested too deeply.
    """
    try:
        return yaml.load(text, Loader=_PlainLoader)  # a SafeLoader: plain data only
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DocumentError(_where(error)) from error
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"cannot be read as plain data: {error}") from error


def mapping(text: str | bytes) -> dict[str, Any]:
    """Read one YAML document that must be a mapping of field names.

    Raises:
        DocumentError: as `parse`, or empty, or something other than a mapping.
    """
    data = parse(text)
    if not isinstance(data, dict):
        found = "is empty" if data is None else f"holds a {type(data).__name__}"
        raise DocumentError(f"{found}; expected `field: value` lines")
    return data


def write(data: object) -> str:
    """Plain data as YAML text, fields in their order; `parse` reads the same data back.

    Only ASCII is written: PyYAML loses some of Unicode's line ends otherwise.
    """
    return yaml.dump(data, Dumper=_PlainDumper, sort_keys=False)


def split_override(override: str) -> tuple[tuple[str, ...], Any]:
    """Split `a.b=value` into its path and its value, which is read as YAML.

    Raises:
        DocumentError: no `=`, an empty step in the path, or a value that is not YAML.
    """
    path, equals, value = override.partition("=")
    steps = tuple(path.strip().split("."))
    if not equals or not all(steps):
        raise DocumentError("expected the form path.to.field=value")
    try:
        return steps, parse(value)
    except DocumentError as error:
        raise DocumentError(f"the value is not YAML: {error}") from error


def assign(data: Any, steps: Sequence[str], value: object) -> Any:  # noqa: ANN401  plain data
    """Return `data` with `value` at the path; missing or empty parents become mappings.

    Only the way to the value is copied, so parts shared through YAML aliases stay apart.

    Raises:
        DocumentError: the path leads through a plain value, or to an index that is not there.
    """
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if data is None:
        return {step: assign(None, rest, value)}
    if isinstance(data, dict):
        return {**data, step: assign(data.get(step), rest, value)}
    if isinstance(data, list):
        if not (step.isascii() and step.isdecimal() and int(step) < len(data)):
            raise DocumentError(
                f"{step!r} is no place in a list of {len(data)}; expected an index from 0"
            )
        return [assign(old, rest, value) if i == int(step) else old for i, old in enumerate(data)]
    raise DocumentError(f"{step!r} cannot be set inside the plain value {data!r}")


def _where(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    """The problem and its line, on one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        context = f" ({error.context})" if error.context else ""
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}{context}"
    return " ".join(str(error).split())
