"""What runs beside Firecracker on the host, as programs of their own that outlive the daemon.

Standard library only, and nothing of banger's core: these are small, long-lived processes.
"""

from __future__ import annotations
