"""The classes to which every second of every task is booked (model section 2)."""

CLASSES = (
    "idle",
    "nominal",
    "queued",
    "host_swap",
    "guest_swap",
    "refault",
    "guest_reclaim",
    "host_reclaim",
    "fresh_fault",
    "tlb",
    "kswapd",
    "balloon",
    "ksmd",
    "compaction",
    "throttle",
    "restart",
)

IDLE = 0  # the task's own script lets time pass
NOMINAL = 1  # its own CPU, and the unloaded device time of data never read before
QUEUED = 2  # others' nominal work holds the CPU or the device
FIRST_LOST = 3  # this class and all after it are lost time
HOST_SWAP = 3
GUEST_SWAP = 4
REFAULT = 5
GUEST_RECLAIM = 6
HOST_RECLAIM = 7
FRESH_FAULT = 8
TLB = 9
KSWAPD = 10
BALLOON = 11
KSMD = 12
COMPACTION = 13
THROTTLE = 14
RESTART = 15
N_CLASSES = 16
