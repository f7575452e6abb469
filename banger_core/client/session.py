"""A program in the guest as if it ran here: its input, output, signals and exit status.

OpenSSH carries the bytes; this process only waits. A terminal's Ctrl-C must reach the guest
first, so ssh ignores the asking signals (it keeps dispositions that it inherits as ignored) and
they are passed on by a second ssh that says ``banger-signal ID NAME`` to the guest runtime, which
knows the program by the ``banger-exec ID`` that started it. With a pseudo-terminal none of this
happens: the keys themselves travel to the guest, whose terminal makes the signals.

ssh ends with 255 for its own failures and for a guest program that ends with 255. Its debug log,
kept in memory, tells which it was.

Uses only ``os``, ``signal`` and ``time``: this module is on the start-up path of ``vm exec``.
"""

from __future__ import annotations

import os
import signal
import time

from banger_core.client.interrupts import ASKING
from banger_core.client.process import spawn

TYPE_CHECKING = False  # ``typing`` costs more than this module
if TYPE_CHECKING:
    from collections.abc import Sequence

LOST = 255
"""Exit status of ssh when the connection failed or broke."""

TWICE = 2.0
"""A second asking signal within this time gives up (seconds)."""

COMMAND_MAX = 8890
"""Longest command line for the guest (bytes): its SSH server hangs up over 9000, of which the
user and the guest runtime's own words take a part."""

_USER_MAX = 64
_USER_SIGNS = "_.:+@-"

_RETRY = 0.3
# As long as a guest that is very busy may take to start a program
_INSIST = 60.0
_DIRECTORY_SIGNS = "_/+@%=,.-"
_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


class Ended:
    """How a session ended. ``status`` is the exit status to pass on; ``lost`` says why the
    connection broke ("" when it did not), and ``log`` is then what ssh had logged; ``gave_up`` is
    the signal by which the user left.
    """

    __slots__ = ("gave_up", "log", "lost", "status")

    def __init__(self, status: int, lost: str = "", gave_up: int = 0, log: bytes = b"") -> None:
        self.status, self.lost, self.gave_up, self.log = status, lost, gave_up, log


