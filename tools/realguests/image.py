"""What a guest boots: Debian's cloud kernel and an initramfs with busybox, drivers and the agent.

Everything lies in a cache folder and is made anew when something that goes into it has changed.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.loading import write_atomic
from tools.realguests.archive import Entry, newc
from tools.realguests.problems import Failed, Unavailable

HERE = Path(__file__).parent / "guest"
METAPACKAGE = "linux-image-cloud-amd64"  # depends on the newest kernel; never name that one here
MODULES = (  # in the order of loading: the ring before all that use it
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_balloon",
    "virtio_blk",
)
PROGRAMS = {  # program -> the Debian package that has it
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "gcc": "gcc",
    "apt-get": "apt",
    "apt-cache": "apt",
    "dpkg": "dpkg",
}
COMPILE = ("gcc", "-O2", "-Wall", "-Wextra", "-static", "-pthread", "-s")
ELF_PROGRAM = ((32, 8), (54, 2), (56, 2))  # place and width of e_phoff, e_phentsize, e_phnum
PT_INTERP = 3  # a program header that names a loader
TIMEOUT_S = 300  # [s] of one program, downloads included

Say = Callable[[str], None]


@dataclass(frozen=True)
class Image:
    """What QEMU is given."""

    kernel: Path
    initramfs: Path
    version: str  # of the kernel's package


def cache_folder() -> Path:
    """Where kernels and initramfs are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "overcommit" / "realguests"


def require(*programs: str) -> None:
    """Check that programs are there.

    Raises:
        Unavailable: naming the Debian packages of those that are not.
    """
    missing = [name for name in programs or tuple(PROGRAMS) if shutil.which(name) is None]
    if missing:
        packages = " ".join(sorted({PROGRAMS[name] for name in missing}))
        raise Unavailable(
            f"{', '.join(missing)}: not installed; as root:"
            f" apt-get install --no-install-recommends {packages}"
        )


def find(folder: Path | None = None) -> Image:
    """The image that `prepare` made last.

    Raises:
        Unavailable: there is none.
    """
    folder = folder or cache_folder()
    try:
        kept = json.loads((folder / "image.json").read_text())
        image = Image(folder / kept["kernel"], folder / kept["initramfs"], kept["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unavailable(
            f"{folder}: no guest image; make one with: python -m tools.realguests prepare"
        ) from error
    if not (image.kernel.is_file() and image.initramfs.is_file()):
        raise Unavailable(f"{folder}: incomplete; run: python -m tools.realguests prepare")
    return image


def prepare(say: Say, folder: Path | None = None) -> Image:
    """Make what is not there yet.

    Raises:
        Unavailable: a program, a library or the kernel's package is missing.
        Failed: a program went wrong.
    """
    require()
    folder = folder or cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    package, version = _newest_kernel()
    kernel = folder / f"{package}_{version}"
    if not (kernel / "vmlinuz").is_file():
        say(f"downloading {package} {version}")
        _fetch_kernel(package, kernel)
    entries = _contents(kernel, _agent(folder))
    content = newc(entries)
    initramfs = folder / f"initramfs-{hashlib.sha256(content).hexdigest()[:12]}"
    if not initramfs.is_file():
        say(f"building {initramfs.name}")
        write_atomic(initramfs, content)
    kept = {
        "kernel": f"{kernel.name}/vmlinuz",
        "initramfs": initramfs.name,
        "version": f"{package} {version}",
    }
    write_atomic(folder / "image.json", json.dumps(kept, indent=1) + "\n")
    return find(folder)


def _newest_kernel() -> tuple[str, str]:
    """The package that the metapackage stands for, and its version."""
    depends = _field(_output("apt-cache", "show", "--no-all-versions", METAPACKAGE), "Depends")
    package = depends.split(",")[0].split("(")[0].strip()
    if not package.startswith("linux-image-"):
        raise Unavailable(f"{METAPACKAGE}: apt knows no such package; as root: apt-get update")
    version = _field(_output("apt-cache", "show", "--no-all-versions", package), "Version")
    return package, version


def _field(stanza: str, name: str) -> str:
    lines = (line for line in stanza.splitlines() if line.startswith(f"{name}: "))
    return next(lines, "").partition(": ")[2].strip()


def _fetch_kernel(package: str, kernel: Path) -> None:
    """Download a kernel's package and keep the kernel and the drivers."""
    with tempfile.TemporaryDirectory(dir=kernel.parent) as scratch:
        try:
            _output("apt-get", "download", package, folder=Path(scratch))
        except Failed as error:
            raise Unavailable(f"{error}; as root: apt-get update") from error
        (deb,) = Path(scratch).glob("*.deb")
        unpacked, made = Path(scratch) / "unpacked", Path(scratch) / "made"
        _output("dpkg", "-x", str(deb), str(unpacked))
        made.mkdir()
        for name in MODULES:
            (found,) = unpacked.rglob(f"{name}.ko")
            shutil.copyfile(found, made / found.name)
        (found,) = (unpacked / "boot").glob("vmlinuz-*")
        shutil.copyfile(found, made / "vmlinuz")
        shutil.rmtree(kernel, ignore_errors=True)
        made.rename(kernel)


def _agent(folder: Path) -> bytes:
    """The agent, compiled anew when its source or the compiler has changed."""
    source = HERE / "agent.c"
    key = source.read_bytes() + _output("gcc", "--version").encode() + repr(COMPILE).encode()
    program = folder / f"agent-{hashlib.sha256(key).hexdigest()[:12]}"
    if not program.is_file():
        made = program.with_suffix(".new")
        try:
            _output(*COMPILE, "-o", str(made), str(source))
        except Failed as error:
            raise Unavailable(
                f"{error}\nA static program needs libc6-dev; as root:"
                " apt-get install --no-install-recommends gcc libc6-dev"
            ) from error
        made.rename(program)
    return program.read_bytes()


def _contents(kernel: Path, agent: bytes) -> list[Entry]:
    """All files of the initramfs."""
    busybox = Path(str(shutil.which("busybox"))).read_bytes()
    if _dynamic(busybox):
        raise Unavailable("busybox: not static; as root: apt-get install busybox-static")
    order = "".join(f"{name}\n" for name in MODULES).encode()
    return [
        *(Entry(name) for name in ("bin", "dev", "modules", "proc", "sys")),
        Entry("init", (HERE / "init").read_bytes(), executable=True),
        Entry("agent", agent, executable=True),
        Entry("bin/busybox", busybox, executable=True),
        Entry("modules/order", order),
        *(Entry(f"modules/{name}.ko", (kernel / f"{name}.ko").read_bytes()) for name in MODULES),
    ]


def _dynamic(program: bytes) -> bool:
    """Whether an ELF file for 64 bits names a loader, which an initramfs would have to hold."""
    table, size, count = (int.from_bytes(program[at : at + n], "little") for at, n in ELF_PROGRAM)
    headers = (program[table + number * size :] for number in range(count))
    return any(int.from_bytes(header[:4], "little") == PT_INTERP for header in headers)


def _output(*command: str, folder: Path | None = None) -> str:
    """What a program prints.

    Raises:
        Failed: it ended with an error; with what it said.
    """
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{' '.join(command[:2])}: not done after {TIMEOUT_S} s") from error
    if done.returncode:
        raise Failed(f"{' '.join(command[:2])}: {_last(done.stderr.splitlines())}")
    return done.stdout


def _last(lines: Sequence[str]) -> str:
    said = [line for line in lines if line.strip()]
    return "; ".join(said[-3:]) or "failed and said nothing"
