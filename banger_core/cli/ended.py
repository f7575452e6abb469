"""What is said when a session broke off. Light: ``vm exec`` may come here without typer."""

from __future__ import annotations

from banger_core.client.session import Ended


def connection_lost(name: str, ended: Ended, state: str = "") -> int:
    """Tell that the connection to ``name`` was lost; return the exit status (ssh's own 255)."""
    from banger_core.cli.hostkey import wrong_host_key
    from banger_core.errors import GuestFailed
    from banger_core.ui.errors import show_error

    if problem := wrong_host_key(name, ended.log):
        show_error(problem)
        return ended.status
    now = f"; the machine is {state} now" if state else ""
    show_error(
        GuestFailed(
            f"the connection to {name} was lost",
            cause=f"{ended.lost}{now}",
            hints=[f"banger vm show {name}", f"banger vm logs {name}"],
        )
    )
    return ended.status
