"""Free memory as a hypervisor sees it that gives guests their memory before they touch it."""

import numpy as np

from contract.arrays import Ints
from contract.telemetry import Telemetry


def free_bytes(telemetry: Telemetry) -> Ints:
    """(H,) [bytes] available less what guests may still take without asking, maybe negative.

    Under Xen and Hyper-V the difference between a guest's size and its frames would be the guest's
    already.  Where either is not known, nothing is promised.
    """
    size, resident = telemetry.current_bytes, telemetry.resident_bytes
    known = telemetry.present & (size >= 0) & (resident >= 0)
    promised = np.where(known, np.maximum(size - resident, 0), 0).sum(axis=1)
    free: Ints = telemetry.available_bytes - promised
    return free
