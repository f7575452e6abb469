"""Whether the user's key can log in, found out before anything boots."""

from __future__ import annotations

import asyncio
import os
import subprocess
from types import SimpleNamespace

import pytest

from banger_core.config.settings import Settings, SshSettings
from banger_core.engine.run import run
from banger_core.engine.ssh_identity import has_passphrase
from banger_core.engine.ssh_room import SshRoom
from banger_core.errors import HostNotReady
from banger_core.model import SshSetting
from banger_core.plan.ssh_keys import allows_key


@pytest.mark.parametrize(
    ("algorithms", "kind", "allowed"),
    [
        ("", "ssh-ed25519", True),
        ("ssh-ed25519", "ssh-ed25519", True),
        ("ssh-ed25519,sk-ssh-ed25519@openssh.com", "sk-ssh-ed25519@openssh.com", True),
        ("ecdsa-*", "ssh-ed25519", False),
        ("ecdsa-*", "ecdsa-sha2-nistp256", True),
        ("rsa-sha2-512", "ssh-rsa", True),
        ("-ssh-rsa", "ssh-rsa", True),
        ("-ssh-rsa,rsa-*", "ssh-rsa", False),
        ("-ssh-ed25519", "ssh-ed25519", False),
        ("+ssh-dss", "ssh-ed25519", True),
        ("^ecdsa-*", "ssh-ed25519", True),
    ],
)
def test_which_keys_a_policy_allows(algorithms, kind, allowed):
    assert allows_key(algorithms, kind) is allowed


def make_key(path, passphrase, *options):
    argv = ["ssh-keygen", "-q", "-N", passphrase, "-f", str(path), *options]
    subprocess.run(argv, check=True)
    return path


@pytest.mark.parametrize(
    "options", [("-t", "ed25519"), ("-t", "ecdsa"), ("-t", "rsa", "-m", "PEM", "-b", "2048")]
)
def test_a_passphrase_is_seen(tmp_path, options):
    assert has_passphrase(make_key(tmp_path / "closed", "secret", *options))
    assert not has_passphrase(make_key(tmp_path / "open", "", *options))


@pytest.fixture
def check(paths):
    """Check the key at a path under a policy; returns what the user is told."""

    def ask(key=None, allowed=""):
        settings = Settings(ssh=SshSettings(ssh_key_path=key))
        room = SshRoom(SimpleNamespace(paths=paths, settings=settings, run=run))
        told = []
        ssh = {"public_key_algorithms": SshSetting(value=allowed, origin="/etc/x.toml")}
        asyncio.run(room.check_key(ssh, SimpleNamespace(notice=told.append)))
        return told

    return ask


def test_a_key_of_a_type_that_policy_forbids_is_refused(check, tmp_path):
    key = make_key(tmp_path / "key", "", "-t", "ecdsa")
    assert check(key, "ecdsa-*") == []
    with pytest.raises(HostNotReady, match="may not be used here") as problem:
        check(key, "ssh-ed25519")
    assert problem.value.cause == (
        "it is of the type ecdsa-sha2-nistp256; /etc/x.toml allows ssh-ed25519"
    )
    # Banger's own is known before it is made
    assert check(None, "ssh-ed25519") == []
    with pytest.raises(HostNotReady):
        check(None, "rsa-sha2-512")


def test_a_key_that_is_not_there_is_missed_before_anything_boots(check, tmp_path):
    with pytest.raises(HostNotReady, match="cannot be read"):
        check(tmp_path / "none")


def test_a_passphrase_that_no_agent_knows_is_said(check, tmp_path, monkeypatch):
    key = make_key(tmp_path / "key", "secret", "-t", "ed25519")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    advice = f"{key} has a passphrase that no agent knows: ssh-add {key}"
    assert check(key) == [advice]
    with subprocess.Popen(["ssh-agent", "-D"], stdout=subprocess.PIPE, text=True) as agent:
        where = agent.stdout.readline().partition("=")[2].partition(";")[0]
        try:
            monkeypatch.setenv("SSH_AUTH_SOCK", where)
            assert check(key) == [advice]
            helper = tmp_path / "askpass"
            helper.write_text("#!/bin/sh\necho secret\n")
            helper.chmod(0o700)
            added = {**os.environ, "SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force"}
            subprocess.run(["ssh-add", "-q", str(key)], env=added, check=True)
            assert check(key) == []
        finally:
            agent.terminate()
