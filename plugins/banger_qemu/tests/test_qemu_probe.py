from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from banger_core.api import HostNotReady, remembered_verdict
from banger_core.engine import kvm as kvm_module
from banger_qemu.doctor import QemuCheck
from banger_qemu.driver import QemuDriver
from banger_qemu.probe import decide


@pytest.fixture
def kvm(monkeypatch, place):
    """A host whose ``/dev/kvm`` opens."""
    device = place / "kvm"
    device.touch()
    monkeypatch.setattr(kvm_module, "KVM", device)
    monkeypatch.setattr(kvm_module, "kvm_problem", lambda: "")
    monkeypatch.setattr("banger_qemu.doctor.kvm_problem", lambda: "")
    return device


def use(cx, path: Path):
    cx.settings["binary"] = str(path)


def ask(dirs, cx):
    return asyncio.run(decide(dirs.kernel, dirs.initrd, cx))


BOOTS = "echo '@@ banger probe'"


def test_a_guest_that_boots_means_kvm(kvm, dirs, cx, fake_qemu):
    use(cx, fake_qemu(BOOTS))
    verdict = ask(dirs, cx)
    assert verdict.accel == "kvm"
    assert "kvm" in cx.calls[0][cx.calls[0].index("-accel") + 1]
    assert "banger.probe" in cx.calls[0][cx.calls[0].index("-append") + 1]
    assert remembered_verdict(cx) == verdict


def test_the_verdict_is_asked_for_once(kvm, dirs, cx, fake_qemu):
    use(cx, fake_qemu(f"sleep 0.2; {BOOTS}"))

    async def many():
        return await asyncio.gather(*(decide(dirs.kernel, dirs.initrd, cx) for _ in range(5)))

    assert {verdict.accel for verdict in asyncio.run(many())} == {"kvm"}
    ask(dirs, cx)
    assert len(cx.calls) == 1


def test_one_who_gives_up_does_not_take_the_answer_from_others(kvm, dirs, cx, fake_qemu):
    use(cx, fake_qemu(f"sleep 0.3; {BOOTS}"))

    async def two():
        first = asyncio.create_task(decide(dirs.kernel, dirs.initrd, cx))
        second = asyncio.create_task(decide(dirs.kernel, dirs.initrd, cx))
        await asyncio.sleep(0.05)
        first.cancel()
        return await second

    assert asyncio.run(two()).accel == "kvm"
    assert len(cx.calls) == 1


@pytest.mark.parametrize("change", ["kernel", "qemu", "device", "damage"])
def test_the_verdict_ends_with_what_it_was_made_of(kvm, dirs, cx, fake_qemu, change):
    use(cx, fake_qemu(BOOTS))
    ask(dirs, cx)
    if change == "kernel":
        dirs.kernel.write_bytes(b"another")
    elif change == "qemu":
        use(cx, fake_qemu(f"{BOOTS}; true"))
    elif change == "device":
        kvm.unlink()
        kvm.touch()
        kvm.chmod(0o600)
    else:
        (cx.state_dir / "accel.json").write_text('{"accel": "warp"')
    ask(dirs, cx)
    assert len(cx.calls) == 2


def test_another_image_with_the_same_kernel_needs_no_trial(kvm, dirs, cx, fake_qemu, place):
    use(cx, fake_qemu(BOOTS))
    ask(dirs, cx)
    copy = place / "copy"
    copy.write_bytes(dirs.kernel.read_bytes())
    asyncio.run(decide(copy, place / "another-initrd", cx))
    assert len(cx.calls) == 1


def test_a_guest_that_hangs_means_tcg_and_leaves_nothing(
    kvm, dirs, cx, fake_qemu, place, fake_clock
):
    """The stand-in refuses to end when asked to, and so does its child."""
    pids = place / "pids"
    use(
        cx,
        fake_qemu(
            f"trap '' TERM; echo $$ >{pids}; sh -c 'trap \"\" TERM; sleep 100' & "
            f"echo $! >>{pids}; while :; do sleep 100; done"
        ),
    )

    async def expire():
        asking = asyncio.create_task(decide(dirs.kernel, dirs.initrd, cx))
        while not (pids.exists() and pids.read_text().count("\n") == 2):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        # It may not have begun to count yet
        while not asking.done():
            await fake_clock.advance(61)
            await asyncio.sleep(0.01)
        return await asking

    verdict = asyncio.run(expire())
    assert verdict.accel == "tcg"
    assert "did not boot" in verdict.reason
    running = [pid for pid in pids.read_text().split() if _runs(pid)]
    assert not running


def _runs(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'qemu-fake: no rights' >&2; exit 1", "QEMU cannot use KVM: no rights"),
        ("exit 0", "a guest ended under KVM before it was up"),
        ("kill -ABRT $$", "QEMU cannot use KVM"),
    ],
)
def test_other_failures_mean_tcg_with_the_reason(kvm, dirs, cx, fake_qemu, script, reason):
    use(cx, fake_qemu(script))
    verdict = ask(dirs, cx)
    assert verdict.accel == "tcg"
    assert verdict.reason.startswith(reason)


def test_without_a_device_nothing_is_tried(monkeypatch, dirs, cx, place):
    monkeypatch.setattr(kvm_module, "KVM", place / "missing")
    verdict = ask(dirs, cx)
    assert verdict.accel == "tcg"
    assert "No such file" in verdict.reason
    assert not cx.calls
    assert remembered_verdict(cx) is None


def test_a_file_that_is_no_device_is_not_taken_for_one(monkeypatch, dirs, cx):
    monkeypatch.setattr(kvm_module, "KVM", dirs.kernel)
    assert "no KVM device" in ask(dirs, cx).reason


def test_driver_says_what_was_wanted(kvm, dirs, cx, fake_qemu):
    driver = QemuDriver(tsc_khz=1)

    def accel(wanted):
        return asyncio.run(driver.accel(wanted, dirs, cx))

    use(cx, fake_qemu("exit 1"))
    assert accel("tcg") == "tcg"
    assert not cx.calls
    assert accel("auto") == "tcg"
    with pytest.raises(HostNotReady) as caught:
        accel("kvm")
    assert caught.value.cause.startswith("QEMU cannot use KVM")
    use(cx, fake_qemu(BOOTS))
    assert accel("kvm") == "kvm"


def test_missing_qemu_is_no_verdict(kvm, dirs, cx):
    use(cx, Path("/nowhere/qemu"))
    with pytest.raises(HostNotReady):
        ask(dirs, cx)
    assert remembered_verdict(cx) is None


def test_doctor_shows_the_verdict(kvm, dirs, cx, fake_qemu):
    def findings():
        return asyncio.run(QemuCheck().check(cx))

    script = "case $1 in --version) echo 'QEMU emulator version 9.1.2 (x)' ;; *) exit 1 ;; esac"
    use(cx, fake_qemu(script))
    program, acceleration = findings()
    assert (program.level, acceleration.level) == ("pass", "pass")
    assert "9.1.2" in program.message
    ask(dirs, cx)
    acceleration = findings()[1]
    assert acceleration.level == "warn"
    assert "QEMU cannot use KVM" in acceleration.message

    use(cx, Path("/nowhere/qemu"))
    program = findings()[0]
    assert (program.level, program.fix) == ("fail", "sudo apt-get install qemu-system-x86")


def test_doctor_calls_an_old_qemu_old(kvm, cx, fake_qemu):
    use(cx, fake_qemu("echo 'QEMU emulator version 5.2.0'"))
    assert asyncio.run(QemuCheck().check(cx))[0].level == "warn"
