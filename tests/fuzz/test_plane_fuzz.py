"""The media plane against whatever comes: seeded datagrams and commands in any order. It must count, drop and go on, and give everything back at the end."""

from __future__ import annotations

import contextlib
import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest

from engine._native import writer as files
from engine._native.plane import NO_STREAM, bind_opus
from engine.codecs import opus
from engine.media.settings import Format, StreamSettings
from engine.srtp import SrtpContext, SrtpKey, functions_address

_spec = importlib.util.spec_from_file_location("media_rig", Path(__file__).parents[1] / "engine" / "media" / "rig.py")
assert _spec is not None and _spec.loader is not None
rig = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rig)

FORMATS = (
    (rig.PCMU, rig.EVENT, rig.NOISE),
    (rig.PCMA, rig.PCMU),
    (Format(payload_type=9, codec="G722", sample_rate_hz=16000), rig.PCMU, rig.EVENT),
    (Format(payload_type=107, codec="opus", clock_rate_hz=48000, sample_rate_hz=48000, channels=2), Format(payload_type=102, kind="event", clock_rate_hz=48000)),
    (Format(payload_type=96, codec="L16", clock_rate_hz=16000, sample_rate_hz=16000),),
)
KEY = SrtpKey(suite="AEAD_AES_128_GCM", key=bytes(range(28)))
STREAMS = 6


def datagram(chance: np.random.Generator) -> bytes:
    """Something like RTP or RTCP, more or less."""
    kind = chance.integers(0, 10)
    payload = chance.integers(0, 256, int(chance.choice([0, 1, 4, 7, 33, 160, 161, 320, 1400, 2100])), np.uint8).tobytes()
    if kind == 0:
        return payload
    if kind == 1:
        blocks = int(chance.integers(0, 32))
        return struct.pack("!BBHI", 0x80 | blocks, int(chance.integers(192, 224)), int(chance.integers(0, 9)), int(chance.integers(1, 4))) + payload[:200]
    first = 0x80 if kind < 8 else int(chance.integers(0, 256))
    number = int(chance.choice([0, 8, 9, 13, 96, 101, 102, 107, 127, 72]))
    near = int(chance.integers(0, 200)) if kind < 9 else int(chance.integers(0, 65536))
    head = struct.pack("!BBHII", first, number | int(chance.integers(0, 2)) << 7, near, near * 160, int(chance.choice([1, 2, 3, int(chance.integers(0, 2**32))])))
    return head + payload


def settings(chance: np.random.Generator, peer: tuple[str, int], key: int) -> StreamSettings:
    formats = FORMATS[int(chance.integers(0, len(FORMATS)))]
    return StreamSettings(
        formats=formats, receives=bool(chance.integers(0, 4)), sends=bool(chance.integers(0, 2)), policy=str(chance.choice(["strict", "host", "learn", "any"])),  # type: ignore[arg-type]
        remote_host=peer[0], remote_port=peer[1], remote_control_port=int(chance.choice([0, 9])), rtcp=bool(chance.integers(0, 2)), rtcp_mux=bool(chance.integers(0, 2)),
        rtcp_xr=bool(chance.integers(0, 2)), jitter=str(chance.choice(["none", "fixed", "adaptive"])), idle_slack_ms=int(chance.choice([0, 50, 400])),  # type: ignore[arg-type]
        packets_per_s=int(chance.choice([50, 5000])), inband_dtmf=bool(chance.integers(0, 2)), idle_sends=bool(chance.integers(0, 2)),
        send=formats[0], send_event=next((one for one in formats if one.kind == "event"), None), send_noise=rig.NOISE if chance.integers(0, 3) == 0 else None,
        ptime_ms=int(chance.choice([10, 20, 40, 60])), ssrc=77, send_srtp=key, receive_srtp=key if chance.integers(0, 2) else 0,
    )  # fmt: skip


def command(plane: rig.Rig, chance: np.random.Generator, recording: int) -> None:
    native, index = plane.plane, int(chance.integers(0, STREAMS))
    match int(chance.integers(0, 14)):
        case 0:
            native.close_stream(index)
        case 1:
            native.play(index, chance.integers(-32768, 32768, int(chance.integers(1, 3000))).astype(np.int16), 1, loops=bool(chance.integers(0, 2)))
        case 2:
            native.flush(index)
        case 3:
            native.digit(index, int(chance.integers(0, 300)) % 256, duration_ms=int(chance.integers(0, 7000)), pause_ms=int(chance.integers(0, 200)))
        case 4:
            native.record(index, recording, int(chance.integers(0, 3)), str(chance.choice(["pcm", "payload", "opus"])), 8000, plane.now_ns)
        case 5:
            native.stop_recording(index)
        case 6:
            native.pause(index, bool(chance.integers(0, 2)))
        case 7:
            native.hear(index, int(chance.choice([0, 20, 200, 1000])), int(chance.choice([0, 8000, 48000])))
        case 8:
            native.relay(index, int(chance.choice([NO_STREAM, int(chance.integers(0, STREAMS))])))
        case 9:
            native.join(index, int(chance.choice([NO_STREAM, 0, 1])), int(chance.choice([8000, 16000, 48000])))
        case 10:
            native.gain(index, int(chance.integers(0, 65536)))
        case 11:
            native.capture(index, recording, 0)
        case 12:
            native.stop_capture(index)
        case 13:
            native.end_recording(recording + int(chance.integers(0, 2)))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_whatever_comes(seed: int, shared: bool, tmp_path: Path) -> None:
    bind_opus(opus.addresses())
    chance = np.random.default_rng(seed)
    with rig.Rig(ports=1 if shared else STREAMS, shared=shared, streams=STREAMS, packets=256, events=64) as plane:
        plane.plane.use_srtp(functions_address())
        recorder = rig.Files(plane, blocks=16)
        recording = recorder.open(tmp_path / "some.wav", files.WAV_PCM16, (0, 1, 2))
        kept = [SrtpContext(KEY) for _ in range(STREAMS)]
        peers = [plane.peer() for _ in range(STREAMS)]
        for _ in range(400):
            for _ in range(int(chance.integers(0, 12))):
                plane.send(peers[int(chance.integers(0, STREAMS))], datagram(chance), 0 if shared else int(chance.integers(0, STREAMS)), control=bool(chance.integers(0, 8) == 0))
            if chance.integers(0, 6) == 0:
                index = int(chance.integers(0, STREAMS))
                key = kept[index].address if chance.integers(0, 3) == 0 else 0
                with contextlib.suppress(RuntimeError):  # it is being closed
                    plane.plane.set_up(index, 0 if shared else index, settings(chance, peers[index].getsockname(), key))
            if chance.integers(0, 3) == 0:
                command(plane, chance, recording)
            plane.pass_ms(float(chance.choice([0, 1, 5, 20, 100, 2000])))
            if chance.integers(0, 5) == 0:
                recorder.writer.round(plane.now_ns)
            for peer in peers:
                plane.received(peer)
        for index in range(STREAMS):
            plane.plane.close_stream(index)
        plane.pass_ms(20)
        for _ in range(20):
            plane.pass_ms(20)
        numbers = plane.plane.numbers()
        assert numbers["streams"] == 0
        assert numbers["held_packets"] == 0
        assert numbers["free_pcm_blocks"] == 64
        assert numbers["datagrams"] > 500
