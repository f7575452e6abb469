"""The command line for OpenSSH, against a real sshd on the loopback interface."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from banger_core.config.paths import Paths
from banger_core.config.settings import Settings, SshSettings
from banger_core.engine.run import run
from banger_core.engine.ssh import (
    identity,
    public_key,
    remove_note,
    run_in_guest,
    ssh_path,
    ssh_target,
    write_note,
)
from banger_core.errors import BangerError, UsageProblem
from banger_core.jsonable import from_json
from banger_core.model import SshTarget


@pytest.fixture
def key(paths, settings):
    return asyncio.run(identity(paths, settings, run))


@pytest.fixture
def server(start_sshd, key):
    return start_sshd(asyncio.run(public_key(key, run)))


@pytest.fixture
def target(paths, settings, server, make_record):
    pin(paths, server.host_key)
    return ssh_target(make_record("web", server.port), paths, settings)


def pin(paths, host_key, name="web"):
    paths.ssh.mkdir(mode=0o700, exist_ok=True)
    paths.known_hosts.write_text(f"{name}.vm {host_key}\n")


def options(target):
    words = list(target.argv)
    pairs = [words[i + 1].split("=", 1) for i, word in enumerate(words) if word == "-o"]
    return dict(pairs)


def test_it_logs_in_at_first_try_and_touches_nothing_of_the_user(ssh, paths, target):
    home = paths.state.parent / "home"
    (home / ".ssh").mkdir()
    (home / ".ssh" / "config").write_text("Host *\n  ProxyCommand false\n")
    (home / ".ssh" / "known_hosts").write_text("# mine\n")
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    pins = paths.known_hosts.read_bytes()
    done = ssh(target, "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
    assert paths.known_hosts.read_bytes() == pins
    assert ssh(target, "cat", input=b"a\0b" * 50_000).stdout == b"a\0b" * 50_000


def test_another_host_key_is_refused_and_shown(ssh, paths, target, server, start_sshd):
    assert ssh(target, "true").returncode == 0
    server.stop()
    start_sshd("", server.port)
    done = ssh(target, "true")
    assert done.returncode == 255
    assert b"REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr
    assert server.host_key in paths.known_hosts.read_text()


def test_an_unpinned_host_is_refused_without_a_question(ssh, paths, target):
    paths.known_hosts.write_text("")
    done = ssh(target, "true")
    assert done.returncode == 255
    assert b"Host key verification failed" in done.stderr
    paths.known_hosts.unlink()
    assert ssh(target, "true").returncode == 255
    assert not paths.known_hosts.exists()


def test_a_file_called_none_is_not_the_global_list(ssh, paths, target, server, tmp_path):
    paths.known_hosts.write_text("")
    (tmp_path / "none").write_text(f"web.vm {server.host_key}\n")
    assert ssh(target, "true", cwd=tmp_path).returncode == 255


def test_the_address_alone_vouches_for_nobody(ssh, paths, target, server):
    paths.known_hosts.write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    assert ssh(target, "true").returncode == 255


def test_a_terminal_shows_the_guest_and_nothing_else(target):
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(target.argv[0], [*target.argv[:1], "-t", *target.argv[1:], "echo hi; exit 3"])
    seen = b""
    try:
        while data := os.read(terminal, 4096):
            seen += data
    except OSError:
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert seen == b"hi\r\n"


ODD = [
    "with space %h #hash",
    'quo"te apo\'stro \\slash \\"both',
    "#x $HOME,a=~ünï\nline",
    " lead and trail ",
]


def test_any_path_works(tmp_path, server, key, make_record, ssh):
    said = {}
    for odd in ODD:
        place = tmp_path / odd
        place.mkdir()
        chosen = Settings(ssh=SshSettings(ssh_key_path=place / "my key"))
        shutil.copy(key, place / "my key")
        odd_paths = Paths(config=place, state=place, cache=place, runtime=place)
        pin(odd_paths, server.host_key)
        done = ssh(ssh_target(make_record("web", server.port), odd_paths, chosen), "echo", "ok")
        said[odd] = (done.returncode, done.stdout, done.stderr)
    assert said == dict.fromkeys(ODD, (0, b"ok\n", b""))


def test_a_path_that_ssh_cannot_take_is_refused(tmp_path):
    with pytest.raises(UsageProblem, match="cannot use the path"):
        ssh_path(tmp_path / "${HOME}")


def test_checking_is_strict_and_nothing_is_thrown_away(paths, settings, make_record):
    target = ssh_target(make_record(), paths, settings)
    found = options(target)
    assert found["StrictHostKeyChecking"] == "yes"
    assert found["UpdateHostKeys"] == "no"
    assert found["HostKeyAlias"] == "web.vm"
    assert found["ForwardAgent"] == "no"
    assert "/dev/null" not in " ".join(target.argv)
    assert target.argv[:3] == ("ssh", "-F", "none")
    assert len(found) == target.argv.count("-o")


def test_every_option_has_an_origin_and_openssh_knows_it(paths, settings, make_record):
    record = make_record(agent_forwarding=True, kex_algorithms="-diffie-hellman-*")
    target = ssh_target(record, paths, settings)
    found = options(target)
    assert found.keys() | {"User"} == target.origins.keys()
    assert target.origins["ForwardAgent"] == "test"
    assert target.origins["Compression"] == "core"
    assert target.origins["StrictHostKeyChecking"] == "fixed"
    argv = [target.argv[0], "-G", *target.argv[1:]]
    shown = subprocess.run(argv, check=True, capture_output=True, text=True)
    assert shown.stderr == ""
    effective = dict(line.split(" ", 1) for line in shown.stdout.splitlines() if " " in line)
    assert effective["stricthostkeychecking"] in {"true", "yes"}
    assert effective["userknownhostsfile"] == str(paths.known_hosts)
    assert effective["identityfile"] == str(paths.ssh / "id_ed25519")
    assert effective["forwardagent"] == "yes"
    assert "diffie-hellman" not in effective["kexalgorithms"]
    assert "curve25519-sha256" in effective["kexalgorithms"]


def test_the_policy_of_the_vm_decides_who_logs_in(paths, settings, make_record):
    target = ssh_target(make_record(user="ops"), paths, settings)
    assert target.argv[-1] == "ops@127.0.0.1"
    assert (target.user, target.origins["User"]) == ("ops", "test")


def test_a_runtime_path_too_long_for_a_socket_goes_without(paths, settings, make_record, tmp_path):
    far = Paths(paths.config, paths.state, paths.cache, tmp_path / ("d" * 80))
    target = ssh_target(make_record(), far, settings)
    assert options(target)["ControlPath"] == "none"
    assert "too long" in target.origins["ControlPath"]
    off = ssh_target(make_record(multiplex=False), paths, settings)
    assert (options(off)["ControlPath"], off.origins["ControlPath"]) == ("none", "test")


@pytest.mark.parametrize("place", ["missing", "directory", "dangling link", "garbage"])
def test_without_known_hosts_checking_stays_strict(ssh, paths, target, place):
    assert ssh(target, "true").returncode == 0
    paths.known_hosts.unlink()
    match place:
        case "directory":
            paths.known_hosts.mkdir()
        case "dangling link":
            paths.known_hosts.symlink_to(paths.ssh / "nowhere")
        case "garbage":
            paths.known_hosts.write_bytes(b"\0web.vm ssh-ed25519\n" * 1000)
    done = ssh(target, "echo in")
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"Host key verification failed" in done.stderr
    # And nobody was taught the key meanwhile
    assert not (paths.ssh / "nowhere").exists()
    assert ssh(target, "true").returncode == 255


def test_a_note_says_it_all_privately_and_goes(paths, settings, make_record):
    target = ssh_target(make_record(), paths, settings)
    write_note(paths, target)
    note, block = paths.note("web"), paths.ssh_block("web")
    for path in (note, block):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(note.parent.stat().st_mode) == 0o700
    assert from_json(SshTarget, json.loads(note.read_text())) == target
    assert set(note.parent.iterdir()) == {note, block}
    remove_note(paths, "web")
    remove_note(paths, "web")
    assert list(note.parent.iterdir()) == []


def test_the_daemon_runs_commands_by_itself(target):
    assert asyncio.run(run_in_guest(target, "echo 'a b'", run, 20)) == b"a b\n"
    with pytest.raises(BangerError, match="exit status 3"):
        asyncio.run(run_in_guest(target, "exit 3", run, 20))


def test_the_daemon_never_asks(paths, target):
    """With a key that has a passphrase ssh would ask at the terminal."""
    key = paths.ssh / "id_ed25519"
    argv = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    with pytest.raises(BangerError, match="exit status 255"):
        asyncio.run(run_in_guest(target, "true", run, 20))


def test_the_product_never_weakens_checking():
    """No source file of the product turns host key checking off or throws keys away."""
    import banger_core

    root = Path(banger_core.__file__).parents[1]
    weak = re.compile(
        r"StrictHostKeyChecking[= ]+[\"']?(no|off|accept-new)|KnownHostsFile[= ]+[\"']?/dev/null"
    )
    found = subprocess.run(
        ["git", "ls-files", "*.py", "*.toml", "*.sh", "Makefile"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    names = [name for name in found.stdout.split() if "tests/" not in name]
    assert len(names) > 20
    for name in names:
        if (root / name).is_file():
            assert not weak.search((root / name).read_text(errors="replace")), name
