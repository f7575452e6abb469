"""Run banger's VMs with QEMU."""

from __future__ import annotations
