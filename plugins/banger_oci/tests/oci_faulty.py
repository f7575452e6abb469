"""A registry on loopback that does whatever a test wants it to do, byte by byte."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import ssl
import threading
import urllib.parse
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from oci_origins import blob_of, some_bytes

from banger_oci.mediatypes import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from banger_oci.patience import Patience
from banger_oci.reference import parse_reference
from banger_oci.registry import Registry
from banger_oci.settings import OciSettings

LAYER = some_bytes(90_000, 5)
CONFIG = b'{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}'
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": OCI_CONFIG, "digest": blob_of(CONFIG).digest, "size": len(CONFIG)
        },
        "layers": [
            {"mediaType": OCI_LAYER, "digest": blob_of(LAYER).digest, "size": len(LAYER)}
        ],
    }
).encode()  # fmt: skip
DIGEST = blob_of(MANIFEST).digest
TAG_URL, BLOB_URL = "/v2/org/app/manifests/1", f"/v2/org/app/blobs/{blob_of(LAYER).digest}"

TLS_RECORD, NOT_TLS = b"\x16", b"Client sent an HTTP request to an HTTPS server.\n"


@dataclass
class Request:
    """What a client sent."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: socket.socket = field(repr=False)

    @property
    def path(self):
        return self.target.partition("?")[0]

    @property
    def query(self):
        return urllib.parse.parse_qs(self.target.partition("?")[2])

    def send(self, data):
        """Send something; a client that has gone away does not mind."""
        with suppress(OSError):
            self.connection.sendall(data)

    def until_gone(self):
        """Keep silent until the client closes."""
        with suppress(OSError):
            while self.connection.recv(65536):
                pass


class Faulty:
    """Serves on its own port; with ``tls`` it tells off who speaks plain HTTP, as Go's servers do.

    ``scripts`` holds, for a path ("*": all others), what is done at one request after the other;
    the last one stays. A path without a script is served honestly.

    A step takes the request and returns the answer's bytes, or None when it has sent them itself
    and the connection is to be closed. ``received`` is every byte that ever came in.
    """

    def __init__(self, tls=None):
        self.scripts, self.requests, self.received = {}, [], bytearray()
        self.contents = {TAG_URL: MANIFEST, f"/v2/org/app/manifests/{DIGEST}": MANIFEST}
        self.contents |= {
            f"/v2/org/app/blobs/{blob_of(one).digest}": one for one in (LAYER, CONFIG)
        }
        self._tls = tls
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self._open, self._threads = set(), []
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def on(self, path, *steps):
        """Set the script of a path."""
        self.scripts[path] = list(steps)

    def asked(self, path):
        """The requests for a path."""
        return [one for one in self.requests if one.path == path]

    def close(self):
        """End everything."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection):
        with self._lock:
            self._open.add(connection)
        try:
            if self._tls:
                if connection.recv(1, socket.MSG_PEEK) != TLS_RECORD:
                    connection.recv(65536)
                    connection.sendall(reply(400, NOT_TLS))
                    return
                plain, connection = connection, self._tls.wrap_socket(connection, server_side=True)
                with self._lock:
                    self._open.discard(plain)
                    self._open.add(connection)
            while (request := self._read(connection)) and self._answer(request):
                pass
        except (OSError, ssl.SSLError):
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _read(self, connection):
        data = b""
        while b"\r\n\r\n" not in data:
            if not (piece := connection.recv(65536)):
                return None
            self._note(piece)
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        while len(body) < int(headers.get("content-length", 0)):
            if not (piece := connection.recv(65536)):
                return None
            self._note(piece)
            body += piece
        method, target, _ = first.split(" ")
        return Request(method, target, headers, body, connection)

    def _note(self, piece):
        with self._lock:
            self.received += piece

    def _answer(self, request):
        with self._lock:
            self.requests.append(request)
            script = self.scripts.get(request.path) or self.scripts.get("*") or [self.honest]
            step = script.pop(0) if len(script) > 1 else script[0]
        if (answer := step(request)) is None:
            return False
        request.send(answer)
        return True

    def honest(self, request, tag='"one"'):
        """Serve the path as a good registry does, with ranges."""
        if (data := self.contents.get(request.path)) is None:
            return error(404, "MANIFEST_UNKNOWN" if "manifests" in request.path else "BLOB_UNKNOWN")
        if "/manifests/" in request.path:
            return reply(200, data, **{"Content-Type": OCI_MANIFEST})
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        if asked and request.headers.get("if-range", tag) == tag:
            start = int(asked[1])
            place = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return reply(206, data[start:], ETag=tag, **{"Content-Range": place})
        return reply(200, data, ETag=tag)


@contextmanager
def serving(tls=None):
    """A server for the time of the block."""
    server = Faulty(tls)
    try:
        yield server
    finally:
        server.close()


def reply(status, body=b"", *, length=None, **headers):
    """The bytes of an answer; ``length`` replaces its true one, or "" leaves it out."""
    lines = [f"HTTP/1.1 {status} Some Words"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if length != "":
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def error(status, code, message="words", **headers):
    """An answer in the words of the specification."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return reply(status, body, **headers)


