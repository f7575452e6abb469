"""Images for the system tests: made of layers, pushed with skopeo to a real registry."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backports import zstd
from oci_registries import Server

_MEDIA = "application/vnd.oci.image"
_LEAST = 1 << 22


@dataclass(frozen=True)
class Registry:
    """Debian's docker-registry; ``host`` is ``127.0.0.1:PORT``."""

    host: str
    home: Path

    def push(self, layout: Path, tag: str, name: str) -> str:
        """Push an image of an OCI layout and return its reference."""
        reference = f"{self.host}/{name}"
        command = ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false"]
        command += [f"oci:{layout}:{tag}", f"docker://{reference}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
        return reference

    def push_layers(self, name: str, layers: list[Path], architecture: str, **config: Any) -> str:
        """Make an image of tar archives, one layer each, push it and return its reference."""
        layout = self.home / name.replace("/", "-").replace(":", "-")
        write_layout(layout, layers, architecture, config)
        try:
            return self.push(layout, "latest", name)
        finally:
            shutil.rmtree(layout)


@contextmanager
def running_registry(home: Path) -> Iterator[Registry]:
    """Run a registry that keeps its blobs below ``home``."""
    server = Server(home)
    try:
        yield Registry(server.host, home)
    finally:
        server.stop()
        shutil.rmtree(home / "store", ignore_errors=True)


def write_layout(
    layout: Path, layers: list[Path], architecture: str, config: dict[str, Any]
) -> None:
    """Write an OCI layout with one image, tagged ``latest``; its layers are packed with zstd."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    packed = [_pack(layer, blobs) for layer in layers]
    configuration = {
        "architecture": architecture,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in packed]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_MEDIA}.manifest.v1+json",
        "config": _keep(blobs, configuration, "config"),
        "layers": [descriptor for descriptor, _ in packed],
    }
    tag = {"annotations": {"org.opencontainers.image.ref.name": "latest"}}
    index = {"schemaVersion": 2, "manifests": [_keep(blobs, manifest, "manifest") | tag]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _pack(layer: Path, blobs: Path) -> tuple[dict[str, Any], str]:
    """Pack one archive; returns its descriptor and the digest of what was packed."""
    plain, packer, incoming = hashlib.sha256(), zstd.ZstdCompressor(1), blobs / "incoming"
    with layer.open("rb") as source, incoming.open("wb") as target:
        while chunk := source.read(_LEAST):
            plain.update(chunk)
            target.write(packer.compress(chunk))
        target.write(packer.flush())
    with incoming.open("rb") as target:
        digest = hashlib.file_digest(target, "sha256").hexdigest()
    incoming.rename(blobs / digest)
    descriptor = {
        "mediaType": f"{_MEDIA}.layer.v1.tar+zstd",
        "digest": f"sha256:{digest}",
        "size": (blobs / digest).stat().st_size,
    }
    return descriptor, f"sha256:{plain.hexdigest()}"


def _keep(blobs: Path, document: dict[str, Any], kind: str) -> dict[str, Any]:
    data = json.dumps(document).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {
        "mediaType": f"{_MEDIA}.{kind}.v1+json",
        "digest": f"sha256:{digest}",
        "size": len(data),
    }
