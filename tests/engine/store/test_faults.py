"""What breaks around the store costs nothing that was answered, and is told as the error that it is."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from engine.store import Busy, Damaged, Owner, Store, StoreError, Unavailable, WrongRevision, database
from engine.store.database import Database
from engine.store.migrations import HEAD
from tests import postgres
from tests.engine.store.racing import over_store, process, race
from tests.engine.store.test_calls import of_rows, row
from tests.engine.store.test_small_tables import entry
from tests.running import ROOT

Scenario = Callable[[Store], Awaitable[None]]
Play = Callable[[Scenario], None]
CALLS_OF_A_TRACE = 450
KEEPING = f"""
from engine.store.packing import Packer
from engine.store.rows import MessageRow
from tests.engine.store.test_calls import of_rows, row
import msgspec
async def run(store):
    text = bytes(range(256))
    packed = Packer().pack([MessageRow(1, None, None, None, "UDP", "BYE", 0, 1, False, 0, 1, text)])
    while True:
        told = of_rows(*(row() for _ in range({CALLS_OF_A_TRACE})))
        calls = tuple(msgspec.structs.replace(call, messages=packed) for call in told.calls)
        names = await store.calls.keep(msgspec.structs.replace(told, calls=calls))
        print(names.trace_id, names.calls[0].number, flush=True)
"""
OPENING = """
import asyncio, sys
from engine.store import Store
import alembic.command
print("ready", flush=True)
sys.stdin.readline()
async def run():
    store = await Store.open(sys.argv[1])
    print(await store.revision(), await store.quotas.used(1, "ann", None))
    await store.close()
asyncio.run(run())
"""
AS_NOBODY = """
import asyncio, os, sys
from engine.store import Store, StoreError
async def run(path, **options):
    try:
        store = await Store.open(f"sqlite:///{path}", **options)
    except StoreError as error:
        return error.code
    await store.close()
    return "opened"
asyncio.run(run(sys.argv[1] + "/loaded/t.db"))  # so that nothing is left to load
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for path in sys.argv[2:]:
    print(asyncio.run(run(path)), asyncio.run(run(path, create=False)))
"""
FULL_DISK = """
import asyncio, resource, signal, sys
from engine.store import Store, Unavailable
from tests.engine.store.test_calls import of_rows, row
async def run():
    store = await Store.open(sys.argv[1])
    kept = 0
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, hard))
    try:
        while kept < 1000:
            await store.calls.keep(of_rows(*(row(from_user="x" * 200) for _ in range(50))))
            kept += 1
    except Unavailable:
        found, _ = await store.calls.list(limit=1)
        assert found[0].number == kept * 50
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await store.calls.keep(of_rows(row()))
    await store.close()
    print(kept * 50 + 1)
