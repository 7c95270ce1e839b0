"""What stands in a page, as a number: the same number means the same bytes.

Only a host with KSM keeps numbers.  `ksm.content` is that of a guest page, `image` what a program
or a file puts there first: a row a virtual page, and a row a page where a phase has content of its
own.  A store makes a page unlike any other; since touches are many and looks are few, it only
sets H_WROTE, which outweighs the number until ksmd folds it in.
"""

import numpy as np

from memsim.jit import kernel
from memsim.machine import Machine
from memsim.state import H_WROTE, NOBODY

ZERO = 0
UNIQUE = 0xFFFFFFFF  # unlike any other page
NOTHING = 0xFFFFFFFE  # no checksum was taken yet; numbers of content are below


@kernel
def content_of(m: Machine, p: int) -> int:
    """Return the number of what stands in a guest page; of none without KSM."""
    if not m.host[0].ksm or m.page[p].hflags & H_WROTE:
        return UNIQUE
    return int(np.int64(m.ksm[p].content))


@kernel
def put(m: Machine, p: int, number: int) -> None:
    """Note that a guest page was overwritten as a whole."""
    if not m.host[0].ksm:
        m.page[p].hflags |= np.uint8(H_WROTE if number == UNIQUE else 0)
        return
    m.ksm[p].content = np.uint32(number)
    pg = m.page[p]
    pg.hflags = (pg.hflags & np.uint8(255 - H_WROTE)) | np.uint8(H_WROTE if number == UNIQUE else 0)


@kernel
def put_image(m: Machine, p: int, row: int) -> None:
    """Note that a guest page got what a row of images says; NOBODY: unlike any other."""
    known = m.host[0].ksm and row != NOBODY
    put(m, p, int(np.int64(m.image[row])) if known else UNIQUE)


@kernel
def keep_file(m: Machine, p: int, v: int) -> None:
    """Note what a page of a file holds when the cache lets it go: the disk holds the same."""
    if m.host[0].ksm and content_of(m, p) == UNIQUE:
        m.image[v] = np.uint32(UNIQUE)
