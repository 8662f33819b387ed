"""Exports and erasures by a whole keeper: what is in a bundle, and that nothing of an erased call is left anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import sqlite3
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.bus import RemoteError
from engine.compliance import bundle
from engine.compliance.audit_log import reference_of, verify
from engine.compliance.bundle import plain_name, without_secrets
from engine.compliance.proof import Wanted, search, spellings
from engine.compliance.requests import (
    ERASE_SUBJECT,
    EXPORT_SUBJECT,
    STATUS_SUBJECT,
    VERIFY_SUBJECT,
    AuditVerified,
    CallWanted,
    ComplianceStatus,
    Exported,
    Receipt,
)
from engine.recordings import holds
from engine.recordings.record import Hold
from engine.siprec.events import (
    SESSION_TOPIC,
    SIGNALLING_TOPIC,
    TRANSCRIPT_TOPIC,
    SessionEvent,
    SignallingEvent,
    Transcript,
)
from engine.siprec.facts import SessionFacts
from engine.siprec.pauses import Pauses, PauseState
from engine.store import TranscriptRow
from tests.engine.compliance.keeper_rig import Running, running, until
from tests.engine.recordings.rig import facts, record
from tests.s3 import store as s3_store

CALL = "f00dcafe-1@pbx.example.com"
OTHER = "0ther-2@pbx.example.com"
PERSONAL = (CALL, "sip:alice@example.com", "alice", "Alice", "sip:bob@example.net", "Bob", "+493012345678", "00fa-unique", "rs-unique")


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 120))  # type: ignore[arg-type]


def recorded(folder: Path, id: str = "rec-f00dcafe-1pbx-1", call_id: str = CALL, **more: Any) -> None:
    record(folder, id, call_id, **{"correlation": ("ucid:00fa-unique",), "session_ids": ("rs-unique",), **more})


def wanted(call_id: str = CALL, reason: str = "") -> CallWanted:
    return CallWanted(call_id, "admin", reason)


async def transcribed(made: Running, call_id: str = CALL) -> None:
    """A transcript of the call in the store."""
    row = await made.store.calls.get(call_id)
    assert row is not None
    await made.store.transcripts.add(TranscriptRow("t-1", row.number, "call", "json", "done", 1.0, "Alice says +493012345678", [{"text": "Alice"}], "en"))


def left_of(folder: Path, *texts: str) -> list[str]:
    """Files under a folder, whatever they are, that have one of these texts in them or in their name."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            found += [f"{path.relative_to(folder)}: {text}" for text in texts if text.encode() in content or text in path.name]
    return found


def test_a_bundle_has_everything(tmp_path: Path) -> None:
    recorded(tmp_path / "recordings")

    async def work() -> None:
        async with running(tmp_path) as made:
            await made.done("rec-f00dcafe-1pbx-1")
            await transcribed(made)
            exported = await made.ask(EXPORT_SUBJECT, wanted(), Exported)
            path = Path(exported.path)
            assert path.parent == tmp_path / "exports" and path.name.startswith("f00dcafe-1pbxexamplecom-") and path.suffix == ".json"
            told = json.loads(path.read_bytes())
            assert hashlib.sha256(path.read_bytes()).hexdigest() == exported.sha256
            assert told["call_id"] == CALL and told["exported_at"] and told["exported_by"] == "admin"
            assert told["session"]["recording_id"] == "rec-f00dcafe-1pbx-1"
            assert [party["name"] for party in told["participants"]] == ["Alice", "Bob"]
            assert [stream["label"] for stream in told["streams"]] == ["1", "2"]
            assert told["transcriptions"][0]["text"] == "Alice says +493012345678"
            assert told["cdr"]["duration_ms"] == 250 and told["cdr"]["vendor"] == "oracle"
            (recording,) = told["recordings"]
            assert recording["metadata"][0]["content"] == "<recording/>"
            with zipfile.ZipFile(exported.archive) as archive:
                assert archive.testzip() is None
                assert archive.read(path.name) == path.read_bytes()
                for file in recording["files"]:
                    assert hashlib.sha256(archive.read(file["name"])).hexdigest() == file["sha256"]
                assert f"{recording['recording_id']}/{recording['recording_id']}.json" in archive.namelist()
            assert {file["role"] for file in recording["files"]} == {"leg", "merged", "signalling"}
            assert oct(path.stat().st_mode & 0o777) == "0o600"
            again = await made.ask(EXPORT_SUBJECT, wanted(), Exported)
            assert again.path != exported.path

    run(work)


