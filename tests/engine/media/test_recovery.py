"""Recordings whose process died: what it had given is there, every file plays, and doing it again changes nothing."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import wave
from pathlib import Path
from random import Random
from typing import Any

import av
import msgspec
import numpy as np
import pytest

from engine._native import writer as native
from engine.media import manifest as manifests
from engine.media import recovery, staging
from engine.media.manifest import Channel
from engine.media.recorder import Leg, Plan, Recorder, extended, files_of
from engine.media.staging import Folder, Staged
from engine.media.wav import WavFile

START = "2026-01-02T03:04:05.000Z"


@pytest.fixture(autouse=True)
def quick_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies does not need the disk to be waited for."""
    monkeypatch.setattr(os, "fsync", lambda fd: os.fstat(fd) and None)


def noise(count: int, seed: int = 1) -> Any:
    return np.frombuffer(Random(seed).randbytes(2 * count), np.int16)


def staged(folder: Folder, plan: Plan, name: str = "r1") -> Staged:
    """What a process leaves that died right after it began: empty files and a plan that nobody locks."""
    channels = tuple(Channel(index, leg.label) for index, leg in enumerate(plan.legs))
    made = Staged(name, "call-1", START, plan.rate_hz, tuple(files_of(name, plan)), channels, plan.flac, plan.keep_wav)
    plan_fd, fds = staging.stage(folder, made, made.files)
    for fd in (plan_fd, *fds):
        os.close(fd)
    return made


def pcm(path: Path) -> Any:
    with WavFile(path) as file:
        assert not file.layout.truncated
        return file.read(0, 10**9)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in os.listdir(folder)}


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    made = Folder(tmp_path)
    yield made
    made.close()


def test_lengths_come_from_the_files_and_all_become_one_length(folder: Folder) -> None:
    made = staged(folder, Plan(legs=(Leg("1"), Leg("2"))))
    head = native.wav_header(native.WAV_PCM16, 1, 8000, 1600)  # behind what is there
    (folder.path / made.files[0].staged).write_bytes(head + noise(2000).tobytes() + b"\x01")  # and half a sample
    (folder.path / made.files[1].staged).write_bytes(head + noise(1700, 2).tobytes())
    both = np.stack([noise(2000), np.concatenate([noise(1700, 2), np.zeros(300, np.int16)])], axis=1)
    (folder.path / made.files[2].staged).write_bytes(native.wav_header(native.WAV_PCM16, 2, 8000, 0) + both.tobytes())
    [found] = recovery.recover(folder)
    assert found.manifest is not None and not found.problem
    assert (found.manifest.state, found.manifest.duration_ms, found.manifest.end) == ("recovered", 250, "2026-01-02T03:04:05.250Z")
    assert found.manifest.channels == made.channels and found.manifest.call_id == "call-1" and found.manifest.warnings == (recovery.DIED,)
    assert np.array_equal(pcm(folder.path / "r1.wav"), both)
    assert np.array_equal(pcm(folder.path / "r1-leg0.wav")[:, 0], noise(2000)) and np.array_equal(pcm(folder.path / "r1-leg1.wav")[:, 0], both[:, 1])
    assert set(os.listdir(folder.path)) == {"r1-leg0.wav", "r1-leg1.wav", "r1.wav", "r1.json", ".manifests"}
    assert manifests.problems(folder.path / "r1.json") == []
    before = contents(folder.path)
    assert recovery.recover(folder) == [] and contents(folder.path) == before


@pytest.mark.parametrize("kind", ["pcm16", "ulaw", "alaw"])
@pytest.mark.parametrize("merged", ["gone", "empty", "short"])
def test_a_merged_file_that_is_missing_is_made_of_its_legs(folder: Folder, kind: str, merged: str) -> None:
    plan = Plan(legs=(Leg(),) * 3, kind=kind)  # type: ignore[arg-type]
    made = staged(folder, plan)
    form = {"pcm16": native.WAV_PCM16, "ulaw": native.WAV_ULAW, "alaw": native.WAV_ALAW}[kind]
    raw = noise(300_000 * 3).reshape(3, -1) if kind == "pcm16" else noise(300_000 * 3).view(np.uint8)[:900_000].reshape(3, -1)
    for track in range(3):
        (folder.path / made.files[track].staged).write_bytes(native.wav_header(form, 1, 8000, 0) + raw[track][: 300_000 - 7 * track].tobytes())
    path = folder.path / made.files[3].staged
    if merged == "gone":
        path.unlink()
    elif merged == "short":
        path.write_bytes(native.wav_header(form, 3, 8000, 10) + bytes(1000))
    [found] = recovery.recover(folder)
    assert found.manifest is not None and len(found.manifest.files) == 4
    wanted = raw.T.copy()
    for track in range(3):
        wanted[300_000 - 7 * track :, track] = {"pcm16": 0, "ulaw": 0xFF, "alaw": 0xD5}[kind]
    with WavFile(folder.path / "r1.wav") as file:
        assert (file.layout.frames, file.layout.channels) == (300_000, 3)
        assert (folder.path / "r1.wav").read_bytes()[file.layout.data_offset :] == wanted.tobytes()


