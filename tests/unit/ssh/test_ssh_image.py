"""The server that an image brings: looked at once, then held to what it showed."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace

import pytest

from banger_core.engine.run import run
from banger_core.engine.ssh import host_alias, identity, public_key, ssh_target
from banger_core.engine.ssh_image import (
    KEYS_MAX,
    SCAN_MAX,
    image_alias,
    look_at_image,
    read_scan,
    wants_image,
    with_image_port,
)
from banger_core.errors import GuestFailed
from banger_core.model import Forward, Publish, SshSetting, VmRequest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF5tVFHdVxLC8rYV5cDVmtMPMLXbQxvbd/o9NWiVwd6Y"
IMAGE = {"server": SshSetting(value="image", origin="test")}


def look(record, deadline=20.0, alive=True):
    return asyncio.run(look_at_image(record, run, lambda: alive, deadline))


@pytest.fixture
def key(paths, settings):
    return asyncio.run(identity(paths, settings, run))


@pytest.fixture
def server(start_sshd, key):
    return start_sshd(asyncio.run(public_key(key, run)))


@pytest.fixture
def record(make_record, server):
    """A VM whose port 22 leads to the server; nothing listens where banger's own would."""
    made = make_record("web", 9, server="image")
    led = Forward(host_address="127.0.0.1", host_port=server.port, guest_port=22)
    net = replace(made.plan.net, forwards=(*made.plan.net.forwards, led))
    return replace(made, plan=replace(made.plan, net=net))


def login(record, paths, settings):
    argv = ssh_target(record, paths, settings).shell
    done = subprocess.run([*argv, "echo", "in"], capture_output=True, check=False, timeout=60)
    return done.returncode, done.stdout


def pin(paths, record):
    lines = [f"{image_alias(record.name)} {key}\n" for key in record.image_host_keys]
    paths.known_hosts.write_text("".join(lines))


def test_it_is_believed_at_first_use_and_never_again(
    record, paths, settings, server, start_sshd, key
):
    assert login(record, paths, settings)[0] == 255
    seen = look(record)
    assert seen.image_host_keys == (server.host_key,)
    pin(paths, seen)
    assert login(seen, paths, settings) == (0, b"in\n")
    server.stop()
    start_sshd(asyncio.run(public_key(key, run)), server.port)
    # What is known stays, whatever answers now: that is refused
    assert look(seen) == seen
    assert login(seen, paths, settings) == (255, b"")


def test_only_logins_go_to_the_image(record, make_record, paths, settings):
    target = ssh_target(record, paths, settings)
    assert f"HostKeyAlias={host_alias('web')}" in target.argv
    assert f"HostKeyAlias={image_alias('web')}" in target.shell
    assert "StrictHostKeyChecking=yes" in target.shell
    assert "ControlPath=none" in target.shell
    assert target.argv[target.argv.index("-p") + 1] == "9"
    assert ssh_target(make_record("web", 9), paths, settings).shell == ()


def test_a_vm_without_the_port_is_refused_not_led_elsewhere(make_record, paths, settings, server):
    record = make_record("web", server.port, server="image")
    with pytest.raises(GuestFailed, match="no port leads") as caught:
        look(record)
    assert 'server = "banger"' in " ".join(caught.value.hints)
    shell = ssh_target(record, paths, settings).shell
    assert f"HostKeyAlias={image_alias('web')}" in shell
    assert shell[shell.index("-p") + 1] == "22"


@pytest.mark.parametrize("alive", [True, False])
def test_a_server_that_never_answers_is_an_error_with_a_way_out(record, server, alive):
    server.stop()
    with pytest.raises(GuestFailed, match="did not answer") as caught:
        look(record, 0.5, alive)
    assert 'server = "banger"' in " ".join(caught.value.hints)


@pytest.mark.parametrize(
    ("said", "keys"),
    [
        (b"", ()),
        (f"# h SSH-2.0-x\n[h]:1 {KEY}\n[h]:1 {KEY}\n".encode(), (KEY,)),
        (f"h {KEY} * extra\nh\n\0\nh ssh-rsa \x1b[2J\n".encode(), ()),
        (f"h {KEY}\n".encode() + b"#" * SCAN_MAX, ()),
        (f"h {KEY}\xff\n".encode("latin-1"), ()),
    ],
)
def test_only_whole_keys_are_taken_from_a_scan(said, keys):
    assert read_scan(said) == keys


def test_a_server_with_many_keys_is_cut_short():
    said = "".join(f"h ssh-ed25519 {'A' * 20}{number:04}\n" for number in range(100))
    assert len(read_scan(said.encode())) == KEYS_MAX


def test_the_port_is_published_once_and_only_where_it_is_wanted():
    mine = Publish(host_port=9022, guest_port=22)
    request = VmRequest(image="x")
    [made] = with_image_port(request, IMAGE).publish
    assert (made.host_port, made.guest_port) == (2022, 22)
    assert with_image_port(replace(request, publish=(mine,)), IMAGE).publish == (mine,)
    assert with_image_port(request, {}) is request
    assert not wants_image({"server": SshSetting(value="banger", origin="core")})
