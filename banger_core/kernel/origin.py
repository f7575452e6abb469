"""Where a kernel to be imported lies: single files, a directory, ``/boot``, or packages."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from banger_core.errors import NotFound, UsageProblem

_RELEASE = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+~_-]{0,127}")
_KERNELS = ("vmlinux", "bzImage", "vmlinuz", "vmlinux-*", "vmlinuz-*")
_INITRDS = ("initrd.img", "initrd", "initramfs", "initrd.img-*", "initrd-*", "initramfs-*")
_CONFIGS = ("config", "config-*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Files that together are one kernel: ``kernel`` and what belongs to it, or ``packages``.

    ``follow`` says that the paths are the user's own words: links are followed. ``modules`` is a
    directory of modules, or one that has them below the kernel's release.
    """

    kernel: Path | None = None
    initrd: Path | None = None
    modules: Path | None = None
    config: Path | None = None
    packages: tuple[Path, ...] = ()
    follow: bool = True

    @property
    def source(self) -> str:
        """A URI of what the kernel came from, for its manifest."""
        return " ".join(path.as_uri() for path in (self.kernel, *self.packages) if path)[:1000]


def with_neighbours(origin: Origin) -> Origin:
    """Add the configuration that lies beside ``vmlinuz-VERSION`` as ``config-VERSION``."""
    if origin.kernel is None or origin.config is not None:
        return origin
    name, dash, release = origin.kernel.name.partition("-")
    config = origin.kernel.with_name(f"config-{release}")
    found = dash and name in ("vmlinuz", "vmlinux") and config.is_file()
    return replace(origin, config=config) if found else origin


def in_boot(release: str, root: Path = Path("/")) -> Origin:
    """The installed kernel ``release`` below ``root``. Raises NotFound with those there are."""
    boot = root / "boot"
    kernel = boot / f"vmlinuz-{release}"
    if not _RELEASE.fullmatch(release) or not kernel.is_file():
        known = [path.name.partition("-")[2] for path in boot.glob("vmlinuz-*")]
        raise NotFound(f"kernel in {boot}", release, known, hints=[f"ls {boot}", "uname -r"])
    modules = root / "lib/modules" / release
    return Origin(
        kernel=kernel,
        initrd=_if_there(boot / f"initrd.img-{release}", boot / f"initramfs-{release}.img"),
        modules=modules if modules.is_dir() else None,
        config=_if_there(boot / f"config-{release}", modules / "config"),
    )


def in_directory(directory: Path) -> Origin:
    """The one kernel that lies in ``directory`` (or in ``boot/`` of it). Raises UsageProblem."""
    if not directory.is_dir():
        raise UsageProblem(
            f"{directory} is no directory",
            cause="a kernel's files are looked for in it",
            hints=[f"--kernel {directory}", f"ls -ld {directory}"],
        )
    for place in (directory, directory / "boot"):
        if kernel := _only(place, _KERNELS):
            tree = [directory / name for name in ("modules", "lib/modules", "usr/lib/modules")]
            return Origin(
                kernel=kernel,
                initrd=_only(place, _INITRDS),
                modules=next((one for one in tree if one.is_dir()), None),
                config=_only(place, _CONFIGS),
                follow=False,
            )
    raise UsageProblem(
        f"there is no kernel in {directory}",
        cause=f"it has none of {', '.join(_KERNELS)}",
        hints=["--kernel FILE takes one of any name"],
    )


def modules_of(directory: Path, release: str) -> Path:
    """Return the directory of the modules of ``release``: ``directory``, or one in it. Raises
    UsageProblem when it is not clear which.
    """
    if not directory.is_dir():
        raise UsageProblem(
            f"{directory} is no directory",
            cause="modules are a directory like /lib/modules/VERSION",
            hints=[f"ls -ld {directory}"],
        )
    below = [path for path in sorted(directory.iterdir()) if path.is_dir()]
    if any(path.name == "kernel" for path in below) or any(directory.glob("modules.*")):
        return directory
    exact = [path for path in below if path.name == release and not path.is_symlink()]
    if exact:
        return exact[0]
    if not below or any(directory.glob("*.ko*")):
        return directory
    raise UsageProblem(
        f"{directory} has no modules for the kernel {release}",
        cause=f"it has {', '.join(path.name for path in below)[:200]}",
        hints=[f"--modules {directory}/VERSION"],
    )


def _only(directory: Path, patterns: tuple[str, ...]) -> Path | None:
    for pattern in patterns:
        found = sorted(directory.glob(pattern))
        if len(found) > 1:
            raise UsageProblem(
                f"there are several of {pattern} in {directory}",
                cause=", ".join(path.name for path in found)[:200],
                hints=[f"--kernel {found[-1]}", "--boot VERSION"],
            )
        if found:
            return found[0]
    return None


def _if_there(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
