"""Plain ssh, scp, sftp, rsync and an editor's remote mode, for one real machine.

ssh finds its configuration in the home directory of the user database, not in HOME. So everything
runs in a mount namespace of its own, with an /etc/passwd that names a home of the test's.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(900), pytest.mark.xdist_group("ssh-config")]

NAMESPACE = 'mount --bind "$1" /etc/passwd; shift; exec "$@"'


class Desk:
    """Somebody's account on this host: a home, and programs that believe in it."""

    def __init__(self, banger):
        self.banger = banger
        self.home = banger.home / "home"
        root = os.geteuid() == 0
        me = pwd.getpwuid(os.geteuid() if root else 0)
        users = banger.home / "passwd"
        users.write_text(f"{me.pw_name}:x:{me.pw_uid}:{me.pw_gid}::{self.home}:/bin/sh\n")
        self._in = ["unshare", "--mount", *([] if root else ["--user", "--map-root-user"])]
        self._in += ["--propagation", "private", "sh", "-ec", NAMESPACE, "sh", str(users)]
        self.env = {**banger.env, "HOME": str(self.home), "SHELL": "/bin/sh"}

    def run(self, *argv, stdin=b"", check=True):
        done = subprocess.run(
            [*self._in, *map(str, argv)],
            input=stdin,
            capture_output=True,
            timeout=120,
            env=self.env,
            cwd=self.home,
            check=False,
        )
        assert not check or done.returncode == 0, f"{argv}: {done.stderr.decode()}"
        return done

    def start(self, *argv, **more):
        return subprocess.Popen([*self._in, *map(str, argv)], env=self.env, cwd=self.home, **more)

    def bang(self, *words, check=True):
        return self.run(sys.executable, "-m", "banger_core", *words, check=check)

    @property
    def config(self) -> Path:
        return self.home / ".ssh" / "config"


@pytest.fixture(scope="module")
def desk(banger):
    """An account whose ssh knows machines, and the machine ``web``."""
    desk = Desk(banger)
    banger.ok("vm", "run", "-d", "--name", "web")
    # The daemon has written what can be included, before anybody asked for it
    assert (banger.state / "ssh" / "config").stat().st_mode & 0o777 == 0o600
    before = desk.run("ssh", "-G", "example.com").stdout
    desk.bang("ssh", "config", "--install")
    assert desk.run("ssh", "-G", "example.com").stdout == before
    yield desk
    assert desk.run("ssh", "-G", "example.com").stdout == before
    # Whatever ssh did: nothing was learned, asked or written beside banger's line
    assert sorted(path.name for path in desk.config.parent.iterdir()) == ["config"]
    assert desk.config.read_text().count("\n") == 1
    desk.bang("ssh", "config", "--uninstall")
    assert not desk.config.parent.exists()


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def greeter(desk):
    """A server inside the machine, on a port of its loopback interface."""
    perl = (
        "use IO::Socket::INET; my $s=IO::Socket::INET->new(LocalAddr=>'127.0.0.1',Listen=>5);"
        "$|=1; print $s->sockport.qq(\\n);"
        "while(my $c=$s->accept){print $c 'hello from inside';close $c}"
    )
    with desk.start(
        "ssh", "-T", "web.vm", f"exec perl -e {quoted(perl)}",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    ) as serving:  # fmt: skip
        try:
            yield int(serving.stdout.readline())
        finally:
            serving.terminate()
    desk.run("ssh", "web.vm", "pkill perl || true")


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def said_at(port, through=None):
    """What the server at ``port`` says, waiting until somebody listens."""
    deadline = time.monotonic() + 200
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
                if through:
                    target = socket.inet_aton("127.0.0.1") + through.to_bytes(2)
                    link.sendall(b"\5\1\0")
                    assert link.recv(2) == b"\5\0"
                    link.sendall(b"\5\1\0\1" + target)
                    assert link.recv(10)[1] == 0
                return b"".join(iter(lambda: link.recv(100), b""))
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_ssh_logs_in_by_name(desk):
    done = desk.run("ssh", "-o", "BatchMode=yes", "web.vm", "hostname; cat; exit 3", stdin=b"in",
                    check=False)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (3, b"web\nin", b"")


def test_a_name_that_does_not_run_ends_with_what_to_do(desk):
    done = desk.run("ssh", "gone.vm", "true", check=False)
    assert done.returncode == 255
    assert done.stderr.decode().splitlines()[-1] == "try: banger vm start NAME"


