"""Opus through libopus: rates, frames, losses, settings; and other decoders hear the same."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import opuslib
import pytest

from engine._native import codec as native
from engine.codecs import CodecUnavailable, codec_of, opus
from engine.codecs.opus import CODEC
from tests.data import voices

Pcm = npt.NDArray[np.int16]
RATE = 48000
SPEECH = voices.speech(np.random.default_rng(67), 4, RATE)
FRAME = RATE // 50


def encoded(pcm: Pcm, rate_hz: int = RATE, samples: int = 0, **settings: Any) -> list[bytes]:
    samples = samples or rate_hz // 50
    encoder = CODEC.encoder(rate_hz, pcm.shape[1] if pcm.ndim > 1 else 1, **settings)
    return [encoder.encode(pcm[k : k + samples]) for k in range(0, len(pcm) - samples + 1, samples)]


def snr_db(wanted: Pcm, heard: Pcm) -> float:
    error = heard.astype(np.float64) - wanted.astype(np.float64)
    return float(10 * np.log10(np.mean(wanted.astype(np.float64) ** 2) / max(float(np.mean(error**2)), 1e-9)))


def ffmpeg_decoded(payloads: list[bytes], name: str) -> Pcm:
    context: Any = av.AudioCodecContext.create(name, "r")
    context.sample_rate, context.layout = RATE, "mono"
    frames = [frame for payload in payloads for frame in context.decode(av.Packet(payload))]
    heard = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])
    return heard if heard.dtype == np.int16 else voices.pcm(heard.astype(np.float64) * 32768)


def aligned(wanted: Pcm, heard: Pcm) -> float:
    """SNR at the delay of up to 30 ms that fits best."""
    return max(snr_db(wanted[: len(wanted) - delay][: len(heard) - delay], heard[delay : len(wanted)]) for delay in range(0, 1440, 2))


def test_it_decodes_bit_by_bit_as_opuslib_does() -> None:
    payloads = encoded(SPEECH)
    decoder, theirs = CODEC.decoder(), opuslib.Decoder(RATE, 1)
    for payload in payloads:
        assert decoder.decode(payload).tobytes() == theirs.decode(payload, FRAME)


def test_it_encodes_bit_by_bit_as_opuslib_does() -> None:
    theirs = opuslib.Encoder(RATE, 1, opuslib.APPLICATION_VOIP)
    theirs.bitrate, theirs.complexity, theirs.signal = 24000, 5, opuslib.SIGNAL_VOICE
    for k, payload in enumerate(encoded(SPEECH)):
        assert payload == theirs.encode(SPEECH[k * FRAME : (k + 1) * FRAME].tobytes(), FRAME)


@pytest.mark.parametrize(("name", "delay", "least_db"), [("libopus", 0, 30), ("opus", 2, 25)])
def test_ffmpeg_hears_the_same(name: str, delay: int, least_db: float) -> None:
    """ffmpeg's binding of another libopus; and its own decoder, whose resampler from 16 kHz is about two samples slower."""
    payloads = encoded(SPEECH)
    decoder = CODEC.decoder()
    ours = np.concatenate([decoder.decode(payload) for payload in payloads])
    theirs = ffmpeg_decoded(payloads, name)
    assert len(ours) == len(theirs) == len(SPEECH)
    assert snr_db(ours[FRAME:-FRAME], theirs[FRAME + delay : delay - FRAME]) > least_db


