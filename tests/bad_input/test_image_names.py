"""One image, by all its names, and the caches of image sources, with a real daemon."""

from __future__ import annotations

import os
import re

import pytest


def test_one_image_is_found_by_all_its_names(house):
    """Only the first asks the source, which would make another image of ``small:old``."""
    house.ok("image", "pull", "fake://small", "--name", "Team/Base:1")
    for name in ("Team/Base:1", "small", "small:latest", "fake://small", "fake://small:latest"):
        assert house.json("image", "show", name)["name"] == "Team/Base:1"
        house.ok("vm", "create", "--name", "a", name)
        assert house.json("vm", "show", "a")["image"] == "fake://small"
        house.ok("vm", "delete", "a")
    assert len(house.json("image", "list")) == 1
    house.ok("image", "delete", "small:latest")
    assert house.json("image", "list") == []
    house.close()


def test_image_says_what_it_is_for_and_how_it_runs(lived_in):
    image = lived_in.json("image", "show", "small")
    machine = lived_in.json("vm", "show", "web")
    assert image["platform"] == machine["platform"] == f"linux/{image['architecture']}"
    assert image["config"]["env"] == machine["config"]["env"] == ["FAKE=1"]
    assert "cmd           /bin/sh\n" in lived_in.ok("image", "show", "small")


def test_caches_are_listed_and_pruned(house):
    place = house.home / "cache" / "fake"
    place.mkdir(parents=True, mode=0o700)
    place.parent.chmod(0o700)
    for name, size, used in (("old", 5 << 20, 100), ("new", 3 << 20, 200)):
        (place / name).write_bytes(b"x" * size)
        os.utime(place / name, (used, used))
    listed = house.json("image", "cache", "list")
    assert [(item["source"], item["name"], item["size"]) for item in listed] == [
        ("fake", "old", 5 << 20),
        ("fake", "new", 3 << 20),
    ]
    assert house.json("image", "cache", "prune", "--keep", "4M", "--dry-run") == listed[:1]
    assert house.json("image", "cache", "prune", "--keep", "4M") == listed[:1]
    assert sorted(path.name for path in place.iterdir()) == ["new"]
    assert house.run("image", "cache", "prune").stderr.endswith("3 MiB freed\n")
    assert list(place.iterdir()) == []
    assert house.json("image", "cache", "prune") == []
    house.close()


@pytest.mark.parametrize("name", ["cache", "pull", "cache/prune"])
def test_images_may_be_called_like_what_the_daemon_offers(house, name):
    house.ok("image", "pull", "fake://small", "--name", name)
    assert house.json("image", "show", name)["name"] == name
    house.ok("image", "delete", name)
    house.close()


def test_bug_in_a_layer_names_the_plugin_and_is_in_the_log(house):
    failure = house.fails("image", "pull", "fake://rotten", code=5)
    assert failure.error.startswith("plugin 'fakes' (fakes 1.0) failed in banger_core.testing")
    assert re.fullmatch(
        r"RuntimeError: a bug in a fake layer \(images\.py, line \d+\)", failure.cause
    )
    assert "Traceback" in house.log()
    house.close()
