"""A small client of the Debian archive: nothing leaves it that is not signed or hashed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from banger_core.api import (
    IntegrityError,
    NotFound,
    Unreachable,
    in_thread,
    secure_dir,
    write_atomic,
)
from banger_debian import packages
from banger_debian.fetch import Fetcher, Missing
from banger_debian.release import Release, parse_release
from banger_debian.settings import settings_of
from banger_debian.signature import signed_text
from banger_debian.suites import repositories
from banger_debian.unpack import unpack_index

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping, Sequence
    from pathlib import Path

    from banger_core.api import Context
    from banger_debian.packages import Package
    from banger_debian.suites import Repository

T = TypeVar("T")

_RELEASE_MAX = 4 << 20
_INDEX_MAX = 256 << 20


@dataclass(frozen=True, slots=True)
class _Kept:
    """An ``InRelease`` in the cache, and what to ask the server whether it still holds."""

    document: bytes
    validators: Mapping[str, str]


class Archive:
    """One suite for one architecture; use it as an async context.

    Raises NotFound for an unknown suite.
    """

    def __init__(self, cx: Context, codename: str, architecture: str) -> None:
        self._cx, self._codename, self._architecture = cx, codename, architecture
        self._settings = settings_of(cx)
        self._repositories = repositories(codename, self._settings)
        self._fetcher = Fetcher(cx.cache_dir)
        self._releases: list[Release] | None = None

    async def __aenter__(self) -> Self:
        await self._fetcher.__aenter__()
        return self

    async def __aexit__(self, *details: object) -> None:
        await self._fetcher.__aexit__(*details)

    async def releases(self) -> list[Release]:
        """Return the verified indexes of the suite's repositories, the base one first.

        Without a network the last verified ones serve for as long as they are valid. Raises
        Unreachable and IntegrityError.
        """
        if self._releases is None:
            self._releases = await together([self._release(one) for one in self._repositories])
        return self._releases

    async def versions(self, names: Iterable[str]) -> dict[str, list[Package]]:
        """Return all versions of the named packages, over all repositories.

        Raises NotFound for a package that no repository has, Unreachable and IntegrityError.
        """
        wanted = sorted(set(names))
        releases = await self.releases()
        found: dict[str, list[Package]] = {name: [] for name in wanted}
        for release in releases:
            for one in await self._search(release, wanted):
                found[one.name].append(one)
        for name, versions in found.items():
            if not versions:
                raise self._no_package(name)
        return found

    async def newest(self, names: Iterable[str]) -> dict[str, Package]:
        """Return the newest version of each named package; raises what ``versions`` does."""
        found = await self.versions(names)
        return {name: packages.newest(versions) for name, versions in found.items()}

    async def fetch(self, packages: Sequence[Package], what: str) -> list[Path]:
        """Return the package files, from the cache or verified into it; ``what`` names the lot.

        Raises Unreachable, IntegrityError and NoSpace.
        """
        total = sum(one.size for one in packages)
        here: dict[str, int] = {}

        async def one_of_them(package: Package) -> Path:
            def report(done: int) -> None:
                here[package.sha256] = done
                self._cx.progress(what, sum(here.values()), total)

            name = package.filename.rpartition("/")[2]
            return await self._fetcher.file(package.url, package.digest, package.size, name, report)

        return await together([one_of_them(package) for package in packages])

    def _no_package(self, name: str) -> NotFound:
        cause = f"Debian {self._codename} main has none of that name"
        return NotFound(
            "package",
            name,
            cause=cause,
            hints=[f"look for it at https://packages.debian.org/{name}"],
        )

    async def _release(self, repository: Repository) -> Release:
        place = secure_dir(self._cx.cache_dir / "releases") / _file_name(repository)
        kept = _load(place)
        try:
            fetched = await self._fetcher.document(
                f"{repository.url}/InRelease", _RELEASE_MAX, kept.validators if kept else {}
            )
        except Unreachable:
            if kept is None:
                raise
            self._cx.log.warning("%s: no answer, using what was verified before", repository.url)
            fetched = None
        fresh = None if fetched is None else _Kept(*fetched)
        return await self._newer(repository, kept, fresh, place)

    async def _newer(
        self, repository: Repository, kept: _Kept | None, fresh: _Kept | None, place: Path
    ) -> Release:
        """Verify what came; a mirror that lags behind does not take us back in time."""
        release = None if fresh is None else await self._verified(repository, fresh)
        if kept is not None:
            try:
                old = await self._verified(repository, kept)
            except IntegrityError:
                place.unlink(missing_ok=True)
                if release is None:
                    raise
            else:
                if release is None or old.date > release.date:
                    return old
        assert release is not None
        assert fresh is not None
        if kept != fresh:
            _save(place, fresh)
        return release

    async def _verified(self, repository: Repository, kept: _Kept) -> Release:
        text = await signed_text(
            kept.document,
            self._settings.keyring,
            what=f"{repository.url}/InRelease",
            scratch=self._cx.cache_dir,
        )
        release = parse_release(text, kept.document, repository)
        release.check_fresh(time.time())
        return release

    async def _search(self, release: Release, names: list[str]) -> list[Package]:
        suffix = next(
            (
                suffix
                for suffix in (".xz", ".gz", "")
                if f"main/binary-{self._architecture}/Packages{suffix}" in release.files
            ),
            ".xz",
        )
        if not release.index(self._architecture).size:
            return []
        packed = await self._index(release, suffix)
        mirror = release.repository.mirror

        def search() -> list[Package]:
            limit = min(release.index(self._architecture).size, _INDEX_MAX)
            return packages.find(unpack_index(packed, suffix, limit), names, mirror)

        return await in_thread(search)

    async def _index(self, release: Release, suffix: str) -> Path:
        wanted = release.index(self._architecture, suffix)
        directory = f"{release.repository.url}/main/binary-{self._architecture}"
        what = f"package index of {release.repository.suite}"

        def report(done: int) -> None:
            self._cx.progress(what, done, wanted.size)

        plain = f"{directory}/Packages{suffix}"
        if release.by_hash:
            try:
                url = f"{directory}/by-hash/SHA256/{wanted.sha256}"
                return await self._fetcher.file(url, wanted.digest, wanted.size, what, report)
            except Missing:
                self._cx.log.info("%s: no by-hash, using the plain name", directory)
        return await self._fetcher.file(plain, wanted.digest, wanted.size, what, report)


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all of ``work`` at once; when one fails, the others are gone before its error comes."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _file_name(repository: Repository) -> str:
    tag = hashlib.sha256(repository.url.encode()).hexdigest()[:12]
    return f"{repository.suite}-{tag}.json"


def _load(place: Path) -> _Kept | None:
    """Read what was kept; anything unreadable counts as nothing."""
    try:
        content = json.loads(place.read_bytes())
        return _Kept(str(content["document"]).encode(), dict(content["validators"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _save(place: Path, kept: _Kept) -> None:
    content = {"document": kept.document.decode(), "validators": dict(kept.validators)}
    write_atomic(place, json.dumps(content))
