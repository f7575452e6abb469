"""mapdns' file: ours in it, and everybody else's as it was."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time

import pytest
from dns_house import House, name
from hypothesis import given, settings
from hypothesis import strategies as st

from banger_core.api import HostNotReady
from banger_core.testing.context import FakeContext
from banger_core.testing.contracts.samples import sample_record
from banger_dns import mapdns
from banger_dns.attachment import Names
from banger_dns.book import Book
from banger_dns.doctor import DnsCheck
from banger_dns.mapdns import MapFile, entries_of, find_program, why_no_program

WEB, DB = {"web.vm.": {"A": "127.64.1.2"}}, {"db.vm.": {"A": "10.7.0.5", "AAAA": "fd00:7::5"}}
FOREIGN = {
    "nas.home.": {"A": "192.0.2.9"},
    "*.dev.home.": {"A": "192.0.2.8"},
    "odd": [1, 1e3, None],
}


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Whoever has the lock may be kept waiting itself."""
    monkeypatch.setattr(mapdns, "PATIENCE", 60.0)


@pytest.fixture
def state(tmp_path):
    made = tmp_path / "plugin"
    made.mkdir()
    return made


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mapdns.json"


@pytest.fixture
def file(path, state):
    return MapFile(str(path), state)


def content(path):
    return json.loads(path.read_bytes())


def test_form_of_entries():
    names = [name("web", "127.64.1.2"), name("db", "10.7.0.5", "10.7.0.6", "fd00:7::5")]
    assert entries_of(names, subdomains=False) == {**WEB, **DB}
    assert entries_of(names[:1], subdomains=True) == {**WEB, "*.web.vm.": WEB["web.vm."]}


def test_names_come_and_go_in_a_new_file(file, path):
    file.update(WEB)
    assert content(path) == WEB
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    file.update({**WEB, **DB})
    assert content(path) == {**WEB, **DB}
    file.update({})
    assert content(path) == {}


def test_same_names_again_write_nothing(file, path, state):
    file.update(WEB)
    before = [each.stat().st_ino for each in (path, state / "mapdns.json")]
    file.update(WEB)
    assert [each.stat().st_ino for each in (path, state / "mapdns.json")] == before


def test_nothing_is_made_when_there_is_nothing_to_say(file, path):
    file.update({})
    assert not path.exists()


def test_foreign_entries_stay_in_their_order(file, path):
    path.write_text(json.dumps(FOREIGN))
    file.update(WEB)
    assert list(content(path).items()) == list({**FOREIGN, **WEB}.items())
    file.update({})
    assert list(content(path).items()) == list(FOREIGN.items())


def test_file_keeps_its_mode_and_indentation(file, path):
    path.write_text('{\n\t"nas.home.": {\n\t\t"A": "192.0.2.9"\n\t}\n}\n')
    path.chmod(0o640)
    before = path.read_text()
    file.update(WEB)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert '\n\t"web.vm.": {\n\t\t"A"' in path.read_text()
    file.update({})
    assert path.read_text() == before


def test_link_stays_a_link(path, state, tmp_path):
    path.write_text("{}")
    link = tmp_path / "link.json"
    link.symlink_to(path)
    MapFile(str(link), state).update(WEB)
    assert link.is_symlink()
    assert content(path) == WEB


def test_name_that_somebody_else_holds(file, path):
    theirs = {"web.vm.": {"A": "192.0.2.1"}}
    path.write_text(json.dumps(theirs))
    assert file.update({**WEB, **DB}) == ["web.vm."]
    assert content(path) == {**theirs, **DB}
    assert file.update({}) == []
    assert content(path) == theirs


def test_entry_of_ours_that_somebody_changed_is_theirs(file, path):
    file.update(WEB)
    theirs = {"web.vm.": {"A": "192.0.2.1"}}
    path.write_text(json.dumps(theirs))
    file.update({})
    assert content(path) == theirs


