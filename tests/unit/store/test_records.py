from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from banger_core.errors import Conflict, IntegrityError, NotFound, UsageProblem
from banger_core.model import LaunchSpec, ProcessId, VmState
from banger_core.store.database import Database
from banger_core.store.records import Records

A, B = "ab" + "0" * 10, "ac" + "0" * 10


def test_a_vm_comes_back_whole_after_reopening(tmp_path, make_vm):
    record = make_vm(
        "web",
        A,
        process=ProcessId(pid=7, start_ticks=99, boot_id="b"),
        launch=LaunchSpec(driver="qemu", argv=("q",), files={Path("/x"): "y"}, data={"a": [1]}),
    )
    with Database.open(tmp_path / "d.db") as database:
        Records(database).add_vm(record)
    with Database.open(tmp_path / "d.db") as database:
        assert Records(database).vms() == [record]


def test_references(records, make_vm):
    records.add_vm(make_vm("web", A))
    records.add_vm(make_vm("ab", B))
    assert records.vm("web").id == A
    assert records.vm(A).id == A
    assert records.vm("ab0").id == A
    assert records.vm("ab").id == B, "a name goes before the beginning of an id"
    with pytest.raises(UsageProblem, match="several VM ids") as caught:
        records.vm("a")
    assert A in caught.value.cause
    assert B in caught.value.cause


@pytest.mark.parametrize("ref", ["", "wep", "%", "a%", "_", "' OR 1=1 --", "é"])
def test_what_is_not_there_names_what_is(records, make_vm, ref):
    records.add_vm(make_vm("web", A))
    with pytest.raises(NotFound) as caught:
        records.vm(ref)
    assert caught.value.cause == "there is: web"


def test_the_nearest_name_is_offered(records, make_vm):
    records.add_vm(make_vm("web", A))
    with pytest.raises(NotFound) as caught:
        records.vm("wep")
    assert caught.value.hints == ("did you mean web?", "banger vm list")


def test_names_are_unique(records, make_vm):
    records.add_vm(make_vm("web", A))
    with pytest.raises(Conflict, match="already a VM named 'web'") as caught:
        records.add_vm(make_vm("web", B))
    assert "banger vm delete web" in caught.value.hints
    records.add_vm(make_vm("db", B))
    with pytest.raises(Conflict):
        records.update_vm(make_vm("web", B))
    assert [vm.name for vm in records.vms()] == ["web", "db"]


def test_update_and_remove(records, make_vm):
    record = make_vm("web", A)
    with pytest.raises(NotFound):
        records.update_vm(record)
    records.add_vm(record)
    records.update_vm(replace(record, state=VmState.RUNNING))
    assert records.vm("web").state is VmState.RUNNING
    records.remove_vm(A)
    records.remove_vm(A)
    assert records.vms() == []


def test_images_by_reference_and_use(records, make_image, make_vm):
    old = make_image("old", "1" * 12, created_at=1.0)
    new = make_image("new", "2" * 12, created_at=2.0)
    records.add_image(new)
    records.add_image(old)
    assert records.images() == [old, new]
    assert records.image("new") == records.image("2") == new
    assert records.image_by_ref("debian://bookworm") == new
    assert records.image_by_ref("debian://trixie") is None
    vm = make_vm("web", A, image_id=new.id)
    records.add_vm(vm)
    assert records.vms_using_image(new.id) == [vm]
    assert records.vms_using_image(old.id) == []
    with pytest.raises(Conflict) as caught:
        records.remove_image(new.id)
    assert "web" in caught.value.cause
    records.remove_image(old.id)
    records.remove_image(old.id)
    records.update_image(replace(new, name="old"))
    assert [image.name for image in records.images()] == ["old"]


def test_a_vm_cannot_be_kept_without_its_image(records, make_vm):
    with pytest.raises(Conflict, match="cannot keep VM web"):
        records.add_vm(make_vm("web", A, image_id="1" * 12))


def test_image_errors_speak_of_images(records, make_image):
    with pytest.raises(NotFound, match="no image named 'x'") as caught:
        records.image("x")
    assert caught.value.cause == "there is no image yet"
    records.add_image(make_image("a", "1" * 12))
    with pytest.raises(Conflict, match="already an image named 'a'"):
        records.add_image(make_image("a", "2" * 12))
    with pytest.raises(NotFound):
        records.update_image(make_image("b", "2" * 12))


def test_an_unreadable_record_is_named(records, make_vm, database):
    records.add_vm(make_vm("web", A))
    with database.transaction() as connection:
        connection.execute("UPDATE vms SET record = '{}'")
    with pytest.raises(IntegrityError, match=A):
        records.vm("web")
