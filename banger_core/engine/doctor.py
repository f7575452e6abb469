"""The doctor: the core's own checks and those of the plugins, one failing alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from banger_core.engine import checkup
from banger_core.errors import BangerError
from banger_core.model import Finding
from banger_core.plugins.health import failed_plugins, old_ways
from banger_core.plugins.needs import missing_needs
from banger_core.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from banger_core.contracts import Context, DoctorCheck
    from banger_core.declare import Declared
    from banger_core.engine.engine import Engine


async def examine(engine: Engine) -> list[Finding]:
    """Run every check and return what was found, the core's own first."""
    findings = [*await in_thread(checkup.look, engine), *_needs(engine), *_plugins(engine)]
    return findings + await _ask_all(engine, lambda check, cx: check.check(cx))


async def mend(engine: Engine) -> list[Finding]:
    """Let every check mend what is safe to mend; returns what was done."""
    done = await checkup.mend(engine)
    return done + await _ask_all(engine, lambda check, cx: check.fix(cx))


async def _ask_all(
    engine: Engine, ask: Callable[[DoctorCheck, Context], Awaitable[list[Finding]]]
) -> list[Finding]:
    findings: list[Finding] = []
    for name in engine.registry.doctor_checks.names():
        try:
            check = engine.registry.doctor_checks.load(name)
            findings += await ask(check, engine.context(name))
        except BangerError as problem:
            findings.append(
                Finding(
                    level="fail",
                    subject=name,
                    message=problem.summary,
                    why=problem.cause,
                    fix=problem.hints[0] if problem.hints else "",
                )
            )
    return findings


def _needs(engine: Engine) -> list[Finding]:
    """What plugins need; only a warning for a network or a driver that is not the default."""
    registry, vm = engine.registry, engine.settings.vm
    always = (registry.image_sources, registry.kernel_providers, registry.guest_runtimes)
    chosen: list[Declared] = [
        catalogue.declared(name) for catalogue in always for name in catalogue.names()
    ]
    spare: list[Declared] = []
    for catalogue, default in ((registry.networks, vm.network), (registry.vmm_drivers, vm.driver)):
        for name in catalogue.names():
            (chosen if name == default else spare).append(catalogue.declared(name))
    findings = missing_needs(chosen)
    known = {finding.subject for finding in findings}
    findings += [
        replace(finding, level="warn")
        for finding in missing_needs(spare)
        if finding.subject not in known
    ]
    return findings or [
        Finding(level="pass", subject="needs", message="what plugins need of this host is here")
    ]


def _plugins(engine: Engine) -> list[Finding]:
    plugins = engine.registry.plugins()
    usable = sum(plugin.status == "ok" for plugin in plugins)
    fine = Finding(level="pass", subject="plugins", message=f"{usable} plugins can be used")
    return [*failed_plugins(plugins), *old_ways(plugins)] or [fine]
