"""Host keys of VMs, pinned and forgotten, and a policy that keeps old algorithms out."""
