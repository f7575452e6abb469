from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path

import pytest
from oci_origins import until

from banger_core.api import BangerError, HostNotReady
from banger_oci.credentials import Credentials, find_credentials
from banger_oci.helpers import ask_helper
from banger_oci.patience import Patience, retry_after
from banger_oci.reference import parse_reference
from banger_oci.settings import OciSettings

HUB = "https://index.docker.io/v1/"


def packed(text):
    return base64.b64encode(text.encode()).decode()


ANN, BOB = {"auth": packed("ann:one")}, {"auth": packed("bob:two")}


@pytest.fixture(autouse=True)
def home(banger_paths, monkeypatch):
    """A home without anything, and PATH with a directory for helpers."""
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    home = banger_paths.state.parent / "home"
    (home / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{home}/bin:{os.environ['PATH']}")
    return home


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def docker(home):
    """Writes Docker's file."""
    return lambda content: write(home / ".docker" / "config.json", content)


def found(reference, **settings):
    return asyncio.run(find_credentials(parse_reference(reference), OciSettings(**settings)))


def pair(reference, **settings):
    credentials = found(reference, **settings)
    return credentials and (credentials.username, credentials.password)


# --- which entry ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "reference"),
    [
        (HUB, "python"),
        ("index.docker.io", "org/app"),
        ("docker.io", "org/app"),
        ("registry-1.docker.io", "python"),
        ("https://docker.io", "python"),
        ("ghcr.io", "ghcr.io/org/app"),
        ("GHCR.io", "ghcr.io/org/app"),
        ("https://ghcr.io", "ghcr.io/org/app"),
        ("https://ghcr.io/", "ghcr.io/org/app"),
        ("https://ghcr.io/v1/", "ghcr.io/org/app"),
        ("http://ghcr.io/v2", "ghcr.io/org/app"),
        ("localhost:5000", "localhost:5000/app"),
        ("ghcr.io/org", "ghcr.io/org/app"),
        ("ghcr.io/org/app", "ghcr.io/org/app"),
    ],
)
def test_an_entry_is_found_by_any_spelling_of_its_registry(docker, key, reference):
    docker({"auths": {key: ANN}})
    assert pair(reference) == ("ann", "one")


@pytest.mark.parametrize(
    ("key", "reference"),
    [
        (HUB, "ghcr.io/org/app"),
        ("ghcr.io", "python"),
        ("ghcr.io", "ghcr.io:8443/app"),
        ("localhost:5000", "localhost:5001/app"),
        ("localhost", "localhost:5000/app"),
        ("ghcr.io/or", "ghcr.io/org/app"),
        ("ghcr.io/org/app/more", "ghcr.io/org/app"),
        ("cr.io", "ghcr.io/org/app"),
        ("ghcr.io.evil.test", "ghcr.io/org/app"),
        ("*", "ghcr.io/org/app"),
        ("", "ghcr.io/org/app"),
    ],
)
def test_an_entry_is_for_its_registry_only(docker, key, reference):
    docker({"auths": {key: ANN}})
    assert found(reference) is None


def test_the_closest_entry_is_taken(docker):
    docker({"auths": {"ghcr.io": ANN, "ghcr.io/org": BOB}})
    assert pair("ghcr.io/org/app") == ("bob", "two")
    assert pair("ghcr.io/other/app") == ("ann", "one")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": packed("ann:p:w:d")}, ("ann", "p:w:d")),
        ({"auth": packed("ann:wörd")}, ("ann", "wörd")),
        ({"auth": packed("ann:one\0\0")}, ("ann", "one")),
        ({"auth": packed("ann:")}, ("ann", "")),
        ({"username": "ann", "password": "one"}, ("ann", "one")),
        ({}, None),
        ({"email": "ann@example.test"}, None),
        ({"auth": ""}, None),
        ({"auth": 5}, None),
    ],
)
def test_what_an_entry_says(docker, entry, expected):
    docker({"auths": {"ghcr.io": entry}})
    assert pair("ghcr.io/app") == expected


def test_tokens_of_both_kinds(docker):
    docker({"auths": {"a.test": {**ANN, "identitytoken": "I"}, "b.test": {"registrytoken": "R"}}})
    assert found("a.test/app").identity_token == "I"
    assert found("b.test/app").registry_token == "R"


def test_secrets_are_never_shown():
    known = Credentials(
        source="x", username="ann", password="s1", identity_token="s2", registry_token="s3"
    )
    for secret in ("s1", "s2", "s3"):
        assert secret not in repr(known)


# --- which file ----------------------------------------------------------------------------------


def test_the_configured_file_comes_before_the_environments(home, docker, tmp_path, monkeypatch):
    docker({"auths": {"a.test": ANN}})
    assert found("a.test/app").source == str(home / ".docker" / "config.json")
    write(tmp_path / "env" / "config.json", {"auths": {"a.test": BOB}})
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "env"))
    assert pair("a.test/app") == ("bob", "two")
    write(tmp_path / "set" / "config.json", {})
    assert found("a.test/app", docker_config=str(tmp_path / "set")) is None