def test_address_that_changed(file, path):
    file.update(WEB)
    again = {"web.vm.": {"A": "127.64.9.9"}}
    assert file.update(again) == []
    assert content(path) == again


@pytest.mark.parametrize("where", ["after the ledger", "after the file"])
def test_crash_in_between(path, state, monkeypatch, where):
    path.write_text(json.dumps({**FOREIGN}))
    MapFile(str(path), state).update(WEB)
    again = {"web.vm.": {"A": "127.64.9.9"}, **DB}
    real = mapdns._Edit.make

    def crash(self, *more):
        if where == "after the file":
            real(self, *more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mapdns._Edit, "make", crash)
        with pytest.raises(KeyboardInterrupt):
            MapFile(str(path), state).update(again)
    assert MapFile(str(path), state).update(DB) == []
    assert content(path) == {**FOREIGN, **DB}
    MapFile(str(path), state).update({})
    assert content(path) == FOREIGN


def test_other_file_from_now_on(path, state, tmp_path):
    MapFile(str(path), state).update(WEB)
    other = tmp_path / "other.json"
    MapFile(str(other), state).update(WEB)
    assert (content(path), content(other)) == ({}, WEB)
    MapFile("", state).update(WEB)
    assert content(other) == {}


def test_other_file_where_the_first_is_gone(state, tmp_path):
    (tmp_path / "first").mkdir()
    MapFile(str(tmp_path / "first/map.json"), state).update(WEB)
    shutil.rmtree(tmp_path / "first")
    MapFile(str(tmp_path / "other.json"), state).update(WEB)
    assert content(tmp_path / "other.json") == WEB


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"a": 1',
        "\udcff",
        "null",
        '"web.vm."',
        '{"a": 1e400}',
        "\ufeff{}",
        '{"a": ' + "[" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
    ],
)
def test_broken_file_is_left_alone(file, path, text):
    data = text.encode("utf-8", "surrogateescape")
    path.write_bytes(data)
    with pytest.raises(HostNotReady, match=str(path)):
        file.update(WEB)
    assert path.read_bytes() == data
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []


def test_directory_that_is_not_there(state, tmp_path):
    with pytest.raises(HostNotReady):
        MapFile(str(tmp_path / "no" / "file.json"), state).update(WEB)


