"""The configuration file, its defaults, and what it says about mistakes."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from banger_core.config.defaults import default_memory, default_vcpu
from banger_core.config.settings import load_settings
from banger_core.declare import Settings as Declared
from banger_core.errors import PluginError, UsageProblem
from banger_core.hookspecs import hookimpl


class Nix(BaseModel):
    model_config = ConfigDict(extra="forbid")
    store: str = "/nix"
    jobs: int = 2


class NixPlugin:
    BANGER_API = 1

    @staticmethod
    @hookimpl
    def banger_settings():
        yield Declared(name="nix", summary="Nix", load="under_test_settings:Nix")


class BrokenPlugin:
    BANGER_API = 2


@pytest.fixture(autouse=True)
def _models(monkeypatch):
    module = types.ModuleType("under_test_settings")
    module.Nix = Nix
    monkeypatch.setitem(sys.modules, "under_test_settings", module)


@pytest.fixture
def settings(banger_paths, fresh_registry):
    def load(text="", *plugins):
        banger_paths.config.mkdir(mode=0o700, exist_ok=True)
        banger_paths.settings_file.write_text(text)
        return load_settings(banger_paths, fresh_registry(*plugins))

    return load


@pytest.fixture
def mistake(settings, banger_paths):
    def load(text, *plugins):
        with pytest.raises(UsageProblem) as caught:
            settings(text, *plugins)
        problem = caught.value
        assert problem.summary.startswith(f"{banger_paths.settings_file}")
        said = problem.summary.removeprefix(f"{banger_paths.settings_file}").lstrip(": ")
        assert "\n" not in problem.summary + problem.cause
        return said, problem.cause, problem.hints

    return load


def test_without_a_file_everything_has_its_default(banger_paths, fresh_registry):
    found = load_settings(banger_paths, fresh_registry())
    assert (found.image.default, found.image.default_source) == ("debian://bookworm", "oci")
    assert (found.image.size, found.vm.disk_size) == (8 << 30, None)
    assert (found.vm.network, found.vm.driver, found.vm.accel) == ("user", "qemu", "auto")
    assert (found.kernel.default, found.kernel.catalogue) == ("bookworm-cloud", "catalogue")
    assert (found.guest.runtime, found.ssh.ssh_key_path) == ("debian", None)
    assert found.vm.stop_grace == 10
    assert found.plugins.disabled == []


def test_the_file_decides(settings):
    found = settings(
        """
