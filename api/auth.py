"""Who calls: API keys and JSON Web Tokens to principals, and the middleware that lets them in.

A key that was seen lately is answered from memory. What is known of it is read again from the store in the background when it is
half of `fresh_s` old, and before the answer when it is older than `fresh_s`, so that no request of a busy key waits for the
store and a revoked key is refused everywhere within a second. When the store fails, what is known stays good until it is
`REVOCATION_S` old; then the answer is 503, since a key that nobody can check may have been revoked.

Guessing is bounded three ways: what cannot be a key is not looked up, an unknown key is remembered for `UNKNOWN_S`, and an
address with too many failures in a minute is refused without a look at what it brings, unless that is already known to be good.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from contextlib import nullcontext
from typing import Annotated, Any, Final, Literal, Protocol, cast
from urllib.parse import unquote_to_bytes

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from litestar.types import ASGIApp, Receive, Scope, Send

from api.errors import ApiError
from api.keys import PREFIX, digest_of, is_well_formed, same_digest
from api.scopes import ADMIN, ALL, Roles, granted, needed_by
from engine.store import KeyRow, Owner

log = logging.getLogger("trunkline.auth")

REVOCATION_S: Final = 1.0
UNKNOWN_S: Final = 5.0
STORE_TIMEOUT_S: Final = 2.0
STORE_READS_AT_ONCE: Final = 8
ADDRESSES_MAX: Final = 4096
FAILURES_A_MINUTE: Final = 20
MINUTE_S: Final = 60.0
REALM: Final = 'Bearer realm="trunkline"'
LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

Headers = Iterable[tuple[bytes, bytes]]

# ---- what goes wrong ----


class Unauthorized(ApiError):
    """No credential came with the request."""

    status = 401
    code = "auth.required"
    reason = ""

    def __init__(self, text: str) -> None:
        super().__init__(text, {"WWW-Authenticate": f'{REALM}, error="{self.reason}"' if self.reason else REALM})


class InvalidCredential(Unauthorized):
    """A key or token that is malformed, unknown or not signed by whom it should be."""

    code = "auth.invalid"
    reason = "invalid_token"


class RevokedKey(InvalidCredential):
    """A key that was revoked. Told only to who has all of it."""

    code = "auth.revoked"


class ExpiredCredential(InvalidCredential):
    """A key or token whose time is over."""

    code = "auth.expired"


class Forbidden(ApiError):
    """The caller is known, and may not do this."""

    status = 403
    code = "auth.forbidden"


class NoApiAccess(Forbidden):
    """The caller's plan does not include the API."""

    code = "plan.no_api_access"


class TooManyFailures(ApiError):
    """An address that failed too often lately."""

    status = 429
    code = "auth.throttled"


class AuthUnavailable(ApiError):
    """The store of keys does not answer, so nobody can be let in."""

    status = 503
    code = "service.unavailable"

    def __init__(self) -> None:
        super().__init__("Keys cannot be checked at the moment; try again", {"Retry-After": "1"})


