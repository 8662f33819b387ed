"""Who changed what: a row of the audit log for every request to a route that says `opt={"audit": "action"}`.

Written when the answer's status is known and before its last byte leaves, for refused and failed attempts too. What a handler
puts into `request.state.audit`, (target, details), is told with it; bodies and keys never are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import ANONYMOUS, client_address
from engine.store import AuditRow

log = logging.getLogger("trunkline.audit")


class Audit:
    """A Litestar middleware over the store's audit log."""

    def __init__(self, add: Callable[[AuditRow], Any], clock: Callable[[], float]) -> None:
        self._add = add
        self._clock = clock

    def __call__(self, app: ASGIApp) -> ASGIApp:
        async def audited(scope: Scope, receive: Receive, send: Send) -> None:
            handler: Any = scope.get("route_handler")
            action = handler.opt.get("audit") if handler is not None else None
            if action is None:
                await app(scope, receive, send)
                return
            seen: dict[str, int] = {}

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    seen["status"] = message["status"]
                    await self._write(scope, action, message["status"])
                await send(message)

            try:
                await app(scope, receive, noting)
            except BaseException as error:
                if not seen:
                    await self._write(scope, action, getattr(error, "status", 500))
                raise

        return audited

    async def _write(self, scope: Scope, action: str, status: int) -> None:
        told: Any = scope
        principal = told.get("principal", ANONYMOUS)
        target, detail = told.get("state", {}).get("audit", ("", {}))
        row = AuditRow(
            at=self._clock(), actor=principal.owner or "anonymous", action=action, target=target,
            outcome="done" if status < 400 else f"refused {status}", request_id=told.get("request_id", ""),
            address=client_address(told), detail=detail,
        )  # fmt: skip
        try:
            await self._add(row)
        except Exception:
            # the change has happened: the log of the process is the second place that tells of it
            log.exception("the audit log did not take %s by %s of %s", row.action, row.actor, row.target)


__all__ = ["Audit"]
