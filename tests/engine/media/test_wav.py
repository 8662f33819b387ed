"""WAV files of every kind that is read, and those that are not."""

from __future__ import annotations

import os
import struct
import wave
from pathlib import Path
from random import Random

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]

from engine.media.errors import UnreadableAudio
from engine.media.wav import ALAW, ULAW, WavFile
from tests.descriptors import open_in

GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if size is None else size) + body + bytes(len(body) % 2)


def fmt(tag: int = 1, channels: int = 1, rate_hz: int = 8000, bits: int = 16, *, frame_bytes: int | None = None, tail: bytes = b"") -> bytes:
    frame = channels * bits // 8 if frame_bytes is None else frame_bytes
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * frame & 0xFFFFFFFF, frame, bits) + tail)


def riff(*chunks: bytes, name: bytes = b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return name + struct.pack("<I", len(body)) + body


def opened(tmp_path: Path, content: bytes) -> WavFile:
    path = tmp_path / "file.wav"
    path.write_bytes(content)
    return WavFile(path)


RANDOM = Random(7)
NOISE = np.array([RANDOM.randint(-32768, 32767) for _ in range(3000)], np.int16)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_U8", "FLOAT", "ULAW", "ALAW"])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
def test_samples_are_those_that_another_library_wrote(tmp_path: Path, subtype: str, channels: int, container: str) -> None:
    path = tmp_path / "file.wav"
    wanted = NOISE.reshape(-1, channels)
    soundfile.write(path, wanted / 32768.0 if subtype == "FLOAT" else wanted, 16000, subtype=subtype, format=container)
    expected = wanted if subtype in {"PCM_16", "PCM_24", "FLOAT"} else soundfile.read(path, dtype="int16", always_2d=True)[0]
    with WavFile(path) as file:
        assert (file.layout.rate_hz, file.layout.channels, file.layout.frames) == (16000, channels, len(wanted))
        got = file.read(0, len(wanted) + 5)
        tail = file.read(len(wanted) - 3, 100)
    assert got.dtype == np.int16 and got.shape == wanted.shape
    assert np.abs(got.astype(int) - expected).max() <= (1 if subtype == "FLOAT" else 0)
    assert np.array_equal(tail, got[-3:])


def test_g711_tables_are_those_of_the_recommendation() -> None:
    assert [int(ULAW[code]) for code in (0x00, 0x7F, 0x80, 0xFF, 0x8F, 0x01)] == [-32124, 0, 32124, 0, 16764, -31100]
    assert [int(ALAW[code]) for code in (0x55, 0xD5, 0x2A, 0xAA, 0x00, 0x80)] == [-8, 8, -32256, 32256, -5504, 5504]
    assert np.array_equal(ULAW[:128], -ULAW[128:]) and np.array_equal(ALAW[:128], -ALAW[128:])


def test_it_reads_what_the_standard_library_wrote(tmp_path: Path) -> None:
    path = tmp_path / "file.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 44100, 0, "NONE", ""))
        file.writeframes(NOISE.tobytes())
    with WavFile(path) as mine:
        assert np.array_equal(mine.read(0, 10**9), NOISE.reshape(-1, 2))
        assert mine.layout.duration_s == pytest.approx(1500 / 44100)


def test_unknown_chunks_and_odd_sizes_in_front_are_passed_over(tmp_path: Path) -> None:
    content = riff(chunk(b"JUNK", bytes(28)), chunk(b"bext", b"odd"), fmt(), chunk(b"fact", bytes(4)), chunk(b"data", b"\1\0\2\0"))
    with opened(tmp_path, content) as file:
        assert file.read(0, 9).tolist() == [[1], [2]]


def test_a_header_that_promises_more_than_there_is_gives_whole_frames_that_are_there(tmp_path: Path) -> None:
    content = riff(fmt(channels=2), chunk(b"data", b"\1\0\2\0\3\0\4\0\5\0", size=4000))
    with opened(tmp_path, content) as file:
        assert file.layout.truncated and file.layout.frames == 2
        assert file.read(0, 9).tolist() == [[1, 2], [3, 4]]


def test_a_size_that_nobody_knew_is_up_to_the_end_of_the_file(tmp_path: Path) -> None:
    with opened(tmp_path, riff(fmt(), chunk(b"data", b"\1\0\2\0", size=0xFFFFFFFF))) as file:
        assert not file.layout.truncated and file.read(0, 9).tolist() == [[1], [2]]


def test_rf64_sizes_are_those_of_its_first_chunk(tmp_path: Path) -> None:
    path = tmp_path / "large.wav"
    frames = (5 << 30) // 2
    ds64 = chunk(b"ds64", struct.pack("<QQQI", (5 << 30) + 100, 5 << 30, frames, 0))
    head = riff(ds64, fmt(), name=b"RF64") + b"data" + b"\xff" * 4
    path.write_bytes(head)
    os.truncate(path, len(head) + (5 << 30))
    with path.open("r+b") as raw:
        raw.seek(len(head) + (5 << 30) - 4)
        raw.write(b"\7\0\x09\0")
    with WavFile(path) as file:
        assert file.layout.frames == frames
        assert file.read(frames - 2, 5).tolist() == [[7], [9]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF\0\0\0\0WAV",
        b"OggS" + bytes(40),
        riff(),
        riff(fmt()),  # no samples
        riff(chunk(b"data", b"\0\0"), fmt()),  # samples before the format
        riff(fmt(), fmt(), chunk(b"data", b"")),
        riff(fmt(channels=0), chunk(b"data", b"")),
        riff(fmt(channels=65), chunk(b"data", b"")),
        riff(fmt(rate_hz=0), chunk(b"data", b"")),
        riff(fmt(rate_hz=2**31), chunk(b"data", b"")),
        riff(fmt(bits=12), chunk(b"data", b"")),
        riff(fmt(tag=85), chunk(b"data", b"")),  # MP3
        riff(fmt(tag=3), chunk(b"data", b"")),  # 16-bit float
        riff(fmt(frame_bytes=0), chunk(b"data", b"")),
        riff(fmt(frame_bytes=3), chunk(b"data", b"")),
        riff(chunk(b"fmt ", bytes(15)), chunk(b"data", b"")),
        riff(fmt(tag=0xFFFE), chunk(b"data", b"")),
        riff(fmt(tag=0xFFFE, tail=struct.pack("<HHIH", 22, 16, 0, 1) + bytes(14)), chunk(b"data", b"")),
        riff(chunk(b"ds64", bytes(10)), fmt(), chunk(b"data", b"", size=0xFFFFFFFF), name=b"RF64"),
        riff(*[chunk(b"JUNK", b"")] * 300, fmt(), chunk(b"data", b"")),
        riff(chunk(b"JUNK", b"", size=0xFFFFFFFF), fmt(), chunk(b"data", b"")),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnreadableAudio):
        opened(tmp_path, content)
    assert open_in(tmp_path) == []


def test_an_extensible_format_with_its_guid_is_read(tmp_path: Path) -> None:
    tail = struct.pack("<HHIH", 22, 16, 0, 1) + GUID_TAIL
    with opened(tmp_path, riff(fmt(tag=0xFFFE, channels=3, tail=tail), chunk(b"data", bytes(6)))) as file:
        assert (file.layout.kind, file.layout.channels, file.layout.frames) == ("pcm16", 3, 1)


def test_a_file_that_shrinks_while_it_is_read_gives_fewer_frames(tmp_path: Path) -> None:
    with opened(tmp_path, riff(fmt(), chunk(b"data", NOISE.tobytes()))) as file:
        os.truncate(tmp_path / "file.wav", file.layout.data_offset + 7)
        assert np.array_equal(file.read(0, 3000)[:, 0], NOISE[:3])
        assert file.read(1000, 50).shape == (0, 1)


def test_counts_below_zero_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path, riff(fmt(), chunk(b"data", bytes(4)))) as file:
        with pytest.raises(ValueError, match="from 0"):
            file.read(-1, 1)
        with pytest.raises(ValueError, match="from 0"):
            file.read(0, -1)
