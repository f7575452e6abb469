"""What a saved machine depends on: another one is needed when any of it changes."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path

from banger_core.api import Context, VmDirs, VmPlan, WarmKey, write_atomic
from banger_qemu.command import RamFile, waiting_command_line
from banger_qemu.machines import architecture, find_binary

_NOWHERE = Path("/warm")
_REMEMBERED = 64
_TELLING = ("model name", "stepping", "microcode", "flags")


def warm_key(plan: VmPlan, dirs: VmDirs, accel: str, cx: Context) -> WarmKey | None:
    """Return the digests for such a VM; None when such VMs are not started warm. Blocks.

    They cover the devices and their order, memory and processors, the kernel and the initramfs by
    what is in them, QEMU, and under KVM the host's processor and kernel. Not what a VM brings
    itself: disks, names, sockets, its network, and the speed of the host's clock, which a guest
    that was saved knows. Raises HostNotReady without QEMU, OSError for files that have gone.
    """
    parts = architecture(plan.kernel.architecture)
    if not parts.memory:
        return None
    places = VmDirs(
        state=_NOWHERE,
        runtime=_NOWHERE,
        kernel=_NOWHERE,
        initrd=_NOWHERE,
        root_disk=_NOWHERE,
        seed=_NOWHERE,
        work_disk=_NOWHERE if dirs.work_disk else None,
    )
    sockets = dict.fromkeys(("qmp", "console", "helper"), _NOWHERE)
    ram = RamFile(_NOWHERE, shared=True)
    digests = _Digests(cx.cache_dir / "digests.json")
    binary = Path(find_binary(parts.binary, cx)).resolve()
    return WarmKey(
        machine=_digest(
            *waiting_command_line(plan, places, accel, None, sockets, ram),
            digests.of(dirs.kernel),
        ),
        tools=_digest(
            digests.of(dirs.initrd),
            f"{binary} {_stamp(binary)}",
            _host() if accel == "kvm" else "",
        ),
    )


def _digest(*facts: str) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


class _Digests:
    """Digests of files, remembered for as long as the files stay as they are."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            known = json.loads(file.read_text())
        except (OSError, ValueError):
            known = {}
        self._known: dict[str, str] = known if isinstance(known, dict) else {}

    def of(self, path: Path) -> str:
        stamp = _stamp(path)
        if (known := self._known.get(stamp)) is not None:
            return known
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._known[stamp] = digest
        last = dict(list(self._known.items())[-_REMEMBERED:])
        write_atomic(self._file, json.dumps(last))
        return digest


def _stamp(path: Path) -> str:
    state = path.stat()
    times = f"{state.st_mtime_ns} {state.st_ctime_ns}"
    return f"{state.st_dev} {state.st_ino} {state.st_size} {times}"


def _host() -> str:
    """What a guest sees of the host through its processor (proc(5), cpuinfo)."""
    first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    lines = [line for line in first.splitlines() if line.partition("\t")[0].strip() in _TELLING]
    return "\n".join([platform.release(), *lines])
