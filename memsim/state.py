"""The state of one host: flat arrays of records, and what their fields mean.

Pages of all guests share one index space per host, tasks, vCPUs and tables likewise; a guest's
record says where its part begins.  Few records rather than many arrays: compile time grows with
their number, and a touch should cost one cache line a level.
"""

import numpy as np

NOBODY = -1  # no page, task, request or slot; test before use as an index

# vpage.page: where a virtual page is, if not a page index
NEVER = -1  # nothing there yet
EVICTED = -2  # a file page that reclaim took from the cache; `age` is its shadow entry
WANTED = 1  # vpage.age: PG_reclaim, see vpage_dtype
SWAPPED_BASE = -16  # guest swap: slot = SWAPPED_BASE - value

# page.gstate: what the guest kernel uses a page for
FREE, ANON, FILE, KERNEL, BALLOON, EMULATOR = range(6)  # the last: the emulator's own, no guest's

# page.gflags, 16 bits
G_BITS = 0xFFFF
G_REF = 1  # guest bit: set by user touches, cleared by the guest's scan
G_DIRTY = 2
G_SEEN = 4  # PG_referenced: used once by read/write since the last look
G_HINT = 8  # the bit of the hinting bitmap
G_FILL = 16  # allocated, its first fill (kernel context) still to come
G_IO = 32  # the guest reads into it: locked, off the lists, `gprev` is the request
G_BACK = 64  # the guest writes it out
G_VOID = 128  # its owner hinted it free and the kernel took the bit: undefined until next used
G_HUGE = 512  # part of a page of 2 MiB in the guest and on the host
G_REPORTED = 256  # free, and the host was told: it backs nothing of the piece it is part of
# Read ahead from swap and not used yet: its copy stays in slot vpage.age; of a file: where
# readahead is to go on.
G_AHEAD = 1 << 11
G_WORKINGSET = 1 << 10  # was on the active list before it was last deactivated
AHEAD = 1 << 12  # the host's readahead brought the page, and nobody looked for it yet
SEEN = 1 << 13  # the host's PG_referenced of the frame: here for want of room in hflags
WORKING = 1 << 14  # the host's PG_workingset: was on its active list before it was deactivated
G_WATCHED = 1 << 15  # the host samples who touches it, and nobody did yet, see `accessed`
G_HOST = AHEAD | SEEN | WORKING  # bits of the frame, not of the page in it
G_KEPT = G_HINT | G_HOST | G_WATCHED  # what a page keeps when its guest frees it and uses it anew
# a touch must not take the fast path
G_SLOW = G_HINT | G_FILL | G_IO | G_VOID | G_AHEAD | G_WATCHED

# An anonymous page that was freed under I/O keeps G_IO or G_BACK, has no owner (vpn) and is on no
# list; it comes free when the I/O ends.

# page.glist: 0 none, else 1 + the guest list; page.hlist: 0 none, else 1 + (0 inactive, 1 active)

# page.hstate: what the host has of a page; resident is the only fast one
UNBACKED, RESIDENT, CACHED, WRITING, READING, SWAPPED = range(6)
# Of families, see `sharing`; what is mapped of these is as resident to a load, a store copies it.
MERGED = 6  # holds a frame of KSM
FOLLOWS = 7  # has what the head of its family has, wherever that is
LENT = 8  # read back from a slot that others refer to

# A swapped page is on no list: hnext is its shadow entry, the clock of its host LRU.  While
# READING, H_REF says that it goes to the active list.

# page.hflags
H_REF = 1  # host bit: set by any access
H_DIRTY = 2  # differs from its slot
H_ISOLATED = 4  # a reclaimer holds it, off the lists
H_UNMAPPED = 8  # ... and has unmapped it: touches wait for the lock; in a family: not mapped
H_PINNED = 16  # under DMA
H_EVER = 32  # was backed before: a fresh fault is a repeated one
H_BACK = 64  # under write-back to swap, even if it was taken back meanwhile
H_WROTE = 128  # stored to since `content` was set: unlike any other page
H_KEPT = H_EVER | H_WROTE  # what stays true of a page that leaves memory with its content

GUESTS = 255  # most guest slots of a host: `page.guest` is a byte

page_dtype = np.dtype(
    [
        ("gnext", "i4"),  # guest list (free or LRU), page index
        ("gprev", "i4"),
        ("vpn", "i4"),  # virtual page that owns it, host-wide index
        ("hnext", "i4"),  # host LRU; while READING or WRITING hprev is the request
        ("hprev", "i4"),
        ("slot", "i4"),  # host swap slot
        ("guest", "u1"),  # guest slot
        ("gstate", "u1"),
        ("gflags", "u2"),
        ("glist", "u1"),
        ("hstate", "u1"),
        ("hflags", "u1"),
        ("hlist", "u1"),
    ]
)

