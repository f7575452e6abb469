"""The key pair that banger logs in to guests with: the configured one, or one of its own."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from banger_core.config.paths import Paths, secure_dir
from banger_core.errors import BangerError, HostNotReady
from banger_core.store.content import sync_directory, write_atomic

if TYPE_CHECKING:
    from banger_core.config.settings import Settings

_MAGIC = b"openssh-key-v1\0"
_ARMOUR = ("-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----")
_KEY_MAX = 1 << 16
_MAKING = ".making-"


class Runner(Protocol):
    """Runs a host program to its end and returns its stdout (``engine.run.run``)."""

    async def __call__(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0
    ) -> bytes:
        """Raises HostNotReady when the program is missing, BangerError when it fails."""


def identity_path(paths: Paths, settings: Settings) -> Path:
    """Return where the private key is, or will be."""
    chosen = settings.ssh.ssh_key_path
    return chosen.absolute() if chosen else paths.ssh / "id_ed25519"


async def identity(paths: Paths, settings: Settings, run: Runner) -> Path:
    """Return the private key, making banger's own (ed25519, 0600 in 0700) when it is missing.

    Whoever comes first makes it, everyone uses the same. Raises HostNotReady when the key is
    missing, somebody else's or open to others, or when ssh-keygen is not installed.
    """
    path = identity_path(paths, settings)
    if settings.ssh.ssh_key_path:
        check_key(path)
        return path
    secure_dir(paths.ssh)
    if not os.path.lexists(path):
        await _make(path, run)
    check_key(path)
    public, line = path.with_name(f"{path.name}.pub"), await public_key(path, run) + " banger\n"
    if not public.is_file() or public.read_text(errors="replace") != line:
        write_atomic(public, line)
    return path


def check_key(path: Path) -> None:
    """Raise HostNotReady unless ``path`` is a private key file that only this user can read."""
    try:
        facts = path.stat()
    except OSError as problem:
        raise HostNotReady(
            f"the SSH key {path} cannot be read",
            cause=str(problem.strerror),
            hints=[f"ssh-keygen -t ed25519 -f {path}", "banger config show ssh_key_path"],
        ) from None
    if not stat.S_ISREG(facts.st_mode):
        raise HostNotReady(
            f"the SSH key {path} is not a file",
            cause="a private key is read from it",
            hints=[f"ls -ld {path}"],
        )
    if facts.st_uid != os.geteuid():
        raise HostNotReady(
            f"the SSH key {path} belongs to another user",
            cause=f"owner is uid {facts.st_uid}, this is uid {os.geteuid()}",
            hints=[f"ls -l {path}", "set ssh_key_path in [ssh] to a key of your own"],
        )
    if facts.st_mode & 0o077:
        raise HostNotReady(
            f"the SSH key {path} can be read by others",
            cause=f"its mode is {stat.S_IMODE(facts.st_mode):04o}; ssh refuses such keys",
            hints=[f"chmod 600 {path}"],
        )


async def public_key(path: Path, run: Runner) -> str:
    """Return the public half of a private key as ``TYPE BASE64``.

    Keys in OpenSSH's own format hold it in the clear, also when they are encrypted; ssh-keygen
    reads the others. Raises HostNotReady when neither finds one.
    """
    text = path.read_text(errors="replace")[:_KEY_MAX]
    if line := _embedded(text):
        return line
    try:
        words = (await run(["ssh-keygen", "-y", "-P", "", "-f", str(path)])).decode().split()
    except BangerError as problem:
        raise HostNotReady(
            f"the public half of the SSH key {path} cannot be had",
            cause=problem.cause or problem.summary,
            hints=[f"ssh-keygen -p -f {path}   (rewrites it in OpenSSH's format)"],
        ) from problem
    return " ".join(words[:2])


def has_passphrase(path: Path) -> bool:
    """Say whether a private key is encrypted (OpenSSH, PROTOCOL.key; RFC 1421 for older forms)."""
    text = path.read_text(errors="replace")[:_KEY_MAX]
    lines = text.strip().splitlines()
    if lines and lines[0].strip() != _ARMOUR[0]:
        return "ENCRYPTED" in text
    try:
        data = base64.b64decode("".join(lines[1:-1]), validate=False)
        cipher, _ = _string(data.removeprefix(_MAGIC))
    except ValueError:
        return False
    return cipher != b"none"


def _embedded(text: str) -> str:
    """Read the public key out of an ``openssh-key-v1`` container (OpenSSH, PROTOCOL.key)."""
    lines = text.strip().splitlines()
    if len(lines) < 3 or (lines[0].strip(), lines[-1].strip()) != _ARMOUR:
        return ""
    try:
        data = base64.b64decode("".join(lines[1:-1]), validate=False)
        if not data.startswith(_MAGIC):
            return ""
        rest = data[len(_MAGIC) :]
        for _cipher_kdf_options in range(3):
            _, rest = _string(rest)
        blob, _ = _string(rest[4:])
        kind, _ = _string(blob)
    except ValueError:
        return ""
    return f"{kind.decode('ascii', 'replace')} {base64.b64encode(blob).decode()}"


def _string(data: bytes) -> tuple[bytes, bytes]:
    """Split an SSH string (RFC 4251, 5) off ``data``."""
    end = 4 + int.from_bytes(data[:4])
    if len(data) < max(end, 4):
        raise ValueError("truncated")
    return data[4:end], data[end:]


async def _make(path: Path, run: Runner) -> None:
    _sweep(path.parent)
    place = Path(tempfile.mkdtemp(prefix=f"{_MAKING}{os.getpid()}-", dir=path.parent))
    try:
        made = place / "key"
        await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "banger", "-f", str(made)])
        made.chmod(0o600)
        with made.open("rb") as file:
            os.fsync(file.fileno())
        # A link, unlike a rename, never replaces the key of whoever was faster
        with suppress(FileExistsError):
            path.hardlink_to(made)
        sync_directory(path.parent)
    finally:
        shutil.rmtree(place)


def _sweep(directory: Path) -> None:
    """Remove what makers that are dead left behind."""
    for left in directory.glob(f"{_MAKING}*"):
        pid = left.name.removeprefix(_MAKING).partition("-")[0]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            shutil.rmtree(left, ignore_errors=True)
