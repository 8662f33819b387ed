"""Webhooks are seen by those whom they concern, and their failures are counted one by one whoever delivers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from engine.store import Conflict, Owner, Store, WebhookRow

Scenario = Callable[[Store], Awaitable[None]]
Play = Callable[[Scenario], None]
AT = 1_700_000_000.0


def hook(id: str, **changes: Any) -> WebhookRow:
    row = WebhookRow(id, f"https://{id}.example/h", ("trace.kept", "call.*"), "secret", "ann", None, True, AT, AT)
    return msgspec.structs.replace(row, **changes)


def test_failures_are_counted_one_by_one_whoever_delivers(url: str) -> None:
    async def run() -> None:
        stores = [await Store.open(url) for _ in range(3)]
        for id in ("a", "b"):
            await stores[0].webhooks.add(hook(id))
        told = await asyncio.gather(*(stores[at % 3].webhooks.failed("a", AT + at, f"refused {at}") for at in range(24)))
        assert all(told)
        found, other = await stores[1].webhooks.list()
        assert found.failures == 24
        assert found.last_failure_at is not None
        assert found.last_error == f"refused {round(found.last_failure_at - AT)}"
        assert other == hook("b")
        for store in stores:
            await store.close()

    asyncio.run(run())


def test_webhooks_are_listed_oldest_first_to_those_whom_they_concern(play: Play) -> None:
    async def scenario(store: Store) -> None:
        rows = {
            "c": hook("c", created_at=AT - 1), "a": hook("a", team="red"), "b": hook("b", active=False),
            "d": hook("d", owner="eve", team="blue", created_at=AT + 1),
        }  # fmt: skip
        for row in rows.values():
            await store.webhooks.add(row)
        for who, ids in (
            (None, "cabd"), (Owner("ann"), "cab"), (Owner("ben", "red"), "a"), (Owner("eve", "red"), "ad"), (Owner("ben"), ""),
        ):  # fmt: skip
            assert await store.webhooks.list(who) == [rows[id] for id in ids]
            for id, row in rows.items():
                assert await store.webhooks.get(id, who) == (row if id in ids else None)
        assert [found.id for found in await store.webhooks.list(active=True)] == ["c", "a", "d"]
        assert [found.id for found in await store.webhooks.list(Owner("ann"), active=False)] == ["b"]

    play(scenario)


def test_a_webhook_is_added_once_and_changed_in_what_may_change(play: Play) -> None:
    async def scenario(store: Store) -> None:
        await store.webhooks.add(hook("w", secret="a\0b", url="\ud800", last_error="𝄞" * 500))
        with pytest.raises(Conflict):
            await store.webhooks.add(hook("w"))
        assert await store.webhooks.get("w") == hook("w", secret="a\u2400b", url="\ufffd", last_error="𝄞" * 500)
        assert await store.webhooks.update("w", AT + 1, {})
        assert await store.webhooks.update("w", AT + 2, {"url": "https://é.example", "secret": "new", "events": ()})
        found = await store.webhooks.get("w")
        assert found is not None
        assert (found.url, found.secret, found.events, found.updated_at) == ("https://é.example", "new", (), AT + 2)
        for field in ("id", "owner", "team", "failures", "created_at", "nothing"):
            with pytest.raises(ValueError, match=field):
                await store.webhooks.update("w", AT, {field: "x"})

    play(scenario)


def test_what_is_told_of_a_webhook_that_is_gone_is_false(play: Play) -> None:
    async def scenario(store: Store) -> None:
        await store.webhooks.add(hook("w"))
        assert await store.webhooks.delete("w")
        for told in (
            store.webhooks.failed("w", AT, "x"), store.webhooks.succeeded("w", AT), store.webhooks.delete("w"),
            store.webhooks.update("w", AT, {"active": False}), store.webhooks.delete("\0"),
        ):  # fmt: skip
            assert not await told
        assert await store.webhooks.get("w") is None
        assert await store.webhooks.list() == []

    play(scenario)
