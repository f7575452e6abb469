from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from banger_core.api import LaunchSpec, UsageProblem, VmDirs
from banger_core.jsonable import from_json, to_json
from banger_qemu.driver import QemuDriver

GOLDEN_TCG = """\
qemu-system-x86_64
-nodefaults -no-user-config -display none -no-reboot
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-machine microvm,pic=off,pit=off,rtc=on -accel tcg,thread=multi,tb-size=64
-cpu max
-m 512M -smp 2
-name guest=web
-kernel /k/vmlinux -initrd /k/initrd.cpio
-append console=ttyS0+panic=-1+quiet+pci=off+cryptomgr.notests+noreplace-smp+tsc_early_khz=2400000
-chardev socket,id=console,path=/r/console.sock,server=on,wait=off
-serial chardev:console
-chardev socket,id=qmp,path=/r/qmp.sock,server=on,wait=off
-mon chardev=qmp,mode=control
-blockdev {"node-name":"root","driver":"qcow2","file":{"driver":"file","filename":"/s/root.qcow2",\
"discard":"unmap"},"discard":"unmap"}
-device virtio-blk-device,drive=root,serial=banger-root
-blockdev {"node-name":"seed","driver":"raw","file":{"driver":"file","filename":"/s/seed.img"},\
"read-only":true}
-device virtio-blk-device,drive=seed,serial=banger-seed
-netdev user,id=net,ipv6=off,net=10.0.2.0/24,dhcpstart=10.0.2.15,host=10.0.2.2,dns=10.0.2.3,\
hostfwd=tcp:127.1.2.3:1022-10.0.2.15:1022,hostfwd=udp:127.1.2.3:5353-10.0.2.15:53
-netdev hubport,id=net-hub,hubid=1,netdev=net
-netdev hubport,id=card,hubid=0
-device virtio-net-device,netdev=card,mac=52:54:00:aa:bb:cc
-chardev socket,id=helper,path=/r/helper.sock,server=on,wait=off
-device virtio-serial-device,max_ports=2 -device virtserialport,chardev=helper,name=banger.helper
-device virtio-rng-device
-device pvpanic -action panic=exit-failure"""

DIRS = VmDirs(
    state=Path("/s"),
    runtime=Path("/r"),
    kernel=Path("/k/vmlinux"),
    initrd=Path("/k/initrd.cpio"),
    root_disk=Path("/s/root.qcow2"),
    seed=Path("/s/seed.img"),
)


@pytest.fixture
def driver():
    return QemuDriver(tsc_khz=2400000)


def option(argv, name):
    return [argv[i + 1] for i, word in enumerate(argv) if word == name]


def test_golden_under_emulation(driver, make_plan):
    spec = driver.launch(make_plan(), DIRS, "tcg")
    golden = [
        word.replace("+", " ") for line in GOLDEN_TCG.splitlines() for word in line.split(" ")
    ]
    assert list(spec.argv) == golden
    names = ("qmp", "console", "helper")
    assert spec.sockets == {name: Path(f"/r/{name}.sock") for name in names}


def test_under_kvm_only_what_must_differ_differs(driver, make_plan):
    tcg = driver.launch(make_plan(), DIRS, "tcg").argv
    kvm = driver.launch(make_plan(), DIRS, "kvm").argv
    assert [(old, new) for old, new in zip(tcg, kvm, strict=True) if old != new] == [
        ("tcg,thread=multi,tb-size=64", "kvm"),
        ("max", "host"),
        (option(tcg, "-append")[0], "console=ttyS0 panic=-1 quiet pci=off"),
    ]


def test_the_same_input_gives_the_same_answer(driver, make_plan):
    first = driver.launch(make_plan(), DIRS, "tcg")
    assert first == driver.launch(make_plan(), DIRS, "tcg")
    assert from_json(LaunchSpec, to_json(first)) == first


def test_no_way_out_means_restricted(driver, make_plan):
    argv = driver.launch(make_plan(net={"outbound": False}), DIRS, "tcg").argv
    assert "restrict=on" in option(argv, "-netdev")[0].split(",")


def test_access_to_the_host_and_no_way_out_take_the_fence_alone(driver, make_plan):
    plan = make_plan(net={"outbound": False, "host_access": True})
    spec = driver.launch(plan, DIRS, "tcg")
    assert "restrict=on" not in option(spec.argv, "-netdev")[0]
    assert spec.data["fence"]["host_access"] is True
    assert spec.data["fence"]["outbound"] is False


def test_where_everything_is_allowed_there_is_no_fence(driver, make_plan):
    spec = driver.launch(make_plan(net={"host_access": True}), DIRS, "tcg")
    assert len(option(spec.argv, "-netdev")) == 1
    assert spec.data["fence"] is None


def test_no_network_means_no_card(driver, make_plan):
    net = {"kind": "none", "forwards": (), "guest_address": ""}
    argv = driver.launch(make_plan(net=net), DIRS, "tcg").argv
    assert not option(argv, "-netdev")
    assert not [device for device in option(argv, "-device") if "net" in device]


def test_raw_disks(driver, make_plan):
    argv = driver.launch(make_plan(disk_format="raw"), DIRS, "tcg").argv
    assert json.loads(option(argv, "-blockdev")[0])["driver"] == "raw"


def test_names_cannot_add_options(driver, make_plan):
    """A comma in a path stays in the path."""
    odd = Path('/o,wait=on/"x"')
    dirs = VmDirs(state=odd, runtime=odd, kernel=odd, initrd=odd, root_disk=odd, seed=odd)
    argv = driver.launch(make_plan(), dirs, "tcg").argv
    assert option(argv, "-chardev")[0].count(",,wait=on/") == 1
    assert json.loads(option(argv, "-blockdev")[0])["file"]["filename"] == str(odd)


def test_other_processors_have_their_own_parts(driver, make_plan):
    argv = driver.launch(make_plan(architecture="arm64"), DIRS, "tcg").argv
    assert argv[0] == "qemu-system-aarch64"
    assert "console=ttyAMA0" in option(argv, "-append")[0]
    with pytest.raises(UsageProblem, match="riscv64"):
        driver.launch(make_plan(architecture="riscv64"), DIRS, "tcg")


def test_a_tap_is_used_and_neither_made_nor_set_up(driver, make_plan):
    net = {"kind": "tap", "tap": "bgr0123456789ab", "forwards": ()}
    argv = driver.launch(make_plan(net=net), DIRS, "tcg").argv
    assert option(argv, "-netdev") == ["tap,id=net,ifname=bgr0123456789ab,script=no,downscript=no"]


def test_unknown_kinds_of_network_are_refused(driver, make_plan):
    with pytest.raises(UsageProblem, match="vde"):
        driver.launch(make_plan(net={"kind": "vde"}), DIRS, "tcg")


def test_a_work_disk_is_the_third_disk(driver, make_plan):
    argv = driver.launch(make_plan(), replace(DIRS, work_disk=Path("/s/work.raw")), "tcg").argv
    disks = [word for word in argv if word.startswith("virtio-blk-device")]
    assert [word.rpartition("-")[2] for word in disks] == ["root", "seed", "work"]
    (node,) = [json.loads(word) for word in argv if '"node-name":"work"' in word]
    assert node["driver"] == "raw"
    assert node["file"]["filename"] == "/s/work.raw"
    assert not node.get("read-only")
