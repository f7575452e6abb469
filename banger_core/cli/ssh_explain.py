"""``banger ssh explain``: who decided what about SSH to a machine."""

from __future__ import annotations

from typing import Any

from banger_core.cli.link import fetch
from banger_core.cli.options import AsJson, VmRef
from banger_core.ui.console import say
from banger_core.ui.human import plain
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_table


def explain(reference: VmRef, as_json: AsJson = False) -> None:
    """Show who decided what about SSH to a machine, and who lost.

    First the settings of policy, then every option that OpenSSH is given for a login. The same
    holds for banger's own connections and for plain ssh, which only shares none.
    """
    found = fetch("vms", reference, "ssh", "explain")
    if as_json:
        show_json(found)
        return
    show_table(
        ("setting", "value", "set by", "locked by"),
        [
            (row["setting"], _shown(row["value"]), row["origin"], row["locked_by"])
            for row in found["settings"]
        ],
    )
    lost = [(row, each) for row in found["settings"] for each in row["lost"]]
    if lost:
        say("")
        show_table(
            ("what lost", "value", "set by", "why"),
            [
                (row["setting"], _shown(each["value"]), each["origin"], each["why"])
                for row, each in lost
            ],
        )
    say("")
    show_table(
        ("option of ssh", "value", "set by"),
        [(row["option"], row["value"], row["origin"]) for row in found["options"]],
    )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return f"{len(value)} keys" if value else "-"
    return plain(value) if value != "" else "-"
