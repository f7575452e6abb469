"""Private directories: what is made, what is tightened, and what is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from banger_core.config import secure
from banger_core.config.paths import Paths, secure_dir
from banger_core.errors import HostNotReady

THEM = 54321

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def give_away(path: Path) -> None:
    os.chown(path, THEM, THEM, follow_symlinks=False)


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("bits", [0o000, 0o022, 0o077, 0o777])
def test_missing_parents_are_private_under_any_umask(tmp_path, umask, bits):
    umask(bits)
    assert secure_dir(tmp_path / "a" / "b" / "c") == tmp_path / "a" / "b" / "c"
    for place in ("a", "a/b", "a/b/c"):
        assert mode(tmp_path / place) == 0o700


@pytest.mark.parametrize("found", [0o000, 0o300, 0o755, 0o770, 0o777, 0o2700, 0o2777])
def test_a_directory_of_ours_is_tightened(tmp_path, found):
    place = tmp_path / "state"
    place.mkdir()
    place.chmod(found)
    secure_dir(place)
    assert mode(place) == 0o700


def test_parents_keep_their_modes(tmp_path):
    for number, bits in enumerate((0o755, 0o750, 0o500, 0o1777, 0o711)):
        parent = tmp_path / str(number)
        parent.mkdir()
        (parent / "state").mkdir()
        parent.chmod(bits)
        secure_dir(parent / "state")
        assert mode(parent) == bits


def refused(path: Path) -> HostNotReady:
    with pytest.raises(HostNotReady) as caught:
        secure_dir(path)
    error = caught.value
    assert str(path) in error.summary
    assert error.cause
    assert error.hints
    return error


@pytest.mark.parametrize("bits", [0o777, 0o757, 0o2777])
def test_a_parent_that_others_may_write_is_refused_unless_it_is_sticky(tmp_path, bits):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(bits)
    error = refused(tmp_path / "open" / "state")
    assert f"others may replace what is in {tmp_path / 'open'}" in error.cause
    assert error.hints[0] == f"chmod go-w {tmp_path / 'open'}"
    assert list((tmp_path / "open").iterdir()) == []
    (tmp_path / "open").chmod(bits | stat.S_ISVTX)
    assert mode(secure_dir(tmp_path / "open" / "state")) == 0o700


def test_what_lies_beyond_an_open_parent_is_refused_as_well(tmp_path):
    (tmp_path / "open" / "closed" / "state").mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    assert str(tmp_path / "open") in refused(tmp_path / "open" / "closed" / "state").cause


@as_root
def test_a_group_of_ones_own_may_write_to_a_parent_and_no_other(tmp_path):
    parent = tmp_path / "shared"
    parent.mkdir()
    parent.chmod(0o775)
    secure_dir(parent / "state")
    os.chown(parent, 0, THEM)
    assert "others may replace" in refused(parent / "state").cause


@as_root
@pytest.mark.parametrize("bits", [0o755, 0o777, 0o1777])
def test_a_parent_of_another_user_is_refused(tmp_path, bits):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(bits)
    give_away(theirs)
    error = refused(theirs / "state")
    assert error.cause == (
        f"{theirs} belongs to another user (owner is uid {THEM}, this is uid {os.geteuid()})"
    )
    assert list(theirs.iterdir()) == []


def test_symbolic_links_on_the_way_are_followed_when_they_are_ours(tmp_path):
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "relative").symlink_to("real/./deep")
    (tmp_path / "absolute").symlink_to(tmp_path / "relative")
    (tmp_path / "real" / "deep" / "up").symlink_to("../..")
    secure_dir(tmp_path / "absolute" / "up" / "relative" / "state")
    assert mode(tmp_path / "real" / "deep" / "state") == 0o700


@as_root
def test_a_symbolic_link_of_another_user_is_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    give_away(tmp_path / "link")
    error = refused(tmp_path / "link" / "state")
    assert error.cause == f"{tmp_path / 'link'} is a symbolic link of another user (uid {THEM})"
    assert list((tmp_path / "real").iterdir()) == []


@as_root
def test_a_link_of_ours_that_leads_through_a_place_of_others_is_refused(tmp_path):
    (tmp_path / "theirs" / "real").mkdir(parents=True)
    give_away(tmp_path / "theirs")
    (tmp_path / "link").symlink_to("theirs/real")
    assert "belongs to another user" in refused(tmp_path / "link" / "state").cause


@pytest.mark.parametrize("target", ["real", "nowhere", "last", "/"])
def test_the_directory_itself_may_be_no_link(tmp_path, target):
    (tmp_path / "real").mkdir()
    (tmp_path / "last").symlink_to(target)
    assert refused(tmp_path / "last").cause == "it is a symbolic link"
    assert not (tmp_path / "nowhere").exists()
    assert mode(tmp_path / "real") == 0o755


def test_links_in_a_circle_and_things_that_are_no_directories_are_refused(tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    assert "Too many levels" in refused(tmp_path / "circle" / "state").cause
    (tmp_path / "file").write_text("precious")
    os.mkfifo(tmp_path / "pipe")
    for name in ("file", "pipe"):
        for place in (tmp_path / name, tmp_path / name / "state"):
            assert refused(place).cause == f"{tmp_path / name} is not a directory"
    assert (tmp_path / "file").read_text() == "precious"


def test_a_place_that_everybody_uses_is_never_closed(tmp_path):
    tmp_path.chmod(0o1777)
    assert refused(tmp_path).cause == "everybody uses it"
    assert mode(tmp_path) == 0o1777
    before = mode(Path("/"))
    assert refused(Path("/"))
    assert mode(Path("/")) == before


@as_root
def test_what_another_user_left_in_an_open_directory_is_found_every_time(tmp_path):
    place = tmp_path / "state"
    place.mkdir()
    place.chmod(0o777)
    (place / "daemon.log").symlink_to("/nowhere")
    give_away(place / "daemon.log")
    for _ in range(2):
        error = refused(place)
        assert error.summary == f"{place} holds what another user made"
        assert f"'daemon.log' belongs to uid {THEM}" in error.cause
        assert mode(place) & 0o077 == 0
    (place / "daemon.log").unlink()
    secure_dir(place)
    assert mode(place) == 0o700


def handles() -> list[str]:
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


def test_no_handle_stays_open(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("circle")
    (tmp_path / "circle").symlink_to("link")
    before = handles()
    for last in ("good", "file", "link", "link/x", "file/x"):
        if last == "good":
            secure_dir(tmp_path / last)
        else:
            refused(tmp_path / last)
    assert handles() == before


@as_root
@pytest.mark.parametrize(("above", "good"), [(0o755, True), (0o1777, False)])
def test_in_a_user_namespace_unknown_owners_are_the_hosts_root_where_nobody_else_writes(
    tmp_path, monkeypatch, above, good
):
    """Where everybody writes, an unknown owner can be anybody."""
    unknown = int(Path("/proc/sys/kernel/overflowuid").read_text())
    monkeypatch.setattr(secure, "_overflow_uid", lambda: unknown)
    (tmp_path / "above" / "home").mkdir(parents=True)
    (tmp_path / "above").chmod(above)
    os.chown(tmp_path / "above" / "home", unknown, unknown)
    if good:
        assert mode(secure_dir(tmp_path / "above" / "home" / "state")) == 0o700
    else:
        assert "belongs to another user" in refused(tmp_path / "above" / "home" / "state").cause


def test_where_all_users_are_known_none_stands_for_root(tmp_path):
    tables = Path("/proc/self/uid_map").read_text().split()
    known = tables == ["0", "0", str(2**32 - 1)]
    assert (secure._overflow_uid() == -1) == known


# --- where they are ------------------------------------------------------------------------------


@pytest.fixture
def bare(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("BANGER_", "XDG_")) or name in ("TMPDIR", "HOME"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/home/me")
    return monkeypatch


def test_without_any_variable(bare):
    paths = Paths.from_environment()
    assert paths.config == Path("/home/me/.config/banger")
    assert paths.state == Path("/home/me/.local/state/banger")
    assert paths.cache == Path("/home/me/.cache/banger")
    assert paths.runtime.parent == Path(f"/tmp/banger-{os.geteuid()}")


@pytest.mark.parametrize("value", ["", "relative", "./x", "~/x"])
def test_relative_values_are_ignored(bare, value):
    expected = Paths.from_environment()
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
        bare.setenv(name, value)
    bare.setenv("TMPDIR", value)
    assert Paths.from_environment() == expected


def test_absolute_values_are_used(bare):
    for name in ("STATE_HOME", "CACHE_HOME", "CONFIG_HOME"):
        bare.setenv(f"XDG_{name}", f"/x/{name}")
    bare.setenv("TMPDIR", "/x/tmp")
    paths = Paths.from_environment()
    assert (paths.state, paths.runtime.parent) == (
        Path("/x/STATE_HOME/banger"),
        Path(f"/x/tmp/banger-{os.geteuid()}"),
    )
    bare.setenv("XDG_RUNTIME_DIR", "/x/run")
    assert Paths.from_environment().runtime.parent == Path("/x/run/banger")


@pytest.mark.parametrize("home", ["", "relative", None])
def test_without_a_usable_home_the_user_database_is_asked(bare, home):
    import pwd

    if home is None:
        bare.delenv("HOME")
    else:
        bare.setenv("HOME", home)
    expected = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    assert Paths.from_environment().cache == expected / ".cache" / "banger"


def test_a_user_without_a_home_is_told_so(bare):
    bare.delenv("HOME")
    bare.setattr(os, "geteuid", lambda: THEM)
    with pytest.raises(HostNotReady, match="there is no home directory") as caught:
        Paths.from_environment()
    assert f"uid {THEM} is no user of this system" in caught.value.cause
