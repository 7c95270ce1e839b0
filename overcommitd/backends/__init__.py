"""Where guests are: each module opens one kind of hypervisor.  Found by entry points, by name."""