# ---- who ----


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls and what they may do. `expires_at` in seconds since 1970; an empty `plan` is the server's default plan."""

    owner: str
    kind: Literal["key", "token", "local", "anonymous"]
    team: str | None = None
    plan: str = ""
    scopes: frozenset[str] = frozenset()
    key_id: str | None = None
    key_digest: bytes = b""
    expires_at: float | None = None

    def may(self, scope: str) -> bool:
        """Whether the caller holds a scope."""
        return scope in self.scopes

    def demand(self, needed: frozenset[str]) -> None:
        """Raises Forbidden (RFC 6750 3.1, insufficient_scope) unless the caller holds all of `needed`."""
        if needed <= self.scopes:
            return
        names = " ".join(sorted(needed))
        raise Forbidden(
            f"This needs the scope {names}; missing: {' '.join(sorted(needed - self.scopes))}",
            {"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="{names}"'},
        )


ANONYMOUS: Final = Principal(owner="", kind="anonymous")


def local_principal(plan: str = "self-hosted") -> Principal:
    """Who everybody is on a server that asks for no key."""
    return Principal(owner="local", kind="local", plan=plan, scopes=ALL)


class KeyReader(Protocol):
    """What is needed of the store of keys."""

    async def by_digest(self, digest: bytes) -> KeyRow | None: ...

    async def touch(self, used: dict[str, float]) -> None: ...


# ---- tokens ----

_HASH_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
_CURVES: Final = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_RSA: Final = frozenset({"RS256", "RS384", "RS512"})
_RSA_MIN_BITS: Final = 2048
_TOKEN_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
# Where a token says itself which key to trust, or that it means something we do not know (RFC 7515 4.1.2-6, 4.1.11).
_REFUSED_HEADERS: Final = ("crit", "jku", "jwk", "x5u", "x5c", "b64")


class JwtKey(msgspec.Struct, frozen=True):
    """A key and the one algorithm it is good for: HS256/384/512 with a secret of at least the size of the hash (RFC 7518 3.2),
    RS256/384/512 with a PEM public key of at least 2048 bits (3.3), ES256/384/512 with a PEM public key on its curve (3.4).
    With a `kid`, only tokens that name it are checked against this key."""

    algorithm: str
    key: str | bytes
    kid: str | None = None


class JwtSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Whose tokens are good. All keys are of one family (HS, RS or ES). A token must expire within `max_age_s` of its `iat`, or
    of now when it has none; clocks may differ by `leeway_s`."""

    keys: tuple[JwtKey, ...]
    issuer: str | None = None
    audience: str | None = None
    leeway_s: float = 30.0
    max_age_s: float = 86_400.0
    max_bytes: int = 8192


_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Names = str | list[str] | None


class _Claims(msgspec.Struct):
    exp: float
    sub: _Name
    nbf: float | None = None
    iat: float | None = None
    iss: str | None = None
    aud: _Names = None
    team: _Name | None = None
    plan: str | None = None
    scope: _Names = None
    scopes: _Names = None
    role: _Names = None
    roles: _Names = None


def _names(*claims: _Names) -> list[str]:
    """Lists and space-separated texts (RFC 6749 3.3), all together."""
    names: list[str] = []
    for claim in claims:
        names += claim.split() if isinstance(claim, str) else claim or []
    return names


def _verifying_key(key: JwtKey) -> Any:
    """The key in the form PyJWT takes. Raises ValueError for one that does not fit its algorithm."""
    material = key.key.encode() if isinstance(key.key, str) else key.key
    if key.algorithm in _HASH_BYTES:
        if len(material) < _HASH_BYTES[key.algorithm]:
            raise ValueError(f"the secret for {key.algorithm} is shorter than {_HASH_BYTES[key.algorithm]} bytes")
        try:
            return jwt.get_algorithm_by_name(key.algorithm).prepare_key(material)
        except jwt.InvalidKeyError as error:
            raise ValueError(f"the secret for {key.algorithm} is no secret: {error}") from None
    if key.algorithm not in _RSA and key.algorithm not in _CURVES:
        raise ValueError(f"no such token algorithm: {key.algorithm}")
    try:
        public = load_pem_public_key(material)
    except ValueError:
        raise ValueError(f"the key for {key.algorithm} is no PEM public key") from None
    if key.algorithm in _RSA:
        if not isinstance(public, RSAPublicKey) or public.key_size < _RSA_MIN_BITS:
            raise ValueError(f"{key.algorithm} needs an RSA public key of at least {_RSA_MIN_BITS} bits")
    elif not isinstance(public, EllipticCurvePublicKey) or public.curve.name != _CURVES[key.algorithm]:
        raise ValueError(f"{key.algorithm} needs a public key on {_CURVES[key.algorithm]}")
    return public


class Tokens:
    """JSON Web Tokens to principals (RFC 7519, with the advice of RFC 8725)."""

    def __init__(self, settings: JwtSettings, roles: Roles, clock: Callable[[], float]) -> None:
        """Raises ValueError for keys that do not fit their algorithms, or are of more than one family."""
        if len({key.algorithm[:2] for key in settings.keys}) != 1:
            raise ValueError("tokens need keys of one family: HS, RS or ES")
        self._settings = settings
        self._roles = roles
        self._clock = clock
        self._keys = [(key, _verifying_key(key)) for key in settings.keys]
        self._jws = jwt.PyJWS()

    def principal(self, token: bytes) -> Principal:
        """Who signed in. Raises InvalidCredential and ExpiredCredential."""
        if len(token) > self._settings.max_bytes:
            raise InvalidCredential("The token is too long")
        try:
            claims = msgspec.json.decode(self._payload(token), type=_Claims)
        except (jwt.PyJWTError, msgspec.MsgspecError, ValueError, RecursionError):
            raise InvalidCredential("The token is not valid") from None
        self._check(claims)
        return Principal(
            owner=claims.sub,
            kind="token",
            team=claims.team,
            plan=claims.plan or "",
            scopes=granted(
                {*_names(claims.scope, claims.scopes), *self._roles.scopes(_names(claims.role, claims.roles))}
            ),
            expires_at=claims.exp + self._settings.leeway_s,
        )

    def _payload(self, token: bytes) -> bytes:
        """The signed bytes. The token's header only chooses among our keys, and each of those has its own algorithm."""
        header = self._jws.get_unverified_header(token)
        algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
        if any(name in header for name in _REFUSED_HEADERS):
            raise jwt.InvalidTokenError("a header that is not taken")
        if not isinstance(kind, str) or kind.lower() not in _TOKEN_TYPES:
            raise jwt.InvalidTokenError("no such type of token")
        for key, material in self._keys:
            if key.algorithm != algorithm or key.kid not in (None, kid):
                continue
            try:
                return cast(
                    bytes, self._jws.decode_complete(token, key=material, algorithms=[key.algorithm])["payload"]
                )
            except jwt.InvalidSignatureError:
                continue
        raise jwt.InvalidSignatureError("signed by none of our keys")

    def _check(self, claims: _Claims) -> None:
        settings, now = self._settings, self._clock()
        if claims.exp + settings.leeway_s <= now:
            raise ExpiredCredential("The token has expired")
        if settings.issuer is not None and claims.iss != settings.issuer:
            raise InvalidCredential("The token comes from another issuer")
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud or []
        if settings.audience is not None and settings.audience not in audience:
            raise InvalidCredential("The token is meant for another audience")
        if max(claims.nbf or 0.0, claims.iat or 0.0) > now + settings.leeway_s:
            raise InvalidCredential("The token is not valid yet")
        if claims.exp - (now if claims.iat is None else claims.iat) > settings.max_age_s + settings.leeway_s:
            raise InvalidCredential("The token lives longer than this server allows")


# ---- what a request brings ----


def _query_values(query: bytes, name: bytes) -> list[bytes]:
    found = []
    for part in query.split(b"&"):
        key, _, value = part.partition(b"=")
        if key == name and value:
            found.append(unquote_to_bytes(value.replace(b"+", b" ")))
    return found


def _looks_like_credential(text: bytes) -> bool:
    return text.startswith(PREFIX.encode()) or text.count(b".") == 2


def _presented(headers: Headers, query: bytes, websocket: bool, query_keys: bool) -> bytes:
    """The one credential of a request. Raises Unauthorized when there is none, InvalidCredential when there are two that
    differ, or one of a kind that is not taken."""
    found: list[bytes] = []
    other_scheme = False
    for name, value in headers:
        if name == b"authorization":
            scheme, _, rest = value.strip().partition(b" ")
            if scheme.lower() == b"bearer":
                found.append(rest.strip())
            else:
                other_scheme = True
        elif name == b"x-api-key":
            found.append(value.strip())
        elif websocket and name == b"sec-websocket-protocol":
            # Browsers cannot set headers on a WebSocket; some clients offer the token as the first subprotocol.
            first = value.partition(b",")[0].strip()
            if _looks_like_credential(first):
                found.append(first)
    if query:
        if query_keys:
            found += _query_values(query, b"api_key")
        if websocket:
            found += _query_values(query, b"token")
    given = [credential for credential in found if credential]
    if not given:
        if other_scheme:
            raise InvalidCredential("Only Bearer credentials are taken in Authorization")
        if b"api_key=" in query and not query_keys:
            raise Unauthorized("Keys in the address are not taken; send the key in the Authorization or X-API-Key header")
        raise Unauthorized("An API key is required, as Authorization: Bearer <key> or X-API-Key: <key>")
    if len(given) > 1 and any(credential != given[0] for credential in given):
        raise InvalidCredential("Two different credentials came with this request")
    return given[0]


def client_address(scope: Mapping[str, Any], proxies: Collection[str] = ()) -> str:
    """Where a request comes from: the address of the socket, or, when that is one of our `proxies`, the last hop of
    X-Forwarded-For that is none of them."""
    peer = scope.get("client")
    address = str(peer[0]) if peer else ""
    if address not in proxies:
        return address
    for name, value in reversed(list(scope["headers"])):
        if name != b"x-forwarded-for":
            continue
        for hop in reversed(value.decode("latin-1").split(",")):
            try:
                address = str(ipaddress.ip_address(hop.strip()))
            except ValueError:
                return address
            if address not in proxies:
                return address
    return address


# ---- guessing ----


def _trim(table: OrderedDict[Any, Any], size: int) -> None:
    while len(table) > size:
        table.popitem(last=False)


class Failures:
    """Failed attempts of each address, a minute at a time. An IPv6 caller is its /64. At most `size` addresses are kept, the
    ones that failed longest ago go first."""

    def __init__(self, limit: int = FAILURES_A_MINUTE, size: int = ADDRESSES_MAX) -> None:
        self._limit = limit
        self._size = size
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    @staticmethod
    def _network(address: str) -> str:
        if ":" not in address:
            return address
        try:
            ip = ipaddress.IPv6Address(address.partition("%")[0])
        except ValueError:
            return address
        return str(ip.ipv4_mapped or ipaddress.IPv6Network((int(ip) >> 64 << 64, 64)))

    def wait_s(self, address: str, now: float) -> int:
        """Seconds this address has to wait; 0 when it may try."""
        began, count = self._seen.get(self._network(address), (now, 0))
        left = began + MINUTE_S - now
        return max(1, round(left)) if count >= self._limit and 0 < left <= MINUTE_S else 0

    def add(self, address: str, now: float) -> None:
        """Counts a failure."""
        network = self._network(address)
        began, count = self._seen.get(network, (now, 0))
        if not 0 <= now - began < MINUTE_S:
            began, count = now, 0
        self._seen[network] = (began, count + 1)
        self._seen.move_to_end(network)
        _trim(self._seen, self._size)


# ---- letting in ----


class _Known(msgspec.Struct, frozen=True):
    """A key as the store told it at `read_at`."""

    principal: Principal
    key_id: str
    revoked: bool
    read_at: float


def _finished(read: asyncio.Task[_Known | None]) -> None:
    """A read that nobody waited for may fail: the next request that needs it reads again."""
    if not read.cancelled():
        read.exception()


class Authenticator:
    """Credentials to principals. One a process; to be used from one event loop."""

    def __init__(
        self,
        keys: KeyReader,
        *,
        jwt: JwtSettings | None = None,
        roles: Roles | None = None,
        clock: Callable[[], float] = time.time,
        cache_size: int = 4096,
        fresh_s: float = 0.5,
        query_keys: bool = False,
        failures: Failures | None = None,
    ) -> None:
        """`query_keys` takes `?api_key=` too, for clients that cannot send headers. Raises ValueError for token keys that do not
        fit, and for a `fresh_s` that would break the promise to refuse a revoked key within a second."""
        if not 0 < fresh_s <= REVOCATION_S:
            raise ValueError(f"fresh_s must be above 0 and at most {REVOCATION_S}")
        self._keys = keys
        self._tokens = Tokens(jwt, roles or Roles(), clock) if jwt else None
        self._clock = clock
        self._cache_size = cache_size
        self._fresh_s = fresh_s
        self._query_keys = query_keys
        self._failures = Failures() if failures is None else failures
        # By digest, so that memory holds no key. Unknown ones have a table of their own: guesses push out no good key.
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._signed: OrderedDict[bytes, Principal] = OrderedDict()
        self._reads: dict[bytes, asyncio.Task[_Known | None]] = {}
        self._read_slots = asyncio.Semaphore(STORE_READS_AT_ONCE)
        self._used: dict[str, float] = {}

    async def identify(
        self, headers: Headers, query: bytes = b"", *, websocket: bool = False, client: Callable[[], str] | str = ""
    ) -> Principal:
        """Who sends a request with these raw ASGI headers and query. `client` is the caller's address, or gives it when it is
        needed.

        Raises Unauthorized and its kinds (401), TooManyFailures (429) and AuthUnavailable (503).
        """
        credential = _presented(headers, query, websocket, self._query_keys)
        digest = digest_of(credential)
        if credential.startswith(b"sips_"):
            known = self._known.get(digest)
            if known is None:
                known = await self._first_read(credential, digest, client)
            else:
                known = await self._fresh(known, digest)
            return self._admitted(known, digest)
        return self._by_token(credential, digest, client)

    async def recheck(self, principal: Principal) -> Principal:
        """The principal as it stands now, for connections that stay open. Raises as `identify` does."""
        if principal.kind == "key":
            known = self._known.get(principal.key_digest)
            if known is not None:
                known = await self._fresh(known, principal.key_digest)
            else:
                known = await self._read(principal.key_digest)
            if known is None:
                raise InvalidCredential("The API key is not valid")
            return self._admitted(known, principal.key_digest)
        self._check_expiry(principal)
        return principal

    async def flush(self) -> int:
        """Writes when keys were last used, all of them at once; how many. To be called every few seconds. What
        could not be written is kept for the next time, and the error goes on."""
        used, self._used = self._used, {}
        if not used:
            return 0
        try:
            await self._keys.touch(used)
        except BaseException:
            self._used = used | self._used
            raise
        return len(used)

    async def close(self) -> None:
        """Waits for the reads in the background, then flushes; to be called before the store is closed."""
        if self._reads:
            await asyncio.wait(self._reads.values())
        await self.flush()

    @property
    def cached(self) -> int:
        """Entries in memory, good and bad; never more than three times the size of the cache."""
        return len(self._known) + len(self._unknown) + len(self._signed)

    # -- keys --

    def _admitted(self, known: _Known | None, digest: bytes) -> Principal:
        if known is None:
            raise InvalidCredential("The API key is not valid")
        if known.revoked:
            raise RevokedKey("The API key was revoked")
        self._check_expiry(known.principal)
        self._used[known.key_id] = self._clock()
        if digest in self._known:
            self._known.move_to_end(digest)
        return known.principal

    def _check_expiry(self, principal: Principal) -> None:
        if principal.expires_at is not None and principal.expires_at <= self._clock():
            raise ExpiredCredential("The API key has expired" if principal.kind == "key" else "The token has expired")

    async def _fresh(self, known: _Known, digest: bytes) -> _Known | None:
        """What is known of a key, or what the store says now when that is too old."""
        age_s = self._clock() - known.read_at
        if 0 <= age_s <= self._fresh_s:
            if age_s > self._fresh_s / 2:
                self._start_read(digest)
            return known
        try:
            return await self._read(digest)
        except AuthUnavailable:
            if 0 <= self._clock() - known.read_at <= REVOCATION_S:
                return known
            raise

    async def _first_read(self, key: bytes, digest: bytes, client: Callable[[], str] | str) -> _Known | None:
        address = client if isinstance(client, str) else client()
        self._check_failures(address)
        known = None
        if is_well_formed(key):
            told = self._unknown.get(digest)
            if told is None or not 0 <= self._clock() - told <= UNKNOWN_S:
                known = await self._read(digest)
        if known is None:
            self._failures.add(address, self._clock())
        return known

    def _start_read(self, digest: bytes) -> asyncio.Task[_Known | None]:
        """One read of a key at a time, whoever waits for it."""
        read = self._reads.get(digest)
        if read is None:
            read = asyncio.get_running_loop().create_task(self._ask_store(digest))
            read.add_done_callback(_finished)
            self._reads[digest] = read
        return read

    async def _read(self, digest: bytes) -> _Known | None:
        # Shielded: the others who wait for the same read need it when this request is given up.
        return await asyncio.shield(self._start_read(digest))

    async def _ask_store(self, digest: bytes) -> _Known | None:
        # Guesses wait for one another, and never hold up a key that is in use.
        slot = nullcontext() if digest in self._known else self._read_slots
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S), slot:
                began = self._clock()
                row = await self._keys.by_digest(digest)
        except Exception as error:
            log.warning("the store of keys does not answer: %s", type(error).__name__)
            raise AuthUnavailable() from error
        finally:
            del self._reads[digest]
        if row is None or not same_digest(row.digest, digest):
            self._known.pop(digest, None)
            self._unknown[digest] = began
            self._unknown.move_to_end(digest)
            _trim(self._unknown, self._cache_size)
            return None
        known = _Known(_principal_of(row), row.id, row.revoked_at is not None, began)
        self._unknown.pop(digest, None)
        self._known[digest] = known
        _trim(self._known, self._cache_size)
        return known

    # -- tokens --

    def _by_token(self, token: bytes, digest: bytes, client: Callable[[], str] | str) -> Principal:
        principal = self._signed.get(digest)
        if principal is None:
            address = client if isinstance(client, str) else client()
            self._check_failures(address)
            try:
                principal = self._verified(token)
            except ExpiredCredential:
                raise
            except InvalidCredential:
                self._failures.add(address, self._clock())
                raise
            self._signed[digest] = principal
            _trim(self._signed, self._cache_size)
        self._check_expiry(principal)
        self._signed.move_to_end(digest)
        return principal

    def _verified(self, token: bytes) -> Principal:
        if self._tokens is None:
            raise InvalidCredential("The API key is not valid")
        return self._tokens.principal(token)

    def _check_failures(self, address: str) -> None:
        if wait_s := self._failures.wait_s(address, self._clock()):
            raise TooManyFailures("Too many failed attempts from this address", {"Retry-After": str(wait_s)})


