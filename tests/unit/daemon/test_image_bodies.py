"""What the daemon takes for the making of images, whoever asks."""

from __future__ import annotations

import pytest

from banger_core.daemon.image_bodies import RegisterImage


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kernel": "/k", "kernel_ref": "x"},
        {"kernel_ref": "x", "modules": "/m"},
        {"kernel_ref": "x", "initrd": "/m"},
        {"kernel": "relative"},
        {"kernel": "/k", "surprise": 1},
    ],
)
def test_the_daemon_checks_the_forms_of_kernels_itself(body):
    with pytest.raises(ValueError, match=r"kernel|absolute|surprise"):
        RegisterImage.model_validate({"name": "own", "rootfs": "/r", **body})
