"""What the plugin declares, and its contracts' suites."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace

import pytest

from banger_core.api import HostileInput
from banger_core.testing.contracts.attachment import NetworkAttachmentContract
from banger_core.testing.contracts.doctor import DoctorCheckContract
from banger_core.testing.contracts.policy import SshPolicyContract
from banger_core.testing.contracts.samples import sample_net, sample_record
from banger_ssh.attachment import KnownHosts, names_of
from banger_ssh.doctor import SshCheck
from banger_ssh.known_hosts import find
from banger_ssh.policy import modern_crypto

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF5tVFHdVxLC8rYV5cDVmtMPMLXbQxvbd/o9NWiVwd6Y"


def pins(cx):
    path = cx.ssh_dir / "known_hosts"
    return path.read_bytes() if path.exists() else b""


class TestAttachment(NetworkAttachmentContract):
    make = KnownHosts

    def traces(self, cx):
        return pins(cx)


class TestPolicy(SshPolicyContract):
    policy = staticmethod(modern_crypto)


class TestDoctor(DoctorCheckContract):
    make = SshCheck


def test_the_plugin_declares_what_it_has(fresh_registry):
    registry = fresh_registry("banger_ssh.plugin")
    assert registry.network_attachments.names() == ["known-hosts"]
    assert registry.ssh_policies.names() == ["modern-crypto"]
    assert registry.doctor_checks.names() == ["ssh"]
    registry.network_attachments.load("known-hosts")
    registry.ssh_policies.load("modern-crypto")
    registry.doctor_checks.load("ssh")


def test_the_policy_is_one_that_the_core_knows():
    from banger_core.contracts import SshFacts
    from banger_core.plan.ssh_policy import Authority, PolicyLayer, fold

    patch = modern_crypto(SshFacts(vm_name="a", vm_id="b", labels={}, settings={}))
    layer = PolicyLayer(origin="modern", authority=Authority.PLUGIN, patch=patch)
    found = fold([layer])
    assert found["kex_algorithms"].origin == "modern"
    assert "diffie-hellman" in found["kex_algorithms"].value


def test_a_new_vm_of_the_same_name_or_address_sees_no_old_pin(fake_context):
    old = sample_record("web")
    same_name = replace(
        old, host_key=OTHER_KEY, plan=replace(old.plan, id="f" * 12, net=sample_net(port=9))
    )
    same_address = replace(sample_record("api"), host_key=OTHER_KEY)

    async def lives():
        attachment = KnownHosts()
        await attachment.attach(old, fake_context)
        await attachment.attach(same_name, fake_context)
        await attachment.attach(same_address, fake_context)

    asyncio.run(lives())
    data = pins(fake_context)
    for name in (b"web.vm", b"api.vm", b"[127.64.0.1]:2222", b"[127.64.0.1]:9"):
        assert [line.key.decode() for line in find(data, name)] == [OTHER_KEY], name


def test_a_vm_that_brings_its_own_key_is_not_pinned(fake_context):
    asyncio.run(KnownHosts().attach(replace(sample_record(), host_key=""), fake_context))
    assert pins(fake_context) == b""


@pytest.mark.parametrize("key", ["junk", "ssh-ed25519 not!base64", "*.vm\nssh-ed25519 AAAA"])
def test_a_key_that_is_none_is_refused(fake_context, key):
    with pytest.raises(HostileInput):
        asyncio.run(KnownHosts().attach(replace(sample_record(), host_key=key), fake_context))
    assert pins(fake_context) == b""


def levels(cx):
    return [(f.level, f.message) for f in asyncio.run(SshCheck().check(cx))]


def test_the_doctor_is_content_with_what_is_well(fake_context):
    cx = fake_context
    asyncio.run(KnownHosts().attach(sample_record("web"), cx))
    (cx.ssh_dir / "vms").mkdir()
    (cx.ssh_dir / "vms" / "web.json").write_text("{}")
    [(level, message)] = levels(cx)
    assert level == "pass"
    assert message.startswith("OpenSSH ")


def test_the_doctor_finds_and_closes_what_is_open(fake_context):
    cx = fake_context
    for name in ("id_ed25519", "known_hosts"):
        (cx.ssh_dir / name).write_text("")
        (cx.ssh_dir / name).chmod(0o644)
    assert [level for level, _ in levels(cx)] == ["pass", "fail", "fail"]
    assert len(asyncio.run(SshCheck().fix(cx))) == 2
    assert [level for level, _ in levels(cx)] == ["pass"]
    assert (cx.ssh_dir / "id_ed25519").stat().st_mode & 0o777 == 0o600
    assert asyncio.run(SshCheck().fix(cx)) == []


def test_the_doctor_finds_pins_of_vms_that_are_gone(fake_context):
    asyncio.run(KnownHosts().attach(sample_record("web"), fake_context))
    (_, stale) = levels(fake_context)
    assert stale[0] == "warn"
    assert "web.vm" in stale[1]


def test_the_doctor_reports_a_link_and_leaves_it(fake_context, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("x")
    victim.chmod(0o644)
    (fake_context.ssh_dir / "known_hosts").symlink_to(victim)
    assert [level for level, _ in levels(fake_context)] == ["pass", "fail"]
    assert asyncio.run(SshCheck().fix(fake_context)) == []
    assert victim.stat().st_mode & 0o777 == 0o644


def test_the_doctor_says_what_to_install(fake_context, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = asyncio.run(SshCheck().check(fake_context))[0]
    assert finding.level == "fail"
    assert "openssh-client" in finding.fix


def test_the_pin_stands_under_the_alias_that_ssh_asks_for():
    from banger_core.engine.ssh import host_alias

    assert names_of(sample_record("web"))[0].decode() == host_alias("web")


def test_openssh_understands_the_policy():
    from banger_core.contracts import SshFacts
    from banger_core.plan.ssh_keys import KEYS

    patch = modern_crypto(SshFacts(vm_name="a", vm_id="b", labels={}, settings={}))
    options = [
        word for key, value in patch.set.items() for word in ("-o", f"{KEYS[key].option}={value}")
    ]
    said = subprocess.run(
        ["ssh", "-F", "none", "-G", *options, "host"], check=True, capture_output=True, text=True
    )
    shown = dict(line.split(" ", 1) for line in said.stdout.splitlines() if " " in line)
    kex, macs = shown["kexalgorithms"].split(","), shown["macs"].split(",")
    # What Dropbear, the guest's server, has in common with it
    assert "curve25519-sha256" in kex
    assert "hmac-sha2-256" in macs
    assert not [name for name in kex if name.startswith(("diffie-hellman-", "ecdh-sha2-"))]
    assert not [name for name in macs if name.startswith(("hmac-sha1", "umac-64"))]
