"""What this plugin declares."""

from __future__ import annotations

from collections.abc import Iterable

from banger_core.api import DoctorCheck, NetworkAttachment, SshPolicy, hookimpl

BANGER_API = 1


@hookimpl
def banger_network_attachments() -> Iterable[NetworkAttachment]:
    """Pin host keys while VMs can be reached."""
    yield NetworkAttachment(
        name="known-hosts",
        summary="Pins each VM's SSH host key in banger's own known_hosts",
        load="banger_ssh.attachment:KnownHosts",
        requires=("bin:ssh", "bin:ssh-keygen"),
    )


@hookimpl
def banger_ssh_policies() -> Iterable[SshPolicy]:
    """Keep old algorithms out."""
    yield SshPolicy(
        name="modern-crypto",
        summary="Leaves out SSH algorithms that are past their time",
        load="banger_ssh.policy:modern_crypto",
    )


@hookimpl
def banger_doctor_checks() -> Iterable[DoctorCheck]:
    """Look at OpenSSH, the key and the pins."""
    yield DoctorCheck(
        name="ssh",
        summary="OpenSSH, banger's key and its known hosts",
        load="banger_ssh.doctor:SshCheck",
    )
