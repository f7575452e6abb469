"""What Firecracker is told, judged by the description of its API; nothing runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from firecracker_openapi import problems

from banger_core.api import NetPlan, UsageProblem
from banger_core.testing.contracts.samples import sample_dirs, sample_net, sample_plan
from banger_firecracker import jail
from banger_firecracker.config import api_calls
from banger_firecracker.driver import FirecrackerDriver
from banger_firecracker.settings import FirecrackerSettings, JailSettings

DIRS = sample_dirs(Path("/run/banger/vm"))
PLAN = sample_plan(driver="firecracker")
TAP = NetPlan(network="bridge", kind="tap", tap="bgr0123", mac="52:54:00:00:00:01")


def launch(plan=PLAN):
    return FirecrackerDriver().launch(plan, DIRS, "kvm")


@pytest.mark.parametrize("net", [sample_net(), TAP, NetPlan(network="x", kind="none")])
def test_every_request_is_one_that_the_api_describes(net):
    calls = api_calls(replace(PLAN, net=net), DIRS)
    assert not [found for call in calls if (found := problems(*call))]
    assert len({path for _, path, _ in calls}) == len(calls)


def test_the_judge_refuses_what_the_api_does_not_know():
    assert problems("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 1, "turbo": True})
    assert problems("PUT", "/machine-config", {"vcpu_count": True, "mem_size_mib": 1})
    assert problems("PUT", "/machine-config", {"vcpu_count": 33, "mem_size_mib": 1})
    assert problems("PUT", "/machine-config", {"vcpu_count": 1})
    assert problems("PATCH", "/vm", {"state": "Gone"})
    assert problems("PUT", "/nothing", {})
    assert problems("GET", "/version", {})


def test_a_network_of_kind_tap_uses_the_interface_that_is_there():
    spec = launch(replace(PLAN, net=TAP))
    card = next(body for _, path, body in spec.data["calls"] if "network" in path)
    assert card == {"iface_id": "eth0", "host_dev_name": "bgr0123", "guest_mac": TAP.mac}
    assert spec.data["network"] is None


def test_without_a_network_there_is_no_card():
    spec = launch(replace(PLAN, net=NetPlan(network="x", kind="none")))
    assert not [path for _, path, _ in spec.data["calls"] if "network" in path]


def test_disks_have_an_order_and_names_that_are_no_vms():
    dirs = replace(DIRS, work_disk=DIRS.state / "work.raw")
    spec = FirecrackerDriver().launch(PLAN, dirs, "kvm")
    drives = [body for _, path, body in spec.data["calls"] if path.startswith("/drives/")]
    assert [(each["path_on_host"], each["is_read_only"]) for each in drives] == [
        ("root.img", False),
        ("seed.img", True),
        ("work.img", False),
    ]
    places = (dirs.root_disk, dirs.seed, dirs.work_disk)
    assert spec.data["disks"] == {
        each["drive_id"] + ".img": str(place) for each, place in zip(drives, places, strict=True)
    }


def test_without_outbound_there_is_no_way_out():
    spec = launch(replace(PLAN, net=replace(sample_net(), outbound=False)))
    assert not spec.data["network"]["way_out"]


@pytest.mark.parametrize(
    "plan",
    [
        replace(PLAN, vcpu=33),
        replace(PLAN, kernel=replace(PLAN.kernel, architecture="riscv64")),
        replace(PLAN, net=NetPlan(network="x", kind="vde")),
        replace(PLAN, net=replace(sample_net(), gateway="10.0.2.9")),
    ],
)
def test_what_firecracker_cannot_be_is_refused(plan):
    with pytest.raises(UsageProblem) as caught:
        launch(plan)
    assert caught.value.cause


def test_the_jailer_gets_every_argument():
    settings = JailSettings(
        uid=1234,
        gid=5678,
        cgroups=("memory.max=1G", "cpu.max=50000 100000"),
        parent_cgroup="banger",
        netns="/run/netns/vms",
    ).model_dump()
    argv = jail.command_line(launch(), "/opt/firecracker", "/opt/jailer", settings)
    assert argv == (
        *("/opt/jailer", "--id", PLAN.id, "--exec-file", "/opt/firecracker"),
        *("--uid", "1234", "--gid", "5678"),
        *("--chroot-base-dir", "/run/banger/vm/state/jail", "--cgroup-version", "2"),
        *("--cgroup", "memory.max=1G", "--cgroup", "cpu.max=50000 100000"),
        *("--parent-cgroup", "banger", "--netns", "/run/netns/vms"),
        *("--", "--api-sock", "/api.sock", "--log-path", "/log.fifo", "--level", "Warning"),
    )


def test_no_path_of_the_host_reaches_the_jail():
    calls = jail.jailed_calls([tuple(call) for call in launch().data["calls"]])
    assert not [found for call in calls if (found := problems(*call))]
    assert "/run/banger" not in json.dumps(calls)


def test_settings_are_checked():
    assert not FirecrackerSettings().allow_unsafe_version
    for wrong in ({"jail": {"uid": 0, "gid": 1}}, {"probe_deadline": 30}, {"extra": 1}):
        with pytest.raises(ValueError, match="validation error"):
            FirecrackerSettings.model_validate(wrong)
