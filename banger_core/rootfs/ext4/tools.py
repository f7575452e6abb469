"""The programs of e2fsprogs, run so that the same input always gives the same bytes."""

from __future__ import annotations

import logging
import re
import shlex
import subprocess
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from uuid import UUID, uuid4

from banger_core.errors import BangerError, NoSpace
from banger_core.packages import find_program, search_path
from banger_core.rootfs.ext4 import BLOCK

log = logging.getLogger(__name__)

LABEL = "banger-root"
_TIMEOUT = 1800.0
_CONFIG = Path(__file__).with_name("mke2fs.conf")
_EPOCH = "1577836800"


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells file systems apart: UUID and seed of the directory hashes, both derived."""

    uuid: str
    hash_seed: str

    @classmethod
    def derive(cls, identity: bytes) -> Identity:
        """Return the identity that belongs to ``identity``, always the same one."""
        digest = sha256(b"banger rootfs\0" + identity).digest()
        return cls(*(str(UUID(bytes=digest[at : at + 16], version=5)) for at in (0, 16)))


def make_empty(image: Path, identity: Identity, inodes: int = 0, label: str = LABEL) -> None:
    """Make an empty ext4 in the existing file ``image``, as large as the file.

    ``inodes`` 0: one per 16 KiB. Checksums stay off: they are added once everything is written.
    Raises HostNotReady and NoSpace.
    """
    extended = (
        f"lazy_itable_init=0,lazy_journal_init=1,root_owner=0:0,hash_seed={identity.hash_seed}"
    )
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", str(BLOCK), "-I", "256", "-m", "0"]
    argv += ["-L", label, "-O", "^metadata_csum,^uninit_bg", "-E", extended, "-U", identity.uuid]
    if inodes:
        argv += ["-N", str(inodes)]
    run_tool([*argv, str(image)])


def make_plain(image: Path, label: str) -> None:
    """Make an empty ext4, ready for use and unlike any other, in the existing file ``image``, as
    large as the file. Raises HostNotReady and NoSpace.
    """
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", str(BLOCK), "-I", "256", "-m", "0"]
    extended = "lazy_itable_init=0,lazy_journal_init=1,root_owner=0:0"
    argv += ["-L", label, "-O", "metadata_csum", "-U", str(uuid4()), "-E", extended]
    run_tool([*argv, str(image)])


def seal(image: Path) -> None:
    """Add checksums and directory indexes to what was written, and prove that it is sound.

    Raises BangerError when it is not: then it must not be used.
    """
    run_tool(["tune2fs", "-O", "metadata_csum", str(image)])
    said = run_tool(["e2fsck", "-f", "-p", "-D", str(image)], fine=(0, 1)).strip()
    if "\n" in said:
        # Besides its summary it tells what it mended, which would be a mistake of ours
        raise BangerError(
            "the root file system came out damaged",
            cause=said.partition("\n")[0],
            hints=["run the command again; when it stays so, check memory and disk of this host"],
        )
    check(image)


def check(image: Path) -> None:
    """Run a full, read-only ``e2fsck``. Raises BangerError unless it finds nothing."""
    run_tool(["e2fsck", "-f", "-n", str(image)])


def resize(image: Path, size: int) -> None:
    """Grow or shrink the file system in ``image`` to ``size`` bytes; the file is as large."""
    run_tool(["resize2fs", str(image), f"{size // 1024}K"])


def minimum_size(image: Path) -> int:
    """Return the least size in bytes to which the file system can be shrunk, as estimated."""
    found = re.search(r": (\d+)\s*$", run_tool(["resize2fs", "-P", str(image)]))
    if not found:
        raise BangerError(
            f"resize2fs did not say how small {image} can be",
            cause="its answer has no number that is known",
            hints=[f"try by hand: resize2fs -P {image}"],
        )
    return int(found[1]) * BLOCK


def run_tool(argv: list[str], fine: tuple[int, ...] = (0,)) -> str:
    """Run a program of e2fsprogs and return its stdout.

    Raises HostNotReady when it is missing, NoSpace when the disk is full, and BangerError with the
    command for any status that is not ``fine``.
    """
    program = find_program(argv[0])
    log.debug("run: %s", shlex.join(argv))
    environment = {
        "PATH": search_path(),
        "LC_ALL": "C.UTF-8",
        "MKE2FS_CONFIG": str(_CONFIG),
        "E2FSPROGS_FAKE_TIME": _EPOCH,
        "E2FSCK_TIME": _EPOCH,
    }
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as problem:
        raise BangerError(
            f"{argv[0]} took longer than {_TIMEOUT:g} s",
            cause="it was ended",
            hints=[f"try by hand: {shlex.join(argv)}"],
        ) from problem
    if done.returncode not in fine:
        raise _failure(argv, done)
    return done.stdout


def _failure(argv: list[str], done: subprocess.CompletedProcess[str]) -> BangerError:
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    cause = said[-1] if said else f"exit status {done.returncode}"
    if "No space left on device" in done.stderr or "Disk quota exceeded" in done.stderr:
        directory = Path(argv[-1] if argv[0] != "resize2fs" else argv[1]).parent
        return NoSpace(f"no space left in {directory}", cause=cause, hints=[f"df -h {directory}"])
    return BangerError(
        f"{argv[0]} failed with status {done.returncode}",
        cause=cause,
        hints=[f"try by hand: {shlex.join(argv)}"],
    )
