"""Real guests for tests, by QEMU alone or by libvirt's session mode; skipped where impossible."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tools.realguests import image
from tools.realguests.agent import Agent
from tools.realguests.image import Image
from tools.realguests.problems import Failed, Unavailable
from tools.realguests.qemu import KERNEL_LINE, Emulator, Hardware

MIB = 1 << 20
SIZE = 512 * MIB
BOOT_S = 90.0
ORDINARY = 65534  # a user without rights: nobody


def booted() -> Image:
    """The image, or a skipped test."""
    try:
        image.require("qemu-system-x86_64")
        return image.prepare(print)
    except Unavailable as error:
        pytest.skip(f"no real guests here: {error}")


@contextmanager
def real_guests(folder: Path, *names: str) -> Iterator[list[Emulator]]:
    """Guests that have booted, with a QMP socket NAME.daemon each."""
    made = booted()
    with ExitStack() as stack:
        running = []
        for name in names:
            hardware = Hardware(name, SIZE, reporting=True, second_qmp=True)
            running.append(Emulator(hardware, made, folder))
            stack.callback(running[-1].stop)
        for one in running:
            one.agent.wait_ready(BOOT_S)
        yield running


@dataclass
class Session:
    """A libvirt of our own and its domains."""

    uri: str
    connection: Any
    agents: dict[str, Agent]

    def destroy(self, name: str) -> None:
        self.connection.lookupByName(name).destroy()


@contextmanager
def libvirt_session(folder: Path, *names: str) -> Iterator[Session]:
    """libvirtd in session mode with domains that have booted."""
    libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed")
    made = booted()
    programs = {name: shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") for name in DAEMONS}
    if not all(programs.values()):
        pytest.skip(f"no libvirt here: {', '.join(n for n, p in programs.items() if not p)}")
    short = Path(os.environ.get("TMPDIR", "/tmp")) / f"ovc-{os.getpid()}-{folder.name[-1]}"
    with ExitStack() as stack:
        shutil.rmtree(short, ignore_errors=True)
        stack.callback(shutil.rmtree, short, ignore_errors=True)
        environment = {}
        for variable in ("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
            home = short / variable[-4:].lower()  # a socket's path has 108 bytes at most
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            environment[variable] = str(home)
        files = [Path(shutil.copy(file, short)) for file in (made.kernel, made.initramfs)]
        made = Image(files[0], files[1], made.version)
        user: dict[str, Any] = {}
        if os.geteuid() == 0:  # root has no session of its own
            user = {"user": ORDINARY, "group": ORDINARY, "extra_groups": []}
            for path in [short, *short.rglob("*")]:
                os.chown(path, ORDINARY, ORDINARY)
        for name in DAEMONS:
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                [str(programs[name])], stdout=log, stderr=log, env=os.environ | environment, **user
            )
            stack.callback(_end, process)
        uri = f"qemu+unix:///session?socket={short}/_dir/libvirt/libvirt-sock"
        connection = _connect(libvirt, uri)
        stack.callback(connection.close)
        agents = {}
        for name in names:
            domain = connection.createXML(_xml(name, made, short))
            stack.callback(_destroy, libvirt, domain)
            agents[name] = _agent(short / f"{name}.agent")  # what it says first is said once
            stack.callback(agents[name].close)
        for agent in agents.values():
            agent.wait_ready(BOOT_S)
        yield Session(uri, connection, agents)


DAEMONS = ("virtlogd", "libvirtd")


def _xml(name: str, made: Image, folder: Path) -> str:
    return f"""<domain type='qemu'>
      <name>{name}</name>
      <metadata><o:guest xmlns:o='urn:overcommit:guest' min='128MiB' weight='2000'/></metadata>
      <memory unit='MiB'>{SIZE // MIB}</memory><vcpu>1</vcpu>
      <os><type machine='pc'>hvm</type><kernel>{made.kernel}</kernel>
        <initrd>{made.initramfs}</initrd><cmdline>{KERNEL_LINE}</cmdline></os>
      <cpu mode='maximum'/><on_poweroff>destroy</on_poweroff>
      <devices>
        <serial type='file'><source path='{folder}/{name}.console'/><target port='0'/></serial>
        <serial type='unix'><source mode='bind' path='{folder}/{name}.agent'/>
          <target port='1'/></serial>
        <memballoon model='virtio' autodeflate='on' freePageReporting='on'/>
      </devices>
    </domain>"""


def _connect(libvirt: Any, uri: str) -> Any:  # noqa: ANN401
    end = time.monotonic() + 30
    while True:
        try:
            return libvirt.open(uri)
        except libvirt.libvirtError as error:
            if time.monotonic() > end:
                pytest.skip(f"libvirt's session mode does not start here: {error}")
            time.sleep(0.2)


def _agent(path: Path) -> Agent:
    end = time.monotonic() + 20
    while True:
        try:
            return Agent(path)
        except Failed:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _destroy(libvirt: Any, domain: Any) -> None:  # noqa: ANN401
    with suppress(libvirt.libvirtError):  # the test has ended it
        domain.destroy()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
