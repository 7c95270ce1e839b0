"""All running domains of a libvirt connection.

libvirt speaks KiB.  Terms may stand with a domain, in its metadata:

    <overcommit:guest xmlns:overcommit="urn:overcommit:guest" min="2GiB" weight="2000"/>
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree

import libvirt

from configs.loading import ConfigError, build, parse_bytes
from contract.arrays import UNKNOWN
from contract.descriptors import AsyncMode, GuestState, Hinting, ResizeMechanism
from contract.host import BackendUnavailable, GuestGone, Refused
from overcommitd.agent import free_target_scale, set_watermark_scale
from overcommitd.config import Guests, Rule
from overcommitd.hypervisor import NEVER, Finding, Seen, findings
from overcommitd.machine import Machine
from overcommitd.options import LibvirtOptions
from overcommitd.real import RealHost

KIB = 1024
NAMESPACE = "urn:overcommit:guest"
LOOK_S = 30.0  # [s] a domain's description is read again so often: its terms may change
STATES = {
    libvirt.VIR_DOMAIN_RUNNING: GuestState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: GuestState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: GuestState.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: GuestState.PAUSED,
    libvirt.VIR_DOMAIN_CRASHED: GuestState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: GuestState.PAUSED,  # on its way out
}
STATISTICS = {  # column <- key of memoryStats, and bytes (or counts) of its unit
    "stats_swap_in_bytes": ("swap_in", KIB),
    "stats_swap_out_bytes": ("swap_out", KIB),
    "stats_major_faults": ("major_fault", 1),
    "stats_minor_faults": ("minor_fault", 1),
    "stats_free_bytes": ("unused", KIB),
    "stats_total_bytes": ("available", KIB),  # what the guest has, not what it could use
    "stats_available_bytes": ("usable", KIB),
    "stats_caches_bytes": ("disk_caches", KIB),
    "stats_hugetlb_allocations": ("hugetlb_pgalloc", 1),
    "stats_hugetlb_failures": ("hugetlb_pgfail", 1),
}
GONE = {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID}
LOST = {
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_SYSTEM_ERROR,
    libvirt.VIR_ERR_INTERNAL_ERROR,
}


@dataclass(frozen=True)
class Description:
    """What a domain's XML says."""

    read_at_s: float
    seen: Seen
    block: str = ""  # XML of its virtio-mem device; empty: none
    block_bytes: int = 0
    base_bytes: int = 0  # memory beside that device


