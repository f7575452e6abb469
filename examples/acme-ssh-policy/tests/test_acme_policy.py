"""ACME's policy: what it is worth with and without the administrator, and what OpenSSH makes of it.

The end of the chain is a real sshd that ACME's authority has certified.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from acme_ssh_policy import plugin, policy
from banger_core.config.settings import Settings, SshSettings
from banger_core.engine import ssh_policy
from banger_core.engine.run import run
from banger_core.engine.ssh import identity, ssh_target
from banger_core.engine.ssh_explain import explanation
from banger_core.engine.ssh_policy import USER, overruled
from banger_core.model import VmRequest
from banger_core.plan.ssh_admin import admin_layers, trusted_policies
from banger_core.testing.contracts.policy import SshPolicyContract
from banger_core.testing.contracts.samples import sample_net, sample_record
from banger_ssh.attachment import KnownHosts

ME = pwd.getpwuid(os.geteuid()).pw_name


class TestContract(SshPolicyContract):
    policy = staticmethod(policy.acme)


# --- what it is worth -------------------------------------------------------------------------


@pytest.fixture
def etc(tmp_path, monkeypatch):
    """An administrator's directory that belongs to whoever runs the test."""
    place, me = tmp_path / "etc", os.geteuid()
    place.mkdir(mode=0o755)
    monkeypatch.setattr(ssh_policy, "admin_layers", lambda: admin_layers(place, me))
    monkeypatch.setattr(ssh_policy, "trusted_policies", lambda: trusted_policies(place, me))
    return place


@pytest.fixture
def trusted(etc):
    """The administrator lists the policy."""
    file = etc / "config.toml"
    file.write_text('trusted_policies = ["acme-ssh-policy"]\n')
    file.chmod(0o644)


@pytest.fixture
def effective(etc, fresh_registry):
    def fold(**user):
        registry = fresh_registry(plugin)
        return ssh_policy.policy(registry, Settings(ssh=SshSettings(**user)), VmRequest(name="web"))

    return fold


def test_listed_by_the_administrator_it_wins_and_locks(trusted, effective):
    found = effective(agent_forwarding=True, idle_limit=0, ciphers="+3des-cbc")
    for name in ("agent_forwarding", "idle_limit", "ciphers", "certificate", "host_authorities"):
        assert found[name].origin.startswith("acme-ssh-policy"), name
        assert found[name].locked_by.startswith("acme-ssh-policy"), name
    assert found["agent_forwarding"].value is False
    assert found["agent_forwarding"].ignored == ((USER, True),)
    assert found["idle_limit"].value == policy.IDLE_LIMIT
    assert [line.partition(" ")[0] for line in overruled(found)] == [
        "agent_forwarding",
        "ciphers",
        "idle_limit",
    ]


def test_not_listed_it_is_clamped_and_cannot_lock(etc, effective):
    found = effective(agent_forwarding=True, idle_limit=7)
    assert (found["agent_forwarding"].value, found["agent_forwarding"].origin) == (True, USER)
    assert found["idle_limit"].value == 7
    assert not any(setting.locked_by for setting in found.values())
    # What nobody contradicts still holds
    assert found["certificate"].value == policy.CERTIFICATE
    assert not list(overruled(found))


def test_the_example_s_authority_is_a_key():
    (line,) = policy.AUTHORITIES
    done = subprocess.run(
        ["ssh-keygen", "-l", "-f", "-"], input=line, capture_output=True, text=True, check=True
    )
    assert "(ED25519)" in done.stdout


# --- what OpenSSH makes of it -----------------------------------------------------------------


class Company:
    """Two authorities, of which sshd and the policy know the first."""

    def __init__(self, place: Path) -> None:
        self.place = place
        for name in ("authority", "stranger", "host"):
            self.keygen("-t", "ed25519", "-N", "", "-f", str(place / name))

    def keygen(self, *words: str) -> None:
        subprocess.run(["ssh-keygen", "-q", *words], check=True, capture_output=True)

    def sign(self, key: Path, authority: str, principal: str, *, host: bool = False) -> Path:
        """Sign the public half of ``key``; return the certificate."""
        kind = ["-h"] if host else []
        self.keygen(
            *("-s", str(self.place / authority), "-I", "test", *kind),
            *("-n", principal, "-V", "-5m:+1h", f"{key}.pub"),
        )
        return key.with_name(f"{key.name}-cert.pub")

    def public(self, name: str) -> str:
        return " ".join((self.place / f"{name}.pub").read_text().split()[:2])


