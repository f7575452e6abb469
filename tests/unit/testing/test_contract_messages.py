"""The suites find what breaks a contract, and say what is asked and where that is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel

from banger_core.contracts import SshPatch
from banger_core.errors import BangerError
from banger_core.model import Entry, EntryKind, Finding
from banger_core.networks.user import UserNetwork
from banger_core.testing import contracts
from banger_core.testing.fakes.driver import FakeDriver
from banger_core.testing.fakes.images import FakeSource
from banger_core.testing.fakes.kernels import FakeCatalogue, FakeKernels

# pytest would collect the suites themselves under these names
Image, Kernel, Catalogue = (
    contracts.ImageSourceContract,
    contracts.KernelProviderContract,
    contracts.KernelCatalogueContract,
)


@pytest.fixture
def complaint():
    """Run one test of a suite and return what it says when it fails."""

    def run(suite, test, *arguments, **attributes):
        subject = type("Case", (suite,), attributes)()
        with pytest.raises(pytest.fail.Exception) as caught:
            getattr(subject, test)(*arguments)
        assert "banger_core/contracts.py, " in str(caught.value)
        return str(caught.value)

    return run


class BadDigest(FakeSource):
    async def resolve(self, ref, cx):
        return replace(await super().resolve(ref, cx), digest="sha256:ABC")


class NoJson(FakeSource):
    async def resolve(self, ref, cx):
        return replace(await super().resolve(ref, cx), data={"word": b"bytes"})


class FindsEverything(FakeSource):
    async def resolve(self, ref, cx):
        return await super().resolve(replace(ref, rest="small"), cx)


class WrongError(FakeSource):
    async def resolve(self, ref, cx):
        raise KeyError(ref.rest)


class Escapes(FakeSource):
    path = b"../etc/passwd"
    size = 0

    def layers(self, pin, cx):
        opened = super().layers(pin, cx)
        entry = Entry(path=self.path, kind=EntryKind.FILE, size=self.size)
        opened.enter_result[0].entries = lambda: iter([entry])
        return opened


class Lies(Escapes):
    path, size = b"etc/passwd", 9


@pytest.mark.parametrize(
    ("make", "test", "asked"),
    [
        (BadDigest, "pin_says_exactly_which_image", "digest is sha256: and 64 hexadecimal digits"),
        (NoJson, "pin_says_exactly_which_image", "a pin can be stored as JSON"),
        (FindsEverything, "unknown_image_is_not_found", "raises NotFound"),
        (WrongError, "unknown_image_is_not_found", "raises NotFound, not KeyError"),
        (Escapes, "layers_hold_only_what_an_honest_archive_holds", "stay inside, not b'../etc"),
        (Lies, "layers_hold_only_what_an_honest_archive_holds", "data is as long as size"),
    ],
)
def test_image_source(complaint, fake_context, make, test, asked):
    said = complaint(
        Image, f"test_{test}", make(), fake_context, ref="fake://small", missing="fake://missing"
    )
    assert asked in said
    assert "ImageSource" in said


class NoElf(FakeKernels):
    async def materialise(self, pin, into, cx):
        files = await super().materialise(pin, into, cx)
        files.vmlinux.write_bytes(b"MZ a bzImage")
        return files


class Elsewhere(FakeKernels):
    async def materialise(self, pin, into, cx):
        return await super().materialise(pin, cx.cache_dir, cx)


@pytest.mark.parametrize(
    ("make", "asked"),
    [(NoElf, "vmlinux is an uncompressed ELF"), (Elsewhere, "in the directory that was given")],
)
def test_kernel_provider(complaint, fake_context, tmp_path, make, asked):
    test = "test_files_are_an_elf_kernel_in_the_given_directory"
    assert asked in complaint(Kernel, test, make(), fake_context, tmp_path, name="fake-kernel")


class Overwrites(FakeCatalogue):
    async def add(self, pin, files, cx, *, replace):
        return await super().add(pin, files, cx, replace=True)


def test_kernel_catalogue(complaint, fake_context, tmp_path):
    test = "test_taken_name_is_a_conflict_unless_replaced"
    said = complaint(Catalogue, test, Overwrites(), fake_context, tmp_path)
    assert "adding a name that is taken raises Conflict" in said


class OneAddress(UserNetwork):
    def plan(self, vm_id, request, taken, settings):
        return super().plan("0" * 12, request, [], settings)


class GlobalMac(UserNetwork):
    def plan(self, vm_id, request, taken, settings):
        return replace(super().plan(vm_id, request, taken, settings), mac="00:16:3e:00:00:01")


@pytest.mark.parametrize(
    ("make", "test", "asked"),
    [
        (OneAddress, "vms_do_not_collide", "no two VMs"),
        (OneAddress, "taken_addresses_are_avoided", "is not given again"),
        (GlobalMac, "plan_is_complete", "a MAC is unicast and locally administered"),
    ],
)
def test_network(complaint, make, test, asked):
    assert asked in complaint(contracts.NetworkContract, f"test_{test}", make())


class Writes(FakeDriver):
    def launch(self, plan, dirs, accel):
        dirs.runtime.mkdir(exist_ok=True)
        return super().launch(plan, dirs, accel)


class Counts(FakeDriver):
    count = 0

    def launch(self, plan, dirs, accel):
        self.count += 1
        spec = super().launch(plan, dirs, accel)
        return replace(spec, argv=(*spec.argv, str(self.count)))


@pytest.mark.parametrize(
    ("make", "asked"), [(Writes, "launch writes nothing"), (Counts, "the same answer")]
)
def test_driver_purity(complaint, tmp_path, make, asked):
    suite = contracts.VmmDriverContract
    assert asked in complaint(suite, "test_launch_is_pure", make(), tmp_path, driver="fake")


def test_driver_golden_file_is_compared_and_written(monkeypatch, tmp_path):
    golden = tmp_path / "launch.json"
    case = type("Case", (contracts.VmmDriverContract,), {"driver": "fake", "golden": golden})()
    with pytest.raises(AssertionError, match="BANGER_UPDATE_GOLDEN=1"):
        case.test_launch_is_the_golden_one(FakeDriver())
    monkeypatch.setenv("BANGER_UPDATE_GOLDEN", "1")
    case.test_launch_is_the_golden_one(FakeDriver())
    monkeypatch.delenv("BANGER_UPDATE_GOLDEN")
    case.test_launch_is_the_golden_one(FakeDriver())
    with pytest.raises(AssertionError):
        case.test_launch_is_the_golden_one(Counts())


class Restarts(FakeDriver):
    async def adopt(self, spec, process, cx):
        return await self.start(spec, cx)


def test_driver_that_starts_anew_instead_of_adopting(complaint, fake_context, banger_paths):
    with pytest.raises(BangerError, match="already has a running process"):
        complaint(
            contracts.VmmDriverContract,
            "test_machine_starts_is_adopted_and_ends",
            Restarts(),
            fake_context,
            banger_paths,
            driver="fake",
            boots=True,
        )


class Litters:
    async def attach(self, vm, cx):
        with (cx.state_dir / "names").open("a") as file:
            file.write(vm.name)

    async def detach(self, vm, cx):
        pass


@pytest.mark.parametrize(
    ("test", "asked"),
    [
        ("attaching_is_idempotent", "attaching again changes nothing"),
        ("detaching_removes_every_trace", "detach leaves nothing behind"),
    ],
)
def test_attachment(complaint, fake_context, test, asked):
    said = complaint(
        contracts.NetworkAttachmentContract,
        f"test_{test}",
        Litters(),
        fake_context,
        traces=lambda _, cx: [path.read_text() for path in sorted(Path(cx.state_dir).iterdir())],
    )
    assert asked in said


@pytest.mark.parametrize(
    ("patch", "asked"),
    [
        ({"user": "root"}, "a policy returns an SshPatch"),
        (SshPatch(set={"": 1}), "settings are named by text"),
        (SshPatch(set={"user": b"root"}), "values can be stored as JSON"),
    ],
)
def test_policy(complaint, patch, asked):
    suite = contracts.SshPolicyContract
    assert asked in complaint(
        suite, "test_policy_gives_a_patch", None, policy=staticmethod(lambda _: patch)
    )


@pytest.mark.parametrize(
    ("patch", "asked"),
    [
        (SshPatch(set={"agent_forwardin": False}), "did you mean agent_forwarding?"),
        (SshPatch(lock=frozenset({"usr"})), "no SSH setting named 'usr'"),
        (SshPatch(set={"agent_forwarding": "perhaps"}), "agent_forwarding"),
    ],
)
def test_policy_sets_what_there_is(complaint, fake_context, patch, asked):
    facts = contracts.SshPolicyContract.facts.__wrapped__(contracts.SshPolicyContract())
    assert asked in complaint(
        contracts.SshPolicyContract,
        "test_what_is_set_can_be_set",
        facts,
        policy=staticmethod(lambda _: patch),
    )


class Changes:
    async def check(self, cx):
        (cx.state_dir / "mark").write_text("x")
        return [Finding(level="warn", subject="disk", message="small")]


@pytest.mark.parametrize(
    ("test", "asked"),
    [
        ("findings_are_for_people", "comes with a reason or a fix"),
        ("checking_changes_nothing", "check changes nothing"),
    ],
)
def test_doctor(complaint, fake_context, test, asked):
    assert asked in complaint(
        contracts.DoctorCheckContract, f"test_{test}", Changes(), fake_context
    )


class OnlyKnows:
    async def handle(self, event, cx):
        {"vm.ready": print, "vm.stopped": print}[event.kind]


class Plain:
    def handle(self, event, cx):
        return None


@pytest.mark.parametrize(
    ("make", "test", "asked"),
    [
        (OnlyKnows, "events_of_all_kinds_are_taken", "handle takes 'operation.started' and raises"),
        (OnlyKnows, "events_that_nobody_knows_yet_are_taken", "handle takes 'some.day' and raises"),
    ],
)
def test_sink(complaint, fake_context, make, test, asked):
    suite = contracts.EventSinkContract
    assert asked in complaint(suite, f"test_{test}", make(), fake_context)


def test_sink_is_asynchronous(complaint):
    suite = contracts.EventSinkContract
    assert "async function" in complaint(suite, "test_handling_is_asynchronous", Plain())


class Open(BaseModel):
    when: object = None


class Demands(BaseModel):
    where: str


@pytest.mark.parametrize(
    ("make", "test", "asked"),
    [
        (dict, "it_is_a_model", "settings are a pydantic model"),
        (Demands, "every_setting_has_a_default", "without this section is valid"),
        (Open, "mistyped_names_are_refused", "names that nobody knows are refused"),
    ],
)
def test_settings(complaint, make, test, asked):
    assert asked in complaint(contracts.SettingsContract, f"test_{test}", make=make)


def test_settings_that_can_change(complaint):
    said = complaint(contracts.SettingsContract, "test_a_valid_section_stays_as_it_is", make=Open)
    assert "frozen" in said


def test_settings_that_cannot_be_shown(complaint):
    said = complaint(
        contracts.SettingsContract,
        "test_values_can_be_shown",
        make=Open,
        valid={"when": object()},
    )
    assert "can show every value" in said


def _mute(deep: str = "") -> None:
    del deep


@pytest.mark.parametrize(
    ("test", "asked"),
    [
        ("every_command_says_what_it_does", "a command says what it does"),
        ("every_parameter_is_explained", "an option says what it does: list --deep"),
        ("lists_can_be_read_by_programs", "what lists or shows has --json"),
    ],
)
def test_command(test, asked):
    class Case(contracts.CommandContract):
        make = staticmethod(_mute)
        name = "list"

    commands = contracts.CommandContract.commands.__wrapped__(Case())
    with pytest.raises(pytest.fail.Exception) as caught:
        getattr(Case(), f"test_{test}")(commands)
    assert asked in str(caught.value)
    assert "banger_core/declare.py, Command" in str(caught.value)
