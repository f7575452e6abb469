from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from banger_core.errors import BangerError, Conflict, IntegrityError, NoSpace
from banger_core.store import database as module
from banger_core.store.database import Database
from banger_core.store.intents import Intents
from banger_core.store.records import Records
from banger_core.store.schema import MIGRATIONS

NOW = len(MIGRATIONS)
LATER = (*MIGRATIONS, ("ALTER TABLE vms ADD COLUMN colour TEXT", "UPDATE vms SET colour = 'red'"))


def test_private_from_birth_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        with Database.open(tmp_path / "banger.db") as database:
            Intents(database).begin("vm", "process", "x")
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert set(modes) >= {"banger.db", "banger.db-wal", "banger.db-shm"}
    assert set(modes.values()) == {0o600}


def test_a_loose_mode_is_tightened(tmp_path):
    path = tmp_path / "banger.db"
    Database.open(path).close()
    path.chmod(0o644)
    Database.open(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_durability_and_integrity_are_switched_on(database):
    asked = [database.rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous")]
    assert asked == ["wal", 2]
    assert database.rows("PRAGMA foreign_keys") == [(1,)]


def test_a_failing_block_changes_nothing(database, make_vm, records):
    def fail() -> None:
        with database.transaction() as connection:
            connection.execute("INSERT INTO vms VALUES ('i', 'n', 's', NULL, 1.0, '{}')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert database.rows("SELECT * FROM vms") == []
    records.add_vm(make_vm("a", "a" * 12))


def test_fifty_writers_lose_nothing(tmp_path):
    path = tmp_path / "banger.db"
    start = threading.Barrier(10)

    def write(worker: int) -> None:
        start.wait()
        with Database.open(path) as own:
            for number in range(5):
                Intents(own).begin(f"vm{worker}", "disk", str(number))

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(write, range(10)))
    with Database.open(path) as database:
        assert len(Intents(database).all()) == 50


def test_one_connection_serves_many_threads(database):
    intents = Intents(database)
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda n: intents.begin("vm", "disk", str(n)), range(50)))
    assert len(set(ids)) == 50


def test_processes_that_open_a_new_database_at_once(tmp_path):
    code = (
        "import sys; from pathlib import Path; from banger_core.store.database import Database\n"
        "from banger_core.store.intents import Intents\n"
        "sys.stdin.readline(); Intents(Database.open(Path(sys.argv[1]))).begin('v', 'k', 's')"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "banger.db")]
    children = [subprocess.Popen(argv, stdin=subprocess.PIPE) for _ in range(4)]
    for child in children:
        child.communicate(b"go\n")
    assert [child.returncode for child in children] == [0] * 4
    with Database.open(tmp_path / "banger.db") as database:
        assert len(Intents(database).all()) == 4


def test_kill_in_the_middle_of_writing_keeps_what_was_acknowledged(tmp_path):
    code = (
        "import sys; from pathlib import Path; from banger_core.store.database import Database\n"
        "from banger_core.store.intents import Intents\n"
        "intents = Intents(Database.open(Path(sys.argv[1])))\n"
        "while True: print(intents.begin('v', 'disk', 'x' * 5000), flush=True)"
    )
    path = tmp_path / "banger.db"
    argv = [sys.executable, "-c", code, str(path)]
    for round_ in range(3):
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
            for _ in range(7 * (round_ + 1)):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
            acknowledged = [int(line) for line in child.stdout if line.endswith("\n")]
        with Database.open(path) as database:
            known = {intent.id for intent in Intents(database).all()}
        assert set(acknowledged) <= known
        assert known == set(range(1, len(known) + 1))


def test_an_older_schema_is_backed_up_and_migrated(tmp_path, make_vm):
    path = tmp_path / "banger.db"
    with Database.open(path) as old:
        Records(old).add_vm(make_vm("a", "a" * 12))
    with Database.open(path, LATER) as new:
        assert new.rows("SELECT name, colour FROM vms") == [("a", "red")]
    backup = tmp_path / f"banger.db.v{NOW}.backup"
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with closing(sqlite3.connect(backup)) as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (NOW,)
        assert copy.execute("SELECT name FROM vms").fetchall() == [("a",)]
        assert (
            copy.execute("SELECT * FROM pragma_table_info('vms') WHERE name = 'colour'").fetchall()
            == []
        )
    backup.replace(path)
    for journal in tmp_path.glob("banger.db-*"):
        journal.unlink()
    with Database.open(path) as restored:
        assert Records(restored).vm("a").name == "a"


