from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from banger_core.testing.context import FakeContext
from banger_core.testing.contracts.doctor import DoctorCheckContract
from banger_debian import plugin
from banger_debian.doctor import DebianCheck
from banger_debian.process import follow


class TestDoctor(DoctorCheckContract):
    make = DebianCheck


def test_everything_declared_can_be_loaded(fresh_registry):
    registry = fresh_registry(plugin)
    for kind in ("image_sources", "kernel_providers", "guest_runtimes", "doctor_checks"):
        assert getattr(registry, kind).load("debian") is not None
    assert registry.image_source_for("debian") == "debian"


def findings(cx):
    return {one.message: one for one in asyncio.run(DebianCheck().check(cx))}


def test_the_doctor_names_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    cx = FakeContext(tmp_path / "b", {"keyring": tmp_path / "none.gpg"})
    found = findings(cx)
    assert found["mmdebstrap is not installed"].fix == "sudo apt-get install mmdebstrap"
    assert found["gpgv is not installed"].level == "fail"
    assert found[f"there is no keyring {tmp_path}/none.gpg"].level == "fail"


def test_the_mirror_is_asked_only_on_request(cx, mirror):
    findings(cx)
    assert not mirror.requests
    mirror.publish_all([])
    asking = FakeContext(cx.state_dir, mirror.settings | {"check_mirror": True})
    assert findings(asking)[f"{mirror.url}/debian answers"].level == "pass"
    mirror.stop()
    assert findings(asking)[f"{mirror.url}/debian does not answer"].level == "warn"


def shell(script, take, **options):
    return asyncio.run(follow(["sh", "-c", script], take=take, **options))


def test_lines_come_as_they_are_and_the_status_too():
    lines = []
    status = shell("echo one; printf 'two\\nthr'; echo ee >&2; printf last; exit 7", lines.append)
    assert status == 7
    assert "".join(lines) == "onetwothreelast"
    assert lines[0] == "one"


def test_endless_lines_are_cut():
    lines = []
    assert shell("head -c 1000000 /dev/zero | tr '\\0' x", lines.append) == 0
    assert sum(map(len, lines)) == 1_000_000
    assert max(map(len, lines)) <= 1 << 18


def test_an_error_in_between_ends_the_whole_group(tmp_path):
    class Enough(Exception):
        pass

    def enough(line):
        raise Enough(line)

    with pytest.raises(Enough):
        shell(f"sleep 300 & echo $! >{tmp_path}/pid; echo go; wait", enough)
    process = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    # Whoever adopted it may not have buried it yet
    assert not process.exists() or ") Z " in process.read_text()
