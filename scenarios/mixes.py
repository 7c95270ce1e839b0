"""A mix: values, and how often each comes up."""

from typing import Annotated

from pydantic import AfterValidator


def some_weight(mix: dict[str, float]) -> dict[str, float]:
    """The mix, if something can be drawn from it."""
    if any(weight < 0 for weight in mix.values()) or (mix and sum(mix.values()) <= 0):
        raise ValueError("expected weights of 0 or more, and one above 0")
    return mix


Mix = Annotated[dict[str, float], AfterValidator(some_weight)]  # value -> how often, relatively
