"""A host that lacks a program, space or a network: one error, and all is well once it has it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest

NOWHERE = "http://127.0.0.1:9/debian"
"""A port of the loopback interface that nobody listens on."""

CREATE = ("vm", "create", "--name", "a")


@pytest.fixture
def real(house):
    """The real plugins, with an archive that cannot be reached."""
    house.configure(f'[plugins.debian]\nmirror = "{NOWHERE}"\nsecurity_mirror = "{NOWHERE}"\n')
    env = {key: value for key, value in house.env.items() if key != "BANGER_PLUGINS"}
    return replace(house, env=env)


@pytest.mark.parametrize(
    ("program", "package"),
    [("qemu-system-x86_64", "qemu-system-x86"), ("mmdebstrap", "mmdebstrap")],
)
def test_program_that_a_machine_needs_is_missing(real, programs, program, package):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not on this host either way")
    failure = real.with_env(PATH=programs(program)).refuses(*CREATE, code=4)
    assert failure.error == f"{program} is missing"
    assert "needs it" in failure.cause
    assert failure.hints[0].endswith(f"apt-get install {package}")
    real.ok("daemon", "stop")
    # With the program the command comes as far as the network
    assert "did not give InRelease" in real.fails(*CREATE, code=1).error
    real.ok("daemon", "stop")


def test_no_network(real):
    for words in (
        CREATE,
        ("image", "pull", "debian://bookworm"),
        ("kernel", "pull", "bookworm-cloud"),
    ):
        failure = real.refuses(*words, code=1)
        assert failure.error == "127.0.0.1 did not give InRelease"
        assert failure.hints[0].startswith("check the network: curl -I http://127.0.0.1:9/")
    assert real.json("image", "list") == []
    # What needs no network works without it
    assert "bookworm" in real.refuses("image", "pull", "debian://bokworm").hints[0]
    real.ok("daemon", "stop")


@pytest.mark.parametrize("name", ["unreachable", "corrupt", "buggy"])
def test_image_that_cannot_be_had(house, name):
    code = 5 if name == "buggy" else 1
    failure = house.refuses(*CREATE, f"fake://{name}", code=code)
    assert "fake" in failure.error
    assert house.traces() == set()
    assert house.json("image", "list") == []
    house.ok(*CREATE, "fake://small")
    house.close()


def test_ssh_is_missing(lived_in, programs):
    without = lived_in.with_env(PATH=programs("ssh"))
    for words in (("ssh", "web"), ("vm", "ssh", "web"), ("vm", "exec", "web", "--", "true")):
        failure = without.fails(*words, code=4)
        assert failure.error == "cannot run ssh"
        assert failure.hints[0].endswith("apt-get install openssh-client")
    # No machine is made that could not be reached
    assert without.fails("vm", "run", "--", "true", code=4).error == "cannot run ssh"
    assert [vm["name"] for vm in lived_in.json("vm", "list")] == ["web"]


@pytest.fixture
def small_disk(house, tmp_path):
    """The house with its state on a disk of 4 MiB, and a shell in that directory."""
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    script = f"mount -t tmpfs -o size=4m,mode=700 none {place} && echo ready && exec sleep 100"
    holder = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != "ready\n":
            pytest.skip("this host lets nobody mount in a namespace of their own")
        enter = ("nsenter", "-t", str(holder.pid), "-U", "-m", "--preserve-credentials", "--")

        def sh(command):
            done = [*enter, "sh", "-c", f"cd {place} && {command}"]
            return subprocess.run(done, check=True, capture_output=True, text=True).stdout

        within = replace(house, prefix=enter).with_env(BANGER_STATE_DIR=place)
        yield within, sh
    finally:
        holder.kill()
        holder.communicate()


@pytest.mark.parametrize("left", ["0", "150K"])
def test_no_space(small_disk, left):
    """Also when there is none for the database."""
    house, sh = small_disk
    house.ok("daemon", "start")
    sh(f"dd if=/dev/zero of=filler bs=4k 2>/dev/null; truncate -s -{left} filler")
    failure = house.fails("image", "pull", "small", code=4)
    assert failure.error.startswith("no space left")
    assert failure.hints[0].startswith("df -h ")
    house.fails_as_json(*CREATE, code=4)
    assert house.json("image", "list") == house.json("vm", "list") == []
    sh("rm filler")
    assert sh("find vms images -mindepth 1 2>/dev/null || true") == ""
    house.ok("image", "pull", "small")
    house.ok(*CREATE)
    house.close()
