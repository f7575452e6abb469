"""What a driver's suite boots: a tiny guest, with a disk and a seed that hold nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger_core.config.paths import secure_dir
from banger_core.testing.contracts.samples import sample_dirs
from banger_core.testing.tiny_kernel import tiny_kernel

if TYPE_CHECKING:
    from banger_core.config.paths import Paths
    from banger_core.model import VmDirs

_DISK = 1 << 20


def tiny_guest(paths: Paths) -> VmDirs:
    """Make the files of a VM that boots ``tiny_kernel``, below the runtime directory."""
    dirs = sample_dirs(paths.runtime)
    for directory in (dirs.state, dirs.runtime):
        secure_dir(directory)
    dirs.kernel.write_bytes(tiny_kernel())
    for path, size in ((dirs.initrd, 512), (dirs.root_disk, _DISK), (dirs.seed, _DISK)):
        path.write_bytes(bytes(size))
    for path in (dirs.kernel, dirs.initrd, dirs.root_disk, dirs.seed):
        path.chmod(0o600)
    return dirs
