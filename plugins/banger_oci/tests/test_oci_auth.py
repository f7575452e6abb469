from __future__ import annotations

import asyncio
import base64
import json
import urllib.parse

import pytest
from oci_faulty import (
    BLOB_URL,
    CONFIG,
    LAYER,
    MANIFEST,
    TAG_URL,
    basic,
    closes,
    endless,
    error,
    guarded,
    hurried,
    leads,
    registry_at,
    reply,
    says,
    serving,
    stalls,
    traces,
    wants,
)
from oci_origins import blob_of

from banger_core.api import HostileInput, Unreachable
from banger_oci.auth import TOKEN_ANSWER_MAX
from banger_oci.blobs import BlobStore
from banger_oci.challenges import Challenge, parse_challenges
from banger_oci.refusals import Denied

USER, PASSWORD = "ann-of-green", "s3cr3t/p@ss word+ü"
IDENTITY, REGISTRY_TOKEN = "identity-token-4711", "registry-token-0815"
TOKEN = "the.token-of_tokens"
BEARER = f"Bearer {TOKEN}"
SIZE = len(LAYER)
SCOPE = "repository:org/app:pull"


@pytest.fixture(autouse=True)
def _no_environment(banger_paths, monkeypatch):
    for name in ("DOCKER_CONFIG", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server():
    with serving() as one:
        yield one


@pytest.fixture
def other():
    with serving() as one:
        yield one


@pytest.fixture
def login(tmp_path):
    """Writes Docker's file; returns the settings that name it."""

    def write(server, **entry):
        entry = entry or {"username": USER, "password": PASSWORD}
        (tmp_path / "docker").mkdir(exist_ok=True)
        path = tmp_path / "docker" / "config.json"
        path.write_text(json.dumps({"auths": {server.host: entry}}))
        return {"docker_config": str(path.parent)}

    return write


def document(server, patience=None, **settings):
    async def ask():
        async with registry_at(server.host, patience, **settings) as registry:
            return (await registry.document("1"))[0]

    return asyncio.run(ask())


def challenge(realm, **parameters):
    values = {"realm": realm, "service": "the service", "scope": SCOPE, **parameters}
    return "Bearer " + ",".join(f'{name}="{value}"' for name, value in values.items())


def guard(server, realm=None, header=BEARER, **parameters):
    """Let a server give nothing without ``header``, and send for it to ``realm``."""
    refusal = wants(challenge(realm or f"{server.url}/token", **parameters))
    server.on("*", guarded(server.honest, header, refusal))


def gives(**answer):
    return says(200, json.dumps(answer or {"token": TOKEN}).encode())


# --- challenges ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        ("BASIC", [("basic", {})]),
        ('Bearer realm="a",service="b"', [("bearer", {"realm": "a", "service": "b"})]),
        ('Bearer  realm = "a" , service\t=b', [("bearer", {"realm": "a", "service": "b"})]),
        ('Bearer REALM="a"', [("bearer", {"realm": "a"})]),
        ('Bearer scope="a:b:pull,push"', [("bearer", {"scope": "a:b:pull,push"})]),
        (r'Bearer realm="a\"b\\c"', [("bearer", {"realm": 'a"b\\c'})]),
        ('Bearer realm=""', [("bearer", {"realm": ""})]),
        ('Bearer realm="a",realm="b"', [("bearer", {"realm": "a"})]),
        ("Basic realm=a, Bearer realm=b", [("basic", {"realm": "a"}), ("bearer", {"realm": "b"})]),
        ("Basic, Bearer realm=b", [("basic", {}), ("bearer", {"realm": "b"})]),
        ("Negotiate YWJj==, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        (',, Basic realm="x",, ,', [("basic", {"realm": "x"})]),
        ('Bearer realm="Basic realm=x"', [("bearer", {"realm": "Basic realm=x"})]),
        ('Bearer realm="a', [("bearer", {})]),
        ('Bearer realm="a" service="b"', [("bearer", {})]),
        ('realm="a"', []),
        ('="a"', []),
        ('"', []),
        ("", []),
        ("\xff\xfe", []),
    ],
)  # fmt: skip
def test_challenges(text, expected):
    assert parse_challenges([text]) == [Challenge(*one) for one in expected]


