"""Which Firecracker is run, and what is said about one that is not."""

from __future__ import annotations

import asyncio

import pytest

from banger_core.api import HostNotReady
from banger_firecracker.doctor import FirecrackerCheck
from banger_firecracker.versions import ADVISORIES, SAFE, holes, unsafe


def names(*version):
    return {each.name for each in holes(version)}


def test_the_safe_version_has_no_hole_and_the_one_before_has():
    assert not holes(SAFE)
    assert not unsafe(SAFE)
    assert names(1, 16, 1) == {"CVE-2026-122192"}
    assert all(fixed <= SAFE for each in ADVISORIES for _, fixed in each.affected)


def test_holes_by_branch():
    assert "CVE-2026-5747" not in names(1, 12, 1)
    assert "CVE-2026-5747" in names(1, 15, 0) & names(1, 14, 3)
    assert "CVE-2026-1386" in names(1, 14, 0) & names(1, 12, 1)
    assert "CVE-2026-1386" not in names(1, 13, 2) | names(1, 14, 1)


def test_an_unsafe_version_is_not_started(driver, spec, cx):
    cx._settings["allow_unsafe_version"] = False
    with pytest.raises(HostNotReady) as caught:
        asyncio.run(driver.start(spec, cx))
    assert "1.12.1 is not safe" in caught.value.summary
    assert "CVE-2026-1386" in caught.value.cause
    assert "allow_unsafe_version" in caught.value.hints[1]
    assert not cx.spawned


def test_an_unsafe_version_that_is_allowed_is_named_each_time(driver, spec, cx, caplog):
    async def twice():
        for _ in range(2):
            await (await driver.start(spec, cx)).kill()

    asyncio.run(twice())
    said = [record for record in caplog.records if "not safe" in record.getMessage()]
    assert len(said) == 2


@pytest.fixture
def findings(cx):
    def look(**settings):
        cx._settings.update(settings)
        return asyncio.run(FirecrackerCheck().check(cx))

    return look


def test_doctor_explains_an_unsafe_version(findings):
    first = findings(allow_unsafe_version=False)[0]
    assert first.level == "fail"
    assert "CVE-2026-122192" in first.why
    assert "1.16.2" in first.fix
    assert findings(allow_unsafe_version=True)[0].level == "warn"


def test_doctor_takes_no_offence_at_a_missing_one(findings):
    (only,) = findings(firecracker_bin="/nowhere/firecracker")
    assert only.level == "warn"
    assert "not installed" in only.message


def test_doctor_takes_a_safe_one(findings, tmp_path):
    fake = tmp_path / "firecracker"
    fake.write_text("#!/bin/sh\necho 'Firecracker v1.17.0'\n")
    fake.chmod(0o755)
    first, kvm, network = findings(firecracker_bin=str(fake))
    assert first.level == "pass"
    assert kvm.subject == network.subject == "firecracker"
    (missing,) = [
        each
        for each in findings(slirp_bin="/nowhere/slirp4netns")
        if "slirp4netns is not installed" in each.message
    ]
    assert missing.fix == "sudo apt-get install slirp4netns"


def test_another_program_is_not_taken_for_firecracker(findings):
    assert "does not say" in findings(firecracker_bin="/bin/echo")[0].message


def test_doctor_looks_at_the_jailer(findings):
    jail = {"uid": 1, "gid": 1, "jailer_bin": "/nowhere/jailer"}
    assert findings(jail=jail)[-1].level == "fail"
    assert findings(jail={**jail, "jailer_bin": "/bin/true"})[-1].level == "pass"
