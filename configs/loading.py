"""From a YAML file and `--set` options to a frozen, checked model, or to one full complaint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json

from configs import document, problems
from configs.files import NotFound, check_writable, find, named, packaged, write_atomic
from configs.quantities import Bytes, Seconds, format_bytes, parse_bytes, parse_seconds

__all__ = [
    "Bytes",
    "Config",
    "ConfigError",
    "Seconds",
    "build",
    "check_writable",
    "dump",
    "find",
    "format_bytes",
    "load",
    "named",
    "packaged",
    "parse_bytes",
    "parse_seconds",
    "write_atomic",
]


class ConfigError(Exception):
    """A configuration that cannot be used.

    The message has one line a problem: the file, the field path, the value and what was expected.
    """


class Config(BaseModel):
    """The base of every configuration: unknown fields are errors, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


M = TypeVar("M", bound=BaseModel)


def load(model: type[M], source: str | Path, overrides: Sequence[str] = ()) -> M:
    """Read a configuration file and check it.

    Args:
        model: what the file must hold.
        source: a path, or the name of a packaged file such as `evaluate/demo`.
        overrides: `path.to.field=value` each, later ones win; an index steps into a list.

    Raises:
        ConfigError: no such file, not YAML, or not what the model asks for; all problems at once.
    """
    try:
        path = find(source)
        data = document.mapping(path.read_bytes())
    except NotFound as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror}") from error
    except document.DocumentError as error:
        raise ConfigError(f"{source}: {error}") from error
    return build(model, data, str(source), overrides)


def build(model: type[M], data: Mapping[str, Any], origin: str, overrides: Sequence[str] = ()) -> M:
    """Check plain data as `load` does; `origin` stands for the file in messages.

    Types are strict as in JSON: a number in quotes is text, `true` is no number, a list may
    become a tuple and text an enumeration.

    Raises:
        ConfigError: as `load`.
    """
    changed: Any = dict(data)
    by_override: dict[tuple[str, ...], str] = {}
    for override in overrides:
        try:
            steps, value = document.split_override(override)
            changed = document.assign(changed, steps, value)
        except document.DocumentError as error:
            raise ConfigError(f"{origin}: --set {override}: {error}") from error
        by_override[steps] = override
    try:
        return model.model_validate_json(to_json(changed), strict=True)
    except ValidationError as error:
        complaints = problems.describe(error, model, changed)
    except ValueError as error:
        raise ConfigError(f"{origin}: is not plain data: {error}") from error
    raise ConfigError(
        "\n".join(
            f"{origin}: {path}{': ' if path else ''}{found.text}"
            f"{_blame(path, by_override) or _blame(found.section, by_override)}"
            for path, found in complaints.items()
        )
    )


def dump(model: BaseModel) -> str:
    """The model as YAML text that `load` reads back to an equal model."""
    return document.write(model.model_dump(mode="json"))


def _blame(path: str, by_override: Mapping[tuple[str, ...], str]) -> str:
    """Which `--set` brought in the value at a path, or something inside it, if one did."""
    steps = tuple(path.split("."))
    guilty = [
        text
        for key, text in by_override.items()
        if all(mine == theirs for mine, theirs in zip(key, steps, strict=False))
    ]
    return f" (from --set {guilty[-1]})" if guilty else ""
