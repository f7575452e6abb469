"""What declarations need of the host, and what of it is missing."""

from __future__ import annotations

import os
from collections.abc import Iterable

from banger_core.declare import Declared
from banger_core.model import Finding
from banger_core.packages import install_command, locate


def missing_needs(chosen: Iterable[Declared]) -> list[Finding]:
    """Say which of the programs and devices that ``chosen`` declare are not on this host."""
    findings = []
    for declared in chosen:
        for need in declared.requires:
            kind, _, subject = need.partition(":")
            if not _has(kind, subject):
                findings.append(
                    Finding(
                        level="fail",
                        subject=subject,
                        message=f"{subject} is missing",
                        why=f"{declared.name} needs it ({declared.summary})",
                        fix=_advice(kind, subject),
                    )
                )
    return findings


def _has(kind: str, subject: str) -> bool:
    return locate(subject) is not None if kind == "bin" else os.path.exists(subject)  # noqa: PTH110


def _advice(kind: str, subject: str) -> str:
    return install_command(subject) if kind == "bin" else f"check that this host offers {subject}"