def test_scp_and_sftp_carry_files_both_ways(desk, tmp_path):
    data = os.urandom(1 << 20)
    (tmp_path / "up").write_bytes(data)
    desk.run("scp", "-q", tmp_path / "up", "web.vm:/root/file one")
    desk.run("scp", "-q", "web.vm:/root/file one", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == data
    batch = f'put {tmp_path}/up "/root/file two"\nget "/root/file two" {tmp_path}/again\n'
    desk.run("sftp", "-q", "-b", "-", "web.vm", stdin=batch.encode())
    assert (tmp_path / "again").read_bytes() == data


def test_rsync_carries_trees_both_ways(desk, tmp_path):
    """The image has no rsync: this host's is brought along, with its own libraries."""
    program = shutil.which("rsync")
    assert program, "install rsync"
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    libraries = {word for word in linked.split() if word.startswith("/")}
    loader = next(Path(name).name for name in libraries if "/ld-linux" in name)
    desk.run("ssh", "web.vm", "mkdir -p /opt/rsync")
    desk.run("scp", "-q", program, *libraries, "web.vm:/opt/rsync/")
    remote = f"/opt/rsync/{loader} --library-path /opt/rsync /opt/rsync/rsync"
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "below" / "file").write_bytes(b"\0data")
    (tree / "link").symlink_to("below/file")
    desk.run("rsync", "-a", "-e", "ssh", "--rsync-path", remote, tree, "web.vm:/root/")
    desk.run("rsync", "-a", "-e", "ssh", "--rsync-path", remote, "web.vm:/root/tree/",
             tmp_path / "back")  # fmt: skip
    assert (tmp_path / "back" / "below" / "file").read_bytes() == b"\0data"
    assert (tmp_path / "back" / "link").readlink() == Path("below/file")


@pytest.fixture
def shared(desk):
    """A connection that commands share, as the daemon keeps one."""
    note = json.loads((desk.banger.state / "ssh" / "vms" / "web.json").read_text())["argv"]
    check = ["ssh", "-O", "check", *note[1:]]
    if desk.run(*check, check=False).returncode == 0:
        yield
        return
    desk.run("ssh", "-f", "-N", "-o", "ControlMaster=yes", *note[1:])
    desk.run(*check)
    yield
    desk.run("ssh", "-O", "exit", *note[1:])


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("kind", ["-L", "-D"])
@pytest.mark.parametrize("way", ["ssh web.vm", "banger ssh web"])
def test_ports_are_forwarded_while_the_command_runs(desk, greeter, free_port, kind, way):
    where = f"{free_port}:127.0.0.1:{greeter}" if kind == "-L" else str(free_port)
    plain = ["ssh", "-N", kind, where, "web.vm"]
    argv = plain if way == "ssh web.vm" else desk.banger.argv("ssh", "web", "-N", kind, where)
    with desk.start(*argv, stdin=subprocess.DEVNULL) as forwarding:
        try:
            inside = greeter if kind == "-D" else None
            assert said_at(free_port, inside) == b"hello from inside"
        finally:
            forwarding.terminate()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", free_port)) != 0, "the port outlives its command"


def test_an_editor_that_brings_its_own_master_and_proxy(desk, greeter, free_port, tmp_path):
    """As VS Code and Zed do: a shell fed with a script, SOCKS beside it, all over one master."""
    control = desk.home / "editor"
    master = ("-o", f"ControlPath={control}")
    desk.run("ssh", "-f", "-N", "-o", "ControlMaster=yes", *master, "web.vm")
    try:
        assert control.is_socket()
        script = b"uname -s\necho installed > /root/server\ncat /root/server\nexit 5\n"
        done = desk.run("ssh", "-T", "-o", "ControlMaster=no", *master, "web.vm", "sh",
                        stdin=script, check=False)  # fmt: skip
        assert (done.returncode, done.stdout) == (5, b"Linux\ninstalled\n")
        desk.run("ssh", "-O", "forward", "-D", free_port, *master, "web.vm")
        assert said_at(free_port, greeter) == b"hello from inside"
    finally:
        desk.run("ssh", "-O", "exit", *master, "web.vm")


def test_known_hosts_shows_the_machine_and_forgetting_pins_it_again(desk):
    banger = desk.banger
    (pin,) = banger.json("ssh", "known-hosts")
    printed = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(banger.state / "ssh" / "known_hosts")],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert pin["name"] == "web.vm"
    assert pin["vm"] == "web"
    assert not pin["stale"]
    assert pin["fingerprint"] in printed
    answer = banger.json("ssh", "forget", "web.vm")
    assert [each["fingerprint"] for each in answer["removed"]] == [pin["fingerprint"]]
    assert [each["fingerprint"] for each in answer["pinned"]] == [pin["fingerprint"]]
    assert desk.run("ssh", "-S", "none", "web.vm", "echo still").stdout == b"still\n"
    nothing = banger.run("ssh", "forget", "nobody.vm")
    assert nothing.returncode == 2
    assert b"banger ssh known-hosts" in nothing.stderr


def test_a_stopped_machine_is_said_to_be_so(desk):
    desk.banger.ok("vm", "stop", "web")
    done = desk.run("ssh", "web.vm", "true", check=False)
    assert done.returncode == 255
    assert b"no machine of this name runs" in done.stderr
    assert desk.banger.json("ssh", "known-hosts") == []
