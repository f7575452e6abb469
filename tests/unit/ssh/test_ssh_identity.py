"""The key pair: made once, private from birth, the configured one respected. ssh-keygen judges."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess

import pytest

from banger_core.config.settings import Settings, SshSettings
from banger_core.engine.run import run
from banger_core.engine.ssh import identity, public_key
from banger_core.errors import HostNotReady


def keygen(path, *options, passphrase=""):
    argv = ["ssh-keygen", "-q", "-N", passphrase, "-f", str(path), *(options or ("-t", "ed25519"))]
    subprocess.run(argv, check=True)
    return path


def judged(path, passphrase=""):
    argv = ["ssh-keygen", "-y", "-P", passphrase, "-f", str(path)]
    words = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    return " ".join(words[:2])


def configured(path):
    return Settings(ssh=SshSettings(ssh_key_path=path))


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_bangers_own_key_is_made_once_and_private(paths, settings):
    path = asyncio.run(identity(paths, settings, run))
    assert path == paths.state / "ssh" / "id_ed25519"
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    before = path.read_bytes()
    assert judged(path).startswith("ssh-ed25519 ")
    assert path.with_name("id_ed25519.pub").read_text() == judged(path) + " banger\n"
    assert asyncio.run(identity(paths, settings, run)) == path
    assert path.read_bytes() == before
    assert names(path.parent) == ["id_ed25519", "id_ed25519.pub"]


def test_a_lost_public_half_comes_back(paths, settings):
    path = asyncio.run(identity(paths, settings, run))
    public = path.with_name("id_ed25519.pub")
    public.write_text("ssh-ed25519 AAAAwrong\n")
    asyncio.run(identity(paths, settings, run))
    assert public.read_text() == judged(path) + " banger\n"


def test_many_at_once_get_the_same_key(paths, settings):
    async def race():
        async def one():
            path = await identity(paths, settings, run)
            return path.read_bytes()

        return await asyncio.gather(*(one() for _ in range(8)))

    assert len(set(asyncio.run(race()))) == 1
    assert names(paths.ssh) == ["id_ed25519", "id_ed25519.pub"]


def test_what_a_killed_maker_left_is_removed(paths, settings):
    paths.ssh.mkdir(mode=0o700)
    gone = subprocess.Popen(["true"])
    gone.wait()
    (paths.ssh / f".making-{gone.pid}-x").mkdir()
    (paths.ssh / f".making-{os.getpid()}-x").mkdir()
    asyncio.run(identity(paths, settings, run))
    left = [name for name in names(paths.ssh) if name.startswith(".making")]
    assert left == [f".making-{os.getpid()}-x"]


def test_a_failing_keygen_leaves_nothing(paths, settings):
    async def broken(argv, *, stdin=b"", timeout=60.0):
        raise HostNotReady("ssh-keygen is not installed")

    with pytest.raises(HostNotReady):
        asyncio.run(identity(paths, settings, broken))
    assert names(paths.ssh) == []


@pytest.mark.parametrize("wrong", [0o640, 0o604, 0o622])
def test_a_key_that_others_read_is_refused(paths, tmp_path, wrong):
    path = keygen(tmp_path / "mine")
    path.chmod(wrong)
    with pytest.raises(HostNotReady, match="by others") as problem:
        asyncio.run(identity(paths, configured(path), run))
    assert problem.value.hints == (f"chmod 600 {path}",)
    assert not paths.ssh.exists()


def test_a_missing_key_or_a_directory_is_refused(paths, tmp_path):
    with pytest.raises(HostNotReady, match="cannot be read"):
        asyncio.run(identity(paths, configured(tmp_path / "none"), run))
    with pytest.raises(HostNotReady, match="not a file"):
        asyncio.run(identity(paths, configured(tmp_path), run))


def test_the_configured_key_is_used_as_it_is(paths, tmp_path):
    path = keygen(tmp_path / "mine")
    path.with_name("mine.pub").unlink()
    assert asyncio.run(identity(paths, configured(path), run)) == path
    assert asyncio.run(public_key(path, run)) == judged(path)
    assert not path.with_name("mine.pub").exists()


@pytest.mark.parametrize(
    "options",
    [
        ("-t", "ed25519"),
        ("-t", "rsa", "-b", "2048"),
        ("-t", "ecdsa"),
        ("-t", "rsa", "-b", "2048", "-m", "PEM"),
    ],
)
def test_the_public_half_of_any_key(tmp_path, options):
    path = keygen(tmp_path / "key", *options)
    assert asyncio.run(public_key(path, run)) == judged(path)


def test_the_public_half_of_an_encrypted_key_needs_no_passphrase(tmp_path):
    path = keygen(tmp_path / "key", passphrase="secret")
    assert asyncio.run(public_key(path, run)) == judged(path, "secret")


def test_the_public_half_of_what_is_no_key(tmp_path):
    path = tmp_path / "key"
    path.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----")
    path.chmod(0o600)
    with pytest.raises(HostNotReady, match="public half"):
        asyncio.run(public_key(path, run))