def test_challenges_in_several_headers_are_all_seen():
    assert [one.scheme for one in parse_challenges(["Basic realm=x", "Bearer realm=y"])] == [
        "basic", "bearer"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["a," * 9000, 'A x="' + "\\" * 9000, "A " + "b=c," * 9000, "=" * 9000]
)
def test_long_headers_are_read_to_a_bound(text):
    found = parse_challenges([text] * 100)
    assert len(found) <= 16
    assert all(len(one.parameters) < 8192 for one in found)


# --- tokens --------------------------------------------------------------------------------------


def test_whoever_is_nobody_gets_a_token_too(server):
    guard(server)
    server.on("/token", gives())
    assert document(server) == MANIFEST
    (asked,) = server.asked("/token")
    assert (asked.method, "authorization" in asked.headers) == ("GET", False)
    assert asked.query == {"service": ["the service"], "scope": [SCOPE]}
    assert [one.headers.get("authorization") for one in server.asked(TAG_URL)] == [None, BEARER]


def test_a_token_is_fetched_with_the_credentials_of_the_registry(server, login):
    guard(server)
    server.on("/token", guarded(gives(), basic(USER, PASSWORD), says(401, b"")))
    assert document(server, **login(server)) == MANIFEST
    assert server.asked("/token")[0].query["account"] == [USER]


def test_an_identity_token_buys_a_token_without_being_in_a_url(server, login):
    guard(server)
    server.on("/token", gives(access_token=TOKEN))
    assert document(server, **login(server, identitytoken=IDENTITY)) == MANIFEST
    (asked,) = server.asked("/token")
    assert (asked.method, asked.target) == ("POST", "/token")
    assert urllib.parse.parse_qs(asked.body.decode()) == {
        "grant_type": ["refresh_token"],
        "client_id": ["banger"],
        "service": ["the service"],
        "scope": [SCOPE],
        "refresh_token": [IDENTITY],
    }
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"


def test_a_registry_token_is_shown_as_it_is(server, login):
    guard(server, header=f"Bearer {REGISTRY_TOKEN}")
    assert document(server, **login(server, registrytoken=REGISTRY_TOKEN)) == MANIFEST
    assert server.asked("/token") == []


def test_basic_authentication(server, login):
    server.on("*", guarded(server.honest, basic(USER, PASSWORD), wants('Basic realm="x"')))
    assert document(server, **login(server)) == MANIFEST


def test_a_scope_that_is_not_stated_is_for_pulling(server):
    server.on("*", guarded(server.honest, BEARER, wants(f'Bearer realm="{server.url}/token?a=b"')))
    server.on("/token", gives())
    document(server)
    assert server.asked("/token")[0].query == {"a": ["b"], "scope": [SCOPE]}


def test_one_token_serves_all_that_are_asked_at_once(server, tmp_path):
    guard(server)
    server.on("/token", gives())

    async def ask():
        store = BlobStore(tmp_path / "oci")
        async with registry_at(server.host) as registry:
            wanted = [store.fetch(blob_of(one), registry) for one in (LAYER, CONFIG)]
            await asyncio.gather(*wanted, *(registry.document("1") for _ in range(4)))
            await registry.document("1")

    asyncio.run(ask())
    assert len(server.asked("/token")) == 1
    assert server.asked(TAG_URL)[-1].headers["authorization"] == BEARER


@pytest.mark.parametrize(
    ("stated", "good_for"),
    [(300, 290), (60, 50), (5, 50), (None, 50), (-1, 50), ("300", 50), (True, 50), (10**400, 86390),
     (float("inf"), 86390), (float("nan"), 50), (1e9, 86390)],
)  # fmt: skip
def test_a_token_is_used_while_it_is_good(server, stated, good_for):
    guard(server)
    server.on("/token", gives(token=TOKEN, expires_in=stated))
    now = [1000.0]

    async def ask():
        async with registry_at(server.host, hurried(clock=lambda: now[0])) as registry:
            for seconds in (0, good_for - 1, 1.5):
                now[0] += seconds
                await registry.document("1")
                yield len(server.asked("/token"))

    async def all_of_it():
        return [count async for count in ask()]

    assert asyncio.run(all_of_it()) == [1, 1, 2]


