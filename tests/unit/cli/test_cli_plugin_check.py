"""``banger plugin check``: what it says of plugins that keep their contracts and of others."""

from __future__ import annotations

import json

import pytest

from banger_core.scaffold.render import write_package
from banger_core.testing.install import install_plugin

BAD = """
import pydantic
from banger_core.api import DoctorCheck, EventSink, Settings, SshPolicy, hookimpl
BANGER_API = 1
@hookimpl
def banger_doctor_checks():
    yield DoctorCheck(name="bad", summary="A", load="bad_parts:Check")
@hookimpl
def banger_ssh_policies():
    yield SshPolicy(name="bad", summary="A", load="bad_parts:policy")
@hookimpl
def banger_event_sinks():
    yield EventSink(name="bad", summary="A", load="bad_parts:NoSuchSink")
@hookimpl
def banger_settings():
    yield Settings(name="bad", summary="A", load="bad_parts:Section")
"""
PARTS = """
from pathlib import Path
from pydantic import BaseModel
from banger_core.api import SshPatch

class Check:
    async def check(self, cx):
        return []
    async def fix(self, cx):
        Path({mark!r}).touch()
        return []

def policy(facts):
    return SshPatch(set={{"user": facts.vm_name}})

class Section(BaseModel):
    where: str
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(place))
    return place


def test_a_plugin_that_breaks_its_contracts_is_told_what_they_ask(cli, home, site, tmp_path):
    mark = tmp_path / "mended"
    install_plugin(site, "bad", source=BAD)
    (site / "bad_parts.py").write_text(PARTS.format(mark=str(mark)))
    done = cli("plugin", "check", "bad", "--json")
    assert done.returncode == 5, done.stderr
    found = json.loads(done.stdout)
    said = {each["subject"]: each for each in found if each["level"] == "fail"}
    assert "it imports" in said["bad"]["why"]
    assert "pydantic" in said["bad"]["why"]
    assert "the contract asks that a check that has nothing" in said["doctor check bad"]["why"]
    assert "banger_core/contracts.py, DoctorCheck" in said["doctor check bad"]["why"]
    assert "failed in banger_event_sinks" in said["event sink bad"]["message"]
    assert {each["message"] for each in found if each["subject"] == "settings section bad"} >= {
        "every setting has a default",
        "mistyped names are refused",
    }
    policy = next(each for each in found if each["subject"] == "SSH policy bad")
    assert (policy["level"], policy["message"]) == ("pass", "SshPolicyContract: 3 tests pass")
    # The host was not mended: nobody said --host
    assert not mark.exists()


def test_a_new_image_source_passes_when_it_is_told_of_an_image(cli, home, site, tmp_path):
    package = write_package("image-source", "acme-tree", tmp_path)
    (package / "src" / "acme_tree").rename(site / "acme_tree")
    install_plugin(site, "acme-tree", module="acme_tree.plugin")
    done = cli("plugin", "check", "acme-tree")
    assert done.returncode == 0
    assert "fix: banger plugin check acme-tree --with ref=… --with missing=…" in done.stdout
    done = cli(
        *("plugin", "check", "acme-tree", "--with", "ref=acme-tree://hello"),
        *("--with", "missing=acme-tree://nope"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS  image source acme-tree: ImageSourceContract: 8 tests pass" in done.stdout
    assert "PASS  acme-tree: importing acme_tree.plugin: 0 modules beside the API" in done.stdout


def test_what_cannot_be_checked_says_why(cli, home, site):
    install_plugin(site, "broken", source="raise OSError('no luck')")
    done = cli("plugin", "check", "broken")
    assert done.returncode == 5
    assert "cause: OSError: no luck" in done.stderr
    done = cli("plugin", "check", "brokn")
    assert done.returncode == 2
    assert "did you mean broken?" in done.stderr
    done = cli("plugin", "check", "broken", "--with", "ref")
    assert done.returncode == 2
    assert "--with 'ref' is no NAME=VALUE" in done.stderr
