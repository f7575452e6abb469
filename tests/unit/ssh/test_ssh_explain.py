"""Explanations: every value, who set it, who lost and why; and policies that come later."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from banger_core.contracts import SshPatch
from banger_core.engine.ssh import ssh_target, write_note
from banger_core.engine.ssh_explain import CERTAIN, explanation
from banger_core.engine.ssh_policy import USER, overruled
from banger_core.model import ProjectPolicy
from banger_core.plan.ssh_keys import KEYS
from banger_core.plan.ssh_policy import Authority, PolicyLayer, fold

PROJECT = "/work/.banger.toml"


def layer(authority, origin, lock=(), **values):
    return PolicyLayer(
        origin=origin, authority=authority, patch=SshPatch(set=values, lock=frozenset(lock))
    )


@pytest.fixture
def explained(paths, settings, make_record):
    def explain(*layers):
        record = make_record()
        plan = replace(record.plan, ssh=fold(layers), project=ProjectPolicy(path=PROJECT))
        record = replace(record, plan=plan)
        found = explanation(plan, ssh_target(record, paths, settings))
        assert json.loads(json.dumps(found)) is not None
        return found

    return explain


def row(found, name):
    return next(each for each in found["settings"] if each["setting"] == name)


def test_every_setting_and_every_option_has_its_author(explained):
    found = explained(layer(Authority.USER, USER, compression=True))
    assert {each["setting"] for each in found["settings"]} == set(KEYS)
    assert row(found, "compression")["origin"] == USER
    options = {each["option"]: each for each in found["options"]}
    assert options["Compression"] == {"option": "Compression", "value": "yes", "origin": USER}
    assert options["StrictHostKeyChecking"]["value"] == "yes"
    assert options["StrictHostKeyChecking"]["origin"] == CERTAIN
    assert options["User"]["value"] == "root"


def test_what_lost_says_why(explained):
    found = explained(
        layer(Authority.PLUGIN, "acme (acme)", compression=True, connect_timeout=5),
        layer(Authority.USER, USER, agent_forwarding=True, connect_timeout=9),
        layer(Authority.PROJECT, PROJECT, compression=True, agent_forwarding=True),
        layer(Authority.ADMIN, "/etc/x.toml", lock=["agent_forwarding"], agent_forwarding=False),
    )
    agent = row(found, "agent_forwarding")
    assert (agent["value"], agent["locked_by"]) == (False, "/etc/x.toml")
    assert {(each["origin"], each["why"]) for each in agent["lost"]} == {
        (USER, "locked by /etc/x.toml"),
        (PROJECT, "locked by /etc/x.toml"),
    }
    assert row(found, "connect_timeout")["lost"] == [
        {"origin": "acme (acme)", "value": 5, "why": f"{USER} goes before it"}
    ]
    loosens = explained(layer(Authority.PROJECT, PROJECT, agent_forwarding=True))
    assert row(loosens, "agent_forwarding")["lost"][0]["why"].startswith("a project can only")


def test_a_forwarded_agent_shares_no_connection_and_says_so(explained):
    found = explained(layer(Authority.USER, USER, agent_forwarding=True))
    path = next(each for each in found["options"] if each["option"] == "ControlPath")
    assert path["value"] == "none"
    assert "agent" in path["origin"]


def test_the_user_is_told_of_what_a_lock_overrules():
    ssh = fold(
        [
            layer(Authority.USER, USER, agent_forwarding=True, compression=True),
            layer(Authority.ADMIN, "/etc/x.toml", lock=["agent_forwarding"]),
        ]
    )
    assert list(overruled(ssh)) == [
        "agent_forwarding = True of your configuration does not hold: /etc/x.toml locks it at False"
    ]


def test_a_note_carries_the_stamps_of_what_decided(paths, settings, make_record):
    paths.settings_file.write_text("[ssh]\n")
    target = ssh_target(make_record(), paths, settings)
    facts = paths.settings_file.stat()
    assert target.stamps[str(paths.settings_file)] == (
        facts.st_mtime_ns,
        facts.st_size,
        facts.st_ino,
    )
    write_note(paths, target)
    assert "/etc/banger/policy.d" in json.loads(paths.note("web").read_text())["stamps"]