def test_file_that_is_no_file(path, state, tmp_path):
    file = MapFile(str(path), state)
    os.mkfifo(path)
    with pytest.raises(HostNotReady, match="no regular file"):
        file.update(WEB)
    path.unlink()
    path.mkdir()
    with pytest.raises(HostNotReady, match="cannot be read") as problem:
        file.update(WEB)
    assert problem.value.cause == "Is a directory"
    path.rmdir()
    with path.open("wb") as sparse:
        sparse.truncate(1 << 30)
    with pytest.raises(HostNotReady, match="larger than 16 MiB"):
        file.update(WEB)
    path.unlink()
    path.with_name("mapdns.json.lock").unlink()
    path.with_name("mapdns.json.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostNotReady, match="cannot be locked"):
        file.update(WEB)
    assert not (tmp_path / "elsewhere").exists()
    assert not path.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_file_that_cannot_be_written(file, path, monkeypatch, number):
    path.write_text(json.dumps(FOREIGN))
    before = path.read_bytes()

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(mapdns, "_like", refuse)
        with pytest.raises(HostNotReady, match="cannot be written") as problem:
            file.update(WEB)
    assert problem.value.cause == os.strerror(number)
    assert path.read_bytes() == before
    assert not [each.name for each in path.parent.iterdir() if each.name.startswith(".")]
    assert file.update(WEB) == []


@pytest.mark.parametrize("theirs", [None, [], "192.0.2.1", 7, {}, {"A": None}, {"TXT": "x"}])
def test_entries_of_odd_shape_stay(file, path, theirs):
    data = {"\ud800": "half", "web.vm.": theirs, "": theirs}
    path.write_text(json.dumps(data))
    assert file.update({**WEB, **DB}) == ["web.vm."]
    assert content(path) == {**data, **DB}
    file.update({})
    assert content(path) == data


def test_lock_is_waited_for(file, path):
    lock = path.with_name("mapdns.json.lock")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        worker = threading.Thread(target=file.update, args=(WEB,))
        worker.start()
        time.sleep(0.1)
        assert not path.exists()
    worker.join()
    assert content(path) == WEB


def test_lock_that_is_never_given_back(file, path, monkeypatch):
    monkeypatch.setattr(mapdns, "PATIENCE", 0.1)
    with path.with_name("mapdns.json.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(HostNotReady, match="is locked"):
            file.update(WEB)
    assert not path.exists()


EDITOR = """
import json, os, sys
path = sys.argv[1]
for number in range(150):
    data = json.load(open(path))
    data[f"host-{number}.home."] = {"A": "192.0.2.1"}
    with open(path + ".theirs", "w") as file:
        json.dump(data, file)
    if json.load(open(path)).keys() <= data.keys():
        os.rename(path + ".theirs", path)
"""


def test_others_who_edit_with_the_lock_lose_nothing(file, path):
    path.write_text("{}")
    code = EDITOR.replace(
        "for number", "import fcntl\nlock = open(path + '.lock', 'w')\nfor number"
    ).replace(
        "    data = json.load(open(path))\n",
        "    fcntl.flock(lock, fcntl.LOCK_EX)\n    data = json.load(open(path))\n",
    )
    code += "    fcntl.flock(lock, fcntl.LOCK_UN)\n"
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as editor:
        while editor.poll() is None:
            file.update(WEB)
            file.update({**WEB, **DB})
    file.update(WEB)
    assert editor.returncode == 0
    found = content(path)
    assert {key for key in found if key.startswith("host-")} == {
        f"host-{number}.home." for number in range(150)
    }
    assert found["web.vm."] == WEB["web.vm."]


def test_change_without_the_lock_is_seen_before_it_would_be_lost(file, path, monkeypatch):
    """Somebody saves the file after it was read and before it is replaced."""
    path.write_text("{}")
    theirs = iter([{"a.": {}}, {"a.": {}, "b.": {}}])
    real = mapdns._same

    def late(where, seen):
        if (data := next(theirs, None)) is not None:
            where.with_name("new").write_text(json.dumps(data))
            where.with_name("new").rename(where)
        return real(where, seen)

    monkeypatch.setattr(mapdns, "_same", late)
    file.update(WEB)
    assert content(path) == {"a.": {}, "b.": {}, **WEB}


def test_file_that_never_rests(file, path, monkeypatch):
    path.write_text("{}")
    monkeypatch.setattr(mapdns, "_same", lambda *_: False)
    with pytest.raises(HostNotReady, match="changes all the time"):
        file.update(WEB)
    assert content(path) == {}


KEYS = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(foreign=st.dictionaries(KEYS, VALUES, max_size=4))
def test_whatever_others_keep_there_means_the_same_afterwards(foreign, tmp_path_factory):
    place = tmp_path_factory.mktemp("m")
    path = place / "data.json"
    path.write_text(json.dumps(foreign))
    made = MapFile(str(path), place)
    made.update(WEB)
    made.update({})
    assert list(content(path).items()) == list(foreign.items())


def test_program_is_found_by_name_and_path(tmp_path, monkeypatch):
    program = tmp_path / "mapdns"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_program(str(program)) == str(program)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("mapdns") == str(program)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_program("~/mapdns") == str(program)
    assert find_program("no-such-program") is None
    assert find_program("") is None


def test_why_there_is_no_program(tmp_path):
    path = tmp_path / "mapdns"
    assert why_no_program("") == "mapdns_bin is empty"
    assert why_no_program("no-such") == "no directory of PATH has a program no-such"
    assert why_no_program(str(path)) == f"there is no {path}"
    path.write_text("#!/bin/sh\n")
    assert why_no_program(str(path)) == f"{path} is not executable"
    assert why_no_program(str(tmp_path)) == f"{tmp_path} is a directory"


# --- with the plugin around it ---------------------------------------------------------------


class TinyMapDns:
    """What mapdns does with its file, with wildcards that follow whole labels."""

    def __init__(self, path):
        self._data = content(path)

    def address(self, question, kind="A"):
        labels = question.rstrip(".").split(".")
        for cut in range(len(labels)):
            rest = ".".join(labels[cut:]) + "."
            entry = self._data.get(rest if cut == 0 else f"*.{rest}")
            if entry is not None:
                return entry.get(kind)
        return None


@pytest.fixture
def house(fake_context: FakeContext, path):
    fake_context._settings.update(
        responder=False, mapdns_data_file=str(path), mapdns_bin="no-such-program"
    )
    return House(fake_context)


def test_vm_is_found_while_it_runs(house, path):
    path.write_text(json.dumps(FOREIGN))
    house.cx._settings["subdomains"] = True
    record = sample_record("web")
    asyncio.run(Names().attach(record, house.cx))
    served = TinyMapDns(path)
    assert served.address("web.vm.") == served.address("api.web.vm.") == "127.64.0.1"
    assert served.address("fooweb.vm.") is None
    assert served.address("x.dev.home.") == "192.0.2.8"
    asyncio.run(Names().detach(record, house.cx))
    assert content(path) == FOREIGN


def test_restart_brings_it_up_to_date(house, path):
    asyncio.run(Book(house.cx.state_dir).enter(name("web", "127.64.1.2")))
    path.write_text(json.dumps(FOREIGN))
    house.tend()
    assert content(path) == {**FOREIGN, **WEB}
    path.unlink()
    house.tend()
    assert content(path) == WEB


def test_broken_file_keeps_no_vm_from_running(house, path):
    path.write_text("{")
    asyncio.run(Names().attach(sample_record(), house.cx))
    assert "no JSON" in house.ask("status")["mapdns"]["problem"]["error"]
    with pytest.raises(HostNotReady):
        house.tend()
    path.write_text("{}")
    house.tend()
    assert content(path) == {"sample.vm.": {"A": "127.64.0.1"}}


def test_the_program_is_never_run(house, path, tmp_path):
    """mapdns is whoever's runs it, so that no way in which it fails is ours: one that ends at once,
    or never, changes nothing. What the real mapdns makes of the file is not shown here: no registry
    has it.
    """
    ran = tmp_path / "ran"
    program = tmp_path / "mapdns"
    program.write_text(f"#!/bin/sh\necho >{ran}\nexec sleep 3600\n")
    program.chmod(0o755)
    house.cx._settings["mapdns_bin"] = str(program)
    asyncio.run(Names().attach(sample_record(), house.cx))
    house.tend()
    assert house.ask("status")["mapdns"] == {
        "program": str(program),
        "data_file": str(path),
        "problem": None,
    }
    (finding,) = (each for each in doctor(house) if each.subject == "mapdns")
    assert (finding.level, finding.message) == ("pass", f"{program} gets names by {path}")
    program.chmod(0o644)
    (finding,) = (each for each in doctor(house) if each.subject == "mapdns")
    assert (finding.level, finding.message) == ("warn", f"{program} is not executable")
    assert not ran.exists()


def doctor(house):
    return asyncio.run(DnsCheck().check(house.cx))


def test_name_that_is_taken_is_told(house, path):
    path.write_text(json.dumps({"sample.vm.": {"A": "192.0.2.1"}}))
    asyncio.run(Names().attach(sample_record(), house.cx))
    assert "sample.vm." in house.ask("status")["mapdns"]["problem"]["error"]
