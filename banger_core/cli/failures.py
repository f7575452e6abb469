"""Exceptions to exit statuses. Imported only when something has failed."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

from banger_core.errors import BangerError, ExitCode, Interrupted, UsageProblem
from banger_core.ui.console import talk, tell
from banger_core.ui.errors import show_error

DEBUG = "BANGER_DEBUG"

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

_SURELY_MEANT = 0.8  # --memroy is --memory; --color may be --cold, or belong to another program


def report(problem: BaseException, arguments: Sequence[str]) -> int:
    """Tell what went wrong on stderr, and return the exit status.

    With ``BANGER_DEBUG=1`` the traceback is shown as well.
    """
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if os.environ.get(DEBUG):
        traceback.print_exception(problem)
    failure = _as_failure(problem)
    if failure is None:
        return ExitCode.USAGE
    show_error(failure, as_json="--json" in own)
    return failure.exit_code


def _as_failure(problem: BaseException) -> BangerError | None:
    if isinstance(problem, BangerError):
        return problem
    if isinstance(problem, KeyboardInterrupt):
        return Interrupted("interrupted")
    if "typer" in sys.modules:
        import typer

        if isinstance(problem, typer.TyperException):
            return _usage(problem)
        if isinstance(problem, typer.Abort):
            return Interrupted("aborted")
    if isinstance(problem, OSError) and problem.errno in _UNWRITABLE and not problem.filename:
        # What is still in the buffer would fail again when Python ends
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BangerError(
            "the output, or a file that this command writes, could not be written",
            cause=problem.strerror or "",
            hints=["df -h, and look where stdout leads: to a full disk, or to what is gone"],
        )
    return _unexpected(problem)


def _usage(problem: Any) -> UsageProblem | None:
    context = getattr(problem, "ctx", None)
    path = context.command_path if context else "banger"
    if type(problem).__name__ == "NoArgsIsHelpError":
        # Nothing was asked: the answer is the help, on stderr since it was not asked for either
        talk(problem.format_message() + "\n")
        return None
    hints = [f"{path} --help"]
    if option := getattr(problem, "option_name", ""):
        from banger_core.cli.group import WITH_DASHES

        near = get_close_matches(option, _options(context), n=2)
        sure = get_close_matches(option, near, cutoff=_SURELY_MEANT)
        as_command = context.meta.get(WITH_DASHES) if context and not sure else ""
        meant = [f"did you mean {other}?" for other in near]
        hints = [*meant, *([as_command] if as_command else []), *hints]
    message = str(getattr(problem, "message", "")) if option else problem.format_message()
    cause = f"the usage is: {' '.join(_usage_line(context))}" if context else ""
    return UsageProblem(_sentence(message), cause=cause, hints=hints)


def _usage_line(context: Any) -> list[str]:
    return [context.command_path, *context.command.collect_usage_pieces(context)]


def _options(context: Any) -> list[str]:
    if context is None:
        return []
    return [name for param in context.command.get_params(context) for name in param.opts]


def _sentence(message: str) -> str:
    text = message.strip().rstrip(".")
    return text[:1].lower() + text[1:]


def _unexpected(problem: BaseException) -> BangerError:
    where = _keep(problem)
    return BangerError(
        f"banger failed in a way that nobody foresaw: {type(problem).__name__}",
        cause=str(problem) or "this is a defect of banger",
        hints=[f"the traceback is in {where}"] if where else [f"{DEBUG}=1 shows where"],
    )


def _keep(problem: BaseException) -> str:
    from banger_core.config.paths import Paths, secure_dir

    with suppress(OSError, BangerError):
        path = secure_dir(Paths.from_environment().state) / "crash.log"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
            traceback.print_exception(problem, file=file)
        return str(path)
    tell("the traceback could not be written")
    return ""
