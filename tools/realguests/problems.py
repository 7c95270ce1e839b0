"""What may stand in the way of real guests."""


class Problem(Exception):
    """Anything that ends a command; the message says what to do about it."""


class Unavailable(Problem):
    """This machine lacks a program, a right or a feature that real guests need."""


class Refused(Problem):
    """The scenario asks for what real guests cannot do; the message names the fields."""


class Failed(Problem):
    """A guest, its emulator or the host did not do what was asked of it."""
