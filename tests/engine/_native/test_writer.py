"""Files of recordings, round by round: what is in them at every moment, against what was given."""

from __future__ import annotations

import errno
import gc
import io
import itertools
import os
import select
import struct
import threading
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile  # type: ignore[import-untyped]

from engine._native import writer as native
from engine._native.writer import Disk, Event, Output, Writer
from engine.media.wav import WavFile

SECOND = 1_000_000_000
Samples = npt.NDArray[np.int16]


def noise(count: int, seed: int = 1) -> Samples:
    return np.frombuffer(Random(seed).randbytes(2 * count), np.int16)


class Files:
    """A writer whose rounds the test makes, on a clock of its own, and files in a folder."""

    def __init__(self, folder: Path, blocks: int = 512, recordings: int = 4) -> None:
        self.folder, self.disk, self.now_ns = folder, Disk(), 0
        self.writer = Writer(blocks, recordings, self.disk)
        self.fds: dict[str, int] = {}

    def file(self, name: str, form: int, tracks: Sequence[int] = (), **options: int) -> Output:
        self.fds[name] = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        return Output(self.fds[name], form, tuple(tracks), **options)

    def open(self, *outputs: Output, rate_hz: int = 8000) -> int:
        return self.writer.open(rate_hz, outputs)

    def rounds(self, count: int = 1, step_ns: int = 20_000_000) -> None:
        for _ in range(count):
            self.writer.round(self.now_ns)
            self.now_ns += step_ns

    def drain(self) -> None:
        while self.writer.round(self.now_ns):
            self.now_ns += 20_000_000

    def finish(self, recording: int) -> list[native.Result]:
        assert self.writer.end(recording)
        self.drain()
        assert [event for event in self.writer.events() if event.kind == native.FINISHED][-1].recording == recording
        return self.writer.results(recording)

    def pcm(self, name: str) -> Samples:
        with WavFile(self.folder / name) as file:
            assert not file.layout.truncated
            return file.read(0, 10**9)

    def close(self) -> None:
        for fd in self.fds.values():
            os.close(fd)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    made = Files(tmp_path)
    yield made
    made.close()


# ---- WAV ----


def test_a_leg_is_what_was_given_and_its_header_is_true_after_every_round(files: Files) -> None:
    recording, samples = files.open(files.file("a.wav", native.WAV_PCM16, [3])), noise(8000)
    files.rounds()
    assert len(files.pcm("a.wav")) == 0
    for begin in range(0, 8000, 1600):
        assert files.writer.append(recording, 3, begin, samples[begin : begin + 1600]) == 1600
        files.rounds()
        with wave.open(str(files.folder / "a.wav")) as file:
            assert file.getnframes() == begin + 1600
            assert file.readframes(10**6) == samples[: begin + 1600].tobytes()
    result = files.finish(recording)
    assert result == [native.Result(16000 + 80, 8000, 0, 0, 0, 0)]
    assert os.path.getsize(files.folder / "a.wav") == 16080


def test_a_hole_between_positions_is_silence(files: Files) -> None:
    outputs = [files.file("p.wav", native.WAV_PCM16, [0]), files.file("u.wav", native.WAV_ULAW, [0]), files.file("a.wav", native.WAV_ALAW, [1])]
    recording = files.open(*outputs)
    files.writer.append(recording, 0, 500, noise(100))
    files.writer.append(recording, 0, 10_000, noise(100, 2))
    for track in (0, 1):
        files.writer.append(recording, track, 700, b"\x10" * 80, kind=native.PAYLOAD)
        files.writer.append(recording, track, 9_000, b"\x20" * 80, kind=native.PAYLOAD)
    files.finish(recording)
    pcm = files.pcm("p.wav")[:, 0]
    assert len(pcm) == 10_100 and not pcm[:500].any() and not pcm[600:10_000].any()
    assert np.array_equal(pcm[500:600], noise(100)) and np.array_equal(pcm[10_000:], noise(100, 2))
    for name, silence in (("u.wav", 0xFF), ("a.wav", 0xD5)):
        body = (files.folder / name).read_bytes()[94:]
        assert body == bytes([silence]) * 700 + b"\x10" * 80 + bytes([silence]) * 8220 + b"\x20" * 80 + bytes([silence]) * 1020


def test_later_samples_win_within_a_second_and_never_rewrite_what_is_older(files: Files) -> None:
    recording = files.open(files.file("a.wav", native.WAV_PCM16, [0]))
    files.writer.append(recording, 0, 0, np.full(16_000, 5, np.int16))
    files.rounds()
    files.writer.append(recording, 0, 7_000, np.full(2_000, 9, np.int16))  # the first 1,000 are older than a second
    files.writer.append(recording, 0, 1_000, np.full(500, 9, np.int16))
    [result] = files.finish(recording)
    pcm = files.pcm("a.wav")[:, 0]
    assert set(pcm[:8_000]) == {5} and set(pcm[8_000:9_000]) == {9} and set(pcm[9_000:]) == {5}
    assert (result.frames, result.late) == (16_000, 1_500)


