"""Findings, as every doctor shows them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from banger_core.errors import ExitCode
from banger_core.ui.console import printable, styled
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import COLOURS


def show_findings(
    findings: Iterable[Mapping[str, Any]], *, as_json: bool, failed: ExitCode
) -> ExitCode:
    """Write findings to stdout and return the exit status: ``failed`` when one of them fails."""
    findings = list(findings)
    if as_json:
        show_json(findings)
    else:
        for finding in findings:
            _show(finding)
    return failed if any(finding["level"] == "fail" for finding in findings) else ExitCode.OK


def _show(finding: Mapping[str, Any]) -> None:
    level = finding["level"]
    mark = styled(level.upper(), COLOURS.get(level, "bold"), sys.stdout)
    _write(f"{mark}  {printable(finding['subject'])}: {printable(finding['message'])}")
    for label, text in (("why", finding.get("why")), ("fix", finding.get("fix"))):
        if text and level != "pass":
            _write(f"      {label}: {printable(text)}")


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
