"""Recordings in the store: their calls, parties, streams and files; once, whatever happens, and after the database was away."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.recordings.addresses import address_of
from engine.recordings.index import Indexer
from engine.recordings.pipeline import Pipeline
from engine.siprec.facts import Party
from engine.store import CallFilter, RecordedFilter, Store
from tests.engine.recordings.rig import BEGAN, Rig, met, record
from tests.engine.store.conftest import postgresql_socket, postgresql_url, url

__all__ = ["postgresql_socket", "postgresql_url", "url"]


@pytest.fixture(autouse=True)
def quick_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: os.fstat(fd) and None)
    monkeypatch.setattr("engine.recordings.index.RETRY_FIRST_S", 0.02)
    monkeypatch.setattr("engine.recordings.index.RETRY_LAST_S", 0.05)


class Working(Rig):
    """With the pipeline that works on it."""

    running: Pipeline


Scenario = Callable[[Working, Indexer], Awaitable[None]]


def play(data: Path, url: str, scenario: Scenario, *, opened: bool = True, changes: dict[str, Any] | None = None) -> None:
    """Runs a pipeline and an indexer over a store."""
    made = Working(data, changes)

    async def whole() -> None:
        if opened:
            made.store = await Store.open(url)
        indexer = Indexer(made.keeping, machine="here")
        made.catalogue.forgetters.append(indexer.forget)
        pipeline = made.running = made.pipeline(on_change=indexer.add)
        await indexer.start()
        await pipeline.start()
        try:
            await scenario(made, indexer)
        finally:
            await pipeline.close()
            await indexer.close()
            if made.store is not None:
                await made.store.close()

    try:
        asyncio.run(whole())
    finally:
        made.close()


def is_indexed(made: Rig) -> bool:
    return made.is_done() and not made.catalogue.lookup.unindexed()


@pytest.mark.parametrize(
    ("aor", "user", "host"),
    [
        ("sip:alice@example.com", "alice", "example.com"), ("<sips:+49301@h:5061;user=phone>", "+49301", "h:5061"), ("tel:+1-201;phone-context=x", "+1-201", ""),
        ("4711", "4711", ""), ("anonymous", "", "anonymous"), ("", "", ""), ("sip:h.example", "", "h.example"), ("urn:x:y", "", "urn:x:y"), ("a@b@c", "a@b", "c"),
    ],
)
def test_addresses_of_all_kinds(aor: str, user: str, host: str) -> None:
    assert address_of(aor) == (user, host)


def test_a_recorded_call_is_found_by_all_that_is_known_of_it(tmp_path: Path, url: str) -> None:
    keys = ("ucid:00fa", "call-id:inner@pbx", "cisco-guid:aa-bb")
    record(tmp_path / "recordings", "r1", "call-1@host", correlation=keys, group_ids=("g1",))
    record(tmp_path / "recordings", "r2", "call-2@host", correlation=("ucid:00fb",), began=BEGAN + 100)

    async def scenario(made: Working, indexer: Indexer) -> None:
        await met(lambda: is_indexed(made))
        store = made.store
        assert store is not None
        call = await store.calls.get("call-1@host")
        assert call is not None and call.number == made.of("r1").call
        assert (call.kind, call.outcome, call.call_ids, call.codec, call.source) == ("siprec", "answered", ("call-1@host", "inner@pbx"), "PCMU", "recording")
        assert (call.from_user, call.from_host, call.to_user, call.to_host) == ("alice", "example.com", "bob", "example.net")
        assert (call.started_at, call.duration_ms, call.stream_count, call.worst_mos) == (BEGAN, 250, 2, 4.2)
        streams = await store.calls.streams(call.number)
        assert [(each.number, each.ssrc, each.codec, each.packets, each.lost, each.mos) for each in streams] == [(1, 7, "PCMU", 50, 0, 4.2), (2, 8, "PCMU", 50, 1, 4.2)]
        assert streams[1].loss_percent == round(100 / 51, 2) == call.loss_percent
        assert [(party.aor, party.role) for party in await store.recorded.parties(call.number)] == [("sip:alice@example.com", "caller"), ("sip:bob@example.net;user=phone", "agent")]
        assert set(await store.recorded.correlation(call.number)) == {
            ("ucid", "00fa"), ("call-id", "inner@pbx"), ("cisco-guid", "aa-bb"), ("group-id", "g1"), ("rs-session-id", "rs-1"),
        }  # fmt: skip
        files = await store.recorded.files("r1")
        assert [(file.path, file.kind, file.state, file.size_bytes) for file in files] == [
            (name, kind, "stored", (made.folder / name).stat().st_size) for name, kind in (("r1-leg0.wav", "leg"), ("r1-leg1.wav", "leg"), ("r1.wav", "merged"))
        ]  # fmt: skip
        row = await store.recorded.get("r1")
        assert row is not None and (row.machine, row.stage, row.state, row.vendor, row.session) == ("here", "done", "complete", "oracle", "call-1@host")
        assert [(channel["index"], channel["parties"][0]["name"]) for channel in row.channels] == [(0, "Alice"), (1, "Bob")]
        for wanted in (
            RecordedFilter(correlation="00fa"), RecordedFilter(correlation="ucid:00fa"), RecordedFilter(correlation="aa-bb"), RecordedFilter(correlation="group-id:g1"),
            RecordedFilter(call_id="inner@pbx"), RecordedFilter(call_id="call-1@host"), RecordedFilter(call=call.number), RecordedFilter(until=BEGAN + 1),
            RecordedFilter(participant="ALICE@exa", correlation="ucid:00fa"),
        ):  # fmt: skip
            assert [row.id for row in (await store.recorded.list(wanted))[0]] == ["r1"], wanted
        for nothing in (
            RecordedFilter(correlation="cisco-guid:00fa"), RecordedFilter(participant="%"), RecordedFilter(since=BEGAN + 101), RecordedFilter(held=True),
            RecordedFilter(call_id="call"), RecordedFilter(correlation="0" * 5000),
        ):  # fmt: skip
            assert (await store.recorded.list(nothing)) == ([], None), nothing
        page, cursor = await store.recorded.list(limit=1)
        assert [row.id for row in page] == ["r2"] and cursor is not None
        page, cursor = await store.recorded.list(cursor=cursor, limit=1)
        assert [row.id for row in page] == ["r1"] and cursor is None
        assert len((await store.calls.list(CallFilter(kind="siprec")))[0]) == 2

    play(tmp_path, url, scenario)


def test_kept_again_it_is_one_call(tmp_path: Path, url: str) -> None:
    record(tmp_path / "recordings", "r1", "call-1@host")

    async def scenario(made: Working, indexer: Indexer) -> None:
        await met(lambda: is_indexed(made))
        store = made.store
        assert store is not None
        before = made.of().call
        for at in range(3):
            indexer.add(made.catalogue.update("r1", lambda now, at=at: msgspec.structs.replace(now, warnings=(str(at),), indexed=False)))
            await met(lambda: is_indexed(made))
        assert len((await store.calls.list())[0]) == 1 and made.of().call == before
        assert len(await store.recorded.files("r1")) == 3 and len(await store.calls.streams(before or 0)) == 2
        row = await store.recorded.get("r1")
        assert row is not None and row.warnings == ("2",)
        # the rest of a session that was recorded anew after its worker died is of the same call
        await asyncio.to_thread(record, made.folder, "r2", "call-1@host", began=BEGAN + 10, participants=(Party(place=0, participant_id="p9", aor="sip:carol@x"),))
        await asyncio.to_thread(record, made.folder, "r3", "call-1@host", began=BEGAN + 3 * 86_400)
        for id in ("r2", "r3"):
            await made.running.adopt(f"{id}.json")
        await met(lambda: is_indexed(made))
        assert made.of("r2").call == before != made.of("r3").call  # nobody's Call-ID comes again after days
        call = await store.calls.get(before or 0)
        assert call is not None and (call.started_at, call.duration_ms, call.stream_count) == (BEGAN, 10_250, 4)
        assert {party.aor for party in await store.recorded.parties(call.number)} == {"sip:alice@example.com", "sip:bob@example.net;user=phone", "sip:carol@x"}

    play(tmp_path, url, scenario)


def test_what_is_erased_is_not_in_the_store_either(tmp_path: Path, url: str) -> None:
    record(tmp_path / "recordings", "r1", "call-1@host")
    record(tmp_path / "recordings", "r2", "call-1@host", began=BEGAN + 10)

    async def scenario(made: Working, indexer: Indexer) -> None:
        await met(lambda: is_indexed(made))
        store = made.store
        assert store is not None
        number = made.of("r1").call or 0
        assert await made.catalogue.erase(made.of("r1"), by="ada") == ()
        assert await store.recorded.get("r1") is None and await store.recorded.files("r1") == []
        call = await store.calls.get(number)
        assert call is not None and call.started_at == BEGAN + 10 and call.stream_count == 2
        assert await made.catalogue.erase(made.of("r2"), by="ada") == ()
        assert await store.calls.get(number) is None and await store.recorded.correlation(number) == [] and await store.recorded.parties(number) == []

    play(tmp_path, url, scenario)


def test_a_store_that_opens_later_is_caught_up_with(tmp_path: Path, url: str) -> None:
    for number in range(3):
        record(tmp_path / "recordings", f"r{number}", f"call-{number}@host")

    async def scenario(made: Working, indexer: Indexer) -> None:
        await met(made.is_done)
        await met(lambda: bool(indexer.problem))
        assert indexer.checks()["recordings_index"].status == "degraded"
        left = await made.catalogue.erase(made.of("r2"), by="ada")
        assert left == ("the store: it was not opened yet",)
        made.store = await Store.open(url)
        await met(lambda: not made.catalogue.lookup.unindexed() or made.catalogue.lookup.unindexed() == ["r2"])
        await met(lambda: indexer.checks()["recordings_index"].status == "healthy")
        assert sorted(row.id for row in (await made.store.recorded.list())[0]) == ["r0", "r1"]
        assert await made.catalogue.erase(made.of("r2"), by="ada") == ()

    play(tmp_path, url, scenario, opened=False)


def test_a_database_that_is_locked_for_a_while_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.store.database.WRITE_WAIT_S", 0.05)
    record(tmp_path / "recordings", "r1", "call-1@host")

    async def scenario(made: Working, indexer: Indexer) -> None:
        await met(lambda: is_indexed(made))
        blocker = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        await asyncio.to_thread(record, made.folder, "r2", "call-2@host")
        await made.running.adopt("r2.json")
        await met(lambda: bool(indexer.problem))
        assert made.of("r2").call is None
        blocker.execute("ROLLBACK")
        blocker.close()
        await met(lambda: made.of("r2").indexed and indexer.problem == "")
        assert made.of("r2").call == 2

    play(tmp_path, f"sqlite:///{tmp_path}/s.db", scenario)


@pytest.mark.slow
def test_a_postgresql_that_ends_every_connection_loses_nothing(tmp_path: Path, postgresql_url: str) -> None:
    import sqlalchemy as sa

    from engine.store.database import Database

    for number in range(5):
        record(tmp_path / "recordings", f"r{number}", f"call-{number}@host")

    async def scenario(made: Working, indexer: Indexer) -> None:
        other = Database(postgresql_url)
        for _ in range(20):
            async with other.single() as connection:
                await connection.execute(
                    sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
                )
            for id in [f"r{number}" for number in range(5)]:
                if (made.folder / f"{id}.record").exists():
                    indexer.add(made.catalogue.update(id, lambda now: msgspec.structs.replace(now, indexed=False)))
            await asyncio.sleep(0.02)
        await other.close()
        await met(lambda: is_indexed(made))
        assert made.store is not None
        assert sorted(row.id for row in (await made.store.recorded.list())[0]) == [f"r{number}" for number in range(5)]
        assert len((await made.store.calls.list())[0]) == 5

    play(tmp_path, postgresql_url, scenario)


def test_strange_names_and_a_lying_document_are_kept_as_they_are(tmp_path: Path, url: str) -> None:
    parties = tuple(Party(place=0, participant_id=f"p\0{at}", aor="sip:\ud800@" + "x" * 4000, name="'; DROP TABLE calls; --", left="never") for at in range(3))
    keys = (*(f"ucid:{'f' * 3000}{at}" for at in range(5)), "no kind", ":", "ucid:", "a:b:c", "a:b:c")
    raw = msgspec.json.encode  # surrogates cannot be written as JSON: what came so never became a document
    with pytest.raises(UnicodeEncodeError):
        raw(parties)
    clean = tuple(msgspec.structs.replace(party, aor=party.aor.replace("\ud800", "?")) for party in parties)
    record(tmp_path / "recordings", "r1", "c" * 3000, participants=clean, correlation=keys)

    async def scenario(made: Working, indexer: Indexer) -> None:
        await met(lambda: is_indexed(made))
        assert made.store is not None
        assert [row.id for row in (await made.store.recorded.list(RecordedFilter(correlation=keys[3])))[0]] == ["r1"]
        assert [row.id for row in (await made.store.recorded.list(RecordedFilter(correlation="a:b:c")))[0]] == ["r1"]
        assert len(await made.store.recorded.parties(made.of().call or 0)) == 1
        assert (await made.store.recorded.list(RecordedFilter(call_id="c" * 3000)))[0]

    play(tmp_path, url, scenario)
