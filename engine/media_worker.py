"""The media of one engine worker: its plane, the writer of its files, its recorder, and what it does with a call that it answers itself."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from engine._native.writer import Writer
from engine.config.document import Config
from engine.errors import EngineError
from engine.media.call_recording import CallRecording, plan_of
from engine.media.manifest import Manifest
from engine.media.path import ANYWHERE, CallMedia, PathPolicy, rate_of
from engine.media.plane import MediaPlane, MediaStream
from engine.media.recorder import Leg, Recorder, Recording
from engine.media.recovery import recover
from engine.media.settings import PlaneSettings
from engine.media.staging import Folder
from engine.sdp.codecs import G722, PCMA, PCMU
from engine.sdp.negotiated import NegotiatedMedia
from engine.sdp.offer_answer import Negotiation
from engine.sdp.terms import Terms
from engine.sip.call import State
from engine.sip.incoming import IncomingCall

BLOCKS: Final = 32_768  # of 4 KiB: some seconds of 1,500 calls, while the disk rests
RECORDINGS: Final = 4_096
STREAMS: Final = 4_096
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
log = logging.getLogger("trunkline.media")


def ports_of(config: Config, index: int, count: int) -> tuple[int, int]:
    """The media ports of one worker: its share of the range."""
    first, last = config.network.rtp_port_min, config.network.rtp_port_max
    share = (last - first) // count
    return first + index * share, first + (index + 1) * share


def host_of(config: Config) -> str:
    """The address that media is bound to."""
    return config.network.rtp_bind_ip or config.sip.host


def name_of(call_id: str) -> str:
    """A name for a recording, of which no part that a caller chose becomes a path: when it began, what is plain of its Call-ID, and chance."""
    plain = _UNSAFE.sub("", call_id)[:40]
    return "-".join(part for part in (time.strftime("%Y%m%dT%H%M%S", time.gmtime()), plain, secrets.token_hex(4)) if part)


class MediaWorker:
    """Opened and closed in the worker's loop; `folder` is where recordings go."""

    def __init__(self, config: Config, index: int, count: int, folder: Path) -> None:
        self.folder = folder
        self.writer = Writer(BLOCKS, RECORDINGS)
        self.plane = MediaPlane(PlaneSettings(host=host_of(config), ports=ports_of(config, index, count), streams=STREAMS), writer=self.writer)
        self.recorder: Recorder
        self.recorded = self.failed = self.recovered = 0
        self._is_open = False

    async def open(self) -> None:
        """Starts the threads, and finishes what a process that died left of its recordings. Raises OSError, RecordingRefused for a folder that cannot be."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for found in await asyncio.get_running_loop().run_in_executor(None, recover, Folder(self.folder)):
            self.recovered += found.manifest is not None
            if found.problem:
                log.error("%s was left by a process that died and stays as it is: %s", found.plan, found.problem)
        self.writer.start()
        self.plane.open()
        self.recorder = Recorder(self.folder, self.writer, on_fault=self._fault)
        self._is_open = True

    async def close(self) -> None:
        """Ends all streams, seals all recordings."""
        if not self._is_open:
            return
        self._is_open = False
        await self.plane.close()
        await self.recorder.close()
        await asyncio.get_running_loop().run_in_executor(None, self.writer.stop)

    def _fault(self, recording: Recording | None, text: str) -> None:
        self.failed += 1

    def bound_to(self, host: str) -> str:
        """What the ports of a call's media are bound to, for those who reach us at a host; "" for the address that all are bound to."""
        return host if self.plane.settings.host in ANYWHERE else ""

    def terms(self, host: str) -> Terms:
        """What a call that is answered here agrees to."""
        return Terms(host=host, codecs=(PCMU, PCMA, G722), streams_max=2, srtp="optional")

    def numbers(self) -> dict[str, int]:
        """For health and metrics."""
        plane, files = self.plane.numbers(), self.writer.counts()
        return {
            "streams": plane["streams"], "media_datagrams": plane["datagrams"], "media_late_ticks": plane["late_ticks"], "recordings": self.recorder.running,
            "recorded": self.recorded, "recovered": self.recovered, "recording_faults": self.failed, "disk_behind": files.refused,
        }  # fmt: skip


class AnsweredMedia:
    """The media of one call that this worker answers itself: it says back what it hears ("echo"), or records it ("record")."""

    def __init__(self, worker: MediaWorker, host: str, advertised: str, mode: str, call_id: str) -> None:
        self.mode = mode
        self._worker = worker
        self._call_id = call_id
        policy = PathPolicy(source="learn", idle_sends=mode == "record")
        self.media = CallMedia(worker.plane, policy, host=worker.bound_to(host), advertised=advertised)
        self.session = Negotiation(worker.terms(advertised or host), self.media.transport, random=secrets.token_bytes)
        self._policy = policy
        self._recording: CallRecording | None = None
        self._was_agreed = False
        self.manifest: Manifest | None = None

    async def answer(self, call: IncomingCall) -> None:
        """Takes a call. What is recorded has its files before the answer leaves, so that nothing is said before they are there."""
        if self.mode == "record":
            try:
                lines = self.session.receive_offer(call.offered) if call.offered else ()
            except EngineError:
                lines = ()  # the answer says what is wrong with it
            await self._record([line for line in lines if line.accepted])
        if call.state is State.SETUP:
            call.answer()

    async def _record(self, lines: Sequence[NegotiatedMedia]) -> None:
        legs = [Leg(one.label) for one in lines] or [Leg()]
        plan = plan_of(legs, [_codec_name(one) for one in lines], rate_hz=rate_of(lines, self._policy), call_id=self._call_id)
        try:
            self._recording = await CallRecording.begin(self._worker.recorder, self._worker.plane, name_of(self._call_id), plan)
        except (EngineError, OSError) as error:
            self._worker.failed += 1
            log.error("a call is not recorded: %s", error)  # and goes on

    def agreed(self) -> None:
        """An offer was answered: streams follow. Raises EngineError where they cannot."""
        self._was_agreed = True
        for stream in self.media.apply(self.session.media):
            if self.mode == "echo":
                stream.relay_to(stream)
        if self._recording is not None:
            for track, stream in enumerate(self._streams()[: len(self._recording.plan.legs)]):
                self._recording.add(track, stream)

    def _streams(self) -> list[MediaStream]:
        return [self.media.streams[index] for index in sorted(self.media.streams)]

    async def close(self) -> None:
        """The call is over: streams end, and a recording is sealed."""
        streams = self._streams()
        self.media.close()
        await asyncio.gather(*(stream.closed for stream in streams))
        if self._recording is None:
            return
        if not self._was_agreed:
            await self._recording.recording.discard()
            return
        try:
            self.manifest = await self._recording.finish()
            self._worker.recorded += 1
        except (EngineError, OSError) as error:
            self._worker.failed += 1
            log.error("a recording could not be sealed: %s", error)


def _codec_name(media: NegotiatedMedia) -> str:
    return media.receive[0].name if media.receive else ""


__all__ = ["AnsweredMedia", "MediaWorker", "host_of", "name_of", "ports_of"]
