"""Whatever comes from a registry: only errors of ours come out, in bounded time and memory."""

from __future__ import annotations

import json
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banger_core.api import BangerError, HostileInput
from banger_oci import mediatypes as mt
from banger_oci.documents import (
    DOCUMENT_LIMIT,
    Index,
    check_layers,
    parse_configuration,
    parse_document,
)
from banger_oci.platforms import Platform, check_platform, choose

D = f"sha256:{'d' * 64}"
WANTED = Platform("linux", "amd64")

MANIFEST = {
    "schemaVersion": 2,
    "mediaType": mt.OCI_MANIFEST,
    "config": {"mediaType": mt.OCI_CONFIG, "digest": D, "size": 7},
    "layers": [
        {"mediaType": f"{mt.OCI_LAYER}+gzip", "digest": D, "size": 7, "annotations": {"a": "b"}}
    ],
}
INDEX = {
    "schemaVersion": 2,
    "mediaType": mt.DOCKER_LIST,
    "manifests": [
        {
            "mediaType": mt.DOCKER_MANIFEST,
            "digest": D,
            "size": 7,
            "platform": {"os": "linux", "architecture": "amd64", "variant": "v1"},
        },
        {"mediaType": mt.OCI_INDEX, "digest": D, "size": 7, "annotations": None},
    ],
}
CONFIGURATION = {
    "os": "linux",
    "architecture": "arm64",
    "variant": "v8",
    "rootfs": {"type": "layers", "diff_ids": [D]},
    "config": {
        "Env": ["PATH=/bin", "A=b"],
        "WorkingDir": "/srv",
        "User": "app:1000",
        "Entrypoint": ["/entry"],
        "Cmd": None,
        "Labels": {"a": "b"},
    },
}
SEEDS = [MANIFEST, INDEX, CONFIGURATION]
NASTY = [
    *(None, True, False, 0, -1, 1, 2, 1.5, 1e308, 2**31, 2**40, 2**63, 2**64, 10**400),
    *("", "\0", "\n", "\ud800", "\udfff\ud800", "/proc/self", "4294967296", "-1", ":", "a:b:c"),
    *(
        "../../etc",
        "sha256:",
        D,
        D.upper(),
        "A=",
        "=",
        "x" * 5000,
        "é" * 300,
        "\U0001f600",
        "%s{0}",
    ),
    *(
        mt.OCI_MANIFEST,
        mt.OCI_INDEX,
        mt.OCI_CONFIG,
        mt.OCI_LAYER,
        mt.SCHEMA1_TYPES[0],
        mt.OCI_EMPTY,
    ),
    *([], {}, [[]], [{}], [None], {"": None}, {"": ""}, {"digest": D}, [D] * 600, [{"digest": D}]),
]


def take(data, media_type):
    """Go the way of a pull. Tells how often something was accepted."""
    accepted = 0
    for attempt in (lambda: _image(data, media_type), lambda: _configured(data)):
        try:
            attempt()
        except BangerError as error:
            said = error
        else:
            accepted += 1
            continue
        for line in (said.summary, said.cause, *said.hints):
            assert len(line) < 500
            assert line.isprintable()
        assert said.hints
    return accepted


def _image(data, media_type):
    found = parse_document(data, media_type)
    if isinstance(found, Index):
        choose(found, WANTED)
        return
    assert 0 < len(found.layers) <= 500
    assert all(0 <= layer.size <= 1 << 40 for layer in found.layers)
    check_layers(found, parse_configuration(json.dumps(CONFIGURATION).encode()))


def _configured(data):
    found = parse_configuration(data)
    image = found.image
    for text in (*image.env, image.working_dir, image.user, *image.entrypoint, *image.cmd):
        assert b"\0" not in text.encode()
    check_platform(found.platform, WANTED)


