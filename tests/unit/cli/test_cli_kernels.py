"""Kernels: where imports come from, and what is shown of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from banger_core.cli import kernel
from banger_core.config.paths import Paths
from banger_core.testing.fake_daemon import operation
from banger_core.testing.stored import store_names

IMPORT = "POST /v1/kernels/import"
ENTRY = {
    "name": "mine",
    "version": "6.1.0-test",
    "distro": "debian",
    "architecture": "amd64",
    "source": "file:///a\x1b[2J",
    "problem": "",
    "here": True,
}
FACTS = {
    "features": {"virtio_blk": "module", "vsock": "missing"},
    "evidence": "configuration file",
    "misses": ["no vsock: no channel", "no pvh: no entry"],
}


@pytest.fixture
def taken(here, daemon, tmp_path, monkeypatch):
    """Import with these words in a directory of its own; returns what reaches the daemon."""
    daemon.answers[IMPORT] = lambda _: operation(
        {"kind": "notice", "text": "a guest will miss something"}, result={"kernel": ENTRY}
    )
    monkeypatch.chdir(tmp_path)

    def taken(*words):
        status, out, err = here("kernel", "import", "mine", *words)
        assert (status, out) == (0, "mine\n"), err
        assert "a guest will miss something" in err
        body = dict(daemon.asked[-1].body)
        assert body.pop("name") == "mine"
        return body

    return taken


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (("--from", "dir"), {"directory": "{here}/dir"}),
        (("--kernel", "./a/../bzImage"), {"kernel": "{here}/bzImage"}),
        (
            ("--kernel", "/k", "--initrd", "i", "--modules", "~/m", "--config", "c"),
            {"kernel": "/k", "initrd": "{here}/i", "modules": "{home}/m", "config": "{here}/c"},
        ),
        (("--boot", "6.1.0-56-cloud-amd64"), {"boot": "6.1.0-56-cloud-amd64"}),
        (("--deb", "a.deb", "--deb", "/b.deb"), {"packages": ["{here}/a.deb", "/b.deb"]}),
        (("--force", "--from", "/d"), {"directory": "/d", "force": True}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_paths_are_those_of_the_command(taken, words, body, tmp_path):
    places = {"here": tmp_path, "home": os.environ["HOME"]}
    expected = {
        key: [part.format(**places) for part in value]
        if isinstance(value, list)
        else (value.format(**places) if isinstance(value, str) else value)
        for key, value in body.items()
    }
    assert taken(*words) == {"boot": "", "packages": [], "force": False, **expected}


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--from", "a", "--boot", "b"),
        ("--kernel", "a", "--deb", "b"),
        ("--deb", "a", "--modules", "b"),
        ("--boot", "a", "--config", "b"),
    ],
    ids=" ".join,
)
def test_one_origin_is_asked_for_before_the_daemon_is(here, daemon, words):
    status, out, err = here("kernel", "import", "mine", *words)
    assert (status, out) == (2, "")
    assert "try:   banger kernel import mine --kernel" in err
    assert not daemon.asked


def test_an_import_speaks_json(here, daemon):
    daemon.answers[IMPORT] = lambda _: operation(result={"kernel": ENTRY})
    status, out, err = here("kernel", "import", "mine", "--from", "/d", "--json")
    assert (status, json.loads(out), err) == (0, ENTRY, "")


def test_a_kernel_is_shown_with_what_it_says_of_itself(here, daemon):
    daemon.answers["GET /v1/kernels/mine"] = lambda _: {**ENTRY, "facts": FACTS}
    status, out, _ = here("kernel", "show", "mine")
    assert status == 0
    assert daemon.asked[-1].query == {}
    assert out.splitlines()[-5:] == [
        "features      virtio_blk: module",
        "              vsock: missing",
        "known from    configuration file",
        "guests miss   no vsock: no channel",
        "              no pvh: no entry",
    ]
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("problems", "status", "said"),
    [([], 0, "ok"), (["vmlinux is odd", "modules lack one"], 1, "vmlinux is odd")],
)
def test_what_verifying_found_is_the_exit_status(here, daemon, problems, status, said):
    view = {**ENTRY, "facts": None, "problems": problems}
    daemon.answers["GET /v1/kernels/mine"] = lambda _: view
    found, out, _ = here("kernel", "show", "mine", "--verify")
    assert (found, daemon.asked[-1].query) == (status, {"verify": "1"})
    assert f"verified      {said}" in out
    found, out, _ = here("kernel", "show", "mine", "--verify", "--json")
    assert (found, json.loads(out)) == (status, view)


PRESS_TAB = """
source <(banger completion bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_banger banger
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("kernel show m", ["mine", "more"]),
        ("kernel rm mine mo", ["more"]),
        ("kernel pull new-c", ["new-cloud"]),
        ("kernel pull x", [""]),
        ("image pull --kernel-ref m", ["mine", "more"]),
        ("vm run --kernel-ref new", ["new-cloud", "new-rt"]),
        ("vm create --kernel-ref mo", ["more"]),
        ("kernel import --b", ["--boot"]),
    ],
)
def test_bash_completes_the_names_of_kernels(home, daemon, words, offered):
    def kernels(asked):
        names = ["new-cloud", "new-rt"] if asked.query.get("available") else ["mine", "more"]
        return {"kernels": [{**ENTRY, "name": name} for name in names]}

    daemon.answers["GET /v1/kernels"] = kernels
    store_names(Paths.from_environment(), kernels=["mine", "more"])
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", PRESS_TAB, "bash", "banger", *words.split()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PATH": programs},
    )
    assert (done.stdout.split("\n")[:-1], done.stderr) == (offered, "")


def test_installed_releases_are_completed(monkeypatch):
    names = [Path("/boot/vmlinuz-6.2"), Path("/boot/vmlinuz-6.1-a"), Path("/boot/vmlinuz-5")]
    monkeypatch.setattr(Path, "glob", lambda *_: names)
    assert kernel._installed("6.") == ["6.1-a", "6.2"]
