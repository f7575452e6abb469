"""Feeds of kernels for tests: made, signed and served on this host."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import ssl
import tarfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00\x01\x00\x00\x00" + bytes(40)
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY_ID = b"12345678"
KEY = base64.b64encode(b"Ed" + KEY_ID + PRIVATE.public_key().public_bytes_raw()).decode()


def minisig(document: bytes, *, stamp: int = 1_700_000_000, legacy: bool = False) -> bytes:
    """A signature as minisign makes it."""
    message = document if legacy else hashlib.blake2b(document).digest()
    signed, comment = PRIVATE.sign(message), f"timestamp:{stamp}\tfile:catalog.json".encode()
    packed = (b"Ed" if legacy else b"ED") + KEY_ID + signed
    lines = [
        b"untrusted comment: signature",
        base64.b64encode(packed),
        b"trusted comment: " + comment,
        base64.b64encode(PRIVATE.sign(signed + comment)),
    ]
    return b"\n".join(lines) + b"\n"


def tarball(*members: tuple[str, bytes | str], mode: str = "w:gz") -> bytes:
    """An archive: bytes are a file, text is where a symbolic link leads, "/" a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content == "/":
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


KERNEL = tarball(
    ("vmlinux", ELF + b"kernel" * 50),
    ("initrd.img", b"initrd"),
    ("modules/", "/"),
    ("modules/build", "/usr/src/linux"),
    ("modules/kernel/fs/ext4.ko", b"module"),
)


def entry(packed: bytes = KERNEL, **changes: Any) -> dict[str, Any]:
    """One entry of a ``catalog.json``, for the tarball ``packed``."""
    return {
        "name": "mine",
        "distro": "home",
        "arch": "amd64",
        "kernel_version": "6.9.1",
        "url": "mine.tar.gz",
        "sha256": hashlib.sha256(packed).hexdigest(),
        "size_bytes": len(packed),
        "description": "a kernel",
        **changes,
    }


def catalog(*entries: dict[str, Any]) -> bytes:
    """A ``catalog.json``."""
    return json.dumps({"version": 1, "entries": list(entries)}).encode()


@dataclass
class Site:
    """A server's files, what it was asked, and how many bytes of an answer it cuts off after."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    url: str = ""

    def publish(self, document: bytes, packed: bytes = KERNEL, **signing: Any) -> None:
        """Put a signed document and its tarball there."""
        self.files["/catalog.json"] = document
        self.files["/catalog.json.minisig"] = minisig(document, **signing)
        self.files["/mine.tar.gz"] = packed


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site, wanted = self.site, self.headers.get("Range", "")
        site.asked.append((self.path, wanted))
        content = site.files.get(self.path)
        if target := site.redirects.get(self.path):
            self._head(302, 0, Location=target)
        elif site.statuses:
            self._head(site.statuses.pop(0), 0)
        elif content is None:
            self._head(404, 0)
        else:
            self._content(content, wanted if site.ranges else "")

    def _content(self, content: bytes, wanted: str) -> None:
        begin = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        rest = content[begin:]
        if wanted:
            place = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            self._head(206, len(rest), **{"Content-Range": place})
        else:
            self._head(200, len(rest))
        if self.path.endswith(".gz") and self.site.cuts:
            rest = rest[: self.site.cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(rest)

    def _head(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Clients that do not trust the certificate are part of the tests."""


class Served:
    """Serves a ``Site`` on a port of the kernel's choosing, for as long as the block lasts; with
    TLS where there are a ``key`` and a ``certificate`` for it.
    """

    def __init__(self, key: Path | None = None, certificate: Path | None = None) -> None:
        self._key, self._certificate = key, certificate

    def __enter__(self) -> Site:
        site = Site()
        handler = type("Handler", (_Handler,), {"site": site})
        self._server = _Server(("127.0.0.1", 0), handler)
        if self._certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(self._certificate, self._key)
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "https" if self._certificate else "http"
        site.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return site

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def settings(url: str | Path, key: str = KEY) -> dict[str, Any]:
    """The section ``[plugins.feeds]`` with one feed, ``home``."""
    return {"sources": {"home": {"url": str(url), "key": key}}}
