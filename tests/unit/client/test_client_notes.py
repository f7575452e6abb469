"""Notes: the short way must name the same files as the long one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from banger_core.client.notes import NOTE_MAX, is_label, note_path, read_note
from banger_core.config.paths import Paths


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"BANGER_STATE_DIR": "/a/b"},
        {"BANGER_STATE_DIR": "rel/../x"},
        {"XDG_STATE_HOME": "/xdg"},
        {"XDG_STATE_HOME": "relative"},
    ],
)
def test_a_note_lies_where_paths_says(monkeypatch, environment):
    for name in ("BANGER_STATE_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Path(note_path("web")).resolve() == Paths.from_environment().note("web").resolve()


@pytest.mark.parametrize("name", ["a", "web-1", "0", "a" * 63])
def test_labels(name):
    assert is_label(name)


@pytest.mark.parametrize(
    "name", ["", "a" * 64, "-a", "a-", "A", "a.b", "a/b", "..", "é", "a b", "\n"]
)
def test_no_labels(name):
    assert not is_label(name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"argv": [], "shell": [], "stamps": {}}',
        '{"argv": "ssh", "shell": [], "stamps": {}}',
        '{"argv": ["ssh", 1], "shell": [], "stamps": {}}',
        '{"argv": null, "shell": [], "stamps": {}}',
        # Of a banger that did not look at policies again
        '{"argv": ["ssh"]}',
        '{"argv": ["ssh"], "shell": [], "stamps": []}',
        json.dumps({"argv": ["x" * NOTE_MAX], "shell": [], "stamps": {}}),
    ],
    ids=range(11),
)
def test_a_note_that_makes_no_sense_is_none(tmp_path, monkeypatch, text):
    monkeypatch.setenv("BANGER_STATE_DIR", str(tmp_path))
    path = Path(note_path("web"))
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o600)
    assert read_note("web") is None


def test_links_directories_and_pipes_are_no_notes(tmp_path, monkeypatch):
    monkeypatch.setenv("BANGER_STATE_DIR", str(tmp_path))
    path = Path(note_path("web"))
    path.parent.mkdir(parents=True)
    real = tmp_path / "real"
    real.write_text('{"argv": ["ssh"], "shell": [], "stamps": {}}')
    real.chmod(0o600)
    path.symlink_to(real)
    assert read_note("web") is None
    path.unlink()
    path.mkdir()
    assert read_note("web") is None
    path.rmdir()
    os.mkfifo(path, 0o600)
    assert read_note("web") is None
    path.unlink()
    real.rename(path)
    assert read_note("web") == ["ssh"]


@pytest.fixture
def noted(tmp_path, monkeypatch):
    """Write a note that a policy file decided on."""
    monkeypatch.setenv("BANGER_STATE_DIR", str(tmp_path))
    path = Path(note_path("web"))
    path.parent.mkdir(parents=True)

    def write(**stamps):
        note = {"argv": ["ssh", "runtime"], "shell": ["ssh", "image"], "stamps": stamps}
        path.write_text(json.dumps(note))
        path.chmod(0o600)

    return write


def test_people_may_be_led_to_the_images_own_server(noted):
    noted()
    assert read_note("web") == ["ssh", "runtime"]
    assert read_note("web", login=True) == ["ssh", "image"]


def test_a_note_older_than_a_policy_is_not_trusted(noted, tmp_path):
    policy = tmp_path / "policy.toml"

    def stamp():
        facts = policy.stat()
        return [facts.st_mtime_ns, facts.st_size, facts.st_ino]

    noted(**{str(policy): None})
    assert read_note("web") == ["ssh", "runtime"]
    policy.write_text("[ssh]\n")
    assert read_note("web") is None
    noted(**{str(policy): stamp()})
    assert read_note("web") == ["ssh", "runtime"]
    policy.write_text("[ssh]\nlock = []\n")
    assert read_note("web") is None
    noted(**{str(policy): stamp()})
    policy.unlink()
    assert read_note("web") is None
