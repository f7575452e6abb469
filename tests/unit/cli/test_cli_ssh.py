"""`banger ssh`: its commands, and how they are told from machines."""

from __future__ import annotations

import json
import os
import pwd

import pytest

from banger_core.cli import app
from banger_core.cli.ssh import ssh as noun
from banger_core.config.paths import Paths
from banger_core.plan.names import RESERVED
from banger_core.testing.stored import store_names

LINE = 'Include "/state/ssh/config"'
PIN = {
    "names": ["web.vm", "[127.64.0.2]:1022"],
    "name": "web.vm",
    "address": "[127.64.0.2]:1022",
    "key_type": "ssh-ed25519",
    "fingerprint": "SHA256:" + "A" * 43,
    "marker": "",
    "vm_id": "0123456789ab",
    "vm": "web",
    "stale": False,
    "line": 1,
}


@pytest.fixture
def configured(home, daemon):
    included = home / "included"
    included.write_text("Host *.vm\n    Port 1\n")
    included.chmod(0o600)
    answer = {"file": str(included), "include": LINE, "text": "Host *.vm\n    Port 1\n"}
    daemon.answers["GET /v1/ssh/config"] = lambda _: answer
    daemon.answers["POST /v1/ssh/config"] = lambda _: answer
    return answer


def test_the_words_are_the_same_everywhere():
    assert set(noun.members) == app.SSH_COMMANDS
    assert app.SSH_COMMANDS == RESERVED


@pytest.mark.parametrize("word", sorted(RESERVED))
def test_a_command_is_never_a_machine(here, home, noted, word):
    """Not even with a note of that name: the shortcut would have become ssh."""
    noted.rename(noted.with_name(f"{word}.json"))
    status, out, err = here("ssh", word, "--bogus")
    assert status == 2
    assert out == ""
    assert "--bogus" in err or "no banger ssh command" in err


def test_vm_ssh_reaches_a_machine_that_is_called_like_a_command(cli, noted, ssh):
    noted.rename(noted.with_name("config.json"))
    assert cli("vm", "ssh", "config", "echo", "hello").stdout == "hello\n"


def test_machines_are_reached_as_before(cli, noted, ssh):
    assert cli("ssh", "web", "echo", "hello").stdout == "hello\n"
    assert cli("ssh", "web", "--", "echo", "config").stdout == "config\n"


def test_options_before_the_machine_are_those_of_its_shell(cli, noted, ssh):
    done = cli("ssh", "--user", "www-data", "web", "id")
    assert ssh.calls[0]["remote"] == ["banger-as www-data id"], done.stderr


@pytest.mark.parametrize("verb", [("ssh",), ("vm", "ssh")])
@pytest.mark.parametrize("option", [("--user", "www-data"), ("--user=www-data",)])
def test_the_user_may_stand_after_the_machine(cli, noted, ssh, verb, option):
    done = cli(*verb, "web", *option, "-v", "id")
    assert ssh.calls[0]["remote"] == ["-v", "banger-as www-data id"], done.stderr


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--usr", "me"), "no such option: --usr"),
        (("--help",), "no such option: --help"),
        (("--user",), "option --user needs a value"),
        (("--user=",), "option --user needs a value"),
    ],
)
def test_other_long_options_never_reach_ssh(cli, noted, ssh, words, error):
    done = cli("ssh", "web", *words)
    assert (done.returncode, ssh.calls) == (2, [])
    assert done.stderr.startswith(f"error: {error}\n")


@pytest.mark.parametrize("words", [("ssh",), ("ssh", "--help"), ("ssh", "-h")])
def test_help_shows_both_ways(here, words):
    _, out, err = here(*words)
    assert "VM [ARGS]…" in out + err
    assert "known-hosts" in out + err


def test_completion_offers_commands_and_machines(cli, home):
    store_names(Paths.from_environment(), vms=["web", "cow"])
    offered = cli("ssh", "co", _BANGER_COMPLETE="bash").stdout.splitlines()
    assert [line.partition("\t")[0] for line in offered] == ["config", "cow"]


