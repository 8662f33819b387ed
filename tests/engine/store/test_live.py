"""A live call becomes a call of the archive: numbered, named, with its findings and its ladder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.store import Owner, Store
from engine.store.archive import kept_messages
from engine.store.live import SOURCE, keep
from engine.trace.export import tables_of
from engine.trace.ladder import as_json, ladder
from engine.trace.live import UnknownCall
from tests.engine.store.conftest import Scenario
from tests.engine.trace.live_calls import Clock, answered, note, traces

AT = 1_700_000_100.0


def test_an_ended_call_is_kept_with_all_that_was_known(tmp_path: Path, play: Callable[[Scenario], None]) -> None:
    clock = Clock(1_700_000_020_000_000_000)
    live = traces(tmp_path / "live", clock)
    note(live, answered())
    live.ended("live@x")

    async def scenario(store: Store) -> None:
        kept = await keep(store, live, "live@x", owner="ops", team="voice", at=AT)
        [names] = kept.calls
        assert names.call_ids == ("live@x",)
        row = await store.calls.get("live@x", Owner("ops"))
        assert row is not None
        assert row == await store.calls.get(names.number) == await store.calls.get(names.uuid)
        assert (row.source, row.state, row.outcome, row.kind) == (SOURCE, "ended", "answered", "call")
        assert (row.owner, row.team, row.created_at) == ("ops", "voice", AT)
        assert 9_000 <= (row.duration_ms or 0) <= 10_000
        assert await store.calls.get("live@x", Owner("somebody")) is None
        messages = await store.calls.messages(names.number)
        assert [message.text for message in messages] == [message.text for message in live.messages("live@x")]
        assert {message.direction for message in messages} == {1, 2}
        again = ladder(tables_of(kept_messages(messages)), 0)
        assert as_json(again) == as_json(ladder(live.tables("live@x"), 0))
        findings = await store.calls.findings(names.number)
        assert {finding.rule for finding in findings} == {
            finding.rule for finding in live.report("live@x").findings if finding.call_id or finding.calls
        }
        assert sum(row.severity_counts.values()) == len(findings) > 0
        trace = await store.traces.get(kept.trace_id)
        assert trace is not None
        assert (trace.name, trace.source) == ("live@x", SOURCE)
        assert live.messages("live@x")  # still there for its retention

    play(scenario)


def test_legs_are_kept_together(tmp_path: Path, play: Callable[[Scenario], None]) -> None:
    live = traces(tmp_path / "live")
    note(live, answered("a@x"), "a@x")
    note(live, answered("b@x"), "b@x")

    async def scenario(store: Store) -> None:
        kept = await keep(store, live, "a@x", "b@x", owner="ops", at=AT)
        assert sorted(call_id for call in kept.calls for call_id in call.call_ids) == ["a@x", "b@x"]

    play(scenario)


def test_a_call_that_died_with_its_worker_is_kept_by_the_next(tmp_path: Path, play: Callable[[Scenario], None]) -> None:
    clock = Clock(1_700_000_020_000_000_000)
    dead = traces(tmp_path / "dead", clock)
    note(dead, answered(bye=False))
    (tmp_path / "left").mkdir()
    for path in (tmp_path / "dead").iterdir():
        (tmp_path / "left" / path.name).write_bytes(path.read_bytes())
    heir = traces(tmp_path / "left", clock)

    async def scenario(store: Store) -> None:
        for call_id in heir.lost():
            await keep(store, heir, call_id, owner="ops", at=AT)
        row = await store.calls.get("live@x")
        assert row is not None
        assert (row.outcome, row.message_count) == ("answered", 5)

    play(scenario)


def test_what_is_forgotten_is_not_kept(tmp_path: Path, play: Callable[[Scenario], None]) -> None:
    live = traces(tmp_path / "live")

    async def scenario(store: Store) -> None:
        with pytest.raises(UnknownCall):
            await keep(store, live, "live@x", owner="ops", at=AT)
        assert (await store.calls.list())[0] == []

    play(scenario)
