"""The streams of a recording session, and the tracks that they are recorded to."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import is_
from typing import Any, Final

import msgspec

from engine.errors import EngineError
from engine.media.call_recording import CallRecording, plan_of
from engine.media.manifest import Manifest
from engine.media.path import ANYWHERE, CallMedia, PathPolicy, rate_of
from engine.media.plane import MediaPlane, MediaStream, StreamListener
from engine.media.recorder import Leg, Recorder
from engine.media.sealing import Beside
from engine.rtp.quality import rate
from engine.sdp.negotiated import NegotiatedMedia
from engine.siprec.events import LegQuality
from engine.siprec.facts import ChannelFacts

# RTP timestamps say where samples lie, also of those that come late and all at once: silence is only written where nothing came for long.
POLICY: Final = PathPolicy(source="learn", sends=False, idle_sends=False, idle_slack_ms=2000, opens=True)
LATE_NS: Final = 1_000_000_000  # packets that are later than this may miss the beginning of the next files
TOTALS: Final = ("received", "received_bytes", "lost", "late", "duplicate")
log = logging.getLogger("trunkline.siprec")


def is_held(line: NegotiatedMedia) -> bool:
    """Whether an m= line is there and silent: inactive, or with the address that means as much (RFC 3264 8.4)."""
    return line.accepted and (not line.receives or line.remote_host in ANYWHERE)


class _Listener(StreamListener):
    """Hears of the streams of one session."""

    def __init__(self, legs: Legs) -> None:
        self._legs = legs

    def on_record_behind(self, stream: MediaStream, samples: int) -> None:
        self._legs.behind(stream, samples)


class Legs:
    """The media of one session. A track belongs to a label, or to the place of an m= line that has none; it is never given to another."""

    def __init__(self, plane: MediaPlane, recorder: Recorder, *, host: str, advertised: str, on_fault: Callable[[str], None]) -> None:
        """`host` is the address that ports are bound to, `advertised` the one that others are told; both as `CallMedia` has them."""
        listener = _Listener(self)
        self.media = CallMedia(plane, POLICY, host=host, advertised=advertised, listener_of=lambda index: listener)
        self.lines: tuple[NegotiatedMedia, ...] = ()
        self.recording: CallRecording | None = None
        self._plane, self._recorder, self._on_fault = plane, recorder, on_fault
        self._tracks: dict[str, int] = {}  # key of a line -> track
        self._keys: dict[int, str] = {}  # place of a line -> its key
        self._streams: dict[int, MediaStream] = {}  # track -> the stream that was last on it
        self._heard: dict[int, tuple[int, int]] = {}  # track -> packets received and lost when it was last asked how it sounds
        self.totals = dict.fromkeys(TOTALS, 0)  # of all its streams, when it was last asked how they sound
        self._extending: asyncio.Task[None] | None = None
        self._told: dict[int, ChannelFacts] = {}  # track -> what was told of it last

    def _named(self, lines: Sequence[NegotiatedMedia]) -> dict[int, str]:
        """What the track of each m= line is known by: its label, or its place where it has none of its own."""
        found: dict[int, str] = {}
        for line in lines:
            if line.accepted:
                key = f"label {line.label}"
                found[line.index] = key if line.label and key not in found.values() else f"line {line.index}"
        return found

    def track_of(self, line: NegotiatedMedia) -> int | None:
        """The track of an m= line."""
        return self._tracks.get(self._keys.get(line.index, ""))

    @property
    def count(self) -> int:
        """Tracks there are."""
        return len(self._tracks)

    @property
    def created_at(self) -> float:
        """When the timeline of its files begins, in seconds since 1970."""
        return self.recording.recording.start_s if self.recording is not None else 0.0

    async def begin(
        self, recording_id: str, call_id: str, lines: Sequence[NegotiatedMedia], order: Sequence[int], leg_of: Callable[[NegotiatedMedia], Leg], *,
        untouched: bool, merged: bool,
    ) -> CallRecording:  # fmt: skip
        """Makes the files, for lines that are about to be agreed. `order` are places of lines, in the order of their channels. Raises RecordingRefused, OSError."""
        accepted = {line.index: line for line in lines if line.accepted}
        ordered = [accepted.pop(index) for index in order if index in accepted] + list(accepted.values())
        self._keys = self._named(lines)
        for line in ordered:
            self._tracks.setdefault(self._keys[line.index], len(self._tracks))
        legs = [leg_of(next(line for line in ordered if self.track_of(line) == track)) for track in range(len(self._tracks))] or [Leg()]
        codecs = [line.receive[0].name for line in ordered if line.receive]
        plan = plan_of(legs, codecs, rate_hz=rate_of(ordered, POLICY), call_id=call_id, untouched=untouched, merged=merged)
        self.recording = await CallRecording.begin(self._recorder, self._plane, recording_id, plan)
        return self.recording

    def agreed(self, lines: Sequence[NegotiatedMedia], leg_of: Callable[[NegotiatedMedia], Leg]) -> None:
        """Streams follow what was agreed; nothing is done for an agreement that they follow already. Raises MediaFull, PathError."""
        before, self.lines = self.lines, tuple(lines)
        if len(before) == len(lines) and all(map(is_, before, lines)):
            return
        self._keys |= self._named(lines)
        if not self._tracks and (first := next((line for line in self.lines if line.accepted), None)) is not None:
            self._tracks[self._keys[first.index]] = 0  # nothing was offered when the files were made
        held_before = {line.index for line in before if is_held(line)}
        self.media.apply(lines)
        recording = self.recording
        if recording is None:
            return
        late = []
        for line in self.lines:
            if not line.accepted:
                continue
            track = self.track_of(line)
            if track is None:
                late.append(line)
                continue
            self._connect(track, line)
            if is_held(line):
                recording.pause(track, cause="hold")
            elif line.index in held_before:
                recording.resume(track, cause="hold")
        if late:
            self._extending = asyncio.create_task(self._extend(self._extending, late, leg_of))

    def _connect(self, track: int, line: NegotiatedMedia) -> None:
        stream = self.media.streams.get(line.index)
        if stream is not None and self._streams.get(track) is not stream and self.recording is not None:
            self._streams[track] = stream
            self._heard.pop(track, None)
            self.recording.add(track, stream)

    async def _extend(self, before: asyncio.Task[None] | None, lines: Sequence[NegotiatedMedia], leg_of: Callable[[NegotiatedMedia], Leg]) -> None:
        """Legs that join: each gets a track, one after the other."""
        if before is not None:
            await before
        for line in lines:
            if self.recording is None or self.track_of(line) is not None:
                continue
            try:
                track = await self.recording.extend(leg_of(line))
            except (EngineError, OSError) as error:
                self._on_fault(f"a leg that joined is not recorded: {error}")
                continue
            key = self._keys[line.index]
            self._tracks[key] = track
            now = next((one for one in self.lines if one.accepted and self._keys.get(one.index) == key), None)
            if now is not None:
                self._connect(track, now)
                if is_held(now):
                    self.recording.pause(track, cause="hold")

    def behind(self, stream: MediaStream, samples: int) -> None:
        """Something of a stream found no room on its way to the disk."""
        for track, one in self._streams.items():
            if one is stream and self.recording is not None:
                self.recording.behind(track, samples)

    def facts(self, parties: Mapping[int, tuple[str, tuple[int, ...]]], is_muted: Callable[[int], bool]) -> tuple[ChannelFacts, ...]:
        """Channels as they are now. `parties`: of the m= lines, stream id and places."""
        made: dict[int, ChannelFacts] = {}
        for line in self.lines:
            track = self.track_of(line)
            if track is None or (track in made and not line.accepted):
                continue
            stream_id, places = parties.get(line.index, ("", ()))
            codec = line.receive[0].name if line.receive else ""
            made[track] = ChannelFacts(
                index=track, label=line.label, stream_id=stream_id, parties=places, direction=line.direction if line.accepted else "ended", codec=codec,
                muted=is_muted(track), **self._counts(track, codec),
            )  # fmt: skip
        for track, was in self._told.items():
            if track not in made:  # another line took its place
                made[track] = msgspec.structs.replace(was, direction="ended", muted=is_muted(track), **self._counts(track, was.codec))
        self._told = made
        return tuple(made[track] for track in sorted(made))

    def _counts(self, track: int, codec: str) -> dict[str, Any]:
        stream = self._streams.get(track)
        if stream is None:
            return {}
        counts = stream.counts()
        told: dict[str, Any] = {name: counts[name] for name in ("lost", "late", "duplicate")} | {"packets": counts["received"]}
        if counts["remote_ssrc"] and codec:
            loss = min(100.0 * (counts["lost"] + counts["late"]) / max(counts["expected"], 1), 100.0)
            told |= {"jitter_ms": round(counts["jitter_ms"], 3), "mos": round(rate(codec, loss_percent=loss).mos_listening, 2)}
        return told

    def quality(self) -> tuple[LegQuality, ...]:
        """How each leg is heard since this was last asked; only those in which something came."""
        told = []
        totals = dict.fromkeys(TOTALS, 0)
        for track, stream in self._streams.items():
            counts = stream.counts()
            for name in TOTALS:
                totals[name] += counts[name]
            packets, lost = counts["received"], counts["lost"] + counts["late"]
            packets_before, lost_before = self._heard.get(track, (0, 0))
            self._heard[track] = packets, lost
            came, missing = packets - packets_before, max(lost - lost_before, 0)
            if came <= 0:
                continue
            loss = 100.0 * missing / (came + missing)
            mos = rate(stream.settings.formats[0].codec, loss_percent=loss).mos_listening
            told.append(LegQuality(index=track, packets=came, loss_percent=round(loss, 3), jitter_ms=round(counts["jitter_ms"], 3), mos=round(mos, 2)))
        self.totals = totals
        return tuple(told)

    def last_heard_ns(self) -> int:
        """When a packet came last, on CLOCK_MONOTONIC; 0: never."""
        return max((stream.counts()["last_ns"] for stream in self._streams.values()), default=0)

    def _next_sound_ns(self) -> int:
        """The moment now, or the earlier one that a packet which is still to come belongs to: what is late, or waits for what is, is sound of the next files."""
        now_ns = time.monotonic_ns()
        counts = [stream.counts() for stream in self._streams.values() if stream.is_open]
        heard_until: list[int] = [one["heard_until_ns"] for one in counts if one["last_ns"] > now_ns - LATE_NS]
        return min(now_ns, *(max(one, now_ns - LATE_NS) for one in heard_until))

    async def rotate(self, recording_id: str, call_id: str) -> CallRecording | None:
        """Goes on in new files, from one packet to the next; the recording that was, which is to be finished. Raises RecordingRefused, OSError."""
        before = self.recording
        if before is None:
            return None
        plan = msgspec.structs.replace(before.plan, call_id=call_id)
        fresh = await CallRecording.begin(self._recorder, self._plane, recording_id, plan, origin_ns=self._next_sound_ns())
        for (cause, track), (reason, actor) in before.closed_for().items():
            fresh.pause(track, cause=cause, reason=reason, actor=actor)
        for track in list(self._streams):
            stream = before.release(track)
            if stream is not None and stream.is_open:
                fresh.add(track, stream)
        self.recording = fresh
        return before

    def stop(self) -> None:
        """Streams end; their ports are free again."""
        self.media.close()

    async def finish(self, notes: Sequence[str], beside: Callable[[], Awaitable[Beside]]) -> Manifest | None:
        """Seals the files, behind the last of what came, with others `beside` them. Raises NotSealed."""
        self.stop()
        await asyncio.gather(*(stream.closed for stream in self._streams.values()))
        if self._extending is not None:
            await self._extending
        return await self.recording.finish(notes, await beside()) if self.recording is not None else None


__all__ = ["POLICY", "Legs", "is_held"]
