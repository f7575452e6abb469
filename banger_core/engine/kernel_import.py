"""A kernel of the user's own: collected, looked into, judged, and kept in the catalogue."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.engine.operations import Operation, in_thread
from banger_core.errors import UsageProblem
from banger_core.kernel.collection import collect
from banger_core.kernel.facts import KernelFacts, read_facts
from banger_core.kernel.features import State
from banger_core.model import KernelFiles, KernelPin
from banger_core.plan.choose import host_architecture

if TYPE_CHECKING:
    from banger_core.kernel.origin import Origin


async def prepare_import(
    name: str, origin: Origin, into: Path, operation: Operation, *, force: bool
) -> tuple[KernelPin, KernelFiles]:
    """Collect a kernel into the empty directory ``into`` and pin it as ``name``.

    What guests will miss is told as notices. Raises UsageProblem for a kernel of another
    architecture, and without ``force`` for one with which no guest comes up.
    """
    operation.step(f"reading the kernel {name}")
    files = await in_thread(operation, lambda: collect(origin, into, operation.progress))
    retry = f"banger kernel import --force {name} … takes it all the same"
    return await pin_kernel(name, origin, files, operation, force=force, retry=retry), files


async def pin_kernel(
    name: str,
    origin: Origin,
    files: KernelFiles,
    operation: Operation,
    *,
    force: bool = False,
    retry: str = "",
) -> KernelPin:
    """Look into the kernel ``files`` that came from ``origin`` and pin it as ``name``.

    Tells and raises what ``prepare_import`` does; ``retry`` is a hint for whoever insists.
    """
    operation.step(f"looking into the kernel {name}")
    facts = await in_thread(operation, lambda: read_facts(files))
    _check(facts, files, force=force, retry=retry)
    for text in _notices(facts, files):
        operation.notice(text)
    return await in_thread(operation, lambda: _pin(name, origin, facts, files))


def _check(facts: KernelFacts, files: KernelFiles, *, force: bool, retry: str) -> None:
    native = host_architecture()
    if facts.architecture != native:
        raise UsageProblem(
            f"the kernel is for {facts.architecture}, and this host is {native}",
            cause="a machine runs the processor's own code: banger emulates no other processor",
            hints=[f"give a kernel for {native}"],
        )
    if not facts.version:
        raise UsageProblem(
            "the kernel does not say which version it is",
            cause="there is no 'Linux version …' in it",
            hints=["give a Linux kernel (vmlinux or vmlinuz)"],
        )
    if facts.fatal and not force:
        lacks_modules = files.modules is None
        raise UsageProblem(
            f"no machine would start with the kernel {facts.version}",
            cause="; ".join(facts.fatal),
            hints=[
                *(["give its modules too: --modules DIR"] if lacks_modules else []),
                *([retry] if retry else []),
            ],
        )


def _notices(facts: KernelFacts, files: KernelFiles) -> list[str]:
    unknown = [name for name, state in facts.features.items() if state is State.UNKNOWN]
    told = [f"a guest will miss something: {text}" for text in facts.misses]
    if unknown:
        told.append(
            f"it does not say whether it has {', '.join(unknown)}: "
            "a configuration (--config) or modules.builtin would"
        )
    if files.initrd is not None:
        told.append("its initrd is kept, but machines boot with banger's own")
    return told


def _pin(name: str, origin: Origin, facts: KernelFacts, files: KernelFiles) -> KernelPin:
    with files.vmlinux.open("rb") as kernel:
        digest = hashlib.file_digest(kernel, "sha256").hexdigest()
        size = kernel.tell()
    return KernelPin(
        provider="import",
        name=name,
        version=facts.version,
        distro=facts.distro,
        architecture=facts.architecture,
        digest=f"sha256:{digest}",
        size=size,
        source=origin.source,
    )
