"""Checkouts in a real machine, which has no git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(400), pytest.mark.xdist_group("workspaces")]

WHO = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]


def git(cwd, *words, **options):
    return subprocess.run(["git", *WHO, *words], cwd=cwd, check=True, **options)


@pytest.fixture
def repo(tmp_path):
    top = tmp_path / "shop"
    top.mkdir()
    git(top, "init", "-q")
    (top / "two words\nand a line").write_text("odd\n")
    (top / "binary").write_bytes(bytes(range(256)))
    (top / "check").write_text("#!/bin/sh\npwd\ncat two*\n")
    (top / "check").chmod(0o755)
    git(top, "add", "-A")
    git(top, "commit", "-qm", "first")
    return top


def test_run_in_a_checkout(banger, repo):
    done = banger.run("vm", "run", "--rm", str(repo), "--", "./check")
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"/root/shop\nodd\n"


def test_there_and_back(banger, repo):
    banger.ok("vm", "run", "-d", "--name", "web")
    banger.ok("vm", "workspace", "prepare", "web", str(repo), "--to", "/srv/shop")
    assert banger.run(
        "vm", "workspace", "prepare", "web", str(repo), "--to", "/srv/shop"
    ).returncode
    script = (
        "mv binary moved; printf 'more\\n' >> two*; chmod -x check; head -c 99 /dev/urandom > n"
    )
    banger.ok("vm", "exec", "--workdir", "/srv/shop", "web", "--", "sh", "-c", script)
    exported = banger.run("vm", "workspace", "export", "web")
    assert exported.returncode == 0, exported.stderr.decode()
    git(repo, "apply", input=exported.stdout)
    banger.ok("vm", "cp", "web:/srv/shop", str(repo.parent / "there"))
    for name in ("two words\nand a line", "moved", "check", "n"):
        ours, theirs = repo / name, repo.parent / "there" / name
        assert ours.read_bytes() == theirs.read_bytes()
        assert ours.stat().st_mode & 0o100 == theirs.stat().st_mode & 0o100
    assert not (repo / "binary").exists()
    home = Path(banger.state / "vms" / banger.json("vm", "show", "web")["id"])
    assert list(home.glob("workspaces/*"))
    done = banger.run("vm", "exec", "-w", "nowhere", "web", "--", "true")
    assert (done.returncode, b"no directory nowhere" in done.stderr) == (126, True)
    banger.ok("vm", "delete", "--force", "web")
    assert not home.exists()
