"""``banger vm run --foreground``: stand by an engine that runs one machine, and pass signals on."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import typer

from banger_core.client.process import spawn
from banger_core.errors import UsageProblem

ENGINE = (sys.executable, "-P", "-m", "banger_core.daemon.foreground")
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def run_foreground(ctx: typer.Context, spec: str, command: list[str] | None) -> int:
    """Run what ``spec`` says to its end and return the status that tells how it ended.

    An engine that is killed has no chance to end its machine: then another one sweeps up.
    """
    _check(ctx, spec, command)
    place = spec if spec == "-" else str(Path(spec).absolute())
    # Whichever of the two ends first, the other one knows
    lifeline, ours = os.pipe()
    os.set_inheritable(lifeline, True)
    watched = {*_PASSED_ON, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        pid = spawn([*ENGINE, place, str(lifeline)], session=True, passed=(lifeline,))
        os.close(lifeline)
        ended = _wait(pid, watched)
        if ended < 0:
            _sweep()
        return ended if ended >= 0 else 128 - ended
    finally:
        os.close(ours)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(pid: int, watched: set[signal.Signals]) -> int:
    while True:
        child, status = os.waitpid(pid, os.WNOHANG)
        if child:
            return os.waitstatus_to_exitcode(status)
        number = signal.sigwaitinfo(watched).si_signo
        if number != signal.SIGCHLD:
            # The engine knows two: please, and at once
            os.kill(pid, signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


def _sweep() -> None:
    sweeper = spawn([*ENGINE, "--sweep"])
    os.waitpid(sweeper, 0)


def _check(ctx: typer.Context, spec: str, command: list[str] | None) -> None:
    if not spec:
        raise UsageProblem(
            "--foreground and --spec go together",
            cause="the specification says what runs in the foreground",
            hints=["banger vm run --foreground --spec FILE"],
        )
    said = [name for name in ctx.params if _was_given(ctx, name)]
    others = sorted(set(said) - {"foreground", "spec", "quiet"})
    if others or command is not None:
        what = f"--{others[0].replace('_', '-')}" if others else "a command after --"
        raise UsageProblem(
            f"{what} cannot be given beside --spec",
            cause="the specification says everything about the machine",
            hints=["write it into the specification"],
        )


def _was_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
