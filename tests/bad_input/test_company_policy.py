"""A company's SSH policy, installed as a plugin: what it is worth is said by root's files alone."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from banger_core.testing.fakes import CONFIG
from banger_core.testing.install import install_plugin

EXAMPLE = Path(__file__).parents[2] / "examples" / "acme-ssh-policy" / "src"
POLICY = "acme-ssh-policy"
WISHES = "[ssh]\nagent_forwarding = true\nidle_limit = 7\n"
WITH_ETC = 'mount --bind "$1" /etc; shift; exec "$@"'

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has an /etc of its own")


@pytest.fixture
def etc(tmp_path):
    """A copy of this host's /etc, with a place for banger's administrator."""
    place = tmp_path / "etc"
    shutil.copytree("/etc", place, symlinks=True, ignore=shutil.ignore_patterns("banger"))
    (place / "banger").mkdir(mode=0o755)
    return place


@pytest.fixture
def office(house, etc):
    """A house on a computer with that /etc and the company's plugin, whose user has wishes."""
    install_plugin(house.home / "site", POLICY, module="acme_ssh_policy.plugin")
    house.configure(CONFIG + WISHES)
    house = house.with_env(
        PYTHONPATH=f"{house.home / 'site'}:{EXAMPLE}", BANGER_PLUGINS=f"fakes,{POLICY}"
    )
    enter = ("unshare", "--mount", "--propagation", "private", "sh", "-ec", WITH_ETC, "sh")
    yield replace(house, prefix=(*enter, str(etc)))
    assert "Traceback" not in house.log()
    house.close()


def trust(etc, owner=0):
    file = etc / "banger" / "config.toml"
    file.write_text(f'trusted_policies = ["{POLICY}"]\n')
    file.chmod(0o644)
    os.chown(file, owner, owner)


def settings(house):
    rows = house.json("ssh", "explain", "web")["settings"]
    return {row["setting"]: row for row in rows}


def test_listed_by_root_it_locks_and_the_user_is_told(office, etc):
    trust(etc)
    done = office.run("vm", "run", "--detach", "--name", "web")
    assert done.returncode == 0, done.stderr
    assert "agent_forwarding" in done.stderr
    found = settings(office)
    for name in ("agent_forwarding", "idle_limit", "host_authorities", "certificate"):
        assert found[name]["origin"].startswith(POLICY)
        assert found[name]["locked_by"].startswith(POLICY)
    assert found["agent_forwarding"]["value"] is False
    assert [lost["value"] for lost in found["idle_limit"]["lost"]] == [7]
    assert "locked by" in found["idle_limit"]["lost"][0]["why"]
    assert f"{POLICY} (" in office.ok("ssh", "explain", "web")


def test_not_listed_it_is_one_layer_among_others(office):
    done = office.run("vm", "run", "--detach", "--name", "web")
    assert done.returncode == 0, done.stderr
    assert "agent_forwarding" not in done.stderr
    found = settings(office)
    assert (found["agent_forwarding"]["value"], found["idle_limit"]["value"]) == (True, 7)
    assert not any(row["locked_by"] for row in found.values())
    assert found["certificate"]["origin"].startswith(POLICY)


def test_a_list_that_is_not_root_s_stops_everything(office, etc):
    trust(etc, owner=65534)
    failure = office.fails("vm", "run", "--detach", "--name", "web", code=4)
    assert "/etc/banger/config.toml" in failure.error + failure.cause
    assert office.json("vm", "list") == []


def test_a_listed_policy_that_is_not_installed_stops_everything(office, etc):
    trust(etc)
    office = office.with_env(BANGER_PLUGINS="fakes")
    failure = office.fails("vm", "run", "--detach", "--name", "web", code=4)
    assert POLICY in failure.error + failure.cause
