"""Nothing outside the target is touched: every system call with a path is looked at."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from oci_archives import (
    Blob,
    build_command,
    device,
    directory,
    file,
    gnu_name,
    hardlink,
    pax,
    symlink,
    tar,
    write_job,
)

import banger_core

pytestmark = pytest.mark.timeout(300)

MARK = b"bait-4f1c"
"""In every name of the images, and in no other name on this host."""

_CALL = re.compile(r"^\d+ +(\w+)\((.*)$")
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_TMPFILE")
_CHANGES = frozenset(
    "mkdir mkdirat mknod mknodat unlink unlinkat rmdir rename renameat renameat2 link linkat "
    "symlink symlinkat truncate chmod fchmodat fchmodat2 chown lchown fchownat utime utimes "
    "utimensat futimesat setxattr lsetxattr removexattr lremovexattr mount umount2 chroot "
    "pivot_root creat open_tree move_mount bind connect".split()
)


def victim(home):
    """A directory that the images aim at: its name is theirs, its content must stay."""
    place = home / MARK.decode()
    place.mkdir()
    (place / "secret").write_text("secret")
    return place


def traced(archives, home):
    """Build the archives under strace; return what was said and every call that has a path."""
    job, image = write_job([Blob.of(one) for one in archives], home)
    log = home / "strace.log"
    argv = ["strace", "-f", "-qq", "-s", "8192", "-e", "trace=%file,%net", "-o", str(log)]
    done = subprocess.run(
        [*argv, "--", *build_command(job)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    calls = [
        found.groups() for line in log.read_text().splitlines() if (found := _CALL.match(line))
    ]
    assert len(calls) > 100
    return json.loads(done.stdout), image, calls


def check_calls(calls, home, image):
    package = Path(banger_core.__file__).parents[1]
    readable = (
        sys.prefix, sys.base_prefix, str(package), str(Path(__file__).parent),
        "/usr/", "/lib", "/bin", "/sbin", "/proc/",
        "/sys/", "/dev/", "/etc/", str(home / "blobs"), str(home / "job.json"), str(image.parent),
    )  # fmt: skip
    for name, rest in calls:
        assert MARK.decode() not in rest, (name, rest)
        paths = [path for path in _PATH.findall(rest)[: 1 + (name in _CHANGES)] if path]
        changes = name in _CHANGES or _WRITES.search(rest)
        for path in paths:
            if changes:
                assert Path(path).parent == image.parent or path == "/dev/null", (name, rest)
            elif name.startswith("open") and " = -1 " not in rest:
                real = path if path.startswith("/") else f"{Path.cwd()}/{path}"
                assert real.startswith(readable), (name, rest)


def test_an_image_that_aims_at_the_host_touches_nothing_of_it(tmp_path):
    place = bytes(victim(tmp_path))
    climb = b"../" * 20
    lower = tar(
        directory(b"./"), directory(MARK), symlink(MARK + b"-out", place),
        symlink(MARK + b"-up", climb + place[1:]), symlink(MARK + b"-root", b"/"),
        symlink(MARK + b"-self", b"/proc/self/root" + place), file(place, b"a file in its place"),
        device(MARK + b"-mem", 1, 1), device(MARK + b"-disk", 254, 0, b"4"),
    )  # fmt: skip
    upper = tar(
        file(MARK + b"-out/secret", b"owned"), file(MARK + b"-up/secret", b"owned"),
        file(MARK + b"-root" + place + b"/new", b"owned"), file(MARK + b"-self/secret", b"owned"),
        hardlink(MARK + b"-h", MARK + b"-out/secret"), file(MARK + b"-out/.wh.secret"),
        file(MARK + b"-up/.wh..wh..opq"), file(MARK + b"-mem/x", b"owned"),
        gnu_name(MARK + b"\ndump /etc/passwd " + place + b"\n"), file(b"s", b"x"),
        pax(path=MARK + b"\xff`touch " + MARK + b"`"), file(b"s", b"x"),
    )  # fmt: skip

    said, image, calls = traced([lower, upper], tmp_path)

    assert "error" not in said, said
    check_calls(calls, tmp_path, image)
    assert [path.name for path in image.parent.iterdir()] == ["root.ext4"]
    assert [(path.name, path.read_text()) for path in Path(place.decode()).iterdir()] == [
        ("secret", "secret")
    ]


def test_an_image_that_is_refused_touches_nothing_either(tmp_path):
    place = bytes(victim(tmp_path))
    archive = tar(file(MARK, b"x"), file(b"../" * 20 + place[1:] + b"/secret", b"owned"))

    said, image, calls = traced([archive], tmp_path)

    assert said["error"] == "HostileInput"
    check_calls(calls, tmp_path, image)
    assert list(image.parent.iterdir()) == []
    assert (Path(place.decode()) / "secret").read_text() == "secret"


def test_the_check_itself_would_notice(tmp_path):
    """A build that followed one link would fail the first test: so its rules have teeth."""
    image = tmp_path / "target" / "root.ext4"
    for call in (
        ("openat", f'AT_FDCWD, "{tmp_path}/{MARK.decode()}/secret", O_RDONLY) = 3'),
        ("openat", 'AT_FDCWD, "/etc/cron.d/x", O_WRONLY|O_CREAT, 0666) = 3'),
        ("unlink", f'"{tmp_path}/other") = 0'),
        ("rename", f'"{image}.partial", "{tmp_path}/elsewhere") = 0'),
        ("openat", 'AT_FDCWD, "/root/.ssh/id_ed25519", O_RDONLY) = 3'),
    ):
        with pytest.raises(AssertionError):
            check_calls([call], tmp_path, image)
    check_calls([("rename", f'"{image}.partial", "{image}") = 0')], tmp_path, image)
