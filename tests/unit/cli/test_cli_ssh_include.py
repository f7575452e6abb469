"""What is included: ssh itself reads it, and says what it makes of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from banger_core.client.sshconfig import install
from banger_core.config.paths import Paths
from banger_core.engine.ssh_include import include_path, include_text, write_include
from banger_core.errors import UsageProblem

ODD = [
    "plain", "two words", 'q"uote', "sing'le", "st*ar", "qu?est", "br[a]ck", "ne!g", "back\\slash",
    "trail\\", "{a,b}", "~tilde", "#hash", "a$b", "$HOME", "ünder", "a=b", '\\"*[!x]?', "-dash",
]  # fmt: skip


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return at(tmp_path / "state")


def at(state: Path) -> Paths:
    here = state.parent
    return Paths(config=here / "c", state=state, cache=here / "k", runtime=here / "r")


def settings(config: Path, host: str) -> dict[str, str]:
    """What ssh would do for ``host``: the last value of each option."""
    done = subprocess.run(
        ["ssh", "-F", str(config), "-G", host], capture_output=True, text=True, check=True
    )
    return dict(line.partition(" ")[::2] for line in done.stdout.splitlines())


def user_file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "user_config"
    file.write_text(text)
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("name", ODD)
def test_ssh_finds_what_is_included_whatever_the_directory_is_called(tmp_path, name):
    paths = at(tmp_path / name)
    paths.ready()
    included = write_include(paths, paths.ssh / "id")
    block = paths.ssh / "vms" / "web.conf"
    block.parent.mkdir(mode=0o700)
    block.write_text("Host web.vm\n    Port 1022\n")
    block.chmod(0o600)
    decoy = paths.ssh / "vms" / "web.json"
    decoy.write_text("Port 1\n")
    config = user_file(tmp_path, "")
    install(config, f"Include {include_path(included)}")
    assert settings(config, "web.vm")["port"] == "1022"
    assert settings(config, "other.vm")["userknownhostsfile"] == str(paths.known_hosts)
    assert settings(config, "other.vm")["stricthostkeychecking"] == "true"


@pytest.mark.parametrize("name", ["a%b", "${HOME}", "line\nbreak", "bell\a", "\udce4"])
def test_directories_on_which_versions_of_ssh_disagree_are_refused(tmp_path, name):
    with pytest.raises(UsageProblem) as caught:
        include_path(tmp_path / name)
    assert "BANGER_STATE_DIR" in caught.value.hints[0]


def test_a_relative_path_is_refused():
    with pytest.raises(UsageProblem):
        include_path(Path("state/ssh/config"))


def test_the_file_is_private(paths):
    assert write_include(paths, paths.ssh / "id").stat().st_mode & 0o777 == 0o600


def test_hosts_of_the_user_are_what_they_were(tmp_path, paths):
    text = "Host example.com\n    User me\nHost *\n    Port 2222\n    ForwardAgent yes\n"
    config = user_file(tmp_path, text)
    hosts = ("example.com", "web", "vm", "web.vmx", "xvm", "10.0.0.1", "web.vm.example.com")
    before = [settings(config, host) for host in hosts]
    install(config, f"Include {include_path(write_include(paths, paths.ssh / 'id'))}")
    assert [settings(config, host) for host in hosts] == before


def test_a_host_block_of_the_user_does_not_weaken_a_name_of_ours(tmp_path, paths):
    config = user_file(
        tmp_path,
        "Host *\n    ForwardAgent yes\n    StrictHostKeyChecking accept-new\n"
        "    UpdateHostKeys yes\n    ProxyJump bastion\n    KnownHostsCommand /bin/echo x\n"
        "    IdentitiesOnly no\n    ControlMaster auto\n    ControlPath /tmp/x\n",
    )
    install(config, f"Include {include_path(write_include(paths, paths.ssh / 'id'))}")
    found = settings(config, "gone.vm")
    assert found["forwardagent"] == "no"
    assert found["stricthostkeychecking"] == "true"
    assert found["updatehostkeys"] == "false"
    assert found["identitiesonly"] == "yes"
    assert found["controlmaster"] == "false"
    assert found["identityfile"] == str(paths.ssh / "id")
    assert "proxyjump" not in found
    assert "knownhostscommand" not in found


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
@pytest.mark.parametrize(
    "host", ["web.vm", "UP.vm", "a.image.vm", "x$(touch${IFS}owned).vm", "'`id`;touch owned'.vm"]
)
def test_a_name_that_does_not_run_ends_at_once_with_what_to_do(tmp_path, paths, shell, host):
    config = write_include(paths, paths.ssh / "id")
    done = subprocess.run(
        ["ssh", "-F", str(config), "-o", "BatchMode=yes", host, "true"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "SHELL": shell},
        timeout=30,
        check=False,
    )
    assert done.returncode == 255
    assert done.stdout == ""
    assert not (tmp_path / "owned").exists()
    if "touch" in host:
        # Newer versions of ssh refuse such names before anything runs
        return
    assert done.stderr.splitlines() == [
        "error: no machine of this name runs",
        "cause: it is stopped, or there is none, or its policy cannot be read",
        "try: banger ssh NAME    (says which)",
        "try: banger vm start NAME",
    ]


def test_nothing_of_the_name_reaches_the_shell(paths):
    text = include_text(paths, paths.ssh / "id").replace("%%", "")
    assert "%" not in text
