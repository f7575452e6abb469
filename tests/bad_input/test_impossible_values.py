"""Values that no machine can have are refused before anything is made."""

from __future__ import annotations

import pytest

from banger_core.plan.limits import host_memory
from banger_core.sizes import parse_size

CREATE = ("vm", "create", "--name", "a")


@pytest.mark.parametrize(
    ("words", "error", "cause", "hint"),
    [
        (("--name", "Web_1"), "'Web_1' cannot be the name", "DNS label", "--name web-1"),
        (("--name", "-"), "'-' cannot be the name", "DNS label", "--name web"),
        (("--name", ""), "'' cannot be the name", "DNS label", "--name web"),
        (("--name", "a" * 64), "cannot be the name", "63", "--name aaa"),
        (("--name", "ünï"), "cannot be the name", "DNS label", "--name "),
        (("--memory", "lots"), "'lots' is not a size", "K, M, G or T", "--memory 512M"),
        (("--memory", "-1"), "'-1' is not a size", "K, M, G or T", "--memory 512M"),
        (("--memory", "512"), "would be 512 bytes", "in bytes", "--memory 512M"),
        (("--memory", "1M"), "too little to boot", "at least", "--memory 256M"),
        (("--memory", "90T"), "more than this host has", "it has", "--memory "),
        (("--vcpu", "0"), "--vcpu 0 is not possible", "at least one", "--vcpu 1"),
        (("--vcpu", "9999"), "9999 virtual CPUs", "between 1 and", "--vcpu 1"),
        (("--vcpu", "two"), "'two' is not a valid int", "usage", "banger vm create --help"),
        (("--disk-size", "1M"), "smaller than the image", "at least 64 MiB", "--disk-size 64M"),
        (("--disk-size", "99T"), "is not possible", "16 TiB", "--disk-size 8G"),
        (("--label", "x"), "a label is KEY=VALUE", "a key has", "--label team=web"),
    ],
)
def test_impossible_values(lived_in, words, error, cause, hint):
    failure = lived_in.refuses(*CREATE, *words)
    assert error in failure.error
    assert cause in failure.cause
    assert hint in " | ".join(failure.hints)


def test_refused_before_the_image_is_asked_for(house):
    """Nothing is fetched for a machine that cannot be."""
    for words in (("--memory", "90T"), ("--disk-size", "1M"), ("--vcpu", "9999")):
        house.refuses(*CREATE, *words, "fake://unreachable")
    assert house.json("image", "list") == []
    house.ok("daemon", "stop")


def test_hints_can_be_pasted(house):
    (hint,) = house.fails(*CREATE, "--memory", "90T", code=2).hints
    option, size = hint.split(" ")
    assert parse_size(size) <= host_memory()
    house.ok(*CREATE, option, size)
    house.ok("vm", "delete", "a")
    (hint,) = house.fails(*CREATE, "--disk-size", "1M", code=2).hints
    house.ok(*CREATE, *hint.split(" "))
    house.close()


def test_name_that_is_taken(lived_in):
    failure = lived_in.refuses("vm", "create", "--name", "web", code=1)
    assert failure.error == "there is a VM named web already"
    assert failure.cause == "it is running, made of fake://small"
    assert failure.hints[0] == "banger ssh web"


@pytest.mark.parametrize(
    ("words", "error", "cause", "hint"),
    [
        (("--name", ""), "'' cannot be the name of an image", "1 to 255", "--name web-base"),
        (("--name", "a b"), "'a b' cannot be the name", "letters", "--name a-b"),
        (("--name", "a\x1b[1m"), "cannot be the name of an image", "letters", "--name a-1m"),
        (("--name", "a" * 256), "cannot be the name of an image", "255", "--name aaa"),
        (("--platform", "linux/s390x"), "fake://new", "are made for", "--platform"),
        (("--size", "1M"), "too small", "64 MiB", "64M"),
    ],
)
def test_impossible_images(lived_in, words, error, cause, hint):
    failure = lived_in.refuses("image", "pull", "fake://new", *words)
    assert error in failure.error
    assert cause in failure.cause
    assert hint in " | ".join(failure.hints)
    assert [image["name"] for image in lived_in.json("image", "list")] == ["small"]


@pytest.mark.parametrize("words", [("image", "pull"), CREATE], ids=" ".join)
def test_image_for_another_processor_is_refused_before_it_is_fetched(lived_in, words):
    failure = lived_in.refuses(*words, "fake://foreign")
    assert failure.error.startswith("fake://foreign is an image for linux/mips, and this host is")
    assert "a machine of linux/mips cannot run here" in failure.cause


@pytest.mark.parametrize(
    "words", [("image", "pull", "--size", "8G"), (*CREATE, "--disk-size", "8G")], ids=" ".join
)
def test_disk_that_is_certainly_too_small_is_refused_before_the_pull(lived_in, words):
    failure = lived_in.refuses(*words, "fake://large")
    assert failure.hints == (f"{words[-2]} 2048G",)
    assert failure.error == "a disk of 8 GiB is too small for fake://large"
    assert failure.cause == "the image has about 1 TiB"


def test_image_in_use(house):
    house.ok("vm", "create", "--name", "a")
    failure = house.fails("image", "delete", "small", code=1)
    assert failure == type(failure)(
        "image small is in use", "machines are made of it: a", ("banger vm delete a",)
    )
    house.ok(*failure.hints[0].split()[1:])
    house.ok("image", "delete", "small")
    assert house.traces() == set()
    house.close()
