"""The notes that say how to reach a VM: all that ``banger ssh NAME`` needs.

``Paths.note`` names the same file, but ``pathlib`` and ``dataclasses`` cost more than the whole
start-up budget of this path; a test holds the two together.
"""

from __future__ import annotations

import os
import stat

NOTE_MAX = 1 << 16
"""Longest note that is read (bytes)."""

_LABEL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def is_label(name: str) -> bool:
    """Say whether ``name`` is a lower-case DNS label (RFC 1123), as every VM's name is."""
    return 0 < len(name) < 64 and _LABEL.issuperset(name) and "-" not in (name[0], name[-1])


def note_path(name: str) -> str:
    """The note of the VM ``name``, which must be a label."""
    if chosen := os.environ.get("BANGER_STATE_DIR"):
        state = os.path.abspath(chosen)  # noqa: PTH100  (see above)
    else:
        root = os.environ.get("XDG_STATE_HOME", "")
        base = root if root.startswith("/") else os.path.expanduser("~/.local/state")  # noqa: PTH111
        state = f"{base}/banger"
    return f"{state}/ssh/vms/{name}.json"


def read_note(name: str, *, login: bool = False) -> list[str] | None:
    """Return the ``ssh`` command line that reaches ``name``, up to the remote command. With
    ``login`` the one for people, which may lead to the image's own server.

    None when there is no note, or none to trust: it must be a regular file of ours that nobody
    else can write, a complete ``SshTarget``, and newer than every file that decided on policy.
    The daemon knows more than the note.
    """
    if not is_label(name):
        return None
    try:
        # Not blocking: a FIFO must not hold us up before it is found to be none of ours
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        handle = os.open(note_path(name), flags)
    except OSError:
        return None
    try:
        facts = os.fstat(handle)
        ours = facts.st_uid == os.geteuid() and not facts.st_mode & 0o022
        text = os.read(handle, NOTE_MAX) if ours and stat.S_ISREG(facts.st_mode) else b""
    finally:
        os.close(handle)
    return _argv(text, login=login)


def _argv(text: bytes, *, login: bool) -> list[str] | None:
    import json

    try:
        note = json.loads(text)
        argv = (login and note["shell"]) or note["argv"]
        current = all(_stamp(path) == stamp for path, stamp in note["stamps"].items())
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    good = isinstance(argv, list) and argv and all(isinstance(word, str) for word in argv)
    return argv if good and current else None


def _stamp(path: str) -> list[int] | None:
    try:
        facts = os.stat(path)  # noqa: PTH116  (see above)
    except OSError:
        return None
    return [facts.st_mtime_ns, facts.st_size, facts.st_ino]
