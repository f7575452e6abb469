"""The entry point: shortest ways first, then the command line. The only place where an exception
becomes an exit status.

``--version``, ``ssh NAME`` and ``vm exec NAME`` never come near typer or the daemon: a VM's note
says all that ssh needs. Whatever they cannot do (no note, options, help) the command line does.
"""

from __future__ import annotations

import gc
import os
import sys

SIGPIPE_STATUS = 141

COMPLETION = "_BANGER_COMPLETE"
"""Set by the scripts in ``cli/shells``: the arguments are what was typed, the last one unfinished.
"""


def main() -> None:
    """Run the command line of this process and leave with its exit status."""
    arguments = sys.argv[1:]
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _fill_gaps()
    try:
        status = _shortcut(arguments) if COMPLETION not in os.environ else _complete(arguments)
        if status is None:
            status = _command_line(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has left; nothing is wrong, and nobody is there to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = SIGPIPE_STATUS
    except (Exception, KeyboardInterrupt) as problem:  # noqa: BLE001
        from banger_core.cli.failures import report

        status = report(problem, arguments)
    sys.exit(status)


def _fill_gaps() -> None:
    """Put the null device in the place of standard streams that are closed: otherwise the next file
    that is opened would be one of them.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            os.dup2(handle, number)
            if handle != number:
                os.close(handle)
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def _shortcut(arguments: list[str]) -> int | None:
    match arguments:
        case ["--version"]:
            from banger_core import __version__

            sys.stdout.write(f"banger {__version__}\n")
            return 0
        case ["ssh", "config" | "explain" | "forget" | "known-hosts", *_]:
            return None
        case ["ssh", name, *rest] | ["vm", "ssh", name, *rest]:
            return _ssh(name, rest)
        case ["vm", "exec", name, "--", *command] if command:
            return _exec(name, command)
    return None


def _ssh(name: str, rest: list[str]) -> int | None:
    from banger_core.client.notes import read_note

    # ssh has no long options: one here is meant for banger
    if rest and rest[0].startswith("--") and rest[0] != "--":
        return None
    note = read_note(name, login=True)
    if note is None:
        return None
    from banger_core.client.process import become
    from banger_core.client.sshwords import reaching

    become(reaching(note, rest[1:] if rest[:1] == ["--"] else rest))


def _exec(name: str, command: list[str]) -> int | None:
    from banger_core.client.notes import read_note

    note = read_note(name)
    if note is None:
        return None
    from banger_core.client.session import Session

    ended = Session(note, command).run()
    if not ended.lost:
        return ended.status
    from banger_core.cli.ended import connection_lost

    return connection_lost(name, ended)


def _complete(words: list[str]) -> int:
    gc.disable()
    from banger_core.cli.complete import complete

    return complete(words)


def _command_line(arguments: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # What cannot be said in the terminal's encoding is escaped, not fatal
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # A twentieth of the start-up time goes into looking for garbage that is not there yet
    gc.disable()
    from banger_core.cli.app import run

    return run(arguments)


if __name__ == "__main__":
    main()