# --- steps ---------------------------------------------------------------------------------------


def says(*answer, **headers):
    """A step that always answers the same: (status, body) or its bytes."""
    data = answer[0] if isinstance(answer[0], bytes) else reply(*answer, **headers)
    return lambda _: data


def leads(location, status=307):
    return says(status, Location=location)


def wants(text):
    """A step that refuses, asking for authentication."""
    return says(error(401, "UNAUTHORIZED", **{"WWW-Authenticate": text}))


def closes(*pieces):
    """A step that sends pieces and closes the connection."""

    def step(request):
        for piece in pieces:
            request.send(piece)

    return step


def stalls(*pieces):
    """A step that sends pieces and then nothing more."""

    def step(request):
        closes(*pieces)(request)
        request.until_gone()

    return step


def endless(head, piece):
    """A step that sends for as long as somebody listens."""

    def step(request):
        with suppress(OSError):
            request.connection.sendall(head)
            while True:
                request.connection.sendall(piece)

    return step


def guarded(step, header, otherwise):
    """A step that takes another one only with this ``Authorization``."""

    def chosen(request):
        right = request.headers.get("authorization") == header
        return (step if right else otherwise)(request)

    return chosen


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def traces(*secrets):
    """All forms in which texts could travel: plain, in URLs, in base64 at any offset, hashed."""
    forms = set()
    for secret in secrets:
        data = secret.encode()
        forms |= {data, urllib.parse.quote(secret, safe="").encode()}
        forms |= {urllib.parse.quote_plus(secret).encode(), urllib.parse.quote(secret).encode()}
        forms |= {json.dumps(secret)[1:-1].encode(), data.hex().encode()}
        forms.add(hashlib.sha256(data).hexdigest().encode())
        for shift in range(3):
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                packed = encode(bytes(shift) + data)
                # Only what no neighbouring byte has a part in
                start = -(-shift * 8 // 6)
                forms.add(packed[start : (shift + len(data)) * 8 // 6])
    return forms


# --- the client ----------------------------------------------------------------------------------


class Sleeps(list):
    """Takes the place of sleeping; holds how long it would have been."""

    async def __call__(self, seconds):
        self.append(seconds)


def hurried(**changes):
    """Patience without pauses: they are only noted, in its ``sleep``."""
    values = {"pauses": (1.0, 2.0, 4.0, 8.0), "chance": lambda: 0.5, "sleep": Sleeps()}
    return Patience(**{**values, **changes})


def registry_at(host, patience=None, **settings):
    """A client of a server's repository ``org/app``, tag 1."""
    reference = parse_reference(f"{host}/org/app:1")
    return Registry(reference, OciSettings(**settings), patience=patience or hurried())
