"""The life cycle of VMs: steps with undo, supervision, readiness, reconciliation."""
