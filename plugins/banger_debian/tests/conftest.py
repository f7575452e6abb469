"""A mirror of the test's own: a tiny, real archive, signed with a throw-away key."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
import shutil
import struct
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from banger_core.testing.context import FakeContext
from banger_debian import fetch

ARCHITECTURE = "amd64"
RELEASE = "6.1.0-99-cloud-amd64"


class Keys:
    """Throw-away OpenPGP keys; ``trusted`` and ``late`` are in the keyring."""

    LONG_AGO = ("--faked-system-time", "20200101T000000!")
    """When the key ``late`` was good, for a second."""

    def __init__(self, home):
        self._home = home
        for name, expires in (("trusted", "never"), ("stranger", "never"), ("late", "seconds=1")):
            when = self.LONG_AGO if name == "late" else ()
            key = (f"{name}@example.org", "ed25519", "sign", expires)
            self._gpg(*when, "--quick-generate-key", *key)
        self.keyring = home / "keyring.gpg"
        self.keyring.write_bytes(self._gpg("--export", "trusted@example.org", "late@example.org"))

    def sign(self, text, who="trusted"):
        return self._gpg("--local-user", f"{who}@example.org", "--clearsign", stdin=text)

    def _gpg(self, *arguments, stdin=b""):
        gpg = ["gpg", "--homedir", self._home, "--batch", "--quiet", "--passphrase", ""]
        gpg += ["--pinentry-mode", "loopback", *arguments]
        return subprocess.run(gpg, input=stdin, check=True, capture_output=True).stdout


@pytest.fixture(scope="session")
def keys():
    # The agent's socket needs a short path
    home = Path(tempfile.mkdtemp(prefix="bng-gpg-"))
    try:
        yield Keys(home)
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)
        # The agent takes its sockets away a moment after it was told to go
        while home.exists():
            with suppress(FileNotFoundError):
                shutil.rmtree(home)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        """Clients that hang up are part of the tests."""


class Mirror:
    """Serves ``files`` by path; ``faults[path]`` are taken one by one, before it works.

    A fault is an HTTP status, or a negative number: give all but that many bytes, then hang up.
    """

    def __init__(self, keys, root):
        self._keys, self._root = keys, root
        self.files, self.faults, self.requests = {}, {}, []
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self):
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    @property
    def settings(self):
        return {
            "mirror": f"{self.url}/debian",
            "security_mirror": f"{self.url}/debian-security",
            "keyring": self._keys.keyring,
        }

    def deb(self, name, version, files, *, prefix="debian", depends="", links=(), compress="xz"):
        """Build a package with dpkg-deb, serve it, and return its stanza."""
        place = Path(tempfile.mkdtemp(dir=self._root))
        for path, content in {"DEBIAN/control": b"", **files}.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(content)
        for path, target in links:
            (place / path).symlink_to(target)
        fields = {"Package": name, "Version": version, "Architecture": ARCHITECTURE}
        fields |= {"Maintainer": "nobody <nobody@example.org>", "Description": "a test"}
        fields |= {"Depends": depends} if depends else {}
        (place / "DEBIAN/control").write_text("".join(f"{k}: {v}\n" for k, v in fields.items()))
        command = ["dpkg-deb", f"-Z{compress}", "--root-owner-group", "-b", place, f"{place}.deb"]
        subprocess.run(command, check=True, capture_output=True)
        return self.serve(fields, Path(f"{place}.deb").read_bytes(), prefix)

    def serve(self, fields, content, prefix="debian"):
        filename = f"pool/main/{fields['Package']}_{fields['Version'].replace(':', '%3a')}.deb"
        self.files[f"/{prefix}/{filename.replace('%', '%25')}"] = content
        return fields | {
            "Filename": filename,
            "Size": str(len(content)),
            "SHA256": hashlib.sha256(content).hexdigest(),
        }

    def publish(self, suite="bookworm", stanzas=(), *, prefix=None, who="trusted", **options):
        """Make and sign the index of a suite. ``alter`` changes the signed document."""
        prefix = prefix or ("debian-security" if suite.endswith("-security") else "debian")
        text = self.release(suite, stanzas, prefix, **options)
        document = self._keys.sign(text, who) if who else text
        self.files[f"/{prefix}/dists/{suite}/InRelease"] = document
        return document

    def release(
        self,
        suite,
        stanzas,
        prefix,
        *,
        codename=None,
        age=3600,
        valid=None,
        by_hash=True,
        packing="xz",
        claim=None,
    ):
        index = "\n".join(
            "".join(f"{key}: {value}\n" for key, value in one.items()) for one in stanzas
        ).encode()
        packed = {"xz": lzma.compress, "gz": gzip.compress, "": bytes}[packing](index)
        name = f"main/binary-{ARCHITECTURE}/Packages"
        suffix = f".{packing}" if packing else ""
        sums = {name: (hashlib.sha256(index).hexdigest(), claim or len(index))}
        sums[name + suffix] = (hashlib.sha256(packed).hexdigest(), len(packed))
        base = f"/{prefix}/dists/{suite}/main/binary-{ARCHITECTURE}"
        self.files[f"{base}/Packages{suffix}"] = packed
        if by_hash:
            self.files[f"{base}/by-hash/SHA256/{sums[name + suffix][0]}"] = packed
        now = time.time()
        lines = ["Origin: Test", f"Codename: {codename or suite}", f"Date: {_date(now - age)}"]
        lines += [f"Valid-Until: {_date(now + valid)}"] if valid is not None else []
        lines += ["Acquire-By-Hash: yes"] if by_hash else []
        lines += ["MD5Sum:", f" {'0' * 32} 7 {name}", "SHA256:"]
        lines += [f" {digest} {size:>16} {path}" for path, (digest, size) in sums.items()]
        return ("\n".join(lines) + "\n").encode()

    def publish_all(self, stanzas=(), suite="bookworm", **options):
        """Publish a suite with empty updates and security."""
        self.publish(suite, stanzas, **options)
        self.publish(f"{suite}-updates")
        self.publish(f"{suite}-security")

    def asked(self, part):
        return [request for request in self.requests if part in request[0]]

    def _handler(self):
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                begin = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
                mirror.requests.append((self.path, int(begin[1]) if begin else 0))
                fault = next(iter(mirror.faults.get(self.path, [])), None)
                if fault is not None:
                    mirror.faults[self.path].pop(0)
                content = mirror.files.get(self.path)
                if content is None or (fault or 0) > 0:
                    self._say(fault or 404, b"")
                    return
                tag = f'"{hashlib.sha256(content).hexdigest()}"'
                if self.headers.get("If-None-Match") == tag:
                    self._say(304, b"")
                    return
                start = int(begin[1]) if begin else 0
                place = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
                self._say(206 if start else 200, content[start:], fault or 0, ETag=tag, **place)

            def _say(self, status, content, cut=0, **headers):
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(content[: len(content) + cut])
                self.close_connection = cut < 0

        return Handler


def _date(when):
    return formatdate(when, usegmt=True).replace("GMT", "UTC")


@pytest.fixture
def mirror(keys, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "PAUSES", (0.0, 0.0))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    served = Mirror(keys, tmp_path)
    yield served
    served.stop()


@pytest.fixture
def cx(mirror, tmp_path):
    """A context whose settings lead to the test's mirror."""
    return FakeContext(tmp_path / "banger", mirror.settings)


