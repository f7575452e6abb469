"""A registry of our own on loopback, filled once."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

_CONFIG = """version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: false}}}}
http: {{addr: "{address}"}}
"""
_LIMIT = 20.0


@contextlib.contextmanager
def registry(work: Path) -> Iterator[str]:
    """Run docker-registry with its data below ``work``; give its ``HOST:PORT``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    data, config, log = work / "registry", work / "registry.yml", work / "registry.log"
    data.mkdir(exist_ok=True)
    config.write_text(_CONFIG.format(data=data, address=address))
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdout=out, stderr=out, cwd=work
        )
        try:
            _wait(address, process, log)
            yield address
        finally:
            process.terminate()
            process.wait()


def push(layout: Path, reference: str) -> None:
    """Copy an OCI layout to the registry, unless it is there already."""
    argv = ["skopeo", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]
    subprocess.run([*argv, f"oci:{layout}:1", f"docker://{reference}"], check=True)


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _LIMIT
    while True:
        try:
            urllib.request.urlopen(f"http://{address}/v2/", timeout=5).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"docker-registry did not start:\n{log.read_text()}") from None
            time.sleep(0.05)
        else:
            return
