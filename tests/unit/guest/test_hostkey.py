from __future__ import annotations

import asyncio
import base64
import struct
import subprocess

import pytest

from banger_core.engine.run import run
from banger_core.errors import IntegrityError
from banger_core.guest.hostkey import dropbear_key, make_host_key


def generate(path, *options):
    subprocess.run(["ssh-keygen", "-q", "-C", "", "-f", path, *options], check=True)
    return path.read_bytes()


def test_public_half_is_what_ssh_keygen_says(tmp_path):
    key = generate(tmp_path / "key", "-t", "ed25519", "-N", "")
    private, public = dropbear_key(key)
    judged = subprocess.check_output(["ssh-keygen", "-y", "-f", tmp_path / "key"], text=True)
    assert public.split() == judged.split()[:2]

    # dropbear's form ends with the raw public key, which ends the public blob as well
    kind_length = struct.unpack_from(">I", private)[0]
    assert private[4 : 4 + kind_length] == b"ssh-ed25519"
    assert struct.unpack_from(">I", private, 4 + kind_length)[0] == 64
    assert private[-32:] == base64.b64decode(public.split()[1])[-32:]
    assert len(private) == 4 + 11 + 4 + 64


def test_two_keys_differ_and_nothing_stays_behind(tmp_path):
    first, second = (asyncio.run(make_host_key(run, tmp_path)) for _ in range(2))
    assert first != second
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [("-t", "ecdsa", "-N", ""), ("-t", "ed25519", "-N", "secret"), ("-t", "rsa", "-N", "")],
)
def test_other_keys_are_refused(tmp_path, options):
    with pytest.raises(IntegrityError):
        dropbear_key(generate(tmp_path / "key", *options))


def test_cut_keys_are_refused(tmp_path):
    key = generate(tmp_path / "key", "-t", "ed25519", "-N", "")
    body = base64.b64decode(b"".join(key.splitlines()[1:-1]))
    # The last bytes are padding
    for length in range(len(body) - 20):
        with pytest.raises(IntegrityError):
            dropbear_key(base64.b64encode(body[:length]))
