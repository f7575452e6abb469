"""The doctor's look at names: whether they can be served, and mapdns."""

from __future__ import annotations

from banger_core.api import BangerError, Context, Finding, in_thread
from banger_dns.keeper import listening
from banger_dns.mapdns import find_program, why_no_program
from banger_dns.ports import check
from banger_dns.settings import settings_of
from banger_dns.wiring.journal import Wiring

SUBJECT = "dns"


class DnsCheck:
    """The doctor's check ``dns``."""

    async def check(self, cx: Context) -> list[Finding]:
        """Look, change nothing."""
        return [*await _responder(cx), *_wiring(cx), *_mapdns(cx)]

    async def fix(self, cx: Context) -> list[Finding]:  # noqa: ARG002
        """Nothing of this is mended without being asked."""
        return []


async def _responder(cx: Context) -> list[Finding]:
    settings = settings_of(cx)
    if not settings.responder:
        return [Finding(level="pass", subject=SUBJECT, message="the responder is switched off")]
    where = f"{settings.address} port {settings.port}"
    if await listening(cx.state_dir):
        return [Finding(level="pass", subject=SUBJECT, message=f"names are served at {where}")]
    try:
        await in_thread(check, settings.address, settings.port)
    except BangerError as problem:
        return [_warning(problem)]
    return [Finding(level="pass", subject=SUBJECT, message=f"{where} is free for names")]


def _wiring(cx: Context) -> list[Finding]:
    wired = Wiring.read(cx.state_dir)
    if wired is None or wired.done:
        return []
    return [
        Finding(
            level="warn",
            subject=SUBJECT,
            message=f"{wired.resolver} was wired by a command that did not come to its end",
            why="files of this host may be changed without need",
            fix="banger dns unwire",
        )
    ]


def _mapdns(cx: Context) -> list[Finding]:
    settings = settings_of(cx)
    program = find_program(settings.mapdns_bin)
    if program and not settings.mapdns_data_file:
        return [
            Finding(
                level="warn",
                subject="mapdns",
                message=f"{program} is here, but gets no names of machines",
                why="nothing says which data file it reads",
                fix='set mapdns_data_file = "/path/of/mapdns.json" in [plugins.dns]',
            )
        ]
    if not settings.mapdns_data_file:
        return []
    if program is None:
        return [
            Finding(
                level="warn",
                subject="mapdns",
                message=why_no_program(settings.mapdns_bin),
                why=f"names are kept in {settings.mapdns_data_file} for it",
                fix='set mapdns_bin = "/path/of/mapdns" in [plugins.dns]',
            )
        ]
    message = f"{program} gets names by {settings.mapdns_data_file}"
    return [Finding(level="pass", subject="mapdns", message=message)]


def _warning(problem: BangerError) -> Finding:
    return Finding(
        level="warn",
        subject=SUBJECT,
        message=problem.summary,
        why=problem.cause,
        fix=problem.hints[0] if problem.hints else "",
    )
