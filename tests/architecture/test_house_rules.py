"""The rules of the house that a program can check: who imports whom, sizes, words."""

from __future__ import annotations

import ast
import graphlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "banger_core"
CAP = 500

SPINE = {
    "errors",
    "model",
    "netmodel",
    "snapmodel",
    "declare",
    "contracts",
    "netcontract",
    "warmcontract",
    "jsonable",
    "sizes",
    "packages",
}
SPINE |= {"deprecation", "escapes", "quoting", "sshmodel", "threads", "trust"}
SHELF = SPINE | {"api", "hookspecs", "config", "plugins", "store"}
WORKSHOP = SHELF | {"plan", "rootfs", "kernel", "bundle", "guest", "engine", "networks"}

MAY_IMPORT = {
    **dict.fromkeys(SPINE, SPINE),
    **dict.fromkeys(SHELF - SPINE, SHELF),
    **dict.fromkeys(WORKSHOP - SHELF, WORKSHOP),
    "daemon": WORKSHOP,
    "scaffold": {"errors"},
    "testing": WORKSHOP | {"cli"},
    "client": {"errors", "escapes", "model", "jsonable", "sizes", "config.paths", "packages"},
    "ui": {"errors", "model", "jsonable", "sizes"},
    "cli": {
        "errors",
        "escapes",
        "model",
        "jsonable",
        "sizes",
        "config.paths",
        "api",
        "client",
        "ui",
    }
    | {"config.edit", "config.file", "plugins.health", "plugins.index", "plugins.installer"}
    | {"plugins.kinds", "plugins.loading", "plugins.tryout", "scaffold"},
    "__main__": {"errors", "model", "config.paths", "client", "cli"},
}
"""Room by room, what may be imported: a whole room or one module of it. Imports for types only
are free, and so is a room's own inside."""

FACES = {"banger_tui", "banger_web"}
"""Plugins that are clients of the daemon."""

BANNED_WORDS = {
    "shell=True": "programs are run with a list of arguments",
    "os.system(": "programs are run with a list of arguments",
    "StrictHostKeyChecking=no": "host keys are pinned before the first connection",
    "StrictHostKeyChecking no": "host keys are pinned before the first connection",
    "UserKnownHostsFile=/dev/null": "host keys are pinned before the first connection",
    ".extractall(": "archives are read, never unpacked onto the host",
    "verify=False": "servers are verified",
    "pickle": "data from outside is JSON",
}