def test_podmans_file_helps_where_docker_knows_nothing(docker, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    path = write(tmp_path / "containers" / "auth.json", {"auths": {"a.test": ANN, "b.test": ANN}})
    assert found("a.test/app").source == str(path)
    docker({"auths": {"a.test": BOB, "b.test": {}}})
    assert pair("a.test/app") == ("bob", "two")
    assert pair("b.test/app") == ("ann", "one")


@pytest.mark.parametrize("content", ["", "{}", '{"auths": null}', '{"credsStore": ""}'])
def test_a_file_with_nothing_in_it(docker, content):
    docker(content)
    assert found("a.test/app") is None


SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (f'{{"auths": {SECRET}', "line 1, column 11: Expecting value"),
        (f'["{SECRET}"]', "it does not hold a JSON object"),
        (f'{{"auths": ["{SECRET}"]}}', "auths is not an object"),
        (f'{{"auths": {{"a.test": "{SECRET}"}}}}', "what it has for a.test is not an object"),
        ('{"auths": {"a.test": {"auth": "%%%"}}}', "is not base64 of NAME:PASSWORD"),
        ({"auths": {"a.test": {"auth": packed(SECRET)}}}, "is not base64 of NAME:PASSWORD"),
        ({"auths": {"a.test": {"auth": packed(f":{SECRET}")}}}, "is not base64 of NAME:PASSWORD"),
        ('{"credHelpers": "x"}', "credHelpers is not an object"),
        ('{"credHelpers": {"a.test": 5}}', "the name of a credential helper is not a text"),
        ("[" * 100_000, "it is not JSON"),
        (f'{{"a": {"1" * 5000}}}', "it is not JSON"),
        (" " * ((1 << 20) + 1), "it is longer than 1 MiB"),
    ],
)
def test_a_file_that_cannot_be_used_says_what_is_wrong_and_no_secret(docker, content, cause):
    path = docker(content)
    with pytest.raises(BangerError) as caught:
        found("a.test/app")
    assert caught.value.summary == f"cannot use '{path}'"
    assert cause in caught.value.cause
    told = f"{caught.value.summary} {caught.value.cause} {caught.value.hints}"
    assert SECRET not in told
    assert packed(SECRET) not in told


def test_bytes_that_are_no_text(home):
    write(home / ".docker" / "config.json", "").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(BangerError) as caught:
        found("a.test/app")
    assert caught.value.cause == "it is not JSON"


def test_a_pipe_in_place_of_the_file_is_not_waited_for(home):
    (home / ".docker").mkdir()
    os.mkfifo(home / ".docker" / "config.json")
    with pytest.raises(BangerError) as caught:
        found("a.test/app")
    assert caught.value.cause == "it is not a regular file"


# --- helpers -------------------------------------------------------------------------------------


@pytest.fixture
def helper(home):
    """Writes docker-credential-NAME; returns the file in which it notes what it is asked."""

    def make(script, name="test"):
        path = home / "bin" / f"docker-credential-{name}"
        path.write_text(f'#!/bin/sh\necho "$@" >>{home}/asked\nread -r server\n'
                        f'echo "$server" >>{home}/asked\n{script}\n')  # fmt: skip
        path.chmod(0o755)
        return home / "asked"

    return make


def says(user, secret):
    return f"""echo '{json.dumps({"ServerURL": "x", "Username": user, "Secret": secret})}'"""


NONE = "echo 'credentials not found in native keychain'; exit 1"


def test_the_helper_of_a_registry_comes_before_the_one_for_all(docker, helper):
    docker({"credHelpers": {"a.test": "one"}, "credsStore": "two"})
    helper(says("ann", "one"), "one")
    asked = helper(says("bob", "two"), "two")
    credentials = found("a.test/app")
    assert (credentials.username, credentials.password) == ("ann", "one")
    assert credentials.source == "docker-credential-one"
    assert asked.read_text() == "get\na.test\n"
    assert pair("b.test/app") == ("bob", "two")


def test_helpers_know_docker_hub_by_its_old_name(docker, helper):
    docker({"credsStore": "test"})
    asked = helper(says("ann", "one"))
    assert pair("python") == ("ann", "one")
    assert asked.read_text() == f"get\n{HUB}\n"


def test_a_helper_may_give_an_identity_token(docker, helper):
    docker({"credsStore": "test"})
    helper(says("<token>", "IDENTITY"))
    credentials = found("a.test/app")
    assert (credentials.username, credentials.identity_token) == ("", "IDENTITY")


def test_what_a_helper_does_not_know_may_be_in_the_file(docker, helper):
    docker({"credsStore": "test", "auths": {"a.test": ANN, "b.test": {}}})
    helper(NONE)
    assert pair("a.test/app") == ("ann", "one")
    assert found("b.test/app") is None


