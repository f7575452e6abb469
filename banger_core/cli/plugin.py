"""``banger plugin``: what is installed beside the core."""

from __future__ import annotations

from banger_core.cli.group import Noun, verb
from banger_core.cli.link import fetch
from banger_core.cli.options import AsJson
from banger_core.ui.human import plain
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_table

plugin = Noun("plugin", "Plugins that are installed")


@verb(plugin, "list", aliases=("ls",))
def list_plugins(as_json: AsJson = False) -> None:
    """List plugins, broken and disabled ones too."""
    plugins = fetch("plugins")["plugins"]
    if as_json:
        show_json(plugins)
        return
    show_table(
        ("name", "status", "distribution", "version", "note"),
        [
            tuple(
                plain(row.get(key))
                for key in ("name", "status", "distribution", "version", "error")
            )
            for row in plugins
        ],
    )
