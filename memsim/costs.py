"""What work costs on a host: the constants of `params` for its page size and its emulator."""

from memsim import params
from memsim.spec import DeviceKind, HostSpec

OF_GUEST_KERNELS = (  # costs that a guest's own kernel spends: emulation makes them longer
    "c_gfault",
    "c_inflate",
    "c_deflate",
    "c_greclaim",
    "c_gscan",
    "c_free",
    "c_migrate",
    "c_cscan",
)


def costs(spec: HostSpec) -> dict[str, float]:
    """CPU seconds for a page of this host, or of 2 MiB where a name says huge; by field."""
    device = spec.devices[spec.swap_device]
    found = {
        "c_ept": params.EPT_FAULT_S,
        "c_gfault": params.GUEST_FAULT_S,
        "c_dontneed": params.DONTNEED_S,
        "c_inflate": params.BALLOON_INFLATE_S,
        "c_deflate": params.BALLOON_DEFLATE_S,
        "c_reclaim": params.HOST_RECLAIM_S,
        "c_scan": params.HOST_SCAN_S,
        "c_check": params.HINT_CHECK_S,
        "c_greclaim": params.GUEST_RECLAIM_S,
        "c_gscan": params.GUEST_SCAN_S,
        "c_free": params.FREE_S,
        "c_gfault_huge": params.GUEST_FAULT_HUGE_S,
        "c_migrate": params.MIGRATE_S,
        "c_cscan": params.COMPACT_SCAN_S,
        "c_collapse": params.MIGRATE_S,
        "c_map": params.MAP_S,
        "c_ksm_skip": params.KSM_SKIP_S,
        "c_ksm_look": params.KSM_LOOK_S,
        "c_checksum": params.CHECKSUM_S,
        "c_merge": params.MERGE_S,
        "c_unshare": params.UNSHARE_S,
        "c_zram": device.latency_s if device.kind == DeviceKind.ZRAM else 0.0,
    }
    for name in OF_GUEST_KERNELS:
        found[name] *= spec.emulation
    sub = spec.page_bytes / params.SMALL_PAGE
    return {name: cost * sub for name, cost in found.items()} | {
        "c_ept_huge": params.EPT_FAULT_HUGE_S
    }
