"""The audit log keeps what it is told, whatever it is, and still knows every row as its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from engine.store import AuditRow, BadCursor, Store, audit
from engine.store.database import Database
from engine.store.paging import cursor_of
from tests.engine.store.racing import over_store, race

Scenario = Callable[[Store], Awaitable[None]]
Play = Callable[[Scenario], None]
AT = 1_700_000_000.0
ADDING = """
from engine.store.rows import AuditRow
async def run(store, actor):
    for at in range(40):
        print(await store.audit.add(AuditRow(float(at), actor, "a", str(at), "done", "", "", {"at": at})))
"""


def entry(**changes: Any) -> AuditRow:
    row = AuditRow(AT, "ann", "keys.revoke", "k1", "done", "r-1", "192.0.2.1", {})
    return msgspec.structs.replace(row, **changes)


ANYTHING: list[dict[str, Any]] = [
    {"at": 5}, {"at": -0.0}, {"at": 1e-300}, {"at": AT + 1e-6}, {"actor": "a\0b"}, {"actor": "x" * 9000}, {"action": "𝄞" * 256},
    {"target": "\ud800"}, {"outcome": "\0"}, {"request_id": "é" * 5000}, {"address": ""}, {"number": 77},
    {"detail": {"n": [1, 2.5, -0.0, 1e22, 2**70, None, True], "é\ud800\0": {"": []}}}, {"detail": {5: (1, 2), "a": {"b": (3,)}}},
]  # fmt: skip


def test_a_row_of_anything_is_known_again(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for number, changes in enumerate(ANYTHING, 1):
            wanted = entry(**changes)
            assert await store.audit.add(wanted) == number
            assert await store.audit.verify() is None
            for column in ("actor", "target", "action"):
                rows, _ = await store.audit.list(**{column: getattr(wanted, column)})
                assert number in {found.number for found in rows}

    play(scenario)


def test_detail_comes_back_as_json_tells_it(play: Play) -> None:
    async def scenario(store: Store) -> None:
        await store.audit.add(entry(detail={"a": (1, 2), 5: {"\ud800": "\0𝄞"}, "n": 2**70}))
        [found], _ = await store.audit.list()
        assert found == entry(number=1, detail={"a": [1, 2], "5": {"\ud800": "\0𝄞"}, "n": 2**70})
        with pytest.raises(TypeError):
            await store.audit.add(entry(detail={"a": object()}))
        assert await store.audit.add(entry()) == 2

    play(scenario)


@pytest.mark.slow
def test_processes_that_write_at_once_leave_no_gap(url: str) -> None:
    async def made() -> None:
        await (await Store.open(url)).close()

    async def check() -> None:
        store = await Store.open(url)
        assert await store.audit.verify() is None
        rows, cursor = await store.audit.list(limit=1000)
        assert cursor is None
        for actor in "abc":
            assert [found.target for found in rows if found.actor == actor] == [str(at) for at in reversed(range(40))]
        await store.close()

    asyncio.run(made())
    lines = race(over_store(ADDING), [(url, actor) for actor in "abc"])
    assert sorted(int(line) for told in lines for line in told) == list(range(1, 121))
    asyncio.run(check())


@pytest.mark.parametrize(
    ("tampering", "first"),
    [
        ("DELETE FROM audit WHERE number = 1", 1),
        ("UPDATE audit SET detail = '{}' WHERE number = 3", 3),
        ("UPDATE audit SET digest = (SELECT digest FROM audit WHERE number = 2) WHERE number = 4", 4),
        ("DELETE FROM audit WHERE number IN (3, 4)", 3),
        ("UPDATE audit SET at = at + 0.001 WHERE number = 6", 6),
    ],
)
def test_tampering_is_found_wherever_the_reading_pauses(
    play: Play, url: str, tampering: str, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(store: Store) -> None:
        for at in range(7):
            await store.audit.add(entry(at=AT + at, detail={"at": at}))
        database = Database(url)
        async with database.writing() as connection:
            await connection.execute(sa.text(tampering))
        await database.close()
        for step in (1, 2, 3, 4, 6, 7, 8):
            monkeypatch.setattr(audit, "VERIFY_STEP", step)
            assert await store.audit.verify() == first

    play(scenario)


def test_pages_of_a_filter_walk_every_row_once_while_new_ones_come(play: Play) -> None:
    async def scenario(store: Store) -> None:
        for at in range(20):
            await store.audit.add(entry(actor="ann" if at % 2 else "eve", at=AT + at))
        seen: list[int] = []
        cursor = None
        while True:
            rows, cursor = await store.audit.list(cursor, limit=3, actor="ann", since=AT + 3)
            seen += [found.number for found in rows]
            await store.audit.add(entry(actor="ann", at=AT + 50))
            if cursor is None:
                break
        assert seen == [20, 18, 16, 14, 12, 10, 8, 6, 4]
        for wrong in (cursor_of("calls", 3), cursor_of("audit", -1), "", "nonsense"):
            with pytest.raises(BadCursor):
                await store.audit.list(wrong)
        for limit in (0, 1001):
            with pytest.raises(ValueError, match="page"):
                await store.audit.list(limit=limit)
        for bounds in ({"since": float("nan")}, {"until": float("nan")}):
            with pytest.raises(ValueError, match="number"):
                await store.audit.list(**bounds)

    play(scenario)
