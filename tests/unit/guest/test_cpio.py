from __future__ import annotations

import shutil
import subprocess

import pytest

from banger_core.guest.cpio import CpioWriter


def sample() -> bytes:
    archive = CpioWriter()
    archive.file("a/b/c.txt", b"hello", 0o755)
    archive.file("/a/b/empty", b"")
    archive.directory("a/b")
    archive.directory("locked", 0o700)
    archive.symlink("a/link", "b/c.txt")
    archive.device("dev/null", 1, 3, 0o666)
    return archive.finish()


@pytest.mark.skipif(not shutil.which("cpio"), reason="cpio is the judge")
def test_cpio_reads_it():
    done = subprocess.run(
        ["cpio", "-itv", "--quiet", "--numeric-uid-gid"],
        input=sample(),
        capture_output=True,
        check=True,
        env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
    )
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    assert [(words[0], words[-1]) for words in lines] == [
        ("drwxr-xr-x", "a"),
        ("drwxr-xr-x", "a/b"),
        ("-rwxr-xr-x", "a/b/c.txt"),
        ("-rw-r--r--", "a/b/empty"),
        ("drwx------", "locked"),
        ("lrwxrwxrwx", "b/c.txt"),
        ("drwxr-xr-x", "dev"),
        ("crw-rw-rw-", "dev/null"),
    ]
    assert all(words[2:4] == ["0", "0"] for words in lines)


@pytest.mark.skipif(not shutil.which("cpio"), reason="cpio is the judge")
def test_content_survives(tmp_path):
    subprocess.run(["cpio", "-id", "--quiet", "a/*"], input=sample(), cwd=tmp_path, check=True)
    assert (tmp_path / "a/link").read_bytes() == b"hello"


def test_same_input_gives_same_bytes_in_whole_blocks():
    assert sample() == sample()
    assert len(sample()) % 512 == 0
    assert b"TRAILER!!!" in sample()[-512:]
