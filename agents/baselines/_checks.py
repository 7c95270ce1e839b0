"""What settings of policies are checked for; a NaN passes no check."""

from collections.abc import Callable
from itertools import pairwise


def positive(config: object, *names: str) -> None:
    """Raise ValueError naming every one of these settings that is not positive."""
    _demand(config, names, "must be positive", lambda value: value > 0)


def not_negative(config: object, *names: str) -> None:
    """Raise ValueError naming every one of these settings that is negative."""
    _demand(config, names, "must not be negative", lambda value: value >= 0)


def shares(config: object, *names: str) -> None:
    """Raise ValueError naming every one of these settings that is not in [0, 1]."""
    _demand(config, names, "expected a share in [0, 1]", lambda value: 0 <= value <= 1)


def in_order(config: object, *names: str) -> None:
    """Raise ValueError unless these settings do not fall from one to the next."""
    values = [getattr(config, name) for name in names]
    if not all(low <= high for low, high in pairwise(values)):
        found = ", ".join(f"{name}: {value}" for name, value in zip(names, values, strict=True))
        raise ValueError(f"{found}: expected them in this order")


def _demand(
    config: object, names: tuple[str, ...], demand: str, holds: Callable[[float], bool]
) -> None:
    wrong = [
        f"{name}: {getattr(config, name)}: {demand}"
        for name in names
        if not holds(getattr(config, name))
    ]
    if wrong:
        raise ValueError("; ".join(wrong))
