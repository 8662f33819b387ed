"""Jobs are taken by one worker at a time, given to another when it dies, and reported by the one who holds them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.store import BadCursor, Conflict, JobRow, Owner, Store
from engine.store.paging import timed_cursor_of
from tests.engine.store.racing import over_store, race
from tests.engine.store.test_calls import of_rows, row

Scenario = Callable[[Store], Awaitable[None]]
Play = Callable[[Scenario], None]
AT = 1_700_000_000.0
CLAIMING = """
NOW = 1_700_000_060.0
async def run(store, worker):
    while (found := await store.jobs.claim(worker, NOW, 60)) is not None:
        assert not await store.jobs.done(found.id, found.attempts - 1, NOW, {"by": "dead"})
        assert await store.jobs.done(found.id, found.attempts, NOW, {"by": worker})
        print(found.id)
"""


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


@pytest.mark.slow
def test_processes_share_out_the_jobs_of_a_dead_worker(url: str) -> None:
    async def made() -> None:
        store = await Store.open(url)
        for at in range(30):
            await store.jobs.add(job(f"{at:02}"))
            assert await store.jobs.claim("dead", AT, 60) is not None
        assert await store.jobs.claim("late", AT + 59, 60) is None
        await store.close()

    async def check(told: dict[str, str]) -> None:
        store = await Store.open(url)
        rows, _ = await store.jobs.list()
        assert {found.id: found.worker for found in rows} == told
        for found in rows:
            assert (found.state, found.attempts, found.result) == ("done", 2, {"by": found.worker})
        await store.close()

    asyncio.run(made())
    lines = race(over_store(CLAIMING), [(url, worker) for worker in "abcd"])
    told = [(line, worker) for worker, of_worker in zip("abcd", lines, strict=True) for line in of_worker]
    assert len(told) == 30
    asyncio.run(check(dict(told)))


def test_a_job_that_is_cancelled_is_no_longer_its_workers(play: Play) -> None:
    async def scenario(store: Store) -> None:
        await store.jobs.add(job("j"))
        assert await store.jobs.claim("w", AT, 60) is not None
        assert await store.jobs.cancel("j", AT + 1, "unwanted")
        assert not await store.jobs.cancel("j", AT + 2, "again")
        assert not await store.jobs.renew("j", 1, AT + 3, 60)
        assert not await store.jobs.done("j", 1, AT + 3, {})
        assert not await store.jobs.failed("j", 1, AT + 3, "x", again_at=AT + 4)
        assert not await store.jobs.cancel("nobody", AT, "x")
        found = await store.jobs.get("j")
        assert found is not None
        assert (found.state, found.error, found.finished_at, found.result) == ("failed", "unwanted", AT + 1, None)
        assert await store.jobs.claim("w", AT + 999, 60) is None

    play(scenario)


def test_an_attempt_that_never_was_reports_nothing(play: Play) -> None:
    async def scenario(store: Store) -> None:
        await store.jobs.add(job("j"))
        assert not await store.jobs.done("j", 0, AT, {})
        assert await store.jobs.claim("w", AT, 60) is not None
        for attempt in (-1, 0, 2, 2**31, 2**80):
            assert not await store.jobs.renew("j", attempt, AT, 60)
            assert not await store.jobs.done("j", attempt, AT, {})
            assert not await store.jobs.failed("j", attempt, AT, "x")
        assert await store.jobs.done("j", 1, AT, {})

    play(scenario)


def test_spent_jobs_of_other_kinds_are_left_alone(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for id, kind in (("a", "x"), ("b", "y")):
            await store.jobs.add(job(id, kind=kind))
        for at in range(2):
            assert await store.jobs.claim("w", AT + at, 1, kinds=["x", "y"], attempts_max=1) is not None
        assert await store.jobs.claim("w", AT + 99, 1, kinds=["x"], attempts_max=1) is None
        states = [(found.id, found.state) for found in (await store.jobs.list())[0]]
        assert states == [("b", "running"), ("a", "failed")]
        found = await store.jobs.claim("w", AT + 99, 1, kinds=["y"], attempts_max=2)
        assert found is not None
        assert (found.id, found.attempts, found.started_at) == ("b", 2, AT + 1)

    play(scenario)


def test_a_job_of_anything_comes_back(play: Play) -> None:
    async def scenario(store: Store) -> None:
        anything = {"\ud800": ["\0", 2**70, -0.5, None, {"𝄞": []}]}
        call = (await store.calls.keep(of_rows(row()))).calls[0].number
        told = job("j", payload=anything, kind="𝄞" * 255, call=call, error="a" * 9000, owner="o" * 255)
        await store.jobs.add(told)
        assert await store.jobs.get("j") == told
        for text in ("a\0b", "\ud800", "x" * 400, ""):
            assert await store.jobs.list(state=text) == await store.jobs.list(kind=text) == ([], None)
            assert await store.jobs.get(text) is None
        assert await store.jobs.claim("w", AT, 60, kinds=["a\0b"]) is None
        assert await store.jobs.claim("\ud800", AT, 60, kinds=["𝄞" * 255]) is not None
        assert await store.jobs.done("j", 1, AT, anything)
        found = await store.jobs.get("j")
        assert found is not None
        assert (found.result, found.worker) == (anything, "\ufffd")
        assert (await store.jobs.list(call=call))[0] == [found]
        assert await store.calls.delete(call)
        assert await store.jobs.get("j") is None
        with pytest.raises(Conflict):
            await store.jobs.add(job("k", call=call))
        with pytest.raises(ValueError, match="range"):
            await store.jobs.add(job("k", call=2**80))

    play(scenario)


def test_jobs_of_one_moment_are_walked_once_while_new_ones_come(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for at in range(20):
            await store.jobs.add(job(f"{at:02}", created_at=AT + at // 7, state="queued" if at % 3 else "done"))
        seen: list[str] = []
        cursor = None
        while True:
            rows, cursor = await store.jobs.list(cursor, limit=3, state="queued")
            seen += [found.id for found in rows]
            await store.jobs.add(job(f"new {len(seen)}", created_at=AT + 100))
            if cursor is None:
                break
        assert seen == [f"{at:02}" for at in range(19, -1, -1) if at % 3]
        for wrong in (timed_cursor_of("traces", AT, "x"), timed_cursor_of("jobs", AT, "\0"), ""):
            with pytest.raises(BadCursor):
                await store.jobs.list(wrong)

    play(scenario)


def test_many_spent_jobs_fail_whoever_asks(url: str) -> None:
    async def run() -> None:
        stores = [await Store.open(url) for _ in range(3)]
        for at in range(40):
            await stores[0].jobs.add(job(f"{at:02}", state="running", attempts=3, lease_until=AT, worker="dead"))
        await stores[0].jobs.add(job("good"))
        claimed = await asyncio.gather(*(stores[at % 3].jobs.claim(f"w{at}", AT, 60) for at in range(12)))
        assert [found.id for found in claimed if found is not None] == ["good"]
        assert len((await stores[1].jobs.list(state="failed"))[0]) == 40
        for store in stores:
            await store.close()

    asyncio.run(run())


def test_jobs_are_listed_by_what_became_of_them(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for id, fields in (("new", {}), ("again", {"attempts": 1}), ("cut", {"state": "failed", "error": "cancelled"}), ("bad", {"state": "failed", "error": "no", "attempts": 3})):
            await store.jobs.add(job(id, **fields))
        for wanted, ids in (
            ({"state": "queued"}, {"new", "again"}), ({"state": "queued", "tried": True}, {"again"}), ({"state": "failed"}, {"cut", "bad"}),
            ({"state": "failed", "error": "cancelled"}, {"cut"}),
        ):  # fmt: skip
            assert {row.id for row in (await store.jobs.list(**wanted))[0]} == ids  # type: ignore[arg-type]

    play(scenario)


def test_figures_of_a_kind(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for at in range(6):
            await store.jobs.add(job(f"{at}", created_at=AT + at, run_at=AT + at))
        await store.jobs.add(job("other", kind="else"))
        for at, ends in ((0, "done"), (1, "failed"), (2, "again")):
            found = await store.jobs.claim("w", AT + 10, 60, kinds=("transcribe",))
            assert found is not None and found.id == str(at)
            if ends == "done":
                assert await store.jobs.done(found.id, found.attempts, AT + 14, {})
            elif ends == "failed":
                assert await store.jobs.failed(found.id, found.attempts, AT + 16, "no")
        told = {one.state: one for one in await store.jobs.figures("transcribe")}
        assert {state: one.count for state, one in told.items()} == {"queued": 3, "running": 1, "done": 1, "failed": 1}
        assert (told["done"].waited_s, told["done"].worked_s, told["done"].ended) == (10.0, 4.0, 1)
        assert (told["failed"].waited_s, told["failed"].worked_s, told["queued"].begun) == (9.0, 6.0, 0)
        assert await store.jobs.figures("none") == []

    play(scenario)


def test_figures_by_a_field_with_what_it_comes_to(play: Play) -> None:
    async def scenario(store: Store) -> None:
        odd = {"note": 'a \\"provider\\":\\"c\\" and "cost":9, "cost\\":8 \0 \ud800'}
        for at, (provider, cost) in enumerate((("a", 1.5), ("a", 1e-7), ("b", 2))):
            await store.jobs.add(job(f"{at}", run_at=AT + at, payload={**odd, "provider": provider, "cost": cost, "more": {"provider": "d", "cost": 50}}))
        await store.jobs.add(job("3", run_at=AT + 3, payload={}))
        found = await store.jobs.claim("w", AT + 10, 60)
        assert found is not None and await store.jobs.done(found.id, found.attempts, AT + 14, {"actual": 0.25})
        told = await store.jobs.figures("transcribe", "provider", (("payload", "cost"), ("result", "actual")))
        assert {(one.group, one.state): (one.count, one.amounts) for one in told} == {
            ("a", "done"): (1, (1.5, 0.25)), ("a", "queued"): (1, (1e-7, 0.0)), ("b", "queued"): (1, (2.0, 0.0)), ("", "queued"): (1, (0.0, 0.0)),
        }  # fmt: skip

    play(scenario)


def test_what_waits_is_purged_and_nothing_else(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for id, kind in (("a", "transcribe"), ("b", "transcribe"), ("c", "else")):
            await store.jobs.add(job(id, kind=kind))
        assert (await store.jobs.claim("w", AT, 60, kinds=("transcribe",))) is not None
        assert await store.jobs.purge("transcribe") == 1 and await store.jobs.purge("transcribe") == 0
        rows, _ = await store.jobs.list()
        assert {row.id for row in rows} == {"a", "c"}

    play(scenario)


@pytest.mark.parametrize("name", ["f00d@pbx", 'a"b\\c', "100%_", "Zoë", "x" * 500])
def test_jobs_are_found_and_forgotten_by_a_field_of_their_payload(play: Play, name: str) -> None:
    """By the whole of it, whatever is in it."""

    async def scenario(store: Store) -> None:
        for id, call in (("a", name), ("b", name + "x"), ("c", "x" + name), ("d", ""), ("e", name.swapcase())):
            await store.jobs.add(job(id, payload={"call_uuid": call, "note": {"other": name}}))
        same = {"a"} | ({"e"} if name == name.swapcase() else set())
        rows, _ = await store.jobs.list(about=("call_uuid", name))
        assert {row.id for row in rows} == same
        assert await store.jobs.forget("call_uuid", name) == len(same)
        rows, _ = await store.jobs.list()
        assert {row.id for row in rows} == {"b", "c", "d", "e"} - ({"e"} if name == name.swapcase() else set())

    play(scenario)
