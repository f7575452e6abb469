"""Writing a package from its templates."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from banger_core import __version__
from banger_core.errors import BangerError, Conflict, HostNotReady, NotFound, UsageProblem
from banger_core.scaffold.kinds import TEMPLATES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40
_SUFFIX = ".in"


def render(kind: str, name: str) -> dict[str, str]:
    """Return the files of a new plugin: text by relative path.

    Raises NotFound for an unknown kind, UsageProblem for a name that cannot be one.
    """
    if kind not in TEMPLATES:
        raise NotFound("kind of plugin", kind, TEMPLATES, hints=["banger plugin new --help"])
    values = _values(kind, name)
    root = files("banger_core.scaffold") / "templates"
    return {
        **dict(_filled(root / "common", "", values)),
        **dict(_filled(root / kind, "", values)),
        f"src/{values['package']}/py.typed": "",
    }


def write_package(kind: str, name: str, parent: Path) -> Path:
    """Write a new plugin into the directory ``parent / name`` and return that, whole or not at all.

    Raises as ``render``, Conflict when the directory is there already, and HostNotReady when it
    cannot be written.
    """
    made, target = render(kind, name), parent / name
    if target.exists() or target.is_symlink():
        raise Conflict(
            f"{target} is there already",
            cause="nothing is written over",
            hints=[f"banger plugin new {kind} another-name", f"mv {target} {target}.old"],
        )
    try:
        parent.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=parent))
        try:
            for path, text in made.items():
                file = half / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            half.chmod(0o777 & ~_umask())
            half.rename(target)
        except BaseException:
            shutil.rmtree(half, ignore_errors=True)
            raise
    except OSError as problem:
        raise HostNotReady(
            f"{target} cannot be written",
            cause=problem.strerror or str(problem),
            hints=[f"ls -ld {parent}"],
        ) from problem
    return target


def _values(kind: str, name: str) -> Mapping[str, str]:
    _check_name(name)
    template = TEMPLATES[kind]
    return {
        "name": name,
        "package": name.replace("-", "_"),
        "title": "".join(word.capitalize() for word in name.split("-")),
        "kind": kind,
        "module": template.module,
        "hook": template.hook,
        "summary": template.summary,
        "check": template.check_words(name),
        "banger": ".".join(__version__.split(".")[:2]),
    }


def _check_name(name: str) -> None:
    package = name.replace("-", "_")
    cause = ""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        cause = f"a name is lower-case words joined by '-', at most {_LONGEST} characters"
    elif keyword.iskeyword(package) or keyword.issoftkeyword(package):
        cause = f"{package} is a word of Python's own"
    elif package in sys.stdlib_module_names or package in ("banger", "banger_core", "tests"):
        cause = f"a module {package} is there already, and would be hidden"
    if cause:
        words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[: _LONGEST - 5].strip("-")
        better = f"acme-{words}" if words else "acme-plugin"
        raise UsageProblem(f"{name!r} cannot be the name of a plugin", cause=cause, hints=[better])


def _filled(place: Traversable, path: str, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for entry in sorted(place.iterdir(), key=lambda entry: entry.name):
        here = Template(f"{path}{entry.name}").substitute(values)
        if entry.is_dir():
            yield from _filled(entry, f"{here}/", values)
        elif here.endswith(_SUFFIX):
            text = entry.read_text(encoding="utf-8")
            yield here.removesuffix(_SUFFIX), _substituted(text, here, values)


def _substituted(text: str, path: str, values: Mapping[str, str]) -> str:
    try:
        return Template(text).substitute(values)
    except (KeyError, ValueError) as problem:
        raise BangerError(
            f"the template {path} is broken",
            cause=str(problem),
            hints=["python -m pip install --force-reinstall banger"],
        ) from problem


def _umask() -> int:
    import os

    before = os.umask(0o077)
    os.umask(before)
    return before