ksm_dtype = np.dtype(  # of a guest page, on a host with KSM; see `content` and `sharing`
    [
        ("content", "u4"),
        ("sum", "u4"),  # checksum at ksmd's last look; of a family's head: how many it has
        ("node", "i4"),  # in a family: its head, of that the next one; else what ksmd knows of it
        ("chain", "i4"),  # next in the same bucket
    ]
)
bucket_dtype = np.dtype([("stable", "i4"), ("unstable", "i4")])  # first pages of two chains

# age: shadow entry of a page that went (see workingset); of a file page under write-back, whether
# reclaim WANTED it
vpage_dtype = np.dtype([("page", "i4"), ("age", "u4")])

block_dtype = np.dtype(  # 2 MiB of guest-physical memory
    [
        ("free", "i4"),
        ("pages", "i4"),
        ("first", "i4"),
        ("next", "i4"),
        ("prev", "i4"),
        ("isolated", "u1"),  # what is free in it is on no list
        ("kernel", "u1"),  # unmovable by migrate type: its free pages are the kernel's first
        ("guest_huge", "u1"),  # the guest maps it as one page; `filled` of its pages are filled
        ("filled", "i4"),
        ("host_huge", "u1"),  # the host backs it with one page
        ("both_huge", "u1"),
        ("host_table", "u1"),  # the host has a table of small pages for it: no huge fault any more
        ("stuck", "u1"),  # compaction found something in it that does not move
    ]
)

list_dtype = np.dtype([("head", "i4"), ("tail", "i4"), ("count", "i8")])
# Rows of `lists`: seven a guest, in this order, then two a cgroup (inactive, active).
INACTIVE_ANON, ACTIVE_ANON, INACTIVE_FILE, ACTIVE_FILE, ORDER_0, IN_BALLOON, KERNEL_0 = range(7)
GUEST_LISTS = 7

_PSI = [  # of a host, a guest or a cgroup, see `pressure`
    ("psi_t", "f8"),
    ("psi_stalled", "i4"),
    ("psi_working", "i4"),
    ("psi_some_s", "f8"),
    ("psi_full_s", "f8"),
    ("psi_some_last", "f8"),
    ("psi_full_last", "f8"),
    ("psi_some_10", "f8"),
    ("psi_some_60", "f8"),
    ("psi_some_300", "f8"),
    ("psi_full_10", "f8"),
    ("psi_full_60", "f8"),
    ("psi_full_300", "f8"),
]

