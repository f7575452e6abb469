"""What to install for an image source that is not there."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from types import SimpleNamespace

import pytest

from banger_core.api import ImageSource, hookimpl
from banger_core.errors import NotFound
from banger_core.plugins.index import Index
from banger_core.plugins.record import PluginRecord
from banger_core.plugins.registry import Registry


def refusal(scheme, *plugins):
    with pytest.raises(NotFound) as caught:
        Registry(Index(plugins)).image_source_for(scheme)
    assert caught.value.summary == f"no image scheme named {scheme!r}"
    return caught.value.hints


def oci(**facts):
    return PluginRecord(
        name="oci", distribution="banger-oci", version="0.1", module="banger_oci.plugin", **facts
    )


@pytest.mark.parametrize(
    ("scheme", "distribution"),
    [
        ("oci", "banger-oci"),
        ("oci-layout", "banger-oci"),
        ("docker-archive", "banger-oci"),
        ("debian", "banger-debian"),
    ],
)
def test_known_scheme_names_the_distribution_to_install(scheme, distribution):
    python = shlex.quote(sys.executable)
    assert refusal(scheme) == (
        f"{python} -m pip install {distribution} && banger daemon stop",
        "banger plugin list",
    )


@pytest.mark.parametrize("scheme", ["docker", "https"])
def test_a_scheme_of_other_tools_is_translated(scheme):
    assert refusal(scheme)[0] == "did you mean oci://…?"


def test_a_translated_scheme_is_not_taken_for_one_that_looks_like_it(fresh_registry):
    @hookimpl
    def banger_image_sources():
        schemes = ("oci", "oci-layout", "docker-archive")
        yield ImageSource(name="oci", summary="Like the real one", load="a:b", schemes=schemes)

    plugin = SimpleNamespace(BANGER_API=1, banger_image_sources=banger_image_sources)
    with pytest.raises(NotFound) as caught:
        fresh_registry(plugin).image_source_for("docker")
    assert caught.value.hints == ("did you mean oci://…?", "banger plugin list")


def test_unknown_scheme_gets_no_advice():
    assert refusal("nosuch") == ("banger plugin list",)


def test_environment_without_pip_is_served_by_uv(monkeypatch):
    python = shlex.quote(sys.executable)
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda _: None)
        hint = refusal("oci")[0]
    assert hint == f"uv pip install --python {python} banger-oci && banger daemon stop"
    assert importlib.util.find_spec("pip") is not None


def test_installed_but_disabled_says_by_what():
    hint, _ = refusal("oci", oci(status="disabled", error="disabled by BANGER_DISABLE"))
    assert hint == (
        "oci (banger-oci 0.1) is installed, but disabled by BANGER_DISABLE: "
        "change that, then banger daemon stop"
    )


def test_installed_but_broken_says_why():
    hint, _ = refusal("oci", oci(status="broken", error="ImportError: no httpx" + "!" * 900))
    assert hint.startswith("mend oci (banger-oci 0.1), which is broken: ImportError: no httpx!!!")
    assert len(hint) < 300
