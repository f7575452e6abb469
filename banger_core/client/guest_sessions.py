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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from banger_core.client.notes import is_label
from banger_core.client.session import LOST, quoted
from banger_core.errors import Conflict, GuestFailed, HostileInput, HostNotReady, UsageProblem

ANSWER_MAX = 1 << 20
"""Longest answer of a guest that is taken (bytes)."""

SESSIONS_MAX = 64
"""Most sessions that are believed to be in one machine."""

LOG_MAX = 1 << 18
"""More than a machine keeps of what a session wrote (bytes)."""

_SHOWN = 300
_ASKED = 120.0
_LINE = re.compile(
    r"session ([a-z0-9-]{1,63}) (running|ended) (tty|pipe) (\d{1,12}) (\d{1,12}|-) (\d{1,3}|-)"
    r" (\d{1,9}|-) ([A-Za-z0-9_.:+@-]{1,64}) ([A-Za-z0-9+/=]{1,16384})"
)
_STOPPED = re.compile(r"(stopped|killed) (\d{1,3}|-)\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSession:
    """One session. ``state`` is ``running`` or ``ended``; ``started_at`` and ``ended_at`` are
    seconds since the epoch by the machine's clock; ``status`` is the exit status, 128 and the
    number of a signal, None while it runs and when nobody knows; ``pid`` is that of its program in
    the machine. ``user`` is who was asked for, "" for whom the image names. With
    ``machine_stopped`` it ended because its machine did.
    """

    name: str
    state: str
    tty: bool
    command: tuple[str, ...]
    user: str
    pid: int | None
    started_at: int
    ended_at: int | None
    status: int | None
    machine_stopped: bool = False


class GuestSessions:
    """The sessions of the running machine ``vm``; ``argv`` is the ssh command line that reaches
    it. Every method raises GuestFailed when it does not answer or refuses, HostileInput when it
    answers with something else, and HostNotReady without ssh.
    """

    def __init__(self, argv: Sequence[str], vm: str) -> None:
        self.argv, self._vm = argv, vm

    def all(self) -> list[GuestSession]:
        """Ask the machine which there are."""
        return parse_sessions(self._ask("banger-session list"), self._vm)

    def start(self, name: str, command: Sequence[str], *, tty: bool, prefix: str = "") -> None:
        """Start ``command`` as the session ``name``; ``prefix`` says who runs it and where. One of
        that name that has ended is forgotten. Raises Conflict when it runs, and GuestFailed when
        the command cannot be run.
        """
        if any(each.name == name and each.state == "running" for each in self.all()):
            raise Conflict(
                f"the session {name} of {self._vm} runs already",
                hints=[
                    f"banger vm session attach {self._vm} {name}",
                    f"banger vm session stop {self._vm} {name}",
                ],
            )
        kind = "tty" if tty else "pipe"
        request = f"{prefix}banger-session start {name} {kind} {quoted(command)}"
        self._ask(request, failed=f"the session {name} of {self._vm} did not start")

    def send(self, name: str, data: bytes, *, eof: bool) -> None:
        """Write ``data`` to the stdin of a session, and end that with ``eof``."""
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

    def log(self, name: str, tail: int, *, follow: bool) -> Iterator[bytes]:
        """Yield the last ``tail`` bytes that a session wrote, with ``follow`` also what comes,
        until it ends.
        """
        verb = "follow" if follow else "logs"
        with self._process(f"banger-session {verb} {name} {tail}", b"") as process:
            said = bytearray()
            for piece, is_error in _pieces(process, None, self._vm):
                if not is_error:
                    yield piece
                elif len(said) < ANSWER_MAX:
                    said += piece
            self._judge(process.wait(), bytes(said))

    def _ask(
        self, request: str, data: bytes = b"", *, patience: float = _ASKED, failed: str = ""
    ) -> str:
        out, err = bytearray(), bytearray()
        with self._process(request, data) as process:
            for piece, is_error in _pieces(process, time.monotonic() + patience, self._vm):
                (err if is_error else out).extend(piece)
                if len(out) + len(err) > ANSWER_MAX:
                    raise _misbehaved(self._vm, f"more than {ANSWER_MAX} bytes")
            self._judge(process.wait(), bytes(err), failed)
        return out.decode("utf-8", "replace")

    def _process(self, request: str, data: bytes) -> _Process:
        return _Process([self.argv[0], "-T", *self.argv[1:], request], data)

    def _judge(self, status: int, err: bytes, failed: str = "") -> None:
        said = " ".join(err.decode("utf-8", "replace").split())[-_SHOWN:]
        if status == LOST:
            raise GuestFailed(
                f"the connection to {self._vm} was lost",
                cause=said or "ssh does not say why",
                hints=[f"banger vm show {self._vm}", f"banger vm logs {self._vm}"],
            )
        if status:
            raise GuestFailed(
                failed or f"{self._vm} refuses",
                cause=said.removeprefix("banger: ") or f"it says nothing but status {status}",
                hints=[f"banger vm session list {self._vm}"],
            )


def check_name(name: str) -> str:
    """Return ``name`` when it can name a session: a lower-case DNS label, as a machine's name.

    Raises UsageProblem.
    """
    if is_label(name):
        return name
    raise UsageProblem(
        f"{name[:80]!r} can be no name of a session",
        cause="it has at most 63 lower-case letters, digits and -, and no - at an end",
        hints=["use a name like build or web-2"],
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
    name, state, kind, begun, ended, status, pid, user, words = found.groups()
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
        pid=_number(pid),
        started_at=int(begun),
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


class _Process(subprocess.Popen[bytes]):
    """ssh with ``data`` as its input; killed when its block is left before it has ended."""

    def __init__(self, argv: Sequence[str], data: bytes) -> None:
        with tempfile.TemporaryFile() as source:
            source.write(data)
            source.seek(0)
            try:
                super().__init__(argv, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            except OSError as problem:
                from banger_core.packages import install_command

                raise HostNotReady(
                    f"cannot run {argv[0]}",
                    cause=str(problem.strerror),
                    hints=[install_command("ssh")],
                ) from problem

    def __exit__(self, *problem: object) -> None:
        self.kill()
        super().__exit__(*problem)  # type: ignore[arg-type]


def _pieces(
    process: subprocess.Popen[bytes], deadline: float | None, vm: str
) -> Iterator[tuple[bytes, bool]]:
    """Yield what comes at stdout and stderr, and whether it was the latter. ``deadline`` is of
    ``time.monotonic``. Raises GuestFailed.
    """
    assert process.stdout
    assert process.stderr
    errors = process.stderr.fileno()
    left = {process.stdout.fileno(), errors}
    while left:
        patience = None if deadline is None else max(0, deadline - time.monotonic())
        ready, _, _ = select.select(list(left), (), (), patience)
        if not ready:
            raise GuestFailed(
                f"{vm} does not answer",
                cause="the time is up that it has for an answer about its sessions",
                hints=[f"banger vm health {vm}"],
            )
        for each in ready:
            if piece := os.read(each, 1 << 16):
                yield piece, each == errors
            else:
                left.discard(each)