def test_a_failing_migration_leaves_the_old_schema_usable(tmp_path):
    path = tmp_path / "banger.db"
    Database.open(path).close()
    broken = (
        *MIGRATIONS,
        ("CREATE TABLE extra (x) STRICT", "CREATE TABLE half (x INTEGER)", "oops"),
    )
    with pytest.raises(BangerError, match="cannot use"):
        Database.open(path, broken)
    with Database.open(path) as database:
        names = {row[0] for row in database.rows("SELECT name FROM sqlite_master")}
        assert database.rows("PRAGMA user_version") == [(NOW,)]
    assert "half" not in names


def test_kill_in_the_middle_of_a_migration(tmp_path):
    path = tmp_path / "banger.db"
    Database.open(path).close()
    code = (
        "import os, sys; from pathlib import Path; from banger_core.store import database as d\n"
        "real = d._transaction\n"
        "from contextlib import contextmanager\n"
        "@contextmanager\n"
        "def dying(connection):\n"
        "    with real(connection):\n"
        "        yield\n"
        "        os.kill(os.getpid(), 9)\n"
        "d._transaction = dying\n"
        "d.Database.open(Path(sys.argv[1]), (*d.MIGRATIONS, ('CREATE TABLE more (x INTEGER)',)))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    with Database.open(path) as database:
        assert database.rows("PRAGMA user_version") == [(NOW,)]
        assert database.rows("SELECT 1 FROM sqlite_master WHERE name = 'more'") == []


def test_a_newer_schema_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "banger.db"
    Database.open(path, LATER).close()
    content = path.read_bytes()
    with pytest.raises(BangerError, match="newer banger") as caught:
        Database.open(path)
    assert f"number {NOW + 1}, this banger knows {NOW}" in caught.value.cause
    assert path.read_bytes() == content
    assert not list(tmp_path.glob("*.backup"))


def test_a_damaged_file_is_explained_and_kept(tmp_path):
    path = tmp_path / "banger.db"
    path.write_bytes(b"no database at all " * 500)
    with pytest.raises(IntegrityError, match="is damaged") as caught:
        Database.open(path)
    assert path.read_bytes().startswith(b"no database")
    (advice,) = caught.value.hints
    subprocess.run(["sh", "-ec", advice.partition(": ")[2]], check=True)
    Database.open(path).close()
    assert (tmp_path / "banger.db.damaged/banger.db").read_bytes().startswith(b"no database")


def test_damage_inside_is_found_and_the_backup_offered(tmp_path):
    path = tmp_path / "banger.db"
    with Database.open(path) as database:
        for number in range(200):
            Intents(database).begin("vm", "disk", "x" * 200 + str(number))
    Database.open(path, LATER).close()
    raw = bytearray(path.read_bytes())
    raw[4096 * 8 : 4096 * 12] = b"\xff" * (4096 * 4)
    path.write_bytes(raw)
    with pytest.raises(IntegrityError, match="is damaged") as caught:
        Database.open(path, LATER)
    for advice in caught.value.hints:
        subprocess.run(["sh", "-ec", advice.partition(": ")[2]], check=True)
    with Database.open(path, LATER) as restored:
        assert len(Intents(restored).all()) == 200


def test_a_database_of_another_program_is_refused(tmp_path):
    path = tmp_path / "banger.db"
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE TABLE recipes (x)")
    with pytest.raises(IntegrityError, match="not banger's"):
        Database.open(path)


def test_a_full_disk_is_no_space(database):
    database.rows(f"PRAGMA max_page_count = {database.rows('PRAGMA page_count')[0][0]}")
    with pytest.raises(NoSpace):
        Intents(database).begin("vm", "disk", "x" * 100_000)
    assert Intents(database).all() == []


def test_a_writer_that_never_ends_is_a_conflict(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    path = tmp_path / "banger.db"
    with Database.open(path) as first, Database.open(path) as second:
        with first.transaction(), pytest.raises(Conflict, match="in use"):
            Intents(second).begin("vm", "disk", "x")
        Intents(second).begin("vm", "disk", "x")
