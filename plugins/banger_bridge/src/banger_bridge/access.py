"""Asking the helper: directly where this process may change networks, else through sudo."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from banger_bridge.helper.capabilities import has_net_admin
from banger_core.api import (
    BangerError,
    Conflict,
    Context,
    HostNotReady,
    UsageProblem,
    install_command,
)

_KINDS: dict[str, type[BangerError]] = {
    "conflict": Conflict,
    "host": HostNotReady,
    "usage": UsageProblem,
}

PAGE = "docs/howto/networks.md"


def owner(cx: Context) -> str:
    """Return whose things on the host are: this user's, and of these this banger's."""
    digest = hashlib.sha256(os.fsencode(cx.state_dir)).hexdigest()
    return f"{os.getuid()}-{digest[:12]}"


def mark(cx: Context) -> str:
    """Return what the interfaces of this banger carry as their alias."""
    return f"banger {owner(cx)}"


def helper_command(settings: Mapping[str, Any]) -> list[str]:
    """Return how the helper is run."""
    if settings.get("command"):
        return list(settings["command"])
    own = [sys.executable, "-I", "-m", "banger_bridge.helper"]
    return own if has_net_admin() else ["sudo", "-n", *own]


async def ask(operation: str, cx: Context, **asked: Any) -> dict[str, Any]:
    """Have the helper do ``operation`` and return its answer.

    Raises HostNotReady when it cannot be run, and what it refuses with.
    """
    command = helper_command(cx.settings)
    question = json.dumps({**asked, "owner": owner(cx)}).encode()
    try:
        said = await cx.run([*command, operation], stdin=question)
        answer: dict[str, Any] = json.loads(said)
    except (BangerError, ValueError) as problem:
        raise _no_right(command, problem) from problem
    if kind := answer.get("refused"):
        missing = answer.get("missing")
        hints = [install_command(missing)] if missing else answer["hints"]
        raise _KINDS.get(kind, BangerError)(answer["summary"], cause=answer["cause"], hints=hints)
    return answer


def _no_right(command: list[str], problem: Exception) -> HostNotReady:
    cause = problem.cause if isinstance(problem, BangerError) else "its answer makes no sense"
    if command[:1] == ["sudo"]:
        return HostNotReady(
            "this user has no right to make networks",
            cause=f"sudo runs the helper only if it may without asking: {cause}",
            hints=["--network user", f"let sudo run {' '.join(command[2:])}: {PAGE}"],
        )
    return HostNotReady(
        "the helper that makes networks does not work",
        cause=cause,
        hints=["--network user", f"try by hand: {' '.join(command)} check </dev/null"],
    )
