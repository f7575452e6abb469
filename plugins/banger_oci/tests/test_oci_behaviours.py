from __future__ import annotations

import asyncio
import gzip
import json
import logging
import ssl
from email.utils import formatdate
from types import SimpleNamespace

import pytest
from oci_faulty import (
    BLOB_URL,
    DIGEST,
    LAYER,
    MANIFEST,
    NOT_TLS,
    TAG_URL,
    closes,
    endless,
    error,
    hurried,
    leads,
    registry_at,
    reply,
    says,
    serving,
    stalls,
    wants,
)
from oci_origins import blob_of, some_bytes, until
from oci_registries import make_certificate

from banger_core.api import HostileInput, IntegrityError, NotFound, Unreachable, UsageProblem
from banger_oci.blobs import BlobStore
from banger_oci.documents import parse_document
from banger_oci.mediatypes import OCI_INDEX, OCI_MANIFEST
from banger_oci.refusals import Denied
from banger_oci.transfer import Cut

SIZE = len(LAYER)
WRONG = some_bytes(SIZE, 6)
NOW = 1_700_000_000.0


@pytest.fixture
def server():
    with serving() as one:
        yield one


@pytest.fixture(autouse=True)
def _no_credentials(banger_paths, monkeypatch):
    for name in ("DOCKER_CONFIG", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def store(tmp_path):
    return BlobStore(tmp_path / "oci", pauses=(0.0,) * 5)


def document(server, selector="1", patience=None):
    async def ask():
        async with registry_at(server.host, patience) as registry:
            return await registry.document(selector)

    return asyncio.run(ask())


def blob(server, store, data=LAYER, patience=None):
    async def ask():
        async with registry_at(server.host, patience) as registry:
            return await store.fetch(blob_of(data), registry)

    return asyncio.run(ask()).read_bytes()


# What a case expects: None for the right bytes, or an error and words of its message; then how
# often the path was asked for, and the pauses between (None: whatever they were)


def wanted(failure=None, words="", asked=1, pauses=()):
    return SimpleNamespace(failure=failure, words=words, asked=asked, pauses=pauses)


FINE = wanted()
ALL = (1.0, 2.0, 4.0, 8.0)


def check(expected, server, path, patience, act, right):
    if expected.failure is None:
        assert act() == right
    else:
        with pytest.raises(expected.failure) as caught:
            act()
        message = f"{caught.value.summary}: {caught.value.cause}"
        assert expected.words in message
        assert len(message) < 600
        assert message.isprintable()
    assert len(server.asked(path)) == expected.asked
    if expected.pauses is not None:
        assert tuple(patience.sleep) == expected.pauses


# --- documents -----------------------------------------------------------------------------------

BUSY = error(429, "TOOMANYREQUESTS", "slow down")
AFTER = {"Retry-After": "7"}
HUGE = b'{"errors": [{"code": "DENIED", "message": "' + b"x" * (1 << 20)
JSON = {"Content-Type": OCI_MANIFEST}


def honest(request):
    return reply(200, MANIFEST, **JSON)


def date_in(seconds):
    return formatdate(NOW + seconds, usegmt=True)


DOCUMENTS = {
    "as it should be": ([honest], FINE),
    "429 once": ([says(BUSY), honest], wanted(asked=2, pauses=(1.0,))),
    "429 with seconds to wait": (
        [says(error(429, "X", **AFTER)), honest], wanted(asked=2, pauses=(7.0,))
    ),
    "429 with a date to wait for": (
        [says(error(429, "X", **{"Retry-After": date_in(9)})), honest],
        wanted(asked=2, pauses=(9.0,)),
    ),
    "429 with nonsense to wait for": (
        [says(error(429, "X", **{"Retry-After": "soon"})), honest], wanted(asked=2, pauses=(1.0,))
    ),
    "429 with a date that has passed": (
        [says(error(429, "X", **{"Retry-After": date_in(-9)})), honest],
        wanted(asked=2, pauses=(1.0,)),
    ),
    "429 with an hour to wait": (
        [says(error(429, "X", **{"Retry-After": "3600"}))],
        wanted(Unreachable, "left alone for 3600 seconds"),
    ),
    "429 for ever": ([says(BUSY)], wanted(Unreachable, "slow down", 5, ALL)),
    "408, 425 and 503, then fine": (
        [says(408, b""), says(425, b""), says(503, b"<html>"), honest],
        wanted(asked=4, pauses=(1.0, 2.0, 4.0)),
    ),
    "502 for ever": ([says(502, b"")], wanted(Unreachable, "HTTP status 502", 5, ALL)),
    "501": ([says(501, b"")], wanted(Unreachable, "HTTP status 501")),
    "400": ([says(error(400, "TAG_INVALID", "no tag"))], wanted(Unreachable, "no tag")),
    "204": ([says(204, length="")], wanted(Unreachable, "HTTP status 204")),
    "404 of a tag": ([says(error(404, "MANIFEST_UNKNOWN"))], wanted(NotFound, "no manifest 1")),
    "404 of a repository": (
        [says(error(404, "NAME_UNKNOWN"))], wanted(NotFound, "no repository org/app")
    ),
    "404 with a page": ([says(404, b"<html>" * 99)], wanted(NotFound, "no manifest 1")),
    "403": ([says(error(403, "DENIED", "not you"))], wanted(Denied, "not you")),
    "401 without a challenge": ([says(401, b"")], wanted(Denied, "no credentials")),
    "401 with an unknown challenge": (
        [says(401, b"", **{"WWW-Authenticate": "Negotiate"})], wanted(Unreachable, "negotiate")
    ),
    "a huge error": ([says(403, HUGE)], wanted(Denied, "private")),
    "an error that ends too early": ([closes(reply(403, b"{", length=99))], wanted(Denied)),
    "an error that never ends": ([endless(reply(403, length=""), b"x" * 65536)], wanted(Denied)),
    "an error with escapes": (
        [says(error(403, "DENIED", "\x1b[2J\u202e\n" + "y" * 900))], wanted(Denied, "\\x1b[2J")
    ),
    "an error that is nested without end": ([says(403, b"[" * 60000)], wanted(Denied)),
    "an error of other types": (
        [says(403, b'{"errors": {"0": 1}}')], wanted(Denied, "no credentials")
    ),
    "an empty document": ([says(200, b"", **JSON)], wanted(HostileInput, "manifest")),
    "a document that is no JSON": ([says(200, b"{", **JSON)], wanted(HostileInput, "malformed")),
    "a page": (
        [says(200, b"<html>login", **{"Content-Type": "text/html"})],
        wanted(Unreachable, "answered with 'text/html'"),
    ),
    "no media type": ([says(200, MANIFEST)], FINE),
    "parameters of the media type": (
        [says(200, MANIFEST, **{"Content-Type": f"{OCI_MANIFEST.upper()}; charset=utf-8"})], FINE
    ),
    "a media type that is not the document's": (
        [says(200, MANIFEST, **{"Content-Type": OCI_INDEX})], wanted(HostileInput, "malformed")
    ),
    "a document of more than 4 MiB": (
        [says(200, b" " * ((4 << 20) + 1), **JSON)], wanted(HostileInput, "more than 4 MiB")
    ),
    "a document without end": (
        [endless(reply(200, length="", **JSON), b" " * 65536)],
        wanted(HostileInput, "more than 4 MiB"),
    ),
    "a document in endless chunks": (
        [endless(
            reply(200, length="", **{"Transfer-Encoding": "chunked"}),
            b"1000\r\n" + b" " * 4096 + b"\r\n",
        )],
        wanted(HostileInput, "more than 4 MiB"),
    ),
    "a document in chunks": (
        [closes(
            reply(200, length="", **JSON, **{"Transfer-Encoding": "chunked"}),
            f"{len(MANIFEST):x}\r\n".encode() + MANIFEST + b"\r\n0\r\n\r\n",
        )],
        FINE,
    ),
    "a document without length": ([closes(reply(200, MANIFEST, length="", **JSON))], FINE),
    "a document that ends too early": (
        [closes(reply(200, MANIFEST, length=len(MANIFEST) + 1, **JSON)), honest],
        wanted(asked=2, pauses=(1.0,)),
    ),
    "a document that is longer than its length": (
        [closes(reply(200, MANIFEST, length=len(MANIFEST) - 1, **JSON))],
        wanted(HostileInput, "malformed"),
    ),
    "lengths that contradict each other": (
        [says(200, MANIFEST, **{"content-length": "1"}), honest], wanted(asked=2, pauses=(1.0,))
    ),
    "a length of a thousand digits": (
        [says(200, MANIFEST, length="9" * 1000), honest], wanted(asked=2, pauses=(1.0,))
    ),
    "a negative length": (
        [says(200, MANIFEST, length=-1), honest], wanted(asked=2, pauses=(1.0,))
    ),
    "a packed document": (
        [says(200, gzip.compress(MANIFEST), **JSON, **{"Content-Encoding": "gzip"})],
        wanted(Unreachable, "packed it with 'gzip'"),
    ),
    "the digest that it states": (
        [says(200, MANIFEST, **JSON, **{"Docker-Content-Digest": DIGEST})], FINE
    ),
    "another digest than it states": (
        [says(200, MANIFEST, **JSON, **{"Docker-Content-Digest": f"sha256:{'0' * 64}"})],
        wanted(IntegrityError, "wrong manifest"),
    ),
    "a digest that is none": (
        [says(200, MANIFEST, **JSON, **{"Docker-Content-Digest": "\x07" * 300})],
        wanted(IntegrityError, "wrong manifest"),
    ),
    "a hundred thousand headers": (
        [says(200, MANIFEST, **{f"X-{number}": "y" for number in range(100_000)})],
        wanted(Unreachable, "asked 5 times", 5, ALL),
    ),
    "a header without end": (
        [endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 65536)],
        wanted(Unreachable, "asked 5 times", 5, ALL),
    ),
    "no HTTP": (
        [closes(b"SSH-2.0-OpenSSH_9.2\r\n")], wanted(Unreachable, "no HTTP", 5, ALL)
    ),
    "nothing": ([closes()], wanted(Unreachable, "asked 5 times", 5, ALL)),
    "nothing at first": ([closes(), honest], wanted(asked=2, pauses=(1.0,))),
    "a redirect to itself": ([leads(TAG_URL)], wanted(Unreachable, "in circles", 6)),
    "a redirect without a place": ([says(307, b"")], wanted(Unreachable, "leads nowhere")),
    "a redirect to a file": ([leads("file:///etc/passwd")], wanted(HostileInput, "neither http")),
    "a redirect to ftp": ([leads("ftp://127.0.0.1/")], wanted(HostileInput, "neither http")),
    "a redirect with a password": (
        [leads("http://ann:secret@127.0.0.1/")], wanted(HostileInput, "carries credentials")
    ),
    "a redirect with control characters": (
        [leads("http://127.0.0.1/\x01")], wanted(HostileInput, "is no URL")
    ),
    "a redirect to nobody": ([leads("http://:80/")], wanted(HostileInput, "is no host")),
    "a redirect to the cloud's secrets": (
        [leads("https://169.254.169.254/latest/")], wanted(HostileInput, "inside this host")
    ),
    "a redirect to them in IPv6's words": (
        [leads("https://[::ffff:169.254.169.254]/")], wanted(HostileInput, "inside this host")
    ),
    "a redirect to plain HTTP elsewhere": (
        [leads("http://192.0.2.1/")], wanted(HostileInput, "plain HTTP at 192.0.2.1")
    ),
    "a redirect to another path": ([leads(f"/v2/org/app/manifests/{DIGEST}", 301)], FINE),
    "a cookie": ([says(200, MANIFEST, **JSON, **{"Set-Cookie": "a=b"})], FINE),
    "an index that is a manifest too": (
        [says(200, json.dumps(
            {"schemaVersion": 2, "mediaType": OCI_INDEX, "config": {}, "manifests": []}
        ).encode(), **JSON)],
        wanted(HostileInput, "malformed"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DOCUMENTS)
def test_documents(server, case):
    steps, expected = DOCUMENTS[case]
    server.on(TAG_URL, *steps)
    patience = hurried(now=lambda: NOW)

    def act():
        data, media_type = document(server, patience=patience)
        parse_document(data, media_type)
        return data

    check(expected, server, TAG_URL, patience, act, MANIFEST)


@pytest.mark.parametrize(
    ("sent", "failure"),
    [(MANIFEST, None), (MANIFEST + b" ", IntegrityError), (b"", IntegrityError)],
)
def test_a_document_that_is_asked_for_by_digest_has_to_have_it(server, sent, failure):
    path = f"/v2/org/app/manifests/{DIGEST}"
    server.on(path, says(200, sent, **JSON, **{"Docker-Content-Digest": DIGEST}))
    if failure is None:
        assert document(server, DIGEST)[0] == MANIFEST
        return
    with pytest.raises(failure, match="wrong manifest"):
        document(server, DIGEST)


# --- blobs ---------------------------------------------------------------------------------------


def part(start, data=LAYER, end=None, size=None, tag='"one"', place=None):
    end = len(data) if end is None else end
    stated = place or f"bytes {start}-{end - 1}/{len(data) if size is None else size}"
    return says(206, data[start:end], ETag=tag, **{"Content-Range": stated})


def cut(at, tag='"one"'):
    return closes(reply(200, LAYER[:at], length=SIZE, ETag=tag))


WHOLE = says(200, LAYER, ETag='"one"')

# For each request: the step, and the Range and If-Range that it has to come with
NONE = ("", "")


def rest(at, tag='"one"'):
    return f"bytes={at}-", tag


BLOBS = {
    "as it should be": ([WHOLE], [NONE], FINE),
    "without length": ([closes(reply(200, LAYER, length=""))], [NONE], FINE),
    "in chunks": (
        [closes(
            reply(200, length="", **{"Transfer-Encoding": "chunked"}),
            *(b"1000\r\n" + LAYER[at : at + 4096] + b"\r\n" for at in range(0, SIZE - 4096, 4096)),
            f"{SIZE % 4096 or 4096:x}\r\n".encode() + LAYER[-(SIZE % 4096 or 4096) :],
            b"\r\n0\r\n\r\n",
        )],
        [NONE],
        FINE,
    ),
    "called packed, though it is itself": (
        [says(200, LAYER, **{"Content-Encoding": "gzip"})], [NONE], FINE
    ),
    "cut and gone on": ([cut(5000), part(5000)], [NONE, rest(5000)], FINE),
    "cut twice": (
        [cut(5000), closes(reply(206, LAYER[5000:7000], length=SIZE - 5000, ETag='"one"', **{
            "Content-Range": f"bytes 5000-{SIZE - 1}/{SIZE}"
        })), part(7000)],
        [NONE, rest(5000), rest(7000)],
        FINE,
    ),
    "cut with a weak tag": (
        [cut(5000, 'W/"one"'), part(5000, tag='W/"one"')], [NONE, rest(5000, "")], FINE
    ),
    "cut with a tag that is none": (
        [cut(5000, 'one\x7f"'), part(5000)], [NONE, rest(5000, "")], FINE
    ),
    "cut in the middle of chunks": (
        [closes(reply(200, length="", **{"Transfer-Encoding": "chunked"}),
                b"1000\r\n" + LAYER[:4096] + b"\r\n1000\r\n"), part(4096)],
        [NONE, rest(4096, "")],
        FINE,
    ),
    "without length and shorter": (
        [closes(reply(200, LAYER[:9], length="")), part(9)], [NONE, rest(9, "")], FINE
    ),
    "shorter by its own account": (
        [says(200, LAYER[:-1], ETag='"one"'), part(SIZE - 1)], [NONE, rest(SIZE - 1)], FINE
    ),
    "the range is ignored": ([cut(5000), WHOLE], [NONE, rest(5000)], FINE),
    "the content has changed": (
        [closes(reply(200, WRONG[:5000], length=SIZE, ETag='"old"')), WHOLE],
        [NONE, rest(5000, '"old"')], FINE,
    ),
    "another tag under 206": (
        [cut(5000), part(5000, tag='"two"'), WHOLE], [NONE, rest(5000), NONE], FINE
    ),
    "a range that begins elsewhere": (
        [cut(5000), part(4000), WHOLE], [NONE, rest(5000), NONE], FINE
    ),
    "a range of another size": (
        [cut(5000), part(5000, size=SIZE + 1), WHOLE], [NONE, rest(5000), NONE], FINE
    ),
    "a range of unknown size": ([cut(5000), part(5000, size="*")], [NONE, rest(5000)], FINE),
    "a range that ends before it begins": (
        [cut(5000), part(5000, place=f"bytes 5000-4999/{SIZE}"), WHOLE],
        [NONE, rest(5000), NONE], FINE,
    ),
    "a range that is none": (
        [cut(5000), part(5000, place="pages 5-6"), WHOLE], [NONE, rest(5000), NONE], FINE
    ),
    "no range stated": (
        [cut(5000), says(206, LAYER[5000:]), WHOLE], [NONE, rest(5000), NONE], FINE
    ),
    "several ranges": (
        [cut(5000), says(206, b"--x", **{"Content-Type": "multipart/byteranges; boundary=x"}),
         WHOLE],
        [NONE, rest(5000), NONE], FINE,
    ),
    "a part of the rest": (
        [cut(5000), part(5000, end=6000), part(6000)],
        [NONE, rest(5000), rest(6000)], FINE,
    ),
    "416": ([cut(5000), says(416, b""), WHOLE], [NONE, rest(5000), NONE], FINE),
    "416 without a range": ([says(416, b"")], [NONE], wanted(Unreachable, "HTTP status 416")),
    "206 without a range": ([part(0)], [NONE], wanted(Unreachable, "HTTP status 206")),
    "other bytes in the rest": (
        [cut(5000), part(5000, WRONG), WHOLE], [NONE, rest(5000), NONE], FINE
    ),
    "other bytes once": ([says(200, WRONG), WHOLE], [NONE, NONE], FINE),
    "other bytes always": (
        [says(200, WRONG)], [NONE, NONE], wanted(IntegrityError, "content does not match")
    ),
    "longer": (
        [says(200, LAYER + b"x")], [NONE, NONE], wanted(IntegrityError, "too much")
    ),
    "without end": (
        [endless(reply(200, length=""), b"x" * 65536)], [NONE, NONE],
        wanted(IntegrityError, "longer than announced"),
    ),
    "a rest that is longer": (
        [cut(5000), closes(reply(206, LAYER[5000:] + b"x", **{
            "Content-Range": f"bytes 5000-{SIZE - 1}/{SIZE}"
        })), WHOLE],
        [NONE, rest(5000), NONE], FINE,
    ),
    "a page": (
        [says(200, b"<html>" * 20_000, **{"Content-Type": "text/html"})], [NONE, NONE],
        wanted(IntegrityError, "too much"),
    ),
    "404": ([says(error(404, "BLOB_UNKNOWN"))], [NONE], wanted(NotFound, "no blob")),
    "403": ([says(error(403, "DENIED"))], [NONE], wanted(Denied, "no credentials")),
    "503 twice": (
        [says(503, b""), says(503, b""), WHOLE], [NONE] * 3, wanted(pauses=(1.0, 2.0))
    ),
    "503 in the middle": (
        [cut(5000), says(503, b"", **AFTER), part(5000)], [NONE, rest(5000), rest(5000)],
        wanted(pauses=(7.0,)),
    ),
    "nothing comes of it any more": (
        [cut(5000), closes(reply(206, b"", length=SIZE - 5000, **{
            "Content-Range": f"bytes 5000-{SIZE - 1}/{SIZE}"
        }))],
        [NONE, *[rest(5000)] * 5],
        wanted(Cut, f"5000 of {SIZE} bytes"),
    ),
    "a redirect out of this network": (
        [leads("http://169.254.169.254/blob")], [NONE], wanted(HostileInput, "plain HTTP at")
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BLOBS)
def test_blobs(server, store, case):
    steps, headers, expected = BLOBS[case]
    server.on(BLOB_URL, *steps)
    patience = hurried()
    expected.asked = len(headers)
    check(expected, server, BLOB_URL, patience, lambda: blob(server, store, LAYER, patience), LAYER)
    asked = server.asked(BLOB_URL)
    came = [(one.headers.get("range", ""), one.headers.get("if-range", "")) for one in asked]
    assert came == headers


def test_a_blob_that_is_cut_at_any_place_comes_whole(server, tmp_path):
    """And not a byte of it twice."""
    data = some_bytes(200, 9)
    path = f"/v2/org/app/blobs/{blob_of(data).digest}"
    server.contents[path] = data

    def cutting(request):
        head, _, body = server.honest(request).partition(b"\r\n\r\n")
        cuts.append(min(step, len(body)))
        request.send(head + b"\r\n\r\n" + body[:step])

    server.on(path, cutting)
    for step in (1, 2, 7, 99, 100, 101, 199, 200):
        cuts = []
        kept = BlobStore(tmp_path / str(step), pauses=(0.0,) * 5)
        assert blob(server, kept, data) == data
        assert sum(cuts) == len(data)
        assert len(cuts) == -(-len(data) // step)


def test_what_another_process_left_is_gone_on_with_in_the_same_way(server, tmp_path):
    server.on(BLOB_URL, cut(70_000), says(501, b""))
    with pytest.raises(Unreachable):
        blob(server, BlobStore(tmp_path / "oci", pauses=()))
    server.on(BLOB_URL, server.honest)
    assert blob(server, BlobStore(tmp_path / "oci")) == LAYER
    last = server.asked(BLOB_URL)[-1].headers
    assert (last["range"], last["if-range"]) == rest(70_000)


def test_ranges_follow_redirects(server, store):
    with serving() as other:
        other.contents["/far"] = LAYER
        other.on("/far", cut(5000), other.honest)
        server.on(BLOB_URL, leads(f"{other.url}/far"))
        assert blob(server, store) == LAYER
        second = other.asked("/far")[1].headers
        assert (second["range"], second["if-range"]) == rest(5000)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_whoever_is_refused_by_a_store_is_led_there_anew(server, store, status):
    with serving() as other:
        other.contents["/far?new"] = other.contents["/far"] = LAYER
        other.on("/far", says(status, b"expired"), other.honest)
        server.on(BLOB_URL, leads(f"{other.url}/far"))
        patience = hurried()
        assert blob(server, store, LAYER, patience) == LAYER
        assert list(patience.sleep) == [1.0]
        assert len(server.asked(BLOB_URL)) == 2


def test_a_tag_that_is_not_there_either_where_the_registry_leads_is_not_found(server):
    with serving() as other:
        server.on(TAG_URL, leads(f"{other.url}/v2/elsewhere/manifests/1"))
        with pytest.raises(NotFound, match="org/app:1"):
            document(server)
        assert len(server.asked(TAG_URL)) == 1


def test_cookies_are_never_sent_back(server, store):
    server.on("*", says(200, MANIFEST, **JSON, **{"Set-Cookie": "id=42; Path=/"}))
    server.on(BLOB_URL, leads("/other"))
    server.on("/other", says(200, LAYER, **{"Set-Cookie": "id=42"}))

    async def all_of_it():
        async with registry_at(server.host) as registry:
            await registry.document("1")
            await registry.document("1")
            await store.fetch(blob_of(LAYER), registry)

    asyncio.run(all_of_it())
    assert len(server.requests) == 4
    assert not any("cookie" in one.headers for one in server.requests)


def test_what_is_sent_says_what_is_wanted_and_nothing_is_unpacked(server):
    document(server)
    (asked,) = server.requests
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.headers["accept"].startswith(f"{OCI_INDEX}, application/vnd.docker")
    assert set(asked.headers) == {"host", "user-agent", "accept", "accept-encoding"}


def test_one_connection_serves_for_all_that_is_asked_in_turn(server, store):
    async def all_of_it():
        async with registry_at(server.host) as registry:
            for _ in range(3):
                await registry.document("1")
            await store.fetch(blob_of(LAYER), registry)

    asyncio.run(all_of_it())
    assert len({one.connection for one in server.requests}) == 1


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([stalls()], "it stopped sending"),
        ([stalls(b"HTTP/1.1 200 OK\r\n")], "it stopped sending"),
        ([stalls(reply(200, MANIFEST[:9], length=len(MANIFEST)))], "it stopped sending"),
    ],
    ids=["no answer", "half a head", "half a body"],
)
def test_a_server_that_falls_silent_is_given_up(server, steps, words):
    server.on(TAG_URL, *steps)
    with pytest.raises(Unreachable) as caught:
        document(server, patience=hurried(pauses=(1.0,), read=0.1))
    assert caught.value.cause == f"asked 2 times: {words}"
    assert len(server.asked(TAG_URL)) == 2


def trickle(head, piece):
    """Sends a little at a time, for as long as somebody listens."""

    def step(request):
        request.connection.settimeout(0.02)
        request.send(head)
        while True:
            try:
                request.connection.sendall(piece)
                if not request.connection.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError:
                return

    return step


def test_a_head_that_comes_letter_by_letter_is_given_up(server):
    server.on(TAG_URL, trickle(b"HTTP/1.1 200 OK\r\nX: ", b"y"))
    with pytest.raises(Unreachable) as caught:
        document(server, patience=hurried(pauses=(), head=0.2))
    assert "does not answer in time" in caught.value.cause


def test_a_document_that_comes_letter_by_letter_is_given_up(server):
    server.on(TAG_URL, trickle(reply(200, length=999), b" "))
    with pytest.raises(Unreachable) as caught:
        document(server, patience=hurried(pauses=(), document=0.2))
    assert "takes too long" in caught.value.cause


def test_a_blob_that_hardly_moves_is_cut_and_gone_on_with(server, store):
    server.on(BLOB_URL, trickle(reply(200, length=SIZE, ETag='"one"'), LAYER[:1]), WHOLE)
    ticks = iter(range(0, 100_000, 10))
    patience = hurried(clock=lambda: float(next(ticks)))
    assert blob(server, store, LAYER, patience) == LAYER
    assert server.asked(BLOB_URL)[1].headers["range"].startswith("bytes=")


def test_cancelling_ends_a_transfer_that_stands_still(server, store):
    server.on(BLOB_URL, stalls(reply(200, LAYER[:5000], length=SIZE)))

    async def cancelled():
        async with registry_at(server.host) as registry:
            task = asyncio.ensure_future(store.fetch(blob_of(LAYER), registry))
            async with asyncio.timeout(20):
                await until(lambda: store.fetched(blob_of(LAYER)) == 5000)
            task.cancel()
            async with asyncio.timeout(20):
                with pytest.raises(asyncio.CancelledError):
                    await task

    asyncio.run(cancelled())
    assert store.fetched(blob_of(LAYER)) == 5000


def test_cancelling_ends_waiting_for_an_answer(server):
    server.on(TAG_URL, stalls())

    async def cancelled():
        async with registry_at(server.host) as registry:
            task = asyncio.ensure_future(registry.document("1"))
            async with asyncio.timeout(20):
                await until(lambda: server.requests)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    asyncio.run(cancelled())


def test_pauses_are_told_in_the_log(server, caplog):
    server.on(TAG_URL, says(BUSY), server.honest)
    with caplog.at_level(logging.WARNING, "banger.plugin.oci"):
        document(server)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{server.host}: HTTP status 429, it says 'slow down'; again in 1.0 s"
    )


def test_nobody_listens():
    with serving() as gone:
        pass
    patience = hurried()
    with pytest.raises(Unreachable, match=gone.host) as caught:
        document(gone, patience=patience)
    assert "Connection refused" in caught.value.cause
    assert tuple(patience.sleep) == ALL


def test_a_name_that_nobody_has_is_asked_for_once():
    patience = hurried()
    with pytest.raises(Unreachable) as caught:
        document(SimpleNamespace(host="registry.invalid"), patience=patience)
    assert "registry.invalid" in f"{caught.value.summary} {caught.value.cause}"


# --- TLS -----------------------------------------------------------------------------------------
# A registry on this host is asked in plain HTTP first; servers for TLS say what they are then


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(certificate):
    key, chain = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with serving(context) as one:
        yield one


def test_a_registry_with_a_trusted_certificate_is_read(secure, certificate, monkeypatch, store):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    secure.on(BLOB_URL, cut(5000), secure.honest)
    assert document(secure)[0] == MANIFEST
    assert blob(secure, store) == LAYER


def test_a_certificate_of_nobody_known_is_refused_at_once(secure):
    patience = hurried()
    with pytest.raises(Unreachable, match="does not prove who it is") as caught:
        document(secure, patience=patience)
    assert "self-signed" in caught.value.cause
    assert (secure.requests, patience.sleep) == ([], [])


def test_nothing_leads_from_https_to_http(secure, server, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    secure.on(TAG_URL, leads(f"{server.url}{TAG_URL}"))
    with pytest.raises(HostileInput, match="refused a redirect") as caught:
        document(secure)
    assert caught.value.cause == f"it leads to plain HTTP at {server.host}"
    assert bytes(server.received) == b""


def test_a_token_is_not_fetched_over_http_for_a_registry_with_https(
    secure, server, certificate, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    secure.on(TAG_URL, wants(f'Bearer realm="{server.url}/token"'))
    with pytest.raises(HostileInput, match="refused to fetch a token") as caught:
        document(secure)
    assert caught.value.cause == f"it sends for it to {server.host} over plain HTTP"
    assert bytes(server.received) == b""


def test_a_list_of_authorities_that_is_not_there_is_named(secure, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(UsageProblem, match="SSL_CERT_FILE"):
        document(secure)


def test_a_handshake_that_stands_still_is_given_up(server, monkeypatch):
    """Silent after it told that it wants TLS."""

    server.on(TAG_URL, closes(reply(400, NOT_TLS)))
    with pytest.raises(Unreachable, match="cannot fetch") as caught:
        document(server, patience=hurried(pauses=(), connect=0.2))
    assert caught.value.cause == "asked 1 times: it does not shake hands"
    assert caught.value.hints == (f"curl -I https://{server.host}/v2/",)
