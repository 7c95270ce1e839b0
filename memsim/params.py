"""Physical constants, each with unit, range and source.  Costs are for one page of 4 KiB.

Sources: [HA] L. Wrenger et al., HyperAlloc, EuroSys 2025, measured data (hyperalloc-bench);
[HU] N. Amit, M. Wei, Hyperupcalls, ATC 2018; [BF] Zhang et al., Blowfish, OSDI 2026;
[LX] Linux 5.13 source; [VS] N. Amit et al., VSwapper, ASPLOS 2014;
[CA] C. Alverti et al., contiguity-aware paging, ISCA 2020;
[FH] N. N. Lal, RFC mm: support for page hinting, v10, linux-mm, 3 June 2019, page_fault1;
[XX] Linux commit efcfcbc6a361, btrfs: add xxhash to fast checksum implementations.
"""

SMALL_PAGE = 4096  # [bytes] what the costs below are for

# CPU costs [s]
EPT_FAULT_S = 3.5e-6  # fresh zeroed page, with the guest's allocation; +/-30 % [HA]
GUEST_FAULT_S = 0.39e-6  # allocate and touch a page that the host backs [HA]
DONTNEED_S = 1.9e-6  # MADV_DONTNEED of a resident page [HA]
DONTNEED_HUGE_S = 8.4e-6  # MADV_DONTNEED of a resident block of 2 MiB [HA]
USER_EXIT_S = 7.5e-6  # a virtqueue kick: exit to the emulator and back; 5-10, recalled
REPORT_PIECE_S = 0.5e-6  # take a piece off its free list and put it back; assumed, 0.2-1
BALLOON_INFLATE_S = 2.54e-6  # guest and exit, without MADV_DONTNEED [HA]
BALLOON_DEFLATE_S = 1.81e-6  # [HA]
BALLOON_HUGE_INFLATE_S = 7.5e-6  # of a block of 2 MiB, without MADV_DONTNEED [HA]
BALLOON_HUGE_DEFLATE_S = 6.7e-6  # of a block [HA]
VIRTIO_MEM_UNPLUG_S = 54.5e-6  # of an empty block of 2 MiB, without MADV_DONTNEED [HA]
VIRTIO_MEM_PLUG_S = 21.3e-6  # of a block [HA]
HOST_RECLAIM_S = 5.9e-6  # unmap, flush, hand to swap: 170,000 pages/s a reclaim thread [BF]
HUGE_RECLAIM_SHARE = 0.7  # of that, a page of a huge one swapped as a whole; 0.6-0.9 [LX] bd4c82c2
HOST_SCAN_S = 0.25e-6  # look at a reference bit through the reverse map; 0.1-0.5, order of [HU]
HINT_CHECK_S = 0.1e-6  # 185 cycles [HU]
HINT_TAX = 0.01  # share of the allocation path; 0-0.03 [FH]
GUEST_RECLAIM_S = 1.0e-6  # drop a clean page of the guest's cache; assumed, 0.5-2
GUEST_SCAN_S = 0.1e-6  # assumed, 0.05-0.25
EPT_FAULT_HUGE_S = 340e-6  # of 2 MiB, fresh and zeroed, without the guest's part; +/-30 % [HA]
GUEST_FAULT_HUGE_S = 0.22e-6  # as GUEST_FAULT_S, huge in guest and host [HA]
TLB_SHARE = 0.15  # a touch outside of huge pages takes that much longer; 0.05-0.30 [CA]
MIGRATE_S = 2.0e-6  # isolate, unmap, copy and map a page that is moved; assumed, 1-4
COMPACT_SCAN_S = 0.05e-6  # look whether a page can be moved; assumed, 0.02-0.1
FREE_S = 0.1e-6  # give a page back to the guest's allocator; assumed, 0.05-0.2
MAP_S = 1.0e-6  # map a page that the swap cache holds: a minor host fault; assumed, 0.5-2
STATS_S = 20e-6  # one answer of the balloon's statistics queue; assumed, 5-50

KSM_SKIP_S = 0.05e-6  # ksmd walks past a page that is not mapped; assumed, 0.02-0.1
KSM_LOOK_S = 1.5e-6  # find a page, compare it along the stable tree; assumed, 0.5-5
CHECKSUM_S = 0.3e-6  # xxhash64, 860 cycles; 0.25-0.6; jhash2, until 2018: 2 [XX]
MERGE_S = 5e-6  # compare, write-protect, map to the stable frame, flush; assumed, 2-10
UNSHARE_S = 4.5e-6  # copy-on-write of a merged page: an EPT fault and a copy; assumed, 3-7

