"""Silence in stretches of recordings: all else is the same, bit by bit."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]

from engine._native import writer as native
from engine.codecs.opus import CODEC
from engine.compliance import audio, opus
from engine.compliance.audio import silence
from engine.compliance.errors import NotRedactable
from engine.media.errors import UnreadableAudio
from engine.media.manifest import Interval
from engine.media.recorder import Leg, Plan, Recorder

RATE = 8000
FRAMES = 16_000


def wav(path: Path, kind: int, channels: int, width: int, frames: int = FRAMES, tail: bytes = b"") -> bytes:
    """A file as the recorder writes it, with sound that is nowhere silent; that sound."""
    values = np.arange(1, frames * channels * width + 1, dtype=np.uint32) * 2654435761 >> 24
    sound = np.where(np.isin(values, (0, 0x80, 0xD5, 0xFF)), 1, values).astype(np.uint8).tobytes()
    path.write_bytes(native.wav_header(kind, channels, RATE, frames) + sound + tail)
    return sound


def pii(start_ms: int, end_ms: int, *tracks: int) -> Interval:
    return Interval(type="pii", start_ms=start_ms, end_ms=end_ms, tracks=tracks)


@pytest.mark.parametrize(("kind", "width", "quiet"), [(native.WAV_PCM16, 2, b"\0\0"), (native.WAV_ULAW, 1, b"\xff"), (native.WAV_ALAW, 1, b"\xd5")])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_only_the_stretch_of_the_channel_is_silent(tmp_path: Path, kind: int, width: int, quiet: bytes, channels: int) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    sound = wav(source, kind, channels, width)
    before = source.read_bytes()
    made = silence(source, target, [pii(500, 750, channels - 1)], tracks=range(channels))
    after = target.read_bytes()
    assert source.read_bytes() == before
    assert made.sha256 == hashlib.sha256(after).hexdigest() and made.bytes == len(after) == len(before)
    header = len(before) - len(sound)
    assert after[:header] == before[:header]
    old = np.frombuffer(before[header:], np.uint8).reshape(-1, channels, width)
    new = np.frombuffer(after[header:], np.uint8).reshape(-1, channels, width)
    inside = np.zeros((FRAMES, channels), bool)
    inside[4000:6000, channels - 1] = True
    assert (new[inside] == np.frombuffer(quiet, np.uint8)).all()
    assert (new[~inside] == old[~inside]).all()
    assert (old[inside] != np.frombuffer(quiet, np.uint8)).any(axis=1).all()
    assert made.samples == 2000


def test_tracks_say_whose_sound_a_channel_is(tmp_path: Path) -> None:
    source = tmp_path / "leg.wav"
    wav(source, native.WAV_PCM16, 1, 2)
    assert silence(source, tmp_path / "x.wav", [pii(0, 100, 3)], tracks=(3,)).samples == 800
    assert silence(source, tmp_path / "y.wav", [pii(0, 100, 0)], tracks=(3,)).samples == 0
    assert silence(source, tmp_path / "z.wav", [pii(0, 100)], tracks=(3,)).samples == 800


def test_stretches_beyond_the_file_and_overlapping_ones(tmp_path: Path) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    wav(source, native.WAV_PCM16, 2, 2, tail=b"LIST\x04\0\0\0tail")
    stretches = [pii(-500, 100, 0), pii(1900, 99_000, 1), pii(50, 60, 0), pii(700, 600, 0), pii(50_000, 60_000)]
    silence(source, target, stretches)
    before, after = source.read_bytes(), target.read_bytes()
    assert after.endswith(b"LIST\x04\0\0\0tail")
    old, new = (np.frombuffer(each[-FRAMES * 4 - 12 : -12], "<i2").reshape(-1, 2) for each in (before, after))
    assert not new[:800, 0].any() and (new[800:, 0] == old[800:, 0]).all()
    assert not new[15_200:, 1].any() and (new[:15_200, 1] == old[:15_200, 1]).all()


def test_rf64_and_unknown_sizes(tmp_path: Path) -> None:
    sound = bytes(range(1, 201)) * 8
    fmt = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE * 2, 2, 16)
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, len(sound), len(sound) // 2, 0)
    for name, content in (
        ("rf64", b"RF64" + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + ds64 + fmt + b"data" + struct.pack("<I", 0xFFFFFFFF) + sound),
        ("stream", b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + fmt + b"data" + struct.pack("<I", 0xFFFFFFFF) + sound),
    ):
        source, target = tmp_path / f"{name}.wav", tmp_path / f"{name}.out.wav"
        source.write_bytes(content)
        silence(source, target, [pii(10, 20)])
        begin = len(content) - len(sound) + 160
        assert target.read_bytes() == content[:begin] + bytes(160) + content[begin + 160 :]


def test_pieces_of_a_long_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "PIECE_BYTES", 1000)
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    sound = wav(source, native.WAV_PCM16, 3, 2)
    silence(source, target, [pii(100, 1500, 1)])
    new = np.frombuffer(target.read_bytes()[-len(sound) :], "<i2").reshape(-1, 3)
    old = np.frombuffer(sound, "<i2").reshape(-1, 3)
    assert not new[800:12_000, 1].any()
    assert (np.delete(new, np.s_[800:12_000], axis=0) == np.delete(old, np.s_[800:12_000], axis=0)).all()
    assert (new[:, [0, 2]] == old[:, [0, 2]]).all()


def test_in_place_the_old_samples_are_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "a.wav"
    sound = wav(source, native.WAV_PCM16, 1, 2)
    with source.open("rb") as old:
        silence(source, source, [pii(500, 750)])
        left = old.read()[-len(sound) :]
    assert not any(left[8000:12_000])
    assert not any(source.read_bytes()[-len(sound) :][8000:12_000])
    assert os.listdir(tmp_path) == ["a.wav"]
    again = source.read_bytes()
    silence(source, source, [pii(500, 750)])
    assert source.read_bytes() == again


def test_a_full_disk_leaves_the_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.wav"
    wav(source, native.WAV_PCM16, 1, 2)
    before = source.read_bytes()

    def full(fd: int, content: bytearray, at: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(audio, "_write", full)
    with pytest.raises(OSError, match="space"):
        silence(source, source, [pii(0, 100)])
    assert source.read_bytes() == before and os.listdir(tmp_path) == ["a.wav"]


@pytest.fixture
def others(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "other"


@pytest.mark.parametrize("content", [b"OggS" + bytes(100), b"fLaC" + bytes(100), b"", b"RI", b"OggS\0\2" + bytes(20) + b"\1\x13OpusHe"])
def test_what_is_no_wav_file(others: Path, content: bytes) -> None:
    others.write_bytes(content)
    with pytest.raises(NotRedactable):
        silence(others, others.with_suffix(".out"), [pii(0, 1)])
    assert not others.with_suffix(".out").exists()


def test_a_broken_wav_file(others: Path) -> None:
    others.write_bytes(b"RIFF\0\0\0\0WAVEfmt ")
    with pytest.raises(UnreadableAudio):
        silence(others, others.with_suffix(".out"), [pii(0, 1)])


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav", native.WAV_PCM16, 1, 2)
    (tmp_path / "link.wav").symlink_to(tmp_path / "a.wav")
    with pytest.raises(OSError, match="symbolic"):
        silence(tmp_path / "link.wav", tmp_path / "out.wav", [pii(0, 1)])


# ---- Opus ----


def leg_of_opus(folder: Path, packets: list[bytes], samples: int = 960) -> Path:
    """A leg of Opus packets, as the recorder writes it."""

    async def made() -> None:
        writer = native.Writer(512, 8)
        writer.start()
        recorder = Recorder(folder, writer)
        try:
            recording = await recorder.start("r1", Plan(legs=(Leg("1"),), rate_hz=48_000, kind="opus", merged=False))
            for at in range(0, len(packets), 10):
                writer.append_packets(recording.number, 0, at * samples, [(samples, packet) for packet in packets[at : at + 10]])
            writer.end(recording.number)
            await recording.finish()
        finally:
            await recorder.close()
            writer.stop()

    asyncio.run(made())
    return folder / "r1-leg0.opus"


def loud_packets(count: int, milliseconds: int = 20) -> list[bytes]:
    """Packets of noise."""
    encoder = CODEC.encoder(48_000)
    noise = np.random.default_rng(2).normal(0, 8000, (count, 48 * milliseconds)).clip(-30000, 30000).astype(np.int16)
    return [bytes(encoder.encode(piece)) for piece in noise]


def all_packets(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return [packet for number, (page, _) in enumerate(opus.pages(file.fileno())) if number > 1 for packet in opus.packets_of(page)]


def test_opus_packets_of_a_stretch_become_silence(tmp_path: Path) -> None:
    packets = loud_packets(150)
    source, target = leg_of_opus(tmp_path, packets), tmp_path / "out.opus"
    made = silence(source, target, [pii(1000, 1500, 0)], tracks=(0,))
    left = all_packets(target)
    assert all_packets(source) == packets and len(left) == len(packets)
    # 25 packets of the stretch, and the one behind it that may repeat the last of them
    assert left[:50] == packets[:50] and left[76:] == packets[76:]
    assert set(left[50:76]) == {b"\xf8\xff\xfe"} and made.samples == 26 * 960
    assert made.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    sound, rate_hz = soundfile.read(target, dtype="int16")
    assert len(sound) == 150 * 960 and rate_hz == 48_000
    assert not sound[50 * 960 + 960 : 76 * 960].any() and sound[:48_000].any() and sound[-48_000:].any()
    same = silence(source, tmp_path / "same.opus", [pii(1000, 1500, 1)], tracks=(0,))
    assert same.samples == 0 and (tmp_path / "same.opus").read_bytes() == source.read_bytes()


def test_an_opus_file_in_place(tmp_path: Path) -> None:
    source = leg_of_opus(tmp_path, loud_packets(60))
    whole = source.read_bytes()
    with source.open("rb") as old:
        silence(source, source, [pii(0, 300)])
        assert not any(old.read())
    assert source.read_bytes() != whole and opus.samples_of(all_packets(source)[0]) == 960


HEADS = [
    (b"\xf8x", 960), (b"\xe0x", 120), (b"\x08x", 960), (b"\x18x", 2880), (b"\xf9xx", 1920), (b"\xfb\x06x", 5760), (b"\xe3\x30x", 5760), (b"\x1b\x02x", 5760),
]  # fmt: skip


@pytest.mark.parametrize(("head", "samples"), HEADS)
def test_silence_is_as_long_as_what_it_replaces(head: bytes, samples: int) -> None:
    assert opus.samples_of(head) == samples
    assert opus.samples_of(opus.silent(head)) == samples
    decoder = CODEC.decoder(48_000)
    assert not np.frombuffer(decoder.decode(opus.silent(head)), np.int16).any()


def test_packets_that_have_no_length_are_not_taken() -> None:
    for packet in (b"", b"\xfb", b"\xfb\x00"):
        assert opus.samples_of(packet) == 0
        with pytest.raises(NotRedactable):
            opus.silent(packet)
