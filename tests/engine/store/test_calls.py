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
from engine.store.calls import BATCH_CALLS
from engine.store.packing import PART_BYTES, PART_MESSAGES, Packer
from engine.store.rows import FindingRow, KeptCall, MessageRow, RecordingRow, StreamRow, TraceRow
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


def message(number: int, text: bytes) -> MessageRow:
    return MessageRow(number, 2**60, None, "192.0.2.2:5060", "UDP", "BYE", 0, 2**32, False, 0, 2, text)


def with_messages(*messages: list[MessageRow]) -> KeptTrace:
    told = of_rows(*(row() for _ in messages))
    packer = Packer()
    calls = (msgspec.structs.replace(call, messages=packer.pack(rows)) for call, rows in zip(told.calls, messages, strict=True))
    return msgspec.structs.replace(told, calls=tuple(calls))


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


def test_all_legs_of_a_call_lead_to_it(play: Play) -> None:
    ids = ("leg1@a", "leg2@b", "𝄞" * 400, "a\0b")

    async def scenario(store: Store) -> None:
        names = await store.calls.keep(of_rows(row(call_ids=ids), row()))
        for call_id in ids:
            rows, _ = await store.calls.list(CallFilter(call_id=call_id))
            assert [found.number for found in rows] == [names.calls[0].number]
            assert rows[0].call_ids == (*ids[:3], "a\u2400b")
        assert await store.calls.get("leg1@") is None

    play(scenario)


def test_long_call_ids_that_begin_alike_are_apart(play: Play) -> None:
    async def scenario(store: Store) -> None:
        ids = ["x" * 6000 + end for end in ("", "a", "A", "ab")]
        names = await store.calls.keep(of_rows(*(row(call_ids=(call_id,)) for call_id in ids)))
        for name, call_id in zip(names.calls, ids, strict=True):
            found = await store.calls.get(call_id)
            assert found is not None
            assert (found.number, found.call_ids) == (name.number, (call_id,))

    play(scenario)


def test_a_number_is_one_before_it_is_a_call_id(play: Play) -> None:
    async def scenario(store: Store) -> None:
        one, two = (await store.calls.keep(of_rows(row(), row(call_ids=("1",))))).calls
        of_uuid = (await store.calls.keep(of_rows(row(call_ids=(one.uuid, "77"))))).calls[0]
        for name, number in ((str(one.number), one.number), (one.uuid, one.number), ("77", of_uuid.number), (77, None)):
            found = await store.calls.get(name)
            assert (found and found.number) == number
        assert await store.calls.delete(one.number)
        for name, number in (("1", two.number), (1, None), (one.uuid, of_uuid.number)):
            found = await store.calls.get(name)
            assert (found and found.number) == number

    play(scenario)


def test_of_calls_with_one_call_id_each_sees_the_newest_of_theirs(play: Play) -> None:
    async def scenario(store: Store) -> None:
        ids = ("same@x",)
        numbers = [
            (await store.calls.keep(of_rows(row(call_ids=ids, owner=owner, team=team)))).calls[0].number
            for owner, team in (("ann", None), ("ben", "red"), ("eve", None))
        ]
        for who, number in (
            (Owner("ann"), numbers[0]), (Owner("ann", "red"), numbers[1]), (Owner("eve", "red"), numbers[2]), (None, numbers[2]),
            (Owner("cy"), None),
        ):  # fmt: skip
            found = await store.calls.get("same@x", who)
            assert (found and found.number) == number

    play(scenario)


def test_pages_of_a_filter_skip_what_is_deleted_on_the_way(play: Play) -> None:
    async def scenario(store: Store) -> None:
        told = [row(outcome="busy" if at % 2 else "answered", team="red" if at % 3 else None) for at in range(30)]
        names = (await store.calls.keep(of_rows(*told))).calls
        wanted = [names[at].number for at in range(29, -1, -1) if at % 2 and at % 3]
        seen: list[int] = []
        cursor = None
        while True:
            rows, cursor = await store.calls.list(CallFilter(outcome="busy"), cursor, 3, visible_to=Owner("ben", "red"))
            seen += [call.number for call in rows]
            assert await store.calls.delete(seen[-1])
            if cursor is None:
                break
        assert seen == wanted
        whole, cursor = await store.calls.list(limit=1000)
        assert len(whole) == 30 - len(range(0, len(wanted), 3))
        assert cursor is None

    play(scenario)


