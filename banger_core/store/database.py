"""One SQLite file: opened safely, migrated forward, written by one writer at a time.

WAL keeps it whole when a process is killed, ``synchronous=FULL`` also when the power fails: an
intent is on the disk before its effect begins. Writes are few, so the sync is no burden.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from banger_core.errors import BangerError, Conflict, IntegrityError, NoSpace
from banger_core.store.content import sync_directory
from banger_core.store.locks import FileLock
from banger_core.store.reserve import Reserve
from banger_core.store.schema import APPLICATION_ID, MIGRATIONS

BUSY_SECONDS = 10.0
"""How long a writer waits for another one."""


class Database:
    """An open database. Its methods may be called from any thread, one at a time goes through."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._reserve = Reserve(path.with_name(path.name + ".reserve"))
        self._reserve.keep()

    @classmethod
    def open(cls, path: Path, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> Database:
        """Open or create the database and bring its tables up to date.

        Before each migration an existing one is copied to ``PATH.v<N>.backup``. Raises
        IntegrityError when the file is damaged or not banger's, BangerError when a newer banger
        has written it, and NoSpace.
        """
        lock = FileLock(path.with_name(path.name + ".lock"))
        lock.acquire(BUSY_SECONDS)
        try:
            with _explained(path):
                connection = _connect(path)
                try:
                    _check(connection, path, len(migrations))
                    # Not before: it changes the file, which may be none of ours
                    connection.execute("PRAGMA journal_mode = WAL")
                    _migrate(connection, path, migrations)
                except BaseException:
                    connection.close()
                    raise
        finally:
            lock.release()
        return cls(path, connection)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything in the block, or nothing of it, is committed when the block ends.

        ``sqlite3.IntegrityError`` (a broken constraint) passes through; other failures of SQLite
        become errors for people.
        """
        with self._lock, _explained(self.path), _transaction(self._connection):
            yield self._connection
        self._reserve.keep()

    def settle(self, sql: str, *parameters: Any) -> int:
        """Run one statement in a transaction and return how many rows it changed. For what notes
        that something has ended or is undone, which frees space in the end: when the disk is full,
        it gets what was set aside. Raises as ``transaction`` does.
        """
        try:
            return self._run(sql, parameters)
        except NoSpace:
            if not self._reserve.give():
                raise
        return self._run(sql, parameters)

    def _run(self, sql: str, parameters: tuple[Any, ...]) -> int:
        with self.transaction() as connection:
            return connection.execute(sql, parameters).rowcount

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with self._lock, _explained(self.path):
            found = self._connection.execute(sql, parameters).fetchall()
        self._reserve.keep()
        return found

    def close(self) -> None:
        """Close; what was committed stays. Idempotent."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _connect(path: Path) -> sqlite3.Connection:
    # Created by us and not by SQLite, so that it is private from birth; the journal files take
    # its mode. An existing one is never opened here: closing it would drop SQLite's own locks.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path, known: int) -> None:
    found = _pragma(connection, "quick_check")
    if found != "ok":
        raise _damaged(path, found)
    version, tables = _version(connection), _pragma(connection, "schema_version")
    if tables and _pragma(connection, "application_id") != APPLICATION_ID:
        raise IntegrityError(
            f"{path} is not banger's database",
            cause="another program made it",
            hints=["set BANGER_STATE_DIR to a directory of banger's own"],
        )
    if version > known:
        raise BangerError(
            f"{path} was written by a newer banger",
            cause=f"its schema is number {version}, this banger knows {known}",
            hints=["upgrade banger", "set BANGER_STATE_DIR to use another state"],
        )


def _migrate(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Sequence[str]]
) -> None:
    first = _version(connection)
    for number in range(first, len(migrations)):
        if first:
            _back_up(connection, path.with_name(f"{path.name}.v{number}.backup"))
        with _transaction(connection):
            for statement in migrations[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number + 1}")


def _back_up(connection: sqlite3.Connection, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.partial")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with closing(sqlite3.connect(temporary)) as copy:
            connection.backup(copy)
        os.fsync(handle)
        temporary.rename(target)
        sync_directory(target.parent)
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.DatabaseError as problem:
        # The low byte is the primary result code (sqlite.org/rescode.html)
        code = getattr(problem, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise NoSpace(
                f"no space left for {path}", cause=str(problem), hints=[f"df -h {path.parent}"]
            ) from problem
        if code == sqlite3.SQLITE_BUSY:
            raise Conflict(
                f"{path} is in use",
                cause=f"another process writes for over {BUSY_SECONDS:g} s",
                hints=["run the command again"],
            ) from problem
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise _damaged(path, str(problem)) from problem
        raise BangerError(
            f"cannot use {path}", cause=str(problem), hints=[f"ls -l {path.parent}"]
        ) from problem


def _damaged(path: Path, cause: str) -> IntegrityError:
    # A journal must never meet another database file than its own, so it goes along
    journals = [path.with_name(path.name + end) for end in ("-wal", "-shm")]
    files = shlex.join(str(file) for file in (path, *journals) if file.exists())
    aside = shlex.quote(f"{path}.damaged")
    hints = [f"start afresh: mkdir {aside} && mv {files} {aside}"]
    backups = sorted(path.parent.glob(f"{path.name}.v*.backup"), key=lambda p: p.stat().st_mtime)
    if backups:
        restored = shlex.join([str(backups[-1]), str(path)])
        hints.append(f"or go back to the last backup, after that: cp {restored}")
    return IntegrityError(f"{path} is damaged", cause=cause, hints=hints)


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _version(connection: sqlite3.Connection) -> int:
    return int(_pragma(connection, "user_version"))
