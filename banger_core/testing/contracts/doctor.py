"""The suite for doctor checks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from banger_core.model import Finding
from banger_core.testing.contracts.base import Contract

if TYPE_CHECKING:
    from banger_core.testing.context import FakeContext


class DoctorCheckContract(Contract):
    """Set ``make``."""

    contract: ClassVar[str] = "DoctorCheck"

    def test_findings_are_for_people(self, subject: Any, cx: FakeContext) -> None:
        findings = asyncio.run(subject.check(cx))
        self.asks(findings, "a check that has nothing to complain about says so (level pass)")
        for finding in findings:
            self.asks(isinstance(finding, Finding), f"check returns findings, not {finding!r}")
            self.asks(finding.level in ("pass", "warn", "fail"), f"not a level: {finding.level}")
            self.asks(finding.subject and finding.message, f"a finding says what: {finding!r}")
            useful = finding.level == "pass" or finding.why or finding.fix
            self.asks(useful, f"what is not right comes with a reason or a fix: {finding!r}")

    def test_checking_changes_nothing(self, subject: Any, cx: FakeContext) -> None:
        places = [cx.state_dir, cx.kernels_dir, cx.ssh_dir]
        before = [_content(place) for place in places]
        asyncio.run(subject.check(cx))
        self.asks(before == [_content(place) for place in places], "check changes nothing")

    @pytest.mark.changes_host
    def test_fix_says_what_was_done(self, subject: Any, cx: FakeContext) -> None:
        for finding in asyncio.run(subject.fix(cx)):
            self.asks(isinstance(finding, Finding), f"fix returns findings, not {finding!r}")


def _content(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
