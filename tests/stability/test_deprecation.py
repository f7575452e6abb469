"""What will go says so: once for each plugin, by name, with the release and the way out."""

from __future__ import annotations

import types
import warnings

import pytest

from banger_core import api, deprecation
from banger_core.deprecation import PluginDeprecationWarning, deprecated
from banger_core.plugins.health import examine_plugins
from banger_core.testing.install import install_plugin

GOING = {"old_tool": ("banger_core.sizes", "parse_size", "99.0", "parse_size")}
TEXT = "banger_core.api.old_tool goes in banger 99.0: use parse_size"


@pytest.fixture(autouse=True)
def going(monkeypatch):
    monkeypatch.setattr(api, "_GOING", GOING)
    monkeypatch.setattr(deprecation, "_said", set())


def user(name):
    """A plugin's module, whose function uses what will go."""
    module = types.ModuleType(f"{name}.work")
    code = "from banger_core import api\ndef use():\n    return api.old_tool\n"
    exec(compile(code, f"{name}.py", "exec"), module.__dict__)
    return module


def test_it_works_until_it_goes():
    with pytest.warns(PluginDeprecationWarning, match="use parse_size"):
        assert user("acme").use() is api.parse_size


def test_it_is_said_once_for_each_plugin(caplog):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for module in (user("acme"), user("acme"), user("other")):
            module.use()
            module.use()
    assert [str(warning.message) for warning in caught] == [
        f"plugin acme uses {TEXT}",
        f"plugin other uses {TEXT}",
    ]
    # The line that is blamed is the plugin's
    assert caught[0].filename == "acme.py"
    assert caplog.messages == [str(warning.message) for warning in caught]


def test_an_installed_plugin_is_called_by_its_name(tmp_path, monkeypatch):
    install_plugin(tmp_path, "acme-tools", module="acme.plugin")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.warns(PluginDeprecationWarning, match="plugin acme-tools uses"):
        user("acme").use()


def test_discovery_keeps_who_uses_it(fresh_registry):
    def banger_event_sinks():
        deprecated("EventSink.old", goes_in="99.0", instead="kinds")
        return ()

    plugin = types.ModuleType("acme")
    plugin.BANGER_API = 1
    plugin.banger_event_sinks = api.hookimpl(banger_event_sinks)
    with pytest.warns(PluginDeprecationWarning, match=r"plugin acme uses EventSink\.old"):
        registry = fresh_registry(plugin)
    (record,) = registry.plugins()
    assert record.status == "ok"
    assert list(record.deprecations) == ["EventSink.old goes in banger 99.0: use kinds"]
    (finding,) = examine_plugins(registry.index)
    assert (finding.level, finding.why) == ("warn", record.deprecations[0])
    assert finding.fix == "banger plugin install --upgrade under-test"


def test_an_import_counts_as_use(fresh_registry, tmp_path, monkeypatch):
    (tmp_path / "imports_old.py").write_text("from banger_core.api import old_tool\nBANGER_API = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    from banger_core.deprecation import collecting

    with collecting("acme") as used, pytest.warns(PluginDeprecationWarning):
        __import__("imports_old")
    assert used == [TEXT]


def test_names_that_never_were_are_errors():
    with pytest.raises(AttributeError, match="no_such_tool"):
        _ = api.no_such_tool