@pytest.mark.parametrize("form", [native.WAV_PCM16, native.WAV_ULAW])
@pytest.mark.parametrize("seed", range(6))
def test_a_merged_file_has_each_leg_in_its_channel_however_they_come(files: Files, form: int, seed: int) -> None:
    random, channels = Random(seed), 1 + seed % 3 * 2
    kind, width = (native.PCM, 2) if form == native.WAV_PCM16 else (native.PAYLOAD, 1)
    tracks = random.sample(range(16), channels)
    recording = files.open(files.file("m.wav", form, tracks))
    wanted = np.full((40_000, channels), 0 if width == 2 else 0xFF, np.int16 if width == 2 else np.uint8)
    ends = [random.randrange(3_000) for _ in tracks]
    longest = 0
    while min(ends) < 36_000:
        channel = min(range(channels), key=lambda k: ends[k] + random.randrange(8_000))
        if ends[channel] >= 36_000:
            continue
        begin = ends[channel] + random.choice([0, 0, 0, 13, 900])
        piece = noise(random.randrange(1, 2500), random.randrange(10**6))[: 40_000 - begin]
        piece = piece if width == 2 else (piece & 0xFF).astype(np.uint8)  # type: ignore[assignment]
        assert files.writer.append(recording, tracks[channel], begin, piece, kind=kind) == len(piece)
        wanted[begin : begin + len(piece), channel] = piece
        ends[channel] = begin + len(piece)
        longest = max(longest, ends[channel])
        if random.random() < 0.3:
            files.rounds()
    [result] = files.finish(recording)
    assert (result.frames, result.late) == (longest, 0)
    with WavFile(files.folder / "m.wav") as file:
        assert file.layout.channels == channels
        offset = file.layout.data_offset
    body = (files.folder / "m.wav").read_bytes()[offset:]
    assert body[: longest * channels * width] == wanted[:longest].tobytes()


def test_both_legs_of_a_round_are_one_write_in_the_merged_file(files: Files) -> None:
    recording = files.open(files.file("m.wav", native.WAV_PCM16, [0, 1]))
    files.rounds()
    before = files.writer.counts().writes
    for track in (0, 1):
        files.writer.append(recording, track, 0, noise(1600, track))
    files.rounds()
    assert files.writer.counts().writes - before == 2  # samples, header


def test_a_leg_that_lags_lands_within_two_seconds_of_the_fastest(files: Files) -> None:
    recording = files.open(files.file("m.wav", native.WAV_PCM16, [0, 1]))
    files.writer.append(recording, 0, 0, noise(40_000))
    files.rounds()
    assert len(files.pcm("m.wav")) == 40_000  # the fast one is there already, beside silence
    files.writer.append(recording, 1, 20_000, np.full(8_000, 7, np.int16))
    [result] = files.finish(recording)
    pcm = files.pcm("m.wav")
    assert np.array_equal(pcm[:, 0], noise(40_000))
    assert not pcm[:24_000, 1].any() and set(pcm[24_000:28_000, 1]) == {7} and not pcm[28_000:, 1].any()
    assert result.late == 4_000


def test_all_files_of_a_recording_end_together(files: Files) -> None:
    outputs = [files.file(f"{k}.wav", native.WAV_PCM16, [k]) for k in range(2)]
    outputs += [files.file("u.wav", native.WAV_ULAW, [2]), files.file("m.wav", native.WAV_PCM16, [0, 1, 2])]
    recording = files.open(*outputs)
    files.writer.append(recording, 0, 0, noise(777))
    files.writer.append(recording, 1, 0, noise(101))
    results = files.finish(recording)
    assert [result.frames for result in results] == [777] * 4
    for name in ("0.wav", "1.wav", "u.wav", "m.wav"):
        assert len(files.pcm(name)) == 777
        assert os.path.getsize(files.folder / name) % 2 == 0  # RIFF: chunks end on even bytes
    assert not files.pcm("u.wav").any() and not files.pcm("m.wav")[:, 2].any()


def test_an_odd_count_of_bytes_is_claimed_only_with_its_padding(files: Files) -> None:
    recording = files.open(files.file("u.wav", native.WAV_ULAW, [0]))
    files.writer.append(recording, 0, 0, b"\x11" * 81, kind=native.PAYLOAD)
    files.rounds()
    head = (files.folder / "u.wav").read_bytes()
    assert struct.unpack("<I", head[4:8])[0] + 8 <= len(head) and len(files.pcm("u.wav")) == 80
    files.finish(recording)
    head = (files.folder / "u.wav").read_bytes()
    assert struct.unpack("<I", head[4:8])[0] + 8 == len(head) and len(files.pcm("u.wav")) == 81


