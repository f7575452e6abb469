"""``banger config``: which settings are in effect, and where they come from."""

from __future__ import annotations

from banger_core.cli.group import Noun, verb
from banger_core.cli.link import fetch
from banger_core.cli.options import AsJson
from banger_core.config.paths import Paths
from banger_core.ui.console import say
from banger_core.ui.human import plain
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_table

config = Noun("config", "The configuration in effect")


@verb(config, "show")
def show(as_json: AsJson = False) -> None:
    """Show every setting, its value, and who set it."""
    answer = fetch("config")
    if as_json:
        show_json(answer)
        return
    columns = list(dict.fromkeys(key for row in answer["settings"] for key in row))
    rows = [[plain(row.get(key)) for key in columns] for row in answer["settings"]]
    show_table(columns, rows)


@verb(config, "path")
def path() -> None:
    """Say where the configuration file is, or would be."""
    say(str(Paths.from_environment().settings_file))
