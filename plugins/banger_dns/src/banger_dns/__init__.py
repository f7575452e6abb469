"""Names for VMs: a responder for ``NAME.vm``, mapdns, and the host's resolver."""
