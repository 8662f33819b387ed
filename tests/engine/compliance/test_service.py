"""The service in its keeper: what was heard of personal data is silent in the recording before anything else is done with it; health."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]

from engine.compliance import service
from engine.compliance.audit_log import AuditLog, lock_path
from engine.media.wav import WavFile
from engine.siprec.events import SESSION_TOPIC, TRANSCRIPT_TOPIC, SessionEvent, Transcript, Word
from engine.siprec.facts import SessionFacts
from tests.engine.compliance.keeper_rig import Running, running, until
from tests.engine.recordings.rig import record

AUDIO = {"TRUNKLINE_PII_ENABLED": "true", "TRUNKLINE_PII_APPLY_TO_RECORDINGS": "true"}
CALL = "pii-1@host"


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 120))  # type: ignore[arg-type]


def heard(channel: int, start: float, call_id: str = CALL) -> Transcript:
    """A card number, of four words of 100 ms each."""
    words = tuple(Word(text, start + at / 10, start + at / 10 + 0.1) for at, text in enumerate(("4111", "1111", "1111", "1111")))
    return Transcript(call_id=call_id, channel=channel, text="4111 1111 1111 1111", is_final=True, start_time=start, end_time=start + 0.4, words=words)


async def recorded(made: Running, id: str, call_id: str = CALL, seconds: float = 1.0) -> None:
    """Makes a recording, as a worker would while the keeper runs."""
    manifest = await asyncio.to_thread(record, made.folder, id, call_id, seconds=seconds)
    session = SessionFacts(call_id=call_id, recording_id=id)
    await made.bus.publish(SESSION_TOPIC, SessionEvent(kind="recorded", at=2.0, session=session, manifest=manifest))


def samples(path: Path) -> np.ndarray:
    with WavFile(path) as file:
        return np.array(file.read(0, 10**8))


def test_a_card_number_is_not_heard_in_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "QUIET_S", 0.2)

    async def work() -> None:
        async with running(tmp_path, **AUDIO, TRUNKLINE_RECORDING_FORMAT="flac", TRUNKLINE_ENCRYPTION_ENABLE_RECORDING_ENCRYPTION="true") as made:
            await made.bus.publish(SESSION_TOPIC, SessionEvent(kind="started", at=1.0, session=SessionFacts(call_id=CALL, recording_id="r1")))
            await made.bus.publish(TRANSCRIPT_TOPIC, heard(1, 1.0))
            await until(lambda: bool(list((tmp_path / "compliance" / "pii").glob("*"))))
            await recorded(made, "r1", seconds=3.0)
            await recorded(made, "r2", "other@host", seconds=3.0)
            await made.done("r1", "r2")
            catalogue = made.keeper.keeping.catalogue
            done = catalogue.of_recording("r1")
            (redaction,) = done.redactions
            assert (redaction.type, redaction.start_ms, redaction.end_ms, redaction.tracks) == ("pii", 750, 1650, (1,))
            untouched = catalogue.of_recording("r2")
            assert untouched.redactions == ()
            for index in range(2):
                for record_of, quiet in ((done, index == 1), (untouched, False)):
                    file = next(file for file in record_of.files if file.role == "leg" and file.tracks == (index,))
                    assert file.sealed is not None and file.format == "flac"
                    plain = tmp_path / "plain.flac"
                    plain.write_bytes(b"".join(catalogue.read_audio(record_of, file)))
                    sound, rate_hz = soundfile.read(plain, dtype="int16")
                    window = sound[rate_hz * 3 // 4 : rate_hz * 165 // 100]
                    assert bool(window.any()) is not quiet
                    assert sound[: rate_hz * 7 // 10].any() and sound[rate_hz * 17 // 10 :].any()

    run(work)


def test_a_recording_waits_for_what_may_still_be_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "QUIET_S", 1000.0)

    async def work() -> None:
        async with running(tmp_path, **AUDIO) as made:
            compliance = made.keeper.services["ComplianceService"]
            await made.bus.publish(TRANSCRIPT_TOPIC, heard(0, 0.0))
            await until(lambda: bool(list((tmp_path / "compliance" / "pii").glob("*"))))
            await recorded(made, "r1")
            catalogue = made.keeper.keeping.catalogue
            await until(lambda: "r1" in [each.recording_id for each in catalogue.entries()])
            told = catalogue.of_recording("r1")
            assert await compliance.intervals(told) is None  # type: ignore[attr-defined]
            monkeypatch.setattr(service, "QUIET_S", 0.0)
            (interval,) = await compliance.intervals(told)  # type: ignore[attr-defined]
            assert interval.tracks == (0,)
            monkeypatch.setattr(service, "SETTLE_S", 10 * time.time())
            assert await compliance.intervals(told) is None  # type: ignore[attr-defined]

    run(work)


def test_switched_off_nothing_is_silenced_or_kept(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(tmp_path, TRUNKLINE_PII_ENABLED="true") as made:
            await made.bus.publish(TRANSCRIPT_TOPIC, heard(0, 0.0))
            await recorded(made, "r1")
            await made.done("r1")
            assert made.keeper.keeping.catalogue.of_recording("r1").redactions == ()
            assert not (tmp_path / "compliance" / "pii").exists()
            assert samples(made.folder / "r1.wav").any()

    run(work)


def test_an_audit_log_of_another_process_is_unhealthy_until_it_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SYNC_S", 0.05)
    path = tmp_path / "audit" / "calls.log"
    other = AuditLog(path, tamper_proof=True, clock=time.time)

    async def work() -> None:
        async with running(tmp_path) as made:
            assert made.keeper.checks()["audit_log"].status == "unhealthy"
            await made.bus.publish(SESSION_TOPIC, SessionEvent(kind="started", at=1.0, session=SessionFacts(call_id="lost", recording_id="r")))
            other.close()
            await until(lambda: made.keeper.checks()["audit_log"].status == "healthy")
            await made.bus.publish(SESSION_TOPIC, SessionEvent(kind="started", at=1.0, session=SessionFacts(call_id="told", recording_id="r")))
            await until(lambda: "told" in path.read_text())
            assert lock_path(path).exists()

    run(work)
