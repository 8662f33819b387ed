"""Recordings, transcripts and summaries are kept alike: with their call, seen by those who see it, gone with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.store import Conflict, Owner, Store
from engine.store.rows import RecordingRow, SummaryRow, TranscriptRow
from tests.engine.store.test_calls import of_rows, row

Scenario = Callable[[Store], Awaitable[None]]
Play = Callable[[Scenario], None]
AT = 1_700_000_000.0
KINDS = ("recordings", "transcripts", "summaries")
ANY_TEXT = "Grüße 𝄞 " * 200
ANY_JSON = {"topic": "\ud800\0", "n": [1, 2.5, None, True, {"é": {}}], "big": 2**70}


def made(kind: str, id: str, call: int, at: float = AT) -> Any:
    if kind == "recordings":
        return RecordingRow(id, call, "audio", "wav", f"2026/{ANY_TEXT}.wav", "closed", at, 2**40, 2**62, "ab" * 32)
    if kind == "transcripts":
        return TranscriptRow(id, call, "full", "text", "done", at, ANY_TEXT, [ANY_JSON, {}], "de", 9000, "ab" * 32)
    return SummaryRow(id, call, "short", "text", "done", at, ANY_TEXT, ANY_JSON, 9000, "ab" * 32)


def test_rows_come_back_as_they_were_oldest_first(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for kind in KINDS:
            rows = getattr(store, kind)
            one, two = (call.number for call in (await store.calls.keep(of_rows(row(), row()))).calls)
            told = [made(kind, "b", one), made(kind, "a", one), made(kind, "c", one, AT - 1), made(kind, "d", two)]
            for each in told:
                await rows.add(each)
            assert [found.id for found in await rows.of_call(one)] == ["c", "a", "b"]
            for each in told:
                assert await rows.get(each.id) == each
            for nothing in (0, -1, 2**80, two + 1):
                assert await rows.of_call(nothing) == []

    play(scenario)


def test_rows_are_seen_by_those_who_see_the_call(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for kind in KINDS:
            rows = getattr(store, kind)
            mine = (await store.calls.keep(of_rows(row(owner="ann", team="red")))).calls[0].number
            other = (await store.calls.keep(of_rows(row(owner="eve")))).calls[0].number
            await rows.add(made(kind, "m", mine))
            await rows.add(made(kind, "o", other))
            for who, ids in ((Owner("ann"), "m"), (Owner("ben", "red"), "m"), (Owner("eve", "blue"), "o"), (Owner("ben"), ""), (None, "mo")):
                assert [found.id for found in await rows.of_call(mine, who)] == (["m"] if "m" in ids else [])
                assert (await rows.get("m", who) is not None) == ("m" in ids)
                assert (await rows.get("o", who) is not None) == ("o" in ids)

    play(scenario)


def test_rows_go_with_their_call_and_alone(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for kind in KINDS:
            rows = getattr(store, kind)
            one, two = (call.number for call in (await store.calls.keep(of_rows(row(), row()))).calls)
            for id, call in (("a", one), ("b", two), ("c", two)):
                await rows.add(made(kind, id, call))
            assert await store.calls.delete(one)
            assert await rows.get("a") is None
            assert await rows.delete("b")
            assert not await rows.delete("b")
            assert [found.id for found in await rows.of_call(two)] == ["c"]

    play(scenario)


def test_a_row_is_added_once_and_to_a_call_that_is_there(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for kind in KINDS:
            rows = getattr(store, kind)
            call = (await store.calls.keep(of_rows(row()))).calls[0].number
            await rows.add(made(kind, "a", call))
            for wrong in (made(kind, "a", call), made(kind, "b", call + 1), made(kind, "b", -1)):
                with pytest.raises(Conflict):
                    await rows.add(wrong)
            with pytest.raises(ValueError, match="range"):
                await rows.add(made(kind, "b", 2**80))
            assert [found.id for found in await rows.of_call(call)] == ["a"]

    play(scenario)


def test_what_may_change_is_changed_and_nothing_else(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for kind in KINDS:
            rows = getattr(store, kind)
            call = (await store.calls.keep(of_rows(row()))).calls[0].number
            await rows.add(made(kind, "a", call))
            assert await rows.update("a", {"state": "queued", "duration_ms": None, "sha256": ""})
            found = await rows.get("a")
            assert (found.state, found.duration_ms, found.sha256) == ("queued", None, "")
            assert await rows.update("a", {})
            for field in ("id", "call", "created_at", "nothing"):
                with pytest.raises(ValueError, match=field):
                    await rows.update("a", {field: 1})
            with pytest.raises(ValueError, match="range"):
                await rows.update("a", {"state": "lost", "duration_ms": 2**80})
            assert await rows.get("a") == found
            assert not await rows.update("b", {"state": "done"})
            assert not await rows.update("b", {})

    play(scenario)


def test_a_row_that_races_with_the_end_of_its_call_is_refused_or_goes_with_it(url: str) -> None:
    async def run() -> None:
        stores = [await Store.open(url) for _ in range(2)]
        names = (await stores[0].calls.keep(of_rows(*(row() for _ in range(20))))).calls
        ends = [stores[0].calls.delete(call.number) for call in names]
        added = [stores[1].recordings.add(made("recordings", f"r{call.number}", call.number)) for call in names]
        mixed = [wish for pair in zip(ends, added, strict=True) for wish in pair]
        told = await asyncio.gather(*mixed, return_exceptions=True)
        assert told[::2] == [True] * 20
        assert all(answer is None or isinstance(answer, Conflict) for answer in told[1::2])
        for call in names:
            assert await stores[0].recordings.get(f"r{call.number}") is None
        for store in stores:
            await store.close()

    asyncio.run(run())
