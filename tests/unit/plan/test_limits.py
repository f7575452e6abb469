from __future__ import annotations

import pytest

from banger_core.errors import UsageProblem
from banger_core.plan.limits import check_disk, check_memory, check_vcpu, host_memory


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
