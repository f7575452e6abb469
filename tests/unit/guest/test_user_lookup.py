"""Whom a session becomes: the guest's script, run by this host's shells on made-up accounts."""

from __future__ import annotations

import shutil
import subprocess
from importlib.resources import files

import pytest

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
# comment
+nis::::::
www:x:33:33:www:/var/www:/usr/sbin/nologin
app:x:1000:1000:An App,,,:/home/app:/bin/sh
1234:x:77:78::/seventy:/bin/sh
twice:x:1:1::/first:/bin/sh
twice:x:2:2::/second:/bin/sh
odd:x:1001:1001::relative:/bin/sh
broken:x:many:1::/:/bin/sh
broken:x:5:5::/five:/bin/sh
large:x:4294967295:1::/:/bin/sh
star*:x:6:6::/six:/bin/sh
last:x:99:99::/last:/bin/zsh"""

GROUP = """\
root:x:0:
app:x:1000:
docker:x:999:app,root
audio:x:29:www,app
www:x:33:
apps:x:30:application,app2
huge:x:4294967296:app
none:x:31:,
tail:x:7:last"""

SHELLS = [["sh"], *([["busybox", "sh"]] if shutil.which("busybox") else [])]


@pytest.fixture
def etc(tmp_path):
    (tmp_path / "passwd").write_text(PASSWD)
    (tmp_path / "group").write_text(GROUP)
    return tmp_path


def look_up(spec: str, place, shell=("sh",)) -> str:
    script = files("banger_core.guest") / "files" / "user"
    command = (
        'set -f; . "$0"; if find_user "$1" "$2"; '
        'then echo "$uid $gid ($groups) $login $home $shell"; else echo "$problem"; fi'
    )
    argv = [*shell, "-uc", command, str(script), spec, str(place)]
    done = subprocess.run(argv, capture_output=True, check=True, text=True)
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", "0 0 (0 999) root /root /bin/bash"),
        ("root", "0 0 (0 999) root /root /bin/bash"),
        ("0", "0 0 (0 999) root /root /bin/bash"),
        ("000", "0 0 (0 999) root /root /bin/bash"),
        ("app", "1000 1000 (1000 999 29) app /home/app /bin/sh"),
        ("1000", "1000 1000 (1000 999 29) app /home/app /bin/sh"),
        ("01000", "1000 1000 (1000 999 29) app /home/app /bin/sh"),
        ("app:", "1000 1000 (1000 999 29) app /home/app /bin/sh"),
        ("www", "33 33 (33 29) www /var/www /usr/sbin/nologin"),
        # Without an end of line, in both files
        ("last", "99 99 (99 7) last /last /bin/zsh"),
        # A group that is asked for is the only one
        ("app:docker", "1000 999 (999) app /home/app /bin/sh"),
        ("app:29", "1000 29 (29) app /home/app /bin/sh"),
        ("app:4242", "1000 4242 (4242) app /home/app /bin/sh"),
        (":audio", "0 29 (29) root /root /bin/bash"),
        # Numbers need no account
        ("4242", "4242 0 (0) 4242 /"),
        ("4242:4243", "4242 4243 (4243) 4242 /"),
        ("4242:audio", "4242 29 (29) 4242 /"),
        ("2147483647:2147483647", "2147483647 2147483647 (2147483647) 2147483647 /"),
        # What is both is the name, if that comes first
        ("1234", "77 78 (78) 1234 /seventy /bin/sh"),
        ("twice", "1 1 (1) twice /first /bin/sh"),
        ("odd", "1001 1001 (1001) odd / /bin/sh"),
        ("broken", "5 5 (5) broken /five /bin/sh"),
        ("star*", "6 6 (6) star* /six /bin/sh"),
        # What cannot be
        ("nobody", "is not in its /etc/passwd"),
        ("sta*", "is not in its /etc/passwd"),
        ("App", "is not in its /etc/passwd"),
        ("-1", "is not in its /etc/passwd"),
        ("0x10", "is not in its /etc/passwd"),
        ("app; id", "is not in its /etc/passwd"),
        ("$(id)", "is not in its /etc/passwd"),
        ("app\nroot", "is not in its /etc/passwd"),
        (" app", "is not in its /etc/passwd"),
        ("large", "is not in its /etc/passwd"),
        ("2147483648", "has a number above 2147483647"),
        ("4294967295", "has a number above 2147483647"),
        ("9" * 40, "has a number above 2147483647"),
        ("app:nogroup", "has a group that is not in its /etc/group"),
        ("app:dock*", "has a group that is not in its /etc/group"),
        ("app:huge", "has a group that is not in its /etc/group"),
        ("app:docker:x", "has a group that is not in its /etc/group"),
        ("app:-1", "has a group that is not in its /etc/group"),
        ("app:4294967296", "has a group above 2147483647"),
    ],
)
def test_users_follow_the_accounts_of_the_image(etc, shell, spec, expected):
    assert look_up(spec, etc, shell) == expected


@pytest.mark.parametrize("kind", ["missing", "directory", "empty", "garbage"])
def test_without_accounts_numbers_and_root_do(tmp_path, kind):
    for name in ("passwd", "group"):
        place = tmp_path / name
        if kind == "directory":
            place.mkdir()
        elif kind != "missing":
            place.write_bytes(b"" if kind == "empty" else bytes(range(256)) * 20)
    assert look_up("", tmp_path) == "0 0 (0) root /root"
    assert look_up("root:0", tmp_path) == "is not in its /etc/passwd"
    assert look_up("1000:1000", tmp_path) == "1000 1000 (1000) 1000 /"
    assert look_up("app", tmp_path) == "is not in its /etc/passwd"
