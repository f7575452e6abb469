"""``banger daemon``: the process that keeps the machines. It starts by itself when needed."""

from __future__ import annotations

import os
import sys
import time
from typing import Annotated

import typer

from banger_core.cli.group import Noun, verb
from banger_core.cli.link import link
from banger_core.cli.options import AsJson
from banger_core.client import spawn
from banger_core.client.client import url
from banger_core.config.paths import Paths
from banger_core.errors import ExitCode
from banger_core.ui.console import printable, tell
from banger_core.ui.human import ago, plain
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_details

daemon = Noun("daemon", "The daemon that keeps the machines")

_LOOK = 0.2
"""How often a followed log is looked at (seconds)."""


@verb(daemon, "start")
def start() -> None:
    """Start the daemon, unless it runs."""
    status = link().get(url("status"))
    tell(f"the daemon runs, pid {status['pid']}")


@verb(daemon, "stop")
def stop() -> None:
    """Stop the daemon; machines go on running."""
    paths = Paths.from_environment()
    if found := spawn.running(paths, tell):
        spawn.stop(found[0], paths)
        tell("the daemon has stopped")
    else:
        tell("the daemon does not run")


@verb(daemon, "status")
def status(as_json: AsJson = False) -> int:
    """Show how the daemon is doing; exit status 1 when it does not run."""
    found = spawn.running(Paths.from_environment(), tell)
    facts = found[1] if found else {}
    if as_json:
        show_json({"running": bool(found), **facts})
    elif found:
        started = facts.get("started_at")
        shown = {name: plain(value) for name, value in facts.items()}
        show_details({**shown, "started_at": ago(started if isinstance(started, float) else None)})
    else:
        tell("the daemon does not run")
    return ExitCode.OK if found else ExitCode.FAILED


@verb(daemon, "logs")
def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
    tail: Annotated[int, typer.Option("--tail", min=0, metavar="LINES", help="Only the end.")] = 0,
) -> None:
    """Show what the daemon wrote."""
    path = Paths.from_environment().daemon_log
    if not path.exists():
        tell(f"there is no {path} yet")
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
        for line in lines[-tail:] if tail else lines:
            _write(line)
        while follow:
            if line := file.readline():
                _write(line.rstrip("\n"))
            else:
                sys.stdout.flush()
                time.sleep(_LOOK)
                if file.tell() > os.fstat(file.fileno()).st_size:
                    file.seek(0)


def _write(line: str) -> None:
    sys.stdout.write(printable(line) + "\n")
