"""Keys under racing writers: one digest is one key, and the last use is the newest whoever notes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from engine.store import Conflict, KeyRow, Store

Scenario = Callable[[Store], Awaitable[None]]
Play = Callable[[Scenario], None]
AT = 1_700_000_000.0


def key(number: int, **changes: object) -> KeyRow:
    row = KeyRow(
        f"id-{number:05}", f"key {number}", "sips_abcd", number.to_bytes(32), "ann", "red", "pro", ("calls.read", "*"), AT + number
    )
    return msgspec.structs.replace(row, **changes)


def test_one_digest_is_one_key_whoever_adds_it(url: str) -> None:
    async def run() -> None:
        stores = [await Store.open(url) for _ in range(3)]
        told = await asyncio.gather(
            *(stores[at % 3].keys.add(key(at, digest=bytes(32))) for at in range(24)), return_exceptions=True
        )
        assert sum(answer is None for answer in told) == 1
        assert all(answer is None or isinstance(answer, Conflict) for answer in told)
        found = await stores[0].keys.by_digest(bytes(32))
        assert found is not None
        assert told[int(found.id.removeprefix("id-"))] is None
        assert await stores[1].keys.count() == 1
        for store in stores:
            await store.close()

    asyncio.run(run())


def test_one_revocation_counts_whoever_asks(url: str) -> None:
    async def run() -> None:
        stores = [await Store.open(url) for _ in range(3)]
        await stores[0].keys.add(key(1))
        told = await asyncio.gather(*(stores[at % 3].keys.revoke("id-00001", AT + at) for at in range(12)))
        assert sum(told) == 1
        found = await stores[0].keys.by_id("id-00001")
        assert found is not None
        assert found.revoked_at == AT + told.index(True)
        for store in stores:
            await store.close()

    asyncio.run(run())


def test_many_last_uses_are_noted_by_several_at_once(url: str) -> None:
    async def run() -> None:
        stores = [await Store.open(url) for _ in range(3)]
        for at in range(60):
            await stores[0].keys.add(key(at))
        ids = [f"id-{at:05}" for at in range(60)]
        # every other one in the opposite order, which would wait for each other if it were kept
        wishes = [dict.fromkeys(ids if turn % 2 else reversed(ids), AT + turn) for turn in range(12)]
        await asyncio.gather(*(stores[turn % 3].keys.touch(wish) for turn, wish in enumerate(wishes)))
        assert {found.last_used_at for found in await stores[0].keys.all()} == {AT + 11}
        for store in stores:
            await store.close()

    asyncio.run(run())


def test_a_key_of_any_texts_comes_back(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for at, text in enumerate(["a\0b", "\ud800", "𝄞" * 300, "", "'; DROP TABLE keys; --"]):
            await store.keys.add(key(at, name=text, owner=text, team=text, plan=text, scopes=(text, "x"), expires_at=AT))
            [found] = await store.keys.of_owner(text)
            assert found == await store.keys.by_digest(at.to_bytes(32)) == await store.keys.by_id(f"id-{at:05}")
            assert found.scopes == (text, "x")
            assert (found.expires_at, found.revoked_at, found.last_used_at) == (AT, None, None)
            assert await store.keys.of_owner(f"{text}!") == []

    play(scenario)


def test_owners_whose_names_begin_alike_are_apart(play: Play) -> None:
    async def scenario(store: Store) -> None:
        owners = ["n" * 255, "n" * 256, "n" * 255 + "m", "N" * 255]
        for at, owner in enumerate(owners):
            await store.keys.add(key(at, owner=owner))
        for at, owner in enumerate(owners):
            assert [found.id for found in await store.keys.of_owner(owner)] == [f"id-{at:05}"]

    play(scenario)


def test_a_digest_of_any_length_is_asked_for(play: Play) -> None:
    async def scenario(store: Store) -> None:
        await store.keys.add(key(1))
        for digest in (b"", b"\0", bytes(31), bytes(5000), (1).to_bytes(32)[:-1]):
            assert await store.keys.by_digest(digest) is None

    play(scenario)
