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
        '{"argv": []}',
        '{"argv": "ssh"}',
        '{"argv": ["ssh", 1]}',
        '{"argv": null}',
        json.dumps({"argv": ["x" * NOTE_MAX]}),
    ],
    ids=range(9),
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
    real.write_text('{"argv": ["ssh"]}')
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
