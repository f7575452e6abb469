"""The index, with distributions on disk and processes that read it."""

from __future__ import annotations

import json
import stat

import pytest

from banger_core.errors import UsageProblem
from banger_core.plugins.index import load_index

NETWORK = """\
from banger_core.api import Network, hookimpl
BANGER_API = 1
@hookimpl
def banger_networks():
    yield Network(name={name!r}, summary="A network", load="banger_core.networks.user:UserNetwork")
"""


def network(name):
    return NETWORK.format(name=name)


def touched(tmp_path, name):
    """A plugin that leaves a mark each time it is imported."""
    mark = tmp_path / f"{name}-imported"
    return mark, f"open({str(mark)!r}, 'a').write('x')\n" + network(name)


def test_plugin_is_found_with_its_distribution(host):
    host.install("canal", network("canal"), distribution="Acme.Canal", version="2.1")
    record = host.index()["plugins"]["canal"]
    assert (record["distribution"], record["version"]) == ("acme-canal", "2.1")
    assert record["status"] == "ok"
    assert record["declarations"]["banger_networks"][0]["name"] == "canal"


def test_order_is_that_of_distribution_and_entry_point(host):
    for name in ("zeta", "alpha", "mid"):
        host.install(name, network(name), distribution=f"dist-{name}")
    order = [name for name in host.index()["order"] if name.startswith("dist-")]
    assert order == ["dist-alpha", "dist-mid", "dist-zeta"]


def test_warm_read_imports_no_machinery_and_no_plugin(host, tmp_path):
    mark, source = touched(tmp_path, "canal")
    host.install("canal", source)
    host.index()
    warm = host.index()
    assert mark.read_text() == "x"
    assert warm["plugins"]["canal"]["status"] == "ok"
    heavy = {
        "pluggy",
        "importlib.metadata",
        "pydantic",
        "tomllib",
        "email",
        "banger_core.hookspecs",
    }
    assert not heavy & set(warm["modules"])
    assert not [name for name in warm["modules"] if "canal" in name]


def test_cost_is_flat_in_the_number_of_plugins(host):
    host.install("first", network("first"))
    host.index()
    few = host.index()["modules"]
    for number in range(50):
        host.install(f"more-{number}", network(f"more-{number}"))
    assert len([name for name in host.index()["order"] if name.startswith("more-")]) == 50
    assert host.index()["modules"] == few


def test_cache_is_private(host):
    host.index()
    assert stat.S_IMODE(host.paths.plugin_index.stat().st_mode) == 0o600
    assert [file.name for file in host.paths.cache.iterdir()] == ["plugins.json"]


def test_new_and_removed_distributions_are_noticed(host):
    assert "canal" not in host.index()["plugins"]
    metadata = host.install("canal", network("canal"))
    assert host.index()["plugins"]["canal"]["status"] == "ok"
    for file in metadata.iterdir():
        file.unlink()
    metadata.rmdir()
    assert "canal" not in host.index()["plugins"]


def test_edited_plugin_is_read_again(host):
    host.install("canal", network("one"))
    host.index()
    host.install("canal", network("another"))
    found = host.index()["plugins"]["canal"]["declarations"]["banger_networks"]
    assert found[0]["name"] == "another"


def test_edited_entry_point_is_noticed(host):
    host.install("canal", network("one"))
    host.index()
    host.install("canal-with-longer-name", network("one"), distribution="canal")
    plugins = host.index()["plugins"]
    assert "canal-with-longer-name" in plugins
    assert "canal" not in plugins


def test_mended_plugin_is_read_again(host):
    host.install("bad", "raise RuntimeError('not today')\n")
    assert host.index()["plugins"]["bad"]["status"] == "broken"
    host.install("bad", network("fine"))
    assert host.index()["plugins"]["bad"]["status"] == "ok"


def test_mended_helper_of_a_broken_plugin_is_noticed(host):
    (host.directory / "helper_module.py").write_text("1 / 0\n")
    host.install("bad", "import helper_module\n" + network("fine"))
    assert host.index()["plugins"]["bad"]["error"] == (
        "ZeroDivisionError: division by zero (bad_bad_plugin.py, line 1)"
    )
    (host.directory / "helper_module.py").write_text("ready = True\n")
    assert host.index()["plugins"]["bad"]["status"] == "ok"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"plugins": 3}', '{"plugins": [{"surprise": 1}]}', "\x00\xff"]
)
def test_damaged_cache_is_made_anew(host, content):
    host.install("canal", network("canal"))
    host.index()
    host.paths.plugin_index.write_text(content)
    assert host.index()["plugins"]["canal"]["status"] == "ok"
    assert json.loads(host.paths.plugin_index.read_text())["plugins"]