def _principal_of(row: KeyRow) -> Principal:
    return Principal(
        owner=row.owner,
        kind="key",
        team=row.team,
        plan=row.plan,
        scopes=granted(row.scopes),
        key_id=row.id,
        key_digest=row.digest,
        expires_at=row.expires_at,
    )


# ---- the middleware ----

CLOSE_UNAUTHORIZED, CLOSE_FORBIDDEN, CLOSE_TRY_LATER = 4401, 4403, 1013


def _host_name(text: str) -> str:
    """Without the port, lower case."""
    text = text.strip().lower()
    return text.partition("]")[0] + "]" if text.startswith("[") else text.partition(":")[0]


def _check_host(headers: Headers, hosts: Collection[str]) -> None:
    """A web page must not reach a server that asks for no key, neither under a name of its own that resolves to us (Host) nor from
    elsewhere (Origin). Raises Forbidden."""
    for name, value in headers:
        if name == b"host":
            host = value.decode("latin-1")
        elif name == b"origin":
            host = value.decode("latin-1").partition("://")[2]
        else:
            continue
        if _host_name(host) not in hosts:
            raise Forbidden("This server asks for no key, so it only answers to its local names")


async def _refuse_websocket(error: ApiError, offered: Sequence[str], receive: Receive, send: Send) -> None:
    """Browsers see why only on an open socket: accepted, told, closed. They also break off when none of the subprotocols they
    offered is taken."""
    code = {401: CLOSE_UNAUTHORIZED, 403: CLOSE_FORBIDDEN}.get(error.status, CLOSE_TRY_LATER)
    body = msgspec.json.encode({"type": "error", "message": str(error), "code": error.code}).decode()
    await receive()
    await send({"type": "websocket.accept", "subprotocol": offered[0] if offered else None, "headers": []})
    await send({"type": "websocket.send", "bytes": None, "text": body})
    await send({"type": "websocket.close", "code": code, "reason": error.code})


