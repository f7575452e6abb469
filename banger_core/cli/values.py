"""Values that people type, checked before the daemon is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable

from banger_core.client.notes import is_label
from banger_core.errors import UsageProblem
from banger_core.model import Publish
from banger_core.sizes import parse_size


def vm_name(text: str) -> str:
    """Return ``text`` when it can be a VM's name. Raises UsageProblem with one that can."""
    if is_label(text):
        return text
    near = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")
    raise UsageProblem(
        f"{text!r} cannot be the name of a VM",
        cause="a name is a DNS label: 1 to 63 of a-z, 0-9 and '-', no '-' at either end",
        hints=[f"--name {near or 'web'}"],
    )


def size(option: str, text: str) -> int:
    """Return the bytes that ``text`` means. Raises UsageProblem, which names ``option``."""
    if text.isdecimal() and int(text) < 1 << 20:
        raise UsageProblem(
            f"{option} {text} would be {text} bytes",
            cause="a size without a unit is in bytes",
            hints=[f"{option} {text}M"],
        )
    try:
        return parse_size(text)
    except UsageProblem as problem:
        raise UsageProblem(
            f"{option} {text}: {problem.summary}",
            cause=problem.cause,
            hints=[f"{option} 512M", f"{option} 8G"],
        ) from None


def work_disk(text: str) -> int | None:
    """Return the bytes that ``--work-disk`` means: 0 for ``none``, None when it is not given.
    Raises UsageProblem.
    """
    if text in ("", "none"):
        return 0 if text else None
    return size("--work-disk", text)


def cpus(count: int) -> int:
    """Return ``count`` when it is a number of CPUs. Raises UsageProblem."""
    if count < 1:
        raise UsageProblem(
            f"--vcpu {count} is not possible",
            cause="a machine has at least one CPU",
            hints=["--vcpu 1"],
        )
    return count


def ports(words: Iterable[str]) -> tuple[Publish, ...]:
    """Return ``[HOST:]GUEST[/PROTOCOL]`` words as what they ask for. Raises UsageProblem."""
    return tuple(map(Publish.parse, words))


def labels(pairs: Iterable[str]) -> dict[str, str]:
    """Return ``KEY=VALUE`` words as a dict. Raises UsageProblem."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}", key):
            raise UsageProblem(
                f"--label {pair}: a label is KEY=VALUE",
                cause="a key has 1 to 63 letters, digits, '.', '_', '/' and '-'",
                hints=["--label team=web"],
            )
        found[key] = value
    return found
