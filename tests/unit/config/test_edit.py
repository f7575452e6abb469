"""Editing the configuration: what is written, and what is refused."""

from __future__ import annotations

import tomllib

import pytest

from banger_core.config.edit import edit_disabled
from banger_core.config.paths import secure_dir
from banger_core.errors import BangerError, UsageProblem

FORMS = {
    "nothing": "",
    "comment only": "# mine",
    "another section": "[vm]\nvcpu = 2 # two\n",
    "a plugin's section": "[plugins.oci] # registries\ncache = '1G'\n\n[vm]\nvcpu = 2\n",
    "empty list": "[plugins]\ndisabled = []\n",
    "list in lines": '[plugins]\n# off\ndisabled = [\n  "a", # first\n]\n[plugins.oci]\nx = 1\n',
    "dotted key": "plugins.disabled = ['a']\nvm.vcpu = 2\n",
    "inline table": 'plugins = {disabled = ["a"], oci = {x = 1}}\n',
    "dos": '[plugins]\r\ndisabled = ["a"]\r\n',
}


@pytest.fixture
def written(banger_paths):
    def write(text):
        secure_dir(banger_paths.config)
        banger_paths.settings_file.write_bytes(text.encode())
        banger_paths.settings_file.chmod(0o640)
        return banger_paths

    return write


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_names_come_and_go_and_all_else_stays(written, text):
    paths = written(text)
    before = tomllib.loads(text)
    assert edit_disabled(paths, lambda names: [*names, "new"])
    edited = paths.settings_file.read_bytes().decode()
    after = tomllib.loads(edited)
    assert after["plugins"].pop("disabled") == [
        *before.get("plugins", {}).pop("disabled", []),
        "new",
    ]
    assert {**after, "plugins": None} == {**before, "plugins": None}
    assert after["plugins"] == before.get("plugins", {})
    comments = [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line]
    assert all(comment in edited for comment in comments)
    assert edit_disabled(paths, lambda names: [name for name in names if name != "new"])
    assert "new" not in paths.settings_file.read_text()
    assert paths.settings_file.stat().st_mode & 0o777 == 0o640


def test_nothing_is_written_when_nothing_changes(written):
    paths = written("[plugins]\ndisabled = ['a']\n")
    before = paths.settings_file.stat()
    assert not edit_disabled(paths, lambda names: names)
    assert paths.settings_file.stat().st_ino == before.st_ino


def test_a_file_is_made_private(banger_paths):
    assert edit_disabled(banger_paths, lambda _: ["a"])
    assert banger_paths.settings_file.stat().st_mode & 0o777 == 0o600
    assert tomllib.loads(banger_paths.settings_file.read_text()) == {"plugins": {"disabled": ["a"]}}


@pytest.mark.parametrize("text", ["[plugins", "[plugins]\ndisabled = 'a'\n", "plugins = 3\n"])
def test_what_cannot_be_read_is_left_alone(written, text):
    paths = written(text)
    with pytest.raises(UsageProblem):
        edit_disabled(paths, lambda _: ["a"])
    assert paths.settings_file.read_text() == text


def test_a_link_stays_a_link(written, tmp_path):
    paths = written("")
    kept = tmp_path / "dotfiles.toml"
    kept.write_text("# kept\n")
    kept.chmod(0o600)
    paths.settings_file.unlink()
    paths.settings_file.symlink_to(kept)
    assert edit_disabled(paths, lambda _: ["a"])
    assert paths.settings_file.is_symlink()
    assert kept.read_text().startswith("# kept\n")
    assert '"a"' in kept.read_text()


def test_a_failure_leaves_the_old_file(written, monkeypatch):
    paths = written("# mine\n")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("banger_core.store.content.write_atomic", full)
    with pytest.raises(BangerError, match="cannot be written"):
        edit_disabled(paths, lambda _: ["a"])
    assert paths.settings_file.read_text() == "# mine\n"
