"""How fast the host's time-stamp counter runs.

Under software emulation the guest's counter is the host's, but the guest's kernel cannot measure
it reliably: on a busy host it hangs in one boot out of three. So it is told.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import time
from collections.abc import Callable
from functools import cache

_RDTSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")  # rdtsc; shl rdx, 32; or rax, rdx; ret
_WINDOW = 0.05
_TRIES = 20


@cache
def host_tsc_khz() -> int | None:
    """Measure for 50 ms, once per process; None on other processors than x86-64, and where the
    system forbids a program to make code.
    """
    if platform.machine() != "x86_64":
        return None
    try:
        memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return None
    memory.write(_RDTSC)
    place = ctypes.c_char.from_buffer(memory)
    read_counter = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(place))
    first_time, first_count = _sample(read_counter)
    time.sleep(_WINDOW)
    last_time, last_count = _sample(read_counter)
    return round((last_count - first_count) * 1_000_000 / (last_time - first_time))


def _sample(read_counter: Callable[[], int]) -> tuple[int, int]:
    """Return nanoseconds and counter at one moment: the tightest of several tries."""
    best = (1 << 62, 0, 0)
    for _ in range(_TRIES):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        count = read_counter()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        best = min(best, (after - before, (before + after) // 2, count))
    return best[1], best[2]
