"""What follows when the names have changed: the responder is told, and mapdns' file is written."""

from __future__ import annotations

from banger_core.api import BangerError, Context, HostNotReady, in_thread
from banger_dns.book import Book
from banger_dns.mapdns import MapFile, entries_of
from banger_dns.orders import nudge
from banger_dns.settings import settings_of


async def publish(cx: Context) -> None:
    """Pass the names of the book on. What fails is logged: a VM does not depend on its name."""
    nudge(cx.state_dir)
    try:
        await map_names(cx)
    except BangerError as problem:
        cx.log.warning("%s: %s", problem.summary, problem.cause)


async def map_names(cx: Context) -> None:
    """Bring mapdns' file up to date. Raises HostNotReady when that is not possible, or others hold
    names of ours there.
    """
    settings = settings_of(cx)
    names = [name for name in Book(cx.state_dir).read() if name.is_live]
    wanted = entries_of(names, subdomains=settings.subdomains)
    file = MapFile(settings.mapdns_data_file, cx.state_dir)
    if held := await in_thread(file.update, wanted):
        raise HostNotReady(
            f"{settings.mapdns_data_file} has {' '.join(held)} already",
            cause="somebody else put it there, and it stays as it is",
            hints=[f"remove it from {settings.mapdns_data_file}"],
        )
