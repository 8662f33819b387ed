"""Credentials to principals: every way to bring one, revocation, bounds, forged tokens, and the middleware."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar, WebSocket, get, post, websocket
from litestar.connection import Request
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient

from api.auth import (
    ANONYMOUS,
    Authenticator,
    AuthUnavailable,
    ExpiredCredential,
    Failures,
    Identify,
    InvalidCredential,
    JwtKey,
    JwtSettings,
    NoApiAccess,
    Principal,
    RevokedKey,
    Tokens,
    TooManyFailures,
    Unauthorized,
    client_address,
    local_principal,
)
from api.errors import ApiError, on_api_error
from api.keys import new_key
from api.plans import Plans
from api.scopes import ALL, PUBLIC, ROLES, Roles, requires
from engine.store import KeyRow, Store

NOW = 1_700_000_000.0
OTHER = "sips_" + "ab" * 20


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Watched:
    """The keys of the real store, with every use counted; it can be cut off."""

    def __init__(self, keys: Any) -> None:
        self.keys = keys
        self.reads = 0
        self.writes = 0
        self.reading = 0
        self.reading_most = 0
        self.cut = False

    async def by_digest(self, digest: bytes) -> KeyRow | None:
        self.reads += 1
        self.reading += 1
        self.reading_most = max(self.reading_most, self.reading)
        try:
            await asyncio.sleep(0)
            if self.cut:
                raise ConnectionError("cut off")
            row: KeyRow | None = await self.keys.by_digest(digest)
            return row
        finally:
            self.reading -= 1

    async def touch(self, used: dict[str, float]) -> None:
        self.writes += 1
        await asyncio.sleep(0)
        if self.cut:
            raise ConnectionError("cut off")
        await self.keys.touch(used)


class Bench:
    """A store, a clock and an authenticator over them."""

    def __init__(self, keys: Any, **options: Any) -> None:
        self.clock = Clock()
        self.watched = Watched(keys)
        self.auth = Authenticator(self.watched, clock=self.clock, **options)

    async def key(self, **fields: Any) -> tuple[str, KeyRow]:
        told: dict[str, Any] = {"name": "CI", "owner": "ada", "plan": "pro", "scopes": ["calls.read"], "now": NOW} | fields
        key, row = new_key(**told)
        await self.watched.keys.add(row)
        return key, row

    async def revoke(self, row: KeyRow) -> None:
        assert await self.watched.keys.revoke(row.id, self.clock.now)

    async def bearer(self, credential: str, **options: Any) -> Principal:
        return await self.auth.identify(bearer(credential), **options)


def bearer(credential: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"authorization", b"Bearer " + credential.encode())]


def over_store(tmp_path: Path, body: Callable[[Bench], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        store = await Store.open(f"sqlite:///{tmp_path}/keys.db", create=True)
        try:
            await body(Bench(store.keys, **options))
            await settle()
        finally:
            await store.close()

    asyncio.run(run())


async def settle() -> None:
    """Lets reads in the background finish."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)


# ---- ways to bring a key ----


