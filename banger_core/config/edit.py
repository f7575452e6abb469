"""Changing the configuration file: one setting at a time, and everything else stays as it is."""

from __future__ import annotations

import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from banger_core.config.file import disabled_plugins, read_config
from banger_core.config.paths import secure_dir
from banger_core.errors import HostNotReady, UsageProblem

if TYPE_CHECKING:
    from pathlib import Path

    from banger_core.config.paths import Paths

_WAIT = 10.0


def edit_disabled(paths: Paths, change: Callable[[list[str]], list[str]]) -> bool:
    """Give ``change`` the names in ``plugins.disabled`` and write down what it returns.

    Comments, order and layout of the file stay; it is replaced whole or not at all, and made
    (0600) when there is none. Returns whether anything had to be written. Raises UsageProblem when
    the file cannot be read or has a form that cannot be edited, HostNotReady when it cannot be
    written.
    """
    from banger_core.store.locks import FileLock

    lock = FileLock(secure_dir(paths.state) / "config.lock")
    lock.acquire(_WAIT)
    with lock:
        file = paths.settings_file
        config = read_config(file)
        before = disabled_plugins(file, config)
        after = change(list(before))
        if after == before:
            return False
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        _write(paths, _edited(file, text, config, after))
        return True


def _edited(file: Path, text: str, config: dict[str, Any], names: list[str]) -> str:
    import tomllib

    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document: Any = tomlkit.parse(text)
        plugins = document.setdefault("plugins", tomlkit.table())
        listed = plugins.get("disabled")
        if listed is None:
            plugins["disabled"] = names
        else:
            for name in [name for name in listed if name not in names]:
                listed.remove(name)
            for name in names:
                if name not in listed:
                    listed.append(name)
        edited = tomlkit.dumps(document)
    except TOMLKitError as problem:
        raise _by_hand(file, names, str(problem)) from problem
    edited = edited.rstrip("\n") + "\n"
    wanted = {**config, "plugins": {**config.get("plugins", {}), "disabled": names}}
    if tomllib.loads(edited) != wanted:
        raise _by_hand(file, names, "the section [plugins] has a form that is not known here")
    return edited


def _by_hand(file: Path, names: list[str], cause: str) -> UsageProblem:
    listed = ", ".join(f'"{name}"' for name in names)
    return UsageProblem(
        f"{file} cannot be edited",
        cause=cause,
        hints=[f"edit it, so that it says: [plugins] disabled = [{listed}]"],
    )


def _write(paths: Paths, text: str) -> None:
    from banger_core.store.content import write_atomic

    secure_dir(paths.config)
    # Where people keep their configuration elsewhere, what stands here is a link to it
    target = paths.settings_file.resolve()
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o600
    try:
        write_atomic(target, text, mode)
    except OSError as problem:
        raise HostNotReady(
            f"{target} cannot be written",
            cause=problem.strerror or str(problem),
            hints=[f"ls -ld {target.parent} {target}"],
        ) from problem
