"""Kernels as files: what every kernel provider needs, whatever its source."""