@pytest.mark.parametrize(("form", "channels"), [(f, c) for f in (native.WAV_PCM16, native.WAV_ULAW, native.WAV_ALAW) for c in (1, 2, 3, 16)])
def test_headers_are_read_alike_by_another_library(tmp_path: Path, form: int, channels: int) -> None:
    width = 2 if form == native.WAV_PCM16 else 1
    content = native.wav_header(form, channels, 16000, 30) + noise(30 * channels).tobytes()[: 30 * channels * width]
    info = soundfile.info(io.BytesIO(content))
    assert (info.channels, info.samplerate, info.frames) == (channels, 16000, 30)
    assert info.subtype == {native.WAV_PCM16: "PCM_16", native.WAV_ULAW: "ULAW", native.WAV_ALAW: "ALAW"}[form]
    assert info.format in ("WAV", "WAVEX")


def test_a_header_goes_over_to_rf64_where_the_sizes_do_not_fit(files: Files) -> None:
    limit = (2**32 - 1 - (80 - 8)) // 2
    for frames, name in ((limit, b"RIFF"), (limit + 1, b"RF64")):
        header = native.wav_header(native.WAV_PCM16, 1, 8000, frames)
        assert header[:4] == name and len(header) == 80
    assert header[12:16] == b"ds64" and struct.unpack("<QQQI", header[20:48]) == (72 + 2 * frames, 2 * frames, frames, 0)
    assert header[4:8] == header[76:80] == b"\xff" * 4


def test_a_file_grows_past_4_gib_without_a_break(files: Files) -> None:
    recording, day = files.open(files.file("a.wav", native.WAV_PCM16, [0]), rate_hz=16000), 86_400 * 16_000
    files.writer.append(recording, 0, day - 16, noise(16))
    files.rounds()
    assert os.pread(files.fds["a.wav"], 4, 0) == b"RIFF"
    files.writer.append(recording, 0, 2 * day - 16, noise(16, 2))
    files.rounds()
    assert os.pread(files.fds["a.wav"], 4, 0) == b"RF64"
    with WavFile(files.folder / "a.wav") as file:
        assert file.layout.frames == 2 * day and file.layout.data_offset == 80
        assert np.array_equal(file.read(day - 16, 16)[:, 0], noise(16))
        assert np.array_equal(file.read(2 * day - 16, 99)[:, 0], noise(16, 2))
    assert os.stat(files.fds["a.wav"]).st_blocks * 512 < 1 << 20  # silence takes no room
    assert soundfile.info(files.folder / "a.wav").frames == 2 * day
    files.finish(recording)


def test_much_silence_that_has_to_be_written_is_spread_over_rounds(files: Files) -> None:
    recording, hole = files.open(files.file("u.wav", native.WAV_ULAW, [0])), 10 << 20
    files.writer.append(recording, 0, hole, b"\x33" * 80, kind=native.PAYLOAD)
    written = []
    for _ in range(13):
        before = files.writer.counts().bytes
        files.rounds()
        written.append(files.writer.counts().bytes - before)
    assert max(written) < 3 << 20 and written[-1] == 0
    with WavFile(files.folder / "u.wav") as file:
        offset = file.layout.data_offset
    assert (files.folder / "u.wav").read_bytes()[offset:] == b"\xff" * hole + b"\x33" * 80
    files.finish(recording)


def test_a_leg_that_ended_early_is_padded_with_written_silence_over_rounds(files: Files) -> None:
    recording, end = files.open(files.file("u.wav", native.WAV_ALAW, [0]), files.file("p.wav", native.WAV_PCM16, [1])), 5 << 20
    files.writer.append(recording, 1, end - 10, noise(10))
    files.writer.end(recording)
    files.rounds()
    assert files.writer.events() == []
    files.drain()
    assert [event.kind for event in files.writer.events()] == [native.FINISHED]
    with WavFile(files.folder / "u.wav") as file:
        offset, frames = file.layout.data_offset, file.layout.frames
    assert frames == end and (files.folder / "u.wav").read_bytes()[offset:] == b"\xd5" * end


def test_positions_that_cannot_be_are_counted_and_harm_nothing(files: Files) -> None:
    recording = files.open(files.file("a.wav", native.WAV_PCM16, [0]))
    files.rounds()
    for position in (-1, 2**62, -(2**63), 86_400 * 8000 + 1):
        files.writer.append(recording, 0, position, noise(10))
    files.writer.append(recording, 16, 0, noise(10))
    files.writer.append(recording, 0, 0, b"\1\2\3")  # half a sample
    files.writer.append(recording, 0, 0, noise(10), kind=77)
    files.writer.append(recording, 0, 5, noise(10))
    files.writer.append(recording + (1 << 32), 0, 0, noise(10))
    files.writer.append(9, 0, 0, noise(10))
    [result] = files.finish(recording)
    assert result.frames == 15
    assert (files.writer.counts().malformed, files.writer.counts().stale) == (7, 2)


