from __future__ import annotations

import pytest

from banger_core import packages


@pytest.mark.parametrize(
    ("release", "program", "command"),
    [
        ("ID=debian\n", "ssh", "sudo apt-get install openssh-client"),
        ('ID=ubuntu\nID_LIKE="debian"\n', "newuidmap", "sudo apt-get install uidmap"),
        ("ID=fedora\n", "newuidmap", "sudo dnf install shadow-utils"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "ip", "sudo dnf install iproute"),
        ("ID=arch\n", "ssh", "sudo pacman -S openssh"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "qemu-system-x86_64",
         "sudo zypper install qemu-x86"),
        ("ID=alpine\n", "resize2fs", "sudo apk add e2fsprogs-extra"),
        ("ID=alpine\n", "git", "sudo apk add git"),
        ("ID='fedora'\n", "debian-archive-keyring", "sudo dnf install debian-keyring"),
        ("ID=ubuntu\n", "debian-archive-keyring", "sudo apt-get install debian-archive-keyring"),
        ("# ID=debian\nNAME=Else\nID=else\n", "mke2fs",
         "install e2fsprogs with the package manager of this system"),
    ],
)  # fmt: skip
def test_the_command_is_this_distributions(tmp_path, monkeypatch, release, program, command):
    (tmp_path / "os-release").write_text(release)
    family = packages.distribution([tmp_path / "nothing", tmp_path / "os-release"])
    monkeypatch.setattr(packages, "distribution", lambda: family)
    assert packages.install_command(program) == command


def test_a_host_that_does_not_say_what_it_is(tmp_path):
    assert packages.distribution([tmp_path / "nothing"]) == ""
