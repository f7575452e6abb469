"""What may be sent to import a kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from banger_core.daemon.bodies import ImportKernel


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kernel": "/a", "directory": "/b"},
        {"kernel": "/a", "packages": ["/b"]},
        {"boot": "6.1", "packages": ["/b"]},
        {"boot": "6.1", "modules": "/m"},
        {"directory": "/b", "initrd": "/i"},
        {"packages": ["/b"], "config": "/c"},
        {"kernel": "a"},
        {"kernel": "~/a"},
        {"kernel": "/a\0b"},
        {"kernel": "/a", "modules": "m"},
        {"packages": ["b"]},
        {"packages": ["/b"] * 21},
        {"kernel": "/a", "other": 1},
        {"kernel": ""},
    ],
    ids=str,
)
def test_bodies_that_do_not_fit_are_refused(fields):
    with pytest.raises(ValidationError):
        ImportKernel.model_validate({"name": "mine", **fields})


def test_files_and_packages_are_taken_as_they_are_named(tmp_path):
    files = {"kernel": "/k", "initrd": "/i", "modules": "/m", "config": "/c"}
    origin = ImportKernel.model_validate({"name": "mine", **files}).origin()
    assert (origin.kernel, origin.modules, origin.follow) == (Path("/k"), Path("/m"), True)
    assert origin.source == "file:///k"
    packages = ImportKernel.model_validate({"name": "mine", "packages": ["/a b", "/c"]}).origin()
    assert packages.source == "file:///a%20b file:///c"
