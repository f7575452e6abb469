"""Scenes of all resolvers, each in namespaces of its own (see dns_stage).
``python dns_scenes.py SCENE DIRECTORY`` plays one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dns_services import network_manager_itself, resolved
from dns_stage import (
    DNSMASQ,
    ETC,
    Stage,
    look_up,
    options,
    play,
    resolv_conf,
    snapshot,
    use_dnsmasq,
    wire_and_unwire,
)

from banger_core.api import BangerError, HostNotReady
from banger_dns.wiring import wire as wiring
from banger_dns.wiring.hands import Hands
from banger_dns.wiring.wire import Wirer


def dnsmasq(stage: Stage) -> None:
    use_dnsmasq(stage)
    stage.serve()
    with stage.dnsmasq() as restart:
        wire_and_unwire(stage, restart, "dnsmasq")


def dnsmasq_directory_on_its_command_line(stage: Stage) -> None:
    use_dnsmasq(stage, "")
    stage.serve()
    (ETC / "names.d").mkdir()
    with stage.dnsmasq("-7", "/etc/names.d") as restart:
        wire_and_unwire(stage, restart, "dnsmasq")


def network_manager(stage: Stage) -> None:
    """NetworkManager runs dnsmasq with a directory of its own; here it is run in its place."""
    resolv_conf()
    stage.serve()
    Path("/run/NetworkManager").mkdir()
    (ETC / "NetworkManager").mkdir(exist_ok=True)
    (ETC / "NetworkManager/NetworkManager.conf").write_text(
        "[main]\nplugins=keyfile\ndns=dnsmasq\n"
    )
    (stage.place / "base.conf").write_text(DNSMASQ)
    (ETC / "NetworkManager/dnsmasq.d").mkdir(exist_ok=True)
    own = (f"--conf-file={stage.place}/base.conf", "--conf-dir=/etc/NetworkManager/dnsmasq.d")
    with stage.dnsmasq(*own) as restart:
        wire_and_unwire(stage, restart, "NetworkManager")


def plain_resolv_conf(stage: Stage) -> None:
    use_dnsmasq(stage)
    stage.serve(53, "127.0.0.9")
    with stage.dnsmasq("--conf-file=/dev/null", *options()):
        wire_and_unwire(stage, None, "resolv.conf")


def resolv_conf_without_end(stage: Stage) -> None:
    """A last line without its end stays one, and nothing else moves."""
    resolv_conf("options timeout:1\nnameserver 127.0.0.1")
    stage.serve(53, "127.0.0.9")
    with stage.dnsmasq("--conf-file=/dev/null", *options()):
        wire_and_unwire(stage, None, "resolv.conf")


def not_replaceable_resolv_conf(stage: Stage) -> None:
    """As containers have it: a mount, which can be written but not replaced."""
    resolv_conf()
    stage.serve(53, "127.0.0.9")
    copy = stage.place / "resolv.conf"
    copy.write_bytes((ETC / "resolv.conf").read_bytes())
    subprocess.run(["mount", "--bind", str(copy), "/etc/resolv.conf"], check=True)
    with stage.dnsmasq("--conf-file=/dev/null", *options()):
        wire_and_unwire(stage, None, "resolv.conf")


def nothing_to_wire(stage: Stage) -> None:
    """The lines to add are said, and nothing is touched."""
    resolv_conf()
    stage.serve()
    before = snapshot()
    for prepare, cause, before_that in (
        (lambda: None, "asks port 53 only", ["set port = 53 in [plugins.dns]"]),
        (lambda: stage.serve(53, "127.0.0.9") or as_link(), "is a link to", []),
    ):
        prepare()
        before = snapshot()
        with pytest.raises(HostNotReady) as caught:
            stage.wirer().wire()
        assert cause in caught.value.cause
        *first, head, line = caught.value.hints
        assert [hint.partition(",")[0] for hint in first] == before_that
        assert head == "add to /etc/resolv.conf:"
        assert line.startswith("nameserver 127.0.0.")
        assert snapshot() == before
        assert not stage.journal.exists()


def as_link() -> None:
    (ETC / "resolv.conf").rename(ETC / "other.conf")
    (ETC / "resolv.conf").symlink_to("other.conf")


def resolver_that_does_not_listen(stage: Stage) -> None:
    """It is told, and goes on as before: all is undone."""
    use_dnsmasq(stage)
    stage.serve()
    wiring.SETTLE = 0.5
    with stage.dnsmasq():
        before = snapshot()
        with pytest.raises(HostNotReady, match="everything is as it was") as caught:
            stage.wirer().wire("", ("true",))
        assert caught.value.cause
        assert snapshot() == before
        assert not stage.journal.exists()


def reload_that_fails(stage: Stage) -> None:
    use_dnsmasq(stage)
    stage.serve()
    with stage.dnsmasq():
        before = snapshot()
        with pytest.raises(BangerError, match="false failed"):
            stage.wirer().wire("", ("false",))
        assert not stage.journal.exists()
        assert snapshot() == before


def crash(stage: Stage) -> None:
    """The process dies at every place; the next one undoes it, or wires anew."""
    use_dnsmasq(stage)
    stage.serve()
    status = stage.house.ask("status")
    with stage.dnsmasq() as restart:
        before = snapshot()
        for place in ("write", "run", "check", "end"):
            child = os.fork()
            if child == 0:
                die_at(place)
                with contextlib.suppress(BaseException):
                    Wirer(status, stage.said.append).wire("", restart)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 9 << 8, place
            assert stage.journal.exists()
            if place == "check":
                # To wire again is as good
                stage.wirer().wire("", restart)
                assert look_up("web.vm") == "127.64.1.2"
            stage.wirer().unwire()
            assert snapshot() == before, place
            assert not stage.journal.exists()
            assert look_up("known.test") == "192.0.2.1"


def die_at(place: str) -> None:
    """Have this process vanish at ``place``, as by SIGKILL."""

    def die(*_: Any, **__: Any) -> Any:
        os._exit(9)

    if place == "check":
        wiring.wait_for_host = die
    elif place == "end":
        wiring.replace = die
    elif place == "run":
        real = Hands.run

        def run(self: Hands, argv: Any, stdin: bytes = b"") -> None:
            real(self, argv, stdin)
            if argv[0] == "mv":
                os._exit(9)

        Hands.run = run
    else:
        setattr(Hands, place, die)


def others_change_it_too(stage: Stage) -> None:
    """What somebody else made of a file is left alone, and said."""
    use_dnsmasq(stage)
    stage.serve(53, "127.0.0.9")
    with stage.dnsmasq("--conf-file=/dev/null", *options()):
        stage.wirer().wire()
        path = ETC / "resolv.conf"
        path.write_text("nameserver 127.0.0.1\n")
        undone = stage.wirer().unwire()
        assert undone is not None
        assert undone.kept == ("/etc/resolv.conf",)
        assert path.read_text() == "nameserver 127.0.0.1\n"


def command_line(stage: Stage) -> None:
    """The commands themselves, with a daemon of their own."""
    resolv_conf()
    (stage.place / "config").mkdir(mode=0o700)
    for each in ("state", "cache", "config", "runtime"):
        os.environ[f"BANGER_{each.upper()}_DIR"] = str(stage.place / each)
    os.environ["BANGER_PLUGINS"] = "dns"
    before = snapshot()
    try:
        refused = banger("dns", "wire")
        assert refused.returncode == 4, refused.stderr
        assert refused.stdout == "# add to /etc/resolv.conf:\nnameserver 127.0.0.1\n"
        assert "asks port 53 only" in refused.stderr
        use_dnsmasq(stage)
        before = snapshot()
        with stage.dnsmasq() as restart:
            assert banger("dns", "wire", "--resolver", "bind").returncode == 2
            hint = banger("dns", "wire")
            assert "--reload COMMAND" in hint.stderr
            assert "server=/vm/127.0.0.1#10053\n" in hint.stdout
            assert snapshot() == before
            wired = banger("dns", "wire", "--reload", shlex.join(restart), "--json")
            assert wired.returncode == 0, wired.stderr
            assert json.loads(wired.stdout)["finds_names"] is True
            shown = banger("dns", "status").stdout
            assert "dnsmasq, to 127.0.0.1 port 10053" in shown
            assert "finds names" in shown
            assert "already" in banger("dns", "wire").stderr
            assert "as it was before" in banger("dns", "unwire").stderr
            assert "nothing is wired" in banger("dns", "unwire").stderr
            assert json.loads(banger("dns", "status", "--json").stdout)["host"]["wired"] is None
        assert snapshot() == before
        serve_in_the_foreground()
    finally:
        banger("daemon", "stop")


def serve_in_the_foreground() -> None:
    taken = banger("dns", "serve", "--port", "10053")
    assert taken.returncode == 1
    assert "is taken" in taken.stderr
    assert banger("dns", "serve", "--address", "192.0.2.1").returncode == 2
    argv = [sys.executable, "-m", "banger_core", "dns", "serve", "--address", "127.0.0.9"]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as child:
        try:
            deadline = time.monotonic() + 90
            while not dig("127.0.0.9"):
                assert time.monotonic() < deadline
        finally:
            child.terminate()
    assert child.returncode == 0


def dig(server: str) -> str:
    argv = ["dig", "+short", "+tries=1", "+time=1", f"@{server}", "vm", "NS"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def banger(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "banger_core", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=200)


def by_way_of_sudo(stage: Stage) -> None:
    """The same, when this user is not root and sudo lets it."""
    use_dnsmasq(stage)
    stage.serve()
    log = stage.place / "sudo.log"
    sudo = stage.place / "sudo"
    sudo.write_text(f'#!/bin/sh\necho "$*" >>{log}\n[ "$1" = -n ] || exit 1\nshift\nexec "$@"\n')
    sudo.chmod(0o755)
    hands = Hands((str(sudo), "-n"))
    before = snapshot()
    with stage.dnsmasq() as restart:
        assert stage.wirer(hands).wire("", restart)
        stage.wirer(hands).unwire()
    assert snapshot() == before
    programs = {line.split()[1] for line in log.read_text().splitlines()}
    assert programs == {"true", "install", "mv", "rm", str(stage.place / "restart")}


def sudo_that_wants_a_password(stage: Stage) -> None:
    use_dnsmasq(stage)
    stage.serve()
    before = snapshot()
    with stage.dnsmasq() as restart:
        for prefix in (("false",), ("/no/such/sudo", "-n")):
            with pytest.raises(HostNotReady, match="only root"):
                stage.wirer(Hands(prefix)).wire("", restart)
    assert snapshot() == before
    assert not stage.journal.exists()


def resolved_before_delegates(stage: Stage) -> None:
    """What would be written for each version of systemd-resolved; none is run here."""
    from banger_dns.wiring import resolvers

    resolv_conf()
    stage.serve()
    Path("/run/systemd/resolve").mkdir(parents=True)
    Path("/run/systemd/resolve/resolv.conf").write_text("")
    server = stage.wirer().server
    for version, path, lines in (
        (
            252,
            "/etc/systemd/resolved.conf.d/banger-dns.conf",
            "[Resolve]\nDNS=127.0.0.1:10053\nDomains=~vm ~127.in-addr.arpa\n",
        ),
        (
            258,
            "/etc/systemd/dns-delegate.d/banger-dns.dns-delegate",
            "[Delegate]\nDNS=127.0.0.1:10053\nDomains=~vm ~127.in-addr.arpa\nDefaultRoute=no\n",
        ),
    ):
        resolvers._systemd_version = lambda version=version: version
        first = resolvers.find(server)[0]
        assert (first.name, str(first.path)) == ("systemd-resolved", path)
        assert first.text == resolvers.HEAD + lines
        assert first.reload == ("systemctl", "restart", "systemd-resolved")
        assert not first.obstacle
    resolvers._systemd_version = lambda: 245
    assert "port 53 only" in resolvers.find(server)[0].obstacle


SCENES: dict[str, Callable[[Stage], None]] = {
    scene.__name__: scene
    for scene in (
        dnsmasq,
        dnsmasq_directory_on_its_command_line,
        network_manager,
        plain_resolv_conf,
        resolv_conf_without_end,
        not_replaceable_resolv_conf,
        nothing_to_wire,
        resolver_that_does_not_listen,
        reload_that_fails,
        crash,
        others_change_it_too,
        command_line,
        by_way_of_sudo,
        sudo_that_wants_a_password,
        resolved_before_delegates,
        resolved,
        network_manager_itself,
    )
}


if __name__ == "__main__":
    programs = sys.argv[3:]
    play(SCENES[sys.argv[1]], Path(sys.argv[2]), Path(programs[0]) if programs else None)
