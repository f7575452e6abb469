"""What plugins declare is tried in a process of its own."""

from __future__ import annotations

from banger_core.plugins.tryout import try_plugins


def test_what_lies_in_the_current_directory_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("json", "pluggy"):
        (tmp_path / f"{name}.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    assert not any(each.subject == "plugins" for each in try_plugins())
    assert not (tmp_path / "ran").exists()
