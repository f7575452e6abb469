"""git, run by a list of arguments: the user's own, and one that obeys nobody's configuration."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from banger_core.errors import BangerError, HostNotReady

Word = str | bytes | Path

_SILENT = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8", "GIT_OPTIONAL_LOCKS": "0"}

_DEAF = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "banger",
    "GIT_AUTHOR_EMAIL": "banger@localhost",
    "GIT_COMMITTER_NAME": "banger",
    "GIT_COMMITTER_EMAIL": "banger@localhost",
}

_AS_IT_IS = "* -text -eol -filter -ident -working-tree-encoding\n"
_CONFIG = {"core.bare": "false", "core.fileMode": "true", "core.symlinks": "true"}


def git(*words: Word, cwd: Path | None = None, **variables: str) -> bytes:
    """Run the user's git, with ``variables`` in its environment, and return its stdout. Raises
    HostNotReady without git, and BangerError with what git said.
    """
    return _run(words, cwd, b"", variables)


class Store:
    """A git directory of banger's own, in which files are kept byte for byte: no filter, line
    ending, hook or configuration of anybody's has a say.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> Store:
        """Make an empty one at ``path``."""
        store = cls(path)
        store("init", "--quiet", "--template=", "--initial-branch=workspace")
        (path / "info").mkdir(exist_ok=True)
        # The highest precedence of all (gitattributes(5))
        (path / "info" / "attributes").write_text(_AS_IT_IS)
        for key, value in _CONFIG.items():
            store("config", key, value)
        return store

    def __call__(
        self,
        *words: Word,
        tree: Path | None = None,
        index: str = "",
        stdin: bytes = b"",
        cwd: Path | None = None,
    ) -> bytes:
        """Run git on it, with the work tree ``tree`` and the index named ``index``."""
        env = {**_DEAF, "GIT_DIR": str(self.path)}
        if tree is not None:
            env["GIT_WORK_TREE"] = str(tree)
        if index:
            env["GIT_INDEX_FILE"] = str(self.path / index)
        return _run(words, cwd or tree or self.path.parent, stdin, env)


def _run(words: Sequence[Word], cwd: Path | None, stdin: bytes, env: Mapping[str, str]) -> bytes:
    argv: list[str | bytes] = ["git", *(os.fspath(word) for word in words)]
    ours = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            argv, cwd=cwd, input=stdin, capture_output=True, check=False,
            env={**ours, **_SILENT, **env},
        )  # fmt: skip
    except FileNotFoundError:
        from banger_core.packages import install_command

        raise HostNotReady(
            "git is not installed",
            cause="checkouts are read with it",
            hints=[install_command("git")],
        ) from None
    if done.returncode:
        said = [
            line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()
        ]
        raise BangerError(
            f"git {os.fsdecode(argv[1])} failed",
            cause=said[0].strip() if said else f"it ended with status {done.returncode}",
            hints=[f"try by hand: {shlex.join(map(os.fsdecode, argv))}"],
        )
    return done.stdout
