"""The tables, as migrations: forward only, never edited once released, one transaction each.

``PRAGMA user_version`` counts the migrations that a database has had.
"""

from __future__ import annotations

APPLICATION_ID = 0x62616E67
"""``bang``: marks the file as ours (``PRAGMA application_id``)."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE images (
            id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, ref TEXT NOT NULL,
            created_at REAL NOT NULL, record TEXT NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE vms (
            id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, state TEXT NOT NULL,
            image_id TEXT REFERENCES images (id), created_at REAL NOT NULL, record TEXT NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE intents (
            id INTEGER PRIMARY KEY AUTOINCREMENT, vm_id TEXT NOT NULL, kind TEXT NOT NULL,
            subject TEXT NOT NULL, data TEXT NOT NULL, begun_at REAL NOT NULL, done_at REAL
        ) STRICT
        """,
        "CREATE INDEX images_by_ref ON images (ref)",
        "CREATE INDEX vms_by_image ON vms (image_id)",
        "CREATE INDEX intents_by_vm ON intents (vm_id)",
    ),
    (
        """
        CREATE TABLE snapshots (
            id TEXT PRIMARY KEY, vm_id TEXT NOT NULL REFERENCES vms (id), name TEXT NOT NULL,
            created_at REAL NOT NULL, record TEXT NOT NULL, UNIQUE (vm_id, name)
        ) STRICT
        """,
    ),
)
