"""The recording of one call: each of its streams is a track, from the first packet to the last."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from engine.clock import iso
from engine.media.manifest import Channel, Interval, IntervalType, Manifest
from engine.media.plane import MediaPlane, MediaStream
from engine.media.recorder import Leg, Plan, Recorder, Recording
from engine.media.sealing import Beside
from engine.rtp.quality import rate

COUNTED = ("received", "expected", "lost", "late", "duplicate", "missed_samples")
GAP_MS = 2000  # of two that are one
_LAWS = {"PCMU": ("ulaw", 0), "PCMA": ("alaw", 1)}


def plan_of(legs: Sequence[Leg], codecs: Sequence[str], *, rate_hz: int, call_id: str = "", untouched: bool = False, **more: Any) -> Plan:
    """A plan for streams with these codecs: samples at `rate_hz`; where `untouched`, the bytes of G.711 or the packets of Opus as they come, if all streams have
    that codec."""
    only = {name.upper() for name in codecs}
    law = _LAWS.get(next(iter(only))) if len(only) == 1 else None
    if untouched and law is not None:
        return Plan(legs=tuple(legs), call_id=call_id, rate_hz=8000, kind=law[0], **more)  # type: ignore[arg-type]
    if untouched and only == {"OPUS"}:
        return Plan(legs=tuple(legs), call_id=call_id, rate_hz=48_000, kind="opus", **{**more, "merged": False})
    return Plan(legs=tuple(legs), call_id=call_id, rate_hz=rate_hz, kind="pcm16", **more)


class CallRecording:
    """A recording with the streams that are written to it.

    `origin_ns` is its beginning on CLOCK_MONOTONIC. Streams are closed before `finish`, so that what they held is in the files.
    """

    def __init__(self, recorder: Recorder, plane: MediaPlane, recording: Recording, plan: Plan, *, origin_ns: int, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.recording = recording
        self.plan = plan
        self.origin_ns = origin_ns
        self._plane = plane
        self._recorder = recorder
        self._clock_ns = clock_ns
        self._tracks: dict[int, MediaStream] = {}
        self._closed: dict[tuple[IntervalType, int | None], tuple[int, str, str]] = {}  # cause and track (None: all) -> since ms, reason, actor
        self._intervals: list[Interval] = []
        self._warnings: list[str] = []
        self._behind: dict[int, tuple[int, int]] = {}  # track -> since and until when it found no room, in ms
        self._ended: dict[int, Channel] = {}  # of tracks whose stream was let go
        self._before: dict[int, tuple[int, ...]] = {}  # COUNTED of a stream when it became a track

    @classmethod
    async def begin(cls, recorder: Recorder, plane: MediaPlane, recording_id: str, plan: Plan, *, origin_ns: int = 0) -> CallRecording:
        """Makes the files. Raises RecordingRefused, RecordingFull, OSError."""
        origin_ns = origin_ns or time.monotonic_ns()
        return cls(recorder, plane, await recorder.start(recording_id, plan), plan, origin_ns=origin_ns)

    def add(self, track: int, stream: MediaStream) -> None:
        """A stream becomes a track of the plan; one that was there before ends."""
        before = self._tracks.pop(track, None)
        if before is not None and before.is_open:
            before.stop_recording()
        kind = {"ulaw": "payload", "alaw": "payload", "opus": "opus"}.get(self.plan.kind, "pcm")
        stream.record(self.recording.number, track, kind=kind, rate_hz=self.plan.rate_hz, origin_ns=self.origin_ns, law=int(self.plan.kind == "alaw"))
        self._tracks[track] = stream
        counts = stream.counts()
        self._before[track] = tuple(counts[name] for name in COUNTED)
        if self.plan.capture:
            stream.capture(self.recording.number, track)
        if self._is_closed(track):
            stream.pause_recording(True)

    async def extend(self, leg: Leg) -> int:
        """Another leg, that joins now: its track. Raises RecordingRefused, OSError."""
        track = await self.recording.extend(leg)
        self.plan = msgspec.structs.replace(self.plan, legs=(*self.plan.legs, leg))
        return track

    def rename(self, track: int, leg: Leg) -> None:
        """Whose sound a track is turned out to be another's."""
        legs = list(self.plan.legs)
        legs[track] = leg
        self.plan = msgspec.structs.replace(self.plan, legs=tuple(legs))

    def behind(self, track: int, samples: int) -> None:
        """So much of a track found no room on its way to the disk, just now."""
        self._recorder.behind()
        now_ms = self._now_ms()
        begin_ms = max(now_ms - samples * 1000 // self.plan.rate_hz, 0)
        since_ms, until_ms = self._behind.get(track, (begin_ms, begin_ms))
        if begin_ms - until_ms > GAP_MS:
            self._gap(track, since_ms, until_ms)
            since_ms = begin_ms
        self._behind[track] = since_ms, now_ms

    def _gap(self, track: int, since_ms: int, until_ms: int) -> None:
        interval = Interval(type="gap", start_ms=since_ms, end_ms=until_ms, reason="no room on the way to the disk", actor="disk", tracks=(track,))
        self._intervals.append(interval)

    def pause(self, track: int | None = None, *, cause: IntervalType = "pause", reason: str = "", actor: str = "") -> None:
        """Silence is written from now on, for one track or for all, until `resume` for the same cause; other causes close it too."""
        if (cause, track) not in self._closed:
            self._closed[cause, track] = (self._now_ms(), reason, actor)
            self._obey(track)

    def resume(self, track: int | None = None, *, cause: IntervalType = "pause") -> None:
        """What is said is recorded again, where nothing else keeps the track closed."""
        closed = self._closed.pop((cause, track), None)
        if closed is not None:
            since_ms, reason, actor = closed
            tracks = () if track is None else (track,)
            self._intervals.append(Interval(type=cause, start_ms=since_ms, end_ms=self._now_ms(), reason=reason, actor=actor, tracks=tracks))
            self._obey(track)

    def _is_closed(self, track: int) -> bool:
        return any(of is None or of == track for _, of in self._closed)

    def _obey(self, track: int | None) -> None:
        for each, stream in self._tracks.items():
            if stream.is_open and track in (None, each):
                stream.pause_recording(self._is_closed(each))
        self._plane.publish()  # not behind this turn of the event loop

    def _now_ms(self) -> int:
        return max((self._clock_ns() - self.origin_ns) // 1_000_000, 0)

    def release(self, track: int) -> MediaStream | None:
        """Lets the stream of a track go, to be recorded elsewhere: what it was until now stands in the manifest."""
        stream = self._tracks.get(track)
        if stream is None:
            return None
        self._ended[track] = self._channel(track, self.plan.legs[track], stream)
        self._missed(track, stream)
        del self._tracks[track]
        if stream.is_open:
            stream.stop_recording()
        return stream

    def closed_for(self) -> dict[tuple[IntervalType, int | None], tuple[str, str]]:
        """What keeps tracks silent now: cause and track (None: all) to reason and actor."""
        return {key: (reason, actor) for key, (_, reason, actor) in self._closed.items()}

    async def finish(self, notes: Sequence[str] = (), beside: Beside | None = None) -> Manifest:
        """Waits for the streams to end and for the files. `notes` are warnings of a recording that is whole, `beside` is sealed with it. Raises NotSealed."""
        for stream in self._tracks.values():
            if stream.is_open:
                stream.stop_recording()
                stream.stop_capture()
        for cause, track in list(self._closed):
            self.resume(track, cause=cause)
        for track, stream in self._tracks.items():
            self._missed(track, stream)
        for track, (since_ms, until_ms) in self._behind.items():
            self._gap(track, since_ms, until_ms)
        self._plane.end_recording(self.recording.number)
        return await self.recording.finish(channels=self._channels(), intervals=self._intervals, warnings=self._warnings, notes=notes, beside=beside)

    def _missed(self, track: int, stream: MediaStream) -> None:
        """What found no room on its way to the disk is not in the files."""
        samples = stream.counts()["missed_samples"] - self._before[track][COUNTED.index("missed_samples")]
        if samples > 0:
            missed_ms = max(round(samples * 1000 / self.plan.rate_hz), 1)
            since_ms, until_ms = self._behind.get(track, (max(self._now_ms() - missed_ms, 0), 0))
            self._behind[track] = since_ms, max(until_ms, since_ms + missed_ms)  # of what follows soon nothing is told by itself
            self._warnings.append(f"{missed_ms} ms of leg {track} found no room on the way to the disk, and are silent")

    def _channels(self) -> list[Channel]:
        made = []
        for index, leg in enumerate(self.plan.legs):
            stream = self._tracks.get(index)
            ended = self._ended.get(index, Channel(index, leg.label, leg.name))
            made.append(ended if stream is None else self._channel(index, leg, stream))
        return made

    def _channel(self, index: int, leg: Leg, stream: MediaStream) -> Channel:
        counts = dict(stream.counts())  # which is what is told of an ended stream for good
        for name, before in zip(COUNTED, self._before[index], strict=True):
            counts[name] = max(counts[name] - before, 0)
        first_ns = max(counts["first_ns"], self.origin_ns) if counts["first_ns"] else 0
        heard = bool(counts["remote_ssrc"]) and counts["received"] > 0
        expected = max(counts["expected"], 1)
        quality = rate(stream.settings.formats[0].codec, loss_percent=min(100.0 * (counts["lost"] + counts["late"]) / expected, 100.0)) if heard else None
        return Channel(
            index, leg.label, leg.name, ssrc=(counts["remote_ssrc"],) if heard else (), first_rtp=self._iso(first_ns) if heard else "",
            last_rtp=self._iso(counts["last_ns"]) if heard else "", lost=counts["lost"], late=counts["late"], duplicate=counts["duplicate"],
            jitter_ms=round(counts["jitter_ms"], 3) if heard else None, mos=round(quality.mos_listening, 2) if quality is not None else None,
        )  # fmt: skip

    def _iso(self, at_ns: int) -> str:
        return iso(time.time() - (self._clock_ns() - at_ns) / 1e9)


__all__ = ["CallRecording", "plan_of"]