class LibvirtGuests:
    """Implements `overcommitd.hypervisor.Hypervisor`."""

    name = "libvirt"

    def __init__(self, options: LibvirtOptions, machine: Machine) -> None:
        """Store the parts; the connection is made at the first reading."""
        libvirt.registerErrorHandler(lambda *_: None, None)  # errors are raised; once is enough
        self._options, self._machine = options, machine
        self._connection: Any = None
        self._domains: dict[str, Any] = {}
        self._known: dict[str, Description] = {}
        self._pids: dict[str, int] = {}

    def guests(self) -> list[Seen]:
        """Everyone who runs now."""
        try:
            domains = self._connect().listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        except libvirt.libvirtError as error:
            self.close()
            raise BackendUnavailable(f"{self._options.uri}: {error}") from error
        self._domains = {f"{one.UUIDString()}:{one.ID()}": one for one in domains}
        self._known = {key: self._known[key] for key in self._domains if key in self._known}
        if set(self._domains) - set(self._known):
            self._pids = self._machine.emulators()
        stats = self._statistics(domains)
        seen = []
        for key, domain in self._domains.items():
            try:
                seen.append(self._look(key, domain, stats))
            except libvirt.libvirtError as error:
                if error.get_error_code() in LOST:
                    self.close()
                    raise BackendUnavailable(f"{self._options.uri}: {error}") from error
        return seen

    def resize(self, key: str, target_bytes: int) -> None:
        """Send a target in the guest's own way."""
        domain, known = self._domains.get(key), self._known.get(key)
        if domain is None or known is None:
            raise GuestGone("is not connected")
        try:
            if known.seen.mechanism is ResizeMechanism.FREE_TARGET:
                free = known.seen.size_bytes - target_bytes
                scale = free_target_scale(free, known.seen.size_bytes)
                set_watermark_scale(_agent(domain), scale)
            elif known.block:
                live = libvirt.VIR_DOMAIN_AFFECT_LIVE
                domain.updateDeviceFlags(_requested(known, target_bytes), live)
            else:
                domain.setMemoryFlags(target_bytes // KIB, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        except libvirt.libvirtError as error:
            kind = GuestGone if error.get_error_code() in GONE else Refused
            raise kind(str(error)) from error

    def examine(self) -> Iterator[Finding]:
        """Test the connection and each guest."""
        try:
            seen = self.guests()
        except BackendUnavailable as error:
            advice = f"{error}; does libvirtd run, and are we in the group libvirt?"
            yield Finding("host", f"connection {self._options.uri}", False, advice)
            return
        yield Finding("host", f"connection {self._options.uri}", True)
        for one in seen:
            balloon = one.mechanism is not ResizeMechanism.NONE
            advice = "give it <memballoon model='virtio' autodeflate='on' freePageReporting='on'/>"
            yield Finding(one.name, "balloon or virtio-mem", balloon, advice)
            yield from findings(one)

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            with suppress(libvirt.libvirtError):
                self._connection.close()
        self._connection = None

    def _connect(self) -> Any:  # noqa: ANN401  libvirt has no types
        if self._connection is not None and not self._connection.isAlive():
            self.close()
        if self._connection is None:
            self._connection = libvirt.open(self._options.uri)
        return self._connection

    def _statistics(self, domains: list[Any]) -> dict[str, dict[str, Any]]:
        """Balloon statistics of all domains by UUID, in one call; none where that is not known."""
        try:
            found = self._connection.domainListGetStats(domains, libvirt.VIR_DOMAIN_STATS_BALLOON)
        except libvirt.libvirtError:
            return {}
        return {
            domain.UUIDString(): {
                name.removeprefix("balloon.").replace("-", "_"): value
                for name, value in fields.items()
            }
            for domain, fields in found
        }

    def _look(self, key: str, domain: Any, told: dict[str, dict[str, Any]]) -> Seen:  # noqa: ANN401
        now_s, known = self._machine.now_s(), self._known.get(key)
        if known is None or now_s - known.read_at_s >= LOOK_S:
            known = self._known[key] = self._describe(key, domain, now_s)
        stats = told.get(domain.UUIDString()) or domain.memoryStats()
        statistics = {
            column: int(stats[name]) * unit
            for column, (name, unit) in STATISTICS.items()
            if stats.get(name, -1) >= 0
        }
        actual = int(stats.get("current", stats.get("actual", 0))) * KIB
        size = known.seen.current_bytes if known.block else actual
        return replace(
            known.seen,
            state=self._state(domain),
            current_bytes=size if size > 0 else UNKNOWN,
            answered_at=max(NEVER, float(stats.get("last_update", NEVER))),
            statistics=statistics,
        )

    def _state(self, domain: Any) -> GuestState:  # noqa: ANN401
        state = STATES.get(domain.state()[0], GuestState.UNKNOWN)
        with suppress(libvirt.libvirtError):  # not every driver knows jobs
            if domain.jobInfo()[0] in (
                libvirt.VIR_DOMAIN_JOB_BOUNDED,
                libvirt.VIR_DOMAIN_JOB_UNBOUNDED,
            ):
                return GuestState.MIGRATING  # or being saved: neither may be disturbed
        return state

    def _describe(self, key: str, domain: Any, now_s: float) -> Description:  # noqa: ANN401
        tree = ElementTree.fromstring(domain.XMLDesc())
        name = domain.name()
        balloon = tree.find("./devices/memballoon")
        has = balloon is not None and balloon.get("model", "none").startswith("virtio")
        if has and balloon is not None:
            self._poll(domain, balloon)
        size = _kib(tree.find("./memory"))
        seen = Seen(
            key,
            name,
            pid=self._pids.get(domain.UUIDString()),
            size_bytes=size,
            mechanism=ResizeMechanism.BALLOON if has else ResizeMechanism.NONE,
            hinting=_hinting(balloon) if has else Hinting.NONE,
            async_mode=AsyncMode.OFF if tree.get("type") == "qemu" else AsyncMode.UNKNOWN,
            deflate_on_oom=int(balloon is not None and balloon.get("autodeflate") == "on"),
            own=terms_of(tree, name),
        )
        if name in self._options.free_target:
            return Description(now_s, replace(seen, mechanism=ResizeMechanism.FREE_TARGET))
        for device in tree.iterfind("./devices/memory[@model='virtio-mem']"):
            whole, plugged = (
                _kib(device.find("./target/size")),
                _kib(device.find("./target/current")),
            )
            block = max(KIB, _kib(device.find("./target/block")))
            base = size - whole
            current = base + max(0, plugged)
            seen = replace(seen, mechanism=ResizeMechanism.VIRTIO_MEM, current_bytes=current)
            text = ElementTree.tostring(device, encoding="unicode")
            # what is plugged changes: the description is read anew every time
            return Description(-LOOK_S, seen, text, block, base)
        return Description(now_s, seen)

    def _poll(self, domain: Any, balloon: ElementTree.Element) -> None:  # noqa: ANN401
        """Without a period statistics never come; who set another one had a reason."""
        period = balloon.find("./stats")
        if period is None or period.get("period", "0") == "0":
            with suppress(libvirt.libvirtError):
                seconds = max(1, round(self._options.stats_period))
                domain.setMemoryStatsPeriod(seconds, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def open_backend(options: Mapping[str, Any], guests: Guests) -> RealHost:
    """The backend `libvirt`.

    Raises:
        configs.loading.ConfigError: its options are wrong.
    """
    checked = build(LibvirtOptions, options, "backend.options")
    machine = Machine(checked.cgroup)
    return RealHost(LibvirtGuests(checked, machine), guests, machine, checked)


def terms_of(tree: ElementTree.Element, name: str) -> Rule | None:
    """What a domain's metadata says of it; None where that is nothing, or cannot be read."""
    found = tree.find(f"./metadata/{{{NAMESPACE}}}guest")
    if found is None:
        return None
    fields: dict[str, Any] = dict(found.attrib)
    try:
        for key in ("min", "max"):
            if key in fields:
                fields[key] = parse_bytes(fields[key])
        if "weight" in fields:
            fields["weight"] = int(fields["weight"])
        if "min_share" in fields:
            fields["min_share"] = float(fields["min_share"])
        if "manage" in fields:
            fields["manage"] = {"yes": True, "no": False}[fields["manage"]]
        return build(Rule, fields, f"metadata of {name}")
    except (ConfigError, KeyError, ValueError):
        return Rule(manage=False)  # who says something that we do not understand is left alone


def _kib(found: ElementTree.Element | None) -> int:
    """An element of memory in bytes; libvirt writes KiB out of its own accord."""
    if found is None or found.get("unit", "KiB") != "KiB" or not (found.text or "").isdigit():
        return UNKNOWN
    return int(found.text or "") * KIB


def _hinting(balloon: ElementTree.Element | None) -> Hinting:
    reports = balloon is not None and balloon.get("freePageReporting") == "on"
    return Hinting.REPORTING if reports else Hinting.NONE


def _requested(known: Description, target_bytes: int) -> str:
    """The virtio-mem device's XML with another requested size, a whole number of blocks."""
    device = ElementTree.fromstring(known.block)
    requested = device.find("./target/requested")
    if requested is None:
        raise Refused("its virtio-mem device has no requested size")
    wanted = max(0, target_bytes - known.base_bytes) // known.block_bytes * known.block_bytes
    requested.text = str(wanted // KIB)
    requested.set("unit", "KiB")
    return ElementTree.tostring(device, encoding="unicode")


def _agent(domain: Any) -> Any:  # noqa: ANN401
    import libvirt_qemu

    def ask(command: str, arguments: Mapping[str, object]) -> Any:  # noqa: ANN401
        request = json.dumps({"execute": command, "arguments": dict(arguments)})
        return json.loads(libvirt_qemu.qemuAgentCommand(domain, request, 5, 0)).get("return")

    return ask
