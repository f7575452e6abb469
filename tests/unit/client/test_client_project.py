"""``.banger.toml``: found where a project is, read with care."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from banger_core.client.project import NAME, project_policy
from banger_core.errors import UsageProblem


@pytest.fixture
def project(tmp_path):
    """A work tree with a folder in it, and a home elsewhere."""
    (tmp_path / "work" / ".git").mkdir(parents=True)
    (tmp_path / "work" / "src" / "deep").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    return tmp_path / "work"


def ask(place):
    return project_policy(place, Path("/nowhere"))


def test_a_file_is_found_from_deep_inside_and_names_itself(project):
    (project / NAME).write_text('[ssh]\nciphers = "aes256-gcm@openssh.com"\n')
    found = project_policy(project / "src" / "deep", project.parent / "home")
    assert found.path == str(project / NAME)
    assert found.table == {"ciphers": "aes256-gcm@openssh.com"}


def test_the_nearest_one_counts(project):
    (project / NAME).write_text("[ssh]\nkeepalive_count = 1\n")
    (project / "src" / NAME).write_text("[ssh]\nkeepalive_count = 2\n")
    assert ask(project / "src" / "deep").table == {"keepalive_count": 2}


def test_nothing_is_taken_from_above_the_work_tree_or_from_home(project):
    (project.parent / NAME).write_text("[ssh]\nkeepalive_count = 1\n")
    assert ask(project / "src") is None
    assert project_policy(project.parent, project.parent) is None
    assert project_policy(project.parent, project.parent / "home") is None
    loose = project.parent / "loose"
    loose.mkdir()
    assert ask(loose) is None


def test_no_file_and_no_ssh_are_no_policy(project):
    assert ask(project) is None
    (project / NAME).write_text("[ssh]\n")
    assert ask(project) is None


@pytest.mark.parametrize(
    "text",
    [
        "ssh = 3\n",
        "[ssh\n",
        "[vm]\nmemory = '1G'\n",
        "[ssh]\nx = {}\n",
        "[ssh]\nx = [1]\n",
        "[ssh]\nx = 1979-05-27\n",
        "[ssh]\nx = " + "[" * 5000,
        "#" * 70000,
        "\xff",
    ],
    ids=range(9),
)
def test_what_cannot_be_read_stops_and_names_the_file(project, text):
    (project / NAME).write_text(text, encoding="latin-1")
    with pytest.raises(UsageProblem, match=r"banger\.toml cannot be read") as problem:
        ask(project)
    assert problem.value.cause


def test_a_pipe_or_a_directory_in_its_place_holds_nobody_up(project):
    os.mkfifo(project / NAME)
    with pytest.raises(UsageProblem, match=r"banger\.toml cannot be read"):
        ask(project)
    (project / NAME).unlink()
    (project / NAME).mkdir()
    with pytest.raises(UsageProblem, match=r"banger\.toml cannot be read"):
        ask(project)
