"""How long what is kept, and what a hold keeps."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.config.document import Recording, RetentionRule
from engine.recordings import holds, retention
from engine.recordings.errors import NoSuchRecording, RecordingErased
from engine.recordings.holds import BadHold
from engine.recordings.record import Hold, Record
from engine.siprec.document import SessionDocument
from tests.engine.recordings.rig import BEGAN, Rig, facts, record, rig

DAY_S = 86_400.0
CASE = Hold(id="case-7", by="judge", at=1.0, reason="court")


@pytest.fixture(autouse=True)
def quick_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: os.fstat(fd) and None)


def kept(**more: Any) -> Record:
    told: dict[str, Any] = {
        "recording_id": "r1", "call_id": "c", "manifest": "r1.json", "manifest_sha256": "", "stage": "done", "started_at": 1000.0, "duration_ms": 5000,
        "participants": ("sip:alice@example.com", "sip:+4930123@pstn"), "group_ids": ("sales-7",), "vendor": "oracle", **more,
    }  # fmt: skip
    return Record(**told)


@pytest.mark.parametrize(
    ("record", "name", "days"),
    [
        (kept(), "sales", 90),
        (kept(group_ids=()), "numbers", 0),
        (kept(group_ids=(), participants=("sip:bob@x",)), "cleanup_days", 30),
        (kept(group_ids=(), participants=("SIP:BOB@BANK.example",), vendor="cisco"), "bank of cisco", 7),
        (kept(retention_days=3, retention_source="header"), "header", 3),
        (kept(retention_days=0, retention_source="metadata"), "metadata", 0),
        (kept(retention_days=-1, retention_source="header"), "sales", 90),
        (kept(retention_days=10**15, retention_source="header"), "header", 36_500),
    ],
)
def test_the_session_decides_then_the_first_rule_that_fits_then_the_default(record: Record, name: str, days: int) -> None:
    rules = [
        RetentionRule(name="sales", days=90, group="Sales-*"), RetentionRule(name="numbers", days=0, participant="sip:+49*@*"),
        RetentionRule(name="bank of cisco", days=7, participant="*@bank.*", vendor="cisco"),
    ]  # fmt: skip
    policy, expires_at = retention.policy_of(record, Recording(cleanup_days=30, retention=rules))
    assert policy == name
    assert expires_at == (1005.0 + days * DAY_S if days else None)


def test_nothing_goes_where_the_default_is_for_ever() -> None:
    assert retention.policy_of(kept(), Recording(cleanup_days=0)) == ("cleanup_days", None)


def sweep(made: Rig, *, dry_run: bool = False) -> retention.Swept:
    return asyncio.run(retention.Sweeper(made.keeping).sweep(dry_run=dry_run))


def test_a_sweep_takes_what_has_expired_and_nothing_else(tmp_path: Path) -> None:
    with rig(tmp_path, {"recording": {"cleanup_days": 10}}) as made:
        for number, days in enumerate((0, 2, 4)):
            record(made.folder, f"r{number}", f"call-{number}@host", began=BEGAN + days * DAY_S, correlation=())
        asked = facts("r3", "call-3@host", correlation=())
        record(made.folder, "r3", "call-3@host", document=SessionDocument(session=asked, retention_days=1, policy_source="header"))
        made.work()
        made.now_s = BEGAN + 12.5 * DAY_S
        holds.set_hold(made.catalogue, "r0", CASE)
        told = sweep(made, dry_run=True)
        assert (sorted(told.expired), told.erased, told.dry_run) == (["r1", "r3"], (), True)
        assert {"r0.wav", "r1.wav", "r2.wav", "r3.wav"} <= made.names()
        told = sweep(made)
        assert sorted(told.erased) == ["r1", "r3"] and told.left == {}
        assert {"r0.wav", "r2.wav"} <= made.names() and not {"r1.wav", "r3.wav"} & made.names()
        assert made.of("r1").erased_by == "retention: cleanup_days" and made.of("r3").erased_by == "retention: header"
        assert sweep(made).expired == ()
        holds.release(made.catalogue, "r0", "case-7")
        assert sweep(made).erased == ("r0",)


def test_a_hold_set_while_the_sweep_runs_keeps_its_recording(tmp_path: Path) -> None:
    with rig(tmp_path, {"recording": {"cleanup_days": 1}}) as made:
        record(made.folder)
        made.work()
        made.now_s = BEGAN + 5 * DAY_S
        sweeper = retention.Sweeper(made.keeping)
        real = sweeper._expired

        def and_then_held(*arguments: Any) -> list[str]:
            found = real(*arguments)
            holds.set_hold(made.catalogue, "r1", CASE)
            return found

        sweeper._expired = and_then_held  # type: ignore[method-assign]
        told = asyncio.run(sweeper.sweep())
        assert told.expired == ("r1",) and told.erased == ()
        assert made.catalogue.verify(made.of()) == []


def test_rules_that_change_are_for_what_is_there_already(tmp_path: Path) -> None:
    with rig(tmp_path, {"recording": {"cleanup_days": 0}}) as made:
        record(made.folder)
        made.work()
        made.now_s = BEGAN + 5 * DAY_S
        assert sweep(made).expired == () and made.of().expires_at is None
        made.keeping.config = msgspec.structs.replace(made.config, recording=msgspec.structs.replace(made.config.recording, cleanup_days=3))
        assert sweep(made, dry_run=True).expired == ("r1",) and made.of().expires_at is None
        made.keeping.config = msgspec.structs.replace(made.config, recording=msgspec.structs.replace(made.config.recording, cleanup_days=9))
        assert sweep(made).expired == ()
        assert made.of().expires_at == pytest.approx(BEGAN + 0.25 + 9 * DAY_S)


def test_what_a_bucket_keeps_does_not_keep_the_sweep(tmp_path: Path) -> None:
    with rig(tmp_path, {"recording": {"cleanup_days": 1, "storage": {"enabled": True, "folder": "elsewhere"}}}) as made:
        for number in range(2):
            record(made.folder, f"r{number}", f"call-{number}@host", correlation=())
        made.work()
        made.now_s = BEGAN + 5 * DAY_S
        (tmp_path / "elsewhere").rename(tmp_path / "away")
        told = sweep(made)
        assert told.erased == () and sorted(told.left) == ["r0", "r1"] and all("elsewhere" in text for left in told.left.values() for text in left)
        assert not told.more
        (tmp_path / "away").rename(tmp_path / "elsewhere")
        assert sorted(sweep(made).erased) == ["r0", "r1"]
        assert not [path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()]


# ---- holds ----


def test_holds_are_set_listed_replaced_and_released(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        record(made.folder)
        record(made.folder, "r2", "call-2@host")
        made.work()
        holds.set_hold(made.catalogue, "r1", CASE)
        holds.set_hold(made.catalogue, "r1", Hold(id="other", by="ada", at=2.0))
        holds.set_hold(made.catalogue, "r1", msgspec.structs.replace(CASE, reason="again"))
        assert [(each.recording_id, each.call_id, each.hold.id, each.hold.by, each.hold.reason) for each in holds.listed(made.catalogue)] == [
            ("r1", "call-1@host", "other", "ada", ""), ("r1", "call-1@host", "case-7", "judge", "again"),
        ]  # fmt: skip
        with pytest.raises(NoSuchRecording):
            holds.release(made.catalogue, "r1", "case-8")
        for bad in (Hold(id="../x", by="ada", at=1.0), Hold(id="x", by="", at=1.0), Hold(id="x", by="ada", at=1.0, reason="r" * 1001)):
            with pytest.raises(BadHold):
                holds.set_hold(made.catalogue, "r1", bad)
        with pytest.raises(NoSuchRecording):
            holds.set_hold(made.catalogue, "r9", CASE)
        holds.release(made.catalogue, "r1", "case-7")
        holds.release(made.catalogue, "r1", "other")
        assert holds.listed(made.catalogue) == [] == made.catalogue.lookup.held()
        asyncio.run(made.catalogue.erase(made.of(), by="ada"))
        with pytest.raises(RecordingErased):
            holds.set_hold(made.catalogue, "r1", CASE)


def test_a_recording_has_so_many_holds_and_no_more(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        record(made.folder)
        made.work()
        made.catalogue.update("r1", lambda now: msgspec.structs.replace(now, holds=tuple(Hold(id=f"h{at}", by="a", at=1.0) for at in range(holds.HOLDS_MAX))))
        with pytest.raises(BadHold):
            holds.set_hold(made.catalogue, "r1", CASE)
        holds.set_hold(made.catalogue, "r1", Hold(id="h0", by="b", at=2.0))
