"""Errors as one set: each says what failed, why, and what to do.

Every place in the code where an error for people is made is looked at as it is written: texts that
are put together from elsewhere are words there.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from banger_core import errors
from banger_core.errors import BangerError

ROOT = Path(__file__).parents[2]
FILES = [*(ROOT / "banger_core").rglob("*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
PRODUCT = [file for file in sorted(FILES) if "testing" not in file.parts]

FRAGMENTS = {"NotCopied", "Refused"}
"""Reasons, which stand in the cause of another error."""
SAYS_WHY = {"NotFound", "NoSuchImage", "PluginError"}
"""They make their cause themselves."""
MUST_SAY_WHY = {"BangerError", "HostNotReady", "NoSpace", "Unreachable", "GuestFailed", "Blocked"}
"""Of the world, which nobody can see from a command line: a summary is not enough."""
PROPER = (
    "QEMU",
    "Firecracker",
    "SSH",
    "KVM",
    "HOME",
    "Debian",
    "Docker",
    "Depends",
    "Unix",
    "SHA-256",
    "HTTP",
)
INTERNAL = re.compile(
    r"\b(None|True|False|NoneType|errno|traceback|exception|\w+Error|assert|dict|tuple|coroutine"
    r"|callback|stack|deprecated|TODO)\b|__"
)
MANAGER = re.compile(r"\b(apt|apt-get|aptitude|apt-cache|dnf|yum|pacman|zypper|apk|brew)\b")
KNOW_MANAGERS = {
    "banger_core/packages.py",
    # These run inside of machines
    "banger_core/guest/packagesets.py",
    "plugins/banger_debian/src/banger_debian/bootstrap.py",
}
"""Where package managers are known by name."""
STATEMENT = re.compile(r"(it|there|this|these|you|please|a|an|the|is|are|one)\s")


@dataclass(frozen=True)
class Text:
    """A text in the code: ``{}`` stands for what is only known when it runs."""

    said: str
    known: bool

    @classmethod
    def of(cls, node: ast.expr | None) -> Text:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return cls(node.value, known=True)
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
            return cls("".join(map(str, parts)), known=True)
        return cls("", known=False)


@dataclass(frozen=True)
class Made:
    """A place where an error is made."""

    where: str
    kind: str
    words: tuple[ast.expr, ...]
    named: dict[str, ast.expr]

    @property
    def summary(self) -> Text:
        return Text.of(self.words[0]) if self.kind not in SAYS_WHY else Text("", known=False)

    @property
    def cause(self) -> Text:
        return Text.of(self.named.get("cause"))

    @property
    def hints(self) -> list[Text]:
        given = self.named.get("hints")
        return [Text.of(each) for each in given.elts] if isinstance(given, ast.List) else []


def kinds(trees):
    """The names of all classes of errors, with those that rooms and plugins add."""
    bases = {
        node.name: {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = {"BangerError"}
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return found, bases


def made_in(file, tree, known):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in known:
                named = {word.arg: word.value for word in node.keywords if word.arg}
                where = f"{file.relative_to(ROOT)}:{node.lineno}"
                yield Made(where, name, tuple(node.args), named)


TREES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in PRODUCT}
KINDS, BASES = kinds(TREES.values())
ALL = [made for file, tree in TREES.items() for made in made_in(file, tree, KINDS)]


def advised(kind):
    """Whether the class has an advice of its own, for where nothing better is known."""
    while not hasattr(errors, kind):
        (kind,) = BASES[kind] & KINDS
    return bool(getattr(errors, kind).advice)


def wrong_with(text):
    """What a reader would stumble over."""
    said = text.said
    if "\n" in said:
        yield "more than one line"
    if re.search(r"\w[.!]$", said):
        yield "a final stop"
    if said[:1].isupper() and not said.startswith(PROPER) and not re.match(r"[A-Z_]{3,}\b", said):
        yield "a capital"
    if found := INTERNAL.search(said):
        yield f"a word from inside: {found[0]}"


def complaints(rule):
    """One line for each complaint; empty when all is well."""
    return "\n".join(f"{made.where}: {what}" for made in ALL for what in rule(made))


def test_there_are_many():
    assert len(ALL) > 600
    assert {"UsageProblem", "HostNotReady", "HostileInput", "NotFound"} <= {m.kind for m in ALL}


def test_each_says_what_failed():
    def rule(made):
        if made.kind not in SAYS_WHY:
            if made.summary.known and not made.summary.said.strip():
                yield "an empty summary"
            yield from (f"{what}: {made.summary.said}" for what in wrong_with(made.summary))

    assert complaints(rule) == ""


def test_each_says_why():
    def rule(made):
        if made.kind in MUST_SAY_WHY and "cause" not in made.named:
            yield f"no cause: {made.summary.said}"
        if "cause" in made.named and made.cause.known and not made.cause.said:
            yield "an empty cause"
        yield from (f"{what}: {made.cause.said}" for what in wrong_with(made.cause))

    assert complaints(rule) == ""


def test_each_says_what_to_do():
    def rule(made):
        unneeded = made.kind in FRAGMENTS | SAYS_WHY or made.kind == "Interrupted"
        if not unneeded and "hints" not in made.named and not advised(made.kind):
            yield f"no hint: {made.summary.said}"

    assert complaints(rule) == ""


def test_hints_are_commands_or_instructions():
    def rule(made):
        for hint in made.hints:
            if hint.known:
                yield from (f"{what}: {hint.said}" for what in wrong_with(hint))
                if not hint.said or STATEMENT.match(hint.said):
                    yield f"nothing to do: {hint.said!r}"

    assert complaints(rule) == ""


def naming_managers(tree):
    """The texts in a module that tell of a package manager: words around it make it a text."""
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            words = re.sub(r"\S*/\S*", "", node.value).split()
            if len(words) > 1 and MANAGER.search(" ".join(words)):
                yield node.lineno, node.value


def test_how_a_package_is_installed_is_said_in_one_place():
    found = [
        f"{name}:{line}: {said!r}: use install_command"
        for file, tree in TREES.items()
        if (name := str(file.relative_to(ROOT))) not in KNOW_MANAGERS
        for line, said in naming_managers(tree)
    ]
    assert "\n".join(found) == ""


def test_the_rule_about_package_managers_finds_them():
    said = ast.parse(
        '"""apt-get"""\ntry_this(hints=["apt-get install x", "/etc/apt/x", f"{y}apk add"])'
    )
    assert [text for _, text in naming_managers(said)] == ["apt-get install x", "apk add"]


@pytest.mark.parametrize("kind", sorted(KINDS & set(vars(errors))))
def test_advice_is_shown_where_there_is_no_hint(kind):
    made = getattr(errors, kind)
    plain = BangerError.from_dict({"code": made.code, "error": "it failed"})
    assert type(plain) is made
    assert list(plain.tries) == ([made.advice] if made.advice else [])
    hinted = BangerError.from_dict({"code": made.code, "error": "it failed", "try": ["this"]})
    assert hinted.tries == ("this",)
    assert hinted.to_dict()["try"] == ["this"]
    assert list(wrong_with(Text(made.advice, known=True))) == []
