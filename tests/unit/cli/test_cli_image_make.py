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
