"""The kinds of plugins that can be written, and what each template is made of. Standard library
only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Template:
    """One kind. ``module`` is the file with the implementation, ``hook`` the one that the plugin
    implements, ``summary`` one line about what the new plugin does. ``examples`` are the options
    with which ``banger plugin check NAME`` can run every suite.
    """

    module: str
    hook: str
    summary: str
    examples: str = ""

    def check_words(self, name: str) -> str:
        """The command that tests the new plugin ``name`` where it is installed."""
        return f"banger plugin check {name}{self.examples.format(name=name)}"


TEMPLATES = {
    "image-source": Template(
        "source",
        "banger_image_sources",
        "Turns references into images",
        " --with ref={name}://hello --with missing={name}://no-such-image",
    ),
    "kernel-provider": Template("kernels", "banger_kernel_providers", "Provides kernels by name"),
    "network": Template("network", "banger_networks", "Connects machines to their host"),
    "network-attachment": Template(
        "attachment", "banger_network_attachments", "Publishes machines that can be reached"
    ),
    "driver": Template("driver", "banger_vmm_drivers", "Runs machines with another VMM"),
    "ssh-policy": Template("policy", "banger_ssh_policies", "Sets options of SSH connections"),
    "command": Template("commands", "banger_commands", "Adds a command to banger"),
    "doctor-check": Template("check", "banger_doctor_checks", "Looks at one aspect of the host"),
    "event-sink": Template("sink", "banger_event_sinks", "Takes note of what happens"),
    "service": Template("service", "banger_services", "Works beside the daemon"),
}
"""By the word that ``banger plugin new`` takes."""
