"""A Debian that has neither an SSH server nor an init, on the real driver."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from pathlib import Path

import pexpect
import pytest

from banger_core.engine.run import run

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def test_sessions(boot, boot_parts, image_config, tmp_path, eventually):
    """One machine, everything that a session may want of it."""
    asyncio.run(_sessions(boot, boot_parts, image_config, tmp_path, eventually))


async def _sessions(boot, boot_parts, image_config, tmp_path, eventually):
    async with boot(boot_parts.debian, config=image_config, replace_resolver=True) as guest:
        # The very first connection is checked against a key that nobody had to trust
        status, output, error = await guest.run("cat /etc/hostname; hostname; id -u")
        assert (status, output, error) == (0, "tester\ntester\n0\n", "")

        assert "127.0.1.1\ttester" in (await guest.run("cat /etc/hosts"))[1]
        assert (await guest.run("cat /etc/resolv.conf"))[1] == "nameserver 10.0.2.3\n"
        assert (await guest.run("cat /proc/1/oom_score_adj; cat /proc/self/oom_score_adj"))[1] == (
            "0\n0\n"
        )
        assert (await guest.run("cat <(echo substituted)"))[1] == "substituted\n"

        # A login shell that sets PATH anew still finds the pack's tools
        assert (await guest.run("bash -lc 'command -v poweroff'"))[
            1
        ] == "/run/banger/tools/poweroff\n"

        await _image_config_holds(guest)
        await _words_arrive(guest)
        await _statuses_are_exact(guest)
        await _streams_are_exact(guest)
        await _signals_reach_the_group(guest, eventually)
        await _strangers_stay_out(guest, tmp_path)
        await _files_travel(guest, tmp_path)
        await asyncio.to_thread(_terminal_works, guest)

        status, _, _ = await guest.run("banger-poweroff")
        async with asyncio.timeout(60):
            ended = await guest.machine.wait()
        assert (ended.status, ended.reason) == (0, "guest-shutdown")
    _check_clean(guest.dirs.root_disk)


async def _image_config_holds(guest):
    _, output, _ = await guest.run("banger-exec a1 'sh' '-c' 'pwd; echo \"$GREETING\"; echo $PATH'")
    assert output == '/usr\nit\'s "me"\n$HOME\n/odd:/usr/bin:/bin:/run/banger/tools\n'


async def _words_arrive(guest):
    words = ["a b", "", "it's", '"', "\\", "two\nlines", "$HOME", "*", "`id`", "é\x01", "-n", " "]
    command = shlex.join(["printf", r"%s\0", *words])
    _, output, _ = await guest.run(f"banger-exec a1 {command}")
    assert output.split("\0")[:-1] == words


async def _statuses_are_exact(guest):
    async def status(command):
        return (await guest.run(f"banger-exec a1 {command}"))[0]

    assert await status("true") == 0
    assert await status("sh -c 'exit 3'") == 3
    assert await status("sh -c 'exit 255'") == 255
    assert await guest.run("banger-exec a1 sh -c 'kill -9 $$'") == (137, "", "")
    assert await guest.run("banger-exec a1 sh -c 'kill -TERM $$'") == (143, "", "")
    assert await guest.run("banger-exec a1 nowhere --flag") == (
        127,
        "",
        "banger: nowhere: command not found\n",
    )
    assert await status("/no/where") == 127
    assert await status("/etc/passwd") == 126
    # What the pack's shell could do itself is not the image's business
    assert await status("busybox") == 127
    assert await status("vi") == 127
    assert (await guest.run("banger-exec A/../x true"))[0] == 2
    assert (await guest.run("banger-signal a1 STOP"))[0] == 2
    assert (await guest.run("exit 9"))[0] == 9
    assert (await guest.run("ls /run/banger/run"))[0] == 2


async def _streams_are_exact(guest):
    data = bytes(range(256)) * 4096
    done = await asyncio.to_thread(guest.ssh, "banger-exec a1 cat", stdin=data)
    assert done.stdout == data
    assert await guest.run("banger-exec a1 sh -c 'echo out; echo err >&2'") == (0, "out\n", "err\n")


async def _signals_reach_the_group(guest, eventually):
    script = "trap 'echo caught; exit 5' INT; echo up; sleep 300 & wait"
    command = [*guest.ssh_argv(), f"banger-exec sig1 sh -c {shlex.quote(script)}"]
    child = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    assert await child.stdout.readline() == b"up\n"
    assert await guest.run("banger-signal sig1 INT") == (0, "", "")
    assert await child.stdout.read() == b"caught\n"
    assert await child.wait() == 5

    # A signal that overtakes its command is not lost, not even on the last steps before the
    # program, which are a shell's, and shells ignore QUIT; its child ends with it
    for attempt in range(8):
        early = asyncio.create_task(guest.run(f"banger-signal early{attempt} QUIT"))
        status, _, error = await guest.run(
            f"banger-exec early{attempt} sh -c 'sleep 301; echo survived'"
        )
        assert (status, error) == (131, "")
        assert (await early)[0] == 0

    async def nothing_left():
        # The brackets keep the search from finding itself
        search = "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'sleep 30[1]'"
        return (await guest.run(search))[1] == ""

    await eventually(nothing_left)


async def _strangers_stay_out(guest, tmp_path):
    other = tmp_path / "other"
    await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)])
    argv = [word if word != str(guest.identity) else str(other) for word in guest.ssh_argv()]
    done = await asyncio.to_thread(subprocess.run, [*argv, "true"], capture_output=True)
    assert done.returncode == 255
    assert b"Permission denied (publickey)" in done.stderr

    wrong = tmp_path / "wrong"
    public = other.with_suffix(".pub").read_text().split()
    wrong.write_text(f"{guest.plan.name} {public[0]} {public[1]}\n")
    argv = [
        f"UserKnownHostsFile={wrong}" if word.startswith("UserKnownHostsFile=") else word
        for word in guest.ssh_argv()
    ]
    done = await asyncio.to_thread(subprocess.run, [*argv, "true"], capture_output=True)
    assert done.returncode == 255
    assert b"REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr


async def _files_travel(guest, tmp_path):
    host, port = guest.plan.net.ssh
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(bytes(range(256)) * 1000)
    common = ["-q", "-F", "/dev/null", "-P", str(port), *guest.options]
    for options in ([], ["-O"]):
        for pair in ((source, f"root@{host}:/root/there"), (f"root@{host}:/root/there", back)):
            argv = ["scp", *options, *common, *map(str, pair)]
            done = await asyncio.to_thread(subprocess.run, argv, capture_output=True)
            assert done.returncode == 0, done.stderr
        assert back.read_bytes() == source.read_bytes()
        back.unlink()
    batch = f"get /root/there {back}\nrm /root/there\n"
    argv = ["sftp", *common, "-b", "-", f"root@{host}"]
    done = await asyncio.to_thread(subprocess.run, argv, input=batch.encode(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert back.read_bytes() == source.read_bytes()


def _terminal_works(guest):
    argv = guest.ssh_argv("-tt")
    with pexpect.spawn(argv[0], argv[1:], timeout=60, dimensions=(40, 100)) as shell:
        # Written so that the echo of what is typed is not taken for its output
        shell.sendline("PS1=; stty size; echo $TERM-; shopt -q login_shell && echo log''in")
        shell.expect_exact("40 100")
        shell.expect_exact("login")
        shell.setwinsize(50, 120)
        shell.sendline("sleep 0.3; stty size")
        shell.expect_exact("50 120")
        shell.sendline("sleep 100; echo interrup''ted $?")
        shell.sendcontrol("c")
        shell.sendline("echo ali''ve; exit 4")
        shell.expect_exact("alive")
        shell.expect(pexpect.EOF)
        shell.wait()
        assert shell.exitstatus == 4

    # A terminal for one program: it owns the terminal, and Ctrl-C reaches it
    with pexpect.spawn(
        argv[0],
        [*argv[1:], "banger-exec tty1 sh -c 'tty; echo go; exec sleep 100'"],
        timeout=60,
    ) as program:
        program.expect_exact("/dev/pts/")
        program.expect_exact("go")
        program.sendcontrol("c")
        program.expect(pexpect.EOF)
        program.wait()
        assert program.exitstatus == 130


def _check_clean(disk: Path) -> None:
    done = subprocess.run(["e2fsck", "-fn", disk], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    header = subprocess.check_output(["dumpe2fs", "-h", disk], text=True, stderr=subprocess.DEVNULL)
    assert "needs_recovery" not in header
