"""What an image wants of its sessions, as lines for the shell that starts them.

Everything here comes from the image, hence is hostile, and is quoted as data. Its environment
never becomes variables of that shell, which runs as root: it is the body of a function that
hands it on to the image's program, whatever the names are.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from banger_core.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from banger_core.model import ImageConfig

APART = ("PATH", "HOME", "TERM", "USER", "LOGNAME", "SHELL")
"""Variables for which a session has a value, unless the image has."""

_CONNECTION = ("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY")

_ONE_MAX = 131071
_ALL_MAX = 1 << 20
"""Bytes. Linux takes no longer string (execve(2)), and no more than a quarter of the stack's
limit altogether, of which arguments want a part."""

_SHOWN = 80


def image_wishes(config: ImageConfig, machine: str) -> bytes:
    """Return the lines that ``enter`` reads: what is to be said about the user and the directory,
    the variables ``APART`` as ``image_NAME``, and two functions, one that adds the environment
    and one that starts the image's own program. ``machine`` is how the user calls the VM.

    Raises IntegrityError for more than Linux can give a program.
    """
    environment = _environment(config.env)
    directory = _word(config.working_dir)
    if directory and not directory.startswith("/"):
        directory = f"/{directory}"
    values = {
        "machine": machine,
        "image_user": _word(config.user),
        "image_shown_user": _printable(config.user),
        "image_workdir": directory,
        "image_shown_workdir": _printable(directory),
    }
    values |= {f"image_{name}": environment.pop(name) for name in APART if name in environment}
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in values.items()]
    passed = _quoted(f"{name}={value}" for name, value in environment.items())
    lines.append(f'with_image_environment() {{ as_user {passed} "$@"; }}\n')
    lines.append(_program(config))
    return _bytes("".join(lines))


def image_profile(config: ImageConfig) -> bytes:
    """Return the lines that a login shell of the image reads after it has set ``PATH`` anew."""
    path = _environment(config.env).get("PATH", "")
    lines = f"PATH={shlex.quote(path)}\n" if path else ""
    tools = "/run/banger/tools"
    return _bytes(f"{lines}case :$PATH: in *:{tools}:*) ;; *) PATH=$PATH:{tools} ;; esac\n")


def _environment(items: Iterable[str]) -> dict[str, str]:
    """The image's variables; of several with one name the last holds."""
    found = {}
    for item in items:
        name, equals, value = item.partition("=")
        if name and equals and "\0" not in item and name not in _CONNECTION:
            found[name] = value
    sizes = [len(_bytes(f"{name}={value}\0")) for name, value in found.items()]
    if max(sizes, default=0) > _ONE_MAX or sum(sizes) > _ALL_MAX:
        raise IntegrityError(
            "no program can be started with this image's environment",
            cause=f"it has {sum(sizes)} bytes, of at most {_ALL_MAX}, and at most {_ONE_MAX} "
            "for one variable",
        )
    return found


def _program(config: ImageConfig) -> str:
    """Entry point and arguments: those that are given, else the image's own (``Cmd``)."""
    entrypoint, arguments = _quoted(config.entrypoint), _quoted(config.cmd)
    own = f"  [ $# -gt 0 ] || set -- {arguments}\n" if config.cmd else ""
    anything = "" if config.entrypoint else "[ $# = 0 ] || "
    return f'start_image_program() {{\n{own}  {anything}start_found {entrypoint} "$@"\n}}\n'


def _quoted(words: Iterable[str]) -> str:
    return " ".join(shlex.quote(_word(word)) for word in words)


def _word(text: str) -> str:
    # No argument of a program can hold more
    return text.partition("\0")[0]


def _printable(text: str) -> str:
    """``text`` as a message may hold it: short, and nothing that a terminal would obey."""
    shown = "".join(letter if " " <= letter <= "~" else "?" for letter in text[:_SHOWN])
    return shown + "..." * (len(text) > _SHOWN)


def _bytes(text: str) -> bytes:
    # JSON may hold half of a surrogate pair, which is no character
    return text.encode("utf-8", "replace")
