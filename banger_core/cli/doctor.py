"""``banger doctor``: what this host has, lacks, and could mend."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from banger_core.cli.link import link
from banger_core.cli.options import AsJson
from banger_core.client.client import url
from banger_core.errors import ExitCode
from banger_core.ui.console import printable, styled
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import COLOURS


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what is safe to mend.")] = False,
    as_json: AsJson = False,
) -> int:
    """Check this host.

    The exit status is 4 when something fails that machines cannot do without.
    """
    client = link()
    findings = (client.call("POST", url("doctor", "fix")) if fix else client.get(url("doctor")))[
        "findings"
    ]
    if as_json:
        show_json(findings)
    else:
        for finding in findings:
            _show(finding)
    failed = any(finding["level"] == "fail" for finding in findings)
    return ExitCode.HOST if failed else ExitCode.OK


def _show(finding: dict[str, Any]) -> None:
    level = finding["level"]
    mark = styled(level.upper(), COLOURS.get(level, "bold"), sys.stdout)
    _write(f"{mark}  {printable(finding['subject'])}: {printable(finding['message'])}")
    for label, text in (("why", finding.get("why")), ("fix", finding.get("fix"))):
        if text and level != "pass":
            _write(f"      {label}: {printable(text)}")


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
