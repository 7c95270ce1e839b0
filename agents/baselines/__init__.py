"""Rules that fleets run today, and the way to any policy by its name.

A baseline is one module here: `slides.py` holds the policy class `Slides`, its thresholds
`SlidesConfig` (a frozen dataclass, defaults as shipped), the pure `rule` in the original's own
units, and in `TUNABLE` which of its settings may be tuned and how far.  A new module is found by
its name; nothing else is to be edited.  A module whose name begins with an underscore holds what
several policies share, and is none.
"""

import importlib
import pkgutil
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from agents.baselines._ranges import Range
from contract.policy import Policy

FAILURES = (  # of a module of anyone's while it is loaded
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


class UnknownPolicy(ValueError):
    """There is no policy of that name, or it cannot be built as asked."""


def names() -> tuple[str, ...]:
    """Names of all baselines, sorted."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in modules if not name.startswith("_")))


def load_policy(name: str, settings: Mapping[str, Any] | None = None) -> Policy[Any]:
    """Build a policy.

    Args:
        name: of a baseline ("slides"), or "my_module:MyPolicy" for a class of anyone's, whose
            module is looked up in the current folder too.
        settings: thresholds that differ from the defaults, by name.

    Raises:
        UnknownPolicy: it does not exist, or the settings do not fit.
    """
    settings = dict(settings or {})
    if ":" in name:
        return _foreign(name, settings)
    if name not in names():
        raise UnknownPolicy(
            f"policy {name!r}: expected one of {', '.join(names())}, or my_module:MyPolicy"
        )
    module, title = _module(name)
    try:
        config = getattr(module, f"{title}Config")(**settings)
    except (TypeError, ValueError) as error:
        raise UnknownPolicy(f"policy {name!r}: settings {settings}: {error}") from error
    policy: Policy[Any] = getattr(module, title)(config)
    return policy


def tunable(name: str) -> dict[str, tuple[Range, float]]:
    """The settings of a baseline that may be tuned: name -> range, default; none for some.

    Raises:
        UnknownPolicy: there is no such baseline.
    """
    if name not in names():
        raise UnknownPolicy(f"policy {name!r}: expected one of {', '.join(names())}")
    module, title = _module(name)
    ranges: dict[str, Range] = getattr(module, "TUNABLE", {})
    defaults = getattr(module, f"{title}Config")()
    return {setting: (found, getattr(defaults, setting)) for setting, found in ranges.items()}


def _module(name: str) -> tuple[ModuleType, str]:
    """A baseline's module, and how the names of its classes begin."""
    title = "".join(part.capitalize() for part in name.split("_"))
    return importlib.import_module(f"{__name__}.{name}"), title


def _foreign(name: str, settings: dict[str, Any]) -> Policy[Any]:
    module_name, _, attribute = name.partition(":")
    try:
        with _current_folder_importable():
            module: ModuleType = importlib.import_module(module_name)
        policy: Policy[Any] = getattr(module, attribute)(**settings)
    except FAILURES as error:
        raise UnknownPolicy(f"policy {name!r}: {_where(error)}: {error}") from error
    lacking = [part for part in ("name", "reset", "decide") if not hasattr(policy, part)]
    if lacking:
        raise UnknownPolicy(f"policy {name!r}: lacks {', '.join(lacking)} of contract.policy")
    return policy


def _where(error: BaseException) -> str:
    """The kind of an error, after the line of somebody's module that it came from, if any."""
    ours = (__file__, importlib.__file__)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [
        f"{Path(frame.filename).name}, line {frame.lineno}: "
        for frame in frames
        if frame.filename not in ours and not frame.filename.startswith("<")
    ]
    return f"{lines[-1] if lines else ''}{type(error).__name__}"


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