host_dtype = np.dtype(
    [
        # dimensions
        ("guests", "i4"),
        ("tasks", "i4"),
        ("cpus", "i4"),
        ("pages", "i8"),
        ("groups", "i4"),  # cgroups, guests' own ones included
        ("requests", "i4"),
        ("devices", "i4"),
        ("entries", "i4"),
        ("block_pages", "i4"),
        ("thread0", "i4"),  # the host's threads begin here: kswapd first
        # fixed
        ("sub", "f8"),  # small pages in a page
        ("page_bytes", "i8"),
        ("ram_pages", "i8"),
        ("reserved_pages", "i8"),
        ("swap_pages", "i8"),
        ("swap_device", "i4"),
        ("cluster_slots", "i8"),
        ("seed", "u8"),
        ("tick_s", "f8"),
        ("batch", "i8"),  # pages in a reclaim batch
        ("global_lru", "u1"),
        ("lru_2011", "u1"),
        ("ept_dirty", "u1"),
        ("slots_kept", "u1"),
        ("huge_pages", "u1"),
        # khugepaged: block it stands at, what is left of its pass, looks at what it reads from swap
        ("collapse_hand", "i4"),
        ("collapse_left", "i8"),
        ("collapse_at", "f8"),
        ("collapse_reads", "i4"),
        ("collapse_wait", "f8"),  # ... until the next look
        ("swappiness", "i4"),  # NOBODY: code goes first
        ("ra_virtual", "u1"),
        ("ra_adapts", "u1"),
        ("ra_prev", "i8"),  # slot of the last read without hits before
        ("ra_win", "i4"),  # the last window
        ("ra_hits", "i4"),  # pages read ahead that were used since
        ("ra_small", "f8"),  # the same window in small pages
        ("file_ra", "i4"),
        ("min_pages", "i8"),
        ("low_pages", "i8"),
        ("high_pages", "i8"),
        ("slice_low", "i8"),  # memory.low of the slice that all cgroups are in; NOBODY: none
        # CPU cost of one page of this host [s]
        ("c_ept", "f8"),
        ("c_gfault", "f8"),
        ("c_dontneed", "f8"),
        ("c_inflate", "f8"),
        ("c_deflate", "f8"),
        ("c_reclaim", "f8"),
        ("c_scan", "f8"),
        ("c_check", "f8"),
        ("c_greclaim", "f8"),
        ("c_gscan", "f8"),
        ("c_free", "f8"),
        ("c_ept_huge", "f8"),  # of 2 MiB
        ("c_gfault_huge", "f8"),
        ("c_migrate", "f8"),
        ("c_cscan", "f8"),
        ("c_collapse", "f8"),  # as c_migrate, in the host
        ("c_map", "f8"),
        ("c_zram", "f8"),
        ("c_ksm_skip", "f8"),
        ("c_ksm_look", "f8"),
        ("c_checksum", "f8"),
        ("c_merge", "f8"),
        ("c_unshare", "f8"),
        # time and order
        ("time_s", "f8"),
        ("events", "u8"),  # host's own event number
        ("heap_n", "i4"),
        ("error", "i4"),
        # CPU
        ("cores", "i4"),
        ("cores_used", "i4"),
        ("cores_most", "i4"),  # a timeline may change `cores`
        ("runq_n", "i4"),
        ("min_vr", "f8"),
        ("mix_t", "f8"),
        ("unsnapped", "i4"),  # runnable tasks whose wait is not classed yet
        # memory
        ("free_pages", "i8"),
        ("cached_pages", "i8"),
        ("swap_used_pages", "i8"),
        ("zram_stored", "i8"),
        ("zram_pages", "i8"),
        ("zram_ratio", "f8"),
        ("slot_next", "i8"),
        ("clusters_free", "i8"),  # whole ones
        ("slots_left", "i4"),  # rotating: of the run of free slots that is being filled
        ("writing_pages", "i8"),
        ("back_pages", "i8"),  # under write-back, those that were taken back included
        ("page_waiters", "i4"),
        ("requests_used", "i4"),
        ("request_next", "i4"),
        ("frame_waiters", "i4"),
        # counters
        ("swap_in_pages", "i8"),
        ("swap_out_pages", "i8"),
        ("oom_kills", "i8"),
        ("kswapd_s", "f8"),
        ("direct_reclaims", "i8"),
        ("io_busy_s", "f8"),
        # KSM
        ("ksm", "u1"),  # there is a ksmd, and pages have content
        ("ksm_run", "u1"),
        ("ksm_pages_to_scan", "i8"),  # [small pages]
        ("ksm_sleep_s", "f8"),
        ("ksm_max_sharing", "i8"),
        ("ksm_use_zero", "u1"),
        ("ksm_buckets", "i8"),
        ("ksm_next", "i8"),  # page that the scan has come to
        ("ksm_left", "f8"),  # small pages left of the batch
        ("ksm_unmerging", "u1"),
        ("ksm_shared", "i8"),  # stable frames: pages_shared
        ("ksm_sharing", "i8"),  # merged pages beyond the first of each frame: pages_sharing
        ("ksm_zero", "i8"),  # pages mapped to the zero page: ksm_zero_pages
        ("ksm_unshared", "i8"),
        ("ksm_volatile", "i8"),
        ("ksm_full_scans", "i8"),
        ("ksm_scanned", "i8"),
        ("ksm_discarded", "i8"),  # free pages that it met
        ("ksmd_s", "f8"),  # CPU time
        # accessed memory, see `accessed`
        ("sample_every_s", "f8"),  # 0: not sampled
        ("sample_at", "f8"),
        ("samples", "u8"),  # begun so far
        # pressure
        *_PSI,
        # timeline
        ("entry", "i4"),
        ("entry_t", "f8"),
        ("marks", "i4"),
        ("marked", "u1"),  # advance stopped at a mark
    ]
)

_STATS = [
    ("free", "i8"),
    ("total", "i8"),
    ("available", "i8"),
    ("disk_caches", "i8"),
    ("swap_in", "i8"),
    ("swap_out", "i8"),
    ("major", "i8"),
    ("minor", "i8"),
    ("oom_kills", "i8"),
    ("alloc_stalls", "i8"),
    ("async_scan", "i8"),
    ("direct_scan", "i8"),
    ("async_reclaim", "i8"),
    ("direct_reclaim", "i8"),
]

