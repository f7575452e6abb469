"""Copying with the real server of OpenSSH on the other side of a pipe: both ways, whole trees."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from banger_core.client.copy import Options, part_name
from banger_core.client.copy_in import CopyIn
from banger_core.client.copy_out import CopyOut, local_target
from banger_core.client.sftp import Sftp
from banger_core.errors import Interrupted, UsageProblem

SERVER = ["/usr/lib/openssh/sftp-server"]
ODD = [b"two words", b"new\nline", b"\xff\xfe", b"-rf", b"it's", "é".encode(), b"*", b".hidden"]


def send(sources, target, *, stopped=lambda: 0, report=lambda *_: None, **options):
    with Sftp(SERVER, "web", stopped=stopped) as session:
        work = CopyIn(session, "web", Options(**options), report)
        work.send([os.fsencode(one) for one in sources], os.fsencode(target))
    return work.summary


def fetch(sources, target, *, stopped=lambda: 0, report=lambda *_: None, **options):
    with Sftp(SERVER, "web", stopped=stopped) as session:
        work = CopyOut(session, "web", Options(**options), report)
        place = local_target(str(target), many=len(sources) > 1)
        work.fetch([os.fsencode(one) for one in sources], *place)
    return work.summary


WAYS = pytest.mark.parametrize("copy", [send, fetch])


def look(top):
    """Everything below ``top``: kind, mode, time and content by path."""
    found = {}
    for directory, folders, files in os.walk(os.fsencode(top)):
        for name in [*folders, *files]:
            path = directory + b"/" + name
            facts = os.lstat(path)
            if stat.S_ISLNK(facts.st_mode):
                what = os.readlink(path)  # noqa: PTH115  (bytes)
            else:
                content = Path(os.fsdecode(path)).read_bytes() if name in files else b""
                what = (oct(facts.st_mode), int(facts.st_mtime), content)
            found[os.path.relpath(path, os.fsencode(top))] = what
    return found


@pytest.fixture
def tree(tmp_path):
    top = tmp_path / "tree"
    for folder in ("empty", "a/b/c", "closed"):
        (top / folder).mkdir(parents=True)
    for number, name in enumerate(ODD):
        path = Path(os.fsdecode(os.fsencode(top / "a/b") + b"/" + name))
        path.write_bytes(os.urandom(number * 60_000))
        os.utime(path, (1_000_000_000, 1_000_000_000 + number))
    for number in range(300):
        (top / "a/b/c" / f"{number}").write_bytes(b"%d" % number)
    (top / "a/run").write_text("#!/bin/sh\n")
    (top / "a/run").chmod(0o755)
    (top / "closed" / "file").write_text("x")
    (top / "closed" / "file").chmod(0o400)
    (top / "closed").chmod(0o500)
    (top / "link").symlink_to("a/run")
    (top / "nowhere").symlink_to(b"/no such \xff file")
    (top / "up").symlink_to("..")
    for folder in ("a/b", "a", "empty"):
        os.utime(top / folder, (1_100_000_000, 1_100_000_000))
    yield top
    (top / "closed").chmod(0o700)


@WAYS
def test_a_tree_arrives_as_it_is(copy, tree, tmp_path):
    summary = copy([tree], tmp_path / "new")
    assert look(tmp_path / "new") == look(tree)
    assert (summary.failed, summary.skipped, summary.links) == ([], [], 3)
    assert summary.files == 300 + len(ODD) + 2
    # Once more, into what is there already
    copy([f"{tree}/."], tmp_path / "new")
    assert look(tmp_path / "new") == look(tree)


@WAYS
def test_where_a_copy_goes(copy, tmp_path):
    (tmp_path / "file").write_text("1")
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "into").mkdir()
    (tmp_path / "link").symlink_to("into")
    copy([tmp_path / "file"], tmp_path / "name")
    copy([tmp_path / "file", f"{tmp_path}/tree/"], tmp_path / "into")
    copy([f"{tmp_path}/tree/."], f"{tmp_path}/link/")
    assert (tmp_path / "name").read_text() == "1"
    assert sorted(look(tmp_path / "into")) == [b"file", b"sub", b"tree", b"tree/sub"]
    for sources, target in [
        (["file"], "new/"),
        (["file", "tree"], "name"),
        (["file", "tree"], "new"),
    ]:
        with pytest.raises(UsageProblem, match="is not a directory"):
            copy([tmp_path / one for one in sources], f"{tmp_path}/{target}")


@WAYS
def test_what_is_named_is_followed_and_replaced_where_it_is(copy, tmp_path):
    (tmp_path / "real").write_text("new")
    (tmp_path / "source").symlink_to("real")
    (tmp_path / "old").write_text("old")
    (tmp_path / "target").symlink_to("old")
    copy([tmp_path / "source"], tmp_path / "target")
    assert (tmp_path / "old").read_text() == "new"
    assert (tmp_path / "target").is_symlink()


@WAYS
def test_one_that_fails_does_not_stop_the_others(copy, tmp_path):
    (tmp_path / "tree/taken").mkdir(parents=True)
    (tmp_path / "tree/taken/file").write_text("x")
    (tmp_path / "tree/name").write_text("x")
    (tmp_path / "tree/good").write_text("x")
    os.mkfifo(tmp_path / "tree/pipe")
    into = tmp_path / "into"
    (into / "name").mkdir(parents=True)
    (into / "taken").write_text("not a directory")
    summary = copy([f"{tmp_path}/tree/.", tmp_path / "missing"], into)
    assert (into / "good").read_text() == "x"
    reasons = {Path(path).name: reason for path, reason in summary.failed}
    assert set(reasons) == {"taken", "name", "missing"}
    assert reasons["missing"].lower() == "no such file or directory"
    assert "directory" in reasons["taken"]
    assert "a directory has its name" in reasons["name"]
    assert [Path(path).name for path in summary.skipped] == ["pipe"]
    assert sorted(path.name for path in into.iterdir()) == ["good", "name", "taken"], (
        "no part is left"
    )


@WAYS
@pytest.mark.parametrize("size", [0, 1, 131072, 300_000, 20 << 20])
def test_files_of_all_sizes_are_equal_to_the_byte(copy, tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    seen = []
    summary = copy([tmp_path / "file"], tmp_path / "new", report=lambda *told: seen.append(told))
    assert (tmp_path / "new").read_bytes() == data
    assert (summary.files, summary.copied) == (1, size)
    if size:
        assert seen[-1][1:] == (size, size)


@WAYS
def test_holes_stay_holes(copy, tmp_path):
    with (tmp_path / "file").open("wb") as file:
        file.write(b"begin")
        file.truncate(30 << 20)
        file.seek(10 << 20)
        file.write(b"middle")
    copy([tmp_path / "file"], tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == (tmp_path / "file").read_bytes()
    assert (tmp_path / "new").stat().st_blocks * 512 < 2 << 20


@WAYS
def test_special_bits_come_only_when_asked_for(copy, tmp_path):
    (tmp_path / "tool").write_text("x")
    (tmp_path / "tool").chmod(0o6755)
    copy([tmp_path / "tool"], tmp_path / "plain")
    copy([tmp_path / "tool"], tmp_path / "kept", special=True)
    assert stat.S_IMODE((tmp_path / "plain").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o6755


def interrupt(copy, source, target, **options):
    """Interrupt a copy when a part of the file has arrived."""
    size = source.stat().st_size
    done = []
    with pytest.raises(Interrupted):
        copy(
            [source],
            target,
            report=lambda _what, have, _size: done.append(have),
            stopped=lambda: 2 if done and done[-1] >= size // 3 else 0,
            **options,
        )


@WAYS
def test_an_interrupted_copy_goes_on_where_it_was(copy, tmp_path):
    source, into = tmp_path / "file", tmp_path / "into"
    into.mkdir()
    source.write_bytes(os.urandom(24 << 20))
    interrupt(copy, source, into)
    (part,) = into.iterdir()
    assert part.name.endswith(".part")
    assert stat.S_IMODE(part.stat().st_mode) == 0o600
    have = part.stat().st_size
    assert have >= 8 << 20
    summary = copy([source], into)
    assert summary.resumed >= have
    assert summary.copied + summary.resumed == 24 << 20
    assert [path.name for path in into.iterdir()] == ["file"]
    assert (into / "file").read_bytes() == source.read_bytes()


@WAYS
def test_without_resume_nothing_is_left(copy, tmp_path):
    source, into = tmp_path / "file", tmp_path / "into"
    into.mkdir()
    source.write_bytes(os.urandom(24 << 20))
    interrupt(copy, source, into, resume=False)
    assert list(into.iterdir()) == []


@WAYS
@pytest.mark.parametrize("change", ["part", "source"])
def test_a_part_of_something_else_is_not_continued(copy, tmp_path, change):
    source, into = tmp_path / "file", tmp_path / "into"
    into.mkdir()
    source.write_bytes(os.urandom(24 << 20))
    interrupt(copy, source, into)
    (part,) = into.iterdir()
    if change == "part":
        with part.open("r+b") as file:
            file.seek(-10, os.SEEK_END)
            file.write(b"otherwise!")
    else:
        source.write_bytes(os.urandom(24 << 20))
        os.utime(source, (1, 1))
    assert copy([source], into).resumed == 0
    assert (into / "file").read_bytes() == source.read_bytes()


def test_links_here_are_followed_when_asked_for(tree, tmp_path):
    (tree / "round").symlink_to(".")
    (tree / "nowhere").unlink()
    (tree / "up").unlink()
    summary = send([tree], tmp_path / "new", follow=True)
    assert (tmp_path / "new/link").read_text() == "#!/bin/sh\n"
    assert not (tmp_path / "new/link").is_symlink()
    assert [(Path(path).name, why) for path, why in summary.failed] == [
        ("round", "a link leads to a directory that it lies in")
    ]


def test_a_link_in_the_destination_is_never_gone_through(tmp_path):
    """A guest's tree first holds a link, then a directory of the same name."""
    outside, into = tmp_path / "outside", tmp_path / "into"
    outside.mkdir()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/trap").symlink_to(outside)
    (tmp_path / "tree/file").symlink_to(outside / "file")
    fetch([tmp_path / "tree"], into)
    for name in ("trap", "file"):
        (tmp_path / "tree" / name).unlink()
    (tmp_path / "tree/trap").mkdir()
    (tmp_path / "tree/trap/evil").write_text("x")
    (tmp_path / "tree/file").write_text("mine")
    summary = fetch([f"{tmp_path}/tree/."], into)
    assert list(outside.iterdir()) == []
    assert [Path(path).name for path, _ in summary.failed] == ["trap"]
    assert (into / "file").read_text() == "mine"
    assert not (into / "file").is_symlink()


