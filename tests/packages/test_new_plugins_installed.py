"""What ``banger plugin new`` writes is installed and its tests pass; and installing itself."""

from __future__ import annotations

import json

import pytest
from package_environments import ROOT, call

from banger_core.scaffold.kinds import TEMPLATES
from banger_core.testing.suites import SUITES

pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("packages")]


def rows(environment):
    plugins = json.loads(environment.banger("plugin", "list", "--json"))
    return {plugin["name"]: plugin for plugin in plugins}


def checked(environment, *words):
    """What ``banger plugin check`` says, by what it says it of."""
    said = json.loads(environment.banger("plugin", "check", *words, "--json"))
    assert {each["level"] for each in said} <= {"pass", "warn"}, said
    return [f"{each['level']} {each['message']}" for each in said]


def test_new_plugins_of_every_kind_pass_their_tests(built, fresh):
    environment = fresh()
    environment.install(built["banger_core"].wheel, "pytest>=8.3")
    made = {
        kind: environment.banger("plugin", "new", kind, f"acme-{kind}", "-d", "new").splitlines()[0]
        for kind in TEMPLATES
    }
    environment.install(*(environment.home / path for path in made.values()))
    environment.uv("check")
    for kind, path in made.items():
        plugin = rows(environment)[f"acme-{kind}"]
        assert (plugin["status"], plugin["error"]) == ("ok", "")
        said = call(environment.python.with_name("pytest"), "-q", cwd=environment.home / path)
        assert " passed" in said.strip().splitlines()[-1]
        assert "failed" not in said
        *_, words = TEMPLATES[kind].check_words(f"acme-{kind}").partition(" check ")
        suite = SUITES[TEMPLATES[kind].hook].__name__
        weight, *suites = checked(environment, *words.split())
        assert weight.startswith("pass importing ")
        # There are no kernels in its directory yet
        empty = kind == "kernel-provider"
        assert [each.split(":")[0] for each in suites] == [
            *[f"warn {suite} is not whole"] * empty,
            f"pass {suite}",
        ]


@pytest.mark.parametrize("pip", [True, False], ids=["pip", "uv"])
def test_install_and_uninstall(built, fresh, pip):
    environment = fresh(pip=pip)
    environment.install(built["banger_core"].wheel)
    said = environment.banger("plugin", "install", str(built["audit-log"].wheel), "--quiet")
    assert "plugin audit-log (banger-audit-log 1.0.0): ok\n" in said
    assert rows(environment)["audit-log"]["status"] == "ok"
    assert "PASS" in environment.banger("plugin", "doctor")
    again = environment.banger("plugin", "install", str(built["audit-log"].wheel), "--quiet")
    assert "no plugin is new\n" in again
    config = environment.home / "config"
    config.mkdir(mode=0o700, exist_ok=True)
    (config / "config.toml").write_text("[plugins.audit-log]\n")
    (config / "config.toml").chmod(0o600)
    said = environment.banger("plugin", "uninstall", "audit-log")
    assert "removed banger-audit-log\n" in said
    assert "still has the section [plugins.audit-log]" in said
    assert "audit-log" not in rows(environment)


def test_what_cannot_be_installed_changes_nothing(built, fresh):
    environment = fresh()
    environment.install(built["banger_core"].wheel)
    before = environment.uv("freeze")
    missing = environment.home / "no-such-directory"
    with pytest.raises(AssertionError, match=r"error: the packages could not be installed\ncause:"):
        environment.banger("plugin", "install", str(missing))
    assert environment.uv("freeze") == before


def test_a_directory_that_an_author_works_on(built, fresh):
    environment = fresh()
    environment.install(built["banger_core"].wheel)
    environment.banger("plugin", "new", "event-sink", "acme-sink")
    place = environment.home / "acme-sink"
    said = environment.banger("plugin", "install", "--quiet", "--editable", str(place))
    assert "plugin acme-sink (acme-sink 0.1.0): ok" in said
    # What is changed there counts at once
    (place / "src" / "acme_sink" / "plugin.py").write_text("raise OSError('at work')\n")
    assert rows(environment)["acme-sink"]["error"] == "OSError: at work (plugin.py, line 1)"
    assert ROOT not in place.parents