class Session:
    """One program in the guest, or its login shell when ``command`` is empty.

    ``argv`` is the ssh command line up to the remote command. ``pty`` asks for a pseudo-terminal
    (None: for a program when stdin, stdout and stderr are terminals, for a shell when stdin is).
    ``user`` is ``USER[:GROUP]`` of the guest ("": as the image wants). With ``entrypoint`` the
    program is the image's own, and ``command`` its arguments instead of the image's, if not empty.
    ``directory`` is where it begins, seen from where it would ("": there), without signs that a
    shell would read. ``request`` is for the guest runtime itself, instead of a program.
    Raises UsageProblem for a command that is too long, and for what can be no user.
    """

    def __init__(
        self,
        argv: Sequence[str],
        command: Sequence[str] = (),
        *,
        pty: bool | None = None,
        user: str = "",
        entrypoint: bool = False,
        directory: str = "",
        request: str = "",
    ) -> None:
        self._ssh, self._options = argv[0], list(argv[1:])
        check_command(command)
        self._prefix = [as_user(user)] if user else []
        self._prefix += [f"banger-at {directory}"] if directory else []
        self._prefix += [request] if request else []
        self._command = command
        self._verb = "banger-image" if entrypoint else "banger-exec"
        self._program = entrypoint or bool(command)
        self._pty = _wants_pty(self._program) if pty is None else pty
        # Otherwise a terminal's Ctrl-C ends ssh before this process knows of it
        self._deaf = not self._pty and (self._program or bool(request))
        self._id = "".join(_ID_LETTERS[byte % 36] for byte in os.urandom(12))
        self._couriers: list[_Courier] = []
        self._signals: list[tuple[float, int]] = []
        self._gave_up = 0

    def run(self) -> Ended:
        """Run it to its end. Raises HostNotReady when there is no ssh."""
        watched = {n for n in ASKING if signal.getsignal(n) is not signal.SIG_IGN}
        # Held back and taken one by one: no handler, so no moment at which one could be missed
        before = signal.pthread_sigmask(signal.SIG_BLOCK, watched | {signal.SIGCHLD})
        log = os.memfd_create("ssh-log")
        terminal = _Terminal() if self._pty else None
        try:
            pid = spawn(self._command_line(log), ignored=ASKING if self._deaf else ())
            ended = self._wait(pid, watched)
            if ended < 0 and terminal:
                terminal.restore()
            return self._judge(ended, _read_all(log))
        finally:
            for courier in self._couriers:
                courier.end()
            os.close(log)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _command_line(self, log: int) -> list[str]:
        force = "-tt" if not os.isatty(0) else "-t"
        # By way of this process: ssh closes what it inherits
        path = f"/proc/{os.getpid()}/fd/{log}"
        first = [self._ssh, "-vv", "-E", path, force if self._pty else "-T"]
        return [*first, *self._options, *self._remote_command()]

    def _remote_command(self) -> list[str]:
        words = [*self._prefix]
        if self._program:
            words += [self._verb, self._id]
            words += [quoted(self._command)] if self._command else []
        return [" ".join(words)] if words else []

    def _wait(self, pid: int, watched: set[signal.Signals]) -> int:
        awaited = {*watched, signal.SIGCHLD}
        while True:
            child, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            if child and not os.WIFSTOPPED(status):
                return os.waitstatus_to_exitcode(status)
            if child and _stays_stopped(pid):
                # The user suspended ssh with ~^Z: the shell waits for this process, not for ssh
                os.kill(os.getpid(), signal.SIGSTOP)
                os.kill(pid, signal.SIGCONT)
            busy = [courier for courier in self._couriers if courier.tend()]
            info = signal.sigtimedwait(awaited, _RETRY) if busy else signal.sigwaitinfo(awaited)
            if info is not None and info.si_signo != signal.SIGCHLD:
                self._pass_on(info.si_signo, pid)

    def _pass_on(self, number: int, pid: int) -> None:
        now = time.monotonic()
        again = bool(self._signals) and now - self._signals[-1][0] < TWICE
        self._signals.append((now, number))
        if again or not self._program:
            self._gave_up = number
            # With a terminal ssh must put it right again; without one it ignores all but this
            os.kill(pid, signal.SIGKILL if self._deaf else signal.SIGTERM)
            return
        remote = f"banger-signal {self._id} {signal.Signals(number).name.removeprefix('SIG')}"
        self._couriers.append(_Courier([self._ssh, "-T", *self._options, remote], now + _INSIST))

    def _judge(self, ended: int, log: bytes) -> Ended:
        if self._gave_up:
            return Ended(128 + self._gave_up, gave_up=self._gave_up)
        if ended < 0:
            return Ended(128 - ended)
        if ended != LOST or _guest_said_so(log):
            return Ended(ended)
        return Ended(LOST, lost=_last_words(log) or "the connection broke", log=log)


