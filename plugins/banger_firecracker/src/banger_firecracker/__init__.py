"""Run banger's VMs with Firecracker."""

from __future__ import annotations