HOSTILE = ["../../etc/passwd", "/etc/passwd", "a\0b", "x" * 500, "\u202e🐈@\n", "..", "..\\..\\x", "%2e%2e%2f", "-rf", "CON.json"]


@pytest.mark.slow
def test_hostile_call_ids_stay_in_the_folder(tmp_path: Path) -> None:
    for number, call_id in enumerate(HOSTILE):
        recorded(tmp_path / "recordings", f"rec-{number}", call_id=call_id, seconds=0.01, legs=1, correlation=())

    async def work() -> None:
        async with running(tmp_path) as made:
            await made.done(*(f"rec-{number}" for number in range(len(HOSTILE))))
            exports = [await made.ask(EXPORT_SUBJECT, wanted(call_id), Exported) for call_id in HOSTILE]
            for call_id, exported in zip(HOSTILE, exports, strict=True):
                path = Path(exported.path)
                assert path.resolve().parent == (tmp_path / "exports").resolve()
                assert json.loads(path.read_bytes())["call_id"] == call_id
            assert len({exported.path for exported in exports}) == len(HOSTILE)
            for call_id in HOSTILE:
                receipt = await made.ask(ERASE_SUBJECT, wanted(call_id), Receipt)
                assert (receipt.residue, receipt.status, receipt.exports) == ((), "erased", 2), call_id
            assert list((tmp_path / "exports").iterdir()) == []
            assert {path.name for path in tmp_path.iterdir()} <= {"audit", "bus", "compliance", "exports", "keys", "recordings", "trunkline.db", "trunkline-quotas.db",
                "trunkline.db-wal", "trunkline.db-shm", "trunkline-quotas.db-wal", "trunkline-quotas.db-shm"}  # fmt: skip

    run(work)


def test_names_of_files() -> None:
    assert plain_name("../a/b") == "ab"
    assert plain_name("\u202e..") == "call"
    assert len(plain_name("x" * 500)) == 80


def test_credentials_and_media_keys_are_not_handed_out() -> None:
    text = 'INVITE x\r\nAuthorization: Digest username="a", response="0123"\r\nproxy-authorization : Basic abc\r\n\r\na=crypto:1 AES inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20\r\n'
    assert without_secrets(text) == (
        "INVITE x\r\nAuthorization: [REDACTED-36]\r\nproxy-authorization : [REDACTED-9]\r\n\r\na=crypto:1 AES inline:[REDACTED-40]|2^20\r\n"
    )


@pytest.mark.parametrize("fails", ["archive", "document"])
def test_an_export_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    recorded(tmp_path / "recordings")
    whole = bundle.replacing

    def failing(target: Path) -> Any:
        if target.suffix == (".zip" if fails == "archive" else ".json"):
            raise OSError(28, os.strerror(28))
        return whole(target)

    async def work() -> None:
        async with running(tmp_path) as made:
            await made.done("rec-f00dcafe-1pbx-1")
            monkeypatch.setattr(bundle, "replacing", failing)
            with pytest.raises(RemoteError) as caught:
                await made.ask(EXPORT_SUBJECT, wanted())
            assert caught.value.code == "compliance.export_failed"
            assert list((tmp_path / "exports").iterdir()) == []

    run(work)


def test_an_export_whose_sound_is_gone_leaves_nothing(tmp_path: Path) -> None:
    recorded(tmp_path / "recordings")

    async def work() -> None:
        async with running(tmp_path) as made:
            await made.done("rec-f00dcafe-1pbx-1")
            (made.folder / "rec-f00dcafe-1pbx-1-leg1.wav").unlink()
            with pytest.raises(RemoteError, match="nothing was exported"):
                await made.ask(EXPORT_SUBJECT, wanted())
            assert list((tmp_path / "exports").iterdir()) == []

    run(work)


