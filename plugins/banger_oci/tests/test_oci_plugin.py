from __future__ import annotations

import subprocess
import sys

import pytest

from banger_core.api import CachingSource
from banger_oci import plugin


def test_everything_declared_can_be_loaded(fresh_registry):
    registry = fresh_registry(plugin)
    for kind in ("image_sources", "doctor_checks", "settings"):
        assert getattr(registry, kind).load("oci") is not None
    assert isinstance(registry.image_sources.load("oci"), CachingSource)


@pytest.mark.parametrize("scheme", ["oci", "oci-layout", "docker-archive"])
def test_each_scheme_leads_to_the_source(fresh_registry, scheme):
    assert fresh_registry(plugin).image_source_for(scheme) == "oci"


def test_bare_references_go_to_registries(fresh_registry):
    declared = fresh_registry(plugin).image_sources.declared("oci")
    assert declared.schemes[0] == "oci"
    assert set(declared.path_schemes) == set(declared.schemes) - {"oci"}


def test_declaring_imports_nothing_heavy():
    code = "import banger_oci.plugin, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not {"httpx", "pydantic", "banger_oci.image", "asyncio"} & set(loaded)
