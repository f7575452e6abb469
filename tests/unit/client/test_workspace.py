"""Checkouts into a machine and patches out of it: real git, and OpenSSH's own server of SFTP."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from banger_core.client.checkout import Choice, look, names_of
from banger_core.client.sftp import Sftp
from banger_core.client.workspace import Workspaces, default_directory
from banger_core.errors import BangerError, Conflict, NotFound, UsageProblem

SERVER = ["/usr/lib/openssh/sftp-server"]
ODD = "two words\nand a line"


def sh(cwd, *words, **options):
    done = subprocess.run(["git", *words], cwd=cwd, capture_output=True, check=False, **options)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def content(top):
    """Every file below ``top`` but git's own: what it is, whether it runs, what is in it."""
    found = {}
    for path in Path(top).rglob("*"):
        name = path.relative_to(top)
        if ".git" in name.parts or (path.is_dir() and not path.is_symlink()):
            continue
        runs = bool(path.lstat().st_mode & 0o100)
        what = path.readlink() if path.is_symlink() else (runs, path.read_bytes())
        found[os.fsencode(name)] = what
    return found


@pytest.fixture(autouse=True)
def people(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "somebody@example.org")


@pytest.fixture
def repo(tmp_path):
    top = tmp_path / "my repo %41"
    top.mkdir()
    sh(top, "init", "-q", "-b", "trunk")
    (top / "a").mkdir()
    (top / "a" / "text").write_text("one\ntwo\nthree\nfour\nfive\n")
    (top / "a" / "run").write_text("#!/bin/sh\n")
    (top / "a" / "run").chmod(0o755)
    (top / "binary").write_bytes(bytes(range(256)) * 20)
    (top / "dos").write_bytes(b"x\r\ny\r\n")
    (top / ".gitattributes").write_text("dos text eol=crlf\n*.lfs filter=lfs\n")
    (top / "big.lfs").write_text("content\n")
    (top / ".gitignore").write_text("*.o\n")
    (top / ODD).write_text("odd")
    (top / os.fsdecode(b"\xff\xfe")).write_text("not utf-8")
    (top / "link").symlink_to("a/text")
    (top / "gone").write_text("to be removed")
    sh(top, "add", "-A")
    sh(top, "-c", "filter.lfs.clean=cat", "commit", "-qm", "first")
    return top


@pytest.fixture
def guest(tmp_path, monkeypatch):
    """The machine's home: where its server of SFTP begins."""
    home = tmp_path / "guest"
    home.mkdir()
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def spaces(tmp_path):
    (tmp_path / "vm").mkdir(mode=0o700)
    return Workspaces(tmp_path / "vm", "web")


def prepare(spaces, repo, directory="work", **choice):
    with Sftp(SERVER, "web") as session:
        return spaces.prepare(session, look(repo, Choice(**choice)), directory, lambda *_: None)


def export(spaces, directory="", base=""):
    with Sftp(SERVER, "web") as session:
        return spaces.export(session, spaces.find(directory), lambda *_: None, base=base)


def test_what_git_knows_goes_in_as_it_is_now(repo, guest, spaces):
    (repo / "a" / "text").write_text("changed here\n")
    (repo / "gone").unlink()
    (repo / "new").write_text("not known")
    (repo / "junk.o").write_text("ignored")
    before = sh(repo, "status", "--porcelain", "-z")
    prepare(spaces, repo)
    expected = content(repo)
    for name in (b"new", b"junk.o"):
        del expected[name]
    assert content(guest / "work") == expected
    assert sh(repo, "status", "--porcelain", "-z") == before
    # A repository of its own: the branch, one commit, what was changed here, and nothing else
    assert sh(guest / "work", "rev-parse", "HEAD") == sh(repo, "rev-parse", "HEAD")
    assert sh(guest / "work", "rev-list", "--count", "HEAD") == b"1\n"
    assert sh(guest / "work", "branch", "--show-current") == b"trunk\n"
    assert sh(guest / "work", "remote") == b""
    changed = sh(guest / "work", "status", "--porcelain")
    assert b" M a/text" in changed
    assert b" D gone" in changed


