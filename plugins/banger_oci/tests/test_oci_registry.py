from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess

import pytest
from oci_faulty import hurried, reply, serving
from oci_layouts import LayoutMaker, plain, simple_layout
from oci_origins import some_bytes
from oci_registries import (
    PASSWORD,
    USER,
    Server,
    make_certificate,
    signed_token,
    with_password,
    with_tokens,
)

from banger_core.api import HostileInput, NotFound
from banger_core.testing.context import FakeContext
from banger_oci.blobs import BlobStore
from banger_oci.documents import Descriptor, parse_document
from banger_oci.download import fetch_all
from banger_oci.mediatypes import OCI_MANIFEST
from banger_oci.redirects import Guide
from banger_oci.reference import parse_reference
from banger_oci.refusals import Denied
from banger_oci.registry import Registry
from banger_oci.settings import OciSettings
from banger_oci.transport import Transport
from banger_oci.urls import Ground, parse_url


@pytest.fixture(autouse=True)
def _no_environment(banger_paths, monkeypatch):
    for name in ("DOCKER_CONFIG", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def running():
    """Takes a registry, and ends it with the test."""
    servers = []

    def keep(server):
        servers.append(server)
        return server

    yield keep
    for server in servers:
        server.stop()


@pytest.fixture
def maker(tmp_path):
    return simple_layout(tmp_path / "images")


def login(tmp_path, host, user=USER, password=PASSWORD):
    """Write Docker's file, as ``docker login`` would."""
    path = tmp_path / "docker" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"auths": {host: {"username": user, "password": password}}}))
    return {"docker_config": str(path.parent)}


def pull(tmp_path, reference, **settings):
    """Fetch an image with all its blobs; return its manifest's bytes and the store."""

    async def run():
        store = BlobStore(tmp_path / "cache")
        where = parse_reference(reference)
        async with Registry(where, OciSettings(**settings), patience=hurried()) as registry:
            data, media_type = await registry.document(where.selector)
            image = parse_document(data, media_type)
            context = FakeContext(tmp_path / "context")
            await fetch_all(store, registry, [image.config, *image.layers], context, 3)
        for one in (image.config, *image.layers):
            assert store.has(one)
        return data, media_type

    return asyncio.run(run())


# --- real ones -----------------------------------------------------------------------------------


def test_an_image_is_fetched_by_tag_and_by_digest(running, maker, tmp_path):
    server = running(Server(tmp_path / "registry"))
    server.push(maker.root, "1.0", "org/app:1")
    data, media_type = pull(tmp_path, f"{server.host}/org/app:1")
    assert media_type == OCI_MANIFEST
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert pull(tmp_path, f"{server.host}/org/app@{digest}")[0] == data


def test_what_is_not_there(running, maker, tmp_path):
    server = running(Server(tmp_path / "registry"))
    server.push(maker.root, "1.0", "org/app:1")
    with pytest.raises(NotFound) as caught:
        pull(tmp_path, f"{server.host}/org/app:2")
    assert caught.value.cause == f"{server.host} has no manifest 2 in org/app"
    with pytest.raises(NotFound) as caught:
        pull(tmp_path, f"{server.host}/org/none:1")
    assert "org/none" in caught.value.cause


