"""Page-level memory of a batch of hosts and their guests, in numba kernels over flat arrays."""
