"""/v1/keys: the caller's API keys, making one, revoking one. A key is shown once, in the answer that makes it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, post
from litestar.params import JSONBody, Parameter

from api.auth import Forbidden, Principal, principal_of
from api.errors import InvalidParameter, NotFound
from api.keys import NAME_MAX_CHARS, new_key
from api.scopes import ADMIN, beyond, requires
from engine.clock import iso, iso_or_none
from engine.store import KeyRow

DAY_S = 86_400
EXPIRES_IN_DAYS_MAX = 3650


class KeyView(msgspec.Struct):
    """What is shown of a key."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    plan: str
    owner: str
    team: str | None
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None


class Usage(msgspec.Struct):
    """The budget that all keys of a user share."""

    calls_today: int
    calls_remaining: int
    calls_limit: int


class KeyList(msgspec.Struct):
    """The answer to a listing."""

    keys: list[KeyView]
    usage: Usage


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """What a new key is to be. Without `scopes` it may do what its maker may, apart from administration."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_MAX_CHARS)]
    scopes: list[str] | None = None
    expires_in_days: Annotated[float, msgspec.Meta(gt=0, le=EXPIRES_IN_DAYS_MAX)] | None = None
    owner: str | None = None
    team: str | None = None
    plan: str | None = None


class Generated(msgspec.Struct):
    """The answer that makes a key: the only one that ever holds it."""

    id: str
    key: str
    name: str
    prefix: str
    scopes: list[str]
    created_at: str
    expires_at: str | None


class Revocation(msgspec.Struct, forbid_unknown_fields=True):
    """Which key to revoke."""

    key_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Revoked(msgspec.Struct):
    """The answer to a revocation."""

    key_id: str
    revoked: bool
    revoked_at: str


def view(row: KeyRow) -> KeyView:
    """What may be shown of a row."""
    return KeyView(
        id=row.id, name=row.name, prefix=row.prefix, scopes=list(row.scopes), plan=row.plan, owner=row.owner, team=row.team,
        created_at=iso(row.created_at), expires_at=iso_or_none(row.expires_at), last_used_at=iso_or_none(row.last_used_at),
        revoked_at=iso_or_none(row.revoked_at),
    )  # fmt: skip


@get("/v1/keys", opt={"scopes": requires("keys.read")}, tags=["keys"])
async def list_keys(
    request: Request[Any, Any, Any],
    everyone: Annotated[bool, Parameter(query="all", description="Keys of every user; needs the scope admin.")] = False,
) -> KeyList:
    """Keys of the authenticated user: name, prefix, usage; never the key itself."""
    services, principal = request.app.state.services, principal_of(request)
    if everyone and not principal.may(ADMIN):
        raise Forbidden("Only an administrator lists the keys of everybody")
    rows = await services.store.keys.all() if everyone else await services.store.keys.of_owner(principal.owner)
    usage = await services.budget.usage(principal)
    return KeyList([view(row) for row in rows], Usage(usage.used, usage.remaining, usage.limit))


@post("/v1/keys/generate", status_code=201, opt={"scopes": requires("keys.write"), "audit": "keys.generate"}, tags=["keys"])
async def generate_key(request: Request[Any, Any, Any], data: JSONBody[Wish]) -> Generated:
    """Makes a key. It is shown in this answer only and cannot be retrieved again."""
    services = request.app.state.services
    principal = principal_of(request)
    scopes = _scopes(principal, data.scopes)
    foreign = [name for name in ("owner", "team", "plan") if getattr(data, name) not in (None, getattr(principal, name))]
    if foreign and not principal.may(ADMIN):
        raise Forbidden(f"Only an administrator chooses the {' and the '.join(foreign)} of a key")
    plan = data.plan if data.plan is not None else principal.plan
    if not services.plans.known(plan):
        raise InvalidParameter(f"plan: this server has no plan {plan}")
    now = services.clock()
    try:
        key, row = new_key(
            name=data.name, owner=data.owner or principal.owner, team=data.team or principal.team, plan=plan, scopes=scopes,
            now=now, expires_at=None if data.expires_in_days is None else now + data.expires_in_days * DAY_S,
        )  # fmt: skip
    except ValueError as error:
        raise InvalidParameter(str(error)) from error
    await services.store.keys.add(row)
    request.state.audit = (row.id, {"name": row.name, "scopes": list(row.scopes), "owner": row.owner})
    return Generated(row.id, key, row.name, row.prefix, list(row.scopes), iso(row.created_at), iso_or_none(row.expires_at))


def _scopes(principal: Principal, wanted: list[str] | None) -> frozenset[str]:
    if wanted is None:
        return principal.scopes - {ADMIN}
    try:
        more = beyond(wanted, principal.scopes)
    except ValueError as error:
        raise InvalidParameter(f"scopes: {error}") from error
    if more:
        raise Forbidden(f"A key cannot give what its maker does not have: {', '.join(sorted(more))}")
    return frozenset(wanted)


@delete("/v1/keys/revoke", status_code=200, opt={"scopes": requires("keys.write"), "audit": "keys.revoke", "errors": (404,)}, tags=["keys"])
async def revoke_key(request: Request[Any, Any, Any], data: JSONBody[Revocation]) -> Revoked:
    """Revokes a key at once. Revoked keys cannot be restored."""
    services = request.app.state.services
    principal = principal_of(request)
    row = await services.store.keys.by_id(data.key_id)
    if row is None or not (row.owner == principal.owner or principal.may(ADMIN)):
        raise NotFound("There is no such key")
    now = services.clock()
    if ADMIN in row.scopes and row.revoked_at is None and not await _another_admin(services, row, now):
        raise InvalidParameter("This is the last key of an administrator; make another before revoking it")
    await services.store.keys.revoke(row.id, now)
    request.state.audit = (row.id, {"name": row.name, "owner": row.owner})
    return Revoked(row.id, True, iso(row.revoked_at if row.revoked_at is not None else now))


async def _another_admin(services: Any, row: KeyRow, now: float) -> bool:
    return any(
        other.id != row.id
        and ADMIN in other.scopes
        and other.revoked_at is None
        and (other.expires_at is None or other.expires_at > now)
        for other in await services.store.keys.all()
    )


__all__ = ["KeyView", "generate_key", "list_keys", "revoke_key", "view"]
