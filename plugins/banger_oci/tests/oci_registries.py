"""Debian's docker-registry on loopback, open to all or not, and what makes certificates."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time

import pytest

USER, PASSWORD = "ann", "p@ss: wörd/+"
_HTPASSWD = f"{USER}:$2y$04$abcdefghijklmnopqrstuuLyfOVl7LwKe12U44VDAbCUoZSNw8MiC\n"


class Server:
    """One registry. ``auth`` is what its configuration says about authentication."""

    def __init__(self, home, auth=""):
        home.mkdir(exist_ok=True)
        (home / "config.yml").write_text(
            "version: 0.1\n"
            f"storage: {{filesystem: {{rootdirectory: {home}/store}}}}\n"
            "http: {addr: '127.0.0.1:0'}\n"
            f"{auth}"
            "log: {level: info, accesslog: {disabled: true}}\n"
        )
        self._log = home / "log"
        command = ["docker-registry", "serve", str(home / "config.yml")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self.host = self._listening()

    def _listening(self):
        """Wait until it says where it listens: the kernel chose the port."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            said = self._log.read_text()
            if found := re.search(r"listening on (127\.0\.0\.1:[0-9]+)", said):
                return found[1]
            assert self._process.poll() is None, said
            time.sleep(0.02)
        self.stop()
        pytest.fail(f"docker-registry does not listen: {said}")

    def push(self, layout, tag, name, *options):
        source = f"oci:{layout}:{tag}"
        command = ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", *options]
        command += [source, f"docker://{self.host}/{name}"]
        subprocess.run(command, check=True, capture_output=True)

    def stop(self):
        self._process.kill()
        self._process.wait()


def with_password(home):
    """A registry that gives nothing without USER and PASSWORD."""
    home.mkdir()
    (home / "htpasswd").write_text(_HTPASSWD)
    return Server(home, f"auth: {{htpasswd: {{realm: here, path: {home}/htpasswd}}}}\n")


def with_tokens(home, realm, certificate):
    """A registry that sends to ``realm`` for tokens, which ``signed_token`` makes."""
    about = f"realm: '{realm}', service: reg, issuer: tests, rootcertbundle: {certificate}"
    return Server(home, f"auth: {{token: {{{about}}}}}\n")


def make_certificate(directory):
    """Make a key and a certificate of its own for 127.0.0.1; return both paths."""
    key, certificate = directory / "key.pem", directory / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=tests", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


def signed_token(key, certificate, access):
    """A JWT (RFC 7519, RS256) that docker-registry takes for its service's."""
    lines = certificate.read_text().splitlines()
    header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(lines[1:-1])]}
    now = int(time.time())
    claims = {"iss": "tests", "sub": "", "aud": "reg", "exp": now + 300, "nbf": now - 60}
    claims |= {"iat": now, "jti": "1", "access": access}
    text = b".".join(_part(json.dumps(part).encode()) for part in (header, claims))
    command = ["openssl", "dgst", "-sha256", "-sign", str(key)]
    signature = subprocess.run(command, input=text, check=True, capture_output=True).stdout
    return (text + b"." + _part(signature)).decode()


def _part(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")