guest_dtype = np.dtype(
    [
        ("state", "u1"),  # 0 absent, 1 booting, 2 running
        ("rebooting", "u1"),  # booting because the host killed it
        ("guest_id", "i8"),
        ("pages", "i8"),  # maximum size
        ("min_pages", "i8"),
        ("target_pages", "i8"),  # what it was asked to be
        ("goal_pages", "i8"),  # the target that it acts on: after its delay, never if stuck
        ("taken_pages", "i8"),
        ("balloon_pages", "i8"),
        ("free_pages", "i8"),
        ("anon_pages", "i8"),
        ("file_pages", "i8"),
        ("dirty_pages", "i8"),
        ("writeback_pages", "i8"),
        ("kernel_pages", "i8"),
        ("available_pages", "i8"),
        ("swap_used_pages", "i8"),
        ("resident_pages", "i8"),  # the emulator's own memory included, as in VmRSS
        ("host_swapped_pages", "i8"),  # likewise, as in VmSwap
        ("merged_pages", "i8"),  # in frames of KSM that others have
        # layout
        ("page0", "i8"),
        ("block0", "i4"),
        ("blocks", "i4"),
        ("vpage0", "i8"),
        ("vpages", "i8"),
        ("region0", "i4"),
        ("regions", "i4"),
        ("task0", "i4"),
        ("tasks", "i4"),  # the script's; the kernel's KSWAPD and so on follow
        ("cpu0", "i4"),
        ("vcpus", "i4"),
        ("gslot0", "i8"),
        ("gslots", "i8"),
        ("event0", "i4"),
        ("signals", "i4"),
        ("curve0", "i4"),
        # fixed
        ("cgroup", "i4"),
        ("disk", "i4"),
        ("sector0", "i8"),  # where its image begins on the disk [pages]
        ("cpu_weight", "i4"),
        ("hinting", "u1"),
        ("async_mode", "u1"),
        ("resize", "u1"),
        ("report_pages", "i4"),  # free page reporting: the least piece that is reported
        ("report_every_s", "f8"),
        ("report_batch", "i4"),  # pieces of one report
        ("report_asked", "u1"),  # a pass is to come, at
        ("report_at", "f8"),
        ("report_active", "u1"),  # a pass is under way; what it may still report:
        ("report_left", "i8"),  # ... pieces in broken blocks
        ("report_blocks_left", "i8"),
        ("deflate_on_oom", "u1"),
        ("movable_balloon", "u1"),
        ("huge_pages", "u1"),
        ("defrag", "u1"),
        ("tlb_share", "f8"),  # a touch outside of huge pages takes that much longer
        ("stuck", "u1"),
        ("lru_exact", "u1"),
        ("lru_2011", "u1"),
        ("swappiness", "i4"),
        ("start", "u1"),
        ("resize_delay_s", "f8"),
        ("start_s", "f8"),
        ("stop_s", "f8"),
        ("boot_s", "f8"),
        ("stats_period_s", "f8"),
        ("kernel_size", "i8"),
        ("kernel_spread", "i8"),  # lies evenly in so many of its first pages, at least its size
        ("kernel_used", "i8"),  # of these: in use all the time
        ("reserved_pages", "i8"),  # of these: not in MemTotal
        ("booted_pages", "i8"),  # backed when it has booted
        # the emulator's own memory, whose pages lie behind the guest's; a disk request takes the
        # next page of what is used of it
        ("emulator_pages", "i8"),
        ("emulator_used", "i8"),
        ("emulator_hand", "i8"),
        ("code_pages", "i8"),
        ("code_resident", "i8"),
        ("code_read", "i8"),  # pages of it that were read for the first time
        ("code_used", "u1"),
        ("wm_min", "i8"),
        ("wm_low", "i8"),
        ("wm_high", "i8"),
        ("wm_target_low", "i8"),  # raised by a free-memory target, else as wm_low, wm_high
        ("wm_target_high", "i8"),
        # free memory and reclaim
        ("block_head", "i4"),  # wholly free blocks, most recently completed first
        ("block_tail", "i4"),
        ("gone_head", "i4"),  # blocks that resizing took, the last one first
        ("resize_hand", "i4"),  # virtio-mem: blocks below this one are still to be tried
        ("resize_block", "i4"),  # ... the one that is being emptied
        ("resize_tries", "i4"),
        ("resize_retry_s", "f8"),  # ... until it tries again
        ("resize_failures", "i8"),  # of resizing by blocks: how often no block was to be had
        # blocks that are huge in the guest, on the host, in both
        ("thp_blocks", "i8"),
        ("host_thp_blocks", "i8"),
        ("both_thp_blocks", "i8"),
        # khugepaged: virtual page it stands at, the block it copies to, what is left of its pass
        ("collapse_hand", "i8"),
        ("collapse_block", "i4"),
        ("collapse_left", "i8"),
        ("collapse_at", "f8"),
        ("collapse_reads", "i4"),  # looks so far at what it reads from swap for the part
        ("compact_considered", "i4"),
        ("compact_shift", "i4"),
        ("compact_at", "f8"),
        ("compact_asked", "u1"),  # kcompactd is to make one free block
        ("huge_left", "i8"),  # pages that kswapd has still to reclaim for it
        ("compact_score", "f8"),
        ("source_block", "i4"),  # isolated: what is free in it is not given out
        ("target_block", "i4"),  # pages are moved to it, counted from block0
        ("free_blocks", "i8"),
        ("scan_credit", "i8"),  # of anonymous memory in the turns of reclaim [1/65536]
        ("age", "u4"),  # evictions and activations: the workingset clock
        # what reclaim costs, by kind of memory: modern, then the ratios of 2011 [pages]
        ("anon_cost", "i8"),
        ("file_cost", "i8"),
        ("anon_scanned", "i8"),
        ("file_scanned", "i8"),
        ("anon_rotated", "i8"),
        ("file_rotated", "i8"),
        ("anon_activated_seen", "i8"),  # counters below when a run of reclaim ended last
        ("file_activated_seen", "i8"),
        ("gslot_next", "i8"),
        ("flush_hand", "i8"),
        ("swap_ra_prev", "i8"),  # readahead from its own swap: as the host's in slot space
        ("swap_ra_win", "i4"),
        ("swap_ra_hits", "i4"),
        ("ra_prev", "i8"),  # host's readahead in its memory: page of the last look or read
        ("ra_win", "i4"),
        ("ra_hits", "i4"),
        ("upkeep", "i4"),  # request that fetches what is always in use, or NOBODY
        ("io_first", "i4"),  # disk request that keeps its pages while it waits for a frame
        ("resize_at", "f8"),
        ("moved_s", "f8"),  # when the balloon last came nearer to its target, or got one
        # CPU
        ("runnable", "i4"),
        ("queued", "i4"),  # vCPUs that wait for a core
        ("snapped", "i4"),  # tasks whose wait is being classed
        ("mix_t", "f8"),
        ("min_vr", "f8"),
        ("events", "u8"),
        # counters
        ("host_swap_in", "i8"),
        ("host_swap_out", "i8"),
        ("host_major", "i8"),
        ("host_fresh", "i8"),
        ("ahead_pages", "i8"),  # of host_swap_in: read ahead ...
        ("ahead_hits", "i8"),  # ... and of these, used
        ("stale_reads", "i8"),  # of host_major: to be overwritten by a virtual disk's read
        ("false_reads", "i8"),  # ... to be overwritten by the guest, as a whole
        ("silent_writes", "i8"),  # of host_swap_out: what the guest's disk has as well
        ("discarded", "i8"),
        ("unshared", "i8"),  # pages of families that were copied
        ("guest_swap_in", "i8"),
        ("guest_swap_out", "i8"),
        ("guest_major", "i8"),
        ("guest_minor", "i8"),
        ("refaults", "i8"),
        ("anon_refaults", "i8"),  # pages read back from its own swap
        ("anon_activated", "i8"),  # WORKINGSET_ACTIVATE_*: back within the workingset's reach
        ("file_activated", "i8"),
        ("disk_read", "i8"),
        ("disk_written", "i8"),
        ("oom_kills", "i8"),
        ("host_kills", "i8"),
        ("hypercalls", "i8"),
        ("reports", "i8"),
        ("report_s", "f8"),  # CPU time of free page reporting
        ("reported", "i8"),
        ("resize_s", "f8"),
        ("inflated", "i8"),
        ("deflated", "i8"),
        ("missed_reads", "i8"),  # of guest_major: by read(2), which faults on no page
        ("alloc_stalls", "i8"),
        # pages that kswapd and direct reclaim looked at and took: PGSCAN_*, PGSTEAL_*
        ("async_scan", "i8"),
        ("direct_scan", "i8"),
        ("async_reclaim", "i8"),
        ("direct_reclaim", "i8"),
        ("touches", "i8"),
        ("thp_fault_alloc", "i8"),
        ("thp_fault_fallback", "i8"),
        ("thp_split", "i8"),
        ("thp_collapse_alloc", "i8"),
        ("compact_stall", "i8"),
        ("compact_success", "i8"),
        ("compact_fail", "i8"),
        ("host_thp_fault", "i8"),
        ("host_thp_split", "i8"),
        ("host_thp_swap_out", "i8"),
        ("host_thp_collapse", "i8"),
        ("compact_migrated", "i8"),
        ("compact_scanned", "i8"),
        ("version", "i8"),  # counts what may have made its quiet pages loud
        # accessed memory: draws of the sample under way, how many hit a page that can be touched,
        # the result of the last one and when that ended
        ("sample_draws", "i4"),
        ("sampled", "i4"),
        ("active_pages", "i8"),
        ("active_s", "f8"),
        ("committed_pages", "i8"),  # Committed_AS, as of the last statistics
        # pressure
        *_PSI,
        ("stats_time_s", "f8"),
    ]
    + [("stats_" + name, kind) for name, kind in _STATS]
)

