"""An image's own SSH server: believed at first use, known after a restart, refused when changed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(900), pytest.mark.xdist_group("image-sshd")]

IMAGE = "debian://bookworm?include=systemd-sysv,openssh-server"


def test_the_images_server_is_believed_once_and_held_to_its_keys(banger):
    with Path(banger.env["BANGER_CONFIG_DIR"], "config.toml").open("a") as config:
        config.write('[ssh]\nserver = "image"\n')
    banger.ok("vm", "run", "-d", "--name", "own", "--memory", "512M", IMAGE)

    def said(script: str) -> str:
        return banger.ok("vm", "exec", "own", "--", "sh", "-c", script).strip()

    def pinned() -> list[str]:
        pins = (banger.state / "ssh" / "known_hosts").read_text().splitlines()
        return sorted(" ".join(pin.split()[1:3]) for pin in pins if "own.image.vm " in pin)

    first = pinned()
    shown = said("cut -d' ' -f1,2 /etc/ssh/ssh_host_*_key.pub").splitlines()
    assert first
    assert set(first) <= set(shown)

    key = (banger.state / "ssh" / "id_ed25519.pub").read_text().strip()
    said(f"mkdir -p -m 700 /root/.ssh; echo '{key}' > /root/.ssh/authorized_keys")
    server = "tr '\\0' ' ' < /proc/$PPID/cmdline"
    assert banger.ok("ssh", "own", server).startswith("sshd: ")

    banger.ok("vm", "stop", "own")
    assert pinned() == []
    banger.ok("vm", "start", "own")
    assert pinned() == first
    assert banger.ok("ssh", "own", server).startswith("sshd: ")

    said("rm /etc/ssh/ssh_host_*; ssh-keygen -A > /dev/null; systemctl restart ssh")
    refused = banger.run("ssh", "own", "true")
    assert refused.returncode != 0
    assert b"REMOTE HOST IDENTIFICATION HAS CHANGED" in refused.stderr

    banger.ok("ssh", "forget", "own")
    assert pinned() != first
    assert banger.ok("ssh", "own", server).startswith("sshd: ")
    banger.ok("vm", "delete", "--force", "own")
