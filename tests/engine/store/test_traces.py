"""Traces are listed newest first, seen by those whom they concern, and take their calls with them."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

import pytest

from engine.store import BadCursor, Conflict, KeptTrace, Owner, Store, TraceRow
from engine.store.archive import rows_of
from engine.store.paging import timed_cursor_of
from engine.store.rows import KeptCall
from engine.trace import read, report
from tests.data.scene import Scene
from tests.engine.store.test_calls import row

Scenario = Callable[[Store], Awaitable[None]]
Play = Callable[[Scenario], None]
AT = 1_700_000_000.0


def trace(name: str, at: float = AT, owner: str = "ann", team: str | None = None) -> KeptTrace:
    summary = {"messages": 3, "span": [0.5, None], "é": "\ud800\0"}
    return KeptTrace(TraceRow(str(uuid.uuid4()), name, "upload", 2**40, "ab" * 32, at, owner, team, summary), (), (), ())


def test_traces_of_one_moment_are_walked_once_while_new_ones_come(play: Play) -> None:
    async def scenario(store: Store) -> None:
        told = [trace(f"t{at}", AT + at // 5) for at in range(17)]
        for one in told:
            await store.calls.keep(one)
        seen, cursor = [], None
        while True:
            rows, cursor = await store.traces.list(cursor, limit=3)
            seen += rows
            await store.calls.keep(trace("later", AT + 100))
            if cursor is None:
                break
        assert seen == sorted((one.trace for one in told), key=lambda found: (found.stored_at, found.id), reverse=True)
        for limit in (0, -1, 1001):
            with pytest.raises(ValueError, match="page"):
                await store.traces.list(limit=limit)

    play(scenario)


def test_a_page_goes_on_where_its_last_trace_was_deleted(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for at in range(6):
            await store.calls.keep(trace(f"t{at}", AT + at))
        rows, cursor = await store.traces.list(limit=2)
        for found in rows:
            assert await store.traces.delete(found.id)
            assert not await store.traces.delete(found.id)
        rows, _ = await store.traces.list(cursor)
        assert [found.name for found in rows] == ["t3", "t2", "t1", "t0"]

    play(scenario)


def test_a_cursor_that_was_not_given_out_is_refused(play: Play) -> None:
    async def scenario(store: Store) -> None:
        await store.calls.keep(trace("t"))
        wrong = [
            "", "nonsense", "A" * 300, "é", timed_cursor_of("jobs", AT, "x"), timed_cursor_of("traces", float("nan"), "x"),
            timed_cursor_of("traces", float("inf"), "x"), timed_cursor_of("traces", AT, "a\0b"),
        ]  # fmt: skip
        for cursor in wrong:
            with pytest.raises(BadCursor):
                await store.traces.list(cursor)

    play(scenario)


def test_a_trace_is_seen_by_its_owner_and_team_only(play: Play) -> None:
    async def scenario(store: Store) -> None:
        mine, other = trace("mine", team="red"), trace("other", owner="eve")
        for one in (mine, other):
            await store.calls.keep(one)
        for who, names in (
            (Owner("ann"), {"mine"}), (Owner("ben", "red"), {"mine"}), (Owner("eve", "red"), {"mine", "other"}),
            (Owner("ben"), set()), (Owner("red", "ann"), set()), (None, {"mine", "other"}),
        ):  # fmt: skip
            rows, _ = await store.traces.list(visible_to=who)
            assert {found.name for found in rows} == names
            for one in (mine, other):
                found = await store.traces.get(one.trace.id, who)
                assert found == (one.trace if one.trace.name in names else None)

    play(scenario)


def test_what_belongs_to_no_call_is_the_traces(play: Play) -> None:
    scene = Scene()
    scene.call(call_id="one@a").basic(talk_s=0.5)
    scene.rtp(5.0, "198.51.100.7:40000", "198.51.100.8:41000", 2.0, ssrc=0xFFFFFFFF)
    tables = read(scene.pcap())
    told = rows_of(tables, report(tables), name="t", owner="ann", at=AT)

    async def scenario(store: Store) -> None:
        names = await store.calls.keep(told)
        [stream] = await store.traces.streams(names.trace_id)
        assert (stream.ssrc, stream.call, stream.trace_id) == (0xFFFFFFFF, None, names.trace_id)
        assert stream.source == "198.51.100.7:40000"
        assert {found.ssrc for found in await store.calls.streams(names.calls[0].number)}.isdisjoint({stream.ssrc})
        findings = await store.traces.findings(names.trace_id)
        assert [(found.rule, found.evidence) for found in findings] == [(one.rule, one.evidence) for one in told.findings]
        assert await store.traces.delete(names.trace_id)
        assert await store.traces.get(names.trace_id) is None
        assert await store.traces.streams(names.trace_id) == await store.traces.findings(names.trace_id) == []
        assert (await store.calls.list())[0] == []

    play(scenario)


def test_an_id_of_no_trace_finds_none(play: Play) -> None:
    async def scenario(store: Store) -> None:
        await store.calls.keep(trace("t"))
        for id in ("", "\0", "\ud800", "x" * 5000, "%"):
            assert await store.traces.get(id) is None
            assert not await store.traces.delete(id)
            assert await store.traces.streams(id) == await store.traces.findings(id) == []

    play(scenario)


def test_a_call_of_no_trace_is_refused(play: Play) -> None:
    async def scenario(store: Store) -> None:
        whole = trace("t")
        astray = KeptCall(row(trace_id=str(uuid.uuid4())), (), (), ())
        with pytest.raises(Conflict):
            await store.calls.keep(KeptTrace(whole.trace, (astray,), (), ()))
        assert await store.traces.get(whole.trace.id) is None

    play(scenario)
