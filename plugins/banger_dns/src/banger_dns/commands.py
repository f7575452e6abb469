"""``banger dns``: names of machines, and how this host finds them."""

from __future__ import annotations

from banger_core.api import AsJson, Noun, ask, show_json, show_table, tell, verb

dns = Noun("dns", "Names of machines, and how this host finds them")


@verb(dns, "list", aliases=("ls",))
def list_names(as_json: AsJson = False) -> None:
    """List the names of machines that run, and their addresses."""
    names = ask("dns", "list")["names"]
    if as_json:
        show_json(names)
    elif not names:
        tell("no machine runs")
    else:
        show_table(
            ("name", "addresses"), [(each["name"], " ".join(each["addresses"])) for each in names]
        )
