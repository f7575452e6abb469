"""The one line in ~/.ssh/config: put in, found again, taken out, and nothing else touched."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from banger_core.client import sshconfig
from banger_core.client.sshconfig import check_readable, install, uninstall, user_config
from banger_core.errors import HostNotReady, UsageProblem

LINE = 'Include "/state/ssh/config"'
MARKED = f"{LINE} # added-by-banger"
OTHERS = {
    "plain": b"Host *\n    Port 2222\n",
    "no final newline": b"Host *\n    Port 2222",
    "CRLF": b"Host *\r\n    Port 2222\r\n",
    "empty": b"",
    "only newlines": b"\n\n",
    "comments and includes": b"# added-by-banger\nInclude ~/.ssh/work\nInclude conf.d/* # mine\n",
    "an Include of ours without mark": LINE.encode() + b"\nHost x\n",
    "a mark that is no Include": b"# Include x # added-by-banger\n",
    "bytes that are no text": b"# \xff\xfe \x00\nHost caf\xe9\n",
    "one NUL and no line": b"\0",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / ".ssh"
    directory.mkdir(mode=0o700)
    return directory / "config"


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("permissions", [0o600, 0o644, 0o400 | 0o200 | 0o040])
def test_everything_else_stays_byte_for_byte_and_comes_back(place, data, permissions):
    write(place, data, permissions)
    change = install(place, LINE)
    end = b"\r\n" if data.startswith(b"Host *\r\n") else b"\n"
    assert (change.action, change.made) == ("installed", False)
    assert place.read_bytes() == MARKED.encode() + end + data
    assert mode(place) == permissions
    change = uninstall(place)
    assert (change.action, change.made) == ("removed", False)
    assert place.read_bytes() == data
    assert mode(place) == permissions
    assert names(place.parent) == ["config"]


def test_installing_again_changes_nothing_at_all(place):
    write(place, b"Host *\n")
    install(place, LINE)
    before = place.stat()
    assert install(place, LINE).action == "unchanged"
    after = place.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_missing_file_is_made_private_and_goes_again(place):
    change = install(place, LINE)
    assert (change.action, change.made) == ("installed", True)
    assert mode(place) == 0o600
    assert uninstall(place).made
    assert names(place.parent) == []


def test_a_missing_directory_is_made_private_and_goes_again(tmp_path):
    path = tmp_path / ".ssh" / "config"
    install(path, LINE)
    assert mode(path.parent) == 0o700
    uninstall(path)
    assert names(tmp_path) == []


def test_a_directory_that_was_made_stays_when_something_lies_there(tmp_path):
    path = tmp_path / ".ssh" / "config"
    install(path, LINE)
    write(path.with_name("id_ed25519"), b"key")
    uninstall(path)
    assert names(path.parent) == ["id_ed25519"]


def test_a_file_that_was_made_and_got_more_is_kept_without_the_line(place):
    install(place, LINE)
    write(place, place.read_bytes() + b"Host mine\n")
    assert not uninstall(place).made
    assert place.read_bytes() == b"Host mine\n"


def test_another_state_directory_takes_the_place_of_the_old_one(place):
    install(place, LINE)
    write(place, place.read_bytes() + b"Host mine\n")
    assert install(place, 'Include "/other/ssh/config"').action == "replaced"
    text = place.read_text()
    assert text == 'Include "/other/ssh/config" # file-added-by-banger\nHost mine\n'


def test_a_line_that_others_pushed_down_or_doubled_comes_back_to_the_top(place):
    write(place, f"Host new\n    Port 1\n{MARKED}\nHost old\n{MARKED}".encode())
    assert install(place, LINE).action == "replaced"
    assert place.read_text() == f"{MARKED}\nHost new\n    Port 1\nHost old\n"


def test_taking_away_what_is_not_there_is_no_failure(place):
    assert uninstall(place).action == "absent"
    assert not place.exists()
    write(place, b"Host *\n")
    assert uninstall(place).action == "absent"


@pytest.mark.parametrize("relative", [True, False])
def test_a_link_to_a_dotfile_stays_a_link_and_its_target_is_edited(tmp_path, place, relative):
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    target = write(dotfiles / "ssh-config", b"Host *\n", 0o644)
    hop = dotfiles / "hop"
    hop.symlink_to("ssh-config")
    place.symlink_to("../dotfiles/hop" if relative else hop)
    install(place, LINE)
    assert place.is_symlink()
    assert hop.is_symlink()
    assert target.read_text() == f"{MARKED}\nHost *\n"
    assert mode(target) == 0o644
    uninstall(place)
    assert place.is_symlink()
    assert target.read_bytes() == b"Host *\n"
    assert names(dotfiles) == ["hop", "ssh-config"]


def test_the_missing_target_of_a_link_is_made_and_goes_again(tmp_path, place):
    target = tmp_path / "target"
    place.symlink_to(target)
    assert install(place, LINE).made
    assert mode(target) == 0o600
    uninstall(place)
    assert place.is_symlink()
    assert not target.exists()


def a_directory(path: Path) -> None:
    path.mkdir()


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_circle(path: Path) -> None:
    path.symlink_to(path)


def a_link_to_nowhere(path: Path) -> None:
    path.symlink_to("/nonexistent/directory/config")


def a_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_read_only_file(path: Path) -> None:
    write(path, b"Host *\n", 0o400)


def a_huge_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(sshconfig.SIZE_MAX + 1)


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (a_directory, "not a regular file"),
        (a_fifo, "not a regular file"),
        (a_circle, "circle|symbolic links"),
        (a_link_to_nowhere, "whose directory is missing"),
        (a_link_to_a_device, "not a regular file"),
        (a_read_only_file, "read-only"),
        (a_huge_file, "larger than"),
    ],
)
def test_what_cannot_be_edited_is_said_and_left_alone(place, make, cause):
    make(place)
    before = os.lstat(place)
    with pytest.raises(HostNotReady) as caught:
        install(place, LINE)
    assert any(part in caught.value.cause for part in cause.split("|")), caught.value.cause
    assert caught.value.hints
    after = os.lstat(place)
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_size,
    )
    assert names(place.parent) == ["config"]


def test_a_file_of_somebody_else_is_not_edited(place, monkeypatch):
    write(place, b"Host *\n")
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(HostNotReady) as caught:
        install(place, LINE)
    assert f"belongs to uid {me}" in caught.value.cause
    assert place.read_bytes() == b"Host *\n"


def test_a_file_in_the_place_of_the_directory_is_said(tmp_path):
    write(tmp_path / ".ssh", b"")
    with pytest.raises(HostNotReady) as caught:
        install(tmp_path / ".ssh" / "config", LINE)
    assert caught.value.cause == "it is not a directory"


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_failure_leaves_nothing_half_made(tmp_path, monkeypatch, call):
    path = tmp_path / ".ssh" / "config"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(HostNotReady) as caught:
        install(path, LINE)
    assert caught.value.cause == "No space left on device"
    assert names(tmp_path) == []


def test_what_somebody_else_writes_meanwhile_is_not_lost(place, monkeypatch):
    write(place, b"Host old\n")
    sync, times = os.fsync, []

    def meddle(handle: int) -> None:
        sync(handle)
        if not times:
            write(place, b"Host new\n")
        times.append(1)

    monkeypatch.setattr(os, "fsync", meddle)
    install(place, LINE)
    assert place.read_text() == f"{MARKED}\nHost new\n"
    assert names(place.parent) == ["config"]


def test_many_at_once_leave_one_line(place):
    write(place, b"Host *\n")
    threads = [threading.Thread(target=install, args=(place, LINE)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert place.read_text() == f"{MARKED}\nHost *\n"
    assert names(place.parent) == ["config"]


def test_extended_attributes_are_kept(place):
    write(place, b"Host *\n")
    os.setxattr(place, "user.note", b"mine")
    install(place, LINE)
    assert os.getxattr(place, "user.note") == b"mine"


def test_it_is_the_file_that_ssh_reads(monkeypatch):
    home = pwd.getpwuid(os.getuid()).pw_dir
    monkeypatch.setenv("HOME", home)
    assert user_config() == Path(home, ".ssh", "config")
    monkeypatch.delenv("HOME")
    assert user_config() == Path(home, ".ssh", "config")
    done = subprocess.run(
        ["ssh", "-v", "-G", "host"],
        capture_output=True,
        env={**os.environ, "HOME": "/x"},
        check=True,
    )
    assert b"/x/" not in done.stdout


def test_another_home_than_that_of_ssh_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageProblem) as caught:
        user_config()
    assert "ignores HOME" in caught.value.cause
    assert any("--file" in hint for hint in caught.value.hints)


def test_an_ssh_that_does_not_know_an_option_is_found_before_anything_is_changed(tmp_path):
    included = write(tmp_path / "config", b"Host *.vm\n    OptionOfTomorrow yes\n")
    with pytest.raises(HostNotReady) as caught:
        check_readable(included)
    assert "optionoftomorrow" in caught.value.cause.lower()
    check_readable(write(included, b"Host *.vm\n    Port 1022\n"))


def test_a_missing_ssh_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostNotReady) as caught:
        check_readable(tmp_path / "config")
    assert "'ssh'" in caught.value.cause
