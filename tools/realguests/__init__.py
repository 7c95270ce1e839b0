"""Real QEMU guests under software emulation do the work of a scenario, beside the simulator.

No hardware virtualisation, no network and no disk image are needed: the guest is Debian's kernel
with an initramfs that holds busybox and a small agent.
"""
