"""Sounds that tests send, and what of them is left behind a codec: made from seeds, so that every run has the same."""

from __future__ import annotations

import struct
import wave
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import av
import numpy as np
import numpy.typing as npt

from tests.data import capture_builder, voices
from tests.data.rtp_builder import rtp
from tests.oracle import audio_twin

Pcm = npt.NDArray[np.int16]
PTIME_MS: Final = 20
# ITU-T Q.23: rows and columns of the keys.
_ROWS_HZ: Final = (697, 770, 852, 941)
_COLUMNS_HZ: Final = (1209, 1336, 1477, 1633)
_KEYS: Final = "123A456B789C*0#D"


ULAW: Final[Pcm] = np.array([audio_twin.ulaw_decode(code) for code in range(256)], np.int16)
ALAW: Final[Pcm] = np.array([audio_twin.alaw_decode(code) for code in range(256)], np.int16)


def of_ulaw(data: bytes) -> Pcm:
    """What bytes of PCMU sound like (ITU-T G.711)."""
    return ULAW[np.frombuffer(data, np.uint8)]


def of_alaw(data: bytes) -> Pcm:
    """What bytes of PCMA sound like."""
    return ALAW[np.frombuffer(data, np.uint8)]


def ulaw(pcm: Pcm) -> bytes:
    """PCM as bytes of PCMU."""
    return bytes(audio_twin.ulaw_encode(int(sample)) for sample in pcm)


def alaw(pcm: Pcm) -> bytes:
    """PCM as bytes of PCMA."""
    return bytes(audio_twin.alaw_encode(int(sample)) for sample in pcm)


def noise(seconds: float, rate_hz: int = 8000, seed: int = 1) -> Pcm:
    """White noise: no place of it is like another, so that one sample too many or too few shows."""
    return voices.noise(np.random.default_rng(seed), round(seconds * rate_hz), -18.0)


def speech(seconds: float, rate_hz: int = 8000, seed: int = 1) -> Pcm:
    """Something like a talker, with pauses."""
    return voices.speech(np.random.default_rng(seed), seconds, rate_hz, level_dbov=-20.0)


def codes(count: int, seed: int = 1, but: Sequence[int] = ()) -> bytes:
    """Bytes of G.711, each as likely as any other, `but` these."""
    those = np.setdiff1d(np.arange(256, dtype=np.uint8), np.array(but, np.uint8))
    return np.random.default_rng(seed).choice(those, count).tobytes()


def dtmf(digits: str, rate_hz: int = 8000, tone_ms: int = 100, pause_ms: int = 100) -> Pcm:
    """Keys as tones (ITU-T Q.23), with silence behind each."""
    times = np.arange(rate_hz * tone_ms // 1000) / rate_hz
    pause = np.zeros(rate_hz * pause_ms // 1000)
    parts: list[npt.NDArray[np.float64]] = [pause]
    for digit in digits:
        key = _KEYS.index(digit)
        row, column = (6000 * np.sin(2 * np.pi * hz * times) for hz in (_ROWS_HZ[key // 4], _COLUMNS_HZ[key % 4]))
        parts += [row + column, pause]
    return voices.pcm(np.concatenate(parts))


def decoded(codec: str, parts: Iterable[bytes], rate_hz: int) -> Pcm:
    """What payloads sound like by FFmpeg: "g722", or "opus", its own decoder and not libopus."""
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = rate_hz, "mono"
    whole = np.concatenate([frame.to_ndarray().reshape(-1) for part in parts for frame in decoder.decode(av.Packet(part))])
    return whole.astype(np.int16) if codec == "g722" else voices.pcm(whole.astype(np.float64) * 32768)


def coded(codec: str, pcm: Pcm, rate_hz: int, bit_rate: int = 64_000, application: str = "audio") -> list[bytes]:
    """PCM as payloads of 20 ms by FFmpeg: "g722", or "libopus" for "audio" or "voip"."""
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = rate_hz, "mono", "s16", bit_rate
    encoder.options = {"application": application} if codec == "libopus" else {}
    step, parts = rate_hz * PTIME_MS // 1000, []
    for at in range(0, pcm.size - step + 1, step):
        frame = av.AudioFrame.from_ndarray(pcm[at : at + step].reshape(1, -1), "s16", "mono")
        frame.sample_rate, frame.pts = rate_hz, at
        parts += [bytes(packet) for packet in encoder.encode(frame)]
    return parts


def write_wav(path: Path, pcm: Pcm, rate_hz: int) -> Path:
    """A WAV file of 16 bits, one channel."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm.astype("<i2").tobytes())
    return path


def read_wav(path: Path) -> tuple[Pcm, int]:
    """Samples of 16 bits of a file with one channel, and their rate."""
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2), path
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16), file.getframerate()


def read_riff(path: Path) -> dict[str, bytes]:
    """The chunks of a WAV file."""
    data = path.read_bytes()
    assert data[:4] == b"RIFF" and data[8:12] == b"WAVE" and struct.unpack_from("<I", data, 4)[0] == len(data) - 8, path
    chunks, at = {}, 12
    while at < len(data):
        size = struct.unpack_from("<I", data, at + 4)[0]
        chunks[data[at : at + 4].decode()] = data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return chunks


def payloads(data: bytes, size: int = 160) -> list[bytes]:
    """Cut into the payloads of packets."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def packets(
    parts: Iterable[bytes], *, payload_type: int = 0, ssrc: int = 0x5EED0001, sequence: int = 1000, timestamp: int = 70_000, step: int = 160
) -> list[bytes]:
    """RTP packets of payloads, one behind the other; the first has the marker."""
    return [
        rtp(sequence + at, timestamp + at * step, part, payload_type=payload_type, ssrc=ssrc, marker=at == 0) for at, part in enumerate(parts)
    ]


def write_pcap(path: Path, timed: Sequence[tuple[float, bytes]]) -> Path:
    """A capture with RTP packets at their milliseconds, for SIPp to send; it looks at the UDP payloads and times only."""
    frames = [
        (int(1_000_000_000 + at_ms * 1e6), capture_builder.ethernet(capture_builder.ipv4(capture_builder.udp(data, 40_000, 40_002))))
        for at_ms, data in timed
    ]
    path.write_bytes(capture_builder.pcap(frames))
    return path


__all__ = [
    "ALAW", "PTIME_MS", "ULAW", "Pcm", "alaw", "coded", "codes", "decoded", "dtmf", "noise", "of_alaw", "of_ulaw", "packets", "payloads", "read_riff", "read_wav", "speech", "ulaw", "write_pcap", "write_wav",
]  # fmt: skip
