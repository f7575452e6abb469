"""Wheels and source distributions: what is in them, and that each works with nothing else here."""

from __future__ import annotations

import email
import json
import re
import tarfile
import zipfile

import pytest
from package_environments import PACKAGES, ROOT

pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("packages")]

NAMES = ["banger", *(package.name for package in PACKAGES[1:])]
PLUGINS = [package.name for package in PACKAGES if package.parent.name == "plugins"]
EXAMPLES = [package.name for package in PACKAGES if package.parent.name == "examples"]

SLOW = {
    "banger_oci": (
        *("behaviours", "fuzz", "hostile", "crash", "shared", "fidelity", "outside"),
        *("download", "wire", "prune", "_auth", "credentials"),
    ),
    "banger_ssh": ("pinfile_writers", "host_authorities"),
    "banger_firecracker": ("machine", "network", "jail", "contracts"),
    "banger_kernels": ("crash", "unpack"),
    "banger_debian": ("system", "_archive", "_image", "_kernels"),
    "banger_dns": ("tools", "responder", "mapdns", "commands", "wiring"),
    "banger_qemu": ("qemu_contracts", "probe"),
}
"""Files of tests that run elsewhere: they take long, and import nothing that the others do not."""

CORE_TESTS = ("tests/unit/config", "tests/unit/plugins", "tests/unit/store", "tests/unit/ui")
LOWEST_TESTS = ("tests/unit/config", "tests/unit/plugins", "tests/unit/testing/test_fakes.py")


@pytest.mark.parametrize("package", PACKAGES, ids=NAMES)
def test_distributions_hold_what_they_should(built, package):
    made = built["banger_core" if package == ROOT else package.name]
    names, metadata = _contents(made.wheel)
    # Files for people (.data) may come along, and one module alone has no marker of its types
    code = [name for name in names if not re.match(r"[^/]+\.(dist-info|data)/", name)]
    tops = {name.partition("/")[0] for name in code}
    assert len(tops) == 1, "a wheel brings one package or module, and no tests"
    (top,) = tops
    assert f"{top}/py.typed" in names or code == [top]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert _licence(made.wheel) == (ROOT / "LICENSE").read_text()
    assert metadata.get_payload().startswith("# ")
    if package == ROOT:
        assert [name for name in names if name.endswith(".data/data/share/man/man1/banger.1")]
    else:
        requires = metadata.get_all("Requires-Dist")
        assert any(need.startswith("banger") for need in requires), "a plugin needs the core"
    with tarfile.open(made.sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE"} <= files
    assert any(name.startswith("tests/") for name in files)
    # What git does not know does not get in
    assert not [name for name in files if "__pycache__" in name or name.startswith(".venv")]


def test_the_core_alone(built, fresh):
    environment = fresh(pip=True)
    environment.install(built["banger_core"].wheel)
    environment.uv("check")
    assert environment.banger("--version").startswith("banger ")
    (only,) = json.loads(environment.banger("plugin", "list", "--json"))
    assert (only["name"], only["status"]) == ("user-network", "ok")
    try:
        assert json.loads(environment.banger("vm", "list", "--json")) == []
        with pytest.raises(AssertionError, match="-m pip install banger-oci"):
            environment.banger("image", "pull", "python:3.12-slim")
    finally:
        environment.banger("daemon", "stop")
    last = environment.with_test_tools().tests(built["banger_core"], *CORE_TESTS)
    assert " passed" in last


@pytest.mark.parametrize("name", [*PLUGINS, "audit-log", "git-tree", "stock"])
def test_a_plugin_with_the_core_alone(built, fresh, name):
    # With pip: tests download with it
    environment = fresh(pip=True)
    environment.install(built["banger_core"].wheel, built[name].wheel)
    environment.uv("check")
    plugins = json.loads(environment.banger("plugin", "list", "--json"))
    assert {plugin["distribution"] for plugin in plugins} == {"banger", _distribution(built[name])}
    assert {plugin["status"] for plugin in plugins} == {"ok"}
    last = environment.with_test_tools().tests(built[name], skip=SLOW.get(name, ()))
    assert " passed" in last


def test_everything_together(built, fresh):
    environment = fresh()
    core = f"banger[all] @ {built['banger_core'].wheel.as_uri()}"
    others = [*PLUGINS, *EXAMPLES]
    environment.install(core, *(built[name].wheel for name in others))
    environment.uv("check")
    plugins = json.loads(environment.banger("plugin", "list", "--json"))
    assert {plugin["status"] for plugin in plugins} == {"ok"}
    assert {plugin["distribution"] for plugin in plugins} >= {
        _distribution(built[name]) for name in others
    }


def test_the_oldest_versions_that_are_promised(built, fresh):
    environment = fresh(pip=True)
    ours = [built[name].wheel for name in ("banger_core", *PLUGINS)]
    # Only what is asked for by name is "direct": all that our packages need, and no more
    needs = sorted({need for wheel in ours for need in _needs(wheel)})
    environment.install("--resolution", "lowest-direct", *ours, *needs)
    environment.uv("check")
    environment.with_test_tools()
    versions = dict(line.split("==") for line in environment.uv("freeze").split() if "==" in line)
    assert versions["pluggy"] == "1.5.0"
    assert versions["typer"].startswith("0.28")
    assert " passed" in environment.tests(built["banger_core"], *LOWEST_TESTS)
    for name in PLUGINS:
        last = environment.tests(built[name], skip=SLOW.get(name, ()))
        assert " passed" in last


def _contents(wheel):
    """The names of a wheel's files, and its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (facts,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        return names, email.message_from_bytes(archive.read(facts))


def _licence(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (file,) = (name for name in archive.namelist() if name.endswith("/licenses/LICENSE"))
        return archive.read(file).decode()


def _needs(wheel):
    """What a wheel needs that is none of ours."""
    for need in _contents(wheel)[1].get_all("Requires-Dist"):
        if not need.startswith("banger") and "extra ==" not in need:
            yield need


def _distribution(made):
    return made.wheel.name.partition("-")[0].replace("_", "-")
