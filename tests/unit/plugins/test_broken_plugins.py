"""What plugins may not do, and that nobody else suffers from it."""

from __future__ import annotations

import types

import pytest

GOOD = """\
from banger_core.api import Network, hookimpl
BANGER_API = 1
@hookimpl
def banger_networks():
    yield Network(name="good", summary="Works", load="banger_core.networks.user:UserNetwork")
"""


def module(name: str, text: str) -> types.ModuleType:
    made = types.ModuleType(name)
    exec(compile(text, f"{name}.py", "exec"), made.__dict__)
    return made


HEAD = "from banger_core.api import Network, VmmDriver, hookimpl\nBANGER_API = 1\n"
NET = "Network(name='x', summary='X', load='a.b:C')"

BROKEN = {
    "no API version": (
        "from banger_core.api import hookimpl",
        "it does not say which API it was written for: BANGER_API = 1",
    ),
    "API version is text": ("BANGER_API = '1'", "BANGER_API is '1', not a whole number"),
    "API version is a truth": ("BANGER_API = True", "BANGER_API is True, not a whole number"),
    "unknown hook": (
        HEAD + f"@hookimpl\ndef banger_network():\n    yield {NET}",
        "there is no hook banger_network, did you mean banger_networks?",
    ),
    "forgotten mark": (
        HEAD + f"def banger_networks():\n    yield {NET}",
        "banger_networks is not marked with @hookimpl",
    ),
    "first": (
        HEAD + f"@hookimpl(tryfirst=True)\ndef banger_networks():\n    yield {NET}",
        "banger_networks uses tryfirst: hooks take no options",
    ),
    "last": (
        HEAD + f"@hookimpl(trylast=True)\ndef banger_networks():\n    yield {NET}",
        "banger_networks uses trylast: hooks take no options",
    ),
    "wrapper": (
        HEAD + "@hookimpl(wrapper=True)\ndef banger_networks():\n    return (yield)",
        "banger_networks uses wrapper: hooks take no options",
    ),
    "old wrapper": (
        HEAD + "@hookimpl(hookwrapper=True)\ndef banger_networks():\n    yield",
        "banger_networks uses hookwrapper: hooks take no options",
    ),
    "unknown but optional": (
        HEAD + "@hookimpl(optionalhook=True)\ndef banger_network():\n    yield",
        "there is no hook banger_network, did you mean banger_networks?",
    ),
    "other name": (
        HEAD + "@hookimpl(specname='banger_networks')\ndef nets():\n    yield",
        "there is no hook nets; there is: banger_image_sources",
    ),
    "coroutine": (
        HEAD + f"@hookimpl\nasync def banger_networks():\n    return [{NET}]",
        "banger_networks is async: hooks only declare",
    ),
    "async generator": (
        HEAD + f"@hookimpl\nasync def banger_networks():\n    yield {NET}",
        "banger_networks is async: hooks only declare",
    ),
    "argument": (
        HEAD + f"@hookimpl\ndef banger_networks(config):\n    yield {NET}",
        "banger_networks takes config: hooks take no arguments",
    ),
    "argument with default": (
        HEAD + f"@hookimpl\ndef banger_networks(config=None):\n    yield {NET}",
        "banger_networks takes config: hooks take no arguments",
    ),
    "other type": (
        HEAD + f"@hookimpl\ndef banger_vmm_drivers():\n    yield {NET}",
        "banger_vmm_drivers yielded a Network, not VmmDriver",
    ),
    "not a declaration": (
        HEAD + "@hookimpl\ndef banger_networks():\n    yield 'user'",
        "banger_networks yielded a str, not Network",
    ),
    "nothing": (
        HEAD + "@hookimpl\ndef banger_networks():\n    pass",
        "banger_networks gave nothing, not declarations",
    ),
    "one text": (
        HEAD + "@hookimpl\ndef banger_networks():\n    return 'user'",
        "banger_networks gave a str, not declarations",
    ),
    "same name twice": (
        HEAD + f"@hookimpl\ndef banger_networks():\n    yield {NET}\n    yield {NET}",
        "banger_networks declares x twice",
    ),
    "raises half way": (
        HEAD + f"@hookimpl\ndef banger_networks():\n    yield {NET}\n    raise OSError('no disk')",
        "OSError: no disk",
    ),
    "exits": (
        HEAD + "@hookimpl\ndef banger_networks():\n    raise SystemExit(3)",
        "SystemExit: 3",
    ),
    "malformed declaration": (
        HEAD + "@hookimpl\ndef banger_networks():\n"
        "    yield Network(name='A B', summary='X', load='a.b:C')",
        "ValueError: name 'A B' is not lower-case words joined by '-'",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_plugin_is_named_and_skipped(fresh_registry, case):
    text, error = BROKEN[case]
    registry = fresh_registry(module("bad", text), module("good", GOOD))
    bad, good = registry.plugins()
    assert (bad.name, bad.status) == ("bad", "broken")
    assert bad.error.startswith(error)
    assert "\n" not in bad.error
    assert good.status == "ok"
    assert registry.networks.names() == ["good"]


@pytest.mark.parametrize(("version", "advice"), [(2, "upgrade banger"), (0, "upgrade the plugin")])
def test_other_api_version_is_incompatible(fresh_registry, version, advice):
    text = HEAD.replace("BANGER_API = 1", f"BANGER_API = {version}")
    (plugin,) = fresh_registry(module("other", text)).plugins()
    assert plugin.status == "incompatible"
    assert f"plugin API {version}, this banger has 1: {advice}" in plugin.error


def test_error_raised_by_a_plugin_keeps_its_traceback(fresh_registry):
    text = HEAD + "@hookimpl\ndef banger_networks():\n    yield 1 / 0"
    (plugin,) = fresh_registry(module("bad", text)).plugins()
    assert "ZeroDivisionError" in plugin.traceback
    assert "bad.py" in plugin.traceback


def test_prints_of_a_plugin_do_not_reach_stdout(fresh_registry, capsys):
    text = HEAD + "@hookimpl\ndef banger_networks():\n    print('noise')\n    return []"
    assert fresh_registry(module("loud", text)).plugins()[0].status == "ok"
    out, err = capsys.readouterr()
    assert (out, err) == ("", "noise\n")


def test_helpers_named_like_the_package_are_no_hooks(fresh_registry):
    text = "import banger_core\n" + HEAD + "banger_constant = 3\n"
    assert fresh_registry(module("fine", text)).plugins()[0].status == "ok"
