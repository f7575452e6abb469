"""Defaults that depend on the host, and where each value came from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

Origin = Literal["config", "host", "constant"]

VCPU_FLOOR, VCPU_CEILING = 1, 4
MEMORY_FLOOR, MEMORY_CEILING = 512 << 20, 8 << 30
_MEMORY_STEP = 256 << 20


@dataclass(frozen=True, slots=True)
class Default:
    """A value and who decided it: the user's ``config``, this ``host``, or a ``constant``."""

    value: Any
    origin: Origin


def default_vcpu(cpus: int | None = None) -> Default:
    """A quarter of the CPUs that this process may use, 1 to 4."""
    usable = len(os.sched_getaffinity(0)) if cpus is None else cpus
    return _within(usable // 4, VCPU_FLOOR, VCPU_CEILING)


def default_memory(total: int | None = None) -> Default:
    """An eighth of the host's memory in bytes, 512 MiB to 8 GiB.

    In steps of 256 MiB, so that hosts that are alike give VMs that are alike.
    """
    if total is None:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _within(total // 8 // _MEMORY_STEP * _MEMORY_STEP, MEMORY_FLOOR, MEMORY_CEILING)


def _within(wanted: int, floor: int, ceiling: int) -> Default:
    if wanted < floor:
        return Default(floor, "constant")
    return Default(min(wanted, ceiling), "host")
