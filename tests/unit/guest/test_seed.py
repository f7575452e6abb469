from __future__ import annotations

import io
import shlex
import stat
import subprocess
import tarfile

import pytest

from banger_core.errors import UsageProblem
from banger_core.guest.seed import SeedConfig, write_seed
from banger_core.model import ImageConfig


def config(**changes):
    return SeedConfig(
        **{
            "hostname": "vm1",
            "host_key": b"\0key",
            "authorized_keys": ("ssh-ed25519 AAAA me\n", "ssh-ed25519 BBBB you"),
            "epoch": 1700000000.9,
            "address": "10.0.2.15/24",
            **changes,
        }
    )


def read(path):
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def source(script: bytes, expression: str) -> str:
    """What a POSIX shell makes of the lines."""
    command = script + b"\n" + expression.encode()
    done = subprocess.run(["sh", "-euc", command], capture_output=True, check=True)
    return done.stdout.decode()


def test_seed_is_private_and_whole_sectors(tmp_path):
    write_seed(tmp_path / "seed.img", config())
    state = (tmp_path / "seed.img").stat()
    assert stat.S_IMODE(state.st_mode) == 0o600
    assert state.st_size % 512 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["seed.img"]


def test_files_hold_what_was_given(tmp_path):
    write_seed(tmp_path / "seed.img", config())
    files = read(tmp_path / "seed.img")
    assert files["seed/host_key"] == b"\0key"
    assert files["root/.ssh/authorized_keys"] == b"ssh-ed25519 AAAA me\nssh-ed25519 BBBB you\n"
    assert source(files["seed/config"], 'echo "$seed_hostname $seed_address $seed_epoch"') == (
        "vm1 10.0.2.15/24 1700000000\n"
    )


def test_every_seed_brings_other_randomness(tmp_path):
    seen = set()
    for _ in range(3):
        write_seed(tmp_path / "seed.img", config())
        seen.add(source(read(tmp_path / "seed.img")["seed/config"], "echo $seed_random"))
    assert len(seen) == 3


def test_what_the_image_wants_is_for_every_user_and_the_rest_for_root(tmp_path):
    image = ImageConfig(env=("A=1",), working_dir="/srv", user="app")
    write_seed(tmp_path / "seed.img", config(config=image))
    with tarfile.open(tmp_path / "seed.img") as archive:
        modes = {member.name: member.mode for member in archive}
    public = {"export/image", "export/profile"}
    assert {name for name, mode in modes.items() if mode == 0o644} == public
    assert {mode for name, mode in modes.items() if name not in public} == {0o600}
    wishes = read(tmp_path / "seed.img")["export/image"]
    assert source(wishes, 'echo "$image_user $image_workdir $machine"') == "app /srv vm1\n"


def test_hostname_is_quoted(tmp_path):
    write_seed(tmp_path / "seed.img", config(hostname="$(id)"))
    script = read(tmp_path / "seed.img")["seed/config"]
    assert shlex.quote("$(id)").encode() in script
    assert source(script, 'echo "$seed_hostname"') == "$(id)\n"


@pytest.mark.parametrize("change", [{"hostname": "a\nb"}, {"authorized_keys": ("k\nk2",)}])
def test_values_of_several_lines_are_refused(tmp_path, change):
    with pytest.raises(UsageProblem):
        write_seed(tmp_path / "seed.img", config(**change))
    assert not list(tmp_path.iterdir())


def test_archive_begins_at_once(tmp_path):
    """The guest reads the disk as it is."""
    write_seed(tmp_path / "seed.img", config())
    with tarfile.open(
        fileobj=io.BytesIO((tmp_path / "seed.img").read_bytes()), mode="r:"
    ) as archive:
        assert archive.getnames()[:2] == ["seed/config", "seed/host_key"]
