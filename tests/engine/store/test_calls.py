"""Kept calls come back as they were, under each of their names, in pages, to those whom they concern."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from engine.store import BadCursor, CallFilter, CallRow, Conflict, KeptTrace, Owner, Store
from engine.store.archive import rows_of
from engine.store.rows import KeptCall, RecordingRow, TraceRow
from engine.trace import read, report
from tests.data.scene import Scene

Scenario = Callable[[Store], Awaitable[None]]
Play = Callable[[Scenario], None]
AT = 1_700_000_000.0


def kept(*call_ids: str, owner: str = "ann", team: str | None = None) -> KeptTrace:
    """A real trace: one answered call a Call-ID, with RTP both ways."""
    scene = Scene()
    for at, call_id in enumerate(call_ids):
        scene.call(at=at * 10.0, call_id=call_id).basic(talk_s=0.5)
    tables = read(scene.pcap())
    return rows_of(tables, report(tables), name="t.pcap", owner=owner, team=team, source="upload", at=AT)


def row(number: int = 0, **changes: Any) -> CallRow:
    """A call with all fields of the barest kind."""
    return msgspec.structs.replace(
        CallRow(
            number=number, uuid=str(uuid.uuid4()), call_ids=(f"c{uuid.uuid4()}",), kind="call", state="done", outcome="answered",
            from_user="alice", from_host="a.example", to_user="bob", to_host="b.example", started_at=AT, answered_at=None,
            ended_at=None, duration_ms=1000, pdd_ms=None, status=200, released_by="", codec="", source="paste", trace_id=None,
            severity_counts={}, worst_severity=None, message_count=0, stream_count=0, worst_mos=None, loss_percent=None,
            owner="ann", team=None, created_at=AT,
        ),
        **changes,
    )  # fmt: skip


def of_rows(*rows: CallRow, owner: str = "ann", team: str | None = None) -> KeptTrace:
    trace = TraceRow(str(uuid.uuid4()), "t", "paste", 1, "", AT, owner, team, {})
    calls = tuple(KeptCall(msgspec.structs.replace(call, trace_id=trace.id), (), (), ()) for call in rows)
    return KeptTrace(trace, calls, (), ())


def test_a_call_comes_back_as_it_was_under_each_name(play: Play) -> None:
    told = kept("one@a", "two@a")

    async def scenario(store: Store) -> None:
        names = await store.calls.keep(told)
        assert [call.call_ids for call in names.calls] == [("one@a",), ("two@a",)]
        for name, before in zip(names.calls, told.calls, strict=True):
            for any_id in (name.number, str(name.number), name.uuid, name.uuid.upper(), *name.call_ids):
                found = await store.calls.get(any_id)
                assert found == msgspec.structs.replace(before.call, number=name.number)
            assert (await store.calls.messages(name.number))[0].text.startswith(b"INVITE")
            findings = await store.calls.findings(name.number)
            assert [(f.rule, f.detail, f.evidence) for f in findings] == [(f.rule, f.detail, f.evidence) for f in before.findings]
            streams = await store.calls.streams(name.number)
            assert [(s.ssrc, s.packets, s.mos) for s in streams] == [(s.ssrc, s.packets, s.mos) for s in before.streams]
        trace = await store.traces.get(names.trace_id)
        assert trace == told.trace
        assert {f.rule for f in await store.traces.findings(names.trace_id)} == {f.rule for f in told.findings}

    play(scenario)


def test_messages_are_kept_byte_for_byte(play: Play) -> None:
    scene = Scene()
    body = bytes(range(256)) * 40
    message = (
        b"MESSAGE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKb\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\n"
        b"Call-ID: bytes@x\r\nCSeq: 1 MESSAGE\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    scene.udp(0.0, "192.0.2.1:5060", "192.0.2.2:5060", message + body)
    tables = read(scene.pcap())
    told = rows_of(tables, report(tables), name="b", owner="ann", team=None, source="upload", at=AT)

    async def scenario(store: Store) -> None:
        names = await store.calls.keep(told)
        [found] = await store.calls.messages(names.calls[0].number)
        assert found.text == message + body
        assert (found.source, found.target, found.method) == ("192.0.2.1:5060", "192.0.2.2:5060", "MESSAGE")

    play(scenario)


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "𝄞" * 50, "é" * 255, "x" * 5000, "'; DROP TABLE calls; --", "%_\\", ""])
def test_any_text_can_be_kept_and_looked_for(play: Play, text: str) -> None:
    async def scenario(store: Store) -> None:
        call_id = f"{text}@x"
        names = await store.calls.keep(of_rows(row(from_user=text, to_host=text, call_ids=(call_id,)), row()))
        found = await store.calls.get(call_id)
        assert found is not None
        assert found.number == names.calls[0].number
        rows, _ = await store.calls.list(CallFilter(call_id=call_id))
        assert [call.number for call in rows] == [found.number]
        rows, _ = await store.calls.list(CallFilter(caller=text))
        assert len(rows) <= 2

    play(scenario)


def test_every_filter_selects_what_it_says(play: Play) -> None:
    one = row(from_user="Zoe", started_at=AT + 5, duration_ms=7000, outcome="busy", worst_severity="critical", source="upload")
    two = row(to_host="far.example", started_at=AT - 5, duration_ms=10, worst_severity="low", kind="registration")
    three = row(started_at=None, duration_ms=None)

    async def scenario(store: Store) -> None:
        names = await store.calls.keep(of_rows(one, two, three))
        first, second, third = (call.number for call in names.calls)

        async def selected(**wanted: Any) -> set[int]:
            return {call.number for call in (await store.calls.list(CallFilter(**wanted)))[0]}

        assert await selected() == {first, second, third}
        assert await selected(since=AT) == {first}
        assert await selected(until=AT) == {second}
        assert await selected(since=AT - 5, until=AT + 5) == {second}
        assert await selected(caller="zO") == {first}
        assert await selected(callee="FAR.") == {second}
        assert await selected(caller="%") == set()
        assert await selected(outcome="busy") == {first}
        assert await selected(min_severity="high") == {first}
        assert await selected(min_severity="info") == {first, second}
        assert await selected(min_duration_ms=7000) == {first}
        assert await selected(max_duration_ms=10) == {second}
        assert await selected(min_duration_ms=10, max_duration_ms=2**70) == {first, second}
        assert await selected(source="upload") == {first}
        assert await selected(kind="registration") == {second}
        assert await selected(trace_id=names.trace_id) == {first, second, third}
        assert await selected(trace_id="other") == set()
        for wrong in ({"min_severity": "awful"}, {"since": float("nan")}):
            with pytest.raises(ValueError, match=r"severity|number"):
                await selected(**wrong)

    play(scenario)


def test_pages_walk_every_row_once_while_new_ones_come(play: Play) -> None:
    async def scenario(store: Store) -> None:
        names = await store.calls.keep(of_rows(*(row() for _ in range(23))))
        seen, cursor = [], None
        while True:
            rows, cursor = await store.calls.list(None, cursor, 4)
            seen += [call.number for call in rows]
            await store.calls.keep(of_rows(row()))
            if cursor is None:
                break
        assert seen == sorted((call.number for call in names.calls), reverse=True)
        for wrong in ("", "x", "AAAA", "ÿ", "A" * 300):
            with pytest.raises(BadCursor):
                await store.calls.list(None, wrong, 4)
        _, audit_cursor = await store.traces.list(limit=1)
        with pytest.raises(BadCursor):
            await store.calls.list(None, audit_cursor, 4)
        for limit in (0, -1, 1001):
            with pytest.raises(ValueError, match="page"):
                await store.calls.list(limit=limit)

    play(scenario)


def test_a_call_is_seen_by_its_owner_and_team_only(play: Play) -> None:
    async def scenario(store: Store) -> None:
        mine = (await store.calls.keep(of_rows(row(owner="ann", team="red"), owner="ann", team="red"))).calls[0]
        other = (await store.calls.keep(of_rows(row(owner="eve"), owner="eve"))).calls[0]
        for who, numbers in (
            (Owner("ann", "red"), {mine.number}), (Owner("ben", "red"), {mine.number}), (Owner("ann"), {mine.number}),
            (Owner("ben"), set()), (Owner("eve", "blue"), {other.number}), (None, {mine.number, other.number}),
        ):  # fmt: skip
            rows, _ = await store.calls.list(visible_to=who)
            assert {call.number for call in rows} == numbers
            for name in (mine.number, mine.uuid, mine.call_ids[0]):
                assert (await store.calls.get(name, visible_to=who) is not None) == (mine.number in numbers)

    play(scenario)


def test_keeping_twice_is_two_calls_and_the_same_row_twice_none(play: Play) -> None:
    async def scenario(store: Store) -> None:
        told = kept("again@a")
        first = await store.calls.keep(told)
        with pytest.raises(Conflict):
            await store.calls.keep(told)
        assert len((await store.calls.list())[0]) == 1
        second = await store.calls.keep(kept("again@a"))
        newest = await store.calls.get("again@a")
        assert newest is not None
        assert newest.number == second.calls[0].number > first.calls[0].number

    play(scenario)


def test_deleting_takes_everything_of_a_call_and_its_number_with_it(play: Play) -> None:
    async def scenario(store: Store) -> None:
        names = await store.calls.keep(kept("gone@a", "stays@a"))
        gone, stays = names.calls
        await store.recordings.add(RecordingRow("r1", gone.number, "audio", "wav", "r.wav", "closed", AT))
        assert await store.calls.delete(gone.number)
        assert not await store.calls.delete(gone.number)
        assert await store.calls.get("gone@a") is None
        assert await store.calls.messages(gone.number) == []
        assert await store.calls.findings(gone.number) == await store.calls.streams(gone.number) == []
        assert await store.recordings.get("r1") is None
        assert (await store.calls.get(stays.number)) is not None
        assert await store.traces.delete(names.trace_id)
        assert await store.calls.get(stays.number) is None
        later = await store.calls.keep(kept("later@a"))
        assert later.calls[0].number > stays.number

    play(scenario)


@pytest.mark.parametrize("name", ["0", "-1", "99999999999999999999", "1e3", "", "\0", "00000000-0000-0000-0000-000000000000", 2**80])
def test_a_name_of_no_call_finds_none(play: Play, name: str | int) -> None:
    async def scenario(store: Store) -> None:
        await store.calls.keep(of_rows(row()))
        assert await store.calls.get(name) is None
        for number in (0, -1, 2**80):
            assert await store.calls.messages(number) == []
            assert not await store.calls.delete(number)

    play(scenario)


def test_numbers_are_given_once_whoever_keeps(url: str) -> None:
    async def run() -> None:
        stores = [await Store.open(url) for _ in range(3)]
        told = await asyncio.gather(*(store.calls.keep(of_rows(row(), row())) for store in stores for _ in range(8)))
        numbers = [call.number for names in told for call in names.calls]
        assert len(set(numbers)) == 48
        for store in stores:
            await store.close()

    asyncio.run(run())