def test_a_token_that_is_refused_before_its_time_is_replaced(server):
    server.on("/token", gives(token="first"), gives(token="second"))
    refusal = wants(challenge(f"{server.url}/token", error="invalid_token"))
    server.on(
        TAG_URL,
        refusal,
        guarded(server.honest, "Bearer first", refusal),
        guarded(server.honest, "Bearer second", refusal),
    )

    async def ask():
        async with registry_at(server.host) as registry:
            await registry.document("1")
            return (await registry.document("1"))[0]

    assert asyncio.run(ask()) == MANIFEST
    assert len(server.asked("/token")) == 2


def test_a_token_server_that_is_busy_is_asked_again(server):
    guard(server)
    server.on("/token", says(error(429, "X", **{"Retry-After": "3"})), says(503, b""), gives())
    patience = hurried()
    assert document(server, patience) == MANIFEST
    assert list(patience.sleep) == [3.0, 2.0]


# --- what can go wrong ---------------------------------------------------------------------------

HUGE = json.dumps({"token": "x" * TOKEN_ANSWER_MAX}).encode()

TOKEN_SERVERS = {
    "no JSON": (says(200, b"<html>"), Unreachable, "not a JSON object"),
    "a list": (says(200, b"[]"), Unreachable, "not a JSON object"),
    "nested without end": (says(200, b"[" * 100_000), Unreachable, "not a JSON object"),
    "nothing": (says(200, b""), Unreachable, "not a JSON object"),
    "no token": (says(200, b"{}"), Unreachable, "there is none"),
    "an empty token": (gives(token=""), Unreachable, "there is none"),
    "a number": (gives(token=5), Unreachable, "not visible ASCII"),
    "a header more": (gives(token="x\r\nHost: y"), Unreachable, "not visible ASCII"),
    "a lone surrogate": (gives(token="\ud800"), Unreachable, "not visible ASCII"),
    "a token of 70,000 letters": (gives(token="x" * 70_000), Unreachable, "not visible ASCII"),
    "more than 1 MiB": (says(200, HUGE), HostileInput, "more than 1 MiB"),
    "without end": (endless(reply(200, length=""), b" " * 65536), HostileInput, "more than 1 MiB"),
    "400": (says(400, b'{"error": "invalid"}'), Denied, "no credentials"),
    "401": (says(401, b""), Denied, "no credentials"),
    "403": (says(error(403, "DENIED", "go away")), Denied, "go away"),
    "404": (says(404, b""), Unreachable, "HTTP status 404"),
    "302 in circles": (leads("/token"), Unreachable, "5 redirects"),
    "a redirect to the cloud": (
        leads("https://169.254.169.254/"),
        HostileInput,
        "inside this host",
    ),
    "silence": (stalls(), Unreachable, "it stopped sending"),
    "hanging up": (closes(), Unreachable, "asked 2 times"),
}


@pytest.mark.parametrize("case", TOKEN_SERVERS)
def test_token_servers(server, case):
    step, failure, words = TOKEN_SERVERS[case]
    guard(server)
    server.on("/token", step)
    with pytest.raises(failure) as caught:
        document(server, hurried(pauses=(1.0,), read=0.3 if case == "silence" else 30.0))
    assert words in caught.value.cause
    assert "authorization" not in server.asked(TAG_URL)[-1].headers


