"""Sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger_core.errors import UsageProblem
from banger_core.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("4096", 4096),
        ("17B", 17),
        ("2K", 2048),
        ("512M", 512 << 20),
        ("512MB", 512 << 20),
        ("512MiB", 512 << 20),
        ("512mib", 512 << 20),
        (" 8 GiB ", 8 << 30),
        ("1.5G", 3 << 29),
        ("0.5k", 512),
        ("2T", 2 << 40),
        ("1.1 KiB", 1126),
    ],
)
def test_sizes_are_powers_of_1024(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "G",
        "8X",
        "8 G B",
        "-1",
        "+1G",
        "0",
        "0G",
        "1e3",
        "0x10",
        "1,5G",
        "1.0000001K",
        "0.3B",
        "8GG",
        "8iB",
        "8\n G\n1",
        "٣G",
        "9999999999999T",
        "nan",
        "inf",
        "1.5",
        "8G;rm",
    ],
)
def test_what_is_no_size_is_refused_by_name(text):
    with pytest.raises(UsageProblem) as caught:
        parse_size(text)
    assert repr(text) in caught.value.summary
    assert caught.value.hints


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (17, "17 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1 MiB"),
        (8 << 30, "8 GiB"),
        (3000 << 40, "3000 TiB"),
    ],
)
def test_sizes_for_people(size, text):
    assert format_size(size) == text


@given(st.integers(1, 2**62))
def test_shown_size_is_within_a_twentieth(size):
    assert abs(parse_size(format_size(size)) - size) <= size / 20 + 1


@given(st.integers(1, 1023), st.sampled_from([1, 1 << 10, 1 << 20, 1 << 30, 1 << 40]))
def test_round_sizes_come_back(count, unit):
    assert parse_size(format_size(count * unit)) == count * unit