class _Courier:
    """A second ssh that delivers one signal; sent again until ``deadline`` when it fails, since
    the program may not have begun yet.
    """

    def __init__(self, argv: list[str], deadline: float) -> None:
        self._argv, self._deadline = argv, deadline
        self._pid = 0
        self._next = 0.0
        self._launch()

    def tend(self) -> bool:
        """Look after it; say whether there is still something to look after."""
        if self._pid:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if not pid:
                return True
            self._pid = 0
            self._next = time.monotonic() + _RETRY if status else self._deadline
        now = time.monotonic()
        if now >= self._deadline or self._next >= self._deadline:
            return False
        if now >= self._next:
            self._launch()
        return True

    def end(self) -> None:
        """Leave no process behind."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)

    def _launch(self) -> None:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._pid = spawn(self._argv, files=(nothing, nothing, nothing), session=True)
        finally:
            os.close(nothing)


class _Terminal:
    """The settings of the terminal at stdin, to be put back when ssh could not do it itself."""

    def __init__(self) -> None:
        import termios

        try:
            self._settings = termios.tcgetattr(0)
        except termios.error:
            self._settings = []

    def restore(self) -> None:
        """Put the settings back."""
        import termios

        if self._settings:
            termios.tcsetattr(0, termios.TCSADRAIN, self._settings)


def check_command(command: Sequence[str]) -> None:
    """Raise UsageProblem when ``command`` is longer than a guest takes."""
    length = len(os.fsencode(quoted(command)))
    if length <= COMMAND_MAX:
        return
    from banger_core.errors import UsageProblem

    raise UsageProblem(
        f"the command is too long: {length} bytes",
        cause=f"a command line for a guest has at most {COMMAND_MAX} bytes, quotes included",
        hints=["pass it as input: banger vm exec NAME -- sh < script.sh"],
    )


def as_user(user: str) -> str:
    """Return the words that make the guest take the rest of the command line as ``user``.

    Raises UsageProblem for what can be no ``USER[:GROUP]``.
    """
    plain = user.translate(dict.fromkeys(map(ord, _USER_SIGNS), "a"))
    if plain.isascii() and plain.isalnum() and len(user) <= _USER_MAX:
        return f"banger-as {user}"
    from banger_core.errors import UsageProblem

    raise UsageProblem(
        f"--user {user[:_USER_MAX]!r} can be no user",
        cause=f"USER or USER:GROUP, names or numbers, has at most {_USER_MAX} letters, digits "
        f"and {' '.join(_USER_SIGNS)}",
        hints=["--user root", "--user 1000:1000"],
    )


def check_directory(directory: str, option: str) -> str:
    """Return ``directory`` when a session can begin there. Raises UsageProblem, which names
    ``option``.
    """
    plain = directory.translate(dict.fromkeys(map(ord, _DIRECTORY_SIGNS), "a"))
    if plain.isascii() and plain.isalnum() and not directory.startswith("-"):
        return directory
    from banger_core.errors import UsageProblem

    raise UsageProblem(
        f"{option} {directory!r} can be no directory here",
        cause=f"it has letters, digits and {' '.join(_DIRECTORY_SIGNS)}, and no - in front",
        hints=[f"{option} work", f"{option} /srv/work"],
    )


def quoted(command: Sequence[str]) -> str:
    """Quote ``command`` for a POSIX shell."""
    return " ".join(map(quote, command))


def quote(word: str) -> str:
    """Quote ``word`` for a POSIX shell (2.2.2: between single quotes nothing is special)."""
    safe = word.replace("-", "a").replace("/", "a").replace(".", "a")
    if word and safe.isascii() and safe.isalnum():
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def _stays_stopped(pid: int) -> bool:
    """Say whether ``pid`` has stopped for itself. After Ctrl-Z and ``fg`` both of us are continued,
    one a moment before the other: to stop once more for that would undo the ``fg``.
    """
    time.sleep(0.05)
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  (see above: only os)
            return file.read().rpartition(b")")[2].split()[0] == b"T"
    except OSError:
        return False


def _wants_pty(command: bool) -> bool:
    return all(map(os.isatty, (0, 1, 2))) if command else os.isatty(0)


def _read_all(log: int) -> bytes:
    os.lseek(log, 0, os.SEEK_SET)
    return b"".join(iter(lambda: os.read(log, 1 << 16), b""))


def _guest_said_so(log: bytes) -> bool:
    """Say whether the guest told how its program ended (RFC 4254, 6.10), over a connection of
    ssh's own or a shared one.
    """
    return any(
        line in (b"debug1: Exit status 255", b"debug2: Received exit status from master 255")
        or (line.startswith(b"debug1: client_input_channel_req:") and b" exit-signal " in line)
        for line in log.splitlines()
    )


_CHATTER = ("debug", "OpenSSH_", "Authenticated to", "Transferred:", "Bytes per", "Warning: Perm")


def _last_words(log: bytes) -> str:
    lines = [line.strip() for line in log.decode("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith(_CHATTER)), "")
