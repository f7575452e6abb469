"""Pins as people see them, and forgetting; ssh-keygen is the judge."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from banger_core.api import PinStore
from banger_core.testing.contracts.samples import sample_record
from banger_ssh.attachment import KnownHosts
from banger_ssh.pins import forget_host, pins_in

KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF5tVFHdVxLC8rYV5cDVmtMPMLXbQxvbd/o9NWiVwd6Y"
FILE = b"".join(
    [
        b"# a comment\n",
        b"web.vm,[127.0.0.2]:1022 " + KEY + b" banger:0123456789ab\n",
        b"github.com " + KEY + b"\n",
        b"broken line\n",
        b"*.example.com,!bad.example.com " + KEY + b" banger:no id\n",
        b"@cert-authority *.vm " + KEY + b" ca\r\n",
        b"[127.0.0.2]:2222 " + KEY + b"\n",
        b"half.vm ssh-ed25519 AAAAC3N\n",
        b"last.vm " + KEY,
    ]
)


def keygen(*words):
    return subprocess.run(["ssh-keygen", *words], capture_output=True, check=False)


def test_pins_are_listed_with_what_ssh_keygen_prints(tmp_path):
    pins = pins_in(FILE)
    assert [(pin.line, pin.names, pin.marker, pin.vm_id) for pin in pins] == [
        (2, ("web.vm", "[127.0.0.2]:1022"), "", "0123456789ab"),
        (3, ("github.com",), "", ""),
        (5, ("*.example.com", "!bad.example.com"), "", ""),
        (6, ("*.vm",), "@cert-authority", ""),
        (7, ("[127.0.0.2]:2222",), "", ""),
        (9, ("last.vm",), "", ""),
    ]
    (tmp_path / "key.pub").write_bytes(KEY + b"\n")
    printed = keygen("-l", "-f", tmp_path / "key.pub").stdout.decode().split()[1]
    assert {pin.fingerprint for pin in pins} == {printed}
    assert {pin.key_type for pin in pins} == {"ssh-ed25519"}


@pytest.mark.parametrize("name", [b"web.vm", b"github.com", b"last.vm", b"other"])
@pytest.mark.parametrize("hashed", [False, True])
def test_a_name_is_forgotten_as_ssh_keygen_does(tmp_path, name, hashed):
    file = tmp_path / "hosts"
    file.write_bytes(b"".join(line for line in FILE.splitlines(True) if KEY in line) + b"\n")
    if hashed:
        keygen("-H", "-f", file)
    data = file.read_bytes()
    kept, gone = forget_host(data, name)
    keygen("-R", name.decode(), "-f", file)
    assert kept == file.read_bytes()
    assert len(gone) == (name != b"other")
    assert forget_host(kept, name) == (kept, [])


@pytest.mark.parametrize("hashed", [False, True])
def test_capitals_do_not_hide_a_name(tmp_path, hashed):
    """ssh asks for names in lower case; ssh-keygen -R takes hashed ones by the letter."""
    file = tmp_path / "hosts"
    file.write_bytes(b"web.vm " + KEY + b"\n")
    if hashed:
        keygen("-H", "-f", file)
    assert forget_host(file.read_bytes(), b"WEB.vm")[0] == b""


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (b"127.0.0.2", [2, 7]),
        (b"[127.0.0.2]:2222", [7]),
        (b"127.0.0", []),
        (b"a.example.com", []),
        (b"*.example.com", [5]),
        (b"x.vm", []),
        (b"half.vm", []),
        (b"", []),
    ],
)
def test_addresses_stand_for_all_their_ports_and_patterns_for_nobody(name, lines):
    kept, gone = forget_host(FILE, name)
    assert [pin.line for pin in gone] == lines
    left = [line for at, line in enumerate(FILE.splitlines(True), 1) if at not in lines]
    assert kept == b"".join(left)


def test_a_hashed_address_is_found_for_the_port_of_machines(tmp_path):
    file = tmp_path / "hosts"
    file.write_bytes(b"[127.0.0.2]:1022 " + KEY + b"\n")
    keygen("-H", "-f", file)
    kept, gone = forget_host(file.read_bytes(), b"127.0.0.2")
    assert kept == b""
    assert gone[0].names[0].startswith("|1|")


def test_the_attachment_keeps_pins(fake_context):
    cx, store = fake_context, KnownHosts()
    assert isinstance(store, PinStore)
    record = sample_record()

    async def play():
        assert await store.list_pins(cx) == []
        await store.attach(record, cx)
        (pin,) = await store.list_pins(cx)
        assert pin.vm_id == record.id
        assert await store.forget("nobody\udce4", cx) == []
        assert await store.forget(f"{record.name}.vm", cx) == [pin]
        assert await store.list_pins(cx) == []

    asyncio.run(play())
