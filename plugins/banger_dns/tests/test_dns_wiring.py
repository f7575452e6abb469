"""This host's resolver is pointed at names and back; see dns_scenes for what is played.

Proven with real look-ups: dnsmasq, dnsmasq as NetworkManager runs it, and resolv.conf. Not proven
here: that NetworkManager and systemd-resolved as live services take up the files that are written
for them. The files and the commands are checked, and the scene ``resolved`` plays with the real
program where BANGER_TEST_RESOLVED names it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dns_scenes import SCENES

TESTS = Path(__file__).parent
UNSHARE = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]


def _can_unshare() -> bool:
    if not all(map(shutil.which, ("unshare", "ip", "dnsmasq"))):
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(
    not _can_unshare(), reason="namespaces need root, and the scenes need ip and dnsmasq"
)


@pytest.mark.parametrize("scene", SCENES)
def test_scene(scene, tmp_path):
    if scene == "resolved" and "BANGER_TEST_RESOLVED" not in os.environ:
        pytest.skip("BANGER_TEST_RESOLVED does not name a systemd-resolved")
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
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert Path("/etc/resolv.conf").read_bytes() == before