def test_a_long_call_is_read_in_parts(play: Play) -> None:
    few = [message(at, b"BYE" + bytes([at % 256])) for at in range(PART_MESSAGES + 7)]
    large = [message(at, bytes([at]) * PART_BYTES) for at in range(1, 3)]

    async def scenario(store: Store) -> None:
        names = await store.calls.keep(with_messages(few, large, []))
        for name, messages, parts in zip(names.calls, (few, large, []), (2, 2, 0), strict=True):
            told = [part async for part in store.calls.message_parts(name.number)]
            assert len(told) == parts
            assert [one for part in told for one in part] == messages

    play(scenario)


def test_findings_and_streams_of_any_kind_come_back(play: Play) -> None:
    text = "\ud800\0 𝄞" * 300
    as_kept = "\ufffd\u2400 𝄞" * 300
    evidence = [{"call_id": text, "message": 2**60, "at": None, "x": [1.5, {"\0": True}]}]
    finding = FindingRow("rule", "critical", "media", text, text, text, text, 0.25, 2**60, evidence)
    bare = StreamRow(
        2**60, "[2001:db8::1]:65535", "x", "", 2**32 - 1, "", None, None, 0, 0, -5, 0.0, 0.0, 0.0, 0.0, None, None, None, False
    )
    full = StreamRow(1, text, text, text, 0, text, 127, AT, 2**60, 2**60, 3, 99.99, 1e9, 0.01, 5.5, 4.5, 1.0, 0.5, True)

    async def scenario(store: Store) -> None:
        told = of_rows(row(), row())
        whole = msgspec.structs.replace(
            told,
            calls=(told.calls[0], msgspec.structs.replace(told.calls[1], findings=(finding, finding), streams=(full, bare))),
        )
        one, two = (await store.calls.keep(whole)).calls
        assert await store.calls.findings(one.number) == await store.calls.streams(one.number) == []
        where = {"call": two.number, "trace_id": told.trace.id}
        kept_finding = msgspec.structs.replace(
            finding, title=as_kept, detail=as_kept, recommendation=as_kept, rfc=as_kept, **where
        )
        assert await store.calls.findings(two.number) == [kept_finding] * 2
        kept_full = msgspec.structs.replace(full, source=as_kept, target=as_kept, direction=as_kept, codec=as_kept, **where)
        assert await store.calls.streams(two.number) == [kept_full, msgspec.structs.replace(bare, **where)]

    play(scenario)


def test_a_trace_is_kept_whole_or_not_at_all(play: Play) -> None:
    async def scenario(store: Store) -> None:
        rows = [row() for _ in range(2 * BATCH_CALLS + 3)]
        for last, error in ((rows[0], Conflict), (row(duration_ms=2**70), ValueError), (row(message_count=-(2**63) - 1), ValueError)):
            with pytest.raises(error):
                await store.calls.keep(of_rows(*rows, last))
            assert await store.calls.list() == ([], None)
            assert await store.traces.list() == ([], None)
        names = await store.calls.keep(of_rows(*rows, row(duration_ms=2**63 - 1, message_count=-(2**63))))
        assert len(names.calls) == len({call.number for call in names.calls}) == 2 * BATCH_CALLS + 4
        found = await store.calls.get(names.calls[-1].number)
        assert found is not None
        assert (found.duration_ms, found.message_count) == (2**63 - 1, -(2**63))

    play(scenario)


def test_a_pasted_message_is_a_call_without_times(play: Play) -> None:
    text = (
        b"INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKp\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\n"
        b"Call-ID: pasted@x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    )
    tables = read(text)
    told = rows_of(tables, report(tables), name="p", owner="ann", source="paste", at=AT)

    async def scenario(store: Store) -> None:
        await store.calls.keep(told)
        found = await store.calls.get("pasted@x")
        assert found is not None
        assert (found.started_at, found.answered_at, found.ended_at, found.duration_ms) == (None, None, None, None)
        assert (found.from_user, found.from_host, found.to_user) == ("a", "x", "b")
        [only] = await store.calls.messages(found.number)
        assert (only.at_ns, only.text) == (None, text)
        assert (await store.calls.list(CallFilter(since=0.0)))[0] == []

    play(scenario)
