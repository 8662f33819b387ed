"""What callers may be allowed: the table of scopes, the roles made of them, and how a route states what it needs.

A route says `opt={"scopes": requires("calls.read")}` or `opt={"scopes": PUBLIC}`. A route that says nothing is closed to
everybody, and `undeclared` names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol, cast

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.routes import HTTPRoute

ADMIN: Final = "admin"

SCOPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        ADMIN: "Everything, including scopes that later versions add.",
        "agent.read": "See AI conversations, their state and their configuration.",
        "agent.write": "Steer AI conversations: inject text, transfer, hang up, change what they are told.",
        "analytics.read": "Read sentiment, keywords and agent figures.",
        "audit.read": "Read the audit log.",
        "calls.delete": "Delete calls with everything that belongs to them.",
        "calls.dial": "Place calls.",
        "calls.read": "List and read calls: ladders, findings, streams.",
        "calls.summary.read": "Read summaries of calls.",
        "calls.summary.write": "Have calls summarised, and change what a summary is asked to contain.",
        "calls.transcription.read": "Read transcripts of calls.",
        "calls.transcription.write": "Have calls transcribed.",
        "calls.write": "Change what is kept about calls, such as labels and notes.",
        "cluster.read": "See nodes, leadership and migrations.",
        "cluster.write": "Drain nodes and move sessions.",
        "compliance.erase": "Erase the personal data of a call for good.",
        "compliance.export": "Export the personal data of a call.",
        "compliance.read": "See which compliance rules are in force.",
        "config.read": "Read the configuration, secrets left out.",
        "config.write": "Validate and reload the configuration.",
        "keys.read": "List API keys.",
        "keys.write": "Make and revoke API keys.",
        "metrics.read": "Read metrics.",
        "realtime.read": "Follow live transcripts and analytics over WebSockets.",
        "recordings.delete": "Delete recordings, and set or release legal holds.",
        "recordings.read": "List, play and download recordings.",
        "recordings.write": "Upload recordings and change their labels.",
        "sessions.read": "See recording sessions and their figures.",
        "sessions.write": "Pause, resume, mute and end recording sessions.",
        "settings.read": "Read account-wide settings.",
        "settings.write": "Change account-wide settings.",
        "status.read": "Read the state of the server in detail.",
        "stt.purge": "Empty the queue of transcription jobs.",
        "stt.read": "See transcription jobs and their figures.",
        "stt.submit": "Submit transcription jobs.",
        "traces.analyze": "Have SIP traces analysed.",
        "traces.raw.read": "Read SIP messages unredacted, and export captures.",
        "webhooks.read": "List webhooks and their deliveries.",
        "webhooks.write": "Create, change and delete webhooks.",
    }
)
ALL: Final = frozenset(SCOPES)

_VIEWER = frozenset(
    {"agent.read", "analytics.read", "calls.read", "calls.summary.read", "metrics.read", "sessions.read",
     "status.read", "stt.read"}
)  # fmt: skip
_ANALYST = _VIEWER | {
    "calls.summary.write", "calls.transcription.read", "calls.transcription.write", "calls.write", "realtime.read",
    "recordings.read", "stt.submit", "traces.analyze", "traces.raw.read",
}  # fmt: skip
ROLES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "admin": frozenset({ADMIN}),
        "operator": _ANALYST
        | {
            "agent.write", "calls.dial", "cluster.read", "cluster.write", "compliance.read", "config.read",
            "config.write", "recordings.write", "sessions.write", "settings.read", "settings.write", "stt.purge",
            "webhooks.read", "webhooks.write",
        },
        "analyst": _ANALYST,
        "viewer": _VIEWER,
        "agent": frozenset({"agent.read", "agent.write", "calls.dial", "calls.read", "realtime.read", "status.read"}),
        "compliance": _VIEWER
        | {"audit.read", "calls.delete", "compliance.erase", "compliance.export", "compliance.read", "recordings.delete"},
    }
)  # fmt: skip

PUBLIC: Final[frozenset[str]] = frozenset()
"""What a route needs that anybody may call, without a key."""


class _Caller(Protocol):
    def demand(self, needed: frozenset[str]) -> None: ...


def known(names: Iterable[str]) -> frozenset[str]:
    """The names as a set. Raises ValueError for one that is no scope."""
    wanted = frozenset(names)
    if strange := wanted - ALL:
        raise ValueError(f"no such scope: {', '.join(sorted(strange))}")
    return wanted


def granted(names: Iterable[str]) -> frozenset[str]:
    """What a caller holding these names may do. `admin` is everything; names that are no scope grant nothing, so that a key
    outlives the scope it was made for."""
    held = ALL.intersection(names)
    return ALL if ADMIN in held else held


def beyond(wanted: Iterable[str], held: frozenset[str]) -> frozenset[str]:
    """The part of `wanted` that somebody who may do `held` may not pass on to a new key. Raises ValueError for a name that is
    no scope."""
    return granted(known(wanted)) - held


def requires(*scopes: str) -> frozenset[str]:
    """What a route needs, for `opt={"scopes": ...}`: a caller must hold all of it. Raises ValueError for a name that is no
    scope, and for no name at all (that is PUBLIC)."""
    if not scopes:
        raise ValueError("requires() takes at least one scope; a route that needs none says PUBLIC")
    return known(scopes)


class Roles:
    """Named sets of scopes: those of ROLES, and what a configuration adds or redefines."""

    def __init__(self, configured: Mapping[str, Iterable[str]] | None = None) -> None:
        """Raises ValueError for a role that names what is no scope."""
        self._roles = dict(ROLES)
        for name, scopes in (configured or {}).items():
            try:
                self._roles[name] = known(scopes)
            except ValueError as error:
                raise ValueError(f"role {name}: {error}") from None

    @property
    def names(self) -> list[str]:
        """All roles, sorted."""
        return sorted(self._roles)

    def scopes(self, names: Iterable[str]) -> frozenset[str]:
        """The scopes of these roles together. A name that is no role grants nothing."""
        return frozenset().union(*(self._roles.get(name, PUBLIC) for name in names))


def needed_by(handler: BaseRouteHandler) -> frozenset[str] | None:
    """What a route needs; None when it does not say, or says what is no set of scopes. The OPTIONS answers that Litestar adds
    by itself tell methods only and are public."""
    needed = handler.opt.get("scopes")
    if isinstance(needed, frozenset) and needed <= ALL:
        return needed
    if isinstance(handler, HTTPRouteHandler) and handler.fn.__module__ == HTTPRoute.__module__:
        return PUBLIC
    return None


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Lets a caller pass who holds what the route needs; closed for a route that does not say.

    Litestar copies the route handler for every guard, which costs more than the check, so a server that runs
    `api.auth.Identify` needs no guard: that checks the same.
    """
    needed = needed_by(handler)
    if needed is None:
        raise PermissionDeniedException("This route does not say who may call it")
    if needed:
        caller = cast("_Caller | None", connection.scope.get("principal"))
        if caller is None:
            raise PermissionDeniedException("Nobody identified the caller of this route")
        caller.demand(needed)


def undeclared(app: Litestar) -> list[str]:
    """The routes that do not say what they need, as "GET /path", sorted."""
    found = set()
    for route in app.routes:
        handlers = route.route_handlers if isinstance(route, HTTPRoute) else [route.route_handler]
        for handler in handlers:
            if needed_by(handler) is None:
                methods = handler.http_methods if isinstance(handler, HTTPRouteHandler) else {route.scope_type.name}
                found |= {f"{method} {route.path}" for method in methods}
    return sorted(found)


__all__ = [
    "ADMIN", "ALL", "PUBLIC", "ROLES", "SCOPES", "Roles", "beyond", "granted", "guard", "known", "needed_by", "requires",
    "undeclared",
]  # fmt: skip
