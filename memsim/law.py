"""What it is to break a law."""


class Broken(AssertionError):
    """A conservation law does not hold."""


def need(good: bool, where: str, what: str) -> None:
    """Raise Broken, naming place and law, unless it is good."""
    if not good:
        raise Broken(f"{where}: {what}")


def equal(a: object, b: object, where: str, what: str) -> None:
    """Raise Broken, naming place, law and numbers, unless they are the same."""
    need(bool(a == b), where, f"{what}: {a} != {b}")
