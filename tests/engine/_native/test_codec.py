"""The codecs' door: what every codec promises, whatever it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine._native import codec as native
from engine.codecs import CODECS, Codec
from tests.data import voices
from tests.data.fenced import Fence

Pcm = npt.NDArray[np.int16]
HOSTILE = [b"\0", b"\xff", b"\x7f\xff", bytes(1500), b"\xff" * 1500, np.random.default_rng(1).bytes(1500), np.random.default_rng(2).bytes(161)]
each = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)


def rate_of(codec: Codec) -> int:
    return codec.sample_rates_hz[0] if codec.sample_rates_hz else 16000


def frame_of(codec: Codec, channels: int = 1) -> Any:
    tone = voices.pcm(9000 * np.sin(np.arange(rate_of(codec) // 50) * 0.05))
    return np.repeat(tone[:, None], channels, 1) if channels > 1 else tone


@each
def test_an_empty_payload_is_malformed_and_nothing_is_written(codec: Codec) -> None:
    decoder, target = codec.decoder(clock_rate_hz=rate_of(codec)), np.full(5760, 77, np.int16)
    assert decoder.decode_into(b"", target) == native.MALFORMED
    assert (target == 77).all()
    assert decoder.samples(b"") == native.MALFORMED
    with pytest.raises(ValueError, match=f"0 bytes are no payload of {codec.name}"):
        decoder.decode(b"")


@each
@pytest.mark.parametrize("payload", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_payloads_have_a_status_and_stay_in_their_room(codec: Codec, payload: bytes) -> None:
    for channels in range(1, codec.channels_max + 1):
        decoder = codec.decoder(0, channels, rate_of(codec))
        target = np.full(2 * native.FRAME_SAMPLES_MAX, 77, np.int16)
        told = decoder.decode_into(payload, target)
        assert told in (native.MALFORMED, native.TOO_SMALL) or 0 < told * channels <= len(target)
        if told > 0:
            assert told == decoder.samples(payload)
            assert (target[told * channels :] == 77).all()
        assert decoder.decode(codec.encoder(0, channels, rate_of(codec)).encode(frame_of(codec, channels))).shape[0] == rate_of(codec) // 50


@each
def test_no_read_or_write_leaves_the_payload_or_the_room(codec: Codec) -> None:
    source, target = Fence(), Fence(3)
    for channels in range(1, codec.channels_max + 1):
        payload = codec.encoder(0, channels, rate_of(codec)).encode(frame_of(codec, channels))
        for data in (payload, *(payload[:length] for length in range(1, len(payload), 7)), *HOSTILE):
            for at_begin in (False, True):
                decoder = codec.decoder(0, channels, rate_of(codec))
                samples = decoder.samples(data)
                fenced = source.put(data, at_begin)
                if 0 < samples * channels <= 6000:
                    assert decoder.decode_into(fenced, target.room(samples * channels, at_begin)) in (samples, native.MALFORMED)
                    assert decoder.decode_into(fenced, target.room((samples - 1) * channels, at_begin)) in (native.TOO_SMALL, native.MALFORMED)


@each
def test_encoding_stays_in_its_room(codec: Codec) -> None:
    source, target = Fence(4), Fence(2)
    for channels in range(1, codec.channels_max + 1):
        pcm = frame_of(codec, channels)
        expected = codec.encoder(0, channels, rate_of(codec)).encode(pcm)
        for at_begin in (False, True):
            fenced = source.room(pcm.size, at_begin)
            fenced[:] = pcm.reshape(-1)
            encoder = codec.encoder(0, channels, rate_of(codec))
            view = target.put(bytes(len(expected)), at_begin)
            told = encoder.encode_into(fenced, view)
            assert 0 < told <= len(expected)
            assert told < len(expected) or bytes(view) == expected or codec.name == "opus"  # which fits its frames to the room
            for room in range(0, min(len(expected), 40)):
                told = encoder.encode_into(fenced, target.put(bytes(room), at_begin))
                assert told == native.TOO_SMALL or (codec.name == "opus" and 0 < told <= room)


@each
def test_no_samples_make_no_frame(codec: Codec) -> None:
    encoder = codec.encoder(clock_rate_hz=rate_of(codec))
    assert encoder.encode_into(np.zeros(0, np.int16), bytearray(100)) == native.UNSUPPORTED


@each
def test_misaligned_payloads_and_rooms_decode_the_same(codec: Codec) -> None:
    payload = codec.encoder(clock_rate_hz=rate_of(codec)).encode(frame_of(codec))
    expected = codec.decoder(clock_rate_hz=rate_of(codec)).decode(payload)
    for shift in range(9):
        shifted = memoryview(b"\xee" * shift + payload)[shift:]
        room = np.empty(len(expected) + 16, np.int16)[shift : shift + len(expected)]
        assert codec.decoder(clock_rate_hz=rate_of(codec)).decode_into(shifted, room) == len(expected)
        np.testing.assert_array_equal(room, expected)


@each
def test_states_are_apart(codec: Codec) -> None:
    first, second = (codec.decoder(clock_rate_hz=rate_of(codec)) for _ in range(2))
    encoder = codec.encoder(clock_rate_hz=rate_of(codec))
    payloads = [encoder.encode(voices.noise(np.random.default_rng(k), rate_of(codec) // 50, -20)) for k in range(10)]
    alone = [first.decode(payload) for payload in payloads]
    third = codec.decoder(clock_rate_hz=rate_of(codec))
    for payload, expected in zip(payloads, alone, strict=True):
        third.decode(payloads[3])
        np.testing.assert_array_equal(second.decode(payload), expected)


@each
def test_concealment_is_exact_or_left_to_others(codec: Codec) -> None:
    decoder = codec.decoder(clock_rate_hz=rate_of(codec))
    made = decoder.conceal(rate_of(codec) // 50)
    assert made is None or len(made) == rate_of(codec) // 50
    assert decoder.conceal(0) is None


@each
def test_channels_that_it_does_not_have_are_refused(codec: Codec) -> None:
    for channels in (0, codec.channels_max + 1, 255, 256, -1):
        for make in (codec.decoder, codec.encoder):
            with pytest.raises(ValueError, match=rf"{codec.name} has no"):
                make(0, channels, rate_of(codec))


def test_arrays_of_another_type_are_refused() -> None:
    decoder, encoder = native.Decoder("PCMU"), native.Encoder("PCMU")
    with pytest.raises(ValueError, match="Buffer dtype mismatch"):
        decoder.decode_into(b"\0", np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="Buffer dtype mismatch"):
        encoder.encode(np.zeros(160, np.int32))


def test_what_is_set_of_opus_is_refused_by_others() -> None:
    with pytest.raises(ValueError, match="PCMU cannot be set"):
        native.Encoder("PCMU").set_opus(24000, 5, False, 0, False)


def test_objects_that_were_refused_are_freed() -> None:
    for _ in range(1000):
        with pytest.raises(ValueError, match="G722 has no"):
            native.Decoder("G722", 8000)
