"""The doctor: what it sees of a real daemon's host, what it mends, and what it leaves alone."""

from __future__ import annotations

import json
import signal

import pytest

from banger_core.testing.kernel_images import make_vmlinux
from banger_core.testing.rootfs_images import make_ext4

FAILS = 4


def findings(house, *words, status=0):
    done = house.run("doctor", *words, "--json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def of(found, subject, level):
    return [each for each in found if (each["subject"], each["level"]) == (subject, level)]


def test_all_is_well(house):
    found = findings(house)
    assert not [each for each in found if each["level"] == "fail"]
    for subject in ("daemon", "configuration", "programs", "directories", "disk space", "defaults",
                    "leftovers", "needs", "plugins", "ssh"):  # fmt: skip
        assert of(found, subject, "pass"), subject
    (defaults,) = of(found, "defaults", "pass")
    assert "vm.vcpu 1 (config)" in defaults["message"]
    assert "vm.memory 512 MiB (config)" in defaults["message"]
    shown = house.ok("doctor")
    assert "PASS  leftovers: nothing is here that no record knows\n" in shown


def test_what_is_open_or_left_over_is_said_and_mended(house):
    house.daemon()
    house.create("one")
    left = house.state / "vms" / "0123456789ab"
    left.mkdir()
    (left / "root.raw").write_bytes(b"x")
    house.state.chmod(0o755)
    (house.state / "banger.db").chmod(0o644)
    found = findings(house)
    (warning,) = of(found, "leftovers", "warn")
    assert str(left) in warning["message"]
    assert warning["fix"] == "banger doctor --fix"
    opened = [each["message"] for each in of(found, "directories", "warn")]
    assert f"{house.state} is open to others (mode 0755)" in opened
    assert f"{house.state}/banger.db is open to others (mode 0644)" in opened
    assert left.exists()

    mended = findings(house, "--fix")
    assert not of(mended, "leftovers", "warn")
    assert not of(mended, "directories", "warn")
    assert f"{left} is gone" in [each["message"] for each in of(mended, "leftovers", "pass")]
    assert house.leftovers() == []
    assert house.state.stat().st_mode & 0o777 == 0o700
    assert house.states() == {"one": "running"}
    house.delete("one")


def test_what_an_operation_is_at_is_left_alone(house):
    house.daemon("pull.after_intent:hang")
    with house.popen("image", "pull", "fake://small") as pulling:
        house.until(lambda: house.rows("SELECT id FROM intents"))
        assert not of(findings(house, "--fix"), "leftovers", "warn")
        assert house.rows("SELECT id FROM intents")
        pulling.send_signal(signal.SIGINT)
        pulling.communicate(timeout=60)
    house.until(lambda: not house.leftovers())


def test_the_vanished_files_of_an_image(house):
    mine = house.home / "mine"
    mine.mkdir()
    make_ext4(mine / "root.ext4")
    (mine / "vmlinux").write_bytes(make_vmlinux())
    house.ok("image", "register", "--name", "own", "--rootfs", str(mine / "root.ext4"),
             "--kernel", str(mine / "vmlinux"))  # fmt: skip
    assert not of(findings(house), "images", "warn")
    (mine / "root.ext4").unlink()
    (warning,) = of(findings(house), "images", "warn")
    assert f"{mine}/root.ext4 cannot be found" in warning["message"]


def test_a_missing_program_comes_with_its_reason_and_the_command_that_installs_it(house):
    house.env["PATH"] = str(house.home / "bin")
    found = findings(house, status=FAILS)
    (missing,) = of(found, "ssh-keygen", "fail")[:1]
    assert missing["message"] == "ssh-keygen is missing"
    assert missing["why"]
    assert missing["fix"].startswith("sudo ")
    assert of(found, "git", "warn")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda house: _write(house.home / "config" / "config.toml", "[vm]\nvcpu = 'x'\n"), "vcpu"),
        (lambda house: _write(house.state / "banger.db", "no database" * 400), "banger.db"),
    ],
    ids=["configuration", "database"],
)
def test_a_daemon_that_cannot_start_is_a_finding(house, damage, said):
    house.paths.ready()
    damage(house)
    (found,) = findings(house, status=FAILS)
    assert (found["level"], found["subject"]) == ("fail", "daemon")
    assert said in found["message"]
    assert found["fix"]


def _write(file, text):
    file.write_text(text)
    file.chmod(0o600)