def test_cache_that_others_could_write_is_not_believed(host):
    host.install("canal", network("canal"))
    host.index()
    file = host.paths.plugin_index
    forged = file.read_text().replace("UserNetwork", "EvilNetwork")
    file.write_text(forged)
    assert "EvilNetwork" in json.dumps(host.index()["plugins"])
    file.chmod(0o666)
    assert "EvilNetwork" not in json.dumps(host.index()["plugins"])


def test_cache_that_is_a_link_is_not_followed(host, tmp_path):
    host.install("canal", network("canal"))
    host.index()
    elsewhere = tmp_path / "elsewhere"
    host.paths.plugin_index.rename(elsewhere)
    forged = elsewhere.read_text().replace("UserNetwork", "EvilNetwork")
    elsewhere.write_text(forged)
    host.paths.plugin_index.symlink_to(elsewhere)
    assert "EvilNetwork" not in json.dumps(host.index()["plugins"])


def test_cache_that_cannot_be_written_is_no_error(host, tmp_path):
    host.install("canal", network("canal"))
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a directory should be")
    found = host.index(BANGER_CACHE_DIR=str(blocked))
    assert found["plugins"]["canal"]["status"] == "ok"


# --- selection --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "arguments"),
    [
        ({"BANGER_DISABLE": "bad,other"}, ()),
        ({"BANGER_DISABLE": "acme-bad"}, ()),
        ({"BANGER_PLUGINS": ""}, ()),
        ({"BANGER_PLUGINS": "something-else"}, ()),
        ({}, ("--no-plugins",)),
    ],
)
def test_blocked_plugin_is_never_imported(host, tmp_path, environment, arguments):
    mark, source = touched(tmp_path, "bad")
    host.install("bad", source, distribution="acme-bad")
    for _ in range(2):
        found = host.index(*arguments, **environment)["plugins"]
        assert found["bad"]["status"] == "disabled"
        assert found["bad"]["declarations"] == {}
        assert found["user-network"]["status"] == "ok"
    assert not mark.exists()


def test_only_the_named_plugins_and_the_core_s(host):
    for name in ("one", "two"):
        host.install(name, network(name))
    found = host.index(BANGER_PLUGINS="two,typo")
    status = {name: plugin["status"] for name, plugin in found["plugins"].items()}
    assert (status["one"], status["two"], status["user-network"]) == ("disabled", "ok", "ok")
    assert found["missing"] == ["typo"]


def test_the_core_s_own_plugin_can_be_disabled(host):
    found = host.index(BANGER_DISABLE="user-network")["plugins"]["user-network"]
    assert (found["status"], found["error"]) == ("disabled", "disabled by BANGER_DISABLE")


def test_configuration_disables_and_enables_at_once(host, tmp_path):
    mark, source = touched(tmp_path, "bad")
    host.install("bad", source)
    host.paths.config.mkdir(mode=0o700)
    file = host.paths.settings_file
    file.write_text('[plugins]\ndisabled = ["bad"]\n')
    found = host.index()["plugins"]["bad"]
    assert (found["status"], mark.exists()) == ("disabled", False)
    assert found["error"] == "disabled by plugins.disabled in the configuration"
    file.write_text("")
    assert host.index()["plugins"]["bad"]["status"] == "ok"
    assert mark.read_text() == "x"


def test_disabling_for_one_command_costs_the_next_one_nothing(host, tmp_path):
    mark, source = touched(tmp_path, "good")
    host.install("good", source)
    host.index()
    host.index(BANGER_DISABLE="good")
    assert host.index()["plugins"]["good"]["status"] == "ok"
    assert mark.read_text() == "x"


def test_configuration_that_is_no_toml_is_said(banger_paths):
    banger_paths.config.mkdir(mode=0o700)
    banger_paths.settings_file.write_text("[plugins\n")
    with pytest.raises(UsageProblem, match="not valid TOML"):
        load_index(banger_paths)


# --- plugins that misbehave -------------------------------------------------------------------