@pytest.mark.parametrize("rate_hz", [8000, 12000, 16000, 24000, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_rate_hears_what_any_rate_sent(rate_hz: int, channels: int) -> None:
    payloads, decoder = encoded(SPEECH), CODEC.decoder(rate_hz, channels)
    heard = [decoder.decode(payload) for payload in payloads]
    assert {block.shape for block in heard} == {(rate_hz // 50,) if channels == 1 else (rate_hz // 50, channels)}
    one = np.concatenate(heard).reshape(-1, channels)
    assert np.array_equal(one[:, 0], one[:, -1])
    assert abs(voices.dbov(one[:, 0]) - voices.dbov(SPEECH)) < 3


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_a_signal_survives(rate_hz: int) -> None:
    pcm = voices.speech(np.random.default_rng(3), 2, rate_hz)
    decoder = CODEC.decoder(rate_hz)
    heard = np.concatenate([decoder.decode(payload) for payload in encoded(pcm, rate_hz, bit_rate=40000)])
    assert aligned(pcm, heard) > 8


def test_two_channels_stay_apart() -> None:
    both = np.stack([SPEECH, np.zeros_like(SPEECH)], 1)
    decoder = CODEC.decoder(RATE, 2)
    heard = np.concatenate([decoder.decode(payload) for payload in encoded(both, bit_rate=64000)])
    assert voices.dbov(heard[:, 0]) - voices.dbov(heard[:, 1]) > 20


@pytest.mark.parametrize("half_ms", [5, 10, 20, 40, 80, 120, 160, 200, 240])
def test_frames_of_2_5_to_120_ms(half_ms: int) -> None:
    samples = RATE * half_ms // 2000
    payloads, decoder = encoded(SPEECH, samples=samples), CODEC.decoder()
    assert {decoder.samples(payload) for payload in payloads} == {samples}
    assert {len(decoder.decode(payload)) for payload in payloads} == {samples}


@pytest.mark.parametrize("samples", [0, 1, 119, 121, 959, 961, 5761, 6000])
def test_what_is_no_frame_is_refused(samples: int) -> None:
    with pytest.raises(ValueError, match="no frame of opus"):
        CODEC.encoder().encode(np.zeros(samples, np.int16))


def test_a_packet_of_120_ms_needs_room_for_all_of_it() -> None:
    payload = encoded(SPEECH, samples=5760)[0]
    decoder = CODEC.decoder()
    for room in (0, 1, 960, 5759):
        target = np.full(room + 8, 77, np.int16)
        assert decoder.decode_into(payload, target[:room]) == native.TOO_SMALL
        assert (target == 77).all()
    assert decoder.decode_into(payload, np.empty(native.FRAME_SAMPLES_MAX, np.int16)) == 5760


def test_more_frames_than_120_ms_are_refused() -> None:
    decoder = CODEC.decoder()
    for toc, count in ((0x03, 13), (0x1B, 3), (0x83, 49), (0x03, 0), (0x03, 63)):  # code 3: a count of frames of 10, 60 and 2.5 ms
        payload = bytes([toc, count]) + bytes(count * 4)
        assert decoder.samples(payload) == native.MALFORMED
        assert decoder.decode_into(payload, np.empty(20000, np.int16)) == native.MALFORMED


def test_a_lost_frame_comes_back_from_the_next_one() -> None:
    """In-band FEC (RFC 6716 2.1.7): with the packet behind the hole, the lost 20 ms are much nearer to what was sent."""
    pcm = voices.speech(np.random.default_rng(11), 4, 16000)
    payloads = encoded(pcm, 16000, bit_rate=32000, has_fec=True, loss_percent=20)
    whole, by_next, alone = (CODEC.decoder(16000) for _ in range(3))
    kept, with_fec, without = [], [], []
    for k, payload in enumerate(payloads[:-1]):
        frame = whole.decode(payload)
        if k % 5 == 3:
            kept.append(frame)
            one, other = by_next.conceal(320, payloads[k + 1]), alone.conceal(320)
            assert one is not None and other is not None and len(one) == len(other) == 320
            with_fec.append(one)
            without.append(other)
        else:
            by_next.decode(payload)
            alone.decode(payload)
    sent = np.concatenate(kept)
    assert snr_db(sent, np.concatenate(with_fec)) > snr_db(sent, np.concatenate(without)) + 3


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
@pytest.mark.parametrize("half_ms", [5, 20, 40, 120, 200, 240])
def test_a_hole_is_filled_to_the_sample(rate_hz: int, half_ms: int) -> None:
    decoder, samples = CODEC.decoder(rate_hz), rate_hz * half_ms // 2000
    payloads = encoded(SPEECH)
    for payload in payloads[20:30]:
        decoder.decode(payload)
    for following in (None, payloads[31], b"", b"\xff" * 9, payloads[31][:1]):
        made = decoder.conceal(samples, following)
        assert made is not None and len(made) == samples


@pytest.mark.parametrize("samples", [0, 1, 119, 961, 5761, 100_000])
def test_a_hole_that_is_no_frame_is_left_to_others(samples: int) -> None:
    assert CODEC.decoder().conceal(samples) is None


def test_settings_are_what_the_encoder_does() -> None:
    low, high = (sum(map(len, encoded(SPEECH, bit_rate=rate))) * 8 / 4 for rate in (10000, 50000))
    assert 7000 < low < 13000 < 35000 < high < 65000
    silence = np.zeros(RATE * 2, np.int16)
    assert min(map(len, encoded(silence, has_dtx=True)[50:])) <= 2  # RFC 7587 3.1.3
    assert min(map(len, encoded(silence)[50:])) > 2
    assert encoded(SPEECH, complexity=0) != encoded(SPEECH, complexity=5) == encoded(SPEECH)


@pytest.mark.parametrize(
    "settings", [{"bit_rate": 5999}, {"bit_rate": 510_001}, {"complexity": 11}, {"loss_percent": 101}], ids=lambda settings: next(iter(settings))
)
def test_settings_that_it_does_not_have_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"opus (cannot be set|has no)"):
        CODEC.encoder(**settings)


@pytest.mark.parametrize(("rate_hz", "channels"), [(44100, 1), (11025, 1), (96000, 1), (48000, 3), (48000, 0)])
def test_rates_and_channels_that_it_does_not_have_are_refused(rate_hz: int, channels: int) -> None:
    for make in (CODEC.decoder, CODEC.encoder):
        with pytest.raises(ValueError, match="opus has no"):
            make(rate_hz, channels)


def test_addresses_are_those_of_the_library_that_opuslib_has_loaded() -> None:
    assert len(opus.addresses()) == 8 and all(opus.addresses())
    with pytest.raises(ValueError, match="8 functions, not 2"):
        native.bind_opus((1, 2))
    with pytest.raises(ValueError, match="missing"):
        native.bind_opus((0,) * 8)


WITHOUT = """
import ctypes.util, sys
ctypes.util.find_library = lambda name: None
{more}
from engine.codecs import CodecUnavailable, codec_of
print(len(codec_of("PCMU").encoder().encode(__import__("numpy").zeros(160, "int16"))))
for make in (codec_of("opus").decoder, codec_of("opus").encoder):
    try:
        make()
    except CodecUnavailable as error:
        print(error.code, error)
"""


@pytest.mark.parametrize(("more", "told"), [("", "libopus0"), ("sys.modules['opuslib'] = None", "pip install opuslib")])
def test_without_the_library_only_opus_is_missing(more: str, told: str) -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT.format(more=more)], capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert lines[0] == "160"
    assert len(lines) == 3 and all(line.startswith("codec.unavailable Opus needs") and told in line for line in lines[1:])


def test_an_older_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opus, "library", lambda: object())
    with pytest.raises(CodecUnavailable, match="too old"):
        opus.addresses.__wrapped__()


def test_a_kernel_that_nobody_bound_says_so() -> None:
    code = "from engine._native.codec import Decoder\ntry:\n    Decoder('opus')\nexcept ValueError as error:\n    print(error)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "opus has no PCM" in told


def test_the_registry_has_it() -> None:
    assert codec_of("Opus") is CODEC
