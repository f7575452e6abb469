"""Platforms: written, compared, and chosen from an index."""

from __future__ import annotations

import platform as host

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger_core.api import BangerError, HostileInput, NotFound, UsageProblem
from banger_oci.documents import Descriptor, Index
from banger_oci.mediatypes import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from banger_oci.platforms import (
    Descent,
    Platform,
    check_platform,
    choose,
    host_platform,
    parse_platform,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("x86-64", "linux/amd64"),
        ("Linux/AMD64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v2", "linux/amd64/v2"),
        ("linux/amd64/3", "linux/amd64/v3"),
        ("arm64", "linux/arm64"),
        ("aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v8.0", "linux/arm64"),
        ("linux/arm64/v8.2", "linux/arm64/v8.2"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm", "linux/arm/v7"),
        ("armhf", "linux/arm/v7"),
        ("armel", "linux/arm/v6"),
        ("linux/arm/v5", "linux/arm/v5"),
        ("i386", "linux/386"),
        ("riscv64", "linux/riscv64"),
    ],
)
def test_a_platform_has_one_form(text, expected):
    found = parse_platform(text)
    assert str(found) == expected
    assert parse_platform(str(found)) == found


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("windows/amd64", "banger runs Linux"),
        ("darwin/arm64", "banger runs Linux"),
        ("linux/x68", "'x68' is no architecture"),
        ("windows", "'windows' is no architecture"),
        ("linux/amd64/avx", "'avx' is no variant"),
        ("linux/amd64/v", "'v' is no variant"),
        ("linux/amd64/v2.1.3", "'v2.1.3' is no variant"),
        ("linux/amd64/v2/x", "is written OS/ARCHITECTURE"),
        ("linux/", "is written OS/ARCHITECTURE"),
        ("/amd64", "is written OS/ARCHITECTURE"),
        ("linux//v8", "is written OS/ARCHITECTURE"),
        ("linux amd64", "is written OS/ARCHITECTURE"),
        ("linux/amd64\n", "is written OS/ARCHITECTURE"),
        ("linux/ａmd64", "is written OS/ARCHITECTURE"),
        ("a" * 40, "is written OS/ARCHITECTURE"),
    ],
)
def test_what_is_no_platform_is_refused_with_one_that_is(text, cause):
    with pytest.raises(UsageProblem) as caught:
        parse_platform(text)
    assert cause in caught.value.cause
    assert "--platform linux/amd64" in caught.value.hints
    assert "\n" not in caught.value.summary


@given(st.text(max_size=30))
def test_any_text_is_a_platform_or_a_usage_problem(text):
    try:
        found = parse_platform(text)
    except UsageProblem:
        return
    assert parse_platform(str(found)) == found


@pytest.mark.parametrize(
    ("machine", "expected"), [("x86_64", "linux/amd64"), ("aarch64", "linux/arm64")]
)
def test_nothing_said_is_the_hosts_platform(monkeypatch, machine, expected):
    monkeypatch.setattr(host, "machine", lambda: machine)
    assert str(host_platform()) == expected
    assert parse_platform("") == parse_platform("linux") == host_platform()


def entry(platform="", number=0, kind=OCI_MANIFEST, **annotations):
    """A descriptor, told from others by the number that its digest begins with."""
    found = Platform(*platform.split("/")) if platform else None
    digest = f"sha256:{number:064x}"
    return Descriptor(
        media_type=kind, digest=digest, size=1, platform=found, annotations=annotations
    )


def index(*platforms):
    entries = [
        entry(one, number) if isinstance(one, str) else one for number, one in enumerate(platforms)
    ]
    return Index(OCI_INDEX, tuple(entries))


ATTESTATION = entry("unknown/unknown", 99, **{"vnd.docker.reference.type": "attestation-manifest"})


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("amd64", ["linux/amd64", "linux/arm64"], 0),
        ("arm64", ["linux/amd64", "linux/arm64"], 1),
        ("arm64", ["linux/amd64", "linux/arm64/v8"], 1),
        ("arm64/v8", ["linux/arm64"], 0),
        ("amd64", ["linux/x86_64"], 0),
        # The first of equals
        ("amd64", ["linux/arm64", "linux/amd64", "linux/amd64/v1", "linux/amd64"], 1),
        # The best that such a machine can run, in whatever order
        ("amd64/v3", ["linux/amd64", "linux/amd64/v4", "linux/amd64/v2"], 2),
        ("amd64/v3", ["linux/amd64/v2", "linux/amd64/v3", "linux/amd64"], 1),
        ("amd64/v2", ["linux/amd64/v3", "linux/amd64"], 1),
        ("amd64", ["linux/amd64/v2", "linux/amd64"], 1),
        ("arm64/v8.4", ["linux/arm64", "linux/arm64/v8.2", "linux/arm64/v8.5"], 1),
        ("arm64/v9", ["linux/arm64", "linux/arm64/v8.5", "linux/arm64/v8.6"], 1),
        ("arm64/v9.1", ["linux/arm64/v8.6", "linux/arm64/v9", "linux/arm64/v9.2"], 1),
        ("arm/v7", ["linux/arm/v8", "linux/arm/v5", "linux/arm/v6"], 2),
        ("arm", ["linux/arm/v6", "linux/arm"], 1),
        # What is no image
        ("amd64", [ATTESTATION, "linux/amd64"], 1),
        (
            "amd64",
            [entry("linux/amd64", 7, **{"vnd.docker.reference.type": "x"}), "linux/amd64"],
            1,
        ),
        ("amd64", [entry("linux/amd64", 7, kind="application/vnd.x+json"), "linux/amd64"], 1),
        ("amd64", ["windows/amd64", "linux/amd64"], 1),
        # What says nothing is taken when there is no choice
        ("amd64", [""], 0),
        ("amd64", ["", ATTESTATION], 0),
        ("amd64", ["", "linux/arm64"], 0),
        ("amd64", ["", "linux/amd64"], 1),
        ("amd64", ["linux/riscv64/rva20", ""], 1),
        # Other formats
        ("amd64", [entry("linux/amd64", 0, kind=DOCKER_MANIFEST)], 0),
        ("amd64", [entry("", 0, kind=OCI_INDEX)], 0),
        ("arm64", [entry("linux/amd64", 0, kind=DOCKER_LIST), "linux/arm64"], 1),
    ],
)
def test_the_image_that_fits_best_is_chosen(wanted, offered, chosen):
    images = index(*offered)
    assert (
        choose(images, parse_platform(wanted if "/" not in wanted else f"linux/{wanted}"))
        is (images.manifests[chosen])
    )