def test_a_helper_that_knows_nobody(docker, helper):
    docker({"credsStore": "test"})
    helper(says("", ""))
    assert found("a.test/app") is None


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("echo locked; exit 2", "exit status 2: 'locked'"),
        ("exit 3", "exit status 3: 'it says nothing'"),
        (f"{says('ann', SECRET)}; exit 1", "exit status 1: …"),
        ("echo nonsense", "not a JSON object"),
        ("echo '[]'", "not a JSON object"),
        ("""echo '{"Username": 5, "Secret": "x"}'""", "not a JSON object"),
        ("""echo '{"Username": "ann"}'""", "not a JSON object"),
        ("exec yes", "its answer is too long"),
        ("printf '\\033[2J'; exit 1", "exit status 1: '\\x1b[2J'"),
    ],
)
def test_a_broken_helper_is_named_and_no_secret_told(docker, helper, script, cause):
    path = docker({"credsStore": "test"})
    helper(script)
    with pytest.raises(BangerError) as caught:
        found("a.test/app")
    assert caught.value.summary == "docker-credential-test does not work"
    assert cause in caught.value.cause
    assert str(path) in caught.value.hints[1]
    assert SECRET not in f"{caught.value.cause} {caught.value.hints}"


def test_a_helper_that_is_not_installed(docker):
    path = docker({"credsStore": "nowhere-to-be-found"})
    with pytest.raises(HostNotReady) as caught:
        found("a.test/app")
    assert caught.value.summary == "docker-credential-nowhere-to-be-found is not installed"
    assert str(path) in caught.value.cause


def test_a_helper_that_cannot_be_run(docker, home):
    docker({"credsStore": "test"})
    write(home / "bin" / "docker-credential-test", "no program").chmod(0o755)
    with pytest.raises(BangerError, match="does not work"):
        found("a.test/app")


@pytest.mark.parametrize("name", ["../x", "a b", "a/b", "x;id", "$(id)", "", "a" * 65, "x\n"])
def test_a_name_that_is_no_helpers_is_never_run(tmp_path, name):
    with pytest.raises(BangerError, match="is no name of a credential helper"):
        asyncio.run(ask_helper(name, "a.test", named_by=tmp_path))


@pytest.mark.parametrize(
    "script",
    [
        "echo $$ >PID; exec sleep 1000",
        "sleep 1000 & echo $! >PID; wait",
        "sleep 1000 & echo $! >PID",
    ],
    ids=["itself", "its child", "the child that it left"],
)
def test_a_helper_that_does_not_answer_ends_with_its_children(tmp_path, helper, script, fake_clock):
    helper(script.replace("PID", f"{tmp_path}/pid"))
    written = tmp_path / "pid"

    async def expire():
        asking = asyncio.create_task(
            ask_helper("test", "a.test", named_by=tmp_path, deadline=1000.0)
        )
        await until(lambda: written.exists() and written.read_text().endswith("\n"))
        # It may not have begun to count yet
        while not asking.done():
            await fake_clock.advance(1001)
            await asyncio.sleep(0.01)
        await asking

    with pytest.raises(BangerError) as caught:
        asyncio.run(expire())
    assert caught.value.cause == "it did not answer in 1000 seconds"
    pid = int(written.read_text())
    # Output ends a moment before the process does
    asyncio.run(until(lambda: ended(pid)))


def ended(pid):
    """Nothing but its entry is left: who has to take note of its end is another's business."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        return True
    return stat.rpartition(b")")[2].split()[0] == b"Z"


def test_a_helper_that_does_not_read_is_not_waited_for(home, docker):
    docker({"credsStore": "test"})
    path = write(home / "bin" / "docker-credential-test", f"#!/bin/sh\n{says('ann', 'one')}\n")
    path.chmod(0o755)
    assert pair("a.test/app") == ("ann", "one")


# --- patience ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tuesday, 14-Nov-23 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:13:10 GMT", 0.0),
        ("Tue, 14 Nov 99999 22:13:10 GMT", None),
        ("-5", None),
        ("1.5", None),
        ("1e3", None),
        ("9" * 5000, None),
        ("", None),
        ("soon", None),
        ("²", None),
    ],
)
def test_retry_after(text, seconds):
    assert retry_after(text, 1_700_000_000.0) == seconds


def test_pauses_grow_vary_by_half_and_are_no_shorter_than_what_was_asked_for():
    least, most = Patience(chance=lambda: 0.0), Patience(chance=lambda: 1.0)
    assert [least.pause(number, None) for number in range(4)] == [0.25, 0.5, 1.0, 2.0]
    assert [most.pause(number, None) for number in range(4)] == [0.75, 1.5, 3.0, 6.0]
    assert most.pause(0, 30.0) == 30.0
