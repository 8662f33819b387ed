"""What belongs to a recording or a call, found and taken away: everything, everywhere, once."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.media.manifest import ChainHead
from engine.media.staging import HEAD, PLAN_SUFFIX, Folder, Staged, StagedFile, stage
from engine.recordings import holds
from engine.recordings.catalogue import Catalogue, chosen, tombstone_of
from engine.recordings.errors import (
    NoSuchRecording,
    NotRecorded,
    RecordingErased,
    RecordingHeld,
    UnreadableRecord,
)
from engine.recordings.lookup import CALL
from engine.recordings.record import Hold, Record
from tests.engine.recordings.rig import BEGAN, Rig, record, rig

ELSEWHERE: dict[str, Any] = {"recording": {"storage": {"enabled": True, "folder": "elsewhere"}}}
SEALED: dict[str, Any] = {**ELSEWHERE, "encryption": {"enable_recording_encryption": True}}


@pytest.fixture(autouse=True)
def quick_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: os.fstat(fd) and None)


def erase(made: Rig, id: str = "r1") -> tuple[str, ...]:
    return asyncio.run(made.catalogue.erase(made.of(id), by="ada"))


def raw(data_dir: Path) -> bytes:
    """All that lies below a folder, names and contents."""
    found = b""
    for path in data_dir.rglob("*"):
        found += path.name.encode() + b"\n" + (path.read_bytes() if path.is_file() else b"")
    return found


# ---- finding ----


def test_a_recording_is_found_by_its_call_id_and_by_what_correlates_it(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        record(made.folder, "r1", "call-1@host", correlation=("ucid:00fa", "call-id:inner@pbx"))
        record(made.folder, "r2", "call-2@host", correlation=("ucid:00fa",), began=BEGAN + 5)
        made.work()
        found = made.catalogue
        assert [each.recording_id for each in found.of_call("call-1@host")] == ["r1"]
        assert [each.recording_id for each in found.of_call("inner@pbx")] == ["r1"]
        assert [each.recording_id for each in found.with_keys(["ucid:00fa"])] == ["r1", "r2"]
        assert found.of_call("CALL-1@host") == [] == found.with_keys(["ucid:00fb", ""])
        assert [each.recording_id for each in found.entries()] == ["r1", "r2"]
        assert found.lookup.count() == 2


@pytest.mark.parametrize("id", ["", "../r1", "r1.json", "a/b", ".r1", "r1\n", "x" * 121, "r1\0"])
def test_names_that_are_paths_are_no_recordings(tmp_path: Path, id: str) -> None:
    with rig(tmp_path) as made:
        record(made.folder)
        made.work()
        with pytest.raises(NoSuchRecording):
            made.catalogue.of_recording(id)
        with pytest.raises(NoSuchRecording):
            made.catalogue.adopt(f"{id}.json")


def test_a_file_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.wav").write_bytes(b"secret")
    with rig(tmp_path) as made:
        record(made.folder)
        made.work()
        (made.folder / "r1.wav").unlink()
        os.symlink(tmp_path / "secret.wav", made.folder / "r1.wav")
        with pytest.raises(OSError, match="symbolic"):
            made.content("r1", "r1.wav")


def test_the_table_is_made_of_the_records_again(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        record(made.folder)
        made.work()
        record(made.folder, "r2", "call-2@host")
    (tmp_path / "recordings" / ".catalogue").write_bytes(b"no database" * 500)
    with rig(tmp_path) as made:
        assert made.catalogue.lookup.count() == 0
        assert sorted(made.catalogue.scan()) == ["r1", "r2"]
        assert [each.recording_id for each in made.catalogue.of_call("call-1@host")] == ["r1"]
        assert made.catalogue.lookup.pending() == ["r2"]


def test_a_folder_in_which_nothing_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with rig(tmp_path) as made:
        record(made.folder)
        assert made.catalogue.scan() == ["r1"]
        os.utime(made.folder, (BEGAN, BEGAN))
        assert made.catalogue.scan() == []
        looked: list[int] = []
        monkeypatch.setattr(made.catalogue, "names", lambda: looked.append(1))
        assert made.catalogue.scan() == [] and not looked


def test_a_manifest_waits_a_moment_for_the_document_of_its_session(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        record(made.folder, document=False)
        os.utime(made.folder / "r1.json")
        part = made.folder / ".r1.siprec.part"
        part.write_bytes(b"{}")
        assert made.catalogue.scan() == []
        os.utime(made.folder / "r1.json", (time.time() - 60,) * 2)
        assert made.catalogue.scan() == []
        part.unlink()
        assert made.catalogue.scan() == ["r1"]


def test_two_changes_at_once_are_both_there(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        record(made.folder)
        made.catalogue.scan()

        async def many() -> None:
            changes = [asyncio.to_thread(made.catalogue.update, "r1", lambda now, at=at: msgspec.structs.replace(now, warnings=(*now.warnings, str(at)))) for at in range(40)]
            await asyncio.gather(*changes)

        asyncio.run(many())
        assert sorted(made.of().warnings, key=int) == [str(at) for at in range(40)]


def test_many_who_look_at_once_all_see_everything(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        for number in range(500):
            (made.folder / f"x{number}.bin").write_bytes(b"")

        async def all_look() -> list[int]:
            return await asyncio.gather(*(asyncio.to_thread(lambda: len(list(made.catalogue.names()))) for _ in range(40)))

        assert set(asyncio.run(all_look())) == {500}


def test_a_damaged_record_is_told_and_never_written_over(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        for number, damage in enumerate((b"", b"\xa0\xff", b"{}", b'{"recording_id": "other"}')):
            id = f"r{number}"
            record(made.folder, id, f"call-{number}@host")
            (made.folder / f"{id}.record").write_bytes(damage)
        record(made.folder, "r8", "call-8@host")
        record(made.folder, "r9", "call-9@host")
        made.work(lambda: all((made.folder / f"{id}.record").exists() and made.of(id).stage == "done" for id in ("r8", "r9")))
        outside = (made.folder / "r9.record").read_bytes().replace(b'"path": "r9.wav"', b'"path": "../x.wav"')
        (made.folder / "r9.record").write_bytes(outside)
        for id in ("r0", "r1", "r2", "r3", "r9"):
            with pytest.raises(UnreadableRecord):
                made.of(id)
            with pytest.raises(UnreadableRecord):
                made.catalogue.adopt(f"{id}.json")
        assert [(made.folder / f"r{number}.record").read_bytes() for number in range(4)] == [b"", b"\xa0\xff", b"{}", b'{"recording_id": "other"}']
        assert {f"r{number}.record" for number in range(4)} & set(made.catalogue.unreadable) or {f"r{number}.json" for number in range(4)} & set(made.catalogue.unreadable)
        assert made.of("r8").stage == "done"


# ---- reading ----


def test_any_part_of_a_file_is_read_from_wherever_it_is(tmp_path: Path) -> None:
    for changes in ({}, {"encryption": {"enable_recording_encryption": True}}, {"recording": {"storage": {"enabled": True, "keep_local": False, "folder": "elsewhere"}}}):
        data = tmp_path / hashlib.sha256(repr(changes).encode()).hexdigest()[:8]
        data.mkdir()
        with rig(data, changes) as made:
            record(made.folder, seconds=40)
            whole = (made.folder / "r1.wav").read_bytes()
            made.work()
            file = chosen(made.of(), None)
            for first in (0, 1, 44, 262_143, 262_144, len(whole) - 1, len(whole), len(whole) + 5):
                assert b"".join(made.catalogue.read_audio(made.of(), file, first)) == whole[first:]
            assert not [name for name in made.names() if name.startswith(".fetched")]


def test_a_leg_is_chosen_by_its_number(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        record(made.folder, "x-leg1", legs=2)  # a Call-ID may look like the name of a leg
        made.work()
        done = made.of("x-leg1")
        assert chosen(done, None).name == "x-leg1.wav"
        assert [chosen(done, leg).name for leg in (0, 1)] == ["x-leg1-leg0.wav", "x-leg1-leg1.wav"]
        with pytest.raises(NotRecorded):
            chosen(done, 2)


# ---- erasing ----


def test_erasing_takes_everything_here_and_elsewhere_and_leaves_a_hash(tmp_path: Path) -> None:
    with rig(tmp_path, SEALED) as made:
        record(made.folder, "r1-secretcall", "secretcall@host", capture=True)
        record(made.folder, "r2", "other@host", correlation=())
        made.work()
        for name in ("r1-secretcall.transcript.json", "r1-secretcall.vcon.json", ".r1-secretcall.transcript.part", "r1-secretcall-leg0.wav.part"):
            (made.folder / name).write_bytes(b"what secretcall said")
        before = made.of("r1-secretcall")
        found = made.catalogue.artefacts("secretcall@host")
        assert len(found.urls) == 5 and not found.running
        assert {path.name for path in found.paths} >= {"r1-secretcall.json", "r1-secretcall.record", "r1-secretcall.wav.enc", ".r1-secretcall.transcript.part"}
        assert erase(made, "r1-secretcall") == ()
        assert made.names() == {
            f"{tombstone_of('r1-secretcall')}.record", "r2.json", "r2.record", "r2.locations", "r2.siprec.json", "r2.wav.enc", "r2-leg0.wav.enc", "r2-leg1.wav.enc",
        }  # fmt: skip
        assert made.catalogue.artefacts("secretcall@host") == type(found)()
        tombstone = made.of("r1-secretcall")
        assert (tombstone.stage, tombstone.erased_by, tombstone.manifest_sha256) == ("erased", "ada", before.manifest_sha256)
        assert tombstone == Record(
            recording_id=tombstone_of("r1-secretcall"), call_id="", manifest="", manifest_sha256=before.manifest_sha256, stage="erased", started_at=0.0, duration_ms=0,
            erased_at=made.now_s, erased_by="ada", indexed=True,
        )  # fmt: skip
        assert made.catalogue.scan() == [] and made.catalogue.verify(made.of("r2")) == []
        with pytest.raises(RecordingErased):
            made.catalogue.update("r1-secretcall", lambda now: now)
        assert asyncio.run(made.catalogue.erase(before, by="ada")) == ()
    assert b"secretcall" not in raw(tmp_path)


def test_the_chain_of_manifests_goes_on_behind_an_erased_one(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        record(made.folder, "r1")
        record(made.folder, "r2", "call-2@host")
        made.work()
        last = hashlib.sha256((made.folder / "r2.json").read_bytes()).hexdigest()
        assert erase(made, "r2") == ()
        head = msgspec.json.decode((made.folder / HEAD).read_bytes(), type=ChainHead)
        assert head.name == ""
        record(made.folder, "r3", "call-3@host")
        made.work()
        assert made.catalogue.manifest(made.of("r3")).prev_manifest_sha256 == last == made.of("r2").manifest_sha256


def test_a_legal_hold_keeps_everything(tmp_path: Path) -> None:
    with rig(tmp_path, ELSEWHERE) as made:
        record(made.folder)
        made.work()
        before = made.names()
        holds.set_hold(made.catalogue, "r1", Hold(id="case-7", by="judge", at=made.now_s, reason="court"))
        for attempt in (lambda: erase(made), lambda: asyncio.run(made.catalogue.erase_call("call-1@host", by="ada"))):
            with pytest.raises(RecordingHeld) as refused:
                attempt()
            assert refused.value.code == "recording.held"
        assert made.names() == before and made.catalogue.verify(made.of()) == []
        holds.release(made.catalogue, "r1", "case-7")
        assert erase(made) == ()


class Stuck:
    """A store of which a copy cannot be deleted."""

    def __init__(self, real: Any) -> None:
        self.real, self.is_stuck = real, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def delete(self, location: Any) -> bool:
        if self.is_stuck and location.url.endswith("r1.wav"):
            raise OSError(113, "No route to host")
        return bool(self.real.delete(location))


def test_what_is_left_is_told_and_taken_away_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.recordings.pipeline.RETRY_FIRST_S", 0.02)
    with rig(tmp_path, ELSEWHERE) as made:
        record(made.folder)
        made.work()
        stuck = Stuck(made.places.storage())
        made.catalogue.storage_for = lambda url: stuck
        left = erase(made)
        assert len(left) == 1 and left[0].endswith("No route to host") and "r1.wav" in left[0]
        assert made.names() == {"r1.record", "r1.locations"}
        waits = made.of()
        assert (waits.stage, waits.problems, waits.erased_by) == ("erased", left, "ada")
        with pytest.raises(RecordingErased):
            made.catalogue.read_audio(waits, waits.files[0])
        assert erase(made) == left

        async def later() -> None:
            pipeline = made.pipeline()
            await pipeline.start()
            while pipeline.checks()["recordings"].status != "degraded":
                await asyncio.sleep(0.01)
            stuck.is_stuck = False
            while (made.folder / "r1.record").exists():
                await asyncio.sleep(0.01)
            await pipeline.close()

        asyncio.run(asyncio.wait_for(later(), 20))
        assert made.of().recording_id == tombstone_of("r1")
        assert not [path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()]


def test_copies_that_only_an_old_list_of_locations_names_are_erased_too(tmp_path: Path) -> None:
    with rig(tmp_path, ELSEWHERE) as made:
        record(made.folder)
        made.work()
        old = tmp_path / "elsewhere" / "old"
        old.mkdir()
        (old / "call.wav").write_bytes(b"from before")
        known = made.catalogue.locations(made.of())[0]
        root = known[: known.index("elsewhere") + len("elsewhere")]
        (made.folder / "r1.wav.locations").write_bytes(msgspec.json.encode([f"{root}/old/call.wav", "gs://bucket/call.wav"]))
        left = erase(made)
        assert len(left) == 1 and left[0].startswith("gs://bucket/call.wav: ")
        assert not (old / "call.wav").exists()
        assert (made.folder / "r1.wav.locations").exists()  # or what is left would be forgotten


def test_what_is_still_being_recorded_is_told_and_what_died_is_taken_away(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        folder = Folder(made.folder)
        plans = []
        for id in ("running", "died"):
            file = StagedFile(f".{id}.wav.part", f"{id}.wav", "wav", "pcm16", 8000, 1, (0,))
            staged = Staged(id, "call-9@host", "2026-01-02T03:04:05.000Z", 8000, (file,), ())
            plan, fds = stage(folder, staged, staged.files)
            os.close(fds[0])
            plans.append(plan)
        os.close(plans[1])  # and its lock with it
        (made.folder / ".died.siprec.part").write_bytes(b"{}")
        found = made.catalogue.artefacts("call-9@host")
        assert found.running == ("running",)
        assert {path.name for path in found.paths} == {".running.wav.part", f".running{PLAN_SUFFIX}", ".died.wav.part", f".died{PLAN_SUFFIX}", ".died.siprec.part"}
        assert asyncio.run(made.catalogue.erase_call("call-9@host", by="ada")) == ("running: is still being recorded",)
        assert made.names() == {".running.wav.part", f".running{PLAN_SUFFIX}"}
        fcntl.flock(plans[0], fcntl.LOCK_UN)
        os.close(plans[0])
        folder.close()


def test_an_erased_recording_is_named_by_no_other(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        record(made.folder, "r1")
        record(made.folder, "r2", "call-2@host", began=BEGAN + 0.01)
        made.work()
        assert made.of("r2").linked == ("r1",) and made.of("r2").duplicate_of == "r1" and made.of("r1").linked == ("r2",)
        erase(made, "r1")
        assert made.of("r2").linked == () and made.of("r2").duplicate_of == ""


# ---- kill -9 ----


def _erase_and_die(data: Path, at: int) -> bool:
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    done = 0
    for name in ("unlink", "rename", "open", "fsync", "pwrite"):
        real = getattr(os, name)

        def counted(*arguments: Any, _real: Any = real, **more: Any) -> Any:
            nonlocal done
            done += 1
            if done == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return _real(*arguments, **more)

        setattr(os, name, counted)
    try:
        erase(Rig(data, SEALED))
    except BaseException:
        os._exit(3)
    os._exit(0)


@pytest.mark.slow
def test_an_erase_that_was_killed_is_finished_by_whoever_comes_next(tmp_path: Path) -> None:
    at, killed = 1, 0
    while True:
        data = tmp_path / f"run{at}"
        data.mkdir()
        with rig(data, SEALED) as made:
            record(made.folder, "r1", "secretcall@host", seconds=0.05)
            made.work()
        lived = _erase_and_die(data, at)
        with rig(data, SEALED) as made:
            if made.folder.joinpath("r1.record").exists() and made.of().stage != "erased":
                assert made.catalogue.verify(made.of()) == []  # it was not even begun
                assert erase(made) == ()
            made.work(lambda made=made: not made.folder.joinpath("r1.record").exists())  # type: ignore[misc]
            assert made.names() == {f"{tombstone_of('r1')}.record"}, f"killed at operation {at}"
        assert b"secretcall" not in raw(data)
        if lived:
            break
        killed += 1
        at += 1 + at // 8
    assert killed > 15


# ---- size ----


@pytest.mark.slow
def test_a_hundred_thousand_recordings_are_found_without_reading_them(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path)
    one = Record(recording_id="r", call_id="c", manifest="r.json", manifest_sha256="", stage="done", started_at=0.0, duration_ms=1, correlation=("ucid:1",), indexed=True)
    with catalogue.lookup._turn:
        rows = catalogue.lookup._rows
        rows.execute("BEGIN")
        rows.executemany("INSERT INTO entries VALUES (?, ?, ?, 0, 0, 0)", ((f"r{at}", float(at), None) for at in range(100_000)))
        from engine.recordings.lookup import digest_of

        rows.executemany("INSERT INTO keys VALUES (?, ?)", ((digest_of(f"{CALL}c{at}"), f"r{at}") for at in range(100_000)))
        rows.execute("COMMIT")
    catalogue.save(msgspec.structs.replace(one, recording_id="r77", call_id="c77"))
    for at in range(5):  # a hundred thousand names stand for the folder
        (tmp_path / f"r{at}.json").write_bytes(b"{}")
        os.utime(tmp_path / f"r{at}.json", (BEGAN, BEGAN))
    assert catalogue.scan() == [] and not catalogue.unreadable  # known already: none was opened
    assert [each.recording_id for each in catalogue.of_call("c77")] == ["r77"]
    assert len(catalogue.known) == 100_000
    catalogue.close()
