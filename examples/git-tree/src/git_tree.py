"""Images from git: the files of one commit, ``git-tree://REPOSITORY#REVISION``."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

from banger_core import api

BANGER_API = 1
_NATIVE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
_pin = partial(api.ImagePin, source="git-tree", architecture=_NATIVE)
_REF = re.compile(r"((https|ssh)://[^\s#]+|/[^\s#]+)#\w[\w./-]*")


@api.hookimpl
def banger_image_sources() -> Iterable[api.ImageSource]:
    """Say what there is. What is behind it is made when an image of its scheme is asked for."""
    what, needs, schemes = "Files of git repositories", ("bin:git",), ("git-tree",)
    yield api.ImageSource(
        name="git-tree", summary=what, load="git_tree:GitTree", requires=needs, schemes=schemes
    )


class GitTree:
    """Pins a revision to its commit, keeps that commit's archive, and gives it as one layer."""

    def name(self, ref: api.ImageRef) -> str:
        """Return ``REPOSITORY#REVISION``. Raises UsageProblem for anything else."""
        if not _REF.fullmatch(ref.rest):
            hints = ["git-tree:///srv/rootfs.git#v1", "git-tree://https://HOST/REPOSITORY#v1"]
            raise api.UsageProblem(f"{ref} names no repository and revision", hints=hints)
        return ref.rest

    async def resolve(self, ref: api.ImageRef, cx: api.Context) -> api.ImagePin:
        """Ask the repository which commit a branch or tag is now. A commit is always itself."""
        origin, revision = self.name(ref).split("#")
        if ref.platform not in ("", f"linux/{_NATIVE}"):
            raise api.UsageProblem(f"{ref} is there for linux/{_NATIVE} only")
        commit, names = revision, [f"refs/heads/{revision}", f"refs/tags/{revision}"]
        if not re.fullmatch(r"[0-9a-f]{40}", revision):
            asked = await cx.run(["git", "ls-remote", "--", origin, *names, f"{names[1]}^{{}}"])
            if not asked:
                raise api.NotFound("branch or tag", revision, cause=f"{origin} has none named so")
            commit = asked.split()[-2].decode()
        digest = "sha256:" + hashlib.sha256(commit.encode()).hexdigest()
        data = {"origin": origin, "commit": commit}
        return _pin(ref=str(ref), name=ref.rest, digest=digest, data=data)

    async def fetch(self, pin: api.ImagePin, cx: api.Context) -> None:
        """Get that one commit, every object checked by git, and keep its files as an archive."""
        file, commit = cx.cache_dir / f"{pin.digest[7:]}.tar", pin.data["commit"]
        new, git = file.with_suffix(f".{os.getpid()}"), ["git", f"--git-dir={cx.cache_dir}/git"]
        if not file.exists():
            await cx.run([*git, "init", "--quiet", "--bare"])
            fetch = ["-c", "fetch.fsckObjects=true", "fetch", "--depth=1", "--"]
            await cx.run([*git, *fetch, pin.data["origin"], commit], timeout=600)
            await cx.run([*git, "archive", "--format=tar", f"--output={new}", commit])
            new.rename(file)
        cx.progress(pin.ref, 1, 1)

    def layers(self, pin: api.ImagePin, cx: api.Context) -> AbstractContextManager[list[_Tree]]:
        """Open the only layer."""
        return nullcontext([_Tree(pin.digest, cx.cache_dir / f"{pin.digest[7:]}.tar")])


class _Tree(NamedTuple):
    digest: str
    file: Path

    def entries(self) -> Iterator[api.Entry]:
        return api.read_layer(self.file)