def ogg(folder: Path, packets: int) -> bytes:
    """An Opus file as it is while it is written: without its end."""
    writer = native.Writer(64, 1)
    fd = os.open(folder / "whole.opus", os.O_RDWR | os.O_CREAT)
    recording = writer.open(48_000, [native.Output(fd, native.OGG_OPUS, (0,), serial=5)])
    for k in range(packets):
        writer.append_packets(recording, 0, 960 * 5 * k, [(960, b"\xf8\xff\xfe")] * 5)
        writer.round(k)
    os.close(fd)
    content = (folder / "whole.opus").read_bytes()
    (folder / "whole.opus").unlink()
    return content


def test_opus_is_cut_to_whole_pages_wherever_it_ended_and_marked(tmp_path: Path) -> None:
    content = ogg(tmp_path, 4)
    ends = [at for at in range(len(content)) if content[at : at + 4] == b"OggS"] + [len(content)]
    for cut in range(ends[2], len(content) + 1, 3):
        folder = Folder(tmp_path / str(cut))
        made = staged(folder, Plan(legs=(Leg(),), kind="opus", merged=False, rate_hz=48_000))
        (folder.path / made.files[0].staged).write_bytes(content[:cut])
        [found] = recovery.recover(folder)
        assert found.manifest is not None
        whole = (folder.path / "r1-leg0.opus").read_bytes()
        pages = sum(1 for end in ends[1:] if end <= cut)
        begin = ends[pages - 1] if pages > 2 else ends[2]
        assert whole[begin + 5] == 4 and whole[:begin] == content[:begin]
        assert len(whole) == (ends[pages] if pages > 2 else ends[2] + 31)
        assert found.manifest.duration_ms == (pages - 2) * 100
        with av.open(str(folder.path / "r1-leg0.opus")) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) == ((pages - 2) * 4800 or 120)
        folder.close()


@pytest.mark.parametrize("count", [0, 1, 28, 46, 47, 60])
def test_opus_without_both_headers_is_left_out(folder: Folder, tmp_path: Path, count: int) -> None:
    made = staged(folder, Plan(legs=(Leg(),), kind="opus", merged=False, rate_hz=48_000))
    (folder.path / made.files[0].staged).write_bytes(ogg(tmp_path, 1)[:count])
    [found] = recovery.recover(folder)
    assert found.manifest is not None and found.manifest.files == () and len(found.manifest.warnings) == 2
    assert set(os.listdir(folder.path)) == {"r1.json", ".manifests"}


def test_a_damaged_page_at_the_end_is_cut_off(folder: Folder, tmp_path: Path) -> None:
    content = bytearray(ogg(tmp_path, 3))
    made = staged(folder, Plan(legs=(Leg(),), kind="opus", merged=False, rate_hz=48_000))
    content[-1] ^= 1
    (folder.path / made.files[0].staged).write_bytes(content)
    [found] = recovery.recover(folder)
    assert found.manifest is not None and found.manifest.duration_ms == 200


def test_a_capture_is_cut_to_whole_records(folder: Folder) -> None:
    made = staged(folder, Plan(legs=(), per_leg=False, merged=False, capture=True))
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)
    records = [struct.pack("<IIII", k, k, 60 + k, 60 + k) + bytes(60 + k) for k in range(3)]
    (folder.path / made.files[0].staged).write_bytes(head + b"".join(records) + struct.pack("<IIII", 9, 9, 100, 100) + bytes(99))
    [found] = recovery.recover(folder)
    assert found.manifest is not None
    assert (folder.path / "r1.pcap").read_bytes() == head + b"".join(records)


