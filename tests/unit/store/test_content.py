from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger_core.errors import IntegrityError, NoSpace
from banger_core.store.content import Ingest, blob_path, sweep, write_atomic


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("data", [b"new", "new", [b"n", b"", b"ew"]])
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_replaces_whole_with_the_mode_asked_for(tmp_path, data, mode):
    path = tmp_path / "file"
    path.write_text("old")
    before = os.umask(0o077)
    try:
        write_atomic(path, data, mode)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_not_followed(tmp_path):
    (tmp_path / "target").write_text("safe")
    (tmp_path / "link").symlink_to("target")
    write_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_text() == "safe"
    assert not (tmp_path / "link").is_symlink()


def test_a_failing_producer_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def chunks():
        yield b"new"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomic(path, chunks())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_longest_file_name_works(tmp_path):
    write_atomic(tmp_path / ("x" * 255), b"data")
    assert len(list(tmp_path.iterdir())) == 1


@given(st.lists(st.binary(max_size=50), max_size=5), st.booleans())
def test_ingest_keeps_what_matches(tmp_path_factory, chunks, knows_size):
    root = tmp_path_factory.mktemp("blobs")
    data = b"".join(chunks)
    with Ingest(root, digest_of(data), len(data) if knows_size else None) as ingest:
        for chunk in chunks:
            ingest.write(chunk)
        assert not blob_path(root, digest_of(data)).exists()
        path = ingest.commit()
    assert path.read_bytes() == data
    assert path == blob_path(root, digest_of(data))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("sent", "size", "complaint"),
    [
        (b"right", 4, "longer than announced"),
        (b"right", 6, "shorter than announced"),
        (b"wrong", 5, "does not match"),
        (b"wrong", None, "does not match"),
        (b"", None, "does not match"),
    ],
)
def test_ingest_refuses_other_bytes(tmp_path, sent, size, complaint):
    def take() -> None:
        with Ingest(tmp_path, digest_of(b"right"), size) as ingest:
            ingest.write(sent)
            ingest.commit()

    with pytest.raises(IntegrityError, match=complaint):
        take()
    assert list((tmp_path / "sha256").iterdir()) == []


def test_an_uncommitted_ingest_leaves_nothing(tmp_path):
    with Ingest(tmp_path, digest_of(b"right")) as ingest:
        ingest.write(b"right")
    assert list((tmp_path / "sha256").iterdir()) == []


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256:",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "0" * 64 + "\n",
        "sha512:" + "0" * 64,
        "sha256:../../" + "0" * 58,
        "0" * 64,
    ],
)
def test_a_malformed_digest_reaches_no_path(tmp_path, digest):
    with pytest.raises(IntegrityError, match="malformed"):
        Ingest(tmp_path, digest)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_no_space_leaves_nothing(tmp_path, monkeypatch, code, call):
    path = tmp_path / "file"
    path.write_text("old")

    def full(*_):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(NoSpace, match=str(tmp_path)):
            write_atomic(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare(1)")
def test_a_file_system_that_is_really_full(tmp_path):
    code = (
        "import sys; from pathlib import Path; from banger_core.errors import NoSpace\n"
        "from banger_core.store.content import write_atomic\n"
        "try: write_atomic(Path(sys.argv[1]) / 'f', (b'x' * 4096 for _ in range(100)))\n"
        "except NoSpace: print('no space', list(Path(sys.argv[1]).iterdir()))"
    )
    script = 'mount -t tmpfs -o size=64k none "$1" || exit 77; exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, "sh", str(tmp_path), sys.executable, code],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or done.returncode == 77:
        pytest.skip("no user namespaces here")
    assert done.stdout == "no space []\n"


def test_kill_in_the_middle_leaves_only_what_sweep_removes(tmp_path):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from banger_core.store.content import write_atomic\n"
        "def chunks():\n"
        "    yield b'x' * 100000\n"
        "    os.kill(os.getpid(), 9)\n"
        "write_atomic(Path(sys.argv[1]) / 'file', chunks())"
    )
    (tmp_path / "file").write_text("old")
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert (tmp_path / "file").read_text() == "old"
    assert sweep(tmp_path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
