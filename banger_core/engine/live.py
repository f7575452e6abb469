"""What a VM that runs may reach, changed on the host as its plan was changed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from banger_core.errors import BangerError
from banger_core.model import VmRecord, VmState
from banger_core.netcontract import ChangingNetwork
from banger_core.plan.links import with_links

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine
    from banger_core.engine.operations import Operation

KIND = "change"
"""Of the intent: the plan of a VM that runs was changed, and its network may not know yet."""

log = logging.getLogger("banger.engine")


def can_change(engine: Engine, record: VmRecord) -> bool:
    """Whether what the VM may reach can be changed as it is now, while it runs."""
    network = engine.registry.networks.load(record.plan.net.network)
    up = record.state in (VmState.RUNNING, VmState.PAUSED)
    return up and isinstance(network, ChangingNetwork)


@contextmanager
def meant(engine: Engine, record: VmRecord) -> Iterator[None]:
    """Have it written down meanwhile that the network may not know the VM's plan. When that ends in
    an error, it stays written for ``finish_change``.
    """
    intent = engine.intents.begin(record.id, KIND, record.plan.net.network)
    yield
    engine.intents.remove(intent)


async def tell_network(
    engine: Engine, record: VmRecord, operation: Operation | None = None
) -> None:
    """Have the network of a VM that is up make it so. Raises what ``ChangingNetwork.change``
    raises.
    """
    name = record.plan.net.network
    network = engine.registry.networks.load(name)
    if isinstance(network, ChangingNetwork):
        net = with_links(record.plan.net, engine.records.vms())
        await network.change(net, engine.context(name, operation))


async def finish_change(engine: Engine, record: VmRecord) -> None:
    """Have the network of a VM do what its plan says, where an earlier daemon may not have come to
    that, or where the plan was taken back. What fails is logged, and tried again by the next
    daemon: the VM runs.
    """
    for intent in engine.intents.of(record.id):
        if intent.kind != KIND:
            continue
        try:
            await tell_network(engine, record)
            engine.intents.remove(intent.id)
        except BangerError as problem:
            log.warning("the network of %s is not as it should be: %s", record.name, problem)
