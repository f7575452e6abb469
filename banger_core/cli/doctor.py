"""``banger doctor``: what this host has, lacks, and could mend."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from banger_core.cli.findings import show_findings
from banger_core.cli.link import link
from banger_core.cli.options import AsJson
from banger_core.client.client import url
from banger_core.errors import (
    DaemonUnavailable,
    ExitCode,
    HostNotReady,
    IntegrityError,
    UsageProblem,
)


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what is safe to mend.")] = False,
    as_json: AsJson = False,
) -> int:
    """Check this host.

    With --fix, what was mended comes first, then how things are now. The exit status is 4 when
    something fails that machines cannot do without.
    """
    findings = _examined(fix=fix)
    return show_findings(findings, as_json=as_json, failed=ExitCode.HOST)


def _examined(*, fix: bool) -> list[dict[str, Any]]:
    """What was mended, then what is to be said of the host as it is now; that no daemon can be had
    is a finding, too.
    """
    try:
        client = link()
        mended = client.call("POST", url("doctor", "fix"))["findings"] if fix else []
        found: list[dict[str, Any]] = client.get(url("doctor"))["findings"]
    except (DaemonUnavailable, HostNotReady, UsageProblem, IntegrityError) as problem:
        return [
            {
                "level": "fail",
                "subject": "daemon",
                "message": problem.summary,
                "why": problem.cause or "whatever has to do with machines needs it",
                "fix": "; ".join(problem.hints),
            }
        ]
    return mended + found
