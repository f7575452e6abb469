"""Who this process is, so that the daemon can tell when it is gone."""

from __future__ import annotations

import os
from pathlib import Path

from banger_core.model import ProcessId


def own_process() -> ProcessId:
    """Return this process's identity: pid, start time (``/proc/self/stat``, field 22), boot id."""
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ProcessId(pid=os.getpid(), start_ticks=int(fields[19]), boot_id=boot)
