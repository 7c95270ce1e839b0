"""The named kinds of guests: those of a scenario's own file, then the library's."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from configs.loading import ConfigError, load, packaged
from scenarios.work import Profile

FOLDER = "scenarios/profiles"


def names() -> list[str]:
    """The profiles that ship."""
    return packaged(FOLDER)


def find(name: str, own: Mapping[str, Profile]) -> Profile:
    """The profile of a name, or of a path to a YAML file.

    Raises:
        ConfigError: there is none, or its file is wrong.
    """
    if name in own:
        return own[name]
    if name in names():
        return _shipped(name)
    if Path(name).suffix == ".yaml":
        return load(Profile, name)
    known = ", ".join(sorted({*own, *names()}))
    raise ConfigError(f"profile: {name!r}: expected one of {known}, or the path of a .yaml file")


@cache
def _shipped(name: str) -> Profile:
    return load(Profile, f"{FOLDER}/{name}")
