"""Images: their configuration for people, references with paths, and the caches of sources."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from banger_core.testing.fake_daemon import operation
from banger_core.testing.install import install_plugin

PRUNE = "POST /v1/images/cache/prune"
PLUGIN = """\
from banger_core.api import ImageSource, hookimpl
BANGER_API = 1
@hookimpl
def banger_image_sources():
    yield ImageSource(
        name="shelf",
        summary="Images in files",
        load="a.b:C",
        schemes=("shelf", "shelf-net"),
        path_schemes=("shelf",),
    )
"""
CONFIG = {
    "env": ["PATH=/bin", "X=a b"],
    "working_dir": "/srv",
    "user": "app",
    "entrypoint": ["tini", "--"],
    "cmd": ["sh", "-c", "echo $X"],
    "labels": {"b": "2", "a": "1\x1b[2J\nenv  FAKE=1"},
}
IMAGE = {
    "name": "app:1",
    "platform": "linux/amd64",
    "created_at": 1.0,
    "disk_size": 1 << 30,
    "config": CONFIG,
    "used_by": [],
}
ITEMS = [
    {"source": "oci", "name": "sha256:bb", "size": 3 << 20, "used_at": 200.0, "partial": False},
    {"source": "oci", "name": "sha256:aa", "size": 1 << 20, "used_at": 100.0, "partial": True},
]


@pytest.fixture
def shelf(home, tmp_path, monkeypatch):
    """A plugin whose references are paths; returns the directory that commands run in."""
    site, work = tmp_path / "site", tmp_path / "work" / "deep"
    site.mkdir()
    work.mkdir(parents=True)
    install_plugin(site, "shelf", source=PLUGIN)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("BANGER_PLUGINS", "shelf")
    monkeypatch.chdir(work)
    yield work
    sys.modules.pop("shelf_shelf_plugin", None)


def test_configuration_is_shown_and_cannot_drive_the_terminal(here, daemon):
    daemon.answers["GET /v1/images/app:1"] = lambda _: IMAGE
    lines = here("image", "show", "app:1")[1].splitlines()
    assert lines[-9:] == [
        "used_by      -",
        "env          PATH=/bin",
        "             X=a b",
        "working_dir  /srv",
        "user         app",
        "entrypoint   tini --",
        "cmd          sh -c 'echo $X'",
        "labels       a=1\\x1b[2J\\nenv  FAKE=1",
        "             b=2",
    ]
    assert "platform     linux/amd64" in lines
    out = here("image", "show", "app:1", "--json")[1]
    assert json.loads(out) == IMAGE
    assert "\x1b" not in out


def test_image_without_configuration_is_shown_too(here, daemon):
    daemon.answers["GET /v1/images/app:1"] = lambda _: {**IMAGE, "config": {}}
    lines = here("image", "show", "app:1")[1].splitlines()
    assert lines[-6:] == [
        *("env          -", "working_dir  -", "user         -"),
        *("entrypoint   -", "cmd          -", "labels       -"),
    ]


def asked_for(here, daemon, *words):
    """The reference that reaches the daemon."""
    daemon.answers["POST /v1/images/pull"] = lambda _: operation(result={"image": IMAGE})
    daemon.answers["POST /v1/vms"] = lambda _: operation(result={"vm": {"name": "web"}})
    status, _, err = here(*words)
    assert status == 0, err
    body = daemon.asked[-1].body
    return body["ref"] if "ref" in body else body["request"]["image"]


@pytest.mark.parametrize(
    "words", [("image", "pull"), ("vm", "create"), ("vm", "run", "-d")], ids=" ".join
)
@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("shelf://dir", "shelf://{work}/dir"),
        ("shelf://./dir:tag", "shelf://{work}/dir:tag"),
        ("shelf://../x/y.tar:app:1", "shelf://{above}/x/y.tar:app:1"),
        ("shelf://~/dir", "shelf://{home}/dir"),
        ("shelf:///dir/../dir", "shelf:///dir/../dir"),
        ("SHELF://a b", "SHELF://{work}/a b"),
        ("shelf-net://host/dir", "shelf-net://host/dir"),
        ("nosuch://dir", "nosuch://dir"),
        ("dir", "dir"),
    ],
)
def test_paths_in_references_are_those_of_the_command(here, daemon, shelf, words, typed, meant):
    places = {"work": shelf, "above": shelf.parent, "home": os.environ["HOME"]}
    assert asked_for(here, daemon, *words, typed) == meant.format(**places)


def test_images_made_from_a_path_are_found_by_it(here, daemon, shelf):
    daemon.answers["GET /v1/images/*"] = lambda _: IMAGE
    daemon.answers["DELETE /v1/images/*"] = lambda _: operation()
    for verb in ("show", "delete"):
        assert here("image", verb, "shelf://dir:1")[0] == 0
        assert daemon.asked[-1].path == f"/v1/images/shelf://{shelf}/dir:1"


def test_disabled_plugin_has_no_paths(here, daemon, shelf, monkeypatch):
    monkeypatch.setenv("BANGER_DISABLE", "shelf")
    assert asked_for(here, daemon, "image", "pull", "shelf://dir") == "shelf://dir"


def test_path_below_a_directory_that_is_gone_is_refused(here, daemon, shelf):
    Path.cwd().rmdir()
    status, _, err = here("image", "pull", "shelf://dir")
    os.chdir("/")
    assert status == 4
    assert "cause: the directory that this command runs in is gone" in err
    assert not daemon.asked


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (("prune",), {"keep": 0, "dry_run": False}),
        (("prune", "--keep", "0"), {"keep": 0, "dry_run": False}),
        (("prune", "--keep", "2G", "--dry-run"), {"keep": 2 << 30, "dry_run": True}),
        (("list",), {"keep": 0, "dry_run": True}),
        (("ls",), {"keep": 0, "dry_run": True}),
    ],
)
def test_what_is_kept_is_listed_and_pruned(here, daemon, words, body):
    daemon.answers[PRUNE] = lambda _: operation(result={"items": ITEMS})
    status, out, err = here("image", "cache", *words)
    assert (status, daemon.asked[-1].body) == (0, body)
    head, first, second = out.splitlines()
    assert head.split() == ["SOURCE", "SIZE", "USED", "NAME"]
    assert first.startswith("oci     1 MiB")
    assert first.endswith("  sha256:aa (partial)")
    assert second.endswith("  sha256:bb")
    ends = {"list": "can be freed: banger image cache prune", "ls": "can be freed"}
    expected = ends.get(words[0], "would be freed" if body["dry_run"] else "freed")
    assert err.startswith(f"4 MiB {expected}")
    told = json.loads(here("image", "cache", *words, "--json")[1])
    assert told == sorted(ITEMS, key=lambda item: item["used_at"])


def test_pruning_quietly_says_nothing(here, daemon):
    daemon.answers[PRUNE] = lambda _: operation(
        {"kind": "notice", "text": "odd is left out"}, result={"items": ITEMS}
    )
    assert here("image", "cache", "prune", "-q") == (0, "", "")


def test_nothing_to_prune_is_said(here, daemon):
    daemon.answers[PRUNE] = lambda _: operation(result={"items": []})
    assert here("image", "cache", "prune") == (0, "", "nothing is kept that is not in use\n")
    assert here("image", "cache", "prune", "--json") == (0, "[]\n", "")


def test_keep_is_a_size(here, daemon):
    status, _, err = here("image", "cache", "prune", "--keep", "much")
    assert status == 2
    assert err.startswith("error: --keep much: 'much' is not a size")
    assert not daemon.asked