# task.state
OFF, RUNNABLE, RUNNING, TIMER, ON_IO, ON_FRAME, ON_EVENT, DONE = range(8)

# task.wait: what a stopped task occupies while it waits
FREE_VCPU, BLOCKS_VCPU, HALTS_VCPU = range(3)

task_dtype = np.dtype(
    [
        ("state", "u1"),
        ("kind", "u1"),  # 0 script, else KSWAPD and so on
        ("guest", "i4"),
        ("cpu", "i4"),  # vCPU it runs on, blocks or halts
        ("stalls", "u1"),  # as whose it counts in PSI, see below
        ("phase0", "i4"),
        ("phases", "i4"),
        ("phase", "i4"),
        ("weight", "i4"),
        ("vr", "f8"),
        ("ran_s", "f8"),  # when it ran last
        ("clock", "f8"),  # all its time up to here is booked
        ("snapped", "u1"),  # its row of snapshots is valid since `clock`
        ("wait", "u1"),
        ("request", "i4"),
        ("page", "i4"),  # host page it waits for
        ("wait_cls", "u1"),  # ON_FRAME, TIMER: class of the wait
        ("async_cpu", "i4"),  # vCPU whose asynchronous fault it waits for
        ("fails", "i4"),  # fruitless scans: how far the priority of its reclaim has fallen
        ("rounds", "i4"),  # its fruitless rounds through all priorities
        ("wake_s", "f8"),
        # the script
        ("pending", "u1"),  # an access is under way
        ("compacting", "u1"),  # how far it is with making a free block, see `huge_alloc`
        ("huge_freed", "i8"),  # pages that it reclaimed for it
        ("cur", "i4"),  # ... to this virtual page
        ("quiet_left", "i8"),  # quiet touches before the next loud one, or unknown
        ("quiet_size", "i8"),  # pages in use when that was drawn
        ("store", "u1"),
        ("cost", "f8"),  # nominal CPU left of the access
        ("phase_t", "f8"),
        ("phase_n", "i8"),  # accesses or arrivals of this phase so far
        ("left_s", "f8"),  # COMPUTE: CPU left
        ("next_s", "f8"),  # next arrival, or next look of FOLLOW
        ("arrival", "u8"),
        ("sub", "i4"),  # accesses done of this arrival
        ("draws", "u8"),
        ("cursor", "i8"),
        ("page_key", "u8"),
        ("store_key", "u8"),
        ("gap_key", "u8"),
        # results
        ("done", "i8"),
        ("arrivals", "i8"),
        ("served", "i8"),
        ("dropped", "i8"),
        ("latency_s", "f8"),
        ("nominal_s", "f8"),
        ("redo_s", "f8"),  # nominal work to be done again
        ("lap_s", "f8"),  # nominal work that a restart would have to do again to be here
        ("setup_s", "f8"),  # ... to begin a lap of the endless repeat; negative: no lap yet
        ("base_s", "f8"),  # ... to begin the phase
        # an interrupted phase, whose users go on asking (open-loop): as the fields above
        ("back_at", "i4"),  # its index, until the restarted script is there again
        ("back_t", "f8"),
        ("back_n", "i8"),
        ("back_next_s", "f8"),
        ("back_sub", "i4"),
        ("restarts", "i8"),
        ("started_s", "f8"),
        ("finished_s", "f8"),
    ]
)

