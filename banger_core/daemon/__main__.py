"""``bangerd``: take the lock, bind the socket, settle the past, serve."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys

from banger_core import __version__
from banger_core.config.paths import Paths
from banger_core.daemon.listen import bind, unbind
from banger_core.errors import BangerError, Conflict, ExitCode, HostNotReady
from banger_core.store.content import write_atomic
from banger_core.store.locks import FileLock

log = logging.getLogger("banger.daemon")


def main() -> None:
    """Run the daemon until it is told to stop. Exits 0 when another one serves this state."""
    os.umask(0o077)
    logging.basicConfig(
        level=os.environ.get("BANGER_LOG", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        paths = Paths.from_environment().ready()
        _serve_alone(paths)
    except BangerError as problem:
        log.error("%s: %s", problem.summary, problem.cause)  # noqa: TRY400 - a reason, no defect
        # The last line of the log is for the client that started this daemon
        sys.stderr.write(json.dumps(problem.to_dict()) + "\n")
        sys.exit(problem.exit_code)
    sys.exit(ExitCode.OK)


def _serve_alone(paths: Paths) -> None:
    lock = FileLock(paths.daemon_lock)
    try:
        lock.acquire()
    except Conflict:
        log.info("another daemon serves %s", paths.state)
        return
    except OSError as problem:
        raise HostNotReady(
            f"{paths.daemon_lock} cannot be locked",
            cause=problem.strerror or str(problem),
            hints=[f"ls -l {paths.daemon_lock}", f"mv {paths.daemon_lock} {paths.daemon_lock}.old"],
        ) from problem
    with lock:
        listener = bind(paths.socket)
        try:
            # For those who come with another XDG_RUNTIME_DIR or none, as cron and sudo do
            write_atomic(paths.daemon_address, os.fsencode(paths.socket))
            asyncio.run(_serve(paths, listener))
        finally:
            unbind(paths.socket, listener)


async def _serve(paths: Paths, listener: object) -> None:
    import socket

    from banger_core.config.settings import load_settings
    from banger_core.daemon.server import Daemon
    from banger_core.engine.alone import sweep_runs
    from banger_core.engine.engine import Engine
    from banger_core.engine.failpoints import check_environment
    from banger_core.plugins.registry import load_registry

    assert isinstance(listener, socket.socket)
    check_environment()
    registry = load_registry(paths)
    settings = load_settings(paths, registry)
    engine = Engine(paths, settings, registry)
    await sweep_runs(paths, settings, registry)
    log.info("bangerd %s, pid %d, state %s", __version__, os.getpid(), paths.state)
    await Daemon(engine).serve(listener)


if __name__ == "__main__":
    main()