# ---- recordings ----


def test_what_comes_after_the_end_is_passed_over_and_places_are_used_again(files: Files) -> None:
    numbers = set()
    for turn in range(9):
        recording = files.open(files.file(f"{turn}.wav", native.WAV_PCM16, [0]))
        numbers.add(recording)
        files.writer.append(recording, 0, 0, noise(10 + turn))
        files.writer.end(recording)
        files.writer.append(recording, 0, 100, noise(50))
        files.drain()
        files.writer.append(recording, 0, 100, noise(50))
        files.drain()
        assert files.writer.events() == [Event(native.FINISHED, recording, 0, 0, 10 + turn)]
        assert files.writer.results(recording)[0].frames == 10 + turn
        files.writer.release(recording)
        with pytest.raises(OSError, match="no such recording"):
            files.writer.release(recording)
    assert len(numbers) == 9 and files.writer.counts().stale == 18


def test_no_more_recordings_than_there_is_room_for(files: Files) -> None:
    running = [files.open() for _ in range(4)]
    with pytest.raises(BlockingIOError):
        files.open()
    with pytest.raises(OSError, match="no such recording"):
        files.writer.release(running[0])  # not finished
    files.finish(running[0])
    files.writer.release(running[0])
    assert files.open() not in running


def test_a_recording_is_closed_without_a_producer_once_what_was_given_is_written(files: Files) -> None:
    recording = files.open(files.file("a.wav", native.WAV_PCM16, [0]))
    for k in range(400):
        files.writer.append(recording, 0, 10 * k, noise(10))
    files.writer.close(recording)
    files.drain()
    assert [event.kind for event in files.writer.events()] == [native.FINISHED]
    assert files.writer.results(recording)[0].frames == 4000


def test_a_file_that_is_added_later_has_silence_in_front(files: Files) -> None:
    recording = files.open(files.file("a.wav", native.WAV_PCM16, [0]))
    files.writer.append(recording, 0, 0, noise(1000))
    files.rounds()
    assert files.writer.add(recording, files.file("b.wav", native.WAV_PCM16, [1])) == 1
    files.writer.append(recording, 1, 900, noise(300, 2))
    assert [result.frames for result in files.finish(recording)] == [1200, 1200]
    pcm = files.pcm("b.wav")[:, 0]
    assert not pcm[:900].any() and np.array_equal(pcm[900:], noise(300, 2))


@pytest.mark.parametrize(
    "output",
    [
        Output(-1, native.WAV_PCM16, (0,)),
        Output(0, native.WAV_PCM16),
        Output(0, native.WAV_PCM16, (0, 0)),
        Output(0, native.WAV_PCM16, (16,)),
        Output(0, 9, (0,)),
        Output(0, 0, (0,)),
        Output(0, native.OGG_OPUS, (0,), opus_channels=3),
        Output(0, native.OGG_OPUS, (16,)),
        Output(0, native.PCAP, (0,)),
    ],
)
def test_files_that_cannot_be_are_refused(files: Files, output: Output) -> None:
    with pytest.raises(OSError):
        files.open(output)
    assert files.open() and files.writer.counts().writes == 0


@pytest.mark.parametrize("rate_hz", [0, 384_001])
def test_rates_that_cannot_be_are_refused(files: Files, rate_hz: int) -> None:
    with pytest.raises(OSError):
        files.open(rate_hz=rate_hz)


# ---- Opus ----