class Identify:
    """A Litestar middleware: sets `scope["principal"]` and lets nobody through who lacks what the route needs.

    Public routes get ANONYMOUS, whatever the request brings. A route that does not say what it needs is closed.
    """

    def __init__(
        self,
        authenticator: Authenticator | None,
        *,
        admit: Callable[[Principal], None] | None = None,
        local: Principal | None = None,
        hosts: Collection[str] = LOOPBACK_HOSTS,
        proxies: Sequence[str] = (),
    ) -> None:
        """Without an `authenticator` everybody is `local`, on one of the names `hosts` (lower case, no ports; none: any name).
        `admit` refuses plans without API access (`Plans.admit`). `proxies` are the addresses whose X-Forwarded-For is believed."""
        self._authenticator = authenticator
        self._admit = admit
        self._local = local or local_principal()
        self._hosts = frozenset(hosts)
        self._proxies = frozenset(proxies)

    def __call__(self, app: ASGIApp) -> ASGIApp:
        async def identified(scope: Scope, receive: Receive, send: Send) -> None:
            seen = cast("MutableMapping[str, Any]", scope)
            try:
                seen["principal"] = await self._principal(seen)
            except ApiError as error:
                if seen["type"] != "websocket":
                    raise
                await _refuse_websocket(error, seen.get("subprotocols", ()), receive, send)
                return
            await app(scope, receive, send)

        return identified

    async def whoever(self, scope: Mapping[str, Any]) -> Principal:
        """Who sent a request that no route takes; ANONYMOUS when nobody who is known."""
        try:
            return await self._caller(scope)
        except ApiError:
            return ANONYMOUS

    async def _principal(self, scope: MutableMapping[str, Any]) -> Principal:
        needed = needed_by(scope["route_handler"])
        if needed is None:
            raise Forbidden("This route does not say who may call it")
        if not needed:
            return ANONYMOUS
        principal = await self._caller(scope)
        if self._authenticator is not None:
            if self._admit is not None:
                self._admit(principal)
            principal.demand(needed)
        return principal

    async def _caller(self, scope: Mapping[str, Any]) -> Principal:
        if self._authenticator is None:
            if self._hosts:
                _check_host(scope["headers"], self._hosts)
            return self._local
        return await self._authenticator.identify(
            scope["headers"],
            scope["query_string"],
            websocket=scope["type"] == "websocket",
            client=lambda: client_address(scope, self._proxies),
        )


def principal_of(request: Any) -> Principal:
    """Who sends a request, on a route that needs a scope."""
    principal: Principal = request.scope["principal"]
    return principal


def visible_to(request: Any) -> Owner | None:
    """Whose the things are that a caller may see: everybody's, None, for an administrator and on a server that asks for no key."""
    principal = principal_of(request)
    return None if principal.kind == "local" or principal.may(ADMIN) else Owner(principal.owner, principal.team)


__all__ = [
    "ANONYMOUS", "LOOPBACK_HOSTS", "AuthUnavailable", "Authenticator", "ExpiredCredential", "Failures", "Forbidden",
    "Identify", "InvalidCredential", "JwtKey", "JwtSettings", "KeyReader", "NoApiAccess", "Principal", "RevokedKey", "Tokens",
    "TooManyFailures", "Unauthorized", "client_address", "local_principal", "principal_of", "visible_to",
]  # fmt: skip
