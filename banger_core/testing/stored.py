"""A state that holds names only, for what reads nothing else of it."""

from __future__ import annotations

from collections.abc import Iterable

from banger_core.config.paths import Paths, secure_dir
from banger_core.store.database import Database


def store_names(
    paths: Paths,
    *,
    vms: Iterable[str] = (),
    images: Iterable[str] = (),
    kernels: Iterable[str] = (),
) -> None:
    """Enter VMs, images and kernels of those names, whose records are empty."""
    secure_dir(paths.state)
    with Database.open(paths.database) as database, database.transaction() as connection:
        for name in vms:
            connection.execute("INSERT INTO vms VALUES (?, ?, '', NULL, 0, '{}')", (name, name))
        for name in images:
            connection.execute("INSERT INTO images VALUES (?, ?, '', 0, '{}')", (name, name))
    for name in kernels:
        secure_dir(secure_dir(paths.kernels) / name)
