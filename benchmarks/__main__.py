"""All benchmarks: `python -m benchmarks`, some minutes on a quiet machine."""

from rich.console import Console
from rich.table import Table

from benchmarks import environment, kernel, learner


def _kernel(console: Console) -> None:
    table = Table("working set", "million touches/s", "state-changing", title="Kernel, one core")
    for pages, missing in (
        (8_192, 0.0),
        (200_000, 0.0),
        (8_192, 0.01),
        (8_192, 0.05),
        (8_192, 0.12),
        (8_192, 0.25),
    ):
        for fast in (False, True):
            speed = kernel.touches(pages, missing, fast=fast)
            table.add_row(speed.name, f"{speed.million_per_s:.1f}", f"{speed.changed:.1%}")
    for fast in (False, True):
        speed = kernel.touches(8_192, 0.05, fast=fast, huge=True)
        table.add_row(speed.name, f"{speed.million_per_s:.1f}", f"{speed.changed:.1%}")
    for everything in (False, True):
        speed = kernel.mechanisms(0.1, everything=everything)
        table.add_row(speed.name, f"{speed.million_per_s:.1f}", f"{speed.changed:.1%}")
    console.print(table)
    references = kernel.stream()
    ours, misses = kernel.one_list(references, 12_000)
    theirs, expected = kernel.cache_simulator(references, kernel.cache_pages(12_000))
    table = Table("one LRU list", "million references/s", "misses", title="3,000,000 references")
    table.add_row("memsim", f"{ours:.1f}", f"{misses:,}")
    table.add_row("libCacheSim", f"{theirs:.1f}", f"{expected:,}")
    console.print(table)
    console.print(f"bytes per simulated page: {kernel.bytes_per_page():.1f}")
    full = kernel.bytes_per_page(everything=True)
    console.print(f"the same with KSM and huge pages: {full:.1f}")


def main() -> None:
    """Run one after the other."""
    _kernel(Console())
    environment.main([])
    learner.main([])


if __name__ == "__main__":
    main()
