"""One suite per contract: subclass it, say what to test, and pytest asks for the rest.

from banger_core.testing.contracts import ImageSourceContract

class TestNix(ImageSourceContract):
make = NixSource
ref = "nix://hello"
missing = "nix://no-such-package"
"""

from __future__ import annotations

from banger_core.testing.contracts.attachment import NetworkAttachmentContract
from banger_core.testing.contracts.boot import tiny_guest
from banger_core.testing.contracts.command import CommandContract
from banger_core.testing.contracts.doctor import DoctorCheckContract
from banger_core.testing.contracts.driver import VmmDriverContract
from banger_core.testing.contracts.guest import GuestRuntimeContract
from banger_core.testing.contracts.image import ImageSourceContract
from banger_core.testing.contracts.kernel import KernelCatalogueContract, KernelProviderContract
from banger_core.testing.contracts.network import NetworkContract
from banger_core.testing.contracts.policy import SshPolicyContract
from banger_core.testing.contracts.service import ServiceContract
from banger_core.testing.contracts.settings import SettingsContract
from banger_core.testing.contracts.sink import EventSinkContract

__all__ = [
    "CommandContract",
    "DoctorCheckContract",
    "EventSinkContract",
    "GuestRuntimeContract",
    "ImageSourceContract",
    "KernelCatalogueContract",
    "KernelProviderContract",
    "NetworkAttachmentContract",
    "NetworkContract",
    "ServiceContract",
    "SettingsContract",
    "SshPolicyContract",
    "VmmDriverContract",
    "tiny_guest",
]
