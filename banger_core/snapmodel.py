"""The vocabulary of snapshots, a part of ``model``. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FORMAT = 1
"""The form of what a snapshot's directory holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFile:
    """One file of a snapshot: its name below the snapshot's directory, its size in bytes (holes
    count), and a digest of its content as ``engine.snapshot_files`` makes it.
    """

    name: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRecord:
    """A snapshot of a VM, as the store and the manifest in its directory have it.

    ``needs`` is what must be equal where it is restored, by short names. The machine as it was:
    ``memory``, ``disk_size`` and ``work_disk`` in bytes (0: none), ``grown`` as in ``VmRecord``.
    """

    id: str
    name: str
    vm_id: str
    created_at: float
    driver: str
    vcpu: int
    memory: int
    disk_format: str
    disk_size: int
    work_disk: int = 0
    grown: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    files: tuple[SnapshotFile, ...] = ()
    format: int = FORMAT
