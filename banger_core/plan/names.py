"""Names of VMs: checked when given, made up when not."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Container

from banger_core.errors import UsageProblem

RESERVED = frozenset({"config", "explain", "forget", "known-hosts"})
"""What ``banger ssh`` takes for commands, and no new VM is called."""

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")
_SNAPSHOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BASE = 56
"""Letters of a name that gets a number: it is a DNS label still."""

_MANNERS = (
    "able amber ample azure brave brief bright brisk calm clear clever cosy crisp curious dapper "
    "deft eager early easy fair fleet fond frank fresh gentle glad golden grand handy happy hardy "
    "honest jolly keen kind lively lucky lunar mellow merry mild modest neat nimble noble patient "
    "plucky polite prime proud quick quiet ready rosy royal silent silver simple sleek smart snug "
    "solar solid spry steady still sunny sure swift tidy true trusty vivid warm wise witty young"
).split()
_CREATURES = (
    "adder badger beaver bison bittern bream curlew dipper dove dunlin eagle egret ermine falcon "
    "ferret finch fox gannet gecko goose grebe grouse gull hare harrier hawk heron hobby ibex "
    "jackdaw jay kestrel kite lark linnet lizard lynx magpie marten merlin mink mole moorhen moth "
    "newt ocelot oriole osprey otter owl oyster panda petrel pigeon pika pipit plover puffin "
    "quail rail raven robin rook ruff salmon seal shrew shrike siskin skua snipe sparrow squid "
    "stoat stork swallow swan swift teal tern thrush toad trout turtle vole walrus weasel whale "
    "wren"
).split()


def check_name(name: str) -> str:
    """Return ``name`` when a new VM can be called that: a DNS label (RFC 1123, lower case) that is
    no command of ``banger ssh``. Raises UsageProblem.
    """
    if name in RESERVED:
        raise UsageProblem(
            f"{name!r} cannot be the name of a VM",
            cause=f"banger ssh {name} is a command",
            hints=[f"--name {name}-vm"],
        )
    if not LABEL.fullmatch(name):
        raise UsageProblem(
            f"{name!r} cannot be the name of a VM",
            cause="a name is a DNS label: 1 to 63 letters a-z, digits and hyphens, "
            "no hyphen at either end",
            hints=[f"--name {suggestion}"] if (suggestion := _nearest_label(name)) else [],
        )
    return name


def check_image_name(name: str) -> str:
    """Return ``name`` when an image can be called that here. Raises UsageProblem."""
    if not _IMAGE_NAME.fullmatch(name) or "://" in name:
        near = re.sub(r"[^A-Za-z0-9._/:@-]+|:(?=//)", "-", name[:255]).lstrip("._/:@-")
        raise UsageProblem(
            f"{name[:80]!r} cannot be the name of an image",
            cause="a name has 1 to 255 letters A-Z and a-z, digits and '._-/:@', begins with a "
            "letter or digit, and has no '://'",
            hints=[f"--name {near or 'web-base'}"],
        )
    return name


def check_snapshot_name(name: str) -> str:
    """Return ``name`` when a snapshot can be called that. Raises UsageProblem."""
    if not _SNAPSHOT_NAME.fullmatch(name):
        raise UsageProblem(
            f"{name[:80]!r} cannot be the name of a snapshot",
            cause="a name has 1 to 64 letters A-Z and a-z, digits and '._-', and begins with a "
            "letter or digit",
            hints=["before-upgrade"],
        )
    return name


def make_name(taken: Container[str]) -> str:
    """Make up a name that is not in ``taken``: two words, and digits when words run out."""
    for attempt in range(1000):
        name = f"{secrets.choice(_MANNERS)}-{secrets.choice(_CREATURES)}"
        if attempt > 20:
            name = f"{name}-{secrets.randbelow(10_000)}"
        if name not in taken:
            return name
    raise UsageProblem("no free name was found", hints=["give one with --name"])


def numbered_names(base: str, count: int, taken: Container[str]) -> list[str]:
    """Return ``count`` names that are not in ``taken``: ``base`` with the lowest free numbers."""
    base = base[:_BASE].rstrip("-")
    free = (name for number in itertools.count(1) if (name := f"{base}-{number}") not in taken)
    return list(itertools.islice(free, count))


def make_id() -> str:
    """A new VM or image id: 12 hexadecimal digits."""
    return secrets.token_hex(6)


def _nearest_label(name: str) -> str:
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-")
    label = f"{label}-vm" if label in RESERVED else label
    return label if label != name else ""
