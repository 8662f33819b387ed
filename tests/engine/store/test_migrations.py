"""Migrations make what the models say, go down and up again, and are run once by whoever comes first."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from engine.store import Store, WrongRevision, models
from engine.store.database import Database
from engine.store.errors import Damaged, Unavailable
from engine.store.migrations import HEAD, VERSION_TABLE, config_of, upgrade


def tables_of(connection: sa.Connection) -> set[str]:
    return set(sa.inspect(connection).get_table_names()) - {VERSION_TABLE, "sqlite_sequence"}


def differences(connection: sa.Connection) -> list[Any]:
    name = connection.dialect.name

    def concerns(thing: Any, *_: object) -> bool:
        return getattr(thing, "info", {}).get("only", name) == name

    context = MigrationContext.configure(
        connection, opts={"include_object": concerns, "compare_type": True, "compare_server_default": True}
    )
    return compare_metadata(context, models.metadata)


def test_models_and_migrations_agree(url: str) -> None:
    async def run() -> None:
        await (await Store.open(url)).close()
        database = Database(url)
        async with database.reading() as connection:
            assert await connection.run_sync(differences) == []
        async with database.writing() as connection:
            await connection.execute(sa.text("ALTER TABLE webhooks ADD COLUMN stray INTEGER"))
            assert await connection.run_sync(differences) != []
        await database.close()

    asyncio.run(run())


def test_up_down_and_up_again(url: str) -> None:
    async def run() -> None:
        store = await Store.open(url)
        await store.close()
        database = Database(url)
        async with database.writing() as connection:
            made = await connection.run_sync(tables_of)
            await connection.run_sync(lambda direct: command.downgrade(config_of(direct), "base"))
            assert await connection.run_sync(tables_of) == set()
        store = await Store.open(url, create=False, check=False)
        assert await store.revision() is None
        assert await store.upgrade() == (None, HEAD)
        assert await store.upgrade() == (HEAD, HEAD)
        await store.close()
        async with database.reading() as connection:
            assert await connection.run_sync(tables_of) == made
        await database.close()

    asyncio.run(run())


def test_a_migration_that_fails_leaves_nothing(url: str) -> None:
    async def run() -> None:
        database = Database(url)
        database.make_file()
        with pytest.raises(ZeroDivisionError):
            async with database.writing() as connection:
                await connection.run_sync(upgrade)
                raise ZeroDivisionError
        async with database.reading() as connection:
            assert await connection.run_sync(lambda direct: sa.inspect(direct).get_table_names()) == []
        await database.close()

    asyncio.run(run())


def test_head_is_the_newest_revision(tmp_path: Path) -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        assert ScriptDirectory.from_config(config_of(connection)).get_heads() == [HEAD]
    engine.dispose()


def test_processes_that_start_together_migrate_once(url: str) -> None:
    async def run() -> None:
        stores = await asyncio.gather(*(Store.open(url) for _ in range(6)))
        assert [await store.revision() for store in stores] == [HEAD] * 6
        for store in stores:
            await store.ping()
            await store.close()

    asyncio.run(run())


def test_a_store_without_tables_is_refused_unless_it_may_be_made(url: str, tmp_path: Path) -> None:
    async def run() -> None:
        Database(url).make_file()
        with pytest.raises(WrongRevision, match="run trunkline db upgrade"):
            await Store.open(url, create=False)

    asyncio.run(run())


def test_a_newer_store_is_refused(url: str) -> None:
    async def run() -> None:
        await (await Store.open(url)).close()
        database = Database(url)
        async with database.writing() as connection:
            await connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
        await database.close()
        for create in (True, False):
            with pytest.raises(WrongRevision):
                await Store.open(url, create=create)

    asyncio.run(run())


def test_files_that_are_no_store(tmp_path: Path) -> None:
    async def run() -> None:
        with pytest.raises(Damaged, match="no store at"):
            await Store.open(f"sqlite:///{tmp_path}/missing.db", create=False)
        assert not (tmp_path / "missing.db").exists()
        (tmp_path / "text.db").write_text("this is no database " * 100)
        with pytest.raises(Damaged):
            await Store.open(f"sqlite:///{tmp_path}/text.db")
        (tmp_path / "folder.db").mkdir()
        with pytest.raises(Unavailable):
            await Store.open(f"sqlite:///{tmp_path}/folder.db")
        with pytest.raises(Unavailable):
            await Store.open(f"postgresql://trunkline@/x?host={tmp_path}")

    asyncio.run(run())


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory", "mysql://root@host/db", "store.db", ""]
)
def test_urls_that_name_no_store(url: str) -> None:
    with pytest.raises(ValueError, match=r"store|lives"):
        asyncio.run(Store.open(url))


def test_synchronous_is_full_or_normal(tmp_path: Path) -> None:
    async def pragma(synchronous: str) -> int:
        database = Database(f"sqlite:///{tmp_path}/s.db", synchronous=synchronous)
        async with database.reading() as connection:
            told = int((await connection.execute(sa.text("PRAGMA synchronous"))).scalar_one())
            assert (await connection.execute(sa.text("PRAGMA journal_mode"))).scalar_one() == "wal"
            assert (await connection.execute(sa.text("PRAGMA foreign_keys"))).scalar_one() == 1
        await database.close()
        return told

    assert asyncio.run(pragma("normal")) == 1
    assert asyncio.run(pragma("full")) == 2
    with pytest.raises(ValueError, match="full"):
        asyncio.run(pragma("off"))


def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    async def run() -> None:
        store = await Store.open(f"sqlite:///{tmp_path}/a/b/trunkline.db")
        await store.quotas.take(1, "ada", 1, None, None)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "a/b").iterdir()}
        await store.close()
        assert modes.keys() >= {"trunkline.db", "trunkline-quotas.db", "trunkline-quotas.db-wal"}
        assert set(modes.values()) == {0o600}

    asyncio.run(run())
