"""Packages for images that are built: named sets, files of the user's own, and how each package
manager installs them.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files as package_files

from banger_core.errors import GuestFailed, NotFound, UsageProblem

LISTS_MAX = 1 << 20
PACKAGES_MAX = 10_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:=~<>@/*^-]{0,254}")
_SET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")

FAMILIES = {"apt-get": "apt", "apk": "apk", "dnf": "dnf", "microdnf": "dnf", "yum": "dnf"}
"""Programs of package managers, in the order in which they are looked for, and the names that
lists are kept under."""

DETECT = (
    f"for each in {' '.join(FAMILIES)}; do"
    ' if command -v "$each" >/dev/null 2>&1; then echo "$each"; break; fi; done'
)
"""A command that prints which of them a guest has."""

_INSTALL = {
    "apt": "export DEBIAN_FRONTEND=noninteractive\n"
    "apt-get update\n"
    "apt-get install -y --no-install-recommends -- {packages}\n"
    "apt-get clean\n"
    "rm -rf /var/lib/apt/lists/*\n",
    "apk": "apk add --no-cache -- {packages}\n",
    "dnf": "{program} install -y --setopt=install_weak_deps=False {packages}\n"
    "{program} clean all\n",
}


@dataclass(frozen=True, slots=True)
class PackageList:
    """``packages`` by package manager (``apt``, ``apk``, ``dnf``); "" stands for any of them."""

    name: str
    packages: Mapping[str, tuple[str, ...]]

    def script(self, program: str) -> str:
        """The shell script that installs them with the package manager ``program``.

        Raises GuestFailed when the list has nothing for it.
        """
        family = FAMILIES[program]
        found = self.packages.get(family) or self.packages.get("")
        if not found:
            raise GuestFailed(
                f"the packages of {self.name} are not for this image",
                cause=f"it has {program}, the list is for {', '.join(sorted(self.packages))}",
                hints=[f"give a list with packages.{family}"],
            )
        words = shlex.join(found)
        return "set -e\n" + _INSTALL[family].format(packages=words, program=program)


def set_names() -> list[str]:
    """The names of the sets that banger brings."""
    places = (package_files("banger_core.guest") / "packages").iterdir()
    return sorted(place.name.removesuffix(".toml") for place in places if "." in place.name[1:])


def named_set(name: str) -> PackageList:
    """Return one of banger's sets. Raises NotFound with those there are."""
    if not _SET_NAME.fullmatch(name) or name not in set_names():
        raise NotFound(
            "set of packages", name, set_names(), hints=["--packages FILE takes a list of your own"]
        )
    text = (package_files("banger_core.guest") / "packages" / f"{name}.toml").read_text("utf-8")
    return _read_toml(name, text)


def read_list(name: str, data: bytes) -> PackageList:
    """Read a list: one package a line, ``#`` begins a comment; or, when ``name`` ends in
    ``.toml``, a table ``packages`` with lists for ``apt``, ``apk`` and ``dnf``.

    Raises UsageProblem for anything that no package is called.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as problem:
        raise _bad(name, "it is no text") from problem
    if name.endswith(".toml"):
        return _read_toml(name, text)
    words = [word for line in text.splitlines() for word in line.partition("#")[0].split()]
    return PackageList(name, {"": _checked(name, words)})


def _read_toml(name: str, text: str) -> PackageList:
    try:
        table = tomllib.loads(text).get("packages")
    except tomllib.TOMLDecodeError as problem:
        raise _bad(name, str(problem)) from problem
    known = set(FAMILIES.values())
    if not isinstance(table, dict) or not table or set(table) - known:
        raise _bad(name, f"it needs a table [packages] with {', '.join(sorted(known))}")
    return PackageList(name, {family: _checked(name, words) for family, words in table.items()})


def _checked(name: str, words: object) -> tuple[str, ...]:
    if not isinstance(words, list) or not 0 < len(words) <= PACKAGES_MAX:
        raise _bad(name, "it names no packages, or too many")
    for word in words:
        if not isinstance(word, str) or not _NAME.fullmatch(word):
            raise _bad(name, f"no package is called {ascii(word)[:80]}")
    return tuple(words)


def _bad(name: str, cause: str) -> UsageProblem:
    return UsageProblem(
        f"{name} is no list of packages",
        cause=cause,
        hints=["write one package a line, and # before comments"],
    )