def test_a_planted_part_is_not_written_through(tmp_path):
    source, into = tmp_path / "file", tmp_path / "into"
    into.mkdir()
    source.write_text("data")
    os.utime(source, (7, 7))
    part = into / os.fsdecode(part_name("web", os.fsencode(source), 4, 7, b"file"))
    part.symlink_to(tmp_path / "outside")
    assert fetch([source], into).failures == 1
    assert not (tmp_path / "outside").exists()
    part.unlink()
    (tmp_path / "outside").write_text("dear")
    part.hardlink_to(tmp_path / "outside")
    assert "in the way" in fetch([source], into).failed[0][1]
    assert (tmp_path / "outside").read_text() == "dear"


def test_a_device_here_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageProblem, match="neither a file nor a directory"):
        local_target(str(tmp_path / "pipe"), many=False)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageProblem, match="neither a file nor a directory in the machine"):
        send([tmp_path / "file"], tmp_path / "pipe")


def test_files_without_a_size_are_read_to_their_end(tmp_path):
    fetch(["/proc/self/status"], tmp_path / "status")
    assert (tmp_path / "status").read_text().startswith("Name:")


def test_streams_carry_one_file(tmp_path):
    data, pieces = os.urandom(700_000), []
    rest = [data[at : at + 30_000] for at in range(0, len(data), 30_000)]
    with Sftp(SERVER, "web") as session:
        work = CopyIn(session, "web", Options(), lambda *_: None)
        work.stream(os.fsencode(tmp_path / "new"), lambda _: rest.pop(0) if rest else b"")
        CopyOut(session, "web", Options(), lambda *_: None).stream(
            os.fsencode(tmp_path / "new"), pieces.append
        )
    assert (tmp_path / "new").read_bytes() == b"".join(pieces) == data
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_sync_puts_files_on_the_disk(tmp_path):
    (tmp_path / "file").write_text("x")
    send([tmp_path / "file"], tmp_path / "there", sync=True)
    fetch([tmp_path / "there"], tmp_path / "back", sync=True)
    assert (tmp_path / "back").read_text() == "x"
