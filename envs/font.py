"""A pixel font of 3 x 5, so that pictures need no drawing library."""

import numpy as np

ROWS, COLUMNS = 5, 3
SCALE = 2  # [pixels] of a dot
ADVANCE = (COLUMNS + 1) * SCALE  # [pixels] from one character to the next
HEIGHT = ROWS * SCALE  # [pixels]

# One octal digit a row, from the top; its bits are the dots from the left.
# fmt: off
_DOTS = {
    "A": 0o25755, "B": 0o65656, "C": 0o34443, "D": 0o65556, "E": 0o74647, "F": 0o74644,
    "G": 0o34553, "H": 0o55755, "I": 0o72227, "J": 0o11152, "K": 0o55655, "L": 0o44447,
    "M": 0o57755, "N": 0o65555, "O": 0o25552, "P": 0o65644, "Q": 0o25573, "R": 0o65655,
    "S": 0o34216, "T": 0o72222, "U": 0o55557, "V": 0o55552, "W": 0o55775, "X": 0o55255,
    "Y": 0o55222, "Z": 0o71247, "0": 0o75557, "1": 0o26227, "2": 0o71747, "3": 0o71717,
    "4": 0o55711, "5": 0o74717, "6": 0o74757, "7": 0o71122, "8": 0o75757, "9": 0o75717,
    " ": 0o00000, "-": 0o00700, "_": 0o00007, ".": 0o00002, ",": 0o00024, ":": 0o02020,
    "/": 0o11244, "%": 0o51245, "+": 0o02720, "=": 0o07070, "(": 0o24442, ")": 0o21112,
}
# fmt: on
_UNKNOWN = 0o77777


def stencil(text: str) -> np.ndarray:
    """(HEIGHT, ADVANCE * len) bool: where a text has ink; letters are capitals."""
    dots = np.zeros((ROWS, len(text) * (COLUMNS + 1)), bool)
    for place, letter in enumerate(text.upper()):
        bits = _DOTS.get(letter, _UNKNOWN)
        for dot in range(ROWS * COLUMNS):
            row, column = divmod(dot, COLUMNS)
            ink = bits >> (ROWS * COLUMNS - 1 - dot) & 1
            dots[row, place * (COLUMNS + 1) + column] = bool(ink)
    return dots.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
