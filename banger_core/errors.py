"""Every failure a person may meet, as one tree.

    BangerError                 exit 1   the root: summary, cause, hints
    ├── UsageProblem            exit 2   the request itself is wrong; nothing was done
    │   └── NotFound            exit 2   a named thing does not exist; names what does
    ├── Blocked                 exit 3   a plan review said no
    ├── HostNotReady            exit 4   the host lacks a program, a right, space or memory
    │   └── NoSpace             exit 4
    ├── PluginError             exit 5   a plugin misbehaved; names it and its distribution
    ├── Conflict                exit 1   the thing exists already, or is in use
    ├── IntegrityError          exit 1   bytes are not what was promised (digest, size, signature)
    ├── HostileInput            exit 1   an image or a guest tried what it must not
    ├── Unreachable             exit 1   a server did not answer, or answered with an error
    ├── GuestFailed             exit 1   the guest did not start, answer or stop
    ├── DaemonUnavailable       exit 1   bangerd cannot be reached or started
    └── Interrupted             exit 130

An error crosses the daemon's socket as ``to_dict()`` and comes back with ``from_dict()``; the CLI
prints it as ``error:`` / ``cause:`` / ``try:`` lines, or the same three as JSON.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class ExitCode(IntEnum):
    """Exit statuses of the CLI. A guest command's own status passes through unchanged."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BLOCKED = 3
    HOST = 4
    PLUGIN = 5
    INTERRUPTED = 130


class BangerError(Exception):
    """An expected failure: one line on what failed, one on why, and what to do next.

    ``summary`` says what failed, ``cause`` why (may be empty), ``hints`` are commands or actions
    to try, best first. ``code`` is stable and meant for programs; subclasses set it, and
    ``advice``: what helps in general, which is shown where there is no hint.
    """

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[ExitCode] = ExitCode.FAILED
    advice: ClassVar[str] = ""

    def __init__(self, summary: str, *, cause: str = "", hints: Iterable[str] = ()) -> None:
        super().__init__(summary)
        self.summary = summary
        self.cause = cause
        self.hints = tuple(hints)
        self.operation = ""

    @property
    def tries(self) -> tuple[str, ...]:
        """What is shown as ``try:`` lines: the hints, or else the advice."""
        return self.hints or tuple(filter(None, [self.advice]))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: ``code``, ``error``, ``cause``, ``try`` and ``operation``."""
        return {
            "code": self.code,
            "exit_code": int(self.exit_code),
            "error": self.summary,
            "cause": self.cause,
            "try": list(self.tries),
            "operation": self.operation,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> BangerError:
        """Rebuild the error that ``to_dict`` described; an unknown code gives a ``BangerError``."""
        kind = _BY_CODE.get(str(data.get("code", "")), BangerError)
        error = kind.__new__(kind)
        BangerError.__init__(
            error,
            str(data.get("error", "unknown failure")),
            cause=str(data.get("cause", "")),
            hints=[str(hint) for hint in data.get("try", ())],
        )
        error.operation = str(data.get("operation", ""))
        return error


class UsageProblem(BangerError):
    """The request is wrong in itself (a bad size, a bad name): nothing was started."""

    code = "usage"
    exit_code = ExitCode.USAGE


class NotFound(UsageProblem):
    """A thing was named that does not exist. Lists what does, nearest names first, unless there
    is a ``cause`` that says more.
    """

    code = "not-found"

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str] = (),
        *,
        cause: str = "",
        hints: Iterable[str] = (),
    ) -> None:
        from difflib import get_close_matches

        names = sorted(set(known))
        near = get_close_matches(name, names, n=3, cutoff=0.5)
        shown = near + [other for other in names if other not in near]
        more = f", … {len(shown) - 8} more" if len(shown) > 8 else ""
        listed = f"there is: {', '.join(shown[:8])}{more}" if shown else f"there is no {kind} yet"
        advice = [f"did you mean {near[0]}?"] if near else []
        super().__init__(
            f"no {kind} named {name!r}", cause=cause or listed, hints=[*advice, *hints]
        )


class Blocked(BangerError):
    """A plan review refused the plan before anything was made."""

    code = "blocked"
    exit_code = ExitCode.BLOCKED


class HostNotReady(BangerError):
    """The host lacks something: a program, a permission, a device, memory."""

    code = "host-not-ready"
    advice = "banger doctor"
    exit_code = ExitCode.HOST


class NoSpace(HostNotReady):
    """A file system is full; what was half written has been removed."""

    code = "no-space"
    advice = "df -h"


class PluginError(BangerError):
    """A plugin raised, or gave what its contract does not allow."""

    code = "plugin"
    exit_code = ExitCode.PLUGIN

    def __init__(
        self,
        plugin: str,
        distribution: str,
        version: str,
        hook: str,
        problem: str,
        *,
        hints: Iterable[str] = (),
    ) -> None:
        where = f"{distribution} {version}".strip()
        super().__init__(
            f"plugin {plugin!r} ({where}) failed in {hook}",
            cause=problem,
            hints=hints or [f"banger plugin list, or go without it: BANGER_DISABLE={plugin}"],
        )
        self.plugin, self.distribution = plugin, distribution
        self.version, self.hook = version, hook


class Conflict(BangerError):
    """The thing exists already, is in use, or is in a state that does not allow this."""

    code = "conflict"


class IntegrityError(BangerError):
    """Bytes are not what was promised: digest, size or signature do not match."""

    code = "integrity"
    advice = "run the command again; when it stays so, tell whoever published it"


class HostileInput(BangerError):
    """An image, archive or guest tried something it must not (escape, bomb, absurd header)."""

    code = "hostile-input"
    advice = "take another one, or tell whoever made it: nothing of it is used"


class Unreachable(BangerError):
    """A server could not be reached, or answered with an error."""

    code = "unreachable"
    advice = "check the network, and run the command again"


class GuestFailed(BangerError):
    """The guest did not start, did not answer in time, or ended by itself."""

    code = "guest"
    advice = "banger vm list, then banger vm logs NAME"


class DaemonUnavailable(BangerError):
    """The daemon cannot be reached, started or trusted."""

    code = "daemon"
    advice = "banger daemon logs"


class Interrupted(BangerError):
    """The user stopped the operation; what it had made is undone."""

    code = "interrupted"
    exit_code = ExitCode.INTERRUPTED


def _tree(kind: type[BangerError]) -> Iterable[type[BangerError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


_BY_CODE: dict[str, type[BangerError]] = {kind.code: kind for kind in _tree(BangerError)}
