"""``vm cp`` with a real machine: both ways, odd names, and an interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(900), pytest.mark.xdist_group("vm-cp")]

ODD = [b"two words", b"new\nline", b"\xff\xfe", b"-rf", b"it's $HOME", b".hidden"]


def look(top):
    """Every path below ``top`` with its kind and mode, its time, and its content."""
    found = {}
    for directory, folders, files in os.walk(os.fsencode(top)):
        for name in [*folders, *files]:
            path = directory + b"/" + name
            facts = os.lstat(path)
            link = os.readlink(path) if os.path.islink(path) else b""  # noqa: PTH114, PTH115
            data = b"" if name in folders or link else Path(os.fsdecode(path)).read_bytes()
            when = 0 if link else int(facts.st_mtime)
            found[os.path.relpath(path, os.fsencode(top))] = (facts.st_mode, when, link, data)
    return found


def test_copies_of_files_and_trees(banger, tmp_path):
    banger.ok("vm", "run", "-d", "--name", "web")
    file, tree = tmp_path / "file", tmp_path / "tree"
    file.write_bytes(os.urandom(20_000_000))
    (tree / "a/empty").mkdir(parents=True)
    for name in ODD:
        Path(os.fsdecode(os.fsencode(tree / "a") + b"/" + name)).write_bytes(name)
    (tree / "a/run").write_text("#!/bin/sh\n")
    (tree / "a/run").chmod(0o755)
    (tree / "link").symlink_to("a/run")
    (tree / "broken").symlink_to(b"/no \xff where")
    os.utime(tree / "a", (1_000_000_000, 1_000_000_000))

    banger.ok("vm", "cp", str(file), "web:/root/")
    banger.ok("vm", "cp", "web:file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == file.read_bytes()

    banger.ok("vm", "cp", str(tree), "web:/srv/tree")
    banger.ok("vm", "cp", "web:/srv/tree", str(tmp_path / "again"))
    assert look(tmp_path / "again") == look(tree)
    owner = banger.ok("vm", "exec", "web", "--", "stat", "-c", "%U %a", "/srv/tree/a/run")
    assert owner == "root 755\n"
    assert banger.ok("vm", "cp", "web:/etc/hostname", "-") == "web\n"

    assert interrupted(banger, file, "web:/srv/resumed", lambda: parts_there(banger))
    summary = json.loads(banger.ok("vm", "cp", "--json", str(file), "web:/srv/resumed"))
    assert summary["resumed"] > 0
    assert summary["resumed"] + summary["copied"] == 20_000_000
    assert interrupted(banger, "web:/srv/resumed", tmp_path / "r", lambda: parts_here(tmp_path))
    assert not (tmp_path / "r").exists()
    summary = json.loads(banger.ok("vm", "cp", "--json", "web:/srv/resumed", str(tmp_path / "r")))
    assert summary["resumed"] > 0
    assert (tmp_path / "r").read_bytes() == file.read_bytes()
    assert not parts_here(tmp_path)
    assert not parts_there(banger)


def parts_here(directory):
    return sum(path.stat().st_size for path in directory.glob(".banger-*.part"))


def parts_there(banger):
    script = "cat /srv/.banger-*.part 2>/dev/null | wc -c"
    return int(banger.ok("vm", "exec", "web", "--", "sh", "-c", script))


def interrupted(banger, source, target, arrived):
    """Interrupt a copy when something of it has arrived; say whether it told how to go on."""
    with banger.popen("vm", "cp", str(source), str(target), stderr=subprocess.PIPE) as child:
        # In small steps: while it is looked at, it does not come to its end
        deadline = time.monotonic() + 200
        child.send_signal(signal.SIGSTOP)
        while not arrived():
            assert time.monotonic() < deadline
            child.send_signal(signal.SIGCONT)
            time.sleep(0.1)
            child.send_signal(signal.SIGSTOP)
        child.send_signal(signal.SIGINT)
        child.send_signal(signal.SIGCONT)
        _, err = child.communicate(timeout=200)
    assert child.returncode == 130, err
    return b"goes on where it stopped" in err
