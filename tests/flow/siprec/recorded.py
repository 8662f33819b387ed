"""What became of a call on the disk: its manifests, the document beside them, and its sound."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from engine.media import manifest as manifests
from engine.media.manifest import Manifest
from engine.siprec.document import SUFFIX, SessionDocument
from tests.flow import media_sources as sources
from tests.flow.audio_quality import Pcm, place_of
from tests.flow.siprec.speaking import Spoken

RATE_HZ: Final = 8000
APART_MS: Final = 20.0  # that what was said may be from where it was said
WAIT_S: Final = 30.0


def seconds_of(text: str) -> float:
    """An ISO 8601 time in seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


def channels_of(path: Path) -> list[Pcm]:
    """The channels of a WAV file of 16 bits. Python's own reader does not know files of more than two (WAVE_FORMAT_EXTENSIBLE)."""
    chunks = sources.read_riff(path)
    tag, count, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", chunks["fmt "])
    assert (rate_hz, bits) == (RATE_HZ, 16) and tag == (1 if count <= 2 else 0xFFFE), path
    whole = np.frombuffer(chunks["data"], "<i2").astype(np.int16)
    return [whole[at::count] for at in range(count)]


class Recorded:
    """A session that is over."""

    def __init__(self, folder: Path, document: SessionDocument) -> None:
        self.folder = folder
        self.document = document
        self.facts = document.session
        path = folder / f"{self.facts.recording_id}.json"
        assert not manifests.problems(path), manifests.problems(path)
        self.manifest: Manifest = manifests.read(path)

    @property
    def start(self) -> float:
        """When the first sample was, in seconds since 1970."""
        return seconds_of(self.manifest.start)

    def channels(self) -> list[Pcm]:
        """Each leg; the merged file has the same as those of the legs, and everything is as long as the manifest says."""
        manifest = self.manifest
        whole = f"{manifest.recording_id}.wav"
        legs = {file.tracks[0]: channels_of(self.folder / file.path)[0] for file in manifest.files if file.path != whole}
        (merged,) = [file for file in manifest.files if file.path == whole]
        together = channels_of(self.folder / merged.path)
        assert merged.tracks == tuple(sorted(legs)) and len(together) == len(legs), manifest.files
        for track, pcm in enumerate(together):
            assert np.array_equal(pcm, legs[track]), f"leg {track} of {manifest.recording_id} is another in the merged file"
            assert round(pcm.size * 1000 / RATE_HZ) == manifest.duration_ms, manifest
        return together

    def holds(self, channel: int, said: Sequence[Spoken], ahead_s: float) -> None:
        """A channel has what was said, sample for sample, each where it was said, and silence in between. `ahead_s`: `Mouth.ahead_s`."""
        pcm, end, start = self.channels()[channel], 0, self.start - ahead_s
        for number, one in enumerate(said):
            assert one.sent, f"turn {number} of channel {channel} was not said at all"
            at = place_of(one.pcm, pcm[end:])
            assert at >= 0, f"turn {number} of channel {channel} is not there as it was said ({one.sent} packets); {self.state()}"
            at += end
            assert not pcm[end:at].any(), f"what is in front of turn {number} of channel {channel} was not said: {self.state()}"
            late_ms = (at / RATE_HZ - (one.first_at - start)) * 1000
            assert abs(late_ms) <= APART_MS, f"turn {number} of channel {channel} is {late_ms:.1f} ms from where it was said"
            end = at + one.pcm.size
        assert not pcm[end:].any(), f"what is behind the end of channel {channel} was not said: {self.state()}"

    def place(self, channel: int, one: Spoken) -> int:
        """Where something is in a channel, in samples."""
        return place_of(one.pcm, self.channels()[channel])

    def state(self) -> str:
        """For those who wonder."""
        return f"{self.manifest}; {self.facts}"


def documents(folder: Path) -> dict[str, SessionDocument]:
    """All that are there, by Call-ID."""
    found = {}
    for path in folder.glob(f"*{SUFFIX}"):
        document = msgspec.json.decode(path.read_bytes(), type=SessionDocument)
        found[document.session.call_id] = document
    return found


def recorded(folder: Path, call_ids: Sequence[str], within_s: float = WAIT_S) -> dict[str, Recorded]:
    """Sessions by Call-ID, as soon as the manifests of all are there. Raises AssertionError where one is missing."""
    deadline = time.monotonic() + within_s
    while True:
        there = documents(folder)
        missing = [name for name in call_ids if name not in there or not (folder / f"{there[name].session.recording_id}.json").exists()]
        if not missing:
            return {name: Recorded(folder, there[name]) for name in call_ids}
        assert time.monotonic() < deadline, f"nothing is there of {missing}; in the folder are {sorted(path.name for path in folder.iterdir()) if folder.exists() else 'nothing'}"
        time.sleep(0.05)


__all__ = ["APART_MS", "RATE_HZ", "Recorded", "channels_of", "documents", "recorded", "seconds_of"]
