"""``banger vm cp``: files and trees between this host and a machine."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from banger_core.cli.completers import copied
from banger_core.cli.link import fetch
from banger_core.cli.options import AsJson, Quiet
from banger_core.client.interrupts import Interrupts
from banger_core.client.notes import read_note
from banger_core.errors import BangerError, Interrupted, UsageProblem
from banger_core.ui.console import is_terminal, tell
from banger_core.ui.jsonout import show_json

if TYPE_CHECKING:
    from banger_core.client.copy import Copy, Options, Report, Summary
    from banger_core.client.sftp import Sftp

_SHOWN = 20
_BETWEEN = 0.1
_SLICE = 0.2

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SRC…",
        help="VM:PATH is in a machine, anything else here; - is stdin.",
        show_default=False,
        autocompletion=copied,
    ),
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="DST", help="The same; - is stdout.", show_default=False, autocompletion=copied
    ),
]


class _Remote(NamedTuple):
    vm: str
    path: bytes


class _Stop:
    """The first signal that asks to stop is noted, for work to end well; the second ends it."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, number: int) -> None:
        if self.number:
            Interrupts.give_up(number)
        self.number = number


def copy(
    sources: Sources,
    target: Target,
    follow: Annotated[
        bool, typer.Option("--follow", "-L", help="Copy what links here lead to, not the links.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume/--no-resume", help="Go on with what was interrupted, and keep it."),
    ] = True,
    special: Annotated[
        bool,
        typer.Option("--preserve-special", help="Keep setuid, setgid and sticky bits, too."),
    ] = False,
    sync: Annotated[
        bool, typer.Option("--sync", help="Put each file on the disk before it gets its name.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Copy files and directories into a machine or out of it.

    A directory is copied with all that it holds. When DST is a directory, copies go into it;
    else the one source gets that name, in a directory that exists. A DST that ends with / must
    be a directory, as must that of several sources. SRC/. stands for what SRC holds. Modes and
    times are kept; links inside a directory stay links. A file appears whole or not at all.
    """
    from banger_core.client.copy import Options

    options = Options(resume=resume, follow=follow, special=special, sync=sync)
    froms, to = [_parse(source) for source in sources], _parse(target)
    vm = _only_machine(froms, to)
    if "-" in sources and len(sources) > 1:
        raise UsageProblem(
            "- cannot be copied together with other files",
            cause="- stands for one stream",
            hints=["banger vm cp - VM:PATH"],
        )
    began = time.monotonic()
    lasting = resume and "-" not in (*sources, target)
    show = reporting(quiet=quiet or as_json or target == "-")
    with show as report, connected(vm, resume=lasting) as session:
        work: Copy
        if isinstance(to, _Remote):
            work = _send(session, vm, sources, to.path, options, report)
        else:
            found = [source.path for source in froms if isinstance(source, _Remote)]
            work = _fetch(session, vm, found, target, options, report)
    _tell(work.summary, time.monotonic() - began, as_json=as_json and target != "-", quiet=quiet)


def _parse(word: str) -> str | _Remote:
    """Take ``VM:PATH`` apart; a path with a slash before the colon is one of this host."""
    vm, colon, path = word.partition(":")
    if not colon or "/" in vm:
        return word
    if not vm:
        raise UsageProblem(
            f"{word!r} names no machine", hints=[f"banger vm cp ./{word} … for a file here"]
        )
    if path == "~" or path.startswith("~/"):
        path = path[2:]
    if "\0" in path:
        raise UsageProblem(
            "no path holds a NUL",
            cause="no file can have such a name",
            hints=["banger vm cp VM:PATH ."],
        )
    return _Remote(vm, os.fsencode(path) or b".")


def _only_machine(froms: list[str | _Remote], to: str | _Remote) -> str:
    machines = {one.vm for one in (*froms, to) if isinstance(one, _Remote)}
    remote = [isinstance(one, _Remote) for one in froms]
    if isinstance(to, _Remote) and not any(remote):
        return to.vm
    if isinstance(to, str) and all(remote) and len(machines) == 1:
        return machines.pop()
    if not machines:
        cause = "neither side is VM:PATH"
    elif isinstance(to, _Remote) and all(remote):
        cause = "both sides are in machines"
    else:
        cause = "all sources must be here, or in one machine"
    raise UsageProblem(
        "one side must be in a machine, the other here",
        cause=cause,
        hints=["banger vm cp VM:PATH - | banger vm cp - OTHER:PATH"] if machines else [],
    )


@contextmanager
def connected(vm: str, *, resume: bool) -> Iterator[Sftp]:
    """Connect; while it lasts, a signal ends what is being done in good order."""
    from banger_core.client.sftp import Sftp, subsystem

    argv = read_note(vm) or fetch("vms", vm, "ssh")["argv"]
    stop = _Stop()
    with Interrupts() as interrupts:
        interrupts.react = stop
        try:
            with Sftp(subsystem(argv), vm, stopped=lambda: stop.number) as session:
                yield session
        except Interrupted as problem:
            raise Interrupted(
                "the copy was interrupted",
                cause=problem.cause,
                hints=["run the same command again: it goes on where it stopped"] if resume else [],
            ) from None


def _send(
    session: Sftp, vm: str, sources: list[str], target: bytes, options: Options, report: Report
) -> Copy:
    from banger_core.client.copy_in import CopyIn

    work = CopyIn(session, vm, options, report)
    if sources == ["-"]:
        work.stream(target, lambda count: _read_input(session, count))
    else:
        work.send([os.fsencode(source) for source in sources], target)
    return work


def _fetch(
    session: Sftp, vm: str, sources: list[bytes], target: str, options: Options, report: Report
) -> Copy:
    from banger_core.client.copy_out import CopyOut, local_target

    work = CopyOut(session, vm, options, report)
    if target != "-":
        work.fetch(sources, *local_target(target, many=len(sources) > 1))
        return work
    if len(sources) > 1:
        raise UsageProblem(
            "only one file can be copied to -",
            cause="several would run into each other",
            hints=["banger vm cp VM:PATH DIRECTORY"],
        )
    work.stream(sources[0], lambda data: _write_output(session, data))
    return work


def _read_input(session: Sftp, count: int) -> bytes:
    while not select.select([0], [], [], _SLICE)[0]:
        session.check_stop()
    return os.read(0, count)


def _write_output(session: Sftp, data: bytes) -> None:
    view = memoryview(data)
    while view:
        while not select.select([], [1], [], _SLICE)[1]:
            session.check_stop()
        # No more than a pipe takes without waiting
        view = view[os.write(1, view[: select.PIPE_BUF]) :]


@contextmanager
def reporting(*, quiet: bool) -> Iterator[Report]:
    """Give what shows how far a copy is: bars on a terminal, nothing elsewhere."""
    if quiet or not is_terminal(sys.stderr):
        yield lambda _what, _done, _total: None
        return
    from banger_core.ui.progress import progress

    with progress() as show:
        told: dict[str, float] = {}

        def report(what: str, done: int, total: int) -> None:
            now = time.monotonic()
            begun = what in told
            if done >= total and not begun:
                return
            if done < total and now - told.get(what, 0) < _BETWEEN:
                return
            told[what] = now
            if done >= total:
                del told[what]
            show({"kind": "progress", "data": {"what": what, "done": done, "total": total}})

        yield report


def _tell(summary: Summary, seconds: float, *, as_json: bool, quiet: bool) -> None:
    """Say what came of it. Raises BangerError when something could not be copied."""
    if as_json:
        facts: dict[str, Any] = asdict(summary)
        facts["failed"] = [{"path": path, "reason": why} for path, why in summary.failed]
        show_json({**facts, "seconds": round(seconds, 3)})
    elif not quiet:
        for path in summary.skipped[:_SHOWN]:
            tell(f"skipped, for it is neither a file, a directory nor a link: {path}")
        if summary.skips > _SHOWN:
            tell(f"skipped, too: {summary.skips - _SHOWN} more")
    if not summary.failures:
        return
    lines = [f"{path!r}: {why}" for path, why in summary.failed[:_SHOWN]]
    if summary.failures > _SHOWN:
        lines.append(f"… {summary.failures - _SHOWN} more")
    files = "one file" if summary.failures == 1 else f"{summary.failures} files"
    raise BangerError(
        f"{files} could not be copied",
        cause="\n".join(lines),
        hints=["mend that, and run the command again"],
    )
