"""The configuration of ssh that a user's own can include: every VM that runs, and a last word for
names that have none.
"""

from __future__ import annotations

import re
from pathlib import Path

from banger_core.config.paths import Paths, secure_dir
from banger_core.engine.ssh import ssh_path
from banger_core.errors import UsageProblem
from banger_core.store.content import write_atomic

_TEXT = """\
# Written by banger, and again whenever its daemon starts: changes are lost.
# It is used when ~/.ssh/config includes it: banger ssh config --install

# One block for each machine that runs
Include {blocks}

# A name of a machine that does not run. Nothing of it is given to a shell
Host *.vm
    ProxyCommand sh -c 'printf "%%s\\n" "$@" >&2; exit 1' sh {lines}
    StrictHostKeyChecking yes
    UserKnownHostsFile {known_hosts}
    GlobalKnownHostsFile none
    KnownHostsCommand none
    CheckHostIP no
    UpdateHostKeys no
    VerifyHostKeyDNS no
    IdentityFile {identity}
    IdentitiesOnly yes
    PreferredAuthentications publickey
    ForwardAgent no
    ForwardX11 no
    ControlMaster no
    ControlPath none
    LogLevel QUIET
"""

_LINES = (
    "error: no machine of this name runs",
    "cause: it is stopped, or there is none, or its policy cannot be read",
    "try: banger ssh NAME    (says which)",
    "try: banger vm start NAME",
)


def include_file(paths: Paths) -> Path:
    """Where the configuration is kept."""
    return paths.ssh / "config"


def include_text(paths: Paths, identity: Path) -> str:
    """Return the configuration; ``identity`` is the private key. Raises UsageProblem for paths
    that ssh cannot use.
    """
    return _TEXT.format(
        blocks=include_path(paths.ssh / "vms", "/*.conf"),
        lines=" ".join(f"'{line}'" for line in _LINES),
        known_hosts=ssh_path(paths.known_hosts),
        identity=ssh_path(identity),
    )


def write_include(paths: Paths, identity: Path) -> Path:
    """Write the configuration (0600), and return where. Raises UsageProblem."""
    text = include_text(paths, identity)
    secure_dir(paths.ssh)
    write_atomic(include_file(paths), text)
    return include_file(paths)


def include_path(path: Path, pattern: str = "") -> str:
    r"""Quote ``path`` for ``Include``, which takes ``"`` and ``\``, then glob(7) patterns.
    ``pattern`` is put after it as it is.

    Raises UsageProblem for ``%`` and ``${``, which newer versions expand and older ones do not,
    and for control characters.
    """
    text = str(path)
    if not path.is_absolute() or "%" in text or "${" in text or not text.isprintable():
        raise UsageProblem(
            f"{text!r} cannot be included in a configuration of ssh",
            cause="versions of ssh do not agree on '%', '${' and control characters there",
            hints=["set BANGER_STATE_DIR to another directory"],
        )
    globbed = re.sub(r"([*?\[])", r"[\1]", text.replace("\\", "\\\\"))
    quoted = globbed.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}{pattern}"'