# task.stalls: not at all; the vCPU's thread stalls, so its cgroup and the host; the guest's task
# does; a worker of the host does in its place
NO_STALL, OF_VCPU, OF_TASK, OF_WORKER = range(4)

# task.kind, and order behind the script's
KSWAPD, BALLOONER, STATS, REPORTER, COLLAPSER, COMPACTOR = range(1, 7)
KERNEL_TASKS = 6  # of each guest

# cpu.state; entities that need a core: vCPUs first, then the host's own threads
CPU_IDLE, CPU_QUEUED, CPU_RUNNING, CPU_BLOCKED, CPU_HALTED = range(5)
RECLAIMER = 1  # cpu.thread: kswapd, then one for each cgroup's limit
KSMD = 2  # cpu.thread, on a host with KSM
HOST_COLLAPSER = 3  # cpu.thread, the last one, on a host with huge pages

cpu_dtype = np.dtype(
    [
        ("state", "u1"),
        ("cls", "u1"),  # account class of what it does
        ("why", "u1"),  # what follows when the slice ends
        ("guest", "i4"),  # NOBODY: a host thread
        ("task", "i4"),
        ("thread", "u1"),  # 0: a vCPU, else which of the host's threads
        ("group", "i4"),  # RECLAIMER: cgroup it reclaims from, NOBODY: all
        ("weight", "i4"),
        ("vr", "f8"),
        ("since", "f8"),
        ("used", "f8"),
        ("ran_s", "f8"),  # when it ran last
        ("runq", "i4"),  # the run queue lives in this column
        ("place", "i4"),  # place in the run queue
        ("stage", "u1"),  # of a reclaim batch
        ("iso_n", "i4"),
        ("lru", "i4"),
        ("asyncs", "i4"),  # outstanding asynchronous faults
        ("run", "u1"),  # a host thread has work
        ("freed", "i4"),
        ("wrote", "i4"),
        ("lists", "i4"),  # lists that it may reclaim from, as of the last batch
        ("seen", "i4"),  # ... and that the last priority found nothing on
        ("skipped", "u1"),  # some were passed over for being protected
        ("stalls", "u1"),  # a host thread that counts as stalled
        ("owed", "i8"),  # [small pages] charged above memory.high, to be paid for
        ("stock", "i8"),  # [small pages] charged ahead, as MEMCG_CHARGE_BATCH
        ("tries", "i4"),  # left to get below memory.high
        ("paying", "u1"),  # its batch is for memory.high
        ("unmapped", "i4"),  # pages that the last batch locked
        ("fails", "i4"),  # fruitless steps: how far the scan priority has fallen
        ("rounds", "i4"),  # fruitless rounds through all priorities
        ("gave_up", "i8"),  # a host thread: how often all its rounds were fruitless
        ("tried", "u1"),  # a batch was done and no frame came of it yet
    ]
)

