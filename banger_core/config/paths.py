"""Where things lie: XDG directories, each private from birth.

Follows the XDG Base Directory specification. ``BANGER_STATE_DIR``, ``BANGER_CACHE_DIR``,
``BANGER_CONFIG_DIR`` and ``BANGER_RUNTIME_DIR`` override. Standard library only: the fast paths
of the CLI use this module.
"""

from __future__ import annotations

import os
from binascii import crc32
from dataclasses import dataclass
from pathlib import Path

from banger_core.errors import HostNotReady

SOCKET_PATH_MAX = 107
"""Longest path of a Unix socket in bytes, without the final NUL (unix(7))."""


@dataclass(frozen=True, slots=True)
class Paths:
    """The four directories of one banger. Nothing is created until ``ready`` or ``secure_dir``."""

    config: Path
    state: Path
    cache: Path
    runtime: Path

    @classmethod
    def from_environment(cls) -> Paths:
        """Read the environment. Relative overrides are taken from the current directory."""
        state = _place("BANGER_STATE_DIR", "XDG_STATE_HOME", ".local/state")
        return cls(
            config=_place("BANGER_CONFIG_DIR", "XDG_CONFIG_HOME", ".config"),
            state=state,
            cache=_place("BANGER_CACHE_DIR", "XDG_CACHE_HOME", ".cache"),
            runtime=_runtime(state),
        )

    @property
    def socket(self) -> Path:
        """The daemon's socket."""
        return self.runtime / "bangerd.sock"

    @property
    def daemon_lock(self) -> Path:
        """Whoever holds a lock on this file is the daemon of this state."""
        return self.state / "daemon.lock"

    @property
    def daemon_address(self) -> Path:
        """The path of the socket of the daemon that serves this state, or did last."""
        return self.state / "daemon.address"

    @property
    def daemon_log(self) -> Path:
        """What the daemon says."""
        return self.state / "daemon.log"

    @property
    def settings_file(self) -> Path:
        """The user's configuration."""
        return self.config / "config.toml"

    @property
    def plugin_index(self) -> Path:
        """The cached discovery index."""
        return self.cache / "plugins.json"

    @property
    def database(self) -> Path:
        """The SQLite database of records."""
        return self.state / "banger.db"

    @property
    def images(self) -> Path:
        """One directory per image, by id."""
        return self.state / "images"

    @property
    def snapshots(self) -> Path:
        """One directory per snapshot of a VM, by id."""
        return self.state / "snapshots"

    @property
    def kernels(self) -> Path:
        """The on-disk kernel catalogue."""
        return self.state / "kernels"

    @property
    def warm(self) -> Path:
        """Saved machines that VMs can begin as."""
        return self.cache / "warm-starts"

    @property
    def ssh(self) -> Path:
        """Key pair, known hosts and notes."""
        return self.state / "ssh"

    @property
    def known_hosts(self) -> Path:
        """Banger's own known hosts."""
        return self.ssh / "known_hosts"

    def plugin_state(self, plugin: str) -> Path:
        """What the plugin ``plugin`` keeps."""
        return self.state / "plugins" / plugin

    def note(self, name: str) -> Path:
        """The note that says how to reach the VM ``name`` (JSON of ``SshTarget``)."""
        return self.ssh / "vms" / f"{name}.json"

    def ssh_block(self, name: str) -> Path:
        """What plain ssh needs to know of the VM ``name`` (ssh_config(5))."""
        return self.ssh / "vms" / f"{name}.conf"

    def vm_state(self, vm_id: str) -> Path:
        """What a VM keeps while it is stopped."""
        return self.state / "vms" / vm_id

    def vm_runtime(self, vm_id: str) -> Path:
        """A VM's sockets."""
        return self.runtime / "vms" / vm_id

    def ready(self) -> Paths:
        """Create and check all four directories; return self. Raises HostNotReady."""
        for directory in (self.config, self.state, self.cache, self.runtime):
            secure_dir(directory)
        return self


def check_socket_room(directory: Path) -> None:
    """Raise HostNotReady when a VM's sockets would be too far below ``directory``."""
    room = SOCKET_PATH_MAX - len("/vms/0123456789ab/console.sock")
    if len(os.fsencode(directory)) > room:
        raise HostNotReady(
            f"{directory} is too long for sockets",
            cause=f"Unix sockets take {SOCKET_PATH_MAX} bytes, so this may be {room} long",
            hints=["set BANGER_RUNTIME_DIR to a shorter directory"],
        )


def secure_dir(path: Path) -> Path:
    """Make ``path`` a directory that only this user can enter (0700), and return it.

    Missing parents are created 0700 as well; an existing directory of ours is tightened. Raises
    HostNotReady when it belongs to somebody else, is a symbolic link or not a directory, and when
    another user could put something else in its place: see ``banger_core.config.secure``.
    """
    from banger_core.config.secure import make_private

    make_private(path.absolute())
    return path


def _place(override: str, base: str, default: str) -> Path:
    if chosen := os.environ.get(override):
        return Path(chosen).absolute()
    root = os.environ.get(base, "")
    # The specification says that a relative value must be ignored
    return (Path(root) if root.startswith("/") else _home() / default) / "banger"


def _home() -> Path:
    home = os.environ.get("HOME", "")
    if home.startswith("/"):
        return Path(home)
    import pwd

    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        raise HostNotReady(
            "there is no home directory",
            cause=f"HOME is not set, and uid {os.geteuid()} is no user of this system",
            hints=["export HOME=/a/directory/of/yours"],
        ) from None


def _runtime(state: Path) -> Path:
    if chosen := os.environ.get("BANGER_RUNTIME_DIR"):
        return Path(chosen).absolute()
    root = os.environ.get("XDG_RUNTIME_DIR", "")
    # One daemon per state directory: the name is derived from it, and stays short for sockets.
    # It tells apart a user's own directories, no more; hashlib would load all of OpenSSL for it
    tag = f"{crc32(os.fsencode(state)):08x}"
    if root.startswith("/"):
        return Path(root) / "banger" / tag
    temporary = os.environ.get("TMPDIR", "")
    if not temporary.startswith("/"):
        temporary = "/tmp"  # noqa: S108
    return Path(temporary) / f"banger-{os.geteuid()}" / tag