def test_nothing_of_an_erased_call_is_left_anywhere(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    recorded(folder)
    recorded(folder, "rec-f00dcafe-1pbx-2", seconds=0.1)
    record(folder, "rec-other", OTHER, participants=(), correlation=(), session_ids=("rs-other",))

    async def work() -> None:
        async with running(tmp_path, TRUNKLINE_PII_ENABLED="true", TRUNKLINE_PII_APPLY_TO_RECORDINGS="true") as made:
            await made.done("rec-f00dcafe-1pbx-1", "rec-f00dcafe-1pbx-2", "rec-other")
            await transcribed(made)
            session = facts("rec-f00dcafe-1pbx-1", CALL)
            for kind in ("started", "paused", "ended"):
                await made.bus.publish(SESSION_TOPIC, SessionEvent(kind=kind, at=5.0, session=session))
            await made.bus.publish(SIGNALLING_TOPIC, SignallingEvent(event="sip.invite.success", at=4.0, call_id=CALL, headers=(("From", "<sip:alice@example.com>"),)))
            await made.bus.publish(SESSION_TOPIC, SessionEvent(kind="started", at=5.0, session=SessionFacts(call_id=OTHER, recording_id="rec-other")))
            heard = Transcript(call_id=CALL, text="4111 1111 1111 1111", is_final=True, start_time=0.0, end_time=1.0)
            await made.bus.publish(TRANSCRIPT_TOPIC, heard)
            await until(lambda: len(list((tmp_path / "compliance" / "pii").glob("*"))) == 1)
            pauses = Pauses(tmp_path / "siprec" / "pauses", lambda: made.keeper.keeping.clock())
            pauses.keep(CALL, (), (), PauseState(recording_since=made.keeper.keeping.clock()), is_over=True)
            exported = await made.ask(EXPORT_SUBJECT, wanted(), Exported)
            hashes = {file["sha256"] for each in json.loads(Path(exported.path).read_bytes())["recordings"] for file in each["files"]}
            before = {path: path.read_bytes() for path in folder.glob("rec-other*") if path.suffix != ".record"}
            assert len(left_of(tmp_path, CALL)) > 5
            receipt = await made.ask(ERASE_SUBJECT, wanted(reason="asked for"), Receipt)
            assert (receipt.status, receipt.residue, receipt.mentions) == ("erased", (), 0)
            assert (receipt.reference, receipt.erased_by, receipt.reason, receipt.exports) == (reference_of(CALL), "admin", "asked for", 2)
            assert len(receipt.recordings) == 2 and {file.sha256 for each in receipt.recordings for file in each.files} == hashes
            assert receipt.rows["calls"] == 1 and receipt.rows["transcripts"] == 1 and receipt.rows["recordings"] > 3
            assert receipt.audit_lines >= 4 and receipt.searched_files > 5
            assert not list((tmp_path / "compliance" / "pii").glob("*"))
            assert pauses.find(CALL) is None
            assert await made.store.calls.get(CALL) is None and await made.store.calls.get(OTHER) is not None
            assert {path: path.read_bytes() for path in before} == before
            assert verify(tmp_path / "audit" / "calls.log") == []
            again = await made.ask(ERASE_SUBJECT, wanted(), Receipt)
            assert again == receipt
        # with everything closed: the search of the raw store
        assert left_of(tmp_path, *PERSONAL) == []

    run(work)


def test_a_hold_keeps_everything_and_is_told(tmp_path: Path) -> None:
    recorded(tmp_path / "recordings")

    async def work() -> None:
        async with running(tmp_path) as made:
            await made.done("rec-f00dcafe-1pbx-1")
            catalogue = made.keeper.keeping.catalogue
            holds.set_hold(catalogue, "rec-f00dcafe-1pbx-1", Hold(id="case-7", by="legal", at=1.0, reason="lawsuit"))
            before = {path.name: path.read_bytes() for path in made.folder.glob("rec-*") if path.suffix != ".record"}
            with pytest.raises(RemoteError, match="case-7 of legal: lawsuit") as caught:
                await made.ask(ERASE_SUBJECT, wanted())
            assert caught.value.code == "compliance.held"
            assert {path.name: path.read_bytes() for path in made.folder.glob("rec-*") if path.suffix != ".record"} == before
            assert await made.store.calls.get(CALL) is not None
            log = (tmp_path / "audit" / "calls.log").read_text()
            assert '"audit_outcome":"refused"' in log and "case-7" in log
            holds.release(catalogue, "rec-f00dcafe-1pbx-1", "case-7")
            receipt = await made.ask(ERASE_SUBJECT, wanted(), Receipt)
            assert receipt.status == "erased"

    run(work)


@pytest.mark.slow
def test_what_cannot_be_taken_away_is_told_and_tried_again(tmp_path: Path) -> None:
    recorded(tmp_path / "recordings")
    environment = {"TRUNKLINE_RECORDING_STORAGE_ENABLED": "true", "TRUNKLINE_RECORDING_STORAGE_FOLDER": "elsewhere"}
    (tmp_path / "elsewhere").mkdir()

    async def work() -> None:
        async with running(tmp_path, **environment) as made:
            await made.done("rec-f00dcafe-1pbx-1")
            assert left_of(tmp_path / "elsewhere", "rec-f00dcafe-1pbx-1")
            (tmp_path / "elsewhere").rename(tmp_path / "away")
            receipt = await made.ask(ERASE_SUBJECT, wanted(), Receipt)
            assert receipt.status == "incomplete" and receipt.residue
            status = await made.ask(STATUS_SUBJECT, shape=ComplianceStatus)
            assert status.gdpr.unfinished == 1
            assert made.keeper.checks()["gdpr"].status == "degraded"
            (tmp_path / "away").rename(tmp_path / "elsewhere")
        async with running(tmp_path, **environment) as made:  # the next start goes on by itself
            await until(lambda: not list((tmp_path / "compliance" / "erasing").iterdir()))
            receipt = await made.ask(ERASE_SUBJECT, wanted(), Receipt)
            assert (receipt.status, receipt.residue) == ("erased", ()) and receipt.attempts >= 2
            assert len(receipt.recordings) == 1
        assert left_of(tmp_path, *PERSONAL, "rec-f00dcafe") == []

    run(work)


def on_far(data_dir: Path, statement: str) -> None:
    """What another machine does to the store."""
    with contextlib.closing(sqlite3.connect(data_dir / "trunkline.db", timeout=10)) as database, database:
        database.execute(statement)


def test_a_recording_of_another_machine_is_erased_there(tmp_path: Path) -> None:
    recorded(tmp_path / "recordings")
    copy = (
        "INSERT INTO recorded SELECT 'rec-far', call, 'far', session, state, stage, vendor, started_at, duration_ms, policy, expires_at, 1, duplicate_of, channels, warnings"
        " FROM recorded"
    )

    async def work() -> None:
        async with running(tmp_path) as made:
            await made.done("rec-f00dcafe-1pbx-1")
            on_far(tmp_path, copy)
            with pytest.raises(RemoteError, match="far") as caught:
                await made.ask(ERASE_SUBJECT, wanted())
            assert caught.value.code == "compliance.held" and (made.folder / "rec-f00dcafe-1pbx-1.wav").exists()
            on_far(tmp_path, "UPDATE recorded SET holds = 0 WHERE machine = 'far'")
            receipt = await made.ask(ERASE_SUBJECT, wanted(), Receipt)
            assert receipt.status == "incomplete" and "far has a recording of the call: it is erased there" in receipt.residue
            assert not (made.folder / "rec-f00dcafe-1pbx-1.wav").exists()
            assert await made.store.recorded.get("rec-far") is not None
            on_far(tmp_path, "DELETE FROM recorded WHERE machine = 'far'")
            assert (await made.ask(ERASE_SUBJECT, wanted(), Receipt)).status == "erased"
            assert await made.store.calls.get(CALL) is None

    run(work)


@pytest.mark.slow
def test_a_linked_recording_of_another_call_stays_without_the_link(tmp_path: Path) -> None:
    recorded(tmp_path / "recordings")
    recorded(tmp_path / "recordings", "rec-other", OTHER, seconds=0.1)

    async def work() -> None:
        async with running(tmp_path) as made:
            await made.done("rec-f00dcafe-1pbx-1", "rec-other")
            catalogue = made.keeper.keeping.catalogue
            await until(lambda: bool(catalogue.of_recording("rec-other").linked))
            before = {path: path.read_bytes() for path in made.folder.glob("rec-other*") if path.suffix != ".record"}
            receipt = await made.ask(ERASE_SUBJECT, wanted(), Receipt)
            if receipt.residue:  # the store was not yet told of the other without the link
                await made.done("rec-other")
                receipt = await made.ask(ERASE_SUBJECT, wanted(), Receipt)
            assert (receipt.residue, receipt.status) == ((), "erased") and receipt.mentions > 0
            assert catalogue.of_recording("rec-other").linked == ()
            assert {path: path.read_bytes() for path in before} == before
        assert left_of(tmp_path, CALL, "f00dcafe") == []

    run(work)


@pytest.mark.slow
def test_nothing_is_left_in_a_bucket(tmp_path: Path) -> None:
    data = tmp_path / "data"
    recorded(data / "recordings")
    with s3_store(tmp_path / "s3.log") as s3:
        client = s3.client()
        client.create_bucket(Bucket="calls")
        client.put_bucket_versioning(Bucket="calls", VersioningConfiguration={"Status": "Enabled"})
        settings = msgspec.to_builtins(s3.settings("calls"))
        environment = {f"TRUNKLINE_RECORDING_STORAGE_S3_{name.upper()}": str(value).lower() if isinstance(value, bool) else str(value) for name, value in settings.items()}
        environment |= {"TRUNKLINE_RECORDING_STORAGE_ENABLED": "true", "TRUNKLINE_RECORDING_STORAGE_KEEP_LOCAL": "false"}

        async def work() -> None:
            async with running(data, **environment) as made:
                await made.done("rec-f00dcafe-1pbx-1")
                assert len(client.list_objects_v2(Bucket="calls")["Contents"]) >= 4
                assert not (made.folder / "rec-f00dcafe-1pbx-1.wav").exists()
                exported = await made.ask(EXPORT_SUBJECT, wanted(), Exported)
                with zipfile.ZipFile(exported.archive) as archive:
                    assert archive.testzip() is None and len(archive.namelist()) >= 5
                with s3.away():
                    receipt = await made.ask(ERASE_SUBJECT, wanted(), Receipt)
                    assert receipt.status == "incomplete" and any("s3" in text for text in receipt.residue)
                receipt = await made.ask(ERASE_SUBJECT, wanted(), Receipt)
                assert (receipt.residue, receipt.status) == ((), "erased") and receipt.recordings[0].copies >= 4

        run(work)
        versions = client.list_object_versions(Bucket="calls")
        assert not versions.get("Versions") and not versions.get("DeleteMarkers")
        client.close()
    assert left_of(data, *PERSONAL, "f00dcafe") == []


def test_a_service_that_could_not_erase_is_residue(tmp_path: Path) -> None:
    recorded(tmp_path / "recordings")

    async def work() -> None:
        async with running(tmp_path) as made:
            await made.done("rec-f00dcafe-1pbx-1")
            told: list[frozenset[str]] = []

            async def eraser(names: frozenset[str]) -> list[str]:
                told.append(names)
                return ["the spool: locked"] if len(told) == 1 else []

            made.keeper.keeping.erasers.append(eraser)
            receipt = await made.ask(ERASE_SUBJECT, wanted(), Receipt)
            assert "the spool: locked" in receipt.residue and CALL in told[0]
            assert (await made.ask(ERASE_SUBJECT, wanted(), Receipt)).status == "erased"

    run(work)


def test_a_file_that_still_names_the_call_is_residue(tmp_path: Path) -> None:
    recorded(tmp_path / "recordings")

    async def work() -> None:
        async with running(tmp_path) as made:
            await made.done("rec-f00dcafe-1pbx-1")
            stray = tmp_path / "stray.txt"
            stray.write_text(f"left over: {CALL}, and Alice")
            receipt = await made.ask(ERASE_SUBJECT, wanted(), Receipt)
            assert receipt.residue == (f"{stray}: still names the call",) and receipt.mentions == 1
            stray.unlink()
            assert (await made.ask(ERASE_SUBJECT, wanted(), Receipt)).status == "erased"

    run(work)


def test_unknown_and_unavailable(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(tmp_path) as made:
            for subject in (EXPORT_SUBJECT, ERASE_SUBJECT):
                with pytest.raises(RemoteError) as caught:
                    await made.ask(subject, wanted("nobody"))
                assert caught.value.code == "compliance.unknown_call"
            assert "nobody" not in (tmp_path / "audit" / "calls.log").read_text()
            await made.bus.publish(SESSION_TOPIC, SessionEvent(kind="started", at=5.0, session=SessionFacts(call_id="nobody", recording_id="r")))
            await until(lambda: "nobody" in (tmp_path / "audit" / "calls.log").read_text())
            receipt = await made.ask(ERASE_SUBJECT, wanted("nobody"), Receipt)  # the log alone knows of it
            assert (receipt.status, receipt.audit_lines, receipt.recordings) == ("erased", 1, ())
            assert "nobody" not in (tmp_path / "audit" / "calls.log").read_text()
            made.keeper.keeping.config = msgspec.structs.replace(
                made.keeper.keeping.config, compliance=msgspec.structs.replace(made.keeper.keeping.config.compliance, gdpr_enabled=False)
            )
            with pytest.raises(RemoteError) as caught:
                await made.ask(ERASE_SUBJECT, wanted("nobody"))
            assert caught.value.code == "compliance.unavailable"
            assert not (await made.ask(STATUS_SUBJECT, shape=ComplianceStatus)).gdpr.service_available

    run(work)


def test_what_happens_to_sessions_is_in_the_audit_log(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(tmp_path) as made:
            session = facts("r1", CALL)
            kinds = ("started", "updated", "paused", "resumed", "muted", "ended", "recorded")
            for kind in kinds:
                await made.bus.publish(SESSION_TOPIC, SessionEvent(kind=kind, at=5.0, session=session, actor="api", reason="card"))  # type: ignore[arg-type]
            headers = (("Authorization", "Digest secret"), ("To", "<sip:b@x>"))
            for name in ("sip.invite.success", "sip.invite.failure", "sip.bye.received", "sip.cancel.received"):
                await made.bus.publish(SIGNALLING_TOPIC, SignallingEvent(event=name, at=6.0, call_id=CALL, status=200, headers=headers))  # type: ignore[arg-type]
            path = tmp_path / "audit" / "calls.log"
            await until(lambda: path.read_text().count("\n") == 9)
            lines = [json.loads(line)["payload"] for line in path.read_text().splitlines()]
            assert sorted(line["event"] for line in lines) == sorted(
                ["recording.started", "recording.paused", "recording.resumed", "recording.muted", "recording.stopped", "sip.invite.success", "sip.invite.failure",
                 "sip.bye.received", "sip.cancel.received"]
            )  # fmt: skip
            assert {line["audit_outcome"] for line in lines if line["event"].endswith("failure")} == {"failure"}
            assert "Digest secret" not in path.read_text() and "[REDACTED-13]" in path.read_text()
            verified = await made.ask(VERIFY_SUBJECT, shape=AuditVerified)
            assert verified == AuditVerified(True, 9, ())
            path.write_text(path.read_text().replace('"actor":"api"', '"actor":"eve"', 1))
            assert (await made.ask(VERIFY_SUBJECT, shape=AuditVerified)).problems

    run(work)


def test_the_search_knows_how_texts_are_written(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"call": 'é"\\🐈'}))
    (tmp_path / "b.bin").write_bytes(b"x" * ((1 << 20) - 3) + b"needle" + b"y" * 100)
    (tmp_path / "needle.txt").write_text("")
    (tmp_path / "c.wav").write_bytes(b"needle")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "b.bin")
    found = search(Wanted((str(tmp_path),), ('é"\\🐈', "needle"), (str(tmp_path / "nothing"),)))
    assert {(Path(hit.path).name, hit.needle, hit.in_name) for hit in found.hits} == {("a.json", 0, False), ("b.bin", 1, False), ("needle.txt", 1, True)}
    assert len(spellings("plain")) == 1
