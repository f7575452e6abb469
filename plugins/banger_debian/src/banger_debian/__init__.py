"""Images, kernels and the guest runtime from the signed Debian archive."""