@pytest.mark.parametrize(
    ("wanted", "offered", "there", "hint"),
    [
        ("linux/amd64", ["linux/arm64/v8", "linux/s390x"], "linux/arm64, linux/s390x", "arm64"),
        ("linux/amd64", ["linux/amd64/v2"], "linux/amd64/v2", "linux/amd64/v2"),
        ("linux/arm64", ["linux/arm/v7"], "linux/arm/v7", "linux/arm/v7"),
        ("linux/arm64/v9", ["linux/arm64/v8.6"], "linux/arm64/v8.6", "linux/arm64/v8.6"),
        ("linux/amd64", ["linux/386"], "linux/386", "linux/386"),
        ("linux/amd64", ["windows/amd64"], "windows/amd64", "try another tag"),
    ],
)
def test_an_index_without_a_fitting_image_lists_what_there_is(wanted, offered, there, hint):
    images = index(*offered)
    with pytest.raises(NotFound) as caught:
        choose(images, parse_platform(wanted))
    assert there in caught.value.cause
    assert any(hint in one for one in caught.value.hints)


@pytest.mark.parametrize(
    ("offered", "cause"),
    [([], "holds no image"), ([ATTESTATION], "holds no image"), (["", ""], "none of its 2 images")],
)
def test_an_index_that_leaves_nothing_to_choose_by_says_so(offered, cause):
    with pytest.raises(UsageProblem) as caught:
        choose(index(*offered), Platform("linux", "amd64"))
    assert cause in caught.value.cause
    assert "REPOSITORY@sha256:…" in caught.value.hints[0]


def test_a_configuration_is_held_against_what_was_wanted():
    check_platform(Platform("linux", "arm64", "v8"), Platform("linux", "arm64"))
    check_platform(Platform("linux", "amd64"), Platform("linux", "amd64", "v3"))
    with pytest.raises(NotFound) as caught:
        check_platform(Platform("linux", "arm64"), Platform("linux", "amd64"))
    assert "linux/arm64" in caught.value.cause
    assert "--platform linux/arm64" in caught.value.hints


platforms = st.builds(
    Platform,
    st.sampled_from(["linux", "windows"]),
    st.sampled_from(["amd64", "arm64", "arm", "riscv64"]),
    st.sampled_from(["", "v1", "v2", "v3", "v8", "v8.5", "v9", "v9.1", "rva20u64"]),
)


@given(st.lists(platforms, max_size=8), platforms)
def test_whatever_is_chosen_would_be_accepted_and_nothing_acceptable_is_missed(offered, wanted):
    images = index(*(entry(str(one), number) for number, one in enumerate(offered)))

    def accepted(one):
        try:
            check_platform(one, wanted)
        except NotFound:
            return False
        return True

    try:
        chosen = choose(images, wanted).platform
    except BangerError:
        assert not any(map(accepted, offered))
    else:
        assert accepted(chosen)


def test_a_way_through_indexes_ends_at_an_image():
    descent = Descent()
    assert descent.follow(entry("", 1, kind=OCI_INDEX))
    assert descent.follow(entry("", 2, kind=DOCKER_LIST))
    assert not descent.follow(entry("", 3))


@pytest.mark.parametrize(
    ("numbers", "cause"), [([1, 2, 1], "contains itself"), ([1, 2, 3, 4, 5], "more than 4 indexes")]
)
def test_a_way_through_indexes_that_does_not_end_is_hostile(numbers, cause):
    descent = Descent()
    for number in numbers[:-1]:
        assert descent.follow(entry("", number, kind=OCI_INDEX))
    with pytest.raises(HostileInput) as caught:
        descent.follow(entry("", numbers[-1], kind=OCI_INDEX))
    assert cause in caught.value.cause
