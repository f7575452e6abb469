"""A real image from the Python package index: Python on Alpine, five gzip layers."""

from __future__ import annotations

import zipfile

from banger_core.testing.wheels import fetch_wheel

_PIN = "c199e9945e0b28e88678fd0c136abd0f4828087658ca6373ebd009a8b59a6ed0"
_WHEEL = "flashvm-0.1.3-cp38-abi3-manylinux_2_39_x86_64.whl"
_INSIDE = "flashvm/data/oci/"
TAG = "python-basic"


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
