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
    return tuple(_port(word) for word in words)


def _port(word: str) -> Publish:
    parts = re.fullmatch(r"(?:([0-9]{1,5}):)?([0-9]{1,5})(?:/(tcp|udp))?", word)
    if not parts:
        raise UsageProblem(
            f"{word!r} names no port: ports are [HOST:]GUEST, with /udp where it is not TCP",
            cause="the address is the machine's own, so only ports are to be said",
            hints=["8080", "8080:80", "53/udp"],
        )
    host, guest = int(parts[1] or parts[2]), int(parts[2])
    for number in (host, guest):
        if not 1 <= number <= 65535:
            raise UsageProblem(
                f"{word}: there is no port {number}",
                cause="ports are numbers from 1 to 65535",
                hints=["8080:80"],
            )
    return Publish(host_port=host, guest_port=guest, protocol="udp" if parts[3] == "udp" else "tcp")


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
