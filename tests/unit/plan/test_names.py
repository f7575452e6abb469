from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger_core.errors import UsageProblem
from banger_core.plan.names import RESERVED, check_image_name, check_name, make_id, make_name


@pytest.mark.parametrize("name", ["a", "web", "web-1", "0", "a" * 63])
def test_labels_are_names(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "Web", "a.b", "a_b", "a b", "a" * 64, "ä", "a/b", "a\n", "../x"]
)
def test_what_is_no_label_is_refused(name):
    with pytest.raises(UsageProblem) as caught:
        check_name(name)
    assert "DNS label" in caught.value.cause


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_commands_of_banger_ssh_are_refused(name):
    with pytest.raises(UsageProblem) as caught:
        check_name(name)
    assert f"banger ssh {name} is a command" in caught.value.cause
    assert check_name(caught.value.hints[0].removeprefix("--name ")) == f"{name}-vm"


@given(st.text(max_size=80) | st.sampled_from(["Config", "known_hosts", "EXPLAIN", "forget-"]))
def test_whatever_is_suggested_would_be_accepted(text):
    try:
        check_name(text)
    except UsageProblem as problem:
        for hint in problem.hints:
            assert check_name(hint.removeprefix("--name "))


def test_made_up_names_are_free_labels_even_when_words_run_out():
    taken: set[str] = set()
    for _ in range(500):
        name = make_name(taken)
        assert check_name(name) not in taken
        taken.add(name)

    class AllPairs:
        def __contains__(self, name: object) -> bool:
            return str(name).count("-") == 1

    assert make_name(AllPairs()).count("-") == 2


def test_ids_are_twelve_digits():
    assert len({make_id() for _ in range(1000)}) == 1000
    assert all(len(make_id()) == 12 for _ in range(10))


@pytest.mark.parametrize(
    "name", ["a", "Web", "python:3.12-slim", "ghcr.io/org/app@sha256:0a", "a_b", "a//b", "a" * 255]
)
def test_names_of_images(name):
    assert check_image_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", "a\n", "a\x1b[1m", "ä", "-a", ".a", "..", "/a", ":a", "oci://a", "a" * 256],
)
def test_what_cannot_name_an_image_is_refused_with_what_can(name):
    with pytest.raises(UsageProblem) as caught:
        check_image_name(name)
    assert len(caught.value.summary) < 400
    (hint,) = caught.value.hints
    option, near = hint.split(" ", 1)
    assert (option, check_image_name(near)) == ("--name", near)
