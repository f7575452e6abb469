"""The block of ssh_config(5) that reaches one VM: the same options as its command line."""

from __future__ import annotations

from banger_core.model import SshTarget

_NOTHING_ELSE = (
    # What the user wants for all hosts comes later in their file, and must not come in between
    ("ProxyCommand", "none"),
    ("ProxyJump", "none"),
    ("KnownHostsCommand", "none"),
    ("PermitLocalCommand", "no"),
)


def ssh_config_block(target: SshTarget) -> str:
    """Return the block for ``NAME.vm``, made of the command line for logins.

    Only the shared connection is left out: ports that plain ssh forwards over it would stay open
    after the command has ended, as long as the machine runs.
    """
    words = list(target.shell or target.argv)
    user, _, host = words[-1].rpartition("@")
    pairs = [("HostName", host), ("User", user), *_NOTHING_ELSE]
    # Each option stands after a flag of its own: -F FILE, -o NAME=VALUE, -p PORT
    for flag, word in zip(words[1:-1:2], words[2:-1:2], strict=True):
        if flag == "-o":
            name, _, value = word.partition("=")
            pairs.append((name, "none" if name == "ControlPath" else value))
        elif flag == "-p":
            pairs.append(("Port", word))
    lines = [f"Host {target.name}.vm", *(f"    {name} {value}" for name, value in pairs)]
    return "\n".join(lines) + "\n"