def test_a_blob_is_gone_on_with_where_it_was_left(running, tmp_path):
    maker = LayoutMaker(tmp_path / "images")
    data = some_bytes(3 << 20, 4)
    maker.add(maker.image([plain(data)]), "1.0")
    server = running(Server(tmp_path / "registry"))
    server.push(maker.root, "1.0", "org/app:1", "--preserve-digests")
    blob = Descriptor(
        media_type="", digest=f"sha256:{hashlib.sha256(data).hexdigest()}", size=len(data)
    )

    class Part:
        """Takes so many bytes, then no more."""

        def __init__(self, most):
            self.most, self.data, self.begun = most, b"", []

        def begin(self, offset, validator):
            self.begun.append((offset, validator))

        def write(self, chunk):
            self.data += chunk
            if len(self.data) >= self.most:
                raise EOFError

    async def run():
        where = parse_reference(f"{server.host}/org/app:1")
        async with Registry(where, OciSettings()) as registry:
            first, second, changed = Part(1 << 20), Part(len(data) + 1), Part(len(data) + 1)
            with pytest.raises(EOFError):
                await registry.pour(blob, first)
            ((_, validator),) = first.begun
            here = len(first.data)
            await registry.pour(blob, second, offset=here, validator=validator)
            await registry.pour(blob, changed, offset=here, validator='"another"')
        assert validator
        assert second.begun == [(here, validator)]
        assert first.data + second.data == data
        assert changed.begun == [(0, validator)]
        assert changed.data == data

    asyncio.run(run())


def test_a_registry_with_passwords(running, maker, tmp_path):
    server = running(with_password(tmp_path / "registry"))
    server.push(maker.root, "1.0", "org/app:1", "--dest-creds", f"{USER}:{PASSWORD}")
    with pytest.raises(Denied, match="to everybody"):
        pull(tmp_path, f"{server.host}/org/app:1")
    settings = login(tmp_path, server.host)
    pull(tmp_path, f"{server.host}/org/app:1", **settings)


def test_a_wrong_password(running, tmp_path):
    server = running(with_password(tmp_path / "registry"))
    settings = login(tmp_path, server.host, password="wrong")
    with pytest.raises(Denied, match="to this user"):
        pull(tmp_path, f"{server.host}/org/app:1", **settings)


def test_what_podman_and_skopeo_log_in_with_is_known(running, maker, tmp_path, monkeypatch):
    server = running(with_password(tmp_path / "registry"))
    server.push(maker.root, "1.0", "org/app:1", "--dest-creds", f"{USER}:{PASSWORD}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    file = tmp_path / "run" / "containers" / "auth.json"
    command = ["skopeo", "login", "--tls-verify=false", "--authfile", str(file)]
    command += ["-u", USER, "--password-stdin", server.host]
    subprocess.run(command, input=PASSWORD.encode(), check=True, capture_output=True)
    pull(tmp_path, f"{server.host}/org/app:1")


def test_a_registry_with_tokens(running, maker, tmp_path):
    """Its own keys decide: the tokens are signed, and good for one repository."""
    home = tmp_path / "registry"
    home.mkdir()
    key, certificate = make_certificate(home)

    def token(request):
        # skopeo asks for a second one where it remembers a blob in another repository
        asked = [scope.split(":") for scope in request.query["scope"]]
        access = [
            {"type": kind, "name": name, "actions": actions.split(",")}
            for kind, name, actions in asked
        ]
        return reply(200, json.dumps({"token": signed_token(key, certificate, access)}).encode())

    with serving() as tokens:
        tokens.on("/token", token)
        server = running(with_tokens(home, f"{tokens.url}/token", certificate))
        server.push(maker.root, "1.0", "org/app:1")
        before = len(tokens.asked("/token"))
        pull(tmp_path, f"{server.host}/org/app:1")
        assert len(tokens.asked("/token")) == before + 1
        assert tokens.requests[-1].query["scope"] == ["repository:org/app:pull"]
        assert tokens.requests[-1].query["service"] == ["reg"]


# --- addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_public_server_leads_to_nobody_on_this_host(host):
    """Names are looked up first; what counts is the address that is connected to."""
    with serving() as server:

        async def ask():
            async with Transport(hurried()) as transport:
                guide = Guide(transport, [f"{host}:{server.port}"])
                url = parse_url(f"http://{host}:{server.port}/")
                await guide.get(url, {}, home=Ground.PUBLIC)

        with pytest.raises(HostileInput, match="refused to go to"):
            asyncio.run(ask())
        assert bytes(server.received) == b""
