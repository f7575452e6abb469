"""What lists and shows say of real things, and that deleting respects who uses them."""

from __future__ import annotations

import re

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(900), pytest.mark.xdist_group("lists")]


def test_images_and_kernels_from_pull_to_delete(banger):
    (image,) = banger.json("image", "list")
    assert image["name"] == "debian-bookworm"
    assert image["ref"] == "debian://bookworm"
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", image["digest"])
    assert banger.json("image", "show", "debian-bookworm") == image
    (kernel,) = banger.json("kernel", "list")
    assert kernel["name"] == "bookworm-cloud"
    assert kernel["version"].endswith("-cloud-amd64")
    assert banger.json("kernel", "show", "bookworm-cloud")["digest"] == kernel["digest"]
    offered = {one["name"]: one["here"] for one in banger.json("kernel", "list", "--available")}
    assert offered["bookworm-cloud"] is True
    assert offered["bookworm-generic"] is False

    # A second pull of the same changes nothing
    assert "debian-bookworm" in banger.ok("image", "pull", "debian://bookworm")
    assert len(banger.json("image", "list")) == 1

    # An image owns its kernel; a VM holds on to its image
    removed = banger.run("kernel", "rm", "bookworm-cloud")
    assert removed.returncode == 0
    assert b"debian-bookworm" in removed.stderr
    banger.ok("vm", "create", "--name", "holder")
    refused = banger.run("image", "delete", "debian-bookworm")
    assert refused.returncode == 1
    assert b"holder" in refused.stderr
    banger.ok("vm", "delete", "holder")
    banger.ok("image", "delete", "debian-bookworm")
    assert banger.json("image", "list") == []
    assert list((banger.state / "images").iterdir()) == []


def test_the_installation_describes_itself(banger):
    plugins = {one["name"]: one["status"] for one in banger.json("plugin", "list")}
    ours = ("debian", "kernels", "qemu", "ssh", "user-network")
    assert {name: plugins[name] for name in ours} == dict.fromkeys(ours, "ok")
    settings = {one["key"]: one for one in banger.json("config", "show")["settings"]}
    assert settings["image.default"]["value"] == "debian://bookworm"
    assert settings["vm.memory"]["origin"] == "host"
    findings = banger.json("doctor")
    assert not [one for one in findings if one["level"] == "fail"]
    assert any("/dev/kvm" in one["message"] for one in findings)
    status = banger.json("daemon", "status")
    assert status["state_dir"] == str(banger.state)
