"""Numbers that the kernel gives about processes and the host, in bytes and counts."""

from pathlib import Path

from tools.realguests.problems import Failed

Numbers = dict[str, int]

KIB = 1024
MAJOR_FAULTS = 9  # place in /proc/PID/stat, counted from the process state


def table(text: str) -> Numbers:
    """Lines of "Name: 500 kB" or "name 7", those in kB as bytes; others are left out."""
    found: Numbers = {}
    for line in text.splitlines():
        words = line.replace(":", " ").split()
        if len(words) in (2, 3) and words[1].isdecimal():
            scale = KIB if words[2:] == ["kB"] else 1
            found[words[0]] = int(words[1]) * scale
    return found


def process(pid: int) -> Numbers:
    """A process: `resident` and `swapped` [bytes], and `major` faults so far.

    Raises:
        Failed: there is no such process.
    """
    try:
        status = table(Path(f"/proc/{pid}/status").read_text())
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError as error:
        raise Failed(f"process {pid}: {error.strerror}") from error
    resident, swapped = status.get("VmRSS", 0), status.get("VmSwap", 0)
    return {"resident": resident, "swapped": swapped, "major": int(stat[MAJOR_FAULTS])}


def host_memory() -> Numbers:
    """What /proc/meminfo says [bytes]."""
    return table(Path("/proc/meminfo").read_text())


def host_events() -> Numbers:
    """What /proc/vmstat counts."""
    return table(Path("/proc/vmstat").read_text())
