"""What is measured: ours, and two chains of other programs that come to the same end.

Each goes from a reference to an ext4 image that e2fsck has looked at, in one directory that was
empty before.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = {
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "umoci": "umoci",
    "buildah": "buildah",
    "newuidmap": "uidmap",
    "mkfs.ext4": "e2fsprogs",
}
"""What the bench runs, and the Debian packages that have it."""

SBIN = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

_FINISH = """
truncate -s 8G "$place/image.ext4"
mkfs.ext4 -q -F -d "$tree" "$place/image.ext4"
e2fsck -fn "$place/image.ext4"
"""

_UMOCI = f"""set -eu
place=$1 reference=$2 tree=$1/bundle/rootfs
skopeo copy --quiet --src-tls-verify=false "docker://$reference" "oci:$place/layout:1"
umoci unpack --image "$place/layout:1" "$place/bundle"
{_FINISH}"""

_IN_PLACE = """set -eu
place=$1
buildah() { command buildah --root "$place/root" --runroot "$place/run" \
  --storage-driver "$driver" "$@"; }
"""

_BUILDAH = f"""{_IN_PLACE}
container=$(buildah from --quiet --tls-verify=false "$2")
tree=$(buildah mount "$container")
{_FINISH}"""

_TRY_DRIVER = f"""{_IN_PLACE}
buildah mount "$(buildah from scratch)"
"""


@dataclass(frozen=True)
class Taken:
    """What one run took: seconds, seconds of all processors, MiB of the largest process."""

    wall: float
    cpu: float
    peak: float
    stages: dict[str, float] = field(default_factory=dict)


def missing_packages() -> list[str]:
    """Return the packages to install before anything can be measured."""
    missing = (package for program, package in PACKAGES.items() if not find(program))
    return sorted(set(missing))


def find(program: str) -> str | None:
    return shutil.which(program, path=SBIN)


def ours(place: Path, reference: str, cache: Path | None = None) -> Taken:
    """Pull and build with the plugin; ``cache`` keeps what was downloaded."""
    cache = cache or place / "cache"
    cache.mkdir(mode=0o700, exist_ok=True)
    program = Path(__file__).with_name("ours.py")
    argv = [sys.executable, str(program), reference, str(cache), str(place / "image.ext4")]
    done = subprocess.run(argv, check=True, capture_output=True, cwd=place)
    said = json.loads(done.stdout)
    return Taken(said.pop("wall"), said.pop("cpu"), said.pop("peak"), said)


def umoci(place: Path, reference: str) -> Taken:
    """As root: skopeo, umoci, mkfs.ext4, e2fsck."""
    return _measured(["sh", "-c", _UMOCI, "sh", str(place), reference], place, {})


@dataclass(frozen=True)
class Buildah:
    """Rootless: buildah as the user ``user``, mkfs.ext4, e2fsck, all in its user namespace."""

    user: str
    driver: str

    def __call__(self, place: Path, reference: str) -> Taken:
        return self._run(place, _BUILDAH, reference)

    @classmethod
    def working(cls, user: str, parent: Path) -> Buildah:
        """Return the one with the fastest storage driver that works here below ``parent``."""
        for driver in ("overlay", "vfs"):
            place = parent / f"try-{driver}"
            place.mkdir()
            chain = cls(user, driver)
            try:
                chain._run(place, _TRY_DRIVER)
            except SystemExit:
                continue
            else:
                return chain
            finally:
                remove(place)
        raise SystemExit(f"buildah does not work for the user {user}: are there subuids for it?")

    def _run(self, place: Path, script: str, *arguments: str) -> Taken:
        owner = pwd.getpwnam(self.user)
        as_user: dict[str, object] = {}
        if os.geteuid() == 0:
            os.chown(place, owner.pw_uid, owner.pw_gid)
            as_user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        homes = dict.fromkeys(("HOME", "XDG_RUNTIME_DIR", "TMPDIR"), str(place))
        argv = ["buildah", "--root", f"{place}/root", "--runroot", f"{place}/run"]
        argv += ["--storage-driver", self.driver, "unshare"]
        argv += ["sh", "-c", script, "sh", str(place), *arguments]
        return _measured(argv, place, {**homes, "driver": self.driver}, **as_user)


def _measured(argv: list[str], place: Path, environment: dict[str, str], **more: object) -> Taken:
    """Run a chain to its end. Processor time and memory are those of all its processes."""
    log = place / "log"
    with log.open("wb") as out:
        began = time.perf_counter()
        process = subprocess.Popen(
            argv, stdout=out, stderr=out, cwd=place, env={"PATH": SBIN, **environment}, **more
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        said = log.read_text(errors="replace")[-2000:]
        raise SystemExit(f"{argv[0]} ended with status {process.returncode}:\n{said}")
    return Taken(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def remove(place: Path) -> None:
    """Remove what a chain left, files of a user namespace among them."""
    if os.geteuid() == 0:
        shutil.rmtree(place)
        return
    subprocess.run(["buildah", "unshare", "rm", "-rf", str(place)], check=True)
