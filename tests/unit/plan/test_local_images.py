"""Images that are here, by whatever they are called."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from banger_core.config.settings import Settings
from banger_core.errors import NotFound, Unreachable, UsageProblem
from banger_core.model import ImagePin, ImageRecord, KernelPin
from banger_core.plan.choose import Chooser, host_architecture
from banger_core.testing.fakes.images import FakeSource

KERNEL = KernelPin(
    provider="p", name="k", version="1", distro="d", architecture="amd64", digest="d"
)
SETTINGS = Settings.model_validate({"image": {"default_source": "fake"}})


def image(name, *, image_id="", ref="", source="fake", created=1.0, called="", architecture=""):
    pin = ImagePin(
        source=source,
        ref=ref or f"{source}://{name}",
        name=called or name,
        digest="d",
        architecture=architecture or host_architecture(),
    )
    return ImageRecord(
        id=image_id or name,
        name=name,
        pin=pin,
        kernel=KERNEL,
        directory=Path("/nowhere"),
        disk_size=1,
        content_size=1,
        minimum_size=1,
        created_at=created,
    )


@pytest.fixture
def chooser(fresh_registry):
    """A function from images that are here to a chooser over the fakes."""

    def make(*images, plugins=("banger_core.testing.fakes",), settings=SETTINGS):
        here = SimpleNamespace(images=lambda: list(images))
        return Chooser(fresh_registry(*plugins), settings, here, lambda _: None)

    return make


@pytest.mark.parametrize(
    "text", ["web", "abc", "fake://web", "web:latest", "fake://web:latest", "FAKE://web"]
)
def test_one_image_goes_by_many_words(chooser, text):
    mine = image("web", image_id="abc")
    assert chooser(image("other"), mine).local_image(text) == mine


def test_given_name_and_reference_lead_to_the_same_image(chooser):
    mine = image("mine", called="web", ref="fake://web")
    here = chooser(mine)
    for text in ("mine", "web", "web:latest", "fake://web", "fake://web:latest"):
        assert here.local_image(text) == mine


@pytest.mark.parametrize("text", ["we", "webb", "nosuch://web", "fake://BAD", "BAD", "://", ""])
def test_what_is_not_here_is_nothing(chooser, text):
    assert chooser(image("web")).local_image(text) is None


def test_bare_reference_is_a_name_before_it_is_of_a_source(chooser):
    other = image("web", source="debian")
    here = chooser(other)
    assert here.local_image("web:latest") == other
    assert here.local_image("fake://web:latest") is None


def test_images_from_files_of_one_name_are_not_mistaken_for_each_other(chooser):
    mine = image("app", ref="fake-file:///a/app")
    here = chooser(mine)
    assert here.local_image("fake-file:///a/app") == mine
    assert here.local_image("fake-file:///b/app") is None
    assert here.local_image("fake://app") is None
    assert here.local_image("app:latest") == mine
    other = image("other", called="app", ref="fake://app")
    assert chooser(mine, other).local_image("fake://app:latest") == other


def test_of_several_the_one_with_the_name_counts_then_the_newest(chooser):
    old = image("web-0123ab", called="web", ref="fake://web", created=1)
    newer = image("web-4567cd", called="web", ref="fake://web", created=2)
    named = image("web", created=0)
    assert chooser(old, named, newer).local_image("fake://web") == named
    assert chooser(newer, old).local_image("fake://web:latest") == newer


def test_image_of_another_platform_is_not_what_is_asked_for(chooser):
    foreign = image("web", architecture="mips")
    here = chooser(foreign)
    assert here.local_image("web") is None
    assert here.local_image("fake://web:latest") is None
    assert here.any_image("web:latest") == foreign


def test_source_is_not_loaded_for_a_name_that_is_here(chooser, monkeypatch):
    here = chooser(image("web", ref="fake://web"))

    def load(_):
        raise AssertionError("no plugin is needed for that")

    monkeypatch.setattr(here._registry.image_sources, "load", load)
    assert here.local_image("web")
    assert here.local_image("fake://web")
    with pytest.raises(AssertionError):
        here.local_image("web:latest")


def test_missing_source_does_not_break_what_is_here(chooser):
    mine = image("web", source="oci", ref="oci://web:latest")
    here = chooser(mine, plugins=(), settings=Settings())
    assert here.local_image("web") == mine
    assert here.local_image("oci://web:latest") == mine
    assert here.local_image("oci://other") is None
    assert here.local_image("other") is None


def test_broken_source_does_not_break_what_is_here(chooser, monkeypatch):
    def name(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(FakeSource, "name", name)
    here = chooser(image("web"))
    assert here.local_image("web")
    assert here.local_image("other") is None


def test_foreign_pin_is_refused_before_anything_is_fetched(chooser):
    with pytest.raises(UsageProblem) as caught:
        asyncio.run(chooser().image("foreign"))
    native = host_architecture()
    assert caught.value.summary == (
        f"fake://foreign is an image for linux/mips, and this host is linux/{native}"
    )
    assert "a machine of linux/mips cannot run here" in caught.value.cause


def test_platform_reaches_the_source(chooser, monkeypatch):
    asked = []
    resolve = FakeSource.resolve

    async def spy(self, ref, cx):
        asked.append(ref)
        return await resolve(self, replace(ref, platform=""), cx)

    monkeypatch.setattr(FakeSource, "resolve", spy)
    asyncio.run(chooser().image("web", "linux/other"))
    asyncio.run(chooser().image("fake://web"))
    assert [(str(ref), ref.platform) for ref in asked] == [
        ("fake://web", "linux/other"),
        ("fake://web", ""),
    ]


@pytest.mark.parametrize(
    ("text", "hints"),
    [
        ("my-imgae", ("did you mean my-image?", "look it up")),
        ("debian:bookworm", ("did you mean debian://bookworm?", "look it up")),
        ("nothing-like-it", ("look it up",)),
        # Who names a source means that one
        ("fake://my-imgae", ("look it up",)),
    ],
)
def test_a_bare_name_that_its_source_cannot_give_may_mean_what_is_here(
    chooser, monkeypatch, text, hints
):
    async def offline(*_):
        raise Unreachable("cannot find the server", hints=["look it up"])

    monkeypatch.setattr(FakeSource, "resolve", offline)
    with pytest.raises(Unreachable) as caught:
        asyncio.run(chooser(image("my-image"), image("web")).image(text))
    assert caught.value.hints == hints


def test_bare_name_without_its_source_says_what_to_install(chooser):
    with pytest.raises(NotFound) as caught:
        asyncio.run(chooser(image("web"), settings=Settings()).image("wbe"))
    assert caught.value.cause == "there is: web"
    assert caught.value.hints[0] == "did you mean web?"
    assert "fake://" in caught.value.hints[1]
    assert "install" in caught.value.hints[2]
    assert "banger-oci" in caught.value.hints[2]
