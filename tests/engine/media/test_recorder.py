"""Recordings from their beginning to their names: files, manifest, and what a bad disk makes of them."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]

from engine._native import writer as native
from engine.media import manifest as manifests
from engine.media import recorder as recorders
from engine.media import staging
from engine.media.errors import NotSealed, RecordingFull, RecordingRefused
from engine.media.manifest import Channel, Interval
from engine.media.recorder import Leg, Plan, Recorder, Recording
from engine.media.sealing import Beside
from engine.media.wav import WavFile
from tests.descriptors import open_in

TWO = (Leg("1", "alice"), Leg("2", "bob"))


def noise(count: int, seed: int = 1) -> Any:
    return np.frombuffer(Random(seed).randbytes(2 * count), np.int16)


@pytest.fixture(autouse=True)
def quick_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of syncs is tested by itself; the disk need not be waited for."""
    monkeypatch.setattr(os, "fsync", lambda fd: os.fstat(fd) and None)


class Bench:
    """A recorder with a writer, faults, a clock, and what it told."""

    def __init__(self, folder: Path, disk: native.Disk, recordings: int) -> None:
        self.folder, self.disk, self.told, self.now_s = folder, disk, list[str](), 1_767_323_045.5
        self.writer = native.Writer(512, recordings, disk)
        self.recorder = Recorder(folder, self.writer, clock=lambda: self.now_s, on_fault=lambda _, text: self.told.append(text))

    def names(self) -> set[str]:
        return {name for name in os.listdir(self.folder) if not name.startswith(staging.SPARE)}

    def pcm(self, name: str) -> Any:
        with WavFile(self.folder / name) as file:
            return file.read(0, 10**9)


@asynccontextmanager
async def bench(folder: Path, recordings: int = 8) -> AsyncIterator[Bench]:
    made = Bench(folder / "calls", native.Disk(), recordings)
    made.writer.start()
    try:
        yield made
    finally:
        await made.recorder.close()
        made.writer.stop()


def run(folder: Path, case: Callable[[Bench], Awaitable[None]], **options: int) -> None:
    async def whole() -> None:
        async with bench(folder, **options) as made:
            await asyncio.wait_for(case(made), 60)

    asyncio.run(whole())
    assert open_in(folder) == []


async def record(made: Bench, name: str = "r1", plan: Plan | None = None, frames: int = 4000) -> Recording:
    recording = await made.recorder.start(name, plan or Plan(legs=TWO, call_id="call-1@host"))
    for track in range(2):
        assert made.writer.append(recording.number, track, 0, noise(frames, track)) == frames
    made.writer.end(recording.number)
    return recording


def test_a_recording_has_each_leg_the_merged_file_and_a_manifest(tmp_path: Path) -> None:
    async def case(made: Bench) -> None:
        recording = await record(made)
        heard = (Channel(0, "1", "alice", ssrc=(7,), lost=2), Channel(1, "2", "bob"))
        done = await recording.finish(channels=heard, intervals=[Interval("pause", 100, 200, "card", "api")])
        assert done is await recording.finish()
        assert made.names() == {"r1-leg0.wav", "r1-leg1.wav", "r1.wav", "r1.json", ".manifests"}
        assert made.recorder.running == 0 and not made.told
        for track in range(2):
            assert np.array_equal(made.pcm(f"r1-leg{track}.wav")[:, 0], noise(4000, track))
            assert np.array_equal(made.pcm("r1.wav")[:, track], noise(4000, track))
        assert manifests.read(made.folder / "r1.json") == done
        assert manifests.problems(made.folder / "r1.json") == []
        assert (done.start, done.end) == ("2026-01-02T03:04:05.500Z", "2026-01-02T03:04:06.000Z")
        assert (done.duration_ms, done.state, done.warnings, done.call_id) == (500, "complete", (), "call-1@host")
        assert done.channels == heard and done.intervals[0].type == "pause"
        assert [(file.path, file.tracks) for file in done.files] == [("r1-leg0.wav", (0,)), ("r1-leg1.wav", (1,)), ("r1.wav", (0, 1))]
        assert {os.stat(made.folder / file.path).st_nlink for file in done.files} == {1}

    run(tmp_path, case)