@pytest.mark.parametrize(
    ("realm", "failure", "words"),
    [
        ("", HostileInput, "is no URL"),
        ("token", HostileInput, "neither http nor https"),
        ("file:///etc/passwd", HostileInput, "neither http nor https"),
        ("http://user:password@127.0.0.1/", HostileInput, "carries credentials"),
        ("http://192.0.2.1/token", HostileInput, "over plain HTTP"),
        ("http://169.254.169.254/token", HostileInput, "over plain HTTP"),
        ("https://169.254.169.254/token", HostileInput, "inside this host"),
        ("https://[fe80::1]/token", HostileInput, "inside this host"),
        ("https://a b/token", HostileInput, "is no URL"),
        ("x" * 9000, HostileInput, "is no URL"),
    ],
)
def test_realms_that_nobody_goes_to(server, login, realm, failure, words):
    server.on("*", wants(f'Bearer realm="{realm[:7000]}"'))
    if len(realm) > 7000:
        server.on("*", wants(f'Bearer realm="{realm}"'))
        words = "is no URL"
    with pytest.raises(failure) as caught:
        document(server, **login(server))
    assert words in caught.value.cause
    assert not any("authorization" in one.headers for one in server.requests)


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_wrong_credentials_are_shown_once_and_where_they_are_from_is_told(server, login, kind):
    server.on("*", wants('Basic realm="x"' if kind == "basic" else challenge(f"{server.url}/t")))
    server.on("/t", gives())
    settings = login(server)
    with pytest.raises(Denied) as caught:
        document(server, **settings)
    assert caught.value.summary == f"{server.host} does not give org/app to this user"
    source = f"the credentials from {settings['docker_config']}/config.json"
    assert caught.value.cause == f"it was asked with {source}; it says 'words'"
    assert caught.value.hints[0] == f"docker login {server.host}"
    assert len(server.asked(TAG_URL)) == 2


def test_basic_without_credentials_is_not_tried(server):
    server.on("*", wants('Basic realm="x"'))
    with pytest.raises(Denied) as caught:
        document(server)
    assert "or it is private and no credentials for" in caught.value.cause
    assert caught.value.hints[0] == f"docker login {server.host}"
    assert len(server.requests) == 1


def test_credentials_with_odd_letters_are_sent_as_well_as_can_be(server, login):
    server.on("*", guarded(server.honest, basic("a?", "b"), wants('Basic realm="x"')))
    assert document(server, **login(server, username="a\ud800", password="b")) == MANIFEST


# --- two servers ---------------------------------------------------------------------------------

SECRETS = {
    "password": ({"username": USER, "password": PASSWORD}, (USER, PASSWORD, f"{USER}:{PASSWORD}")),
    "auth": (
        {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()},
        (USER, PASSWORD, f"{USER}:{PASSWORD}"),
    ),
    "identity token": ({"username": USER, "identitytoken": IDENTITY}, (USER, IDENTITY)),
    "registry token": ({"registrytoken": REGISTRY_TOKEN}, (REGISTRY_TOKEN,)),
}


def assert_clean(server, *secrets):
    """Not one form of a secret is in what a server ever received, and it did receive something."""
    received = bytes(server.received)
    assert received
    for trace in traces(*secrets):
        assert len(trace) >= 5
        assert trace not in received
    assert b"authorization" not in received.lower()
    assert b"cookie" not in received.lower()


def test_the_search_for_secrets_finds_them():
    """In each form in which they could come."""
    pair = f"{USER}:{PASSWORD}".encode()
    for text in (
        base64.b64encode(pair),
        base64.b64encode(b"x" + pair),
        base64.urlsafe_b64encode(b"xy" + pair),
        urllib.parse.urlencode({"account": PASSWORD}).encode(),
        urllib.parse.quote(PASSWORD).encode(),
        pair,
    ):
        assert any(trace in text for trace in traces(USER, PASSWORD)), text


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("redirect", [301, 302, 303, 307, 308])
def test_no_credentials_follow_a_redirect_to_another_server(
    server, other, login, tmp_path, kind, redirect
):
    entry, secrets = SECRETS[kind]
    other.contents["/far"] = LAYER
    other.on(
        "/far", wants('Basic realm="x"'), closes(reply(200, LAYER[:9], length=SIZE)), other.honest
    )
    other.on("/manifest", says(200, MANIFEST))
    right = f"Bearer {REGISTRY_TOKEN}" if kind == "registry token" else BEARER
    refusal = wants(challenge(f"{server.url}/token"))
    server.on("/token", gives())
    server.on(BLOB_URL, guarded(leads(f"{other.url}/far", redirect), right, refusal))
    server.on(TAG_URL, guarded(leads(f"{other.url}/manifest", redirect), right, refusal))

    async def ask():
        store = BlobStore(tmp_path / "oci", pauses=(0.0,) * 5)
        async with registry_at(server.host, **login(server, **entry)) as registry:
            await store.fetch(blob_of(LAYER), registry)
            return (await registry.document("1"))[0]

    assert asyncio.run(ask()) == MANIFEST
    assert_clean(other, *secrets, TOKEN)


