"""The seed: what one VM is told at boot, as a small disk that holds a tar archive.

A disk and not the kernel command line, which every process of the guest could read; an archive
and not a file system, so that the guest needs no driver for it. Written anew before each start,
because it carries the time.
"""

from __future__ import annotations

import io
import secrets
import shlex
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from banger_core.errors import UsageProblem
from banger_core.guest.wishes import image_profile, image_wishes
from banger_core.model import ImageConfig
from banger_core.store.content import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

_PRIVATE, _PUBLIC = 0o600, 0o644
_UNIT, _SLACK = 1 << 16, 1 << 12


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedConfig:
    """Who a VM is.

    ``mac`` is the address of its network card, ``address`` and ``address6`` are ``IP/PREFIX``
    (empty: no network of that kind), ``host_key`` the private key in dropbear's form, ``epoch`` the
    time in seconds. ``init`` is ``auto`` (the image's ``/sbin/init`` when it has one, else
    banger's own), ``none`` (always banger's own) or an absolute path in the image. ``config`` says
    how the image wants its programs run: user, environment and working directory hold for every
    session. ``replace_resolver`` overwrites the image's own ``/etc/resolv.conf``. After
    ``idle_limit`` seconds without traffic the SSH server ends a connection (0: never).
    ``work_disk`` says that there is a third disk, for ``/root``; ``grown`` names the disks
    (``root``, ``work``) whose file systems are to fill them.
    """

    hostname: str
    host_key: bytes
    authorized_keys: tuple[str, ...]
    epoch: float
    mac: str = ""
    address: str = ""
    gateway: str = ""
    address6: str = ""
    gateway6: str = ""
    nameserver: str = ""
    replace_resolver: bool = False
    idle_limit: int = 0
    init: str = "auto"
    config: ImageConfig = field(default_factory=ImageConfig)
    work_disk: bool = False
    grown: tuple[str, ...] = ()


def write_seed(out: Path, config: SeedConfig) -> None:
    """Write the seed disk ``out`` (0600), whole or not at all. Raises UsageProblem for values
    that no line of the archive can carry, and IntegrityError for an image that wants more than a
    program can be given.
    """
    archive = _archive(_files(config))
    # A guest that was copied knows the former disk's size, and its copy's names may be longer
    size = (len(archive) + _SLACK + _UNIT - 1) // _UNIT * _UNIT
    write_atomic(out, archive.ljust(size, b"\0"))


def _files(config: SeedConfig) -> dict[str, tuple[int, bytes]]:
    """Mode and content by path. What lies in ``export/`` is for all users of the guest."""
    keys = "".join(f"{_line(key)}\n" for key in config.authorized_keys)
    return {
        "seed/config": (_PRIVATE, _assignments(config).encode()),
        "seed/host_key": (_PRIVATE, config.host_key),
        "root/.ssh/authorized_keys": (_PRIVATE, keys.encode()),
        "export/image": (_PUBLIC, image_wishes(config.config, _line(config.hostname))),
        "export/profile": (_PUBLIC, image_profile(config.config)),
    }


def _assignments(config: SeedConfig) -> str:
    values = {
        "hostname": config.hostname,
        "mac": config.mac,
        "address": config.address,
        "gateway": config.gateway,
        "address6": config.address6,
        "gateway6": config.gateway6,
        "nameserver": config.nameserver,
        "replace_resolver": "yes" if config.replace_resolver else "",
        "idle_limit": str(config.idle_limit),
        "init": config.init,
        "work_disk": "yes" if config.work_disk else "",
        "grown": " ".join(config.grown),
        "epoch": str(int(config.epoch)),
        "random": secrets.token_hex(64),
    }
    return "".join(f"seed_{key}={shlex.quote(_line(value))}\n" for key, value in values.items())


def _line(text: str) -> str:
    text = text.strip()
    if "\n" in text or "\0" in text:
        raise UsageProblem(
            "a seed value must be one line",
            cause=repr(text[:80]),
            hints=["give it without line breaks"],
        )
    return text


def _archive(files: dict[str, tuple[int, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (mode, data) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
