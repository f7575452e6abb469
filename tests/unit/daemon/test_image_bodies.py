"""What the daemon takes for the making of images, whoever asks."""

from __future__ import annotations

import pytest

from banger_core.daemon.image_bodies import BuildImage, ExportImage, ImportImage, RegisterImage
from banger_core.errors import UsageProblem


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


@pytest.mark.parametrize(
    "body",
    [
        {"source": "relative.tar"},
        {"source": ""},
        {"source": "/x\0y"},
        {"source": "/x", "sha256": "abc"},
        {"source": "/x", "sha256": "A" * 64},
        {"source": "/x", "more": 1},
    ],
)
def test_what_is_imported_is_a_whole_path_or_a_url(body):
    with pytest.raises(ValueError, match=r"source|sha256|more"):
        ImportImage.model_validate(body)
    assert ImportImage.model_validate({"source": "https://example.com/x"}).sha256 == ""


def test_what_is_exported_goes_to_a_whole_path():
    with pytest.raises(ValueError, match="absolute"):
        ExportImage.model_validate({"file": "x.tar"})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"script": "/s", "packages": "/p"},
        {"script": "/s", "package_set": "dev"},
        {"script": "relative"},
        {"script": "/s", "memory": "much"},
    ],
)
def test_a_build_is_one_thing(body):
    with pytest.raises(ValueError, match=r"exactly one|absolute|memory"):
        BuildImage.model_validate({"name": "new", "base": "old", **body})


def test_files_of_a_build_are_read_by_the_daemon(tmp_path):
    script, packages = tmp_path / "script", tmp_path / "list"
    script.write_text("true\n")
    packages.write_text("git\n")
    wanted = {"name": "new", "base": "old"}
    assert BuildImage.model_validate({**wanted, "script": script}).build().script == b"true\n"
    found = BuildImage.model_validate({**wanted, "packages": packages}).build().packages
    assert found is not None
    assert found.packages == {"": ("git",)}
    assert BuildImage.model_validate({**wanted, "package_set": "dev"}).build().packages
    with pytest.raises(UsageProblem):
        BuildImage.model_validate({**wanted, "script": tmp_path / "no"}).build()
