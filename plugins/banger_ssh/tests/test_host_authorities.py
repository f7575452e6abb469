"""Authorities of host keys: what stands in known_hosts for them, and what OpenSSH makes of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from banger_core.api import HostileInput
from banger_core.model import SshSetting
from banger_core.testing.contracts.samples import sample_record
from banger_ssh.attachment import KnownHosts
from banger_ssh.known_hosts import find

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF5tVFHdVxLC8rYV5cDVmtMPMLXbQxvbd/o9NWiVwd6Y"
FOREIGN = f"@cert-authority web.vm,*.corp {OTHER_KEY} of the company\n".encode()


def make_key(path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def certified(name, *keys, **changes):
    record = sample_record(name)
    setting = SshSetting(value=keys, origin="test")
    plan = replace(record.plan, ssh={"host_authorities": setting}, **changes)
    return replace(record, plan=plan)


def greet(cx, place, alias):
    """Log in by OpenSSH to an sshd that lives as long as the connection; return how it ended."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    argv = ["ssh", "-F", "none", "-i", str(place / "user")]
    for option in (
        f"ProxyCommand={program} -i -e -f {place}/config",
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={cx.ssh_dir}/known_hosts",
        "GlobalKnownHostsFile=none",
        f"HostKeyAlias={alias}",
        "UpdateHostKeys=no",
    ):
        argv += ["-o", option]
    return subprocess.run(
        [*argv, "localhost", "true"], check=False, capture_output=True, timeout=60, text=True
    )


@pytest.fixture
def place(tmp_path):
    """An sshd's directory: its host key is certified for the two names of the VM ``web``."""
    make_key(tmp_path / "authority")
    make_key(tmp_path / "host")
    (tmp_path / "authorized").write_text(make_key(tmp_path / "user") + "\n")
    sign = ["ssh-keygen", "-q", "-s", str(tmp_path / "authority"), "-I", "web", "-h"]
    names = ["-n", "web.vm,web.image.vm", "-V", "-5m:+5m", str(tmp_path / "host.pub")]
    subprocess.run([*sign, *names], check=True)
    (tmp_path / "config").write_text(
        f"HostKey {tmp_path}/host\nHostCertificate {tmp_path}/host-cert.pub\nUsePAM no\n"
        f"AuthorizedKeysFile {tmp_path}/authorized\nStrictModes no\n"
        "PermitRootLogin prohibit-password\n"
    )
    return tmp_path


@pytest.mark.parametrize("alias", ["web.vm", "web.image.vm"])
def test_a_certified_server_is_believed_while_the_vm_is_attached(fake_context, place, alias):
    authority = " ".join((place / "authority.pub").read_text().split()[:2])
    vm = certified("web", authority)
    asyncio.run(KnownHosts().attach(vm, fake_context))
    assert greet(fake_context, place, alias).returncode == 0
    asyncio.run(KnownHosts().detach(vm, fake_context))
    refused = greet(fake_context, place, alias)
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


@pytest.mark.parametrize(
    ("alias", "keys"), [("web.vm", [OTHER_KEY]), ("api.vm", None), ("web.vm", [])]
)
def test_others_are_not_believed(fake_context, place, alias, keys):
    """Another authority, a name that the certificate does not have, or no authority at all."""
    authority = " ".join((place / "authority.pub").read_text().split()[:2])
    vm = certified(alias.removesuffix(".vm"), *([authority] if keys is None else keys))
    asyncio.run(KnownHosts().attach(vm, fake_context))
    refused = greet(fake_context, place, alias)
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


def test_detaching_removes_exactly_its_own_authorities(fake_context):
    path = fake_context.ssh_dir / "known_hosts"
    path.write_bytes(FOREIGN)
    path.chmod(0o600)
    vm, other = certified("web", OTHER_KEY), certified("api", OTHER_KEY, id="b" * 12)
    other = replace(other, plan=replace(other.plan, name="api", net=replace(vm.plan.net, forwards=(
        replace(vm.plan.net.forwards[0], host_port=9),
    ))))  # fmt: skip

    async def come_and_go():
        await KnownHosts().attach(vm, fake_context)
        await KnownHosts().attach(other, fake_context)
        await KnownHosts().detach(vm, fake_context)

    asyncio.run(come_and_go())
    data = path.read_bytes()
    assert data.startswith(FOREIGN)
    assert [line.marker for line in find(data, b"web.vm")] == [b"@cert-authority"]
    assert b"@cert-authority" in [line.marker for line in find(data, b"api.image.vm")]
    asyncio.run(KnownHosts().detach(other, fake_context))
    assert path.read_bytes() == FOREIGN


def test_a_new_vm_of_the_name_has_no_authority_of_the_old_one(fake_context):
    async def both():
        await KnownHosts().attach(certified("web", OTHER_KEY), fake_context)
        await KnownHosts().attach(certified("web", id="c" * 12), fake_context)

    asyncio.run(both())
    found = find((fake_context.ssh_dir / "known_hosts").read_bytes(), b"web.vm")
    assert b"@cert-authority" not in [line.marker for line in found]


def test_every_key_of_the_images_server_is_pinned_under_a_name_of_its_own(fake_context, place):
    keys = tuple(" ".join((place / f"{n}.pub").read_text().split()[:2]) for n in ("host", "user"))
    vm = replace(sample_record("web"), image_host_keys=(*keys, OTHER_KEY))
    asyncio.run(KnownHosts().attach(vm, fake_context))
    data = (fake_context.ssh_dir / "known_hosts").read_bytes()
    pinned = [line.key.decode() for line in find(data, b"web.image.vm")]
    assert pinned == [*keys, OTHER_KEY]
    assert greet(fake_context, place, "web.image.vm").returncode == 0
    # Banger's own server has another key: the image's cannot pass for it
    assert greet(fake_context, place, "web.vm").returncode == 255
    asyncio.run(KnownHosts().detach(vm, fake_context))
    assert (fake_context.ssh_dir / "known_hosts").read_bytes() == b""


def test_an_authority_that_is_no_key_is_refused(fake_context):
    with pytest.raises(HostileInput):
        asyncio.run(KnownHosts().attach(certified("web", "x\n* y"), fake_context))
    assert not (fake_context.ssh_dir / "known_hosts").exists()
