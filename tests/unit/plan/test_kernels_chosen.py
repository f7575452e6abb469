"""Which provider is asked for a kernel."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from banger_core.config.settings import Settings
from banger_core.errors import Conflict, NotFound
from banger_core.model import KernelEntry
from banger_core.plan.choose import Chooser
from banger_core.testing.fakes.kernels import PIN


class Provider:
    """Offers ``names``; those in ``wrong`` only to who insists."""

    def __init__(self, name, *names, wrong=()):
        self.name, self.names, self.wrong = name, names, set(wrong)

    async def available(self, _):
        offers = [(name, "wrong" if name in self.wrong else "") for name in self.names]
        return [KernelEntry(name=name, problem=problem) for name, problem in offers]

    async def resolve(self, name, _):
        if name in self.wrong:
            raise Conflict("it went back")
        return replace(PIN, provider=self.name, name=name)

    async def accept(self, name, _):
        self.wrong.discard(name)

    async def materialise(self, *_):
        raise NotImplementedError


@pytest.fixture
def chooser():
    providers = {
        "kept": Provider("kept", "mine", "broken", wrong=["broken"]),
        "main": Provider("main", "both"),
        "also": Provider("also", "both", "mine", "broken", "rare", "back", wrong=["back"]),
    }
    known = SimpleNamespace(
        names=lambda: list(providers),
        declared=lambda name: SimpleNamespace(catalogue=name == "kept"),
        load=providers.__getitem__,
    )
    settings = Settings.model_validate({"kernel": {"provider": "main", "catalogue": "kept"}})
    registry = SimpleNamespace(kernel_providers=known)
    return Chooser(registry, settings, SimpleNamespace(images=list), lambda _: None)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("mine", "kept"),
        ("both", "main"),
        ("rare", "also"),
        ("broken", "also"),
        ("also://both", "also"),
    ],
)
def test_the_catalogue_comes_first_then_the_configured_provider_then_the_others(
    chooser, name, asked
):
    assert asyncio.run(chooser.kernel(name)).provider == asked


def test_what_is_pulled_does_not_come_from_the_catalogue(chooser):
    assert asyncio.run(chooser.offered_kernel("mine")).provider == "also"


def test_a_provider_says_itself_why_not_unless_the_user_insists(chooser):
    with pytest.raises(Conflict):
        asyncio.run(chooser.offered_kernel("back"))
    assert asyncio.run(chooser.offered_kernel("back", insist=True)).name == "back"


def test_what_nobody_offers_is_not_found(chooser):
    with pytest.raises(NotFound):
        asyncio.run(chooser.kernel("nothing"))
