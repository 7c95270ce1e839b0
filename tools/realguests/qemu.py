"""One guest: its emulator process, and the two sockets that reach it."""

import random
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from overcommitd.qmp import Qmp, QmpError
from tools.realguests.agent import Agent
from tools.realguests.image import Image
from tools.realguests.problems import Failed
from tools.realguests.procfs import Numbers, process

MIB = 1 << 20
KERNEL_LINE = (
    "console=ttyS0 quiet panic=-1 tsc=unstable mitigations=off audit=0 random.trust_cpu=on"
)
TRANSLATION_CACHE_MIB = 64  # no balloon gives it back
SOCKETS_S = 20.0  # [s] until the emulator listens
QUIT_S = 5.0  # [s] until a polite request to end becomes a kill
BALLOON = "/machine/peripheral/balloon0"


@dataclass(frozen=True)
class Hardware:
    """What a guest is made of."""

    name: str
    size: int  # [bytes]
    vcpus: int = 1
    reporting: bool = False
    deflate_on_oom: bool = True
    disk: int = 0  # [bytes] of a disk of unlike blocks; 0: none
    second_qmp: bool = False  # a socket NAME.daemon for a daemon: each serves one client


class Emulator:
    """A guest that runs from construction to `stop`."""

    def __init__(
        self, hardware: Hardware, image: Image, folder: Path, cgroup: Sequence[Path] = ()
    ) -> None:
        """Start it; it boots meanwhile.

        Args:
            hardware: of the guest.
            image: what it boots.
            folder: where its sockets, console and disk go.
            cgroup: files that its process id is written to before it allocates anything.

        Raises:
            Failed: it ended at once.
        """
        self.hardware, self._folder = hardware, folder
        self._agent: Agent | None = None
        self._qmp: Qmp | None = None
        if hardware.disk:
            fill(self._file("disk"), hardware.disk)
        with self._file("log").open("wb") as log:
            self.process = subprocess.Popen(
                enter(command(hardware, image, folder), cgroup),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # an interrupt of the terminal is ours to handle
            )
        try:
            self._connect()
        except BaseException:
            self.stop()
            raise

    @property
    def agent(self) -> Agent:
        """Who does the guest's work."""
        if self._agent is None:
            raise Failed(f"{self.hardware.name}: not connected")
        return self._agent

    @property
    def qmp(self) -> Qmp:
        """The emulator's own commands."""
        if self._qmp is None:
            raise Failed(f"{self.hardware.name}: not connected")
        return self._qmp

    def memory(self) -> Numbers:
        """Of the emulator on the host: resident, swapped [bytes] and major faults."""
        self.check()
        return process(self.process.pid)

    def check(self) -> None:
        """Raise Failed if the emulator has ended, with what it said last."""
        code = self.process.poll()
        if code is not None:
            said = self._file("log").read_text(errors="replace").strip() or "nothing"
            raise Failed(f"{self.hardware.name}: the emulator ended ({code}), saying {said[-300:]}")

    def stop(self) -> None:
        """End the emulator, by force if need be."""
        for end in (self._agent, self._qmp):
            if end is not None:
                end.close()
        self.process.terminate()
        try:
            self.process.wait(QUIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._file("disk").unlink(missing_ok=True)

    def _connect(self) -> None:
        until = time.monotonic() + SOCKETS_S
        while True:
            self.check()
            try:
                self._agent = self._agent or Agent(self._file("agent"))
                self._qmp = Qmp(self._file("qmp"))
                break
            except (Failed, QmpError) as error:
                if time.monotonic() > until:
                    raise Failed(f"{self.hardware.name}: {error}") from error
                time.sleep(0.02)

    def _file(self, kind: str) -> Path:
        return file_of(self._folder, self.hardware.name, kind)


def fill(path: Path, size: int) -> None:
    """Make a disk [bytes] on which nothing is alike: a host's kernel keeps no frames for zeros."""
    blocks = random.Random(path.name)
    with path.open("wb") as disk:
        for at in range(0, size, MIB):
            disk.write(blocks.randbytes(min(MIB, size - at)))


def file_of(folder: Path, name: str, kind: str) -> Path:
    """Where a guest's socket, log or disk lies."""
    return folder / f"{name}.{kind}"


def command(hardware: Hardware, image: Image, folder: Path) -> list[str]:
    """The emulator's command line.

    TCG is named because a /dev/kvm that exists may not work, and QEMU would then give up.
    """

    def switch(on: bool) -> str:
        return "on" if on else "off"

    name = hardware.name
    line = ["qemu-system-x86_64", "-M", "pc", "-cpu", "max", "-m", f"{hardware.size // MIB}M"]
    line += ["-accel", f"tcg,tb-size={TRANSLATION_CACHE_MIB}", "-smp", str(hardware.vcpus)]
    line += ["-nodefaults", "-no-user-config", "-nographic", "-nic", "none", "-no-reboot"]
    line += ["-kernel", str(image.kernel), "-initrd", str(image.initramfs)]
    line += ["-append", KERNEL_LINE]
    line += ["-serial", f"file:{file_of(folder, name, 'console')}"]
    line += ["-serial", f"unix:{file_of(folder, name, 'agent')},server=on,wait=off"]
    line += ["-qmp", f"unix:{file_of(folder, name, 'qmp')},server=on,wait=off"]
    if hardware.second_qmp:
        line += ["-qmp", f"unix:{file_of(folder, name, 'daemon')},server=on,wait=off"]
    line += ["-device", "virtio-balloon-pci,id=balloon0"]
    line[-1] += f",free-page-reporting={switch(hardware.reporting)}"
    line[-1] += f",deflate-on-oom={switch(hardware.deflate_on_oom)}"
    if hardware.disk:
        disk = file_of(folder, name, "disk")
        line += ["-drive", f"file={disk},format=raw,if=virtio,cache=none"]
    return line


def enter(line: Sequence[str], cgroup: Sequence[Path]) -> list[str]:
    """A command that joins a cgroup first, so that all it ever allocates is charged there."""
    if not cgroup:
        return list(line)
    joins = "; ".join(f"echo $$ > {shlex.quote(str(file))}" for file in cgroup)
    return ["/bin/sh", "-ec", f"{joins}; exec {shlex.join(line)}"]
