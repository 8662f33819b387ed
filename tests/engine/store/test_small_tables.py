"""Keys, webhooks, what belongs to calls, and the audit log that notices when it was tampered with."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import msgspec
import pytest
import sqlalchemy as sa

from engine.store import BadCursor, Conflict, KeyRow, Owner, Store
from engine.store.database import Database
from engine.store.rows import AuditRow, SummaryRow, TranscriptRow, WebhookRow
from tests.engine.store.test_calls import of_rows, row

Scenario = Callable[[Store], Awaitable[None]]
Play = Callable[[Scenario], None]
AT = 1_700_000_000.0


def key(name: str, owner: str = "ann", at: float = AT) -> KeyRow:
    return KeyRow(f"id-{name}", name, "sips_abcd", hashlib.sha256(name.encode()).digest(), owner, None, "pro", ("calls.read",), at)


def entry(target: str, actor: str = "ann", at: float = AT) -> AuditRow:
    return AuditRow(at, actor, "keys.revoke", target, "done", "r-1", "192.0.2.1", {"n": [1, 2.5, None], "é": "\ud800"})


def test_keys_are_found_by_digest_and_revoked_for_good(play: Play) -> None:
    async def scenario(store: Store) -> None:
        assert await store.keys.count() == 0
        await store.keys.add(key("b", at=AT + 1))
        await store.keys.add(key("a"))
        await store.keys.add(key("c", owner="eve"))
        assert await store.keys.by_digest(key("a").digest) == key("a")
        assert await store.keys.by_digest(b"\0" * 32) is None
        assert [found.name for found in await store.keys.of_owner("ann")] == ["a", "b"]
        assert await store.keys.count() == len(await store.keys.all()) == 3
        with pytest.raises(Conflict):
            await store.keys.add(msgspec.structs.replace(key("a"), id="other"))
        with pytest.raises(Conflict):
            await store.keys.add(msgspec.structs.replace(key("d"), id="id-a"))
        assert await store.keys.revoke("id-a", AT + 5)
        assert not await store.keys.revoke("id-a", AT + 9)
        assert not await store.keys.revoke("nobody", AT)
        found = await store.keys.by_id("id-a")
        assert found is not None
        assert found.revoked_at == AT + 5

    play(scenario)


def test_the_last_use_only_moves_forward(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for name in "ab":
            await store.keys.add(key(name))
        await store.keys.touch({"id-a": AT + 5, "id-b": AT + 1, "nobody": AT})
        await store.keys.touch({"id-a": AT + 2})
        await store.keys.touch({})
        assert [found.last_used_at for found in await store.keys.of_owner("ann")] == [AT + 5, AT + 1]

    play(scenario)


def test_webhooks_count_failures_in_a_row(play: Play) -> None:
    async def scenario(store: Store) -> None:
        hook = WebhookRow("w", "https://x.example/h", ("trace.kept",), "secret", "ann", "red", True, AT, AT)
        await store.webhooks.add(hook)
        assert await store.webhooks.get("w", Owner("ben", "red")) == hook
        assert await store.webhooks.get("w", Owner("eve", "blue")) is None
        await store.webhooks.failed("w", AT + 1, "refused")
        await store.webhooks.failed("w", AT + 2, "refused again")
        found = await store.webhooks.get("w")
        assert found is not None
        assert (found.failures, found.last_error, found.last_failure_at) == (2, "refused again", AT + 2)
        await store.webhooks.succeeded("w", AT + 3)
        assert await store.webhooks.update("w", AT + 4, {"active": False, "events": ("call.*",)})
        found = await store.webhooks.get("w")
        assert found is not None
        assert (found.failures, found.active, found.events, found.updated_at) == (0, False, ("call.*",), AT + 4)
        assert await store.webhooks.list(active=True) == []
        with pytest.raises(ValueError, match="owner"):
            await store.webhooks.update("w", AT, {"owner": "eve"})
        assert await store.webhooks.delete("w")
        assert not await store.webhooks.delete("w")

    play(scenario)


def test_transcripts_and_summaries_belong_to_a_call(play: Play) -> None:
    async def scenario(store: Store) -> None:
        call = (await store.calls.keep(of_rows(row(owner="ann", team="red")))).calls[0].number
        text = "Grüße, 𝄞\n" * 1000
        transcript = TranscriptRow("t", call, "full", "text", "done", AT, text, [{"at_ms": 5, "who": "caller"}], "de", 9000)
        await store.transcripts.add(transcript)
        assert await store.transcripts.get("t", Owner("ben", "red")) == transcript
        assert await store.transcripts.get("t", Owner("eve")) is None
        assert await store.transcripts.of_call(call) == [transcript]
        with pytest.raises(Conflict):
            await store.summaries.add(SummaryRow("s", call + 1000, "short", "text", "done", AT))
        await store.summaries.add(SummaryRow("s", call, "short", "text", "queued", AT))
        assert await store.summaries.update("s", {"state": "done", "document": {"topic": "refund"}})
        [summary] = await store.summaries.of_call(call)
        assert (summary.state, summary.document) == ("done", {"topic": "refund"})
        with pytest.raises(ValueError, match="call"):
            await store.summaries.update("s", {"call": 1})

    play(scenario)


def test_the_audit_log_is_numbered_without_gaps_whoever_writes(url: str) -> None:
    async def run() -> None:
        stores = [await Store.open(url) for _ in range(3)]
        numbers = await asyncio.gather(*(store.audit.add(entry(str(at))) for store in stores for at in range(15)))
        assert sorted(numbers) == list(range(1, 46))
        assert await stores[0].audit.verify() is None
        for store in stores:
            await store.close()

    asyncio.run(run())


def test_the_audit_log_is_read_in_pages_and_by_who_and_what(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for at in range(7):
            await store.audit.add(entry(f"k{at}", actor="ann" if at % 2 else "eve", at=AT + at))
        seen, cursor = [], None
        while True:
            rows, cursor = await store.audit.list(cursor, limit=3)
            seen += [found.number for found in rows]
            if cursor is None:
                break
        assert seen == [7, 6, 5, 4, 3, 2, 1]
        assert [found.target for found in (await store.audit.list(actor="ann"))[0]] == ["k5", "k3", "k1"]
        assert [found.target for found in (await store.audit.list(since=AT + 2, until=AT + 4))[0]] == ["k3", "k2"]
        assert (await store.audit.list(action="calls.delete"))[0] == []
        with pytest.raises(BadCursor):
            await store.audit.list("nonsense")

    play(scenario)


@pytest.mark.parametrize(
    "tampering",
    ["UPDATE audit SET actor = 'nobody' WHERE number = 4", "DELETE FROM audit WHERE number = 4", "UPDATE audit SET number = 40 WHERE number = 4"],
)
def test_a_row_that_was_tampered_with_is_found(url: str, tampering: str) -> None:
    async def run() -> None:
        store = await Store.open(url)
        for at in range(8):
            await store.audit.add(entry(str(at)))
        assert await store.audit.verify() is None
        database = Database(url)
        async with database.writing() as connection:
            await connection.execute(sa.text(tampering))
        await database.close()
        assert await store.audit.verify() == 4
        await store.close()

    asyncio.run(run())
