"""Nothing in the product weakens the checking of host keys or writes to the user's own pins."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SET = r"[\s\"'=:,]+"
"""Between an option and its value: in an argument, a file for ssh, or a table of Python."""

WEAK = {
    "checking off or on first use": rf"StrictHostKeyChecking{SET}(no|off|ask|accept-new)\b",
    "pins thrown away": rf"KnownHostsFile{SET}(Path\()?[\"']?/dev/null",
    "servers may change their pins": rf"UpdateHostKeys{SET}(yes|ask|true)\b",
    "keys believed from DNS": rf"VerifyHostKeyDNS{SET}(yes|ask|true)\b",
    "a host that is never checked": rf"NoHostAuthenticationForLocalhost{SET}yes\b",
    "the user's own pins": r"(?<!\w)\.ssh[/\"', ]+known_hosts",
}

NAMED = {(".md", "the user's own pins")}
"""Texts for people may say that the user's own file is left alone."""

EXAMPLES = [
    "ssh -o StrictHostKeyChecking=no",
    "StrictHostKeyChecking accept-new",
    '"StrictHostKeyChecking": "off",',
    "UserKnownHostsFile=/dev/null",
    '    GlobalKnownHostsFile "/dev/null"',
    '"UpdateHostKeys": "yes"',
    "VerifyHostKeyDNS=ask",
    "NoHostAuthenticationForLocalhost yes",
    "Path.home() / '.ssh' / 'known_hosts'",
    "~/.ssh/known_hosts",
]


def product():
    """Every text of the product, tests aside: they break rules to see them kept."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if name and "tests" not in Path(name).parts and path.is_file():
            yield name, path.read_text(errors="replace")


def test_the_product_never_weakens_checking():
    texts = list(product())
    assert len(texts) > 200
    found = [
        f"{name}: {what}: {match[0]!r}"
        for name, text in texts
        for what, pattern in WEAK.items()
        if (Path(name).suffix, what) not in NAMED
        for match in re.finditer(pattern, text)
    ]
    assert found == []


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_way_to_weaken_is_noticed(text):
    assert any(re.search(pattern, text) for pattern in WEAK.values())


@pytest.mark.parametrize("name", ["StrictHostKeyChecking", "UpdateHostKeys"])
def test_what_the_product_says_is_seen_at_all(name):
    assert any(re.search(rf"{name}{SET}(yes|no)\b", text) for _, text in product())