def test_untracked_files_go_in_when_asked(repo, guest, spaces):
    (repo / "new").write_text("not known")
    (repo / "junk.o").write_text("ignored")
    prepare(spaces, repo, untracked=True)
    expected = content(repo)
    del expected[b"junk.o"]
    assert content(guest / "work") == expected


def test_nothing_of_the_configuration_goes_in(repo, guest, spaces):
    sh(repo, "remote", "add", "origin", "https://user:token@example.org/secret.git")
    (repo / ".git" / "hooks" / "post-checkout").write_text("#!/bin/sh\ntouch /tmp/ran\n")
    (repo / ".git" / "hooks" / "post-checkout").chmod(0o755)
    prepare(spaces, repo)
    for path in (guest / "work" / ".git").rglob("*"):
        assert not path.is_file() or b"token" not in path.read_bytes()
    assert not (guest / "work" / ".git" / "hooks").exists()


def change(work):
    """What somebody does in a machine."""
    (work / "a" / "text").rename(work / "moved")
    (work / "a" / "run").chmod(0o644)
    (work / "binary").write_bytes(bytes(range(255, -1, -1)) * 20)
    # With other line endings than its attribute says, git itself would not apply it as it is
    (work / "dos").write_bytes(b"x\r\nz\r\n")
    (work / "big.lfs").write_bytes(b"other\r\n")
    (work / ODD).write_text("changed")
    (work / "another\todd 'one'").write_text("new")
    (work / "deep" / "er").mkdir(parents=True)
    (work / "deep" / "er" / "new").write_bytes(b"\0\1")
    (work / "deep" / "er" / "new").chmod(0o755)
    (work / "link").unlink()
    (work / "link").symlink_to("moved")
    (work / "gone").unlink()
    (work / "junk.o").write_text("ignored there")


def test_a_patch_makes_the_checkout_what_the_guest_has(repo, guest, spaces):
    (repo / "binary").write_bytes(b"\0changed here before\xff" * 99)
    prepare(spaces, repo)
    change(guest / "work")
    there = content(guest / "work")
    patch = export(spaces)
    assert content(guest / "work") == there
    sh(repo, "apply", input=patch.text)
    del there[b"junk.o"]
    assert content(repo) == there
    assert "moved" in patch.files
    assert b"rename from a/text" in patch.text


def test_a_patch_against_a_commit_holds_what_was_changed_before(repo, guest, spaces, tmp_path):
    (repo / "a" / "text").write_text("changed here\n")
    prepare(spaces, repo)
    (guest / "work" / "binary").write_bytes(b"\0")
    sh(guest / "work", "commit", "-qam", "done there")
    patch = export(spaces, base="HEAD")
    clone = tmp_path / "clone"
    sh(tmp_path, "clone", "-q", str(repo), str(clone))
    sh(clone, "apply", input=patch.text)
    assert content(clone) == content(guest / "work")
    (repo / "more").write_text("")
    sh(repo, "add", "more")
    sh(repo, "commit", "-qm", "second")
    assert "more" in export(spaces, base="HEAD").files
    with pytest.raises(UsageProblem, match="is no commit"):
        export(spaces, base="nowhere")


def test_nothing_was_done(repo, guest, spaces):
    prepare(spaces, repo)
    assert export(spaces).text == b""


def test_a_commit_goes_in_instead_of_the_files_here(repo, guest, spaces):
    first = content(repo)
    (repo / "second").write_text("2")
    sh(repo, "add", "-A")
    sh(repo, "-c", "filter.lfs.clean=cat", "commit", "-qm", "second")
    prepare(spaces, repo, start="HEAD~1", branch="fix/it")
    # As it is stored: what an attribute makes of it in a checkout is a checkout's
    first[b"dos"] = (False, b"x\ny\n")
    assert content(guest / "work") == first
    assert sh(guest / "work", "branch", "--show-current") == b"fix/it\n"


