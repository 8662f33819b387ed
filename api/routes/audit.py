"""/api/audit: who changed what."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.params import Parameter

from api.scopes import requires
from engine.clock import iso


class Entry(msgspec.Struct):
    """One thing that somebody did or tried."""

    number: int
    at: str
    actor: str
    action: str
    target: str
    outcome: str
    request_id: str
    address: str
    detail: dict[str, Any]


class AuditLog(msgspec.Struct):
    """One page, the newest first."""

    entries: list[Entry]
    next_cursor: str | None


@get("/api/audit", opt={"scopes": requires("audit.read"), "errors": (400,)}, tags=["audit"])
async def list_audit(
    request: Request[Any, Any, Any],
    actor: Annotated[str | None, Parameter(description="Only what this user did.")] = None,
    action: Annotated[str | None, Parameter(description="keys.generate, keys.revoke, calls.delete, ...")] = None,
    cursor: Annotated[str | None, Parameter(description="next_cursor of the page before.")] = None,
    limit: Annotated[int, Parameter(ge=1, le=500)] = 50,
) -> AuditLog:
    """The audit log, the newest entries first."""
    rows, following = await request.app.state.services.store.audit.list(
        cursor=cursor, limit=limit, actor=actor, action=action
    )
    return AuditLog(
        [
            Entry(r.number, iso(r.at), r.actor, r.action, r.target, r.outcome, r.request_id, r.address, r.detail)
            for r in rows
        ],
        following,
    )


__all__ = ["list_audit"]