asyncio.run(run())
"""


async def make(url: str, rows: int = 0) -> None:
    store = await Store.open(url)
    if rows:
        await store.calls.keep(of_rows(*(row() for _ in range(rows))))
    await store.quotas.take(1, "ann", 10, None, None)
    await store.close()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A directory that every user may enter, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="tl-store-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
def test_a_keeper_of_calls_that_is_killed_leaves_whole_traces_and_all_it_answered(url: str) -> None:
    async def check(answered: list[list[str]]) -> None:
        store = await Store.open(url)
        traces, _ = await store.traces.list(limit=1000)
        assert {trace_id for trace_id, _ in answered} <= {trace.id for trace in traces}
        assert len(traces) - len(answered) in (0, 1)
        found = []
        cursor = None
        while True:
            calls, cursor = await store.calls.list(None, cursor, 1000)
            found += calls
            if cursor is None:
                break
        for trace in traces:
            assert sum(call.trace_id == trace.id for call in found) == CALLS_OF_A_TRACE
        for trace_id, number in answered:
            call = await store.calls.get(int(number))
            assert call is not None
            assert call.trace_id == trace_id
            [message] = await store.calls.messages(call.number)
            assert message.text == bytes(range(256))
        await store.close()

    asyncio.run(make(url))
    with process(over_store(KEEPING), url) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        keeper.stdin.write("\n")
        keeper.stdin.flush()
        lines = [keeper.stdout.readline() for _ in range(6)]
        os.kill(keeper.pid, signal.SIGKILL)
        lines += keeper.stdout.readlines()
    assert lines[0] == "ready\n"
    asyncio.run(check([line.split() for line in lines[1:] if line.endswith("\n")]))


@pytest.mark.slow
def test_processes_that_upgrade_at_once_make_one_store(url: str) -> None:
    assert race(OPENING, [(url,)] * 3) == [[f"{HEAD} (0, 0)"]] * 3


@pytest.mark.parametrize("damage", ["a page", "every page", "half is gone", "the header"])
def test_a_damaged_file_is_told_as_such(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "t.db"
    url = f"sqlite:///{path}"
    asyncio.run(make(url, rows=200))
    content = bytearray(path.read_bytes())
    page = 4096
    noise = bytes(range(255, -1, -1)) * (page // 256)
    if damage == "half is gone":
        del content[len(content) // 2 // page * page :]
    elif damage == "the header":
        content[:page] = noise
    else:
        pages = range(page, len(content), page) if damage == "every page" else [len(content) - page]
        for at in pages:
            content[at : at + page] = noise
    path.write_bytes(content)

    async def run() -> None:
        store = await Store.open(url)
        try:
            await store.calls.list(limit=1000)
        finally:
            await store.close()

    with pytest.raises(Damaged):
        asyncio.run(run())


def test_a_damaged_file_of_quotas_is_told_as_such(tmp_path: Path) -> None:
    asyncio.run(make(f"sqlite:///{tmp_path}/t.db"))
    (tmp_path / "t-quotas.db").write_bytes(b"no database " * 1000)
    with pytest.raises(Damaged):
        asyncio.run(Store.open(f"sqlite:///{tmp_path}/t.db"))


def test_an_empty_file_is_a_store_that_is_yet_to_be_made(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    path.touch()
    with pytest.raises(WrongRevision, match="none"):
        asyncio.run(Store.open(f"sqlite:///{path}", create=False))
    asyncio.run(make(f"sqlite:///{path}", rows=1))


def test_a_file_that_is_taken_away_is_missed(tmp_path: Path) -> None:
    async def run() -> None:
        store = await Store.open(f"sqlite:///{tmp_path}/a/t.db")
        await store.ping()
        shutil.rmtree(tmp_path / "a")
        with pytest.raises(Damaged, match="no store"):
            await store.ping()
        await store.close()

    asyncio.run(run())


@pytest.mark.slow
def test_what_may_not_be_written_is_unavailable(open_folder: Path) -> None:
    for name in ("loaded", "empty", "made"):
        (open_folder / name).mkdir()
    asyncio.run(make(f"sqlite:///{open_folder}/made/t.db", rows=1))
    for path in (open_folder / "made").iterdir():
        path.chmod(0o444)
    for name in ("empty", "made"):
        (open_folder / name).chmod(0o555)
    told = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, os.fspath(open_folder), *(f"{open_folder}/{name}" for name in ("empty/t.db", "made/t.db"))],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.splitlines() == ["store.unavailable store.damaged", "store.unavailable store.unavailable"]
    (open_folder / "empty").chmod(0o755)
    (open_folder / "made").chmod(0o755)
    asyncio.run(make(f"sqlite:///{open_folder}/empty/t.db"))


@pytest.mark.slow
def test_a_disk_without_room_costs_only_what_was_not_answered(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/t.db"
    told = subprocess.run([sys.executable, "-c", FULL_DISK, url], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)

    async def run() -> None:
        store = await Store.open(url)
        found, _ = await store.calls.list(limit=1)
        assert 50 < found[0].number == int(told.stdout) < 50_000
        await store.close()

    asyncio.run(run())
    with sqlite3.connect(tmp_path / "t.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_a_file_that_another_process_writes_is_read_and_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "WRITE_WAIT_S", 0.05)

    async def run() -> None:
        store = await Store.open(f"sqlite:///{tmp_path}/t.db")
        await store.audit.add(entry("1"))
        holder = sqlite3.connect(tmp_path / "t.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy):
            await store.audit.add(entry("2"))
        assert len((await store.audit.list())[0]) == 1
        assert (await store.quotas.take(1, "ann", 1, None, None)).granted
        holder.execute("ROLLBACK")
        holder.close()
        assert await store.audit.add(entry("3")) == 2
        await store.close()

    asyncio.run(run())


def test_writers_beyond_the_queue_are_refused_and_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "WRITERS_WAITING_MAX", 20)

    async def run() -> None:
        store = await Store.open(f"sqlite:///{tmp_path}/t.db")
        told = await asyncio.gather(*(store.audit.add(entry(str(at))) for at in range(50)), return_exceptions=True)
        numbers = [answer for answer in told if isinstance(answer, int)]
        assert len(numbers) >= 20
        assert all(isinstance(answer, int | Busy) for answer in told)
        rows, _ = await store.audit.list()
        assert sorted(numbers) == [found.number for found in reversed(rows)]
        assert {found.target for found in rows} == {str(at) for at, answer in enumerate(told) if isinstance(answer, int)}
        assert await store.audit.add(entry("later")) == len(numbers) + 1
        await store.close()

    asyncio.run(run())


def test_a_store_is_whole_after_tasks_were_cancelled_anywhere(play: Play) -> None:
    before = set(threading.enumerate())
    # what a cancelled task leaves in tracebacks must hold nobody up, however long it stays
    gc.disable()

    async def scenario(store: Store) -> None:
        answered: set[str] = set()

        async def noted(name: str) -> None:
            await store.audit.add(entry(name))
            answered.add(name)

        async def work(name: str) -> None:
            await noted(name)
            await store.quotas.take(1, "ann", 10**6, "red", None)
            await store.calls.keep(of_rows(row(), row()))
            await store.calls.list(visible_to=Owner("ann"))

        first: list[Callable[[str], Awaitable[object]]] = [
            noted, work,
            lambda _: store.quotas.take(1, "ann", 10**6, "red", None),
            lambda _: store.calls.keep(of_rows(row(), row())),
            lambda _: store.calls.list(visible_to=Owner("ann")),
        ]  # fmt: skip
        for turns in (round(1.6**power) for power in range(20)):
            for begin in first:
                tasks = [asyncio.ensure_future(begin(f"{turns} {at}")) for at in range(3)]
                for _ in range(turns):
                    await asyncio.sleep(0)
                for task in tasks:
                    task.cancel()
                for told in await asyncio.gather(*tasks, return_exceptions=True):
                    assert not isinstance(told, Exception)
        await asyncio.gather(*(work(f"after {at}") for at in range(20)))
        assert await store.audit.verify() is None
        rows, _ = await store.audit.list(limit=1000)
        assert answered <= {found.target for found in rows}
        calls, _ = await store.calls.list(limit=1000)
        traces, _ = await store.traces.list(limit=1000)
        assert len(calls) == 2 * len(traces)
        owner, team = await store.quotas.used(1, "ann", "red")
        assert owner == team

    try:
        play(scenario)
    finally:
        gc.enable()
    left = {thread for thread in threading.enumerate() if not thread.daemon} - before
    for thread in left:
        thread.join(10)
    assert not [thread for thread in left if thread.is_alive()]


@pytest.mark.slow
def test_connections_that_the_server_ends_are_made_anew(postgresql_url: str) -> None:
    end_others = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    async def run() -> None:
        store = await Store.open(postgresql_url)
        assert await store.audit.add(entry("1")) == 1
        other = Database(postgresql_url)
        for turn in range(2, 5):
            async with other.writing() as connection:
                await connection.execute(end_others)
            assert await store.audit.add(entry(str(turn))) == turn
            assert (await store.quotas.take(1, "ann", 10, "red", 10)).owner_used == turn - 1
        mid_way = Database(postgresql_url)
        with pytest.raises(Unavailable):
            async with mid_way.writing() as connection:
                await connection.execute(sa.text("DELETE FROM audit"))
                async with other.writing() as ending:
                    await ending.execute(end_others)
                await connection.execute(sa.text("SELECT 1"))
        assert [found.number for found in (await store.audit.list())[0]] == [4, 3, 2, 1]
        for opened in (other, mid_way):
            await opened.close()
        await store.close()

    asyncio.run(run())


@pytest.mark.slow
def test_a_database_that_is_gone_is_unavailable(postgresql_socket: str) -> None:
    async def run() -> None:
        with postgres.database(postgresql_socket) as url:
            store = await Store.open(url)
        for wish in (store.calls.list(), store.audit.add(entry("1")), store.ping(), store.quotas.take(1, "a", 1, None, None)):
            with pytest.raises(StoreError):
                await wish
        await store.close()
        with pytest.raises(Unavailable):
            await Store.open(url)

    asyncio.run(run())