def test_submodules_are_refused_or_left_out(repo, guest, spaces, tmp_path):
    shutil.copytree(repo, tmp_path / "inner", symlinks=True)
    sh(repo, "-c", "protocol.file.allow=always", "submodule", "add", str(tmp_path / "inner"), "sub")
    sh(repo, "commit", "-qm", "with a submodule")
    with pytest.raises(UsageProblem, match="submodules") as refused:
        look(repo, Choice())
    assert "sub" in refused.value.cause
    for start in ("", "HEAD"):
        directory = f"work{start}"
        prepare(spaces, repo, directory, submodules=True, start=start)
        assert not list((guest / directory).glob("sub/*"))
        assert b"sub" not in names_of(look(repo, Choice(submodules=True, start=start)))
        assert export(spaces, directory).text == b""


@pytest.mark.parametrize("plant", ["config", "module", "attributes", "link", "closed"])
def test_a_guest_runs_nothing_and_reaches_nothing_here(repo, guest, spaces, tmp_path, plant):
    prepare(spaces, repo)
    work, trap = guest / "work", tmp_path / "trap"
    program = f"touch {trap}"
    if plant == "config":
        sh(work, "config", "core.fsmonitor", program)
        sh(work, "config", "filter.x.clean", program)
        (work / ".gitattributes").write_text("* filter=x diff=x\n")
    elif plant == "module":
        (work / "m").mkdir()
        sh(work / "m", "init", "-q")
        sh(work / "m", "config", "core.fsmonitor", program)
        (work / "m" / "file").write_text("x")
        (work / "m" / ".git").rename(work / "m" / ".GIT")
    elif plant == "attributes":
        (tmp_path / ".gitconfig").write_text(
            f'[filter "lfs"]\n\tclean = {program}\n[diff "x"]\n\ttextconv = {program}\n'
        )
        (work / ".gitattributes").write_text("* filter=lfs diff=x\n")
        (work / "big.lfs").write_text("other")
    elif plant == "link":
        (tmp_path / "secret").write_text("secret")
        (work / "a" / "out").symlink_to(tmp_path / "secret")
        shutil.rmtree(work / "a")
        (work / "a").symlink_to(tmp_path)
    else:
        (work / "a").chmod(0o500)
    patch = export(spaces)
    assert not trap.exists()
    assert b"secret" not in patch.text
    assert not list((tmp_path / "vm").rglob("back-*"))


def test_what_cannot_be_prepared(repo, guest, spaces, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageProblem, match="not in a git checkout"):
        look(empty, Choice())
    with pytest.raises(UsageProblem, match="not a directory"):
        look(tmp_path / "nowhere", Choice())
    sh(empty, "init", "-q")
    with pytest.raises(UsageProblem, match="no commit yet"):
        look(empty, Choice())
    with pytest.raises(UsageProblem, match="is no commit"):
        look(repo, Choice(start="--output=/tmp/x"))
    with pytest.raises(UsageProblem, match="name of a branch"):
        look(repo, Choice(branch="a..b"))
    (guest / "work").mkdir()
    with pytest.raises(Conflict, match="already"):
        prepare(spaces, repo)
    assert not spaces.all()
    assert not list((tmp_path / "vm").rglob("tree"))
    with pytest.raises(UsageProblem, match="has no workspace"):
        spaces.find("")


def test_several_workspaces_are_told_apart(repo, guest, spaces):
    prepare(spaces, repo, "one")
    prepare(spaces, repo, "two")
    assert [each.directory for each in sorted(spaces.all(), key=lambda each: each.directory)] == [
        "one",
        "two",
    ]
    with pytest.raises(UsageProblem, match="several"):
        spaces.find("")
    with pytest.raises(NotFound):
        spaces.find("three")
    (guest / "two" / "gone").unlink()
    assert export(spaces, "two").files == ("gone",)
    assert export(spaces, "one").files == ()


def test_a_second_one_in_its_place_is_refused_and_leaves_the_first(repo, guest, spaces):
    prepare(spaces, repo)
    with pytest.raises(Conflict, match="already"):
        prepare(spaces, repo)
    (guest / "work" / "gone").unlink()
    assert export(spaces).files == ("gone",)


def test_a_machine_that_lost_its_workspace(repo, guest, spaces):
    prepare(spaces, repo)
    shutil.rmtree(guest / "work")
    with pytest.raises(BangerError, match="could not be copied"):
        export(spaces)


def test_names_of_directories():
    assert default_directory(Path("/x/my repo")) == "my-repo"
    assert default_directory(Path("/")) == "workspace"