def opus_packets(seconds: float, frame_ms: int = 20) -> list[bytes]:
    """A tone, as an Opus encoder makes packets of it."""
    codec = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.format, codec.layout = 48000, "s16", "mono"  # type: ignore[attr-defined]
    codec.options = {"frame_duration": str(frame_ms), "b": "24000"}
    samples = (8000 * np.sin(np.arange(int(seconds * 48000)) * 2 * np.pi * 440 / 48000)).astype(np.int16)
    packets = []
    size = 48 * frame_ms
    for begin in range(0, len(samples) - size + 1, size):
        frame = av.AudioFrame.from_ndarray(samples[None, begin : begin + size], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48000, begin
        packets += [bytes(packet) for packet in codec.encode(frame)]  # type: ignore[attr-defined]
    return packets


PACKETS = opus_packets(3.0)


def pages_of(content: bytes) -> list[tuple[int, int, int, list[bytes]]]:
    """Flags, granule, sequence and packets of each page, which must be whole and have a true checksum."""
    found, at = [], 0
    while at < len(content):
        assert content[at : at + 5] == b"OggS\0"
        flags, granule, _, sequence, told, count = struct.unpack("<BqIIIB", content[at + 5 : at + 27])
        lacing = content[at + 27 : at + 27 + count]
        end = at + 27 + count + sum(lacing)
        crc = 0
        for byte in content[at : at + 22] + bytes(4) + content[at + 26 : end]:
            crc ^= byte << 24
            for _ in range(8):
                crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
        assert crc == told
        packets, body = [b""], at + 27 + count
        for size in lacing:
            packets[-1] += content[body : body + size]
            body += size
            if size < 255:
                packets.append(b"")
        assert packets.pop() == b""  # no packet goes on in the next page
        found.append((flags, granule, sequence, packets))
        at = end
    return found


def played(path: Path) -> Samples:
    """What ffmpeg plays of a file, at 48 kHz. Its decoder is its own, and needs half a second to agree with libopus to the bit."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=48000)
        pieces = [piece.to_ndarray()[0] for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


def test_opus_packets_are_kept_as_they_came_and_both_players_play_them(files: Files) -> None:
    recording = files.open(files.file("a.opus", native.OGG_OPUS, [2], serial=77), rate_hz=48000)
    for k in range(0, len(PACKETS), 10):
        assert files.writer.append_packets(recording, 2, k * 960, [(960, packet) for packet in PACKETS[k : k + 10]])
        files.rounds()
        assert soundfile.info(files.folder / "a.opus").samplerate == 48000 if k else True
    [result] = files.finish(recording)
    content = (files.folder / "a.opus").read_bytes()
    pages = pages_of(content)
    assert content[14:18] == struct.pack("<I", 77)
    assert [page[2] for page in pages] == list(range(len(pages)))
    assert [page[0] for page in pages] == [2] + [0] * (len(pages) - 2) + [4]
    assert pages[0][3] == [b"OpusHead\1\1" + struct.pack("<HIhB", 0, 48000, 0, 0)] and pages[1][3][0].startswith(b"OpusTags")
    assert [packet for page in pages[2:] for packet in page[3]] == PACKETS
    assert [page[1] for page in pages[2:]] == [9600 * (k + 1) for k in range(len(pages) - 2)]
    assert (result.frames, result.bytes) == (960 * len(PACKETS), len(content))
    other = soundfile.read(files.folder / "a.opus", dtype="int16")[0]
    mine = played(files.folder / "a.opus")
    assert len(other) == len(mine) == 960 * len(PACKETS)
    assert np.abs(mine[38_400:].astype(int) - other[38_400:]).max() < 10
    assert np.abs(other[4800:]).max() > 6000


@pytest.mark.parametrize("gap", [120, 240, 1080, 960 * 7 + 600, 48000 * 61 + 120])
def test_missing_opus_packets_are_silence_of_their_length(files: Files, gap: int) -> None:
    recording = files.open(files.file("a.opus", native.OGG_OPUS, [0]), rate_hz=48000)
    files.writer.append_packets(recording, 0, 0, [(960, packet) for packet in PACKETS[:10]])
    files.writer.append_packets(recording, 0, 9600 + gap, [(960, packet) for packet in PACKETS[10:20]])
    [result] = files.finish(recording)
    assert result.frames == 19_200 + gap
    pages = pages_of((files.folder / "a.opus").read_bytes())
    assert pages[-1][1] == 19_200 + gap
    assert all(b[1] - a[1] <= 48000 for a, b in itertools.pairwise(pages))
    sound = played(files.folder / "a.opus")
    assert len(sound) == 19_200 + gap
    assert len(soundfile.read(files.folder / "a.opus")[0]) == 19_200 + gap
    if gap > 9600:  # behind the decoder's own way from one sound to the other
        assert np.abs(sound[9600 + 2400 : 9600 + gap - 480]).max() < 5


def test_less_than_a_packet_is_made_good_by_the_next_gap(files: Files) -> None:
    recording, position = files.open(files.file("a.opus", native.OGG_OPUS, [0]), rate_hz=48000), 0
    for k in range(30):
        files.writer.append_packets(recording, 0, position, [(960, PACKETS[k])])
        position += 960 + 50
        files.rounds()
    assert abs(pages_of((files.folder / "a.opus").read_bytes())[-1][1] - (position - 50)) < 120
    [result] = files.finish(recording)
    assert abs(result.frames - (position - 50)) < 120


def test_opus_packets_for_a_time_that_is_written_are_dropped(files: Files) -> None:
    recording = files.open(files.file("a.opus", native.OGG_OPUS, [0]), rate_hz=48000)
    files.writer.append_packets(recording, 0, 0, [(960, packet) for packet in PACKETS[:10]])
    files.writer.append_packets(recording, 0, 4800, [(960, packet) for packet in PACKETS[5:15]])
    [result] = files.finish(recording)
    assert (result.frames, result.late) == (14_400, 4800)
    assert [packet for page in pages_of((files.folder / "a.opus").read_bytes())[2:] for packet in page[3]] == PACKETS[:15]


def test_an_opus_leg_ends_with_the_others_to_the_sample(files: Files) -> None:
    recording = files.open(files.file("a.opus", native.OGG_OPUS, [0]), files.file("p.wav", native.WAV_PCM16, [1]), rate_hz=16000)
    files.writer.append_packets(recording, 0, 0, [(960, packet) for packet in PACKETS[:10]])
    files.writer.append(recording, 1, 0, noise(3333))
    opus, pcm = files.finish(recording)
    assert (pcm.frames, opus.frames) == (3333, 9999)
    assert len(played(files.folder / "a.opus")) == 9999
    assert pages_of((files.folder / "a.opus").read_bytes())[-1][0] == 4


def test_an_opus_leg_without_a_packet_is_a_true_file(files: Files) -> None:
    recording = files.open(files.file("a.opus", native.OGG_OPUS, [0], opus_channels=2))
    files.finish(recording)
    pages = pages_of((files.folder / "a.opus").read_bytes())
    assert [page[0] for page in pages] == [2, 0, 4]
    assert len(played(files.folder / "a.opus")) == 120


def test_large_and_many_small_packets_make_pages_that_are_whole(files: Files) -> None:
    recording, random = files.open(files.file("a.opus", native.OGG_OPUS, [0]), rate_hz=48000), Random(3)
    given, position = [], 0
    for k in range(200):
        sizes = [random.choice([254, 255, 256, 510, 1275])] * 2 if k % 2 else [1] * 500
        packets = [(120, b"\xe0" + random.randbytes(size - 1)) for size in sizes]
        assert files.writer.append_packets(recording, 0, position, packets)
        given += [packet for _, packet in packets]
        position += 120 * len(packets)
    files.finish(recording)
    assert [packet for page in pages_of((files.folder / "a.opus").read_bytes())[2:] for packet in page[3]] == given


def test_opus_blocks_that_cannot_be_are_counted(files: Files) -> None:
    recording = files.open(files.file("a.opus", native.OGG_OPUS, [0]))
    for samples, packet in ((0, b"abc"), (119, b"abc"), (5761, b"abc"), (960, b"")):
        files.writer.append_packets(recording, 0, 0, [(960, b"\xf8"), (samples, packet)])
    files.writer.append(recording, 0, 0, b"\xff\xff\0\0\0\0abc", kind=native.OPUS)
    files.writer.append(recording, 0, 0, b"\1\0\0", kind=native.OPUS)
    files.drain()
    assert files.writer.counts().malformed == 6
    assert not files.writer.append_packets(recording, 0, 0, [(960, bytes(4027))])
    assert files.finish(recording)[0].frames == 120


# ---- captures ----


def test_a_capture_is_read_alike_by_the_engine(files: Files) -> None:
    recording = files.open(files.file("a.pcap", native.PCAP))
    frames = [(1_700_000_000 * SECOND + 7 * k, Random(k).randbytes(60 + k)) for k in range(100)]
    for k in range(0, 100, 20):
        assert files.writer.append_packets(recording, 0, 0, frames[k : k + 20], kind=native.PACKETS)
    [result] = files.finish(recording)
    content = (files.folder / "a.pcap").read_bytes()
    assert struct.unpack("<IHHiIII", content[:24]) == (0xA1B23C4D, 2, 4, 0, 0, 65535, 1)
    at, found = 24, []
    while at < len(content):
        seconds, nanoseconds, kept, wire = struct.unpack("<IIII", content[at : at + 16])
        assert kept == wire
        found.append((seconds * SECOND + nanoseconds, content[at + 16 : at + 16 + kept]))
        at += 16 + kept
    assert found == frames and (result.frames, result.bytes) == (100, len(content))


# ---- a disk that refuses, and one that is slow ----


def test_a_full_disk_is_told_once_the_others_go_on_and_it_is_tried_each_second(files: Files, tmp_path: Path) -> None:
    recording, samples = files.open(files.file("a.wav", native.WAV_PCM16, [0])), noise(80_000)
    files.writer.append(recording, 0, 0, samples[:8000])
    files.rounds()
    files.disk.be(room_bytes=1000)
    for begin in range(8000, 48_000, 160):  # 5 s
        files.writer.append(recording, 0, begin, samples[begin : begin + 160])
        files.rounds()
        assert np.array_equal(files.pcm("a.wav")[:8000, 0], samples[:8000])
    told = files.writer.events()
    assert [(event.kind, event.error) for event in told] == [(native.FAILED, errno.ENOSPC)]
    files.disk.be()
    for begin in range(48_000, 80_000, 160):
        files.writer.append(recording, 0, begin, samples[begin : begin + 160])
        files.rounds()
    [told] = files.writer.events()
    assert told.kind == native.RESUMED
    [result] = files.finish(recording)
    pcm = files.pcm("a.wav")[:, 0]
    assert result.frames == len(pcm) == 80_000
    assert (result.lost, result.failures, result.error) == (told.value, 1, errno.ENOSPC)
    first = 8000 + 160 * 2  # 1,000 bytes: twice samples and a header, and a part of the third samples, of which no header tells
    resumed = first + result.lost
    assert 48_000 <= resumed < 56_160
    assert np.array_equal(pcm[:first], samples[:first]) and np.array_equal(pcm[resumed:], samples[resumed:])
    assert not pcm[first + 160 : resumed].any()


@pytest.mark.parametrize("room", range(0, 700, 13))
def test_whatever_write_fails_first_what_was_written_plays(tmp_path: Path, room: int) -> None:
    files = Files(tmp_path)
    files.disk.be(room_bytes=room)
    outputs = [files.file("a.wav", native.WAV_PCM16, [0]), files.file("u.wav", native.WAV_ULAW, [0]), files.file("a.opus", native.OGG_OPUS, [0])]
    recording = files.open(*outputs, files.file("a.pcap", native.PCAP), rate_hz=48000)
    for k in range(4):
        files.writer.append(recording, 0, 20 * k, np.full(20, 7, np.int16))
        files.writer.append(recording, 0, 20 * k, b"\x07" * 20, kind=native.PAYLOAD)
        files.writer.append_packets(recording, 0, 960 * k, [(960, b"\xf8\xff\xfe")])
        files.writer.append_packets(recording, 0, 0, [(k, bytes(60))], kind=native.PACKETS)
        files.rounds()
    results = files.finish(recording)
    files.close()
    for name, result in zip(("a.wav", "u.wav"), results, strict=False):
        assert os.path.getsize(tmp_path / name) == result.bytes
        assert result.failures or result.frames == 3840
        if result.bytes:
            with WavFile(tmp_path / name) as file:
                assert not file.layout.truncated and file.layout.frames == result.frames
                assert set(file.read(0, 80)[:, 0].tolist()) <= ({7} if name == "a.wav" else {-24956, 0})
    opus = (tmp_path / "a.opus").read_bytes()
    assert len(opus) == results[2].bytes
    pages_of(opus)  # all of them whole
    pcap = (tmp_path / "a.pcap").read_bytes()
    assert len(pcap) == results[3].bytes in (0, *(24 + 76 * k for k in range(5)))


def test_a_file_that_could_not_be_begun_begins_when_it_can(files: Files) -> None:
    files.disk.be(room_bytes=0, error=errno.EIO)
    outputs = [files.file("a.wav", native.WAV_PCM16, [0]), files.file("a.opus", native.OGG_OPUS, [0]), files.file("a.pcap", native.PCAP)]
    recording = files.open(*outputs, rate_hz=48000)
    files.rounds()
    assert [event.error for event in files.writer.events()] == [errno.EIO] * 3
    files.disk.be()
    files.now_ns += SECOND
    files.writer.append(recording, 0, 0, noise(10))
    files.writer.append_packets(recording, 0, 0, [(960, PACKETS[0])])
    files.writer.append_packets(recording, 0, 0, [(5, b"frame")], kind=native.PACKETS)
    files.rounds()
    assert [event.kind for event in files.writer.events()] == [native.RESUMED] * 3
    results = files.finish(recording)
    assert [result.frames for result in results] == [960, 960, 1]
    assert np.array_equal(files.pcm("a.wav")[:10, 0], noise(10)) and len(played(files.folder / "a.opus")) == 960


def test_a_real_disk_without_room_says_so(files: Files) -> None:
    full = os.open("/dev/full", os.O_RDWR)
    recording = files.open(Output(full, native.WAV_PCM16, (0,)), files.file("b.wav", native.WAV_PCM16, [0]))
    files.writer.append(recording, 0, 0, noise(100))
    bad, good = files.finish(recording)
    os.close(full)
    assert (bad.error, bad.failures) == (errno.ENOSPC, 1) and (good.error, good.frames) == (0, 100)


def test_events_that_nobody_reads_do_not_hold_the_writer_up(files: Files) -> None:
    recording = files.open(files.file("a.wav", native.WAV_PCM16, [0]))
    for k in range(400):
        files.disk.be(room_bytes=0 if k % 2 == 0 else -1)
        files.writer.append(recording, 0, 10 * k, noise(10))
        files.rounds(step_ns=2 * SECOND)
    files.disk.be()
    assert files.writer.end(recording)
    files.drain()
    assert files.writer.events()[-1].kind == native.FINISHED


def test_without_a_block_the_producer_is_refused_which_is_counted_and_told(tmp_path: Path) -> None:
    files = Files(tmp_path, blocks=3)
    recording = files.open(files.file("a.wav", native.WAV_PCM16, [0]))
    assert files.writer.append(recording, 0, 0, noise(10 * 2016)) == 3 * 2016
    assert files.writer.waiting == 3
    assert not files.writer.append_packets(recording, 0, 0, [(960, b"x")]) and not files.writer.end(recording)
    files.now_ns = SECOND
    files.rounds()
    assert files.writer.events() == [Event(native.BEHIND, 0, 0, 0, 3)]
    assert files.writer.counts().refused == 3 and files.writer.waiting == 0
    assert files.writer.append(recording, 0, 9 * 2016, noise(2016)) == 2016
    [result] = files.finish(recording)
    pcm = files.pcm("a.wav")[:, 0]
    assert result.frames == 10 * 2016 and not pcm[3 * 2016 : 9 * 2016].any()
    files.close()


def test_a_slow_disk_never_holds_the_producer_up(tmp_path: Path) -> None:
    """The writer's thread is inside a write that returns when the test says so; the producer is refused meanwhile, at once."""
    files = Files(tmp_path, blocks=8)
    gate, opener = os.pipe()
    files.disk.be(gate=gate)
    recording = files.open(files.file("a.wav", native.WAV_PCM16, [0]))
    files.writer.start()
    assert [files.writer.append(recording, 0, 100 * k, noise(100, k)) for k in range(50)] == [100] * 8 + [0] * 42
    assert files.writer.counts().refused == 42
    os.close(opener)  # from now on every write goes through
    files.writer.close(recording)
    wait_for(files.writer, native.FINISHED)
    assert np.array_equal(files.pcm("a.wav")[:, 0], np.concatenate([noise(100, k) for k in range(8)]))
    files.writer.stop()
    os.close(gate)
    files.close()


# ---- the thread ----


def wait_for(writer: Writer, kind: int) -> Event:
    while True:
        select.select([writer.event_fd], [], [], 30)
        for event in writer.events():
            if event.kind == kind:
                return event


def test_the_thread_writes_what_is_given_and_wakes_for_it(tmp_path: Path) -> None:
    files = Files(tmp_path, blocks=4096)
    files.writer.start()
    with pytest.raises(RuntimeError):
        files.writer.start()
    with pytest.raises(RuntimeError):
        files.writer.round(0)
    for turn in range(3):
        recording = files.open(files.file(f"{turn}a.wav", native.WAV_PCM16, [0]), files.file(f"{turn}m.wav", native.WAV_PCM16, [0, 1]))
        for k in range(200):
            files.writer.append(recording, 0, 160 * k, noise(160, k))
            files.writer.append(recording, 1, 160 * k, noise(160, k + 1000))
        files.writer.end(recording)
        assert wait_for(files.writer, native.FINISHED).recording == recording
        merged = files.pcm(f"{turn}m.wav")
        for k in range(200):
            assert np.array_equal(merged[160 * k : 160 * (k + 1), 0], noise(160, k))
            assert np.array_equal(merged[160 * k : 160 * (k + 1), 1], noise(160, k + 1000))
        files.writer.release(recording)
    files.writer.stop()
    files.writer.stop()
    files.close()


def test_stopping_writes_all_that_was_given(tmp_path: Path) -> None:
    files = Files(tmp_path, blocks=4096)
    files.writer.start()
    recording = files.open(files.file("a.wav", native.WAV_PCM16, [0]))
    for k in range(3000):
        files.writer.append(recording, 0, 100 * k, noise(100, k))
    files.writer.stop()
    assert len(files.pcm("a.wav")) == 300_000
    files.close()


def test_a_writer_that_is_let_go_ends_its_thread(tmp_path: Path) -> None:
    gc.collect()  # what other tests left has threads and descriptors too
    before, of_python = len(os.listdir("/proc/self/task")), threading.active_count()
    fds = len(os.listdir("/proc/self/fd"))
    writer = Writer(16, 1)
    writer.start()
    assert len(os.listdir("/proc/self/task")) == before + 1
    del writer
    assert len(os.listdir("/proc/self/task")) == before and len(os.listdir("/proc/self/fd")) == fds
    assert threading.active_count() == of_python


@pytest.mark.parametrize(("blocks", "recordings"), [(0, 1), (1, 0), (1 << 25, 1), (1, 1 << 17)])
def test_sizes_that_cannot_be_are_refused(blocks: int, recordings: int) -> None:
    with pytest.raises(ValueError):
        Writer(blocks, recordings)