def test_config_shows_and_changes_nothing(here, configured, daemon):
    assert here("ssh", "config") == (0, configured["text"], "")
    assert json.loads(here("ssh", "config", "--json")[1]) == configured
    assert {asked.method for asked in daemon.asked} == {"GET"}


def test_install_and_uninstall_say_what_they_did(here, configured, home):
    file = home / "config-of-mine"
    status, out, err = here("ssh", "config", "--install", "--file", str(file))
    assert (status, out) == (0, "")
    assert f"{file} was made and includes banger's machines now" in err
    assert file.read_text().startswith(LINE)
    assert "already" in here("ssh", "config", "--install", "--file", str(file))[2]
    assert "gone" in here("ssh", "config", "--uninstall", "--file", str(file))[2]
    assert not file.exists()
    assert "nothing was to be done" in here("ssh", "config", "--uninstall", "--file", str(file))[2]


def test_json_says_what_was_done(here, configured, home):
    file = home / "config-of-mine"
    words = ("--file", str(file), "--json")
    said = [
        json.loads(here("ssh", "config", option, *words)[1])
        for option in ("--install", "--install", "--uninstall", "--uninstall")
    ]
    assert [each["action"] for each in said] == ["installed", "unchanged", "removed", "absent"]
    assert [each["made"] for each in said] == [True, False, True, False]
    assert {each["path"] for each in said} == {str(file)}


def test_uninstalling_needs_no_daemon(here, home):
    assert here("ssh", "config", "--uninstall", "--file", str(home / "none"))[0] == 0


def test_both_at_once_are_refused(here, home):
    status, _, err = here("ssh", "config", "--install", "--uninstall")
    assert status == 2
    assert "exclude each other" in err


def test_a_home_that_ssh_does_not_use_is_refused_before_anything_is_asked(here, home, daemon):
    assert os.environ["HOME"] != pwd.getpwuid(os.getuid()).pw_dir
    status, _, err = here("ssh", "config", "--install")
    assert status == 2
    assert "--file" in err
    assert not daemon.asked


def test_known_hosts_is_a_table(here, daemon):
    stale = {**PIN, "name": "old.vm", "vm": "", "stale": True, "address": ""}
    hashed = {**PIN, "name": "|1|c2FsdA==|aGFzaA==", "vm": "", "vm_id": "", "marker": "@revoked"}
    daemon.answers["GET /v1/ssh/known-hosts"] = lambda _: {"pins": [PIN, stale, hashed]}
    out = here("ssh", "known-hosts")[1]
    first, second, third = (line.split() for line in out.splitlines()[-3:])
    assert first[:5] == ["web.vm", PIN["address"], "ssh-ed25519", PIN["fingerprint"], "web"]
    assert second[:6] == ["old.vm", "-", *first[2:4], "0123456789ab", "(stale)"]
    assert third == ["(hashed)", *first[1:4], "-", "@revoked"]
    assert json.loads(here("ssh", "known-hosts", "--json")[1]) == [PIN, stale, hashed]


def test_no_pins_are_said(here, daemon):
    daemon.answers["GET /v1/ssh/known-hosts"] = lambda _: {"pins": []}
    assert here("ssh", "known-hosts") == (0, "", "no host key is pinned\n")
    assert json.loads(here("ssh", "known-hosts", "--json")[1]) == []


def test_forget_says_what_went_and_what_was_pinned_again(here, daemon):
    answer = {"vm": "web", "removed": [{**PIN, "fingerprint": "SHA256:old"}], "pinned": [PIN]}
    daemon.answers["POST /v1/ssh/forget"] = lambda _: answer
    status, out, err = here("ssh", "forget", "web")
    assert status == 0
    assert out.splitlines() == [
        "forgot web.vm,[127.64.0.2]:1022 ssh-ed25519 SHA256:old",
        f"pinned web.vm,[127.64.0.2]:1022 ssh-ed25519 {PIN['fingerprint']}",
    ]
    assert "web runs" in err
    assert daemon.asked[-1].body == {"name": "web"}
    assert json.loads(here("ssh", "forget", "web", "--json")[1]) == answer
