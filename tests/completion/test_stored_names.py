"""Names that are stored: read without a daemon, without a trace, and whatever the state."""

from __future__ import annotations

import sqlite3

from banger_core.client.names import stored_names
from banger_core.config.paths import Paths
from banger_core.store.database import Database


def test_they_are_read_while_nobody_has_the_database_open(lived_in):
    before = sorted(lived_in.state.rglob("*"))
    assert stored_names(lived_in, "vms") == ["build", "web", "web-2"]
    assert stored_names(lived_in, "images")[0] == "debian:bookworm"
    assert stored_names(lived_in, "kernels") == ["bookworm-cloud", "own-6.12"]
    assert sorted(lived_in.state.rglob("*")) == before


def test_they_are_new_while_somebody_writes(lived_in):
    with Database.open(lived_in.database) as database:
        with database.transaction() as connection:
            connection.execute("INSERT INTO vms VALUES ('n', 'new', 'stopped', NULL, 0, '{}')")
        with database.transaction():
            assert "new" in stored_names(lived_in, "vms")


def test_there_are_none_where_nothing_is(tmp_path):
    place = tmp_path / "none"
    for kind in ("vms", "images", "kernels"):
        assert stored_names(Paths(place, place, place, place), kind) == []
    assert not place.exists()


def test_a_database_of_somebody_else_has_none(lived_in):
    lived_in.database.write_bytes(b"no database" * 100)
    assert stored_names(lived_in, "vms") == []
    lived_in.database.unlink()
    sqlite3.connect(lived_in.database).close()
    assert stored_names(lived_in, "images") == []
