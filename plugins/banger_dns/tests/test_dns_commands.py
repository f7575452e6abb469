"""``banger dns`` without a daemon of its own: what is shown, and what stays out of the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from banger_core.testing.fake_daemon import FakeDaemon
from banger_dns.wiring.hands import Content, Hands
from banger_dns.wiring.journal import Wiring, plan_file
from banger_dns.wiring.resolvers import Server, _conf_dir, _dnsmasq_lines

NAMES = [{"name": "web.vm", "vm_id": "1", "addresses": ["10.7.0.5", "fd00:7::5"]}]
HEAVY = {"pydantic", "dns", "starlette", "asyncio", "httpx"}


@pytest.fixture
def daemon(banger_paths):
    with FakeDaemon(banger_paths.ready().socket) as fake:
        fake.answers["POST /v1/services/dns/list"] = lambda _: {"names": NAMES}
        yield fake


def banger(*words):
    code = (
        "import sys; from banger_core.cli.app import run; status = run(sys.argv[1:]); "
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr); "
        "sys.exit(status)"
    )
    argv = [sys.executable, "-c", code, *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)


def test_list(daemon):
    assert json.loads(banger("dns", "list", "--json").stdout) == NAMES
    assert banger("dns", "list").stdout == "NAME    ADDRESSES\nweb.vm  10.7.0.5 fd00:7::5\n"
    daemon.answers["POST /v1/services/dns/list"] = lambda _: {"names": []}
    nobody = banger("dns", "ls")
    assert nobody.stdout == ""
    assert "no machine runs" in nobody.stderr


@pytest.mark.parametrize("words", [("list",), ("--help",), ("wire", "--help")])
def test_start_stays_short(daemon, words):
    loaded = banger("dns", *words).stderr
    assert not [name for name in HEAVY if repr(name) in loaded]


def test_lines_for_dnsmasq():
    server = Server(address="::1", port=53, zones=("vm", "127.in-addr.arpa"))
    assert _dnsmasq_lines(server) == (
        "server=/vm/::1#53",
        "server=/127.in-addr.arpa/::1#53",
        "rebind-domain-ok=/vm/",
    )
    assert server.joined(":") == "[::1]:53"


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("--conf-dir={place}", True),
        ("-7{place},.dpkg-dist,.dpkg-old,.dpkg-new", True),
        ("--conf-dir={place},*.conf", True),
        ("--conf-dir={place},*.names", False),
        ("--conf-dir={place},.conf", False),
    ],
)
def test_directory_of_dnsmasq(tmp_path, said, wanted):
    file = tmp_path / "dnsmasq.conf"
    file.write_text("# nothing\n")
    argv = ["dnsmasq", "-C", str(file), *said.format(place=tmp_path).split()]
    assert _conf_dir(argv) == (tmp_path if wanted else None)


def test_directory_of_dnsmasq_in_its_file(tmp_path):
    file = tmp_path / "dnsmasq.conf"
    file.write_text(f"port=53\n conf-dir = {tmp_path},*.conf\n")
    assert _conf_dir(["dnsmasq", f"--conf-file={file}"]) == tmp_path
    assert _conf_dir(["dnsmasq", f"--conf-file={tmp_path}/none"]) is None


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="files of others need root")


@needs_root
def test_directories_come_and_go_with_their_file(tmp_path):
    hands = Hands(())
    path = tmp_path / "a" / "b" / "file.conf"
    wiring = Wiring(
        resolver="x", server="y", steps=tuple(plan_file(path, b"text\n", hands)), reload=("true",)
    )
    wiring.write(tmp_path)
    again = Wiring.read(tmp_path)
    assert again == wiring
    # Nothing is done yet: to undo it is no mistake
    assert again.undo(hands, tmp_path).kept == ()
    wiring.write(tmp_path)
    wiring.apply(hands)
    assert path.read_bytes() == b"text\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert wiring.undo(hands, tmp_path).kept == ()
    assert not (tmp_path / "a").exists()
    assert Wiring.read(tmp_path) is None


@needs_root
def test_directory_that_others_use_stays(tmp_path):
    hands = Hands(())
    path = tmp_path / "a" / "file.conf"
    wiring = Wiring(resolver="x", server="y", steps=tuple(plan_file(path, b"1", hands)))
    wiring.apply(hands)
    (tmp_path / "a" / "other").touch()
    wiring.undo(hands, tmp_path)
    assert [each.name for each in (tmp_path / "a").iterdir()] == ["other"]


@needs_root
def test_file_comes_back_with_mode_and_owner(tmp_path):
    hands, path = Hands(()), tmp_path / "file"
    before = Content(data=b"a\0b\xff", mode=0o640, uid=7, gid=8)
    hands.write(path, before)
    assert hands.read(path) == before
    (step,) = plan_file(path, b"new", hands)
    step.apply(hands)
    assert hands.read(path) == Content(data=b"new", mode=0o640, uid=7, gid=8)
    assert step.undo(hands)
    assert hands.read(path) == before
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
