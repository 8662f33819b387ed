"""What goes wrong with compliance."""

from __future__ import annotations

from engine.errors import EngineError


class NotRedactable(EngineError):
    """A file that cannot be silenced in parts."""

    code = "compliance.not_redactable"


class GdprDisabled(EngineError):
    """Export and erasure are not switched on, or have nothing to work with."""

    code = "compliance.unavailable"


class UnknownCall(EngineError):
    """Nothing is kept of such a call."""

    code = "compliance.unknown_call"


class CallHeld(EngineError):
    """A legal hold keeps a call, or it still goes on."""

    code = "compliance.held"


class ExportFailed(EngineError):
    """An export could not be written; nothing of it is left."""

    code = "compliance.export_failed"


class AuditLogInUse(EngineError):
    """Another process writes this audit log."""

    code = "compliance.audit_log_in_use"


__all__ = ["AuditLogInUse", "CallHeld", "ExportFailed", "GdprDisabled", "NotRedactable", "UnknownCall"]