def make_elf(needed=(), loader=""):
    """The smallest ELF file that says what it needs."""
    names, places = b"\0", []
    for name in needed:
        places.append(len(names))
        names += name.encode() + b"\0"
    count = 3 if loader else 2
    interpreter = f"/lib64/{loader}".encode() + b"\0" if loader else b""
    at = 64 + 56 * count
    dynamic_at = at + len(names) + len(interpreter)
    dynamic = b"".join(struct.pack("<QQ", 1, place) for place in places)
    dynamic += struct.pack("<QQQQ", 5, 0x400000 + at, 0, 0)
    end = dynamic_at + len(dynamic)

    def segment(kind, offset, size):
        return struct.pack("<IIQQQQQQ", kind, 4, offset, 0x400000 + offset, 0, size, size, 1)

    headers = segment(1, 0, end)
    headers += segment(2, dynamic_at, len(dynamic)) if needed else segment(0, 0, 0)
    headers += segment(3, at + len(names), len(interpreter)) if loader else b""
    elf = b"\x7fELF\x02\x01\x01" + bytes(9)
    elf += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
    return elf + headers + names + interpreter + dynamic


@pytest.fixture
def kernel_files():
    """The files of a kernel package; its kernel is an ELF in a gzip-packed bzImage."""
    kernel = make_elf() + b"kernel" * 999
    payload = gzip.compress(kernel)
    image = bytearray(5 * 512)
    image[0x1F1], image[0x202:0x206] = 4, b"HdrS"
    struct.pack_into("<H", image, 0x206, 0x20F)
    struct.pack_into("<II", image, 0x248, 0, len(payload))
    tree = f"lib/modules/{RELEASE}"
    return kernel, {
        f"boot/vmlinuz-{RELEASE}": bytes(image) + payload,
        f"boot/System.map-{RELEASE}": b"map",
        f"boot/config-{RELEASE}": b"CONFIG_EXT4_FS=y\n",
        f"{tree}/kernel/drivers/virtio/virtio.ko": b"module",
        f"{tree}/kernel/fs/overlay.ko.xz": b"packed module",
        f"{tree}/modules.order": b"kernel/drivers/virtio/virtio.ko\n",
        f"{tree}/notes.txt": b"not wanted",
    }


@pytest.fixture
def elf():
    return make_elf
