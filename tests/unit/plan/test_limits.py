from __future__ import annotations

import pytest

from banger_core.errors import UsageProblem
from banger_core.model import Publish
from banger_core.plan.limits import (
    check_disk,
    check_estimate,
    check_memory,
    check_ports,
    check_vcpu,
    host_memory,
)


def test_cpus_between_one_and_four_times_the_hosts():
    assert check_vcpu(1) == 1
    for count in (0, -1, 100_000):
        with pytest.raises(UsageProblem):
            check_vcpu(count)


def test_memory_is_whole_mebibytes_and_not_more_than_there_is():
    assert check_memory((256 << 20) + 5) == 256 << 20
    with pytest.raises(UsageProblem, match="too little"):
        check_memory(1 << 20)
    with pytest.raises(UsageProblem, match="more than this host has") as caught:
        check_memory(host_memory() + 1)
    assert caught.value.hints


def test_a_disk_holds_its_image():
    assert check_disk((1 << 30) + 1, 1) == (1 << 30) + (1 << 20)
    with pytest.raises(UsageProblem, match="smaller than the image") as caught:
        check_disk(1 << 20, (300 << 20) + 1)
    assert caught.value.hints == ("--disk-size 301M",)
    with pytest.raises(UsageProblem, match="not possible"):
        check_disk(1 << 60, 1)


@pytest.mark.parametrize("estimate", [0, 1 << 20, 4 << 30])
def test_estimate_refuses_no_disk_that_might_do(estimate):
    check_estimate(1 << 30, estimate, "oci://web")


def test_estimate_refuses_what_is_certainly_too_small():
    with pytest.raises(UsageProblem) as caught:
        check_estimate(1 << 30, 5 << 30, "oci://web")
    assert caught.value.summary == "a disk of 1 GiB is too small for oci://web"
    assert caught.value.cause == "the image has about 5 GiB"
    assert caught.value.hints == ("--disk-size 10G",)


def test_ports_are_possible_and_each_leads_to_one_place():
    web = Publish(host_port=8080, guest_port=80)
    check_ports([web, Publish(host_port=8080, guest_port=80, protocol="udp")])
    with pytest.raises(UsageProblem, match="8080:80 and --publish 8080 want the same port"):
        check_ports([web, Publish(host_port=8080, guest_port=8080)])
    with pytest.raises(UsageProblem, match="no port 70000"):
        check_ports([Publish(host_port=70000, guest_port=80)])
