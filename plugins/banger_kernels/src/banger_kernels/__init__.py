"""The kernels that banger keeps on this host."""
