"""Networks of taps on a bridge, walled by nftables."""
