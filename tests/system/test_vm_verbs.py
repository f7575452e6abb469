"""What is done to a machine that is there: one real one, through all of it, in this order."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(900), pytest.mark.xdist_group("vm-verbs")]


@pytest.fixture(scope="module")
def vm(banger):
    """A machine with a work disk that runs."""
    banger.ok("vm", "run", "-d", "--name", "v", "--memory", "256M", "--vcpu", "1",
              "--work-disk", "256M", "-p", "8080:80", "--label", "team=web")  # fmt: skip
    return "v"


def inside(banger, script):
    return banger.ok("vm", "exec", "v", "--", "sh", "-c", script).strip()


def state(banger):
    return banger.json("vm", "show", "v")["state"]


def test_the_work_disk_holds_what_the_image_has_in_root(banger, vm):
    shown = banger.json("vm", "show", vm)
    assert shown["work_disk"] == 256 << 20
    device, options = inside(banger, "grep ' /root ' /proc/mounts | cut -d' ' -f1,4").split()
    assert device == "/dev/vdc"
    assert {"rw", "nodev", "noatime"} <= set(options.split(","))
    assert set(inside(banger, "ls -A /root").split()) >= {".bashrc", ".profile"}
    assert inside(banger, "stat -c '%a %U' /root") == "700 root"
    assert list((banger.state / "images").glob("*/work-seed.ext4"))
    # Nothing of how it got there is to be seen
    assert inside(banger, "ls /work /run/banger-work 2>&1 | grep -vc 'No such' || true") == "0"
    inside(banger, "echo mine > /root/kept && sync")
    (disk,) = (banger.state / "vms").glob("*/work.raw")
    assert disk.stat().st_mode & 0o777 == 0o600
    assert disk.stat().st_blocks * 512 < 32 << 20


def test_health_is_good_and_says_why(banger, vm):
    deadline = time.monotonic() + 200
    while (done := banger.run("vm", "health", vm, "--json")).returncode:
        # A starved host makes a guest slow to answer, and health says so
        assert time.monotonic() < deadline, done.stdout
    (row,) = json.loads(done.stdout)
    checks = {check["name"]: check for check in row["checks"]}
    assert (done.returncode, row["healthy"]) == (0, True), row
    assert set(checks) == {"state", "ssh", "helper", "init", "clock", "memory", "/", "/root"}
    table = banger.ok("vm", "health", vm)
    assert re.search(r"^v +helper +ok +answers in \d+ ms$", table, re.MULTILINE)


def test_ports_show_who_listens_and_where_it_is_reached(banger, vm):
    listen = (
        "perl -MSocket -e 'socket S,AF_INET,SOCK_STREAM,0; setsockopt S,SOL_SOCKET,SO_REUSEADDR,1;"
    )
    listen += ' bind S,sockaddr_in({port},inet_aton("{address}")) or die; listen S,5; sleep 600\''
    for port, address in ((80, "0.0.0.0"), (81, "0.0.0.0"), (82, "127.0.0.1")):
        inside(
            banger,
            f"setsid {listen.format(port=port, address=address)} >/dev/null 2>&1 </dev/null &",
        )
    deadline = time.monotonic() + 200
    while len(rows := banger.json("vm", "ports", vm)) < 3 and time.monotonic() < deadline:
        pass
    address = banger.json("vm", "show", vm)["address"]
    assert [(row["port"], row["host"], row["process"]) for row in rows] == [
        (80, f"{address}:8080", "perl"),
        (81, None, "perl"),
        (82, None, "perl"),
    ]
    assert f"{address}:8080" in banger.ok("vm", "ports", vm)
    inside(banger, "kill $(pidof perl) || true")


def test_stats_count_what_happens(banger, vm):
    (row,) = banger.json("vm", "stats", "--interval", "1", vm)
    guest = row["guest"]
    assert row["state"] == "running"
    assert row["host_memory"] > 32 << 20
    assert 0 < guest["memory_used"] < guest["memory"] <= 256 << 20
    assert {each["place"] for each in guest["filesystems"]} == {"/", "/root"}
    inside(
        banger,
        "dd if=/dev/zero of=/root/zeros bs=1M count=16 conv=fsync 2>/dev/null; rm /root/zeros",
    )
    (after,) = banger.json("vm", "stats", vm)
    assert after["guest"]["disk_written"] - guest["disk_written"] >= 16 << 20
    assert after["guest"]["received"] > guest["received"]
    table = banger.ok("vm", "stats")
    assert table.splitlines()[0].split()[:2] == ["NAME", "CPU"]
    assert table.splitlines()[1].startswith("v ")


def test_a_paused_machine_uses_nothing_and_says_why_it_does_not_answer(banger, vm):
    assert banger.ok("vm", "pause", vm) == "v\n"
    assert state(banger) == "paused"
    (row,) = banger.json("vm", "stats", vm)
    assert row["cpu_percent"] < 20
    assert row["guest"] is None
    for words in (("ssh", vm, "true"), ("vm", "exec", vm, "--", "true"), ("vm", "ports", vm)):
        refused = banger.run(*words)
        assert refused.returncode == 1
        assert b"v is paused" in refused.stderr
        assert b"banger vm resume v" in refused.stderr
    assert banger.run("vm", "health", vm).returncode == 1


def test_a_paused_machine_is_adopted_as_paused_by_the_next_daemon(banger, vm):
    os.kill(banger.daemon_pid(), signal.SIGKILL)
    assert state(banger) == "paused"
    (row,) = banger.json("vm", "stats", vm)
    assert row["cpu_percent"] < 20


def test_resume_sets_the_clock(banger, vm):
    assert banger.ok("vm", "resume", vm) == "v\n"
    assert state(banger) == "running"
    before = time.time()
    seen = float(inside(banger, "date +%s.%N"))
    assert before - 1.5 < seen < time.time() + 1.5
    assert inside(banger, "cat /root/kept") == "mine"


def test_what_needs_a_stopped_machine_says_so(banger, vm):
    refused = banger.run("vm", "set", vm, "--memory", "320M", "--label", "team=db")
    assert refused.returncode == 1
    assert b"--memory can be changed when it is stopped" in refused.stderr
    assert banger.json("vm", "show", vm)["labels"] == {"team": "web"}
    banger.ok("vm", "set", vm, "--label", "tier=gold", "--unlabel", "team")
    assert banger.json("vm", "show", vm)["labels"] == {"tier": "gold"}


def test_a_stop_is_clean_and_everything_grows(banger, vm):
    stopped = banger.run("vm", "stop", vm)
    assert stopped.returncode == 0, stopped.stderr
    assert re.search(rb"v shut down cleanly in [\d.]+ s", stopped.stderr), stopped.stderr
    (disk,) = (banger.state / "vms").glob("*/work.raw")
    dump = subprocess.run(["dumpe2fs", "-h", disk], capture_output=True, text=True, check=True)
    assert re.search(r"Filesystem state: +clean", dump.stdout)
    assert "needs_recovery" not in dump.stdout
    smaller = banger.run("vm", "set", vm, "--work-disk", "128M")
    assert smaller.returncode == 2
    assert b"disks only grow" in smaller.stderr
    disk_size = banger.json("vm", "show", vm)["disk_size"] + (2 << 30)
    banger.ok("vm", "set", vm, "--memory", "320M", "--disk-size", str(disk_size),
              "--work-disk", "512M", "--no-nat")  # fmt: skip
    banger.ok("vm", "start", vm)
    shown = banger.json("vm", "show", vm)
    assert (shown["memory"], shown["disk_size"], shown["work_disk"]) == (
        320 << 20, disk_size, 512 << 20)  # fmt: skip
    assert shown["nat"] is False
    assert inside(banger, "cat /root/kept") == "mine"
    sizes = {
        row["place"]: row["size"]
        for row in banger.json("vm", "stats", vm)[0]["guest"]["filesystems"]
    }
    assert sizes["/"] > 0.95 * disk_size
    assert sizes["/root"] > 450 << 20
    assert banger.json("vm", "health", vm)[0]["healthy"]


def test_restart_is_another_boot(banger, vm):
    first = inside(banger, "cat /proc/sys/kernel/random/boot_id")
    assert banger.ok("vm", "restart", vm) == "v\n"
    assert inside(banger, "cat /proc/sys/kernel/random/boot_id") != first
    assert inside(banger, "cat /root/kept") == "mine"


def test_several_at_once_go_on_when_one_fails(banger, vm):
    banger.ok("vm", "create", "--name", "w", "--memory", "192M")
    vm_id = banger.json("vm", "show", vm)["id"]
    done = banger.run("vm", "pause", "w", "nobody", vm, vm_id[:6])
    assert done.returncode == 1
    assert done.stdout == b"v\n"
    said = done.stderr.decode()
    assert said.index("w is stopped") < said.index("no VM named 'nobody'")
    assert state(banger) == "paused"
    banger.ok("vm", "resume", vm)


def test_kill_leaves_a_stopped_machine_and_prune_takes_the_stopped(banger, vm):
    assert banger.ok("vm", "kill", vm) == "v\n"
    shown = banger.json("vm", "show", vm)
    assert (shown["state"], shown["pid"]) == ("stopped", None)
    again = banger.run("vm", "kill", vm)
    assert (again.returncode, b"v is stopped" in again.stderr) == (1, True)
    assert set(banger.ok("vm", "prune", "--dry-run").split()) == {"v", "w"}
    asked = banger.run("vm", "prune")
    assert asked.returncode == 2
    assert b"--force" in asked.stderr
    assert set(banger.ok("vm", "prune", "--force", "--label", "tier=gold").split()) == {"v"}
    assert set(banger.ok("vm", "prune", "--force").split()) == {"w"}
    assert json.loads(banger.ok("vm", "list", "--json")) == []
