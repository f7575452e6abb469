"""The layers of real plugins, the user and the administrator, gathered for one VM."""

from __future__ import annotations

import os
import sys
from types import ModuleType

import pytest

from banger_core.api import SshPatch, SshPolicy, hookimpl
from banger_core.config.settings import Settings, SshSettings
from banger_core.engine import ssh_policy
from banger_core.engine.ssh import policy
from banger_core.errors import Conflict, HostNotReady, NotFound, PluginError
from banger_core.model import VmRequest
from banger_core.plan.ssh_admin import admin_layers, trusted_policies

GIVES = {}


def acme(facts):
    return GIVES["acme"](facts)


class Acme:
    BANGER_API = 1

    @hookimpl
    def banger_ssh_policies(self):
        yield SshPolicy(name="acme", summary="Acme", load=f"{__name__}:acme", precedence=950)


@pytest.fixture
def etc(tmp_path, monkeypatch):
    """An administrator's directory that belongs to whoever runs the test."""
    place = tmp_path / "etc"
    (place / "policy.d").mkdir(parents=True, mode=0o755)
    me = os.geteuid()
    monkeypatch.setattr(ssh_policy, "admin_layers", lambda: admin_layers(place, me))
    monkeypatch.setattr(ssh_policy, "trusted_policies", lambda: trusted_policies(place, me))
    before = os.umask(0o022)
    yield place
    os.umask(before)


@pytest.fixture
def effective(etc, fresh_registry, monkeypatch):
    """The policy of a VM with the label team=a, with what the plugin and the user say."""

    def ask(plugin, **user):
        # Test modules have no importable name of their own
        monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__, _this()))
        monkeypatch.setitem(GIVES, "acme", plugin)
        settings = Settings(ssh=SshSettings(**user))
        request = VmRequest(name="web", labels={"team": "a"})
        return policy(fresh_registry(Acme()), settings, request)

    return ask


def _this():
    module = ModuleType(__name__)
    module.acme = acme
    return module


def wants_forwarding(_facts):
    return SshPatch(set={"agent_forwarding": True}, lock=frozenset({"agent_forwarding"}))


def test_a_plugin_that_is_not_listed_is_clamped_and_cannot_lock(effective):
    found = effective(wants_forwarding, agent_forwarding=False)["agent_forwarding"]
    assert (found.value, found.origin, found.locked_by) == (False, "user configuration", "")
    assert found.ignored == (("acme (under-test)", True),)


def test_a_listed_plugin_has_the_administrators_authority(effective, etc):
    (etc / "config.toml").write_text('trusted_policies = ["acme"]')
    found = effective(wants_forwarding, agent_forwarding=False)["agent_forwarding"]
    assert (found.value, found.locked_by) == (True, "acme (under-test)")
    assert found.ignored == (("user configuration", False),)


def test_a_listed_plugin_that_is_missing_stops_everything(effective, etc):
    (etc / "config.toml").write_text('trusted_policies = ["acme", "lost"]')
    with pytest.raises(HostNotReady, match="lost"):
        effective(wants_forwarding)


def test_a_policy_sees_the_vm(effective):
    seen = []

    def look(facts):
        seen.append((facts.vm_name, facts.labels))
        return SshPatch()

    effective(look)
    assert seen == [("web", {"team": "a"})]


def test_the_administrators_files_come_last(effective, etc):
    path = etc / "policy.d" / "a.toml"
    path.write_text('[ssh]\nuser = "ops"\nlock = ["user"]')
    found = effective(lambda _: SshPatch(set={"user": "p"}), user="me")["user"]
    assert (found.value, found.origin, found.locked_by) == ("ops", str(path), str(path))
    assert [origin for origin, _ in found.ignored] == ["user configuration", "acme (under-test)"]


def test_a_tie_of_administrators_names_both(effective, etc):
    (etc / "config.toml").write_text('trusted_policies = ["acme"]')
    path = etc / "policy.d" / "a.toml"
    path.write_text("precedence = 950\n[ssh]\nagent_forwarding = false")
    with pytest.raises(Conflict, match="acme") as problem:
        effective(wants_forwarding)
    assert str(path) in problem.value.summary


def test_a_plugin_that_misbehaves_is_named(effective):
    with pytest.raises(PluginError, match="under-test"):
        effective(lambda _: {"set": {}})
    with pytest.raises(PluginError, match="under-test"):
        effective(lambda _: 1 / 0)


def test_a_setting_that_nobody_knows_is_named(effective):
    with pytest.raises(NotFound, match="agent_fwd") as problem:
        effective(lambda _: SshPatch(), agent_fwd=True)
    assert "mend it in user configuration" in problem.value.hints
