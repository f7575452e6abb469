"""The guest runtime: what banger's own initramfs holds, and what each VM is told at boot.

The scripts in ``files/`` run inside the guest; everything else here runs on the host and builds
the initramfs, the seed and the host key. No file of the guest is ever executed on the host.
"""

from __future__ import annotations