def runtime_imports(tree: ast.AST) -> set[str]:
    """Every module that ``tree`` may import when it runs, late or early."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            found.update(*(runtime_imports(part) for part in node.orelse))
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        else:
            found |= runtime_imports(node)
    return found


def module_of(name: str) -> str:
    """``name`` itself, or the module that defines it."""
    parts = name.split(".")
    while parts and not (
        (path := ROOT.joinpath(*parts)).with_suffix(".py").exists()
        or (path / "__init__.py").exists()
    ):
        parts.pop()
    return ".".join(parts)


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def forbidden(room: str, imports: set[str]) -> set[str]:
    """What of ``imports`` the room must not import."""
    bad = set()
    for name in imports:
        module = module_of(name) if name.startswith("banger_core.") else name
        parts = module.split(".")
        if parts[0] != "banger_core" or len(parts) == 1 or parts[1] == room:
            continue
        allowed = MAY_IMPORT[room]
        if not {parts[1], ".".join(parts[1:3])} & allowed:
            bad.add(module)
    return bad


def core_files() -> list[Path]:
    return sorted(CORE.rglob("*.py"))


def product_files() -> list[Path]:
    return [*core_files(), *sorted(ROOT.glob("plugins/*/src/**/*.py"))]


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def test_rooms_import_only_what_they_may():
    problems = []
    for file in core_files():
        parts = name_of(file).split(".")
        if len(parts) == 1:
            continue
        assert parts[1] in MAY_IMPORT, f"{parts[1]} is a new room: say what it may import"
        bad = forbidden(parts[1], runtime_imports(parsed(file)))
        problems += [f"{file.relative_to(ROOT)} imports {name}" for name in sorted(bad)]
    assert not problems, "\n".join(problems)


def test_plugins_import_only_the_api():
    problems = []
    for file in sorted(ROOT.glob("plugins/*/src/*/**/*.py")):
        package = file.relative_to(ROOT / "plugins").parts[2]
        doors = {"banger_core.api"} | ({"banger_core.client"} if package in FACES else set())
        for name in runtime_imports(parsed(file)):
            used = re.match(r"banger_core(\.\w+)?", name)
            others = name.startswith("banger_") and not name.startswith(("banger_core", package))
            if others or (used and used[0] not in doors):
                problems.append(f"{file.relative_to(ROOT)} imports {name}")
    assert not problems, "\n".join(problems)


def test_declarations_import_nothing_but_the_api():
    doors = ("banger_core.api.", "__future__.", "typing.", "collections.abc.")
    problems = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in [*ROOT.glob("plugins/*/src/*/plugin.py"), CORE / "networks/plugin.py"]
        for name in runtime_imports(parsed(file))
        if not name.startswith(doors)
    ]
    assert not problems, "\n".join(problems)


def test_only_the_ui_imports_rich():
    allowed = (CORE / "ui", *(ROOT / "plugins" / face for face in FACES))
    users = [
        file
        for file in product_files()
        if any(re.match(r"rich(\.|$)", name) for name in runtime_imports(parsed(file)))
        and not any(file.is_relative_to(place) for place in allowed)
    ]
    assert not users


def test_no_circles():
    graph = {}
    for file in core_files():
        imported = {module_of(name) for name in runtime_imports(parsed(file))}
        graph[name_of(file)] = {
            name for name in imported if name.startswith("banger_core.") and name != name_of(file)
        }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as circle:
        pytest.fail(" -> ".join(reversed(circle.args[1])))


def test_files_are_short():
    long = {
        str(file.relative_to(ROOT)): count
        for file in product_files()
        if (count := len(file.read_text().splitlines())) > CAP
    }
    assert not long


def test_banned_words_are_absent():
    problems = []
    for file in product_files():
        for number, line in enumerate(file.read_text().splitlines(), 1):
            for word, reason in BANNED_WORDS.items():
                if word in line:
                    problems.append(f"{file.relative_to(ROOT)}:{number}: {word}: {reason}")
    assert not problems, "\n".join(problems)


def test_nothing_is_swallowed_silently():
    problems = []
    for file in product_files():
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.ExceptHandler) and isinstance(node.body[0], ast.Pass):
                caught = ast.unparse(node.type) if node.type else "everything"
                if caught in ("Exception", "BaseException", "everything"):
                    problems.append(f"{file.relative_to(ROOT)}:{node.lineno}: {caught}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("room", "code", "bad"),
    [
        ("cli", "import banger_core.engine.engine", {"banger_core.engine.engine"}),
        ("cli", "def f():\n    from banger_core.engine.run import run", {"banger_core.engine.run"}),
        ("cli", "from banger_core.config import settings", {"banger_core.config.settings"}),
        ("cli", "from banger_core.config import paths", set()),
        ("model", "from banger_core.store import content", {"banger_core.store.content"}),
        ("store", "from banger_core.plan.names import make_name", {"banger_core.plan.names"}),
        ("engine", "from banger_core import daemon", {"banger_core.daemon"}),
        ("engine", "from banger_core.store.content import Ingest", set()),
        (
            "client",
            "if TYPE_CHECKING:\n    from banger_core.engine.run import run",
            set(),
        ),
    ],
)
def test_the_rule_itself_finds_what_is_wrong(room, code, bad):
    assert forbidden(room, runtime_imports(ast.parse(code))) == bad
