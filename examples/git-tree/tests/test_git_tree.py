"""The image source of git: its contract's suite, commits for names, and a machine."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

import git_tree
from banger_core.errors import BangerError, UsageProblem
from banger_core.model import EntryKind, ImageRef
from banger_core.testing.contracts import ImageSourceContract
from git_tree import GitTree


def git(repository, *arguments):
    argv = ["git", "-C", repository, "-c", "user.name=T", "-c", "user.email=t@example.org"]
    done = subprocess.run([*argv, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    place = tmp_path_factory.mktemp("repository")
    git(place, "init", "--quiet", "--initial-branch=main")
    (place / "etc").mkdir()
    (place / "etc" / "motd").write_text("first\n")
    (place / "init").write_text("#!/bin/sh\n")
    (place / "init").chmod(0o755)
    (place / "link").symlink_to("etc/motd")
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message=first")
    git(place, "tag", "--annotate", "--message=one", "v1")
    (place / "etc" / "motd").write_text("second\n")
    git(place, "commit", "--quiet", "--all", "--message=second")
    return place


class TestContract(ImageSourceContract):
    make = GitTree

    @pytest.fixture(autouse=True)
    def _place(self, repository):
        self.ref = f"git-tree://{repository}#v1"
        self.missing = f"git-tree://{repository}#v9"


def files(reference, cx):
    async def pull():
        pin = await GitTree().resolve(ImageRef.parse(reference), cx)
        await GitTree().fetch(pin, cx)
        return pin

    pin = asyncio.run(pull())
    with GitTree().layers(pin, cx) as layers:
        return pin, {
            entry.path: (entry.kind, entry.mode & 0o111, entry.link or b"".join(entry.data or ()))
            for layer in layers
            for entry in layer.entries()
        }


def test_tags_branches_and_commits_name_their_own_files(repository, fake_context):
    first, old = files(f"git-tree://{repository}#v1", fake_context)
    assert first.data["commit"] == git(repository, "rev-parse", "v1^{commit}")
    assert old[b"etc/motd"] == (EntryKind.FILE, 0, b"first\n")
    assert old[b"init"][1] == 0o111
    assert old[b"link"] == (EntryKind.SYMLINK, 0o111, b"etc/motd")
    second, new = files(f"git-tree://{repository}#main", fake_context)
    assert new[b"etc/motd"][2] == b"second\n"
    commit = git(repository, "rev-parse", "main")
    same, again = files(f"git-tree://{repository}#{commit}", fake_context)
    assert (same.digest, again) == (second.digest, new)


@pytest.mark.parametrize("rest", ["", "/srv/x", "/srv/x#", "/srv/x#-f", "ext::sh -c id#v1", "x#v1"])
def test_what_names_no_repository_is_refused_before_git_sees_it(rest):
    with pytest.raises(UsageProblem):
        GitTree().name(ImageRef("git-tree", rest))


def test_an_unknown_commit_leaves_nothing(repository, fake_context):
    with pytest.raises(BangerError):
        files(f"git-tree://{repository}#{'0' * 39}1", fake_context)
    assert not list(fake_context.cache_dir.glob("*.tar"))


def test_a_machine_is_made_of_a_commit(repository, fake_engine):
    async def story(engine):
        return await engine.run_vm("web", f"git-tree://{repository}#v1")

    record = fake_engine(git_tree).play(story)
    assert record.plan.image.name == f"{repository}#v1"