[image]
size = "12GiB"
[vm]
vcpu = 3
memory = "1.5G"
disk_size = 1073741824
stop_grace = 2
[ssh]
ssh_key_path = "~/.ssh/id_ed25519"
"""
    )
    assert found.image.size == 12 << 30
    assert (found.vm.vcpu, found.vm.memory, found.vm.disk_size) == (3, 3 << 29, 1 << 30)
    assert found.vm.stop_grace == 2.0
    assert found.ssh.ssh_key_path == Path(os.environ["HOME"]) / ".ssh/id_ed25519"


def test_every_setting_says_where_it_comes_from(settings):
    found = settings("[vm]\nvcpu = 3\n[plugins.nix]\njobs = 9\n", NixPlugin)
    shown = {item.key: (item.value, item.origin) for item in found.effective()}
    assert shown["vm.vcpu"] == (3, "config")
    assert shown["vm.memory"] == (default_memory().value, default_memory().origin)
    assert shown["image.default"] == ("debian://bookworm", "constant")
    assert shown["plugins.nix.jobs"] == (9, "config")
    assert shown["plugins.nix.store"] == ("/nix", "constant")
    assert shown["ssh.ssh_key_path"] == (None, "constant")
    assert len(shown) == len(found.effective())


@pytest.mark.parametrize(
    ("cpus", "value", "origin"),
    [(1, 1, "constant"), (3, 1, "constant"), (4, 1, "host"), (9, 2, "host"), (64, 4, "host")],
)
def test_vcpu_is_a_quarter_up_to_four(cpus, value, origin):
    found = default_vcpu(cpus)
    assert (found.value, found.origin) == (value, origin)


@pytest.mark.parametrize(
    ("total", "value", "origin"),
    [
        (1 << 30, 512 << 20, "constant"),
        (4 << 30, 512 << 20, "host"),
        (23 << 30, 2816 << 20, "host"),
        (1 << 40, 8 << 30, "host"),
    ],
)
def test_memory_is_an_eighth_up_to_eight_gib(total, value, origin):
    found = default_memory(total)
    assert (found.value, found.origin) == (value, origin)


@pytest.mark.parametrize(
    ("text", "said", "cause", "hint"),
    [
        (
            "[vm]\nvcpux = 4",
            "there is no setting vm.vcpux",
            "there is: vcpu, memory, disk_size, work_disk, network, driver, accel, stop_grace",
            "did you mean vcpu?",
        ),
        ("[vn]\nvcpu = 4", "there is no setting vn", "there is: image, vm", "did you mean vm?"),
        (
            '[vm]\nmemory = "lots"',
            'vm.memory = "lots" is not possible',
            "a size is a number of bytes, or a number with K, M, G or T",
            "without that line the default is used",
        ),
        ("[vm]\nmemory = -1", "vm.memory = -1 is not possible", "input should be greater", ""),
        ("[vm]\nvcpu = 0", "vm.vcpu = 0 is not possible", "input should be greater than", ""),
        ('[vm]\nvcpu = "4"', 'vm.vcpu = "4" is not possible', "input should be a valid int", ""),
        ("[vm]\nvcpu = true", "vm.vcpu = true is not possible", "input should be a valid", ""),
        ('[vm]\naccel = "xen"', 'vm.accel = "xen" is not possible', "input should be 'auto'", ""),
        ('[vm]\nstop_grace = "10"', 'vm.stop_grace = "10" is not possible', "input should", ""),
        ('[image]\ndefault = ""', 'image.default = "" is not possible', "string should", ""),
        ("vm = 3", "vm = 3 is not possible", "it is a section", "write it as [vm]"),
        ("[vm]\na = 1\nb = 2", "there is no setting vm.a", "there is: vcpu", ""),
        ("[vm\n", "is not valid TOML", "Expected ']' at the end", ""),
        ("[plugins]\ndisabled = 3", "plugins.disabled = 3 is not", "input should be a valid", ""),
        (
            "[plugins.nyx]\nstore = '/'",
            "there is no section [plugins.nyx]",
            "there is: nix",
            "did you mean nix?",
        ),
        ("[plugins.nix]\nstor = '/'", "there is no setting plugins.nix.stor", "there is: st", ""),
        ("[plugins.nix]\njobs = 'x'", 'plugins.nix.jobs = "x" is not', "input should be a", ""),
        ("[plugins]\nnix = 3", "plugins.nix = 3 is not possible", "it is a section", ""),
    ],
)
def test_mistakes_name_key_and_value(mistake, text, said, cause, hint):
    found_said, found_cause, hints = mistake(text, NixPlugin)
    assert found_said.startswith(said)
    assert found_cause.startswith(cause)
    assert not hint or hint in hints


def test_other_mistakes_are_counted(mistake):
    _, cause, _ = mistake("[vm]\na = 1\nb = 2\nvcpu = 'x'")
    assert cause.endswith("(2 more like this)")


def test_bytes_that_are_no_text_are_refused(banger_paths, fresh_registry):
    banger_paths.config.mkdir(mode=0o700)
    banger_paths.settings_file.write_bytes(b"[vm]\n# \xff\n")
    with pytest.raises(UsageProblem, match="not valid TOML"):
        load_settings(banger_paths, fresh_registry())


# --- plugins' sections ------------------------------------------------------------------------


def test_section_of_a_plugin_is_checked_by_its_model(settings):
    found = settings("[plugins.nix]\nstore = '/other'\n", NixPlugin)
    assert found.plugin("nix") == {"store": "/other", "jobs": 2}
    assert found.plugin("unheard-of") == {}


def test_section_of_a_plugin_that_is_switched_off_is_no_mistake(settings):
    assert settings("[plugins.sleeping]\nx = 1\n", BrokenPlugin).plugin("sleeping") == {}


def test_model_that_cannot_be_used_is_its_plugin_s_failure(settings):
    sys.modules["under_test_settings"].Nix = int
    found = settings("[plugins.nix]\nx = 1\n[vm]\nvcpu = 2\n", NixPlugin)
    assert found.vm.vcpu == 2
    with pytest.raises(PluginError) as caught:
        found.plugin("nix")
    assert "NixPlugin" in caught.value.summary
    assert "no pydantic model" in caught.value.cause
    assert found.effective()


# --- who may write the file -------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o602, 0o666, 0o646])
def test_file_that_others_can_write_is_refused(settings, banger_paths, mode):
    settings("")
    banger_paths.settings_file.chmod(mode)
    with pytest.raises(UsageProblem, match="can be written by other users") as caught:
        load_settings(banger_paths, None)
    assert caught.value.hints == (f"chmod go-w {banger_paths.settings_file}",)


def test_file_of_the_user_s_own_group_is_accepted(settings, banger_paths, fresh_registry):
    settings("[vm]\nvcpu = 2\n")
    banger_paths.settings_file.chmod(0o664)
    assert load_settings(banger_paths, fresh_registry()).vm.vcpu == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_file_of_a_stranger_or_his_group_is_refused(settings, banger_paths):
    settings("")
    os.chown(banger_paths.settings_file, 12345, os.getegid())
    with pytest.raises(UsageProblem, match="belongs to another user"):
        load_settings(banger_paths, None)
    os.chown(banger_paths.settings_file, os.geteuid(), 12345)
    banger_paths.settings_file.chmod(0o660)
    with pytest.raises(UsageProblem, match="can be written by other users"):
        load_settings(banger_paths, None)


def test_pipe_is_refused_and_not_waited_for(banger_paths):
    banger_paths.config.mkdir(mode=0o700)
    os.mkfifo(banger_paths.settings_file)
    with pytest.raises(UsageProblem, match="not a regular file"):
        load_settings(banger_paths, None)