group_dtype = np.dtype(  # row 0: all without a limit under a global LRU; row c + 1: cgroup c
    [
        ("usage", "i8"),
        ("max", "i8"),  # NOBODY: no limit
        ("high", "i8"),  # NOBODY: none
        ("low", "i8"),  # 0: no protection
        ("credit", "i8"),  # turn-taking of reclaim, in proportion to what is to be scanned
        ("own", "u1"),  # has lists of its own
        ("charged", "i8"),  # pages charged so far
        ("scanned", "i8"),  # pages of its lists that reclaim looked at, memory.stat pgscan
        ("low_events", "i8"),  # memory.events: reclaimed below low ...
        ("high_events", "i8"),  # ... and above high
        ("throttled_s", "f8"),  # vCPUs slept so long for being above high
        *_PSI,
        ("age", "u4"),  # of its lists: evictions and activations, the workingset clock
        ("refaults", "i8"),  # of its lists: pages swapped in again
        ("activated", "i8"),  # ... of them, within the workingset's reach
        ("activated_seen", "i8"),  # when a run of reclaim ended last
        # what reclaim of its lists costs, as a guest's, and turns of code [1/65536]
        ("anon_cost", "i8"),
        ("file_cost", "i8"),
        ("anon_scanned", "i8"),
        ("file_scanned", "i8"),
        ("anon_rotated", "i8"),
        ("file_rotated", "i8"),
        ("scan_credit", "i8"),
    ]
)

device_dtype = np.dtype(
    [
        ("kind", "u1"),
        ("latency_s", "f8"),
        ("near_s", "f8"),
        ("half_turn_s", "f8"),
        ("span_bytes", "f8"),
        ("bytes_per_s", "f8"),
        ("parallel", "i4"),
        ("busy", "i4"),
        ("head", "i8"),  # sector after the last one read or written [pages]
        ("buffer", "i8"),  # what the head passed over from here on is in the drive's buffer [pages]
        ("bus_s", "f8"),  # the transfer path is taken until then
        ("mix_t", "f8"),
        ("read_head", "i4"),
        ("read_tail", "i4"),
        ("write_head", "i4"),
        ("write_tail", "i4"),
        ("starved", "i4"),  # batches of reads that went before waiting writes
        ("batch", "i4"),  # requests of the batch that is being dispatched
        ("latter", "i4"),  # ... and the next one of it, in the order of sectors; NOBODY: none
        ("writing", "u1"),  # ... it is of writes
        ("waiting", "i4"),
        ("last_cls", "u1"),
        ("busy_s", "f8"),
        ("sectors", "i8"),
    ]
)

# request.kind
SWAP_READ, SWAP_WRITE, DISK_READ, DISK_WRITE, CODE_READ, UPKEEP = range(6)
# request.wanted: who reclaims what a write makes clean
NOT_WANTED, ASYNC, DIRECT = range(3)
# request.state
R_FREE, R_EMULATOR, R_QUEUED, R_SERVED, R_FRAME, R_PAGE, R_CODE, R_THROTTLED = range(8)

