"""Sessions: named programs in a machine that go on when nobody is connected.

The guest runtime keeps them; what it says about them is the guest's word, and is taken only in the
form that it must have, and only so much of it.
"""

from __future__ import annotations

import base64
import os
import re
import select
import shlex
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

from banger_core.client.notes import is_label
from banger_core.client.session import LOST, quoted
from banger_core.errors import (
    Conflict,
    GuestFailed,
    HostileInput,
    HostNotReady,
    NotFound,
    UsageProblem,
)

ANSWER_MAX = 1 << 20
"""Longest answer of a guest that is taken (bytes)."""

SESSIONS_MAX = 64
"""Most sessions that are believed to be in one machine."""

_SHOWN = 300
_ASKED = 120.0
_LINE = re.compile(
    r"session ([a-z0-9-]{1,63}) (running|ended) (tty|pipe) (\d{1,12}) (\d{1,12}|-) (\d{1,3}|-)"
    r" ([A-Za-z0-9_.:+@-]{1,64}) ([A-Za-z0-9+/=]{1,16384})"
)
_STOPPED = re.compile(r"(stopped|killed) (\d{1,3}|-)\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSession:
    """One session. ``begun_at`` and ``ended_at`` are seconds since the epoch by the machine's
    clock; ``status`` is the exit status, None while it runs and when nobody knows. ``user`` is who
    was asked for, "" for whom the image names.
    """

    name: str
    state: str
    tty: bool
    command: tuple[str, ...]
    user: str
    begun_at: int
    ended_at: int | None
    status: int | None


class GuestSessions:
    """The sessions of one machine; ``argv`` is the ssh command line that reaches it."""

    def __init__(self, argv: Sequence[str], vm: str) -> None:
        self.argv, self._vm = argv, vm

    def all(self) -> list[GuestSession]:
        """Ask the machine which there are. Raises GuestFailed and HostileInput."""
        return parse_sessions(self._ask("banger-session list"), self._vm)

    def find(self, name: str, *, running: bool = False) -> GuestSession:
        """Return one, which must run if that is asked for. Raises NotFound and UsageProblem."""
        check_name(name)
        known = self.all()
        for each in known:
            if each.name == name:
                break
        else:
            raise NotFound(
                f"session of {self._vm}",
                name,
                [each.name for each in known],
                hints=[f"banger vm session start {self._vm} {name} -- COMMAND"],
            )
        if running and each.state != "running":
            how = f" with status {each.status}" if each.status is not None else ""
            raise UsageProblem(
                f"the session {name} of {self._vm} has ended{how}",
                hints=[
                    f"banger vm session logs {self._vm} {name}",
                    f"banger vm session start {self._vm} {name} -- COMMAND",
                ],
            )
        return each

    def start(self, name: str, command: Sequence[str], *, tty: bool, prefix: str = "") -> None:
        """Start ``command`` as the session ``name``; ``prefix`` says who runs it and where. One of
        that name that has ended is forgotten. Raises Conflict when it runs, and GuestFailed when
        the command cannot be run.
        """
        check_name(name)
        if any(each.name == name and each.state == "running" for each in self.all()):
            raise Conflict(
                f"the session {name} of {self._vm} runs already",
                hints=[
                    f"banger vm session attach {self._vm} {name}",
                    f"banger vm session stop {self._vm} {name}",
                ],
            )
        kind = "tty" if tty else "pipe"
        self._ask(f"{prefix}banger-session start {name} {kind} {quoted(command)}")

    def send(self, name: str, data: bytes, *, eof: bool) -> None:
        """Write ``data`` to the stdin of a session, and close it with ``eof``."""
        self._ask(f"banger-session send {name}{' eof' * eof}", data)

    def stop(self, name: str, grace: int) -> tuple[bool, int | None]:
        """End a session: SIGTERM, and SIGKILL after ``grace`` seconds. Returns whether that was
        needed, and the exit status.
        """
        answer = self._ask(f"banger-session stop {name} {grace}", patience=grace + _ASKED)
        found = _STOPPED.fullmatch(answer)
        if not found:
            raise _misbehaved(self._vm, answer)
        return found[1] == "killed", _number(found[2])

    def remove(self, name: str) -> None:
        """Forget a session that has ended, and its log."""
        self._ask(f"banger-session remove {name}")

    def _ask(self, request: str, data: bytes = b"", patience: float = _ASKED) -> str:
        argv = [self.argv[0], "-T", *self.argv[1:], request]
        status, out, err = _run(argv, data, patience, self._vm)
        said = " ".join(err.decode("utf-8", "replace").split())[-_SHOWN:]
        if status == LOST:
            raise GuestFailed(
                f"the connection to {self._vm} was lost",
                cause=said,
                hints=[f"banger vm show {self._vm}", f"banger vm logs {self._vm}"],
            )
        if status:
            raise GuestFailed(
                f"{self._vm} refuses: {said.removeprefix('banger: ') or f'status {status}'}",
                hints=[f"banger vm session list {self._vm}"],
            )
        return out.decode("utf-8", "replace")


def check_name(name: str) -> str:
    """Return ``name`` when it can name a session: a lower-case DNS label, as a machine's name.

    Raises UsageProblem.
    """
    if is_label(name):
        return name
    raise UsageProblem(
        f"{name[:80]!r} can be no name of a session",
        cause="it has at most 63 lower-case letters, digits and -, and no - at an end",
    )


def parse_sessions(text: str, vm: str) -> list[GuestSession]:
    """Read what a machine says about its sessions. Raises HostileInput for anything else."""
    lines = text.splitlines()
    if len(lines) > SESSIONS_MAX:
        raise _misbehaved(vm, f"{len(lines)} sessions")
    return [_parse(line, vm) for line in lines]


def _parse(line: str, vm: str) -> GuestSession:
    found = _LINE.fullmatch(line)
    if not found:
        raise _misbehaved(vm, line)
    name, state, kind, begun, ended, status, user, words = found.groups()
    try:
        command = shlex.split(base64.b64decode(words, validate=True).decode("utf-8", "replace"))
    except ValueError as problem:
        raise _misbehaved(vm, line) from problem
    return GuestSession(
        name=name,
        state=state,
        tty=kind == "tty",
        command=tuple(command),
        user="" if user == "-" else user,
        begun_at=int(begun),
        ended_at=_number(ended),
        status=_number(status),
    )


def _number(text: str) -> int | None:
    return None if text == "-" else int(text)


def _misbehaved(vm: str, said: str) -> HostileInput:
    return HostileInput(
        f"{vm} says about its sessions what it should not",
        cause=ascii(said[:80]),
        hints=[f"banger vm restart {vm}"],
    )


def _run(argv: Sequence[str], data: bytes, patience: float, vm: str) -> tuple[int, bytes, bytes]:
    """Run ``argv`` with ``data`` as its input; returns its status, stdout and stderr."""
    deadline = time.monotonic() + patience
    with tempfile.TemporaryFile() as source:
        source.write(data)
        source.seek(0)
        try:
            process = subprocess.Popen(
                argv, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as problem:
            raise HostNotReady(
                f"cannot run {argv[0]}",
                cause=str(problem.strerror),
                hints=["sudo apt-get install openssh-client"],
            ) from problem
    with process:
        try:
            out, err = _take(process, deadline, vm)
            return process.wait(), out, err
        finally:
            process.kill()


def _take(process: subprocess.Popen[bytes], deadline: float, vm: str) -> tuple[bytes, bytes]:
    assert process.stdout
    assert process.stderr
    taken = {each.fileno(): bytearray() for each in (process.stdout, process.stderr)}
    out, err = taken.values()
    while taken:
        ready, _, _ = select.select(list(taken), (), (), max(0, deadline - time.monotonic()))
        if not ready:
            raise GuestFailed(f"{vm} does not answer", hints=[f"banger vm health {vm}"])
        for each in ready:
            piece = os.read(each, 1 << 16)
            taken[each] += piece
            if not piece:
                del taken[each]
        if len(out) + len(err) > ANSWER_MAX:
            raise _misbehaved(vm, f"more than {ANSWER_MAX} bytes")
    return bytes(out), bytes(err)
