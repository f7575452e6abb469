"""This host's resolver is pointed at names and back; see dns_scenes for what is played.

Proven with real look-ups: systemd-resolved and NetworkManager of this system's archive, dnsmasq,
and resolv.conf. The commands that make each see its new configuration are those that the product
runs, but ``systemctl`` is played: it restarts the real systemd-resolved as systemd would. Of the
versions of systemd that have dns-delegate files only the file is checked, and not that they take
it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dns_packages import Unavailable, unpacked
from dns_scenes import SCENES

PACKAGES = {"resolved": "systemd-resolved", "network_manager_itself": "network-manager"}
"""What scenes take that is not installed."""

TESTS = Path(__file__).parent
UNSHARE = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]


def _can_unshare() -> bool:
    if not all(map(shutil.which, ("unshare", "ip", "dnsmasq"))):
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.skipif(
        not _can_unshare(), reason="namespaces need root, and the scenes need ip and dnsmasq"
    ),
    pytest.mark.timeout(400),
]


@pytest.mark.parametrize("scene", SCENES)
def test_scene(scene, tmp_path):
    try:
        programs = [str(unpacked(PACKAGES[scene]))] if scene in PACKAGES else []
    except Unavailable as problem:
        pytest.skip(f"{PACKAGES[scene]} cannot be had: {problem}")
    tmp_path.chmod(0o700)
    before = Path("/etc/resolv.conf").read_bytes()
    # The shell is the first process there, and collects the ends of those that nobody waits for
    script = 'python=$1; shift; "$python" "$@"; exit $?'
    argv = [
        *UNSHARE,
        "sh",
        "-c",
        script,
        "sh",
        sys.executable,
        str(TESTS / "dns_scenes.py"),
        scene,
        str(tmp_path),
        *programs,
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=380)
    assert done.returncode == 0, done.stdout + done.stderr
    assert Path("/etc/resolv.conf").read_bytes() == before
