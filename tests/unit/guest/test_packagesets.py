"""Lists of packages: banger's own, and those of users, which may be anything."""

from __future__ import annotations

import subprocess

import pytest

from banger_core.errors import GuestFailed, NotFound, UsageProblem
from banger_core.guest.packagesets import DETECT, FAMILIES, named_set, read_list, set_names


def test_every_set_is_for_every_package_manager():
    assert set_names() == ["dev", "net", "python", "server"]
    for name in set_names():
        assert set(named_set(name).packages) == set(FAMILIES.values())
        for program in FAMILIES:
            subprocess.run(["sh", "-n", "-c", named_set(name).script(program)], check=True)


def test_a_list_of_ones_own():
    found = read_list("mine.txt", b"git  # sources\n\n# nothing\nlibc6:amd64 g++ vim=2:9*\n")
    assert found.packages == {"": ("git", "libc6:amd64", "g++", "vim=2:9*")}
    script = found.script("apt-get")
    assert "install -y --no-install-recommends -- git libc6:amd64 g++ 'vim=2:9*'\n" in script
    assert "apk add --no-cache -- git" in found.script("apk")
    assert "microdnf install" in found.script("microdnf")


def test_a_table_of_ones_own():
    found = read_list("mine.toml", b'[packages]\napt = ["git"]\n')
    assert "git" in found.script("apt-get")
    with pytest.raises(GuestFailed, match="not for this image"):
        found.script("apk")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x", b""),
        ("x", b"# only comments\n"),
        ("x", b"$(reboot)"),
        ("x", b"-o Dpkg::Post-Invoke::=reboot"),
        ("x", b"a;b"),
        ("x", b"\xff"),
        ("x", b"git\0"),
        ("x", b"a" * 300),
        ("x.toml", b"packages = ["),
        ("x.toml", b'packages = ["git"]'),
        ("x.toml", b'[packages]\npacman = ["git"]'),
        ("x.toml", b"[packages]\napt = [1]"),
        ("x.toml", b"[packages]\napt = []"),
    ],
)
def test_what_no_package_is_called_is_refused(name, data):
    with pytest.raises(UsageProblem, match="is no list of packages"):
        read_list(name, data)


@pytest.mark.parametrize("name", ["", "nosuch", "../dev", "DEV"])
def test_sets_that_are_not_there(name):
    with pytest.raises(NotFound):
        named_set(name)


def test_the_package_manager_is_found(tmp_path):
    def detected():
        done = subprocess.run(
            ["/bin/sh", "-c", DETECT], env={"PATH": str(tmp_path)}, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    assert detected() == ""
    for name in ("yum", "dnf", "apk"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert detected() == name
