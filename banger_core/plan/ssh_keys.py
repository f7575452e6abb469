"""The settings of an SSH policy: what they are called, which values they take, what they become.

Most become one option of OpenSSH (ssh_config(5)). The others have none of their own: the engine
makes the destination, the control socket, known hosts or the guest's seed of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from banger_core.errors import NotFound, UsageProblem

AUTHORITIES_MAX = 16
"""Most certificate authorities that a policy may name."""

_PATH = re.compile(r"(?:/[^\x00-\x1f\x7f]*)?")
_PUBLIC_KEY = re.compile(r"([a-z][A-Za-z0-9@.-]*)[ \t]+([A-Za-z0-9+/]+={0,3})(?:[ \t].*)?")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_ALGORITHMS = re.compile(r"[-+^]?[A-Za-z0-9@.*?_/-]+(,[A-Za-z0-9@.*?_/-]+)*")

Check = Callable[[Any], Any]
"""Returns the value in its normal form. Raises ValueError with what it should have been."""

Stricter = Callable[[Any, Any], bool]
"""Says whether the second value allows nothing that the first does not."""


def _never(_old: Any, _new: Any) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class SshKey:
    """One setting. ``option`` is the OpenSSH option, empty when the engine sees to it."""

    name: str
    summary: str
    default: Any
    check: Check
    option: str = ""
    stricter: Stricter = _never

    def accept(self, value: Any, origin: str) -> Any:
        """Return ``value`` in its normal form. Raises UsageProblem naming ``origin``."""
        try:
            return self.check(value)
        except ValueError as problem:
            raise UsageProblem(
                f"SSH setting {self.name} of {origin} cannot be {value!r}",
                cause=str(problem),
                hints=[f"{self.name}: {self.summary}"],
            ) from None

    def spell(self, value: Any) -> str:
        """Return the value as OpenSSH spells it, before any quoting; empty when nothing is to be
        said.
        """
        if isinstance(value, bool):
            return "yes" if value else "no"
        return str(value)


def key_named(name: str, origin: str) -> SshKey:
    """Return the setting. Raises NotFound with the nearest names, and who asked."""
    try:
        return KEYS[name]
    except KeyError:
        raise NotFound("SSH setting", name, KEYS, hints=[f"mend it in {origin}"]) from None


def allows_key(algorithms: str, kind: str) -> bool:
    """Say whether ``algorithms``, a value of ``public_key_algorithms``, lets a key of the type
    ``kind`` log in. What depends on this OpenSSH's own list counts as allowed.
    """
    # RFC 8332: one type of key, several algorithms to sign with
    signs = ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"] if kind == "ssh-rsa" else [kind]
    if not algorithms or algorithms[0] in "+^":
        return True
    patterns = algorithms.removeprefix("-").split(",")
    named = [any(fnmatchcase(each, pattern) for pattern in patterns) for each in signs]
    return not all(named) if algorithms.startswith("-") else any(named)


def _flag(value: Any) -> Any:
    if value is True or value is False:
        return value
    raise ValueError("it is true or false")


def _whole(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"it is a whole number from {low} to {high}")
        return value

    return check


def _user(value: Any) -> str:
    if not isinstance(value, str) or not _USER.fullmatch(value):
        raise ValueError("it is the name of a user: letters, digits, '_', '-', '.'")
    return value


def _algorithms(value: Any) -> str:
    text = ",".join(value) if _is_words(value) else value
    if not isinstance(text, str) or (text and not _ALGORITHMS.fullmatch(text)):
        raise ValueError("it is a list of algorithms, the first with '+', '-' or '^' or without")
    return text


def _is_words(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(word, str) for word in value)


def _one_of(*names: str) -> Check:
    def check(value: Any) -> str:
        if value in names and isinstance(value, str):
            return value
        raise ValueError(f"it is {' or '.join(names)}")

    return check


def _absolute_path(value: Any) -> str:
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        raise ValueError("it is an absolute path of printable characters, or empty")
    return value


def _public_keys(value: Any) -> tuple[str, ...]:
    lines = [value] if isinstance(value, str) else value
    if not _is_words(lines) or len(lines) > AUTHORITIES_MAX:
        raise ValueError(f"it is a list of at most {AUTHORITIES_MAX} public keys")
    found = []
    for line in lines:
        parts = _PUBLIC_KEY.fullmatch(line.strip())
        if not parts:
            raise ValueError("a public key is TYPE BASE64, as a .pub file has it")
        found.append(f"{parts[1]} {parts[2]}")
    return tuple(dict.fromkeys(found))


def _only_off(_old: Any, new: Any) -> bool:
    return new is False


def _fewer(old: str, new: str) -> bool:
    """A list that takes more away, or names a part of what was named, allows less.

    Anything else depends on what this OpenSSH allows by itself, and is not taken for stricter.
    """
    if new.startswith("-"):
        before = old[1:].split(",") if old.startswith("-") else []
        return (not old or old.startswith("-")) and set(before) <= set(new[1:].split(","))
    plain = bool(old) and not old.startswith(("+", "^", "-")) and not new.startswith(("+", "^"))
    return plain and bool(new) and set(new.split(",")) <= set(old.split(","))


def _fewer_keys(old: Any, new: Any) -> bool:
    """To trust fewer authorities is stricter; one that nobody named before is not."""
    return set(new) <= set(old)


def _sooner(old: Any, new: Any) -> bool:
    return bool(0 < new < (old or new + 1))


def _names(name: str, summary: str, option: str) -> SshKey:
    return SshKey(
        name=name,
        summary=f"{summary}, as in ssh_config(5); empty: OpenSSH's own choice",
        default="",
        check=_algorithms,
        option=option,
        stricter=_fewer,
    )


KEYS: Mapping[str, SshKey] = {
    key.name: key
    for key in (
        SshKey(name="user", summary="who logs in to the guest", default="root", check=_user),
        SshKey(
            name="agent_forwarding",
            summary="whether guests may use your SSH agent (true or false)",
            default=False,
            check=_flag,
            option="ForwardAgent",
            stricter=_only_off,
        ),
        _names("host_key_algorithms", "host key algorithms", "HostKeyAlgorithms"),
        _names("kex_algorithms", "key exchange algorithms", "KexAlgorithms"),
        _names("ciphers", "ciphers", "Ciphers"),
        _names("macs", "message authentication codes", "MACs"),
        _names("public_key_algorithms", "algorithms to log in with", "PubkeyAcceptedAlgorithms"),
        _names("ca_signature_algorithms", "what authorities sign with", "CASignatureAlgorithms"),
        SshKey(
            name="connect_timeout",
            summary="seconds to wait for a guest to answer",
            default=30,
            check=_whole(1, 3600),
            option="ConnectTimeout",
        ),
        SshKey(
            name="keepalive_interval",
            summary="seconds of silence after which a guest is asked for a sign of life; 0: never",
            default=30,
            check=_whole(0, 86400),
            option="ServerAliveInterval",
        ),
        SshKey(
            name="keepalive_count",
            summary="how many unanswered questions end a connection",
            default=4,
            check=_whole(1, 1000),
            option="ServerAliveCountMax",
        ),
        SshKey(
            name="compression",
            summary="whether to compress (true or false)",
            default=False,
            check=_flag,
            option="Compression",
        ),
        SshKey(
            name="multiplex",
            summary="whether commands share one connection to a guest (true or false)",
            default=True,
            check=_flag,
            stricter=_only_off,
        ),
        SshKey(
            name="server",
            summary="whose SSH server a login reaches: banger's or the image's (banger, image)",
            default="banger",
            check=_one_of("banger", "image"),
        ),
        SshKey(
            name="host_authorities",
            summary="public keys of the authorities whose host certificates are accepted",
            default=(),
            check=_public_keys,
            stricter=_fewer_keys,
        ),
        SshKey(
            name="certificate",
            summary="path of your certificate (ssh-keygen(1), CERTIFICATES); empty: none",
            default="",
            check=_absolute_path,
            option="CertificateFile",
        ),
        SshKey(
            name="idle_limit",
            summary="seconds without traffic after which a guest hangs up; 0: never",
            default=0,
            check=_whole(0, 86400),
            stricter=_sooner,
        ),
    )
}
"""Every setting, by name."""