def damaged(value, chance):
    """A copy of ``value`` in which something is another, doubled, moved or gone."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.15:
        return chance.choice(NASTY)
    copy = dict(value) if isinstance(value, dict) else list(value)
    key = chance.choice(list(copy)) if isinstance(copy, dict) else chance.randrange(len(copy))
    action = chance.random()
    if action < 0.6:
        copy[key] = damaged(copy[key], chance)
    elif action < 0.75:
        del copy[key]
    elif action < 0.9 and isinstance(copy, dict):
        copy[chance.choice([key.upper(), "manifests", "layers", "urls", "fsLayers"])] = copy[key]
    elif isinstance(copy, list):
        copy *= chance.choice([2, 3, 2000])
    return copy


types = st.sampled_from(["", "text/html", "application/json;x=y", *mt.DOCUMENT_TYPES]) | st.text()


@settings(deadline=None)
@given(st.binary(max_size=300), types)
def test_any_bytes_end_in_a_typed_error(data, media_type):
    assert take(data, media_type) == 0


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=15,
)


@settings(deadline=None)
@given(values, types)
def test_any_json_ends_in_a_typed_error(value, media_type):
    assert take(json.dumps(value).encode(), media_type) == 0


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 2**64), types)
def test_a_document_with_other_values_is_read_or_ends_in_a_typed_error(seed, number, media_type):
    chance = random.Random(number)
    for _ in range(chance.randrange(1, 4)):
        seed = damaged(seed, chance) if isinstance(seed, dict) else seed
    take(json.dumps(seed).encode(), media_type)


@settings(max_examples=800, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 2**64))
def test_a_document_with_other_bytes_is_read_or_ends_in_a_typed_error(seed, number):
    chance = random.Random(number)
    data = bytearray(json.dumps(seed, ensure_ascii=chance.random() < 0.5).encode())
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(data))
        piece = bytes(
            chance.choice(b'"{}[],:\\0e-.\x00\xff\n ') for _ in range(chance.randrange(3))
        )
        data[at : at + chance.randrange(4)] = piece
    take(bytes(data), "")


def test_the_seeds_are_taken_as_they_are():
    assert [take(json.dumps(seed).encode(), "") for seed in (MANIFEST, INDEX)] == [1, 1]
    amd64 = CONFIGURATION | {"architecture": "amd64", "variant": ""}
    assert take(json.dumps(amd64).encode(), "") == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([b"[", b'{"a":', b'{"layers":[', b"[[],"]), min_size=1, max_size=4),
    st.integers(1, 60_000),
)
def test_any_depth_ends_in_a_typed_error(opening, times):
    assert take(b"".join(opening) * times, "") == 0


def _filled(opening, piece, closing):
    room = DOCUMENT_LIMIT - len(opening) - len(closing)
    return opening + piece * (room // len(piece)) + closing


def _numbered(template, closing):
    entries = (template % number for number in range(100_000))
    return b"{" + b",".join(entries) + closing


BOMBS = {
    "empty lists": _filled(b"[", b"[],", b"0]"),
    "empty objects": _filled(b"[", b"{},", b"0]"),
    "small numbers": _filled(b"[", b"0.5,", b"0]"),
    "as many lists as allowed": b"[" + b"[],[" * 66_000,
    "as many objects as allowed": b"[" + b'{"a":1.5},' * 99_000 + b"0]",
    "names": _numbered(b'"%d":0.5', b"}"),
    "one name": _numbered(b'"a":%d', b"}"),
    "annotations": b'{"annotations":' + _numbered(b'"%d":"x"', b"}}"),
    "a deep object": _filled(b"", b'{"a":', b""),
    "a long number": _filled(b'{"size":', b"9", b"}"),
    "a long fraction": _filled(b'{"size":0.', b"9", b"}"),
    "a long exponent": _filled(b'{"size":1e', b"9", b"}"),
    "a long string": _filled(b'{"mediaType":"', b"x", b'"}'),
    "long escapes": _filled(b'{"mediaType":"', b"\\u0041", b'"}'),
    "wide letters": _filled(b'{"mediaType":"', "\U0001f600".encode(), b'"}'),
    "one wide letter": _filled(b'{"mediaType":"\xf0\x9f\x98\x80', b"x", b'"}'),
    "blanks": _filled(b"{", b" ", b"}"),
    "a long name": _filled(b'{"', b"x", b'":0}'),
    "a long user": _filled(b'{"rootfs":{"type":"layers"},"config":{"User":"', b"9", b'"}}'),
}


@pytest.mark.parametrize("name", BOMBS)
def test_the_largest_documents_take_little_memory(name):
    tracemalloc.start()
    try:
        assert take(BOMBS[name], "") == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


def test_what_is_too_long_is_not_even_read():
    tracemalloc.start()
    try:
        with pytest.raises(HostileInput):
            parse_document(bytes(DOCUMENT_LIMIT + 1), "")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < DOCUMENT_LIMIT + (1 << 20)