def test_a_recording_whose_process_lives_is_left_alone(folder: Folder) -> None:
    made = staged(folder, Plan(legs=(Leg(),)))
    before = contents(folder.path)
    holder = os.open(folder.path / made.plan_name, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert recovery.recover(folder) == [] and contents(folder.path) == before
    os.close(holder)
    assert len(recovery.recover(folder)) == 1


def test_files_that_are_not_ours_are_not_touched(folder: Folder) -> None:
    staged(folder, Plan(legs=(Leg(),)))
    mine = {".x.wav.part": b"RIFF", "x.wav": b"RIFF", ".other": b"1", ".y.recording": b"{not json", ".z.recording": b"{}"}
    for name, content in mine.items():
        (folder.path / name).write_bytes(content)
    (folder.path / ".link.recording").symlink_to(folder.path / "x.wav")
    found = {each.plan: each.manifest for each in recovery.recover(folder)}
    assert found.pop(".r1.recording") is not None
    assert found == {".y.recording": None, ".z.recording": None}
    assert {name: (folder.path / name).read_bytes() for name in mine} == mine


@pytest.mark.parametrize("field", ["staged", "name"])
def test_a_plan_with_names_elsewhere_is_refused(folder: Folder, tmp_path: Path, field: str) -> None:
    made = staged(folder, Plan(legs=(Leg(),), merged=False))
    bad = msgspec.structs.replace(made, files=(msgspec.structs.replace(made.files[0], **{field: "../out"}),))
    (folder.path / made.plan_name).write_bytes(msgspec.json.encode(bad))
    [found] = recovery.recover(folder)
    assert found.manifest is None and "names" in found.problem and not (tmp_path.parent / "out").exists()


def test_times_of_the_sound_are_kept(folder: Folder) -> None:
    made = staged(folder, Plan(legs=(Leg(),), merged=False))
    path = folder.path / made.files[0].staged
    path.write_bytes(native.wav_header(native.WAV_PCM16, 1, 8000, 0) + bytes(400))
    os.utime(path, ns=(10**18, 10**18))
    recovery.recover(folder)
    assert os.stat(folder.path / "r1-leg0.wav").st_mtime_ns == 10**18


@pytest.mark.parametrize("calls", [*range(10), 100])
def test_dying_anywhere_while_names_are_given_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """The first so many links and unlinks happen, and then the process is gone."""
    folder = Folder(tmp_path)
    made = staged(folder, Plan(legs=(Leg(), Leg())))
    for k, file in enumerate(made.files):
        channels = file.channels
        (folder.path / file.staged).write_bytes(native.wav_header(native.WAV_PCM16, channels, 8000, 800) + noise(800 * channels, k).tobytes())
    wanted = {file.name: (folder.path / file.staged).read_bytes() for file in made.files}
    left = [calls]

    class Died(BaseException):
        pass

    def mortal(function: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            if left[0] <= 0:
                raise Died
            left[0] -= 1
            return function(*args, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", mortal(os.link))
        patch.setattr(os, "unlink", mortal(os.unlink))
        if calls == 100:
            recovery.recover(folder)
        else:
            with pytest.raises(Died):
                recovery.recover(folder)
    recovery.recover(folder)
    names = set(os.listdir(tmp_path))
    assert not any(name.endswith((".part", ".recording", ".new")) for name in names), names
    assert names == {*wanted, "r1.json", ".manifests"}
    assert {name: (tmp_path / name).read_bytes() for name in wanted} == wanted
    assert manifests.problems(tmp_path / "r1.json") == []
    folder.close()


# ---- kill -9 ----

CHILD = """
import asyncio, sys, time
from pathlib import Path
import numpy as np
from engine._native import writer as native
from engine.media.recorder import Leg, Plan, Recorder

async def main():
    writer = native.Writer(4096, 16)
    recorder = Recorder(Path(sys.argv[1]), writer)
    writer.start()
    merged = [await recorder.start(f"m{k}", Plan(legs=(Leg(), Leg()))) for k in range(5)]
    laws = [await recorder.start(f"u{k}", Plan(legs=(Leg(), Leg()), kind="ulaw")) for k in range(3)]
    opus = [await recorder.start(f"o{k}", Plan(legs=(Leg(), Leg()), kind="opus", rate_hz=48000, merged=False)) for k in range(2)]
    begin = time.monotonic()
    print("running", flush=True)
    for tick in range(1000):
        for call in merged:
            for track in range(2):
                assert writer.append(call.number, track, 160 * tick, np.full(160, 1 + tick, np.int16)) == 160
        for call in laws:
            for track in range(2):
                writer.append(call.number, track, 160 * tick, bytes([1 + tick % 250]) * 160, kind=native.PAYLOAD)
        for call in opus:
            for track in range(2):
                writer.append_packets(call.number, track, 960 * tick, [(960, b"\\xf8\\xff\\xfe")])
        print(tick, flush=True)
        await asyncio.sleep(max(begin + 0.02 * (tick + 1) - time.monotonic(), 0))

asyncio.run(main())
"""
ROUNDS = 12  # of 20 ms: 240 ms of what was given may be lost


def kill_while_it_records(folder: Path, seed: int) -> int:
    """The last piece of 20 ms that was given to the writer before the process was killed."""
    ticks = Random(seed).randrange(15, 100)
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
    assert child.stdout
    assert child.stdout.readline() == "running\n"
    last = -1
    while last < ticks:
        last = int(child.stdout.readline())
    select.select([], [], [], Random(seed).random() * 0.02)
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().split("\n")
    child.wait()
    child.stdout.close()
    return max([last, *(int(line) for line in rest[:-1] if line)])


def check_wav(path: Path, channels: int, last: int) -> None:
    with WavFile(path) as file:
        assert not file.layout.truncated and file.layout.channels == channels
        assert file.layout.frames >= 160 * (last + 1 - ROUNDS)
        offset = file.layout.data_offset
        got = file.read(0, 10**9)
    if file.layout.kind == "pcm16":
        with wave.open(str(path)) as other:
            assert other.readframes(10**9) == got.tobytes()
        told = got
    else:
        told = np.frombuffer(path.read_bytes()[offset:][: got.size], np.uint8).reshape(-1, channels)
    for tick in range(last + 1 - ROUNDS):
        assert set(told[160 * tick : 160 * (tick + 1)].flat) == {1 + tick if file.layout.kind == "pcm16" else 1 + tick % 250}, tick


@pytest.mark.parametrize("seed", range(2))
def test_kill_9_loses_at_most_250_ms_a_leg_and_every_file_plays(tmp_path: Path, seed: int) -> None:
    last = kill_while_it_records(tmp_path / "calls", seed)
    shutil.copytree(tmp_path / "calls", tmp_path / "as-they-were")
    folder = Folder(tmp_path / "calls")
    found = recovery.recover(folder)
    assert len(found) == 10 and all(each.manifest and each.manifest.state == "recovered" for each in found)
    folder.close()
    for place, prefix, suffix in ((tmp_path / "as-they-were", ".", ".part"), (tmp_path / "calls", "", "")):
        for name in (f"{kind}{k}" for kind, count in (("m", 5), ("u", 3)) for k in range(count)):
            for part, channels in (("-leg0", 1), ("-leg1", 1), *([("", 2)] if not prefix else [])):  # the file of both is made in the end
                check_wav(place / f"{prefix}{name}{part}.wav{suffix}", channels, last)
        for name in (f"o{k}-leg{leg}" for k in range(2) for leg in range(2)):
            with av.open(str(place / f"{prefix}{name}.opus{suffix}"), format="ogg") as container:
                assert sum(frame.samples for frame in container.decode(audio=0)) >= 960 * (last + 1 - ROUNDS)
    for path in (tmp_path / "calls").glob("*.json"):
        assert manifests.problems(path) == []


def test_a_recorder_that_starts_anew_finds_what_another_left(tmp_path: Path) -> None:
    async def case() -> list[recovery.Recovered]:
        writer = native.Writer(16, 2)
        recorder = Recorder(tmp_path, writer)
        staged(recorder.folder, Plan(legs=(Leg(),)))
        running = await recorder.start("r2", Plan(legs=(Leg(),)))
        found = await recorder.in_thread(lambda: recovery.recover(recorder.folder))
        writer.start()
        running.close()
        assert (await running.finish()).recording_id == "r2"
        await recorder.close()
        writer.stop()
        return found

    assert [each.plan for each in asyncio.run(case())] == [".r1.recording"]


def test_a_merged_file_that_a_leg_joined_is_made_anew(tmp_path: Path) -> None:
    """The process died while its old merged file, of two channels, still lay there."""
    folder = Folder(tmp_path)
    made = staged(folder, Plan(legs=(Leg("1"), Leg("2"))))
    longer = extended(made, Leg("3"))
    (tmp_path / made.plan_name).write_bytes(msgspec.json.encode(longer))
    for track, count in ((0, 900), (1, 500), (2, 800)):
        leg = next(file for file in longer.files if file.tracks == (track,))
        content = native.wav_header(native.WAV_PCM16, 1, 8000, 0) + noise(count, track).tobytes()
        (tmp_path / leg.staged).write_bytes(content)
    (found,) = recovery.recover(folder)
    assert found.manifest is not None and found.manifest.state == "recovered"
    whole = pcm(tmp_path / "r1.wav")
    assert whole.shape == (900, 3) and np.array_equal(whole[:800, 2], noise(800, 2)) and np.array_equal(whole[:, 0], noise(900, 0))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".manifests", "r1-leg0.wav", "r1-leg1.wav", "r1-leg2.wav", "r1.json", "r1.wav"]
    assert manifests.problems(tmp_path / "r1.json") == []
