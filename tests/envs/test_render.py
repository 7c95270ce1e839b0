"""Pictures show what there is, in the right proportions."""

import numpy as np

from envs import font
from envs.render import COLOURS, COLUMNS, PAPER, GuestMemory, HostMemory, look, picture, text
from envs.single import OvercommitEnv
from tests.envs.batches import batch

MIB = 2**20


def guest(name: str, used: int, cache: int, free: int, ballooned: int, swapped: int) -> GuestMemory:
    size = used + cache + free + ballooned
    inside = (("used", used), ("cache", cache), ("free", free), ("ballooned", ballooned))
    outside = (("resident", used - swapped), ("swapped", swapped), ("unbacked", size - used))
    return GuestMemory(name, size, inside, outside)


MEMORY = HostMemory(
    time_s=30.0,
    ram=100 * MIB,
    swap_used=8 * MIB,
    parts=(("guests", 40 * MIB), ("host", 10 * MIB), ("free", 50 * MIB)),
    guests=(
        guest("web", 48 * MIB, 24 * MIB, 12 * MIB, 12 * MIB, 8 * MIB),
        None,
        guest("job", 24 * MIB, 0, 24 * MIB, 0, 0),
    ),
)


def area(image: np.ndarray, what: str) -> int:
    return int((image == np.array(COLOURS[what], np.uint8)).all(axis=-1).sum())


def test_text_has_a_bar_for_the_host_and_each_guest() -> None:
    host, web, job, legend = text(MEMORY).splitlines()
    assert host.startswith("host")
    assert f"[{'#' * 19}{'=' * 5}{'.' * 24}]" in host
    assert "100 MiB RAM, 50% free, 8 MiB in swap" in host
    assert f"[{'#' * 24}{'+' * 12}{'.' * 6}{'~' * 6}]" in web
    assert "96 MiB, 8 MiB swapped" in web
    assert f"[{'#' * 24}{'.' * 24}]" in job
    assert "~ ballooned" in legend
    assert all(len(line.split("[")[1].split("]")[0]) == COLUMNS for line in (host, web, job))


def test_areas_are_proportional() -> None:
    image = picture(MEMORY)
    assert image.dtype == np.uint8
    swatch = font.HEIGHT**2
    used = area(image, "used") - swatch
    cache, ballooned = area(image, "cache") - swatch, area(image, "ballooned") - swatch
    assert abs(cache / used - 24 / 72) < 0.02
    assert abs(ballooned / used - 12 / 72) < 0.02
    swapped, resident = area(image, "swapped") - swatch, area(image, "resident") - swatch
    assert swapped > 0
    assert resident > 4 * swapped
    assert area(image, "host") > swatch


def test_names_are_written() -> None:
    bare = MEMORY._replace(
        guests=tuple(one and one._replace(name="") for one in MEMORY.guests),
    )
    image, blank = picture(MEMORY), picture(bare)
    assert image.shape == blank.shape
    changed = (image != blank).any(axis=-1)
    assert changed.sum() == font.stencil("web").sum() + font.stencil("job").sum()


def test_letters_are_told_apart() -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,:/%+=()"
    shapes = {font.stencil(letter).tobytes() for letter in letters}
    assert len(shapes) == len(letters)
    assert not font.stencil(" ").any()
    assert font.stencil("~").sum() == font.ROWS * font.COLUMNS * font.SCALE**2  # unknown: a block


def test_an_environment_draws_its_host() -> None:
    frames = {}
    for mode in ("ansi", "rgb_array", None):
        env = OvercommitEnv("small", render_mode=mode, warm_up_s=10.0, pool=1)
        env.reset(seed=0)
        frames[mode] = env.render()
    assert frames[None] is None
    assert isinstance(frames["ansi"], str)
    assert "web" in frames["ansi"]
    assert frames["rgb_array"].shape[2] == 3
    assert (frames["rgb_array"] != PAPER).any()
    both = batch("small", 2, render_mode="ansi")
    both.reset(seed=0)
    rendered = both.render()
    assert rendered is not None
    assert len(rendered) == 2


def test_what_is_shown_adds_up() -> None:
    env = batch("slides", 2, warm_up_s=60.0)
    env.reset(seed=0)
    env.step(np.full((2, 3), -1.0, np.float32))
    for row in range(2):
        memory = look(env.core.hosts, row)
        assert sum(size for _, size in memory.parts) == memory.ram
        for one in memory.guests:
            assert one is not None
            for parts in (one.inside, one.outside):
                assert sum(size for _, size in parts) == one.size
                assert all(size >= 0 for _, size in parts)