def test_three_broken_plugins_leave_the_rest_alone(host):
    host.install("raises", "raise RuntimeError('at import')\n")
    host.install("typo", network("typo").replace("banger_networks", "banger_netwoks"))
    host.install("clash", network("user"), distribution="acme-clash", version="3.0")
    host.install("fine", network("fine"))
    out = host.python(
        """
import json
from banger_core.config.paths import Paths
from banger_core.errors import BangerError
from banger_core.model import VmRequest
from banger_core.plugins.registry import load_registry
registry = load_registry(Paths.from_environment())
try:
    registry.networks.load("user")
except BangerError as problem:
    clash = problem.to_dict()
print(json.dumps({
    "status": {plugin.name: [plugin.status, plugin.error] for plugin in registry.plugins()},
    "networks": registry.networks.names(),
    "clash": clash,
    "loaded": str(registry.networks.load("fine").plan("0" * 12, VmRequest(), [], {}).network),
}))
""",
        BANGER_PLUGINS="raises,typo,clash,fine",
    )
    found = json.loads(out)
    assert found["status"]["raises"] == [
        "broken",
        "RuntimeError: at import (raises_raises_plugin.py, line 1)",
    ]
    assert found["status"]["typo"][0] == "broken"
    assert "did you mean banger_networks?" in found["status"]["typo"][1]
    assert found["networks"] == ["none", "fine"]
    assert found["loaded"] == "user"
    assert found["clash"]["code"] == "conflict"
    assert "clash (acme-clash 3.0)" in found["clash"]["cause"]
    assert "user-network (banger " in found["clash"]["cause"]
    assert any("BANGER_DISABLE=clash" in hint for hint in found["clash"]["try"])


def test_disabling_one_side_solves_a_clash(host):
    host.install("clash", network("user"))
    code = """
from banger_core.config.paths import Paths
from banger_core.plugins.registry import load_registry
print(load_registry(Paths.from_environment()).networks.owner("user").name)
"""
    found = [
        host.python(code, BANGER_PLUGINS="clash", BANGER_DISABLE=name).strip()
        for name in ("clash", "user-network")
    ]
    assert found == ["user-network", "clash"]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import no_such_thing\n", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("def broken(:\n", "SyntaxError: "),
        ("raise SystemExit(9)\n", "SystemExit: 9"),
        ("raise AssertionError\n", "AssertionError"),
        ("class Odd(Exception):\n    pass\nraise Odd('two\\nlines')\n", "Odd: two lines"),
    ],
)
def test_module_that_cannot_be_imported_is_recorded(host, source, error):
    host.install("bad", source)
    found = host.index()["plugins"]["bad"]
    assert found["status"] == "broken"
    assert found["error"].startswith(error)
    assert "Traceback" in found["traceback"]


def test_entry_point_without_module_is_recorded(host):
    host.install("gone", module="no_such_package.plugin")
    host.install("attribute", module="banger_core.networks.plugin:banger_networks")
    found = host.index()["plugins"]
    assert found["gone"]["error"] == "ModuleNotFoundError: No module named 'no_such_package'"
    assert "must name a module" in found["attribute"]["error"]


def test_plugins_of_one_name_are_both_refused(host):
    host.install("twin", network("a"), distribution="acme")
    host.install("twin", network("b"), distribution="umbrella")
    code = """
from banger_core.config.paths import Paths
from banger_core.plugins.registry import load_registry
registry = load_registry(Paths.from_environment())
print(registry.networks.names())
for plugin in registry.plugins():
    print(plugin.distribution, plugin.status, plugin.error)
"""
    environment = {"BANGER_PLUGINS": "twin"}
    both = host.python(code, **environment)
    assert "['user', 'none']" in both
    assert "acme broken plugins share this name: twin (acme 1.0) and twin (umbrella 1.0)" in both
    assert "'b'" in host.python(code, **environment, BANGER_DISABLE="acme")
    assert "'a'" in host.python(code, **environment, BANGER_DISABLE="umbrella")


def test_damaged_metadata_of_a_stranger_is_passed_over(host):
    host.install("fine", network("fine"))
    bad = host.directory / "stranger-1.dist-info"
    bad.mkdir()
    (bad / "entry_points.txt").write_bytes(b"[banger]\nnot an entry point\n\xff\xfe")
    assert host.index()["plugins"]["fine"]["status"] == "ok"


def test_warnings_as_errors_do_not_spread(host):
    host.install("deprecated", "import warnings\nwarnings.warn('old')\n" + network("old"))
    host.install("fine", network("fine"))
    found = host.index(PYTHONWARNINGS="error")["plugins"]
    assert (found["deprecated"]["status"], found["fine"]["status"]) == ("broken", "ok")