request_dtype = np.dtype(
    [
        ("state", "u1"),
        ("kind", "u1"),
        ("cls", "u1"),  # class of its service
        ("over", "u1"),  # class of service beyond what an idle device would take
        ("swap", "u1"),  # guest's own swap
        ("device", "i4"),
        ("guest", "i4"),
        ("sector", "i8"),
        ("count", "i4"),  # pages; UPKEEP: places
        ("head", "i4"),  # DISK_*: first virtual page or guest slot; SWAP_READ: chain (hnext)
        ("cursor", "i4"),  # pages that the emulator has made resident so far; UPKEEP: places seen
        ("page", "i4"),  # guest's own swap: the guest page, which stays its own to the end
        # R_PAGE, R_CODE: the read it waits for; R_FRAME: the host thread; CODE_READ: who waits
        ("parent", "i4"),
        ("next", "i4"),
        ("ops", "f8"),  # positionings left
        ("bytes", "f8"),  # left
        ("begun", "u1"),  # a share of it was served
        ("queued_s", "f8"),  # since when it is queued
        ("nominal_s", "f8"),  # left of the unloaded device time
        ("from_s", "f8"),  # begin of the share in service; R_CODE: nominal end of that
        ("why", "u1"),  # R_EMULATOR, R_CODE: class of what the emulator does
        ("asked", "i8"),  # R_FRAME: how often that thread had given up when it was asked
        ("owed", "i4"),  # small pages charged above memory.high and not paid for
        ("pressed", "u1"),  # who reclaims for its cgroup was asked to
        ("stalls", "u1"),  # it counts as stalled on memory
        ("coded", "u1"),  # the emulator's code was read for it
        ("worked", "u1"),  # the page of the emulator's own memory that it takes was there
        ("returned", "u1"),  # the device is done with it; the worker may still have to pay
        ("zapped", "u1"),  # its guest is gone
        ("wanted", "u1"),  # DISK_WRITE of guest reclaim: by kswapd (ASYNC) or directly (DIRECT)
        ("waiters", "i4"),  # tasks
    ]
)

phase_dtype = np.dtype(
    [
        ("op", "u1"),
        ("pattern", "u1"),
        ("kernel", "u1"),
        ("huge_only", "u1"),
        ("image", "i8"),  # row of `image` for its region's first page
        ("region", "i4"),  # host-wide
        ("write", "f8"),
        ("count", "i8"),
        ("seconds", "f8"),
        ("cost_s", "f8"),
        ("rate", "f8"),
        ("per_arrival", "i4"),
        ("backlog_s", "f8"),
        ("size", "i4"),
        ("rate_curve", "i4"),
        ("interval_s", "f8"),
        ("jump", "i4"),
        ("event", "i4"),
        ("alias", "i8"),  # first row of its table of popularity
        ("blocks", "i4"),
        ("stream", "i8"),
        ("stream_n", "i8"),
        ("taken", "i8"),  # REPEAT: jumps so far; WAIT: signals taken
        ("ra_start", "i8"),  # the last window of its file's readahead [small pages]
        ("ra_size", "i4"),
        ("ra_async", "i4"),  # ... of it behind the mark
        ("place", "i8"),  # LOOP, STREAM: where the pattern goes on
        ("outer", "u1"),  # REPEAT without end, not inside another
        ("lap", "u1"),  # such a REPEAT jumps here
        ("lap_taken", "i8"),  # `taken` when the lap began
        # the fast path, see `quiet`
        ("loud0", "i8"),  # first word of its set, NOBODY: every touch is executed
        ("loud_block0", "i8"),
        ("loud_blocks", "i4"),
        ("loud_pages", "i4"),  # of a block
        ("loud_words", "i4"),  # of a block
        ("loud_n", "i8"),
        ("share", "i8"),  # ZIPF: first row of its blocks' probabilities
        ("loud_version", "i8"),  # the guest's when the set was taken
        ("loud_good", "u1"),  # few enough
        ("loud_plain", "i8"),  # touches executed since
        ("loud_jumped", "i8"),  # ... and jumped over
        ("loud_wait", "i4"),  # touches a page until the next look
    ]
)

region_dtype = np.dtype(
    [
        ("kind", "u1"),
        ("guest", "i4"),
        ("vpage0", "i8"),
        ("pages", "i8"),
        ("block_pages", "i4"),
        ("owner", "i4"),  # task that loses it when it is killed
        ("sector", "i8"),
        ("held", "i8"),  # FOLLOW: pages in use
        ("followed", "u1"),  # some FOLLOW sets its size
        ("mapped", "u1"),  # touched since it was last given back
        ("place", "i8"),  # APPEND: where the next access goes
    ]
)

curve_dtype = np.dtype([("first", "i8"), ("points", "i8"), ("at", "i8")])
event_dtype = np.dtype([("when", "f8"), ("tie", "u8"), ("heap", "i4"), ("pos", "i4")])
signal_dtype = np.dtype([("count", "i8")])
entry_dtype = np.dtype(
    [
        ("act", "u1"),
        ("at_s", "f8"),
        ("after_s", "f8"),
        ("guest", "i4"),
        ("index", "i4"),
        ("value", "f8"),
    ]
)
alias_dtype = np.dtype([("keep", "u4"), ("other", "i4")])
point_dtype = np.dtype([("t", "f8"), ("v", "f8")])


# Rows of `book`: accounts of tasks, then their snapshots, then integrals of who holds what
# (host cores, then guests' vCPUs, then devices), then counts of holders, in the same order, then
# each guest's last look at the host's integrals.


def book_rows(tasks: int, guests: int, devices: int) -> int:
    """Return how many rows of `book` a host needs."""
    return 2 * tasks + 2 * (1 + guests + devices) + guests