@pytest.mark.parametrize("kind", ["password", "auth", "identity token"])
def test_no_credentials_go_to_a_realm_on_another_server(server, other, login, kind):
    entry, secrets = SECRETS[kind]
    other.on("/token", gives())
    guard(server, f"{other.url}/token")
    assert document(server, **login(server, **entry)) == MANIFEST
    assert other.asked("/token")[0].method == "GET"
    assert_clean(other, *secrets, TOKEN)


def test_a_realm_elsewhere_that_wants_credentials_says_how_to_allow_it(server, other, login):
    other.on("/token", wants('Basic realm="x"'))
    guard(server, f"{other.url}/token")
    with pytest.raises(Denied) as caught:
        document(server, **login(server))
    assert f"it sends for a token to {other.host}" in caught.value.cause
    assert f'token_hosts = {{"{server.host}" = "{other.host}"}}' in caught.value.hints[0]
    assert_clean(other, USER, PASSWORD)


def test_a_realm_elsewhere_that_is_configured_gets_them(server, other, login):
    other.on("/token", guarded(gives(), basic(USER, PASSWORD), says(401, b"")))
    guard(server, f"{other.url}/token")
    settings = {**login(server), "token_hosts": {server.host: other.host}}
    assert document(server, **settings) == MANIFEST


@pytest.mark.parametrize("kind", ["password", "identity token"])
def test_a_token_server_cannot_send_them_further(server, other, login, kind):
    entry, secrets = SECRETS[kind]
    other.on("/token", gives())
    guard(server)
    server.on("/token", leads(f"{other.url}/token"))
    settings = login(server, **entry)
    if kind == "password":
        assert document(server, **settings) == MANIFEST
        assert_clean(other, *secrets)
    else:
        with pytest.raises(Unreachable, match="did not give a token"):
            document(server, **settings)
        assert bytes(other.received) == b""


def test_they_do_not_come_back_to_the_first_server_either(server, other, login):
    """Whoever leads back may have chosen what they are shown for."""
    server.on(
        TAG_URL, guarded(leads(f"{other.url}/x"), BEARER, wants(challenge(f"{server.url}/token")))
    )
    server.on("/token", gives())
    server.on("/back", says(200, MANIFEST))
    other.on("/x", leads(f"{server.url}/back"))
    assert document(server, **login(server)) == MANIFEST
    assert "authorization" not in server.asked("/back")[0].headers


def test_a_challenge_of_another_server_is_not_answered(server, other, login):
    """Nor is it asked for a token."""
    other.on("*", wants(challenge(f"{other.url}/token")))
    server.on(TAG_URL, leads(f"{other.url}/x"))
    with pytest.raises(Unreachable):
        document(server, hurried(pauses=()), **login(server))
    assert other.asked("/token") == []
    assert_clean(other, USER, PASSWORD)


def test_credentials_of_another_port_are_another_registrys(server, other, login):
    guard(other)
    other.on("/token", gives())
    assert document(other, **login(server)) == MANIFEST
    assert "authorization" not in other.asked("/token")[0].headers


def test_no_message_holds_a_secret(server, login, caplog):
    server.on("*", wants(challenge(f"{server.url}/token")))
    server.on("/token", says(503, b""), gives())
    with pytest.raises(Denied) as caught:
        document(server, **login(server))
    told = f"{caught.value.summary} {caught.value.cause} {caught.value.hints} {caplog.text}"
    for trace in traces(PASSWORD, TOKEN):
        assert trace.decode() not in told
