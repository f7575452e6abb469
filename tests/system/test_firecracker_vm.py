"""`banger vm run` with Firecracker: a machine where KVM runs guests, else a reason and no trace."""

from __future__ import annotations

import json

import pytest
from drivers import HOST_NOT_READY, configuration

pytestmark = [pytest.mark.system, pytest.mark.timeout(600), pytest.mark.xdist_group("run-vm")]


@pytest.fixture(scope="module")
def firecracker(banger):
    """The banger of this module, with Firecracker configured."""
    banger.ok("daemon", "stop")
    (banger.home / "config" / "config.toml").write_text(configuration("firecracker"))
    return banger


def traces(banger):
    """What is left, the daemon and its servers having left too."""
    banger.ok("daemon", "stop")
    return banger.left_in_the_end()


def test_a_guest_runs_or_the_reason_is_told(firecracker):
    done = firecracker.run("vm", "run", "--rm", "--", "uname", "-n")
    said = done.stderr.decode()

    if done.returncode == 0:
        assert done.stdout.strip()
    else:
        # NOT PROVEN on such a host: that Linux boots in Firecracker. All before it is, in the tests
        # of banger-firecracker
        assert done.returncode == HOST_NOT_READY, said
        assert "hardware virtualisation (KVM) does not work here, and Firecracker needs it" in said
        assert "--driver qemu" in said
    assert firecracker.vm_names() == []
    assert not traces(firecracker)


def test_doctor_explains_the_version_and_the_verdict(firecracker):
    done = firecracker.run("doctor", "--json")
    found = [each for each in json.loads(done.stdout) if each["subject"] == "firecracker"]
    version, kvm, *_ = found
    assert version["level"] == "warn"
    assert "1.16.2" in version["fix"]
    assert "tried" in kvm["message"] or "/dev/kvm" in kvm["message"]


def test_emulation_is_refused_before_anything_is_made(firecracker):
    done = firecracker.run("vm", "run", "--rm", "--accel", "tcg", "--", "true")
    assert done.returncode == HOST_NOT_READY
    assert b"Firecracker cannot emulate a processor" in done.stderr
    assert not traces(firecracker)