def test_every_way_to_bring_a_key(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        key, row = await bench.key(team="blue")
        raw = key.encode()
        accepted: list[tuple[list[tuple[bytes, bytes]], bytes, bool]] = [
            ([(b"authorization", b"Bearer " + raw)], b"", False),
            ([(b"authorization", b"bearer " + raw)], b"", False),
            ([(b"authorization", b"  BEARER   " + raw + b" ")], b"", False),
            ([(b"x-api-key", raw)], b"", False),
            ([(b"x-api-key", raw), (b"authorization", b"Bearer " + raw)], b"", False),
            ([(b"x-api-key", raw), (b"authorization", b"Basic YTpi")], b"", False),
            ([], b"a=b&api_key=" + raw, False),
            ([], b"api_key=%73ips_" + raw[5:], False),
            ([], b"token=" + raw + b"&call_id=1", True),
            ([(b"sec-websocket-protocol", raw + b", chat")], b"", True),
            ([(b"sec-websocket-protocol", b"chat"), (b"x-api-key", raw)], b"", True),
            ([(b"x-api-key", b""), (b"authorization", b"Bearer " + raw)], b"api_key=&token=", True),
        ]
        for headers, query, live in accepted:
            principal = await bench.auth.identify(headers, query, websocket=live)
            assert (principal.owner, principal.team, principal.plan, principal.kind) == ("ada", "blue", "pro", "key")
            assert principal.scopes == {"calls.read"} and principal.key_id == row.id

    over_store(tmp_path, body, query_keys=True)


def test_what_is_no_credential(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        key, _ = await bench.key()
        raw = key.encode()
        none: list[tuple[list[tuple[bytes, bytes]], bytes, bool]] = [
            ([], b"", False),
            ([(b"authorization", b"Bearer ")], b"", False),
            ([(b"authorization", b"Bearer")], b"", False),
            ([(b"x-api-key", b" ")], b"", False),
            ([], b"token=" + raw, False),
            ([], b"xtoken=" + raw, True),
            ([(b"sec-websocket-protocol", raw)], b"", False),
            ([(b"sec-websocket-protocol", b"chat, " + raw)], b"", True),
            ([(b"cookie", b"api_key=" + raw)], b"", False),
        ]
        for headers, query, live in none:
            with pytest.raises(Unauthorized) as refused:
                await bench.auth.identify(headers, query, websocket=live)
            assert (refused.value.status, refused.value.code) == (401, "auth.required")
            assert refused.value.headers["WWW-Authenticate"] == 'Bearer realm="trunkline"'
        assert bench.watched.reads == 0

    over_store(tmp_path, body, query_keys=True)


def test_keys_in_the_query_only_when_allowed(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        key, _ = await bench.key()
        for live in (False, True):
            with pytest.raises(Unauthorized, match="in the address") as refused:
                await bench.auth.identify([], b"api_key=" + key.encode(), websocket=live)
            assert refused.value.code == "auth.required"
        assert (await bench.auth.identify(bearer(key), b"api_key=" + OTHER.encode())).owner == "ada"

    over_store(tmp_path, body)


def test_conflicting_credentials_are_refused(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        key, _ = await bench.key()
        second, _ = await bench.key(owner="bob")
        one, two = key.encode(), second.encode()
        conflicts: list[tuple[list[tuple[bytes, bytes]], bytes]] = [
            ([(b"authorization", b"Bearer " + one), (b"x-api-key", two)], b""),
            ([(b"authorization", b"Bearer " + one), (b"authorization", b"Bearer " + two)], b""),
            ([(b"x-api-key", one), (b"x-api-key", two)], b""),
            ([(b"x-api-key", one)], b"api_key=" + two),
            ([], b"api_key=" + one + b"&api_key=" + two),
            ([(b"authorization", b"Bearer " + one)], b"token=" + two),
        ]
        for headers, query in conflicts:
            with pytest.raises(InvalidCredential, match="different"):
                await bench.auth.identify(headers, query, websocket=True)
        with pytest.raises(InvalidCredential, match="Bearer"):
            await bench.auth.identify([(b"authorization", b"Basic " + one)])
        assert bench.watched.reads == 0

    over_store(tmp_path, body, query_keys=True)


def test_malformed_keys_are_never_looked_up(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        for key in ("sips_", "sips_your_api_key_here", "sips_" + "0" * 39, "sips_" + "Z" * 40, "sk_live_0", "a.b.c", "x"):
            with pytest.raises(InvalidCredential) as refused:
                await bench.bearer(key)
            assert refused.value.code == "auth.invalid"
            assert refused.value.headers["WWW-Authenticate"] == 'Bearer realm="trunkline", error="invalid_token"'
        assert bench.watched.reads == 0

    over_store(tmp_path, body)


# ---- what a key is good for, and how long ----


def test_an_admin_key_may_do_everything_and_old_scopes_nothing(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        admin, _ = await bench.key(scopes=["admin"])
        assert (await bench.bearer(admin)).scopes == ALL

    over_store(tmp_path, body)


def test_a_key_expires_to_the_second(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        key, _ = await bench.key(expires_at=NOW + 0.3)
        await bench.bearer(key)
        bench.clock.now = NOW + 0.299
        await bench.bearer(key)
        bench.clock.now = NOW + 0.3
        with pytest.raises(ExpiredCredential) as refused:
            await bench.bearer(key)
        assert (refused.value.status, refused.value.code) == (401, "auth.expired")
        assert bench.watched.reads <= 2

    over_store(tmp_path, body)


def test_a_busy_key_costs_no_read_a_request(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        key, _ = await bench.key()
        for step in range(1000):
            bench.clock.now = NOW + step / 100
            await bench.bearer(key)
            await asyncio.sleep(0)
        await settle()
        assert bench.watched.reads <= 10 / 0.25 + 1

    over_store(tmp_path, body)


def test_a_busy_key_is_read_ahead_so_that_nobody_waits(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        key, _ = await bench.key()
        await bench.bearer(key)
        bench.clock.now = NOW + 0.3
        await bench.bearer(key)
        await settle()
        assert bench.watched.reads == 2
        bench.clock.now = NOW + 0.54
        await bench.bearer(key)
        assert bench.watched.reads == 2

    over_store(tmp_path, body)


@pytest.mark.parametrize("fresh_s", [0.1, 0.5, 1.0])
def test_a_revoked_key_is_refused_within_the_promise(tmp_path: Path, fresh_s: float) -> None:
    async def body(bench: Bench) -> None:
        key, row = await bench.key()
        principal = await bench.bearer(key)
        await bench.revoke(row)
        bench.clock.now = NOW + fresh_s / 2
        assert await bench.bearer(key) == principal
        await settle()
        bench.clock.now = NOW + fresh_s + 0.001
        for _ in range(2):
            with pytest.raises(RevokedKey) as refused:
                await bench.bearer(key)
            with pytest.raises(RevokedKey):
                await bench.auth.recheck(principal)
        assert (refused.value.status, refused.value.code) == (401, "auth.revoked")

    over_store(tmp_path, body, fresh_s=fresh_s)


def test_revocation_is_seen_by_every_process(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        key, row = await bench.key()
        others = [Authenticator(bench.watched, clock=bench.clock) for _ in range(4)]
        for other in others:
            await other.identify(bearer(key))
        await bench.revoke(row)
        bench.clock.now += 0.501
        for other in others:
            with pytest.raises(RevokedKey):
                await other.identify(bearer(key))

    over_store(tmp_path, body)


def test_a_clock_that_steps_back_reads_again(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        key, row = await bench.key()
        await bench.bearer(key)
        await bench.revoke(row)
        bench.clock.now = NOW - 3600
        with pytest.raises(RevokedKey):
            await bench.bearer(key)

    over_store(tmp_path, body)


def test_fresh_s_cannot_break_the_promise() -> None:
    for fresh_s in (0.0, -1.0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="fresh_s"):
            Authenticator(Watched(None), fresh_s=fresh_s)


def test_many_requests_share_one_read(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        key, _ = await bench.key()
        await asyncio.gather(*(bench.bearer(key) for _ in range(64)))
        assert bench.watched.reads == 1
        bench.clock.now += 0.6
        await asyncio.gather(*(bench.bearer(key) for _ in range(64)))
        assert bench.watched.reads == 2

    over_store(tmp_path, body)


def test_a_request_that_is_given_up_takes_no_other_down(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        key, _ = await bench.key()
        first = asyncio.create_task(bench.bearer(key))
        second = asyncio.create_task(bench.bearer(key))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).owner == "ada"
        assert first.cancelled() and bench.watched.reads == 1

    over_store(tmp_path, body)


def test_a_store_that_fails_is_outlived_for_a_second_and_no_longer(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        key, _ = await bench.key()
        principal = await bench.bearer(key)
        bench.watched.cut = True
        for age_s in (0.3, 0.6, 1.0):
            bench.clock.now = NOW + age_s
            assert await bench.bearer(key) == principal
            await settle()
        bench.clock.now = NOW + 1.001
        with pytest.raises(AuthUnavailable) as refused:
            await bench.bearer(key)
        assert (refused.value.status, refused.value.code) == (503, "service.unavailable")
        assert refused.value.headers["Retry-After"] == "1"
        with pytest.raises(AuthUnavailable):
            await bench.bearer(OTHER)
        bench.watched.cut = False
        assert await bench.bearer(key) == principal
        with pytest.raises(InvalidCredential):
            await bench.bearer(OTHER)

    over_store(tmp_path, body)


# ---- guesses ----


def test_an_unknown_key_is_remembered_for_a_while(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        for _ in range(10):
            with pytest.raises(InvalidCredential):
                await bench.bearer(OTHER)
        assert bench.watched.reads == 1
        bench.clock.now += 5.1
        with pytest.raises(InvalidCredential):
            await bench.bearer(OTHER)
        assert bench.watched.reads == 2

    over_store(tmp_path, body)


def test_guesses_are_bounded_in_memory_and_push_out_no_key(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        key, _ = await bench.key()
        await bench.bearer(key)
        for guess in range(200):
            with pytest.raises(InvalidCredential):
                await bench.bearer(f"sips_{guess:040x}")
        assert bench.auth.cached == 9
        assert bench.watched.reads == 201
        await bench.bearer(key)
        assert bench.watched.reads == 201

    over_store(tmp_path, body, cache_size=8, failures=Failures(limit=1000))


def test_good_keys_are_bounded_in_memory_too(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        made = [await bench.key(owner=f"user{number}") for number in range(20)]
        for key, row in made:
            await bench.bearer(made[0][0])
            assert (await bench.bearer(key)).owner == row.owner
        assert bench.auth.cached == 8
        assert bench.watched.reads == 20

    over_store(tmp_path, body, cache_size=8)


def test_guesses_read_a_few_at_a_time(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        guesses = (bench.bearer(f"sips_{guess:040x}", client=f"10.0.0.{guess}") for guess in range(100))
        told = await asyncio.gather(*guesses, return_exceptions=True)
        assert all(isinstance(error, InvalidCredential) for error in told)
        assert bench.watched.reads == 100
        assert bench.watched.reading_most <= 8

    over_store(tmp_path, body)


def test_an_address_that_guesses_is_stopped_and_known_keys_go_on(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        known, _ = await bench.key()
        fresh, _ = await bench.key(owner="bob")
        await bench.bearer(known, client="192.0.2.1")
        for guess in range(20):
            with pytest.raises(InvalidCredential):
                await bench.bearer(f"sips_{guess:040x}", client="192.0.2.1")
        reads = bench.watched.reads
        for credential in ("sips_" + "f" * 40, "sips_short", "a.b.c", fresh):
            with pytest.raises(TooManyFailures) as refused:
                await bench.bearer(credential, client="192.0.2.1")
            assert (refused.value.status, refused.value.code) == (429, "auth.throttled")
            assert refused.value.headers["Retry-After"] == "60"
        assert bench.watched.reads == reads
        assert (await bench.bearer(known, client="192.0.2.1")).owner == "ada"
        assert (await bench.bearer(fresh, client="192.0.2.2")).owner == "bob"
        bench.clock.now += 60
        with pytest.raises(InvalidCredential):
            await bench.bearer("sips_short", client="192.0.2.1")

    over_store(tmp_path, body)


def test_no_credential_and_old_credentials_are_no_guesses(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        revoked, row = await bench.key()
        expired, _ = await bench.key(expires_at=NOW + 1)
        await bench.revoke(row)
        bench.clock.now += 2
        for _ in range(50):
            with pytest.raises(Unauthorized):
                await bench.auth.identify([])
            with pytest.raises(RevokedKey):
                await bench.bearer(revoked)
            with pytest.raises(ExpiredCredential):
                await bench.bearer(expired)
            with pytest.raises(ExpiredCredential):
                await bench.bearer(signed(GOOD | {"exp": NOW - 60}))

    over_store(tmp_path, body, jwt=HS)


def test_a_key_that_is_gone_from_the_store_is_unknown() -> None:
    async def body() -> None:
        rows, clock = Rows(READER_ROW), Clock()
        auth = Authenticator(rows, clock=clock)
        principal = await auth.identify(bearer(READER))
        rows.rows.clear()
        clock.now += 0.6
        for _ in range(2):
            with pytest.raises(InvalidCredential):
                await auth.identify(bearer(READER))
            with pytest.raises(InvalidCredential):
                await auth.recheck(principal)
        assert auth.cached == 1

    asyncio.run(body())


def test_failures_are_counted_for_networks_and_bounded() -> None:
    failures = Failures(limit=2, size=10)
    for address in ("2001:db8::1", "2001:db8::2:3"):
        failures.add(address, NOW)
    assert failures.wait_s("2001:db8:0:0:ffff::9", NOW + 1) == 59
    assert failures.wait_s("2001:db8:0:1::1", NOW + 1) == 0
    for address in ("::ffff:192.0.2.9", "192.0.2.9"):
        failures.add(address, NOW)
    assert failures.wait_s("192.0.2.9", NOW) == 60
    assert failures.wait_s("192.0.2.9", NOW - 3600) == 0
    for number in range(1000):
        failures.add(f"10.1.{number // 250}.{number % 250}", NOW)
    failures.add("not:an address", NOW)
    assert len(failures) == 10


@pytest.mark.parametrize(
    ("peer", "forwarded", "told"),
    [
        ("198.51.100.7", "1.2.3.4", "198.51.100.7"),
        ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, junk, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", None, "10.0.0.1"),
    ],
)
def test_only_our_proxies_are_believed(peer: str, forwarded: str | None, told: str) -> None:
    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded.encode())]
    scope = {"client": (peer, 5), "headers": headers}
    assert client_address(scope, {"10.0.0.1", "10.0.0.2"}) == told
    assert client_address({"client": None, "headers": headers}, {"10.0.0.1"}) == ""


# ---- last use ----


def test_last_use_is_written_in_batches(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        made = [await bench.key() for _ in range(5)]
        for step in range(20):
            bench.clock.now = NOW + step / 100
            for key, _ in made[:4]:
                await bench.bearer(key)
        assert bench.watched.writes == 0
        assert await bench.auth.flush() == 4
        assert bench.watched.writes == 1
        rows = [await bench.watched.keys.by_id(row.id) for _, row in made]
        assert [row.last_used_at for row in rows] == [NOW + 0.19] * 4 + [None]
        assert await bench.auth.flush() == 0
        assert bench.watched.writes == 1

    over_store(tmp_path, body)


def test_closing_ends_reads_and_writes_what_is_left(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        key, row = await bench.key()
        await bench.bearer(key)
        bench.clock.now = NOW + 0.3
        await bench.bearer(key)
        assert len(asyncio.all_tasks()) == 2
        await bench.auth.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert (await bench.watched.keys.by_id(row.id)).last_used_at == NOW + 0.3

    over_store(tmp_path, body)


def test_refused_uses_are_no_uses(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        key, row = await bench.key()
        await bench.revoke(row)
        with pytest.raises(RevokedKey):
            await bench.bearer(key)
        assert await bench.auth.flush() == 0

    over_store(tmp_path, body)


def test_last_use_outlives_a_failed_write(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        (one, first), (two, second) = await bench.key(), await bench.key()
        await bench.bearer(one)
        await bench.bearer(two)
        bench.watched.cut = True
        writing = asyncio.create_task(bench.auth.flush())
        await asyncio.sleep(0)
        bench.clock.now = NOW + 0.2
        await bench.bearer(two)
        with pytest.raises(ConnectionError):
            await writing
        bench.watched.cut = False
        assert await bench.auth.flush() == 2
        told = [await bench.watched.keys.by_id(row.id) for row in (first, second)]
        assert [row.last_used_at for row in told] == [NOW, NOW + 0.2]

    over_store(tmp_path, body)


# ---- tokens ----

SECRET = "a secret that is as long as the hash it feeds, at least"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def public_pem(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def private_pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


HS = JwtSettings(keys=(JwtKey("HS256", SECRET),))
RS = JwtSettings(keys=(JwtKey("RS256", public_pem(RSA_KEY)),))
ES = JwtSettings(keys=(JwtKey("ES256", public_pem(EC_KEY)),))
GOOD = {"sub": "ada", "exp": NOW + 600, "scope": "calls.read"}


def told(token: str, accepted: JwtSettings, roles: Roles | None = None, now: float = NOW) -> Principal:
    return Tokens(accepted, roles or Roles(), lambda: now).principal(token.encode())


def signed(claims: Mapping[str, Any], headers: dict[str, Any] | None = None) -> str:
    return jwt.encode(dict(claims), SECRET, algorithm="HS256", headers=headers)


def part(content: Any) -> str:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def by_hand(header: Any, claims: Any, secret: bytes = SECRET.encode()) -> str:
    """A token that a library would refuse to make, signed with HMAC-SHA-256."""
    body = f"{part(header)}.{part(claims)}"
    return f"{body}.{part(hmac.digest(secret, body.encode(), hashlib.sha256))}"


@pytest.mark.parametrize(
    ("accepted", "key", "algorithm"),
    [(HS, SECRET, "HS256"), (RS, RSA_KEY, "RS256"), (ES, EC_KEY, "ES256")],
    ids=["HS", "RS", "ES"],
)
def test_a_good_token_of_each_family(accepted: JwtSettings, key: Any, algorithm: str) -> None:
    claims = GOOD | {"team": "blue", "plan": "teams", "iat": NOW, "nbf": NOW}
    principal = told(jwt.encode(claims, key, algorithm=algorithm), accepted)
    assert (principal.owner, principal.team, principal.plan, principal.kind) == ("ada", "blue", "teams", "token")
    assert principal.scopes == {"calls.read"} and principal.key_id is None
    assert principal.expires_at == NOW + 630


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "calls.read calls.dial"}, {"calls.read", "calls.dial"}),
        ({"scope": ["calls.read"], "scopes": "calls.dial"}, {"calls.read", "calls.dial"}),
        ({"scope": "", "scopes": ["calls.read", "openid"]}, {"calls.read"}),
        ({"scope": "", "role": "viewer"}, ROLES["viewer"]),
        ({"scope": "calls.dial", "roles": ["viewer", "nobody"]}, ROLES["viewer"] | {"calls.dial"}),
        ({"scope": "", "roles": ["billing"]}, {"audit.read"}),
        ({"scope": "", "role": "admin"}, ALL),
        ({"scope": "admin"}, ALL),
        ({"scope": ""}, PUBLIC),
    ],
)
def test_scopes_and_roles_of_a_token(claims: dict[str, Any], scopes: frozenset[str]) -> None:
    assert told(signed(GOOD | claims), HS, Roles({"billing": ["audit.read"]})).scopes == scopes


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None}, {"exp": "never"}, {"exp": True}, {"exp": 1e400}, {"exp": NOW + 86_431}, {"sub": None}, {"sub": ""},
        {"sub": 7}, {"sub": "x" * 201}, {"nbf": NOW + 31}, {"iat": NOW + 31}, {"iat": "now"}, {"team": ["blue"]}, {"team": ""},
        {"scope": 7}, {"roles": {"admin": True}}, {"iat": NOW - 90_000}, {"iss": 5}, {"plan": 1},
    ],
)  # fmt: skip
def test_claims_that_are_refused(claims: dict[str, Any]) -> None:
    told(signed(GOOD), HS)
    with pytest.raises(InvalidCredential) as refused:
        told(by_hand({"alg": "HS256", "typ": "JWT"}, GOOD | claims), HS)
    assert refused.value.code == "auth.invalid"


def test_a_token_needs_its_claims() -> None:
    for missing in ("exp", "sub"):
        with pytest.raises(InvalidCredential):
            told(signed({name: value for name, value in GOOD.items() if name != missing}), HS)
    broken: list[Any] = [[], "text", 5, None, b"{", b"\xff", b"[" * 5000]
    for payload in broken:
        with pytest.raises(InvalidCredential):
            told(by_hand({"alg": "HS256"}, payload), HS)


def test_a_token_expires_with_leeway_and_is_not_valid_before_its_time() -> None:
    token = signed(GOOD | {"nbf": NOW, "iat": NOW})
    told(token, HS, now=NOW - 30)
    told(token, HS, now=NOW + 629)
    with pytest.raises(InvalidCredential):
        told(token, HS, now=NOW - 31)
    with pytest.raises(ExpiredCredential) as refused:
        told(token, HS, now=NOW + 630)
    assert refused.value.code == "auth.expired"


def test_issuer_and_audience() -> None:
    strict = JwtSettings(keys=HS.keys, issuer="https://id.example", audience="trunkline")
    for audience in ("trunkline", ["other", "trunkline"]):
        told(signed(GOOD | {"iss": "https://id.example", "aud": audience}), strict)
    for claims in (
        {}, {"iss": "https://id.example"}, {"aud": "trunkline"}, {"iss": "https://id.example/", "aud": "trunkline"},
        {"iss": "https://id.example", "aud": "trunk"}, {"iss": "https://id.example", "aud": []},
    ):  # fmt: skip
        with pytest.raises(InvalidCredential):
            told(signed(GOOD | claims), strict)


def test_a_public_key_is_no_secret() -> None:
    """The classic confusion: the public key that everybody has, used as the secret of an HMAC."""
    for accepted, key in ((RS, RSA_KEY), (ES, EC_KEY)):
        pem = public_pem(key)
        for secret in (pem.encode(), pem.strip().encode(), key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)):
            for algorithm in ("HS256", accepted.keys[0].algorithm):
                with pytest.raises(InvalidCredential):
                    told(by_hand({"alg": algorithm, "typ": "JWT"}, GOOD, secret), accepted)
        with pytest.raises(ValueError, match="no secret"):
            Tokens(JwtSettings(keys=(JwtKey("HS256", pem),)), Roles(), lambda: NOW)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS1", None, 5, [], ["HS256"], {"a": 1}])
@pytest.mark.parametrize("accepted", [HS, RS, ES], ids=["HS", "RS", "ES"])
def test_tokens_without_a_proper_algorithm(accepted: JwtSettings, algorithm: Any) -> None:
    for header in ({"alg": algorithm, "typ": "JWT"}, {"typ": "JWT"}):
        body = f"{part(header)}.{part(GOOD)}"
        for token in (f"{body}.", by_hand(header, GOOD), body, f"{body}.AAAA"):
            with pytest.raises(InvalidCredential):
                told(token, accepted)


def test_families_and_hashes_are_not_mixed_up() -> None:
    wrong = {
        "an RS token for ES": (jwt.encode(GOOD, RSA_KEY, algorithm="RS256"), ES),
        "an ES token for RS": (jwt.encode(GOOD, EC_KEY, algorithm="ES256"), RS),
        "another hash": (jwt.encode(GOOD, RSA_KEY, algorithm="RS512"), RS),
        "another padding": (jwt.encode(GOOD, RSA_KEY, algorithm="PS256"), RS),
        "another key": (jwt.encode(GOOD, OTHER_RSA, algorithm="RS256"), RS),
        "another secret": (jwt.encode(GOOD, SECRET.upper(), algorithm="HS256"), HS),
        "an HS token for RS": (signed(GOOD), RS),
    }
    for what, (token, accepted) in wrong.items():
        with pytest.raises(InvalidCredential):
            pytest.fail(f"{what}: {told(token, accepted)}")


def test_an_es_header_over_an_rs_signature() -> None:
    token = jwt.encode(GOOD, RSA_KEY, algorithm="RS256")
    _, claims, signature = token.split(".")
    forged = f"{part({'alg': 'ES256', 'typ': 'JWT'})}.{claims}.{signature}"
    for accepted in (ES, RS):
        with pytest.raises(InvalidCredential):
            told(forged, accepted)


def test_the_kid_only_chooses_among_our_keys() -> None:
    both = JwtSettings(keys=(JwtKey("HS256", SECRET, "old"), JwtKey("HS256", SECRET[::-1], "new")))
    told(signed(GOOD, {"kid": "old"}), both)
    told(jwt.encode(GOOD, SECRET[::-1], algorithm="HS256", headers={"kid": "new"}), both)
    for kid in ("new", "../../dev/null", "old' OR '1'='1", "", "|cat /etc/passwd"):
        with pytest.raises(InvalidCredential):
            told(signed(GOOD, {"kid": kid}), both)
    strange: list[Any] = [None, 5, ["old"], {"old": 1}]
    for no_kid in strange:
        with pytest.raises(InvalidCredential):
            told(by_hand({"alg": "HS256", "kid": no_kid}, GOOD), both)
    with pytest.raises(InvalidCredential):
        told(signed(GOOD), both)
    told(signed(GOOD, {"kid": "whatever"}), HS)


def test_keys_without_a_kid_are_tried_in_turn() -> None:
    both = JwtSettings(keys=(JwtKey("RS256", public_pem(OTHER_RSA)), JwtKey("RS256", public_pem(RSA_KEY))))
    told(jwt.encode(GOOD, RSA_KEY, algorithm="RS256"), both)
    hashes = JwtSettings(keys=(JwtKey("RS512", public_pem(RSA_KEY)), JwtKey("RS256", public_pem(RSA_KEY))))
    told(jwt.encode(GOOD, RSA_KEY, algorithm="RS256"), hashes)


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "https://evil.example/jwks"}, {"x5u": "https://evil.example/c"}, {"jwk": {"kty": "oct", "k": "AA"}}, {"x5c": ["AA"]},
        {"crit": ["exp"]}, {"crit": []}, {"b64": False}, {"typ": "dpop+jwt"}, {"typ": 5}, {"typ": None},
    ],
)  # fmt: skip
def test_headers_that_are_refused(header: dict[str, Any]) -> None:
    told(by_hand({"alg": "HS256", "typ": "at+jwt"}, GOOD), HS)
    with pytest.raises(InvalidCredential):
        told(by_hand({"alg": "HS256"} | header, GOOD), HS)


def test_a_token_that_is_too_long_is_not_parsed() -> None:
    long = signed(GOOD | {"pad": "x" * 8192})
    with pytest.raises(InvalidCredential, match="too long"):
        told(long, HS)
    told(long, JwtSettings(keys=HS.keys, max_bytes=20_000))


def test_every_changed_letter_is_noticed() -> None:
    token = signed(GOOD)
    for at in range(len(token)):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        with pytest.raises(InvalidCredential):
            told(changed, HS)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (JwtKey("HS256", "x" * 31), "shorter"),
        (JwtKey("HS384", "x" * 47), "shorter"),
        (JwtKey("HS512", "x" * 63), "shorter"),
        (JwtKey("HS256", ""), "shorter"),
        (JwtKey("RS256", public_pem(rsa.generate_private_key(public_exponent=65537, key_size=1024))), "2048"),
        (JwtKey("RS256", public_pem(EC_KEY)), "RSA"),
        (JwtKey("RS256", private_pem(RSA_KEY)), "no PEM public key"),
        (JwtKey("RS256", SECRET), "no PEM public key"),
        (JwtKey("ES256", public_pem(RSA_KEY)), "secp256r1"),
        (JwtKey("ES256", public_pem(ec.generate_private_key(ec.SECP384R1()))), "secp256r1"),
        (JwtKey("ES256", public_pem(ec.generate_private_key(ec.SECP256K1()))), "secp256r1"),
        (JwtKey("ES512", public_pem(EC_KEY)), "secp521r1"),
        (JwtKey("none", ""), "no such"),
        (JwtKey("PS256", public_pem(RSA_KEY)), "no such"),
        (JwtKey("HS999", SECRET), "no such"),
    ],
    ids=lambda value: value.algorithm if isinstance(value, JwtKey) else value,
)
def test_keys_that_do_not_fit_are_refused_at_the_start(key: JwtKey, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Authenticator(Watched(None), jwt=JwtSettings(keys=(key,)))


def test_families_cannot_be_configured_together() -> None:
    for keys in ((), HS.keys + RS.keys, RS.keys + ES.keys):
        with pytest.raises(ValueError, match="one family"):
            Authenticator(Watched(None), jwt=JwtSettings(keys=keys))


def test_tokens_are_verified_once_and_still_expire(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        token = signed(GOOD)
        for _ in range(3):
            principal = await bench.bearer(token)
        assert bench.auth.cached == 1 and bench.watched.reads == 0
        assert await bench.auth.identify([], b"token=" + token.encode(), websocket=True) == principal
        assert await bench.auth.identify([(b"sec-websocket-protocol", token.encode())], websocket=True) == principal
        bench.clock.now = NOW + 630
        with pytest.raises(ExpiredCredential):
            await bench.bearer(token)
        with pytest.raises(ExpiredCredential):
            await bench.auth.recheck(principal)
        assert await bench.auth.flush() == 0

    over_store(tmp_path, body, jwt=HS)


def test_tokens_are_bounded_in_memory_and_forged_ones_throttled(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        for number in range(20):
            await bench.bearer(signed(GOOD | {"sub": f"user{number}"}))
        assert bench.auth.cached == 8
        for number in range(20):
            with pytest.raises(InvalidCredential):
                await bench.bearer(signed(GOOD)[:-2] + f"{number:02}")
        assert bench.auth.cached == 8
        with pytest.raises(TooManyFailures):
            await bench.bearer(signed(GOOD))

    over_store(tmp_path, body, jwt=HS, cache_size=8)


# ---- anything at all ----

HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"authorization", b"x-api-key", b"sec-websocket-protocol", b"host", b"x"]),
        st.one_of(
            st.binary(max_size=200),
            st.binary(max_size=80).map(lambda tail: b"Bearer " + tail),
            st.binary(max_size=60).map(lambda tail: b"Bearer sips_" + tail),
            st.text("0123456789abcdefg", max_size=41).map(lambda tail: b"sips_" + tail.encode()),
            st.lists(st.binary(max_size=60).map(part), min_size=3, max_size=3).map(lambda parts: b"Bearer " + ".".join(parts).encode()),
            st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64"]), st.none() | st.booleans() | st.text(max_size=6)).map(
                lambda header: b"Bearer " + by_hand({"alg": "HS256"} | header, GOOD).encode()
            ),
            st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.dictionaries(
                st.sampled_from(["exp", "sub", "scope", "iat", "aud", "role"]), inner) | st.lists(inner), max_leaves=8,
            ).map(lambda claims: b"Bearer " + by_hand({"alg": "HS256"}, claims).encode()),
        ),
    ),
    max_size=4,
)  # fmt: skip


class Empty:
    """A store of no keys."""

    async def by_digest(self, digest: bytes) -> KeyRow | None:
        return None

    async def touch(self, used: dict[str, float]) -> None:
        raise AssertionError("nothing was used")


@settings(max_examples=400, deadline=None)
@given(HEADERS, st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: b"api_key=" + tail), st.booleans())
def test_no_bytes_raise_what_is_not_foreseen(headers: list[tuple[bytes, bytes]], query: bytes, live: bool) -> None:
    async def run() -> None:
        auth = Authenticator(Empty(), jwt=HS, clock=lambda: NOW, query_keys=True)
        try:
            principal = await auth.identify(headers, query, websocket=live, client="192.0.2.1")
        except (Unauthorized, AuthUnavailable) as refused:
            assert refused.status == 401
        else:
            assert principal.kind == "token"

    asyncio.run(run())


# ---- the middleware ----


@get("/open", opt={"scopes": PUBLIC})
async def open_route(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return {"anonymous": request.scope["principal"] is ANONYMOUS}  # type: ignore[typeddict-item]


@get("/calls", opt={"scopes": requires("calls.read")})
async def calls(request: Request[Any, Any, Any]) -> dict[str, Any]:
    principal: Principal = request.scope["principal"]  # type: ignore[typeddict-item]
    return {"owner": principal.owner, "plan": principal.plan, "kind": principal.kind, "scopes": len(principal.scopes)}


@post("/keys", opt={"scopes": requires("keys.write")}, status_code=200)
async def make_key(request: Request[Any, Any, Any]) -> dict[str, str]:
    body: dict[str, str] = await request.json()
    return body


@get("/silent")
async def silent() -> str:
    return ""


@websocket("/live", opt={"scopes": requires("realtime.read")})
async def live(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.send_json({"owner": socket.scope["principal"].owner})  # type: ignore[typeddict-item]
    await socket.close()


def serving(identify: Identify) -> TestClient[Litestar]:
    app = Litestar(
        [open_route, calls, make_key, silent, live],
        middleware=[identify],
        exception_handlers={ApiError: on_api_error},
        openapi_config=None,
    )
    return TestClient(app, base_url="http://127.0.0.1:8080")


class Rows:
    """Keys in memory, for a server whose event loop is not ours."""

    def __init__(self, *rows: KeyRow) -> None:
        self.rows = {row.digest: row for row in rows}

    async def by_digest(self, digest: bytes) -> KeyRow | None:
        return self.rows.get(digest)

    async def touch(self, used: dict[str, float]) -> None: ...


def fixed(letter: bytes, owner: str, plan: str, *scopes: str) -> tuple[str, KeyRow]:
    """A key that is the same in every process of a test run, since it is part of test names."""
    return new_key(name=owner, owner=owner, plan=plan, scopes=scopes, now=NOW, random=lambda size: letter * size)


READER, READER_ROW = fixed(b"r", "ada", "pro", "calls.read", "realtime.read")
PLAIN, PLAIN_ROW = fixed(b"p", "bob", "pro", "status.read")
FREE, FREE_ROW = fixed(b"f", "eve", "free", "calls.read", "realtime.read")


@pytest.fixture
def guarded() -> TestClient[Litestar]:
    auth = Authenticator(Rows(READER_ROW, PLAIN_ROW, FREE_ROW), clock=Clock(), jwt=HS)
    return serving(Identify(auth, admit=Plans().admit))


def test_the_middleware_tells_who_calls(guarded: TestClient[Litestar]) -> None:
    with guarded as client:
        answer = client.get("/calls", headers={"Authorization": f"Bearer {READER}"})
        assert answer.json() == {"owner": "ada", "plan": "pro", "kind": "key", "scopes": 2}
        assert client.get("/calls", headers={"X-API-Key": READER}).status_code == 200
        token = client.get("/calls", headers={"Authorization": f"Bearer {signed(GOOD)}"})
        assert token.json() == {"owner": "ada", "plan": "", "kind": "token", "scopes": 1}


def test_public_routes_ask_nothing_of_anybody(guarded: TestClient[Litestar]) -> None:
    with guarded as client:
        for headers in ({}, {"X-API-Key": READER}, {"X-API-Key": "junk"}):
            assert client.get("/open", headers=headers).json() == {"anonymous": True}


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/calls", {}, 401, "auth.required"),
        ("/calls", {"X-API-Key": OTHER}, 401, "auth.invalid"),
        ("/calls", {"X-API-Key": PLAIN}, 403, "auth.forbidden"),
        ("/calls", {"X-API-Key": FREE}, 403, "plan.no_api_access"),
        ("/silent", {"X-API-Key": READER}, 403, "auth.forbidden"),
        ("/silent", {}, 403, "auth.forbidden"),
    ],
)
def test_refusals_are_json(
    guarded: TestClient[Litestar], path: str, headers: dict[str, str], status: int, code: str
) -> None:
    with guarded as client:
        answer = client.get(path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.json()["error"]
        assert status != 401 or answer.headers["WWW-Authenticate"].startswith('Bearer realm="trunkline"')


def test_the_caller_is_checked_before_the_body_is_read(guarded: TestClient[Litestar]) -> None:
    with guarded as client:
        assert client.post("/keys", content=b"{not json", headers={"X-API-Key": READER}).status_code == 403
        assert client.post("/keys", content=b"{not json").status_code == 401


def test_websockets_take_tokens_in_the_query(guarded: TestClient[Litestar]) -> None:
    with guarded as client:
        for address, headers in ((f"/live?token={READER}", {}), ("/live", {"X-API-Key": READER})):
            with client.websocket_connect(address, headers=headers) as socket:
                assert socket.receive_json() == {"owner": "ada"}


@pytest.mark.parametrize(
    ("query", "code", "close"),
    [
        ("", "auth.required", 4401),
        (f"?token={OTHER}", "auth.invalid", 4401),
        (f"?token={PLAIN}", "auth.forbidden", 4403),
        (f"?token={FREE}", "plan.no_api_access", 4403),
    ],
)
def test_refused_websockets_are_told_and_closed(guarded: TestClient[Litestar], query: str, code: str, close: int) -> None:
    with guarded as client, client.websocket_connect(f"/live{query}") as socket:
        told_first = socket.receive_json()
        assert (told_first["type"], told_first["code"]) == ("error", code) and told_first["message"]
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert closed.value.code == close


def test_refused_websockets_take_the_first_subprotocol(guarded: TestClient[Litestar]) -> None:
    with guarded as client, client.websocket_connect("/live", subprotocols=[OTHER, "chat"]) as socket:
        assert socket.accepted_subprotocol == OTHER
        assert socket.receive_json()["code"] == "auth.invalid"


def test_without_auth_everybody_is_local() -> None:
    with serving(Identify(None)) as client:
        answer = client.get("/calls", headers={"Authorization": "Bearer sips_your_api_key_here"})
        assert answer.json() == {"owner": "local", "plan": "self-hosted", "kind": "local", "scopes": len(ALL)}
        assert client.post("/keys", json={"name": "x"}).json() == {"name": "x"}
        assert client.get("/silent").status_code == 403
        with client.websocket_connect("/live") as socket:
            assert socket.receive_json() == {"owner": "local"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8080"}, 200), ({"Host": "127.0.0.1"}, 200), ({"Host": "[::1]:8080"}, 200), ({"Host": "LOCALHOST"}, 200),
        ({"Origin": "http://localhost:3000"}, 200), ({"Host": "evil.example"}, 403), ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost.evil.example:8080"}, 403), ({"Host": "[::2]"}, 403), ({"Host": ""}, 403),
        ({"Origin": "https://evil.example"}, 403), ({"Origin": "null"}, 403), ({"Origin": "http://localhost@evil.example"}, 403),
    ],
)  # fmt: skip
def test_without_auth_web_pages_from_elsewhere_are_refused(headers: dict[str, str], status: int) -> None:
    with serving(Identify(None)) as client:
        assert client.get("/calls", headers=headers).status_code == status
        assert client.get("/open", headers=headers).status_code == 200


def test_without_auth_a_proxy_may_bring_its_own_name() -> None:
    local = Principal(owner="pbx", kind="local", plan="teams", scopes=frozenset({"calls.read"}))
    with serving(Identify(None, hosts=(), local=local)) as client:
        assert client.get("/calls", headers={"Host": "voice.example"}).json()["owner"] == "pbx"
    assert local_principal().scopes == ALL


def test_guessing_through_a_trusted_proxy_stops_only_the_guesser() -> None:
    auth = Authenticator(Rows(READER_ROW), clock=Clock())
    with serving(Identify(auth, proxies=["testclient"])) as client:
        for guess in range(21):
            headers = {"X-API-Key": f"sips_{guess:040x}", "X-Forwarded-For": "192.0.2.66"}
            answer = client.get("/calls", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (429, "auth.throttled")
        headers = {"X-API-Key": READER, "X-Forwarded-For": "192.0.2.66, 192.0.2.1"}
        assert client.get("/calls", headers=headers).status_code == 200


def test_a_plan_this_server_does_not_know_is_refused() -> None:
    with pytest.raises(NoApiAccess):
        Plans().admit(Principal(owner="ada", kind="token", plan="gold"))
