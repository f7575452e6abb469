"""Making images: what is asked of the daemon, and what is refused before."""

from __future__ import annotations

import json
import os

import pytest

from banger_core.testing.fake_daemon import operation

REGISTER = "POST /v1/images/register"


@pytest.fixture
def made(daemon):
    """A daemon that makes whatever is asked for; gives what it was asked."""
    for path in (REGISTER, "POST /v1/images/own/promote"):
        daemon.answers[path] = lambda _: operation(result={"image": {"name": "own"}})

    def asked():
        return next(one.body for one in daemon.asked if one.method == "POST")

    return asked


def test_paths_of_files_are_made_absolute(here, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("--rootfs", "root.ext4", "--kernel", "../vmlinuz", "--modules", "~/m")
    status, out, _ = here("image", "register", "--name", "own", *words)
    assert (status, out) == (0, "own\n")
    assert made() == {
        "name": "own",
        "kernel_ref": "",
        "rootfs": str(tmp_path / "root.ext4"),
        "kernel": str(tmp_path.parent / "vmlinuz"),
        "modules": f"{os.environ['HOME']}/m",
    }


def test_a_kernel_by_name(here, made):
    status, out, _ = here(
        "image", "register", "--name", "own", "--rootfs", "/r", "--kernel-ref", "k", "--json"
    )
    assert (status, json.loads(out)) == (0, {"name": "own"})
    assert made() == {"name": "own", "kernel_ref": "k", "rootfs": "/r"}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "an image has one kernel"),
        (("--kernel", "/k", "--kernel-ref", "k"), "an image has one kernel"),
        (("--kernel-ref", "k", "--modules", "/m"), "--initrd and --modules go with --kernel"),
        (("--kernel-ref", "k", "--initrd", "/m"), "--initrd and --modules go with --kernel"),
    ],
)
def test_the_two_forms_of_kernels_exclude_each_other(here, daemon, words, error):
    status, _, err = here("image", "register", "--name", "own", "--rootfs", "/r", *words)
    assert status == 2
    assert err.startswith(f"error: {error}\n")
    assert not daemon.asked


def test_promote(here, made):
    assert here("image", "promote", "own")[:2] == (0, "own\n")
    assert made() == {}


def test_export(here, daemon, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle = {"file": "/x", "size": 2 << 20, "sha256": "ab"}
    daemon.answers["POST /v1/images/own/export"] = lambda _: operation(result={"bundle": bundle})
    assert here("image", "export", "own", "x.tar") == (0, "ab  x.tar\n", "2 MiB written\n")
    assert daemon.asked[-1].body == {"file": str(tmp_path / "x.tar"), "force": False}
    assert json.loads(here("image", "export", "own", "x.tar", "--json")[1]) == bundle


def test_import(here, daemon, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    daemon.answers["POST /v1/images/import"] = lambda _: operation(result={"image": {"name": "i"}})
    assert here("image", "import", "x.tar", "--sha256", "SHA256:" + "A" * 64)[:2] == (0, "i\n")
    assert daemon.asked[-1].body == {
        "source": str(tmp_path / "x.tar"),
        "sha256": "a" * 64,
        "name": "",
    }
    here("image", "import", "https://example.com/x.tar", "--name", "n")
    assert daemon.asked[-1].body["source"] == "https://example.com/x.tar"


def test_a_digest_that_is_none(here, daemon):
    status, _, err = here("image", "import", "x.tar", "--sha256", "abc")
    assert status == 2
    assert err.startswith("error: --sha256 abc is no digest\n")
    assert not daemon.asked


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (("--script", "s"), {"script": "{}/s"}),
        (("--packages", "./dev"), {"packages": "{}/dev"}),
        (("--packages", "list.txt"), {"packages": "{}/list.txt"}),
        (("--packages", "dev"), {"package_set": "dev"}),
        (("--script", "s", "--memory", "1G", "--disk-size", "4G", "--vcpu", "2"),
         {"script": "{}/s", "memory": 1 << 30, "disk_size": 4 << 30, "vcpu": 2}),
    ],
)  # fmt: skip
def test_build(here, daemon, tmp_path, monkeypatch, words, body):
    monkeypatch.chdir(tmp_path)
    said = {"kind": "output", "lines": ["one\x1b[2J", "two"]}
    daemon.answers["POST /v1/images/build"] = lambda _: operation(
        said, result={"image": {"name": "new"}}
    )
    result = here("image", "build", "--from", "base", "--name", "new", *words)
    assert result == (0, "new\n", "one\\x1b[2J\ntwo\n")
    filled = {key: v.format(tmp_path) if isinstance(v, str) else v for key, v in body.items()}
    nothing = {"vcpu": None, "memory": None, "disk_size": None}
    assert daemon.asked[-1].body == {"base": "base", "name": "new", **nothing, **filled}


@pytest.mark.parametrize("words", [(), ("--script", "s", "--packages", "dev")])
def test_a_build_is_one_thing(here, daemon, words):
    status, _, err = here("image", "build", "--from", "base", "--name", "new", *words)
    assert status == 2
    assert err.startswith("error: a build is one thing\n")
    assert not daemon.asked


def test_sets_of_packages_are_completed():
    from banger_core.cli.image_make import _sets

    assert _sets("") == ["dev", "net", "python", "server"]
    assert _sets("p") == ["python"]
