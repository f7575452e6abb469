"""What this plugin declares."""

from __future__ import annotations

from collections.abc import Iterable

from banger_core.api import EventSink, Settings, hookimpl

BANGER_API = 1


@hookimpl
def banger_event_sinks() -> Iterable[EventSink]:
    """Write down what was asked, and what happened to machines."""
    yield EventSink(
        name="audit-log",
        summary="Appends a line of JSON for each operation and each change of a machine",
        load="audit_log.sink:AuditLog",
        kinds=("operation.*", "vm.*"),
    )


@hookimpl
def banger_settings() -> Iterable[Settings]:
    """Let the user say where."""
    yield Settings(
        name="audit-log", summary="where the audit log is", load="audit_log.settings:AuditSettings"
    )
