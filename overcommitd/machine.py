"""The host side of a reading: /proc, /sys and cgroups of either version.

Everything is looked for below one root, so that a recorded tree serves as well as the real one.
What cannot be read is unknown; nothing here raises for a file that is missing.
"""

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from contract.arrays import UNKNOWN
from contract.descriptors import SwapClass

KIB = 1024
MICROSECOND = 1e-6
UNLIMITED_V1 = 1 << 62  # [bytes] limits of cgroup v1 above this mean none
STAT_MAJOR_FAULTS = 12 - 3  # fields of /proc/PID/stat, of which two stand before the state
STAT_START = 22 - 3

CHUNK = 1 << 16  # [bytes] read at once
GROUPS_S = 60.0  # [s] that a process is taken to stay in its cgroup

Values = dict[str, int | float]


class Process(NamedTuple):
    """An emulator as the host sees it: bytes, -1 unknown; seconds, NaN unknown."""

    resident_bytes: int = UNKNOWN
    swapped_bytes: int = UNKNOWN
    major_faults: int = UNKNOWN
    cgroup_current_bytes: int = UNKNOWN
    cgroup_high_bytes: int = UNKNOWN
    psi_some_s: float = float("nan")
    psi_full_s: float = float("nan")


class Machine:
    """Reads the host, and writes its KSM settings and cgroup limits where that is allowed."""

    def __init__(self, cgroup: Path | None = None, root: Path = Path("/")) -> None:
        """Look below `root`; the limit of `cgroup`, if there is one, counts as the host's RAM."""
        self._root, self._limited_by = root, cgroup
        self._base = str(root).rstrip("/")
        self._groups: dict[int, tuple[Path | None, Path | None]] = {}
        self._groups_until_s = 0.0
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._ticks = os.sysconf("SC_CLK_TCK")

    def now_s(self) -> float:
        """The host's clock: since it was started, standby included; it never falls."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def boot_id(self) -> str:
        """What tells this run of the host from any other; empty if unknown."""
        return self._text("proc/sys/kernel/random/boot_id").strip()

    def host(self) -> Values:
        """Columns of the host that are known, by their names in the telemetry."""
        values = self._meminfo() | self._vmstat() | self._pressure() | self._ksm()
        return values | (self._limited(self._limited_by) if self._limited_by else {})

    def ksm_writable(self) -> bool:
        """Whether KSM may be set."""
        return os.access(self._root / "sys/kernel/mm/ksm/run", os.W_OK)

    def set_ksm(self, settings: Mapping[str, int]) -> None:
        """Write files of /sys/kernel/mm/ksm.

        Raises:
            OSError: it is not allowed.
        """
        for name, value in settings.items():
            (self._root / "sys/kernel/mm/ksm" / name).write_text(f"{value}\n")

    def process(self, pid: int) -> Process:
        """An emulator; all unknown if it is gone."""
        status = _fields(self._text(f"proc/{pid}/status"), ("VmRSS", "VmSwap"))
        stat = self._text(f"proc/{pid}/stat").rpartition(")")[2].split()
        faults = int(stat[STAT_MAJOR_FAULTS]) if len(stat) > STAT_MAJOR_FAULTS else UNKNOWN
        resident, swapped = (status.get(key, UNKNOWN) for key in ("VmRSS", "VmSwap"))
        return Process(resident, swapped, faults, *self._cgroup(pid))

    def started_at_s(self, pid: int) -> float:
        """When a process began, on the host's clock; NaN if it is gone."""
        stat = self._text(f"proc/{pid}/stat").rpartition(")")[2].split()
        return int(stat[STAT_START]) / self._ticks if len(stat) > STAT_START else float("nan")

    def emulators(self) -> dict[str, int]:
        """Processes of all emulators whose command lines name a UUID, by that."""
        found = {}
        for folder in (self._root / "proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if "qemu" in words[0] and "-uuid" in words[:-1]:
                    found[words[words.index("-uuid") + 1]] = int(folder.name)
        return found

    def cgroup_file(self, pid: int, name: str) -> Path | None:
        """A file of the cgroup (v2) that an emulator is in, if there is one."""
        folder = self._kept_folders(pid)[1]
        file = folder / name if folder else None
        return file if file is not None and file.exists() else None

    def _text(self, name: str) -> str:
        # not by pathlib: a turn reads some hundred of these, and half of its time went into paths
        try:
            file = os.open(name if name.startswith("/") else f"{self._base}/{name}", os.O_RDONLY)
        except OSError:
            return ""
        try:
            parts = []
            while part := os.read(file, CHUNK):
                parts.append(part)
            return b"".join(parts).decode(errors="replace")
        except OSError:
            return ""  # a process that ended in between
        finally:
            os.close(file)

    def _number(self, name: str) -> int:
        text = self._text(name).strip()
        return int(text) if text.isdigit() else UNKNOWN

    def _meminfo(self) -> Values:
        found = _fields(self._text("proc/meminfo"))
        names = {
            "total_bytes": "MemTotal",
            "free_bytes": "MemFree",
            "buffers_bytes": "Buffers",
            "cached_bytes": "Cached",
            "available_bytes": "MemAvailable",
            "swap_total_bytes": "SwapTotal",
        }
        values: Values = {ours: found[name] for ours, name in names.items() if name in found}
        if "SwapTotal" in found and "SwapFree" in found:
            values["swap_used_bytes"] = found["SwapTotal"] - found["SwapFree"]
            values["swap_class"] = self._swap_class(found["SwapTotal"])
        return values

    def _swap_class(self, total: int) -> int:
        """What most of the swap is on."""
        if not total:
            return SwapClass.NONE
        sizes: dict[SwapClass, int] = {}
        for line in self._text("proc/swaps").splitlines()[1:]:
            words = line.split()
            if len(words) >= 3 and words[2].isdigit():
                kind = self._device_class(Path(words[0]))
                sizes[kind] = sizes.get(kind, 0) + int(words[2])
        return max(sizes, key=lambda kind: sizes[kind]) if sizes else SwapClass.UNKNOWN

    def _device_class(self, path: Path) -> SwapClass:
        if path.name.startswith("zram"):
            return SwapClass.ZRAM
        try:
            found = path.stat()
        except OSError:
            return SwapClass.UNKNOWN
        device = found.st_rdev or found.st_dev  # a partition, or the file system of a file
        folder = f"sys/dev/block/{os.major(device)}:{os.minor(device)}"
        for queue in ("queue", "../queue"):  # a disk, or a partition of one
            kind = self._number(f"{folder}/{queue}/rotational")
            if kind >= 0:
                return SwapClass.ROTATING if kind else SwapClass.SOLID
        return SwapClass.UNKNOWN

    def _vmstat(self) -> Values:
        found = {}
        for line in self._text("proc/vmstat").splitlines():
            name, _, value = line.partition(" ")
            if name in ("pswpin", "pswpout") and value.isdigit():
                found[name] = int(value) * self._page
        names = {"swap_in_bytes": "pswpin", "swap_out_bytes": "pswpout"}
        return {ours: found[name] for ours, name in names.items() if name in found}

    def _pressure(self) -> Values:
        values: Values = {}
        for kind, numbers in _psi(self._text("proc/pressure/memory")).items():
            for window in ("avg10", "avg60", "avg300"):
                if window in numbers:
                    values[f"psi_{kind}_{window}"] = numbers[window] / 100  # percent
            if "total" in numbers:
                values[f"psi_{kind}_s"] = numbers["total"] * MICROSECOND
        return values

    def _ksm(self) -> Values:
        folder = "sys/kernel/mm/ksm"
        sleep_ms, shared = (
            self._number(f"{folder}/{n}") for n in ("sleep_millisecs", "pages_shared")
        )
        values: Values = {
            "ksm_run": self._number(f"{folder}/run"),
            "ksm_pages_to_scan": self._number(f"{folder}/pages_to_scan"),
            "ksm_merge_across_nodes": self._number(f"{folder}/merge_across_nodes"),
        }
        if sleep_ms >= 0:
            values["ksm_sleep_s"] = sleep_ms / 1000
        if shared >= 0:
            values["ksm_shared_bytes"] = shared * self._page
        return values

    def _limited(self, folder: Path) -> Values:
        """What a cgroup has and leaves, where it has a limit: free plus the page cache in it."""
        values: Values = {}
        for limit, used, cached in (
            ("memory.max", "memory.current", "file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"),
        ):
            most, now = (self._number(str(folder / name)) for name in (limit, used))
            stat = dict(
                line.split() for line in self._text(str(folder / "memory.stat")).splitlines()
            )
            if 0 <= most < UNLIMITED_V1 and now >= 0:
                cache = int(stat.get(cached, 0))
                free = max(0, most - now)
                values |= {"total_bytes": most, "free_bytes": free, "cached_bytes": cache}
                values |= {"available_bytes": min(most, free + cache), "buffers_bytes": 0}
        return values

    def _cgroup_folders(self, pid: int) -> tuple[Path | None, Path | None]:
        """Where the process's memory is accounted: (v1, v2)."""
        first = second = None
        for line in self._text(f"proc/{pid}/cgroup").splitlines():
            _, controllers, path = (*line.split(":", 2), "", "")[:3]
            if "memory" in controllers.split(","):
                first = self._root / "sys/fs/cgroup/memory" / path.lstrip("/")
            elif not controllers:
                for base in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
                    folder = self._root / base / path.lstrip("/")
                    if (folder / "memory.current").exists():
                        second = folder
        return first, second

    def _kept_folders(self, pid: int) -> tuple[Path | None, Path | None]:
        """As `_cgroup_folders`, which is asked once a minute: emulators seldom move."""
        if self.now_s() >= self._groups_until_s:
            self._groups, self._groups_until_s = {}, self.now_s() + GROUPS_S
        if pid not in self._groups:
            self._groups[pid] = self._cgroup_folders(pid)
        return self._groups[pid]

    def _cgroup(self, pid: int) -> tuple[int, int, float, float]:
        """current, high [bytes]; some, full [s]."""
        nan = float("nan")
        first, second = self._kept_folders(pid)
        if second is not None:
            psi = _psi(self._text(str(second / "memory.pressure")))
            some, full = (
                psi.get(kind, {}).get("total", nan) * MICROSECOND for kind in ("some", "full")
            )
            current, high = (self._number(str(second / f"memory.{n}")) for n in ("current", "high"))
            return current, high, some, full
        if first is not None:
            return self._number(str(first / "memory.usage_in_bytes")), UNKNOWN, nan, nan
        return UNKNOWN, UNKNOWN, nan, nan


def _fields(text: str, wanted: tuple[str, ...] = ()) -> dict[str, int]:
    """Lines such as `MemTotal:  16 kB`, in bytes; of some names, or of all."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if wanted and name not in wanted:
            continue
        words = rest.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():
            found[name] = int(words[0]) * KIB
    return found


def _psi(text: str) -> dict[str, dict[str, float]]:
    """Lines such as `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`."""
    found = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        try:
            found[kind] = {k: float(v) for k, v in (pair.split("=", 1) for pair in pairs)}
        except ValueError:
            continue
    return found
