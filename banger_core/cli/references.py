"""References to images, as people type them."""

from __future__ import annotations

import os

from banger_core.errors import HostNotReady, UsageProblem


def image_reference(text: str) -> str:
    """Return ``text`` when it can name an image, with a path in it made absolute.

    Raises UsageProblem when it names nothing.
    """
    if not text.rpartition("://")[2].strip():
        raise UsageProblem(
            f"{text!r} names no image",
            cause="an image is SCHEME://REF, or the name of one that is here",
            hints=["banger image list", "banger image pull debian://bookworm"],
        )
    return with_absolute_path(text)


def is_path(text: str) -> bool:
    """Say whether ``text`` names a directory and no image: it begins as only paths do."""
    return text in (".", "..", "~") or text.startswith(("./", "../", "/", "~/"))


def with_absolute_path(text: str) -> str:
    """Return a reference whose path, when its scheme takes one, is absolute: the daemon works in
    another directory. ``~`` is the home of the user. Everything else comes back as it is.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or not rest or rest.startswith("/") or scheme.lower() not in _path_schemes():
        return text
    return f"{scheme}://{absolute_path(rest, text, f'{scheme}:///WHOLE/PATH')}"


def absolute_path(path: str, text: str = "", hint: str = "/WHOLE/PATH") -> str:
    """Return ``path``, of this command's directory or of the user's home (``~``), as an absolute
    one. Raises HostNotReady, about ``text`` and with ``hint``, when that directory is gone.
    """
    try:
        return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111
    except FileNotFoundError as problem:
        raise HostNotReady(
            f"{text or path} cannot be found",
            cause="the directory that this command runs in is gone",
            hints=[hint],
        ) from problem


def _path_schemes() -> set[str]:
    """The schemes whose references begin with a path, of all plugins that may be used."""
    from banger_core.config.paths import Paths
    from banger_core.plugins.index import load_index

    return {
        scheme
        for plugin in load_index(Paths.from_environment()).usable()
        for source in plugin.declarations.get("banger_image_sources", ())
        for scheme in source.get("path_schemes", ())
    }
