"""Random blocks for the writer on a disk that fails now and then: whatever comes, every file is whole, and what is in it was given."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from random import Random

import numpy as np
import pytest

from engine._native import writer as native
from engine.media.wav import WavFile

SECOND = 1_000_000_000


def hostile(random: Random, writer: native.Writer, recording: int) -> None:
    """A block that no sound producer gives: of nobody, of no place or no kind."""
    flaw, body = random.randrange(4), random.randbytes(2 * random.randrange(1, 150))
    number = recording ^ random.choice([1, 1 << 40, 1 << 31]) if flaw == 0 else recording
    position = random.choice([-1, 2**62, -(2**62), 86_400 * 8000 * 3]) if flaw == 1 else 0
    track = random.choice([16, 200, 255]) if flaw == 2 else 0
    kind = random.choice([0, 6, 77, 255]) if flaw == 3 else random.choice([native.PCM, native.PAYLOAD])
    writer.append(number, track, position, body, kind=kind)
    writer.append(recording, 1, 0, b"\xff\xff" + body, kind=native.OPUS)
    writer.append(recording, 1, 0, b"\xff" * 9, kind=native.PACKETS)


def check_ogg(content: bytes) -> None:
    at, sequence, granule = 0, 0, 0
    while at < len(content):
        assert content[at : at + 5] == b"OggS\0"
        _, told_granule, _, told_sequence, _, count = struct.unpack("<BqIIIB", content[at + 5 : at + 27])
        assert told_sequence == sequence and told_granule >= granule
        sequence, granule = sequence + 1, told_granule
        at += 27 + count + sum(content[at + 27 : at + 27 + count])
    assert at == len(content)


def check_pcap(content: bytes) -> None:
    at = 24
    while at < len(content):
        at += 16 + int(struct.unpack("<I", content[at + 8 : at + 12])[0])
    assert at == len(content) or not content


@pytest.mark.parametrize("seed", range(40))
def test_files_are_whole_and_have_what_was_given(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    disk, faulty, now_ns = native.Disk(), seed % 2 == 1, 0
    writer = native.Writer(random.choice([3, 50, 500]), 2, disk)
    kinds = [(native.WAV_PCM16, (0,)), (native.WAV_PCM16, (1, 0)), (native.WAV_ULAW, (0,)), (native.OGG_OPUS, (1,)), (native.PCAP, ())]
    fds = [os.open(tmp_path / str(k), os.O_RDWR | os.O_CREAT) for k in range(len(kinds))]
    recording = writer.open(8000, [native.Output(fd, form, tracks) for fd, (form, tracks) in zip(fds, kinds, strict=True)])
    given = np.zeros((2, 100_000), np.int16)
    end, value, ever = [0, 0], 0, [{0}, {0}]
    for _ in range(300):
        track, value = random.randrange(2), value % 250 + 1  # in one byte: a write that fails may end inside a sample
        begin = max(end[track] + random.choice([0, 0, 0, 160, -200]), 0)
        count = random.randrange(1, 600)
        if random.random() < 0.1:
            hostile(random, writer, recording)
        elif end[track] <= end[1 - track] + 4000 and begin + count < given.shape[1]:
            taken = writer.append(recording, track, begin, np.full(count, value, np.int16))
            given[track, begin : begin + taken] = value
            ever[track].add(value)
            end[track] = max(end[track], begin + count)
            writer.append_packets(recording, track, 6 * begin, [(120, b"\xe0\xff\xfe")] * (count // 20))
            writer.append(recording, track, begin, bytes([value % 256]) * count, kind=native.PAYLOAD)
            writer.append_packets(recording, 0, 0, [(value, bytes(random.randrange(100)))], kind=native.PACKETS)
        if random.random() < 0.4:
            if faulty:
                disk.be(room_bytes=random.choice([-1, -1, 0, random.randrange(3000)]))
            writer.round(now_ns)
            now_ns += random.choice([20_000_000, SECOND])
            if os.path.getsize(tmp_path / "0"):
                with WavFile(tmp_path / "0") as leg:
                    assert not leg.layout.truncated
    disk.be()
    writer.close(recording)
    while writer.round(now_ns):
        now_ns += SECOND
    assert [event.recording for event in writer.events() if event.kind == native.FINISHED] == [recording]
    results = writer.results(recording)
    for fd, result in zip(fds, results, strict=True):
        assert os.fstat(fd).st_size == result.bytes
        os.close(fd)
    if faulty and not (results[0].frames and results[1].frames):
        return
    frames = results[0].frames
    with WavFile(tmp_path / "0") as leg, WavFile(tmp_path / "1") as merged:
        alone, both = leg.read(0, 10**9)[:, 0], merged.read(0, 10**9)
    assert both.shape == (frames, 2)
    wanted = np.zeros((2, frames), np.int16)
    wanted[:, : min(frames, given.shape[1])] = given[:, :frames]
    for got, track in ((alone, 0), (both[:, 1], 0), (both[:, 0], 1)):
        differs = got != wanted[track]
        assert not differs.any() or (faulty and set(got[differs].tolist()) <= ever[track])
    check_ogg((tmp_path / "3").read_bytes())
    check_pcap((tmp_path / "4").read_bytes())
