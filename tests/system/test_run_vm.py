"""`banger vm run` with real machines: what goes in, what comes out, what is left."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pexpect
import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(900), pytest.mark.xdist_group("run-vm")]


def test_output_status_and_arguments_are_exactly_the_guests(banger):
    script = 'printf "%s|" "$@"; echo to-stderr >&2; exit 7'
    odd = ["two words", "it's", 'a "quote"', "$HOME", "*", "", "line\nbreak", "back\\slash"]

    done = banger.run("vm", "run", "--rm", "-q", "--", "sh", "-c", script, "sh", *odd)

    assert done.stderr == b"to-stderr\n"
    assert done.stdout.decode() == "".join(f"{word}|" for word in odd)
    assert done.returncode == 7
    assert banger.vm_names() == []


def test_stdin_is_piped_through_and_binary_stays_binary(banger):
    data = bytes(range(256)) * 4096

    done = banger.run("vm", "run", "--rm", "--", "cat", stdin=data)

    assert done.returncode == 0, done.stderr
    assert done.stdout == data


def test_life_of_a_vm(banger):
    """create, start, exec, stop, start again with its data, list, show, logs, delete."""
    assert banger.ok("vm", "create", "--name", "life", "--memory", "192M").strip() == "life"
    assert banger.json("vm", "show", "life")["state"] == "stopped"
    banger.ok("vm", "start", "life")
    assert banger.ok("vm", "exec", "life", "--", "hostname").strip() == "life"
    banger.ok("vm", "exec", "life", "--", "sh", "-c", "echo kept > /root/file")
    vm = banger.json("vm", "show", "life")
    assert vm["state"] == "running"
    assert vm["accel"] in ("kvm", "tcg")
    banger.ok("vm", "stop", "life")
    assert banger.json("vm", "show", "life")["state"] == "stopped"
    banger.ok("vm", "start", "life")
    assert banger.ok("vm", "exec", "life", "--", "cat", "/root/file") == "kept\n"
    assert "@@ banger ready" in banger.ok("vm", "logs", "life")
    refused = banger.run("vm", "delete", "life")
    assert refused.returncode == 1
    assert b"banger vm stop life" in refused.stderr
    banger.ok("vm", "delete", "--force", "life")
    assert banger.vm_names() == []


def test_plain_ssh_is_strict_and_succeeds_at_once(banger):
    """The pin is there before the first connection; the user's own files are not touched."""
    banger.ok("vm", "run", "-d", "--name", "strict")
    done = banger.run("ssh", "strict", "cat", "/etc/debian_version")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"12")
    note = banger.json("vm", "show", "strict")
    plain = subprocess.run(
        [
            "ssh", "-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes",
            "-o", f"UserKnownHostsFile={banger.state}/ssh/known_hosts",
            "-o", "HostKeyAlias=strict.vm", "-o", "IdentitiesOnly=yes",
            "-i", f"{banger.state}/ssh/id_ed25519", "-p", str(note["ssh_port"]),
            f"root@{note['address']}", "command -v sshd || echo no sshd",
        ],
        env=banger.env, capture_output=True, timeout=200, check=False,
    )  # fmt: skip
    assert plain.stdout == b"no sshd\n", plain.stderr
    assert not (banger.home / "home" / ".ssh").exists()
    banger.ok("vm", "delete", "--force", "strict")


def test_a_terminal_gets_a_real_shell(banger):
    child = pexpect.spawn(
        sys.executable,
        ["-m", "banger_core", "vm", "run", "--rm", "--name", "shell"],
        env={**banger.env, "TERM": "xterm-256color"},
        dimensions=(41, 123),
        timeout=300,
        encoding="utf-8",
    )
    child.expect(r"root@shell:[^\r\n]*# ")
    child.sendline("stty size; echo TERM is $TERM; tty")
    child.expect("41 123")
    child.expect("TERM is xterm-256color")
    child.expect("/dev/pts/")
    child.sendline("sh -c 'echo sl''eeps; exec sleep 100'")
    child.expect("sleeps")
    child.sendintr()
    child.expect(r"root@shell:[^\r\n]*# ")
    child.sendline("exit 3")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 3
    assert banger.vm_names() == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_guest_and_rm_still_removes_everything(banger, signum):
    script = 'trap "echo got it; exit 42" INT TERM; echo up; while :; do sleep 0.1; done'
    child = banger.popen(
        "vm", "run", "--rm", "--", "sh", "-c", script,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"

    child.send_signal(signum)

    out, err = child.communicate(timeout=300)
    assert out == b"got it\n", err
    assert child.returncode == 42
    assert banger.vm_names() == []


def test_ctrl_c_while_booting_leaves_nothing(banger):
    # However fast it boots, it is not over before it is interrupted
    child = banger.popen("vm", "run", "--rm", "--name", "early", "--", "sleep", "600",
                         stderr=subprocess.PIPE)  # fmt: skip
    deadline = time.monotonic() + 200
    while "early" not in banger.vm_names():
        assert time.monotonic() < deadline
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=300)
    assert child.returncode == 130
    assert banger.vm_names() == []


def test_a_killed_command_takes_its_ephemeral_vm_with_it(banger):
    script = "echo up; sleep 1000"
    with banger.popen("vm", "run", "--rm", "--name", "orphan", "--", "sh", "-c", script,
                      stdout=subprocess.PIPE) as child:  # fmt: skip
        assert child.stdout.readline() == b"up\n"
        child.kill()
    deadline = time.monotonic() + 200
    while "orphan" in banger.vm_names():
        assert time.monotonic() < deadline, "the VM outlives the command that wanted it"
        time.sleep(0.5)


def test_the_guests_own_255_is_told_from_a_lost_connection(banger):
    done = banger.run("vm", "run", "--rm", "-q", "--", "sh", "-c", "exit 255")
    assert done.returncode == 255
    assert done.stderr == b""


def test_the_machine_has_the_size_that_was_asked_for_and_a_disk_too_small_is_refused(banger):
    script = "nproc; grep MemTotal /proc/meminfo; df --output=size -BG /"
    done = banger.ok("vm", "run", "--rm", "-q", "--vcpu", "2", "--memory", "320M",
                     "--disk-size", "20G", "--", "sh", "-c", script)  # fmt: skip
    assert done.startswith("2\n")
    # What the kernel keeps for itself is not counted
    assert 250 << 10 < int(re.findall(r"(\d+) kB", done)[0]) < 320 << 10
    assert 18 <= int(re.findall(r"(\d+)G", done)[-1]) <= 20
    refused = banger.run("vm", "run", "--rm", "--disk-size", "64M", "--", "true")
    assert refused.returncode == 2
    assert b"smaller than the image" in refused.stderr
    assert banger.vm_names() == []


def test_no_root_is_needed_inside_and_the_socket_is_private(banger):
    mode = (banger.runtime / "bangerd.sock").stat().st_mode
    assert mode & 0o777 == 0o600
    assert banger.runtime.stat().st_mode & 0o777 == 0o700
