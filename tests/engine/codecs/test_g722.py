"""G.722: bit by bit against the plain-Python twin and against ffmpeg's, and what it does to a signal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt
import pytest

from engine._native import codec as native
from engine.codecs import codec_of
from tests.data import voices
from tests.oracle.g722_twin import Coder

Pcm = npt.NDArray[np.int16]
RATE = 16000
DELAY = 22  # samples of both filters together


def blocks(whole: Pcm, size: int = 320) -> Iterator[Pcm]:
    return (whole[k : k + size] for k in range(0, len(whole), size))


def ours(pcm: Pcm) -> bytes:
    encoder = codec_of("G722").encoder()
    return b"".join(encoder.encode(block) for block in blocks(pcm))


def decoded(octets: bytes, size: int = 160) -> Pcm:
    decoder = codec_of("G722").decoder()
    return np.concatenate([decoder.decode(octets[k : k + size]) for k in range(0, len(octets), size)])


def ffmpeg(mode: Literal["r", "w"]) -> Any:
    context: Any = av.AudioCodecContext.create("g722", mode)
    context.sample_rate, context.layout, context.format = RATE, "mono", "s16"
    return context


def ffmpeg_encoded(pcm: Pcm) -> bytes:
    context, result = ffmpeg("w"), b""
    for number, block in enumerate(blocks(pcm)):
        frame = av.AudioFrame.from_ndarray(block[None, :], "s16", "mono")
        frame.sample_rate, frame.pts = RATE, 320 * number
        result += b"".join(bytes(packet) for packet in context.encode(frame))
    return result + b"".join(bytes(packet) for packet in context.encode(None))


def ffmpeg_decoded(octets: bytes) -> Pcm:
    context = ffmpeg("r")
    frames = [frame for k in range(0, len(octets), 160) for frame in context.decode(av.Packet(octets[k : k + 160]))]
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])


def signals() -> dict[str, Pcm]:
    random = np.random.default_rng(722)
    sweep = np.arange(2 * RATE) / RATE
    return {
        "speech": voices.speech(random, 4, RATE),
        "quiet speech": voices.speech(random, 2, RATE, level_dbov=-60),
        "music": voices.music(random, 2, RATE),
        "noise": voices.noise(random, 2 * RATE, -12),
        "sweep": voices.pcm(12000 * np.sin(2 * np.pi * (50 + 1900 * sweep) * sweep)),
        "silence": np.zeros(RATE, np.int16),
        "steps": np.repeat(random.integers(-16000, 16000, 400), 80).astype(np.int16),
    }


SIGNALS = signals()
LOUD = {
    "full noise": np.random.default_rng(1).integers(-32768, 32768, 3200).astype(np.int16),
    "full square": np.where(np.arange(3200) // 13 % 2, 32767, -32768).astype(np.int16),
}


@pytest.mark.parametrize("seed", range(3))
def test_any_octets_decode_as_ffmpeg_decodes_them(seed: int) -> None:
    octets = np.random.default_rng(seed).bytes(160 * 300)
    np.testing.assert_array_equal(decoded(octets), ffmpeg_decoded(octets))


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_encodes_as_ffmpeg_encodes_it(name: str) -> None:
    assert ours(SIGNALS[name]) == ffmpeg_encoded(SIGNALS[name])


@pytest.mark.parametrize("name", [*SIGNALS, *LOUD])
def test_a_signal_encodes_and_decodes_as_the_twin_says(name: str) -> None:
    """Also where the filter overloads: the Recommendation limits the bands to 15 bits there, ffmpeg does not."""
    pcm = (SIGNALS | LOUD)[name][:6400]
    octets = ours(pcm)
    assert octets == Coder().encode(pcm.tolist())
    assert decoded(octets).tolist() == Coder().decode(octets)


@pytest.mark.parametrize("octet", [0x00, 0x04, 0x20, 0x3F, 0x43, 0x60, 0x80, 0xA0, 0xDF, 0xFF])
def test_one_octet_for_ever_decodes_as_the_twin_says(octet: int) -> None:
    """The scales run to their ends, and the predictor to its limits."""
    octets = bytes([octet]) * 2000
    assert decoded(octets).tolist() == Coder().decode(octets)


def test_octets_that_drive_the_zeros_to_their_limits_decode_as_the_twin_says() -> None:
    random = np.random.default_rng(4)
    largest = np.array([0x04, 0x20], np.uint8)  # the widest step up and down
    for length in (1, 2, 3, 5, 8, 13):
        pattern = random.choice(largest, length)
        octets = np.tile(pattern, 1500 // length).tobytes() + random.bytes(500)
        assert decoded(octets).tolist() == Coder().decode(octets)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 80, 159, 160, 161, 240, 1500])
def test_how_a_stream_is_cut_changes_nothing(size: int) -> None:
    octets = np.random.default_rng(9).bytes(3000)
    np.testing.assert_array_equal(decoded(octets, size), decoded(octets, 3000))
    pcm, encoder = SIGNALS["speech"][:6000], codec_of("g722").encoder()
    assert b"".join(encoder.encode(block) for block in blocks(pcm, 2 * size)) == ours(pcm)


@pytest.mark.parametrize(("name", "snr_db"), [("speech", 18), ("music", 18), ("sweep", 18), ("noise", 9)])
def test_a_signal_survives(name: str, snr_db: float) -> None:
    pcm = SIGNALS[name].astype(np.float64)
    heard = decoded(ours(SIGNALS[name])).astype(np.float64)
    error = heard[DELAY:] - pcm[:-DELAY]
    assert 10 * np.log10(np.mean(pcm**2) / np.mean(error**2)) > snr_db
    np.testing.assert_array_equal(heard, ffmpeg_decoded(ours(SIGNALS[name])))


def test_it_has_one_rate_and_one_channel() -> None:
    for arguments in ((8000, 1), (48000, 1), (16000, 2), (16000, 0)):
        with pytest.raises(ValueError, match="G722 has no"):
            codec_of("g722").decoder(*arguments)
        with pytest.raises(ValueError, match="G722 has no"):
            codec_of("g722").encoder(*arguments)
    with pytest.raises(ValueError, match="G722 has no"):
        codec_of("g722").encoder(bit_rate=48000)


def test_an_octet_is_two_samples_and_half_of_one_is_refused() -> None:
    decoder, encoder = codec_of("g722").decoder(), codec_of("g722").encoder()
    assert decoder.samples(bytes(1500)) == 3000
    assert len(encoder.encode(np.zeros(320, np.int16))) == 160
    for odd in (0, 1, 319):
        with pytest.raises(ValueError, match="no frame of G722"):
            encoder.encode(np.zeros(odd, np.int16))
    assert decoder.conceal(320) is None
    assert native.facts("g722") == (8000, 16000, 9, 1, False)
