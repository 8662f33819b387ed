"""Jobs are taken by one worker at a time, given to another when it dies, and reported by the one who holds them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.store import BadCursor, Conflict, JobRow, Owner, Store

Scenario = Callable[[Store], Awaitable[None]]
Play = Callable[[Scenario], None]
AT = 1_700_000_000.0


def job(id: str, **fields: Any) -> JobRow:
    told = {"kind": "transcribe", "state": "queued", "payload": {"file": id}, "owner": "ann", "team": None,
            "created_at": AT, "updated_at": AT, "run_at": AT, **fields}  # fmt: skip
    return JobRow(id, **told)


def test_each_job_is_claimed_once_whoever_asks(url: str) -> None:
    async def run() -> None:
        stores = [await Store.open(url) for _ in range(4)]
        for at in range(40):
            await stores[0].jobs.add(job(f"{at:02}"))
        claimed = await asyncio.gather(*(store.jobs.claim(f"w{at}", AT, 60) for at, store in enumerate(stores * 15)))
        ids = [found.id for found in claimed if found is not None]
        assert sorted(ids) == [f"{at:02}" for at in range(40)]
        for store in stores:
            await store.close()

    asyncio.run(run())


def test_the_longest_waiting_job_comes_first_and_none_before_its_time(play: Play) -> None:
    async def scenario(store: Store) -> None:
        await store.jobs.add(job("later", run_at=AT + 50))
        await store.jobs.add(job("second", run_at=AT + 1))
        await store.jobs.add(job("first", run_at=AT, kind="summarise"))
        with pytest.raises(Conflict):
            await store.jobs.add(job("first"))
        order = []
        while (found := await store.jobs.claim("w", AT + 10, 60)) is not None:
            order.append(found.id)
            assert (found.state, found.worker, found.attempts, found.lease_until) == ("running", "w", 1, AT + 70)
        assert order == ["first", "second"]
        assert await store.jobs.claim("w", AT + 50, 60, kinds=["summarise"]) is None
        found = await store.jobs.claim("w", AT + 50, 60, kinds=["transcribe"])
        assert found is not None
        assert found.id == "later"

    play(scenario)


def test_a_worker_that_dies_loses_its_job_and_cannot_report_it(play: Play) -> None:
    async def scenario(store: Store) -> None:
        await store.jobs.add(job("j"))
        dead = await store.jobs.claim("dead", AT, 10)
        assert dead is not None
        assert await store.jobs.renew("j", dead.attempts, AT + 5, 10)
        assert await store.jobs.claim("next", AT + 14, 10) is None
        found = await store.jobs.claim("next", AT + 15, 10)
        assert found is not None
        assert found.attempts == 2
        assert not await store.jobs.done("j", dead.attempts, AT + 16, {"text": "stale"})
        assert not await store.jobs.renew("j", dead.attempts, AT + 16, 10)
        assert await store.jobs.done("j", found.attempts, AT + 17, {"text": "good"})
        assert not await store.jobs.failed("j", found.attempts, AT + 18, "too late")
        told = await store.jobs.get("j")
        assert told is not None
        assert (told.state, told.result, told.finished_at, told.lease_until) == ("done", {"text": "good"}, AT + 17, None)

    play(scenario)


def test_a_job_that_kills_its_workers_fails_in_the_end(play: Play) -> None:
    async def scenario(store: Store) -> None:
        await store.jobs.add(job("j"))
        for attempt in range(3):
            found = await store.jobs.claim("w", AT + attempt * 10, 5)
            assert found is not None
            assert found.attempts == attempt + 1
        assert await store.jobs.claim("w", AT + 100, 5) is None
        told = await store.jobs.get("j")
        assert told is not None
        assert (told.state, told.error) == ("failed", "the worker did not report back")

    play(scenario)


def test_a_failed_attempt_is_tried_again_at_its_time(play: Play) -> None:
    async def scenario(store: Store) -> None:
        await store.jobs.add(job("j"))
        found = await store.jobs.claim("w", AT, 5)
        assert found is not None
        assert await store.jobs.failed("j", 1, AT + 1, "busy", again_at=AT + 30)
        assert await store.jobs.claim("w", AT + 29, 5) is None
        found = await store.jobs.claim("w", AT + 30, 5)
        assert found is not None
        assert await store.jobs.failed("j", 2, AT + 31, "broken")
        assert not await store.jobs.cancel("j", AT + 32, "no more")
        await store.jobs.add(job("k"))
        assert await store.jobs.cancel("k", AT + 33, "unwanted")
        assert await store.jobs.claim("w", AT + 99, 5) is None

    play(scenario)


def test_jobs_are_listed_in_pages_for_their_owner(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for at in range(7):
            await store.jobs.add(job(f"{at}", created_at=AT + at // 2, owner="ann" if at != 3 else "eve"))
        seen: list[str] = []
        cursor = None
        while True:
            rows, cursor = await store.jobs.list(cursor, limit=2, visible_to=Owner("ann"))
            seen += [found.id for found in rows]
            if cursor is None:
                break
        assert seen == ["6", "5", "4", "2", "1", "0"]
        assert [found.id for found in (await store.jobs.list(state="queued", visible_to=Owner("eve")))[0]] == ["3"]
        assert await store.jobs.get("3", Owner("ann")) is None
        assert (await store.jobs.list(call=2**70))[0] == []
        with pytest.raises(BadCursor):
            await store.jobs.list("nonsense")

    play(scenario)
