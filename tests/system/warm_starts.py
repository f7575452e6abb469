"""Machines that are saved for warm starts. All bangers of the tests share them with their cache,
and who asks for them prunes them: such modules are of the xdist group ``warm-start``.
"""

from __future__ import annotations

import time
from pathlib import Path


def saved(banger):
    """The directories of those that are there."""
    shelf = Path(banger.env["BANGER_CACHE_DIR"]) / "warm-starts"
    return [place for place in shelf.glob("*") if not place.name.startswith(".")]


def save_one(banger, name, *machine):
    """Switch warm starts on, run ``name`` without one, and wait until its like is saved."""
    config = banger.home / "config" / "config.toml"
    config.write_text(config.read_text().replace("warm_start = false", "warm_start = true"))
    banger.ok("daemon", "stop")
    banger.ok("vm", "prune", "--warm")
    banger.ok("vm", "run", "-d", "--name", name, *machine)
    deadline = time.monotonic() + 300
    while not saved(banger):
        assert time.monotonic() < deadline, (banger.state / "daemon.log").read_text()
        time.sleep(0.2)