def test_content_is_on_the_disk_before_its_name_and_names_before_the_dot_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, str]] = []

    def named(call: str, function: Callable[..., Any], name_of: Callable[..., str]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            if call != "unlink" or staging.SPARE not in str(args[0]):  # spares go when the folder is closed
                done.append((call, name_of(*args)))
            return function(*args, **options)

        return wrapped

    def name_of_fd(fd: int) -> str:
        return Path(os.readlink(f"/proc/self/fd/{fd}")).name

    async def case(made: Bench) -> None:
        recording = await record(made)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", named("fsync", os.fsync, name_of_fd))
            patch.setattr(os, "link", named("link", os.link, lambda staged, name: staged))
            patch.setattr(os, "unlink", named("unlink", os.unlink, lambda name: name))
            patch.setattr(staging.native, "put_away", named("put away", staging.native.put_away, lambda folder, name, spare: name))
            await recording.finish()

    run(tmp_path, case)
    for staged in (".r1-leg0.wav.part", ".r1-leg1.wav.part", ".r1.wav.part", ".r1.json.part"):
        assert done.index(("fsync", staged)) < done.index(("link", staged))
        names_synced = next(k for k in range(done.index(("link", staged)), len(done)) if done[k] == ("fsync", "calls"))
        last = len(done) - 1 - done[::-1].index(("unlink", staged))
        assert names_synced < last
    assert done[-1] == ("put away", ".r1.recording")
    assert done.index(("link", ".r1.wav.part")) < done.index(("link", ".r1.json.part"))


def test_while_it_runs_all_names_are_hidden_and_the_plan_is_locked(tmp_path: Path) -> None:
    async def case(made: Bench) -> None:
        recording = await made.recorder.start("r1", Plan(legs=TWO, capture=True))
        assert made.names() == {".r1.recording", ".r1-leg0.wav.part", ".r1-leg1.wav.part", ".r1.pcap.part"}  # the file of both is made in the end
        with open(made.folder / ".r1.recording", "rb") as plan:
            with pytest.raises(BlockingIOError):
                fcntl.flock(plan, fcntl.LOCK_EX | fcntl.LOCK_NB)
            told = msgspec.json.decode(plan.read(), type=staging.Staged)
        assert told == recording.staged
        assert all(os.stat(made.folder / name).st_mode & 0o077 == 0 for name in made.names())
        with pytest.raises(RecordingRefused, match="already"):
            await made.recorder.start("r1", Plan(legs=TWO))
        recording.close()
        done = await recording.finish()
        assert done.state == "partial" and done.warnings == ("no sound came",) and done.duration_ms == 0

    run(tmp_path, case)


def test_names_that_are_taken_get_one_suffix_for_all_and_nothing_is_written_over(tmp_path: Path) -> None:
    async def case(made: Bench) -> None:
        (made.folder / "r1-leg1.wav").write_bytes(b"somebody's")
        first = await (await record(made)).finish()
        second = await (await record(made, frames=100)).finish()
        assert [file.path for file in first.files] == ["r1-leg0-2.wav", "r1-leg1-2.wav", "r1-2.wav"]
        assert [file.path for file in second.files] == ["r1-leg0-3.wav", "r1-leg1-3.wav", "r1-3.wav"]
        assert {"r1-2.json", "r1-3.json"} <= made.names() and "r1-leg0.wav" not in made.names()
        assert (made.folder / "r1-leg1.wav").read_bytes() == b"somebody's"
        assert manifests.problems(made.folder / "r1-2.json") == manifests.problems(made.folder / "r1-3.json") == []

    run(tmp_path, case)


def test_manifests_of_a_folder_are_a_chain(tmp_path: Path) -> None:
    async def case(made: Bench) -> None:
        done = [await (await record(made, f"r{k}", frames=10)).finish() for k in range(3)]
        digests = [hashlib.sha256((made.folder / f"r{k}.json").read_bytes()).hexdigest() for k in range(3)]
        assert [each.prev_manifest_sha256 for each in done] == ["", *digests[:2]]

    run(tmp_path, case)


@pytest.mark.parametrize("kind", ["ulaw", "alaw"])
def test_g711_is_kept_byte_for_byte(tmp_path: Path, kind: str) -> None:
    async def case(made: Bench) -> None:
        recording = await made.recorder.start("r1", Plan(legs=TWO, kind=kind))  # type: ignore[arg-type]
        for track in range(2):
            made.writer.append(recording.number, track, 0, bytes(range(256)) * (track + 1), kind=native.PAYLOAD)
        made.writer.end(recording.number)
        done = await recording.finish()
        assert [file.codec for file in done.files] == [kind] * 3
        assert (made.folder / "r1-leg1.wav").read_bytes()[94:] == bytes(range(256)) * 2
        assert soundfile.info(made.folder / "r1.wav").subtype == kind.upper()

    run(tmp_path, case)


def test_opus_legs_and_a_capture_are_kept(tmp_path: Path) -> None:
    async def case(made: Bench) -> None:
        recording = await made.recorder.start("r1", Plan(legs=TWO, rate_hz=48_000, kind="opus", merged=False, capture=True))
        for track in range(2):
            made.writer.append_packets(recording.number, track, 0, [(960, b"\xf8\xff\xfe")] * 5)
        made.writer.append_packets(recording.number, 0, 0, [(9, b"frame")], kind=native.PACKETS)
        made.writer.end(recording.number)
        done = await recording.finish()
        assert [(file.path, file.format, file.codec) for file in done.files] == [
            ("r1-leg0.opus", "ogg", "opus"), ("r1-leg1.opus", "ogg", "opus"), ("r1.pcap", "pcap", "ethernet"),
        ]  # fmt: skip
        assert soundfile.info(made.folder / "r1-leg0.opus").frames == 4800
        assert done.duration_ms == 100

    run(tmp_path, case)


@pytest.mark.parametrize("keep", [False, True])
def test_flac_takes_the_place_of_wav_once_it_is_true(tmp_path: Path, keep: bool) -> None:
    async def case(made: Bench) -> None:
        done = await (await record(made, plan=Plan(legs=TWO, flac=True, keep_wav=keep))).finish()
        wanted = [f"r1{part}.{kind}" for part in ("-leg0", "-leg1", "") for kind in (("flac", "wav") if keep else ("flac",))]
        assert [file.path for file in done.files] == wanted
        assert made.names() == {*wanted, "r1.json", ".manifests"}
        assert np.array_equal(soundfile.read(made.folder / "r1.flac", dtype="int16")[0][:, 1], noise(4000, 1))

    run(tmp_path, case)


def test_wav_stays_where_flac_is_not_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = soundfile.SoundFile.write
    monkeypatch.setattr(soundfile.SoundFile, "write", lambda self, data: write(self, data ^ 1))

    async def case(made: Bench) -> None:
        done = await (await record(made, plan=Plan(legs=TWO, flac=True))).finish()
        assert [file.format for file in done.files] == ["wav"] * 3 and done.state == "partial"
        assert all("stays uncompressed" in text for text in done.warnings) and len(done.warnings) == 3
        assert made.names() == {"r1-leg0.wav", "r1-leg1.wav", "r1.wav", "r1.json", ".manifests"}

    run(tmp_path, case)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-rf", ".r", "a\0b", "a.b", "ä", "x" * 101, "a b", "a\n", "%2e%2e"])
def test_ids_that_could_be_more_than_a_name_are_refused(tmp_path: Path, name: str) -> None:
    async def case(made: Bench) -> None:
        with pytest.raises(RecordingRefused):
            await made.recorder.start(name, Plan(legs=TWO))
        assert made.names() == set()

    run(tmp_path, case)


@pytest.mark.parametrize(
    "plan",
    [
        Plan(legs=()),
        Plan(legs=(Leg(),) * 17),
        Plan(legs=TWO, per_leg=False, merged=False),
        Plan(legs=TWO, kind="opus"),
        Plan(legs=TWO, rate_hz=0),
        Plan(legs=TWO, rate_hz=400_000),
    ],
)
def test_plans_that_cannot_be_are_refused(tmp_path: Path, plan: Plan) -> None:
    async def case(made: Bench) -> None:
        with pytest.raises(RecordingRefused):
            await made.recorder.start("r1", plan)
        assert made.names() == set()

    run(tmp_path, case)


def test_one_more_than_there_is_room_for_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async def case(made: Bench) -> None:
        running = [await made.recorder.start(f"r{k}", Plan(legs=TWO)) for k in range(2)]
        with pytest.raises(RecordingFull):
            await made.recorder.start("r9", Plan(legs=TWO))
        assert not any("r9" in name for name in made.names())
        running[0].close()
        await running[0].finish()
        await made.recorder.start("r9", Plan(legs=TWO))

    run(tmp_path, case, recordings=2)


def test_a_symbolic_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    async def case(made: Bench) -> None:
        (tmp_path / "other").write_bytes(b"kept")
        for name in (".r1.recording.new", ".r1-leg0.wav.part"):
            (made.folder / name).symlink_to(tmp_path / "other")
        with pytest.raises(FileExistsError):
            await made.recorder.start("r1", Plan(legs=TWO))
        assert (tmp_path / "other").read_bytes() == b"kept"
        (made.folder / "r2.json").symlink_to(tmp_path / "other")
        done = await (await record(made, "r2")).finish()
        assert done.files[0].path == "r2-leg0-2.wav" and (tmp_path / "other").read_bytes() == b"kept"

    run(tmp_path, case)


async def heard(made: Bench, count: int) -> None:
    while len(made.told) < count:
        await asyncio.sleep(0)


def test_a_full_disk_is_told_the_call_goes_on_and_the_manifest_says_what_is_missing(tmp_path: Path) -> None:
    async def case(made: Bench) -> None:
        recording = await made.recorder.start("r1", Plan(legs=TWO[:1], merged=False))
        made.writer.append(recording.number, 0, 0, noise(800))
        while made.writer.waiting:
            await asyncio.sleep(0)
        made.disk.be(room_bytes=0)
        made.now_s += 0.1
        made.writer.append(recording.number, 0, 800, noise(800))
        await heard(made, 1)
        assert made.told == ["r1-leg0.wav cannot be written: the disk is full"]
        made.disk.be()
        made.now_s += 0.4
        made.writer.append(recording.number, 0, 1600, noise(800))  # within a second of the failure: not tried
        made.writer.end(recording.number)
        done = await recording.finish()
        assert done.state == "partial" and done.duration_ms == 300
        assert done.warnings == ("r1-leg0.wav: 200 ms lost, the disk said No space left on device",)
        assert [(each.type, each.start_ms, each.end_ms, each.actor) for each in done.intervals] == [("gap", 100, 500, "disk")]
        pcm = made.pcm("r1-leg0.wav")[:, 0]
        assert len(pcm) == 2400 and np.array_equal(pcm[:800], noise(800)) and not pcm[800:].any()

    run(tmp_path, case)


def test_a_file_that_never_could_be_written_is_left_out(tmp_path: Path) -> None:
    async def case(made: Bench) -> None:
        made.disk.be(room_bytes=0)
        recording = await record(made, plan=Plan(legs=TWO, merged=False))
        done = await recording.finish()
        assert done.files == () and done.state == "partial"
        assert sum("nothing could be written" in text for text in done.warnings) == 2
        assert made.names() == {"r1.json", ".manifests"}

    run(tmp_path, case)


@pytest.mark.parametrize("call", ["link", "fsync", "pwrite"])
def test_what_cannot_be_sealed_stays_staged_and_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    async def case(made: Bench) -> None:
        recording = await record(made)
        with monkeypatch.context() as patch:
            true_fsync = os.fsync

            def fail(*args: Any, **options: Any) -> None:
                if call == "fsync" and args[0] != made.recorder.folder.fd:
                    return true_fsync(args[0])
                raise OSError(28, "No space left on device")

            patch.setattr(os, call, fail)
            with pytest.raises(NotSealed, match="No space left"):
                await recording.finish()
        assert {".r1.recording", ".r1-leg0.wav.part", ".r1-leg1.wav.part", ".r1.wav.part"} <= made.names()
        with open(made.folder / ".r1.recording", "rb") as plan:
            fcntl.flock(plan, fcntl.LOCK_EX | fcntl.LOCK_NB)  # recovery may have it

    run(tmp_path, case)


def test_a_failed_fsync_is_said_and_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def case(made: Bench) -> None:
        recording = await record(made, plan=Plan(legs=TWO, per_leg=False))
        true_fsync, inode, calls = os.fsync, os.stat(made.folder / ".r1.wav.part").st_ino, list[int]()

        def fsync(fd: int) -> None:
            if os.fstat(fd).st_ino == inode:
                calls.append(fd)
                raise OSError(5, "Input/output error")
            true_fsync(fd)

        monkeypatch.setattr(os, "fsync", fsync)
        done = await recording.finish()
        monkeypatch.undo()
        assert len(calls) == 1 and done.state == "partial" and "damaged" in done.warnings[0]

    run(tmp_path, case)


def test_closing_ends_and_seals_what_runs(tmp_path: Path) -> None:
    async def case(made: Bench) -> None:
        recording = await made.recorder.start("r1", Plan(legs=TWO))
        made.writer.append(recording.number, 0, 0, noise(800))

    run(tmp_path, case)
    done = manifests.read(tmp_path / "calls" / "r1.json")
    assert done.state == "partial" and done.warnings == ("the engine was stopped while it recorded",) and done.duration_ms == 100


def test_a_producer_that_finds_no_block_is_told(tmp_path: Path) -> None:
    async def case(made: Bench) -> None:
        gate, opener = os.pipe()
        made.disk.be(gate=gate)
        recording = await made.recorder.start("r1", Plan(legs=TWO))
        taken = sum(made.writer.append(recording.number, 0, 10 * k, noise(10)) for k in range(600))
        assert taken == 5120
        os.close(opener)
        await heard(made, 1)
        assert made.told == ["the disk is behind: 88 pieces found no room so far"]
        recording.close()
        await recording.finish()
        os.close(gate)

    run(tmp_path, case)


# ---- legs that join ----


@pytest.mark.parametrize("merged", [True, False])
def test_a_leg_that_joins_is_silent_before_and_in_the_merged_file(tmp_path: Path, merged: bool) -> None:
    async def case(made: Bench) -> None:
        recording = await made.recorder.start("r1", Plan(legs=TWO, merged=merged))
        for track in range(2):
            made.writer.append(recording.number, track, 0, noise(4000, track))
        assert await recording.extend(Leg("3", "carol")) == 2
        made.writer.append(recording.number, 0, 4000, noise(4000, 5))
        made.writer.append(recording.number, 2, 6000, noise(2000, 2))
        made.writer.end(recording.number)
        done = await recording.finish()
        names = {"r1-leg0.wav", "r1-leg1.wav", "r1-leg2.wav", "r1.json", ".manifests"}
        assert made.names() == (names | {"r1.wav"} if merged else names)
        late = np.concatenate([np.zeros(6000, np.int16), noise(2000, 2)])
        assert np.array_equal(made.pcm("r1-leg2.wav")[:, 0], late)
        if merged:
            whole = made.pcm("r1.wav")
            assert whole.shape == (8000, 3) and np.array_equal(whole[:, 2], late)
            assert np.array_equal(whole[:, 0], np.concatenate([noise(4000, 0), noise(4000, 5)])) and not whole[4000:, 1].any()
        assert (done.state, [one.label for one in done.channels]) == ("complete", ["1", "2", "3"])
        assert manifests.problems(made.folder / "r1.json") == []

    run(tmp_path, case)


def test_there_is_an_end_to_joining(tmp_path: Path) -> None:
    async def case(made: Bench) -> None:
        recording = await made.recorder.start("r1", Plan(legs=TWO))
        for number in range(2, 16):
            assert await recording.extend(Leg(str(number))) == number
        with pytest.raises(RecordingRefused):
            await recording.extend(Leg("one too many"))
        made.writer.append(recording.number, 15, 0, noise(800, 3))
        made.writer.end(recording.number)
        await recording.finish()
        assert made.pcm("r1.wav").shape == (800, 16) and np.array_equal(made.pcm("r1.wav")[:, 15], noise(800, 3))

    run(tmp_path, case)


def test_a_recording_that_is_not_wanted_leaves_nothing(tmp_path: Path) -> None:
    async def case(made: Bench) -> None:
        recording = await made.recorder.start("r1", Plan(legs=TWO))
        made.writer.append(recording.number, 0, 0, noise(800))
        await recording.discard()
        assert made.names() == set() and made.recorder.running == 0
        await (await record(made)).finish()  # its place is free, and its name

    run(tmp_path, case)


def test_recordings_that_end_together_are_sealed_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each whole, and chained; the disk is asked a few times for all of them, not some for each."""

    async def case(made: Bench) -> None:
        recordings = [await record(made, f"r{number}", frames=400) for number in range(40)]
        asked: list[str] = []
        monkeypatch.setattr(os, "fsync", lambda fd: asked.append("file"))
        monkeypatch.setattr(staging.Folder, "sync_volume", lambda self: asked.append("volume"))
        done = await asyncio.gather(*(one.finish(beside=Beside(files={".more.json": b"%d" % number})) for number, one in enumerate(recordings)))
        assert len(asked) < 60 and "volume" in asked
        for number, manifest in enumerate(done):
            assert manifest.state == "complete" and manifests.problems(made.folder / f"r{number}.json") == []
            assert (made.folder / f"r{number}.more.json").read_bytes() == b"%d" % number
        before = {one.prev_manifest_sha256 for one in done}
        assert len(before) == 40 and [name for name in made.names() if name.startswith(".")] == [".manifests"]

    run(tmp_path, case, recordings=64)


def test_one_that_cannot_be_sealed_keeps_no_other(tmp_path: Path) -> None:
    async def case(made: Bench) -> None:
        recordings = [await record(made, f"r{number}", frames=400) for number in range(6)]
        (made.folder / ".r3-leg0.wav.part").unlink()
        done = await asyncio.gather(*(one.finish() for one in recordings), return_exceptions=True)
        assert [isinstance(one, NotSealed) for one in done] == [number == 3 for number in range(6)]
        assert manifests.problems(made.folder / "r5.json") == []

    run(tmp_path, case)


def test_where_the_file_of_all_legs_cannot_be_made_the_legs_are_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def merge(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no")

    async def case(made: Bench) -> None:
        recording = await record(made, "r1", frames=400)
        with monkeypatch.context() as patched:
            patched.setattr(recorders, "merge", merge)
            done = await recording.finish()
        assert done.state == "partial" and done.warnings == ("r1.wav: could not be made of the legs: No space left on device",)
        assert made.names() == {".manifests", "r1.json", "r1-leg0.wav", "r1-leg1.wav"}
        assert manifests.problems(made.folder / "r1.json") == []

    run(tmp_path, case)


def test_the_file_of_all_legs_is_whole_where_the_disk_takes_it_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = os.pwrite

    async def case(made: Bench) -> None:
        recording = await record(made, "r1", frames=400)
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", lambda fd, content, offset: taken(fd, content[:1000], offset))
            assert (await recording.finish()).state == "complete"
        with WavFile(made.folder / "r1.wav") as both, WavFile(made.folder / "r1-leg1.wav") as leg:
            assert both.layout.frames >= 400 and np.array_equal(both.read(0, 10**6)[:, 1], leg.read(0, 10**6)[:, 0])

    run(tmp_path, case)


def test_a_volume_that_cannot_be_synced_is_asked_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it is said which of them is damaged."""

    async def case(made: Bench) -> None:
        recordings = [await record(made, f"r{number}", frames=400) for number in range(6)]
        inode = os.stat(made.folder / ".r2-leg1.wav.part").st_ino

        def fsync(fd: int) -> None:
            if os.fstat(fd).st_ino == inode:
                raise OSError(errno.EIO, "no")

        def sync_volume(folder: staging.Folder) -> None:
            raise OSError(errno.EIO, "no")

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(staging.Folder, "sync_volume", sync_volume)
        done = await asyncio.gather(*(one.finish() for one in recordings))
        assert [one.state for one in done] == ["partial" if number == 2 else "complete" for number in range(6)]
        assert "damaged" in done[2].warnings[0]

    run(tmp_path, case)