# Linux constants [LX]
RECLAIM_BATCH = 32  # [small pages] SWAP_CLUSTER_MAX
DEF_PRIORITY = 12  # a scan looks at 1/4096 of a list at first, at twice that after each failure
SCAN_ROUNDS = 16  # fruitless rounds until kswapd gives up, MAX_RECLAIM_RETRIES
BALLOON_BATCH = 256  # [small pages] PFNs per virtqueue message
REPORT_PASSES = 16  # a pass of free page reporting takes at least this part of a list
LARGEST_PIECE = 1024  # [small pages] 4 MiB, order 10: the largest that the guest's allocator keeps
HUGE_PAGES = 512  # [small pages] in 2 MiB
VIRTIO_MEM_RETRY_S = 50.0  # until virtio-mem tries again after a failure, twice as long each time
VIRTIO_MEM_TRIES = 5  # to empty a block while what is in it is under I/O
VIRTIO_MEM_RETRY_MOST_S = 300.0  # ... but at most
COMPACT_MAX_DEFER_SHIFT = 6  # after failures only every 64th allocation tries to compact
COMPACT_EVERY_S = 0.5  # HPAGE_FRAG_CHECK_INTERVAL_MSEC: kcompactd looks ahead
COMPACT_PROACTIVENESS = 20  # it compacts above 90 % of free memory in pieces down to 80 %
COLLAPSE_PAGES = 4096  # [small pages] khugepaged looks at in a pass: pages_to_scan
COLLAPSE_EVERY_S = 10.0  # scan_sleep_millisecs
COLLAPSE_MAX_SWAP = 64  # [small pages] of 2 MiB that it reads from swap: max_ptes_swap
COLLAPSE_RETRY_S = 60.0  # alloc_sleep_millisecs, after it found no free block
COMPACT_BATCH = 32  # [small pages] COMPACT_CLUSTER_MAX
OUT_OF_PUFF_S = 0.2  # balloon sleeps after a failed allocation
AS_NEAR_S = 5.0  # a size that has not moved for so long is as near its target as it gets; assumed
ASYNC_PER_VCPU = 64  # outstanding asynchronous faults of a vCPU
HALT_TICK_S = 4e-3  # CONFIG_HZ=250: a timer interrupt may switch task in a halted vCPU
SLICE_S = 3e-3  # CFS: minimum granularity on 8 CPUs, 0.75 ms * (1 + log2 8)
WAKE_CREDIT_S = 3e-3  # CFS: a waking task is placed half a latency period before the others
SLOT_CLUSTER_2011 = 256  # [small pages] SWAPFILE_CLUSTER
SLOT_CLUSTER = 512  # ... with CONFIG_THP_SWAP, since 4.13: HPAGE_PMD_NR, mm/swapfile.c
ROTATION_S = 4.17e-3  # half a turn at 7,200 rpm: what a disk's head waits wherever it moved
SHARE_BYTES = 32768  # a coarse request is served in shares of this
WRITES_STARVED = 2  # mq-deadline: read batches before a waiting write must go
FIFO_BATCH = 16  # mq-deadline: requests in the order of sectors until it looks who else waits
READ_EXPIRE_S = 0.5  # mq-deadline: then a read goes first, whatever lies near
WRITE_EXPIRE_S = 5.0  # ... and a write
DRIVE_BUFFER_BYTES = 1 << 20  # of what the head passed, a drive keeps; assumed, 0.25-4 MiB
SWAP_WINDOW = 8  # [small pages] the guest's page-cluster, 3
FILE_READAHEAD = 32  # [small pages] the guest's readahead, 128 KiB
RESTART_S = 2.0  # a killed service starts again: systemd allows five starts in ten seconds
FLUSH_S = 5.0  # dirty_writeback_centisecs
FLUSH_SHARE = 1 / 6  # so that a dirty page is written after 30 s on average
BACKGROUND_RATIO = 0.1  # the flusher writes all above this share of free and file memory
DIRTY_RATIO = 0.2  # ... and above this one writers wait
PSI_PERIOD_S = 2.0  # PSI_FREQ: averages are updated this often
KSM_SLEEP_LEAST_S = 1e-3  # sleep_millisecs of 1; of 0, no sleep at all, is not modelled
CONGESTION_S = 0.01  # a wait for write-back ends after this at the latest, HZ/100
FAST_BELOW = 0.125  # jump where fewer touches than this change state, see `quiet`
FAST_PATIENCE = 16  # longest wait for the next look at all pages [touches a page]
RETRY_S = 1e-3  # a context that found no frame looks again after this, or when one is freed
EMULATOR_CODE_PAGES = 1024  # [small pages] file-backed, 4 MiB, evicted first [VS]
EMULATOR_USED_PAGES = 768  # [small pages] of its own memory in use, 3 MiB; 2.5-3.4, measured idle
CHARGE_BATCH = 32  # [small pages] MEMCG_CHARGE_BATCH: what a task pays for above memory.high
THROTTLE_HZ = 1000  # [1/s] jiffies in which the sleep above memory.high is computed [LX]
THROTTLE_MOST_S = 2.0  # MEMCG_MAX_HIGH_DELAY_JIFFIES
THROTTLE_LEAST_S = 0.01  # nobody sleeps for HZ/100 or less
