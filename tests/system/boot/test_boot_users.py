"""Sessions as the image wants them: its user, directory, environment and program."""

from __future__ import annotations

import asyncio
import shlex
import subprocess

import pexpect
import pytest

from banger_core.model import ImageConfig

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
app:x:1000:1000::/home/app:/bin/sh
web:x:1001:1001::/nowhere:/usr/sbin/nologin
"""

GROUP = """\
root:x:0:
audio:x:29:app
app:x:1000:
docker:x:999:web,app
"""

ENV = (
    "PATH=/odd:/bin",
    # What the guest's own scripts might take for theirs, or run
    "pack=/evil",
    "mode=poweroff",
    "words=$(touch /evil)",
    "IFS=/",
    "LD_PRELOAD=/evil.so",
    "odd.name=`touch /evil`",
    "LINES_OF=one\ntouch /evil\n",
    "USER=image",
    "TERM=image-term",
    "SSH_CLIENT=image",
    *(f"NUMBER_{number}={number}" for number in range(1000)),
)

APPLETS = ("sh", "id", "env", "cat", "ls", "stat", "tty", "sleep", "readlink", "kill", "printf")


@pytest.fixture
def disk(boot_parts, small_disk, tmp_path):
    """Busybox as everything, with accounts."""
    for name, text in (("passwd", PASSWD), ("group", GROUP)):
        (tmp_path / name).write_text(text)
    links = {f"bin/{name}": "busybox" for name in APPLETS}
    return small_disk(
        {
            "bin/busybox": boot_parts.guest.programs["busybox"],
            **links,
            "etc/passwd": tmp_path / "passwd",
            "etc/group": tmp_path / "group",
            "home/app/.keep": tmp_path / "group",
        }
    )


def test_sessions_of_an_image_with_a_user(boot, disk, tmp_path):
    """One machine, everything that its user may do and see."""
    config = ImageConfig(
        env=ENV,
        working_dir="/srv/made/here",
        user="app",
        entrypoint=("sh", "-c", 'id -u; pwd; printf "%s|" "$@"; exit 7', "sh"),
        cmd=("own word", "two"),
    )

    async def run():
        async with boot(disk, config=config) as guest:
            await _privileges_are_gone(guest)
            await _environment_is_data(guest)
            await _others_can_be_named(guest)
            await _programs_of_the_image_run(guest)
            await _signals_reach_the_user(guest)
            await _files_are_the_users(guest, tmp_path)
            await asyncio.to_thread(_terminal_is_the_users, guest)
            assert (await guest.run("banger-as root ls /evil"))[0] == 1

            await guest.run("banger-poweroff")
            async with asyncio.timeout(60):
                assert (await guest.machine.wait()).reason == "guest-shutdown"

    asyncio.run(run())


async def _privileges_are_gone(guest):
    expected = "uid=1000(app) gid=1000(app) groups=29(audio),999(docker),1000(app)\n"
    for way in ("banger-exec a1 id", "id", "banger-as 1000 banger-exec a1 id"):
        assert await guest.run(way) == (0, expected, ""), way
    assert await guest.run("", "-T", stdin=b"id; exit 3\n") == (3, expected, "")

    _, output, _ = await guest.run("banger-exec a1 cat /proc/self/status")
    status = dict(line.split(":\t", 1) for line in output.splitlines())
    assert status["Uid"] == status["Gid"] == "\t".join(["1000"] * 4)
    assert status["Groups"].split() == ["29", "999", "1000"]
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0, name

    # Nothing of the runtime is left open, and its own file system is out of reach
    assert (await guest.run("banger-exec a1 ls /proc/self/fd"))[1].split() == ["0", "1", "2", "3"]
    forbidden = (
        "ls /proc/1/root",
        "kill -9 1",
        "cat /seed/host_key",
        "echo owned >/proc/sys/kernel/hostname",
        "echo >/run/banger/image",
        "/run/banger/libexec/become 0 0 -- -- /bin/id",
    )
    attempts = "".join(f"({each}) 2>/dev/null && echo {each}\n" for each in forbidden)
    assert (await guest.run(f"banger-exec a1 sh -c {shlex.quote(attempts)}"))[1] == ""
    # Programs that write to their log by name
    assert await guest.run(
        "banger-exec a1 sh -c 'echo out >/dev/stdout; echo err >/dev/stderr'"
    ) == (
        0,
        "out\n",
        "err\n",
    )


async def _environment_is_data(guest):
    _, output, _ = await guest.run("banger-exec a1 cat /proc/self/environ")
    items = [item.split("=", 1) for item in output.split("\0") if "=" in item]
    seen = dict(items)
    assert len(seen) == len(items)
    for item in ENV:
        name, _, value = item.partition("=")
        if name not in ("PATH", "SSH_CLIENT"):
            assert seen[name] == value
    assert seen["PATH"] == "/odd:/bin:/run/banger/tools"
    assert seen["HOME"] == "/home/app"
    assert seen["LOGNAME"] == "app"
    assert seen["SHELL"] == "/bin/sh"
    assert seen["SSH_CLIENT"] != "image"
    _, output, _ = await guest.run("banger-exec a1 sh -c 'pwd; stat -c \"%u %g %a\" .'")
    assert output == "/srv/made/here\n0 0 755\n"


async def _others_can_be_named(guest):
    async def asked(user, command="id"):
        return await guest.run(f"banger-as {user} banger-exec a1 {command}")

    assert (await asked("root"))[1] == "uid=0(root) gid=0(root) groups=0(root)\n"
    assert (await asked("app:docker"))[1] == "uid=1000(app) gid=999(docker) groups=999(docker)\n"
    assert (await asked("4242:29"))[1] == "uid=4242 gid=29(audio) groups=29(audio)\n"
    assert (await asked("4242", "sh -c 'echo $HOME $LOGNAME'"))[1] == "/ 4242\n"
    # A home that is not there, and a shell that lets nobody in
    assert (await guest.run("banger-as web echo $HOME $0"))[1] == "/nowhere /bin/sh\n"
    assert await guest.run("banger-as root", stdin=b"id -u\n") == (0, "0\n", "")
    assert await asked("ghost") == (
        126,
        "",
        'banger: the user "ghost" of the image is not in its /etc/passwd\n',
    )
    for bad in ("$(id)", "x" * 65):
        status, output, error = await guest.run(f"banger-as {bad} id")
        assert (status, output, error) == (2, "", "banger: bad user\n"), bad


async def _programs_of_the_image_run(guest):
    here = "1000\n/srv/made/here\n"
    assert await guest.run("banger-image i1") == (7, f"{here}own word|two|", "")
    words = shlex.join(["a b", "", "$x"])
    assert await guest.run(f"banger-image i1 {words}") == (7, f"{here}a b||$x|", "")
    assert (await guest.run("banger-as root banger-image i1"))[1].startswith("0\n")


async def _signals_reach_the_user(guest):
    script = "trap 'echo caught; exit 5' INT; echo up; sleep 300 & wait"
    command = [*guest.ssh_argv(), f"banger-exec sig1 sh -c {shlex.quote(script)}"]
    child = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    assert await child.stdout.readline() == b"up\n"
    assert await guest.run("banger-signal sig1 INT") == (0, "", "")
    assert await child.stdout.read() == b"caught\n"
    assert await child.wait() == 5


async def _files_are_the_users(guest, tmp_path):
    host, port = guest.plan.net.ssh
    (tmp_path / "file").write_bytes(b"content")
    common = ["-q", "-F", "/dev/null", "-P", str(port), *guest.options]
    for options in ([], ["-O"]):
        argv = ["scp", *options, *common, str(tmp_path / "file"), f"root@{host}:/tmp/there"]
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True)
        # The image's preloaded library is none of scp's business
        assert (done.returncode, done.stderr) == (0, b"")
        assert (await guest.run("stat -c %u:%g /tmp/there"))[1] == "1000:1000\n"
        argv[-1] = f"root@{host}:/etc/there"
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True)
        assert done.returncode == 1
        await guest.run("banger-as root /bin/busybox rm /tmp/there")


def _terminal_is_the_users(guest):
    argv = guest.ssh_argv("-tt")
    with pexpect.spawn(argv[0], argv[1:], timeout=60, env={"TERM": "client-term"}) as shell:
        shell.sendline("PS1=; stat -c 'owner is %u' $(tty); echo $TERM-; echo opened >/dev/tty")
        shell.expect_exact("owner is 1000")
        shell.expect_exact("client-term-")
        shell.expect("\nopened")
        shell.sendline("sh -c 'echo go''ing; exec sleep 100'")
        shell.expect_exact("going")
        shell.sendcontrol("c")
        shell.expect_exact("^C")
        shell.sendline("echo sta''tus $?; exit 4")
        shell.expect_exact("status 130")
        shell.expect(pexpect.EOF)
        shell.wait()
        assert shell.exitstatus == 4
    with pexpect.spawn(
        argv[0],
        [*argv[1:], "banger-exec tty1 sh -c 'tty; echo g''o >$(tty); exec sleep 100'"],
        timeout=60,
    ) as program:
        program.expect_exact("/dev/pts/")
        program.expect_exact("go")
        program.sendcontrol("c")
        program.expect(pexpect.EOF)
        program.wait()
        assert program.exitstatus == 130


def test_an_image_whose_user_directory_and_program_are_missing(boot, boot_parts, small_disk):
    """Nothing but a program: what cannot be is said, and there is a way in."""
    disk = small_disk({"busybox": boot_parts.guest.programs["busybox"]})
    config = ImageConfig(user="app\x1b[2J:web", working_dir="/proc/no", env=("PATH=",))

    async def run():
        async with boot(disk, config=config) as guest:
            refused = (
                'banger: the image\'s user "app?[2J:web" is not in its /etc/passwd\n'
                "banger: to get in as root: banger ssh -u root tester\n"
            )
            for way in ("banger-exec a1 /busybox true", "anything", "banger-image a1"):
                assert await guest.run(way) == (126, "", refused), way
            lost = "banger: the image's working directory cannot be used: /proc/no\n"
            status, output, error = await guest.run("banger-as 1234 id; pwd; echo $0 $PATH")
            # The pack's own programs stand in
            assert output == (
                "uid=1234 gid=0(root) groups=0(root)\n/\n"
                "/run/banger/bin/sh /run/banger/tools:/run/banger/bin\n"
            )
            assert (status, error) == (0, lost)
            assert (await guest.run("banger-as root banger-exec a1 id -u"))[1] == "0\n"
            status, _, error = await guest.run("banger-as root banger-image a1")
            assert status == 126
            assert error.startswith(f"{lost}banger: the image has no program of its own: ")
            assert await guest.run("banger-as root banger-image a1 /busybox echo hi") == (
                0,
                "hi\n",
                lost,
            )
            await guest.run("banger-poweroff")
            async with asyncio.timeout(60):
                assert (await guest.machine.wait()).reason == "guest-shutdown"

    asyncio.run(run())