@pytest.fixture
def company(tmp_path):
    place = tmp_path / "company"
    place.mkdir()
    return Company(place)


@pytest.fixture
def sshd(tmp_path, company):
    """Start a server that takes ACME's users only, with or without a certificate of its own."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program, "install openssh-server"
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    running = []

    def start(certificate: Path | None) -> int:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        config = tmp_path / f"sshd{port}"
        shown = f"HostCertificate {certificate}\n" if certificate else ""
        config.write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {company.place}/host\n{shown}"
            f"TrustedUserCAKeys {company.place}/authority.pub\nPidFile none\nStrictModes no\n"
            "AuthorizedKeysFile none\nUsePAM no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\n"
            "PermitRootLogin prohibit-password\nAllowAgentForwarding yes\n"
        )
        argv = [program, "-D", "-e", "-f", str(config)]
        running.append(
            subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        deadline = time.monotonic() + 60
        while not _listens(port):
            assert time.monotonic() < deadline, "sshd did not start"
            time.sleep(0.02)
        return port

    yield start
    for process in running:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def reach(banger_paths, fake_context, company, trusted, effective, monkeypatch):
    """Make a VM at ``port`` under ACME's policy; return a function that runs ssh, and the record.

    Nothing is pinned: a host is known by its certificate alone.
    """
    paths, settings = banger_paths.ready(), Settings()
    key = asyncio.run(identity(paths, settings, run))
    monkeypatch.setattr(policy, "AUTHORITIES", (company.public("authority"),))
    monkeypatch.setattr(policy, "CERTIFICATE", f"{key}-cert.pub")

    def make(port: int):
        record = sample_record("web")
        net = sample_net(port=port, address="127.0.0.1")
        ssh = effective(agent_forwarding=True, user=ME)
        record = replace(record, plan=replace(record.plan, net=net, ssh=ssh), host_key="")
        asyncio.run(KnownHosts().attach(record, fake_context))
        shutil.copy(fake_context.ssh_dir / "known_hosts", paths.known_hosts)
        target = ssh_target(record, paths, settings)

        def ssh_to(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [target.argv[0], "-o", "BatchMode=yes", *target.argv[1:], command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
                env={**os.environ, **environment},
            )

        return ssh_to, record, target

    make.key = key
    return make


def test_company_s_certificates_open_both_sides(company, sshd, reach):
    port = sshd(company.sign(company.place / "host", "authority", "web.vm", host=True))
    ssh, record, target = reach(port)
    assert "Permission denied (publickey)" in ssh("true").stderr

    company.sign(reach.key, "stranger", ME)
    assert "Permission denied (publickey)" in ssh("true").stderr

    company.sign(reach.key, "authority", ME)
    done = ssh("echo in")
    assert (done.returncode, done.stdout, done.stderr) == (0, "in\n", "")

    # The user wants the agent along; a real one is there, and stays here
    with subprocess.Popen(["ssh-agent", "-D"], stdout=subprocess.PIPE, text=True) as agent:
        where = agent.stdout.readline().partition("=")[2].partition(";")[0]
        assert ssh("echo ${SSH_AUTH_SOCK:-none}", SSH_AUTH_SOCK=where).stdout == "none\n"
        agent.terminate()
    found = explanation(record.plan, target)
    row = next(each for each in found["settings"] if each["setting"] == "agent_forwarding")
    assert row["value"] is False
    assert row["lost"][0]["origin"] == USER
    assert row["lost"][0]["why"].startswith("locked by acme-ssh-policy")


@pytest.mark.parametrize("case", ["none", "another authority", "another name"])
def test_a_host_is_known_by_the_company_s_certificate_alone(company, sshd, reach, case):
    host = company.place / "host"
    certificate = {
        "none": lambda: None,
        "another authority": lambda: company.sign(host, "stranger", "web.vm", host=True),
        "another name": lambda: company.sign(host, "authority", "db.vm", host=True),
    }[case]()
    ssh, _, _ = reach(sshd(certificate))
    company.sign(reach.key, "authority", ME)
    done = ssh("echo in")
    assert (done.returncode, done.stdout) == (255, "")
    assert "Host key verification failed" in done.stderr
