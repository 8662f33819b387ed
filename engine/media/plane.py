"""The media plane of a worker, as its event loop sees it: ports, streams, and what they tell.

Packets never come here. A stream is told what a negotiation came to, and tells its listener what happens: that media began, digits, blocks of PCM.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import random
import socket
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine._native import plane as native
from engine._native.rtp_session import digit, event_of
from engine._native.writer import Writer
from engine.codecs import CodecUnavailable, opus
from engine.errors import EngineError
from engine.media.port_range import PortRange
from engine.media.settings import PlaneSettings, StreamSettings
from engine.srtp import functions_address

Pcm = npt.NDArray[np.int16]
Address = tuple[str, int]
Random = Callable[[int], bytes]
PORT_TRIES: Final = 64
TAKEN: Final = (errno.EADDRINUSE, errno.EACCES)  # by somebody else; what else goes wrong would go wrong with every port
log = logging.getLogger("trunkline.media")


class MediaFull(EngineError):
    """There is no room for another port or stream."""

    code = "media.full"


class StreamListener:
    """What a stream tells; a listener overrides what it wants to hear. All is called in the event loop, in the order in which it happened."""

    def on_started(self, stream: MediaStream, ssrc: int, payload_type: int, source: Address | None) -> None:
        """The first packet came."""

    def on_pcm(self, stream: MediaStream, pcm: Pcm, position: int, rate_hz: int) -> None:
        """A block of what was heard; `position` is the number of its first sample on the stream's timeline."""

    def on_digit(self, stream: MediaStream, digit: str, *, in_band: bool) -> None:
        """A digit began: one of 0-9, *, #, A-D."""

    def on_digit_end(self, stream: MediaStream, digit: str, duration_ms: int, *, in_band: bool) -> None:
        """It is over."""

    def on_event(self, stream: MediaStream, event: int) -> None:
        """An event of RFC 4733 that is no digit began."""

    def on_ssrc_changed(self, stream: MediaStream, ssrc: int, before: int) -> None:
        """Another synchronization source took the place of the one before."""

    def on_moved(self, stream: MediaStream, source: Address | None) -> None:
        """The other end is somewhere else, and is sent to there."""

    def on_timeout(self, stream: MediaStream, *, ever: bool) -> None:
        """Nothing came for too long; `ever` tells whether something did before."""

    def on_resumed(self, stream: MediaStream) -> None:
        """Packets come again after a timeout."""

    def on_bye(self, stream: MediaStream) -> None:
        """RTCP BYE. It ends nothing: a call ends by its signalling."""

    def on_report(self, stream: MediaStream, fraction_lost: float, jitter_ms: float, rtt_ms: float | None) -> None:
        """The other end reports how it hears us."""

    def on_played(self, stream: MediaStream, clip: int, *, flushed: bool) -> None:
        """A clip was played to its end, or was flushed before that."""

    def on_played_out(self, stream: MediaStream) -> None:
        """Nothing is left to play."""

    def on_record_behind(self, stream: MediaStream, samples: int) -> None:
        """The disk is behind: the place of these samples stays silent in the recording."""

    def on_closed(self, stream: MediaStream) -> None:
        """The stream has ended; its counts are final."""


class MediaPort:
    """Bound sockets for RTP and RTCP. `host` and `port` are where they are; a shared one is for many streams, told apart by source and SSRC."""

    def __init__(self, plane: MediaPlane, index: int, rtp: socket.socket, control: socket.socket | None, shared: bool, *, of_range: bool) -> None:
        self.index = index
        self.of_range = of_range
        self.shared = shared
        self.host, self.port = rtp.getsockname()[:2]
        self.control_port = control.getsockname()[1] if control is not None else self.port
        self.is_six = rtp.family == socket.AF_INET6
        self._plane = plane
        self._sockets = [one for one in (rtp, control) if one is not None]

    def __repr__(self) -> str:
        return f"<MediaPort {self.host} {self.port}{' shared' if self.shared else ''}>"

    def close(self) -> None:
        """Gives the port back, once nobody listens there any more."""
        self._plane._close_port(self)

    def counts(self) -> dict[str, int]:
        """Datagrams that came, those that belong to no stream, and streams."""
        return self._plane.native.port_counts(self.index)

    def _release(self) -> None:
        for one in self._sockets:
            one.close()


class MediaStream:
    """One stream of media, both ways. `tag` is the listener's own."""

    def __init__(self, plane: MediaPlane, index: int, port: MediaPort, settings: StreamSettings, listener: StreamListener) -> None:
        self.index = index
        self.port = port
        self.settings = settings
        self.listener = listener
        self.tag: Any = None
        self.is_open = True
        self.closed: asyncio.Future[None] = plane.loop.create_future()
        self.final: dict[str, Any] | None = None
        first = settings.formats[0]
        self.rate_hz = first.sample_rate_hz or first.clock_rate_hz  # of the PCM that is heard here, whatever is agreed later
        self._plane = plane

    def __repr__(self) -> str:
        return f"<MediaStream {self.index} {self.settings.formats[0].codec} {self.port}>"

    @property
    def send_rate_hz(self) -> int:
        """Of the PCM that is played here; 0 where nothing is sent."""
        send = self.settings.send
        return (send.sample_rate_hz or send.clock_rate_hz) if send is not None else 0

    def apply(self, settings: StreamSettings, *, kept: object = None) -> None:
        """What another offer and answer came to. Raises ValueError for what the plane cannot do; it stays as it was then."""
        self._plane.native.set_up(self.index, self.port.index, settings, kept)
        self.settings = settings

    def counts(self) -> dict[str, Any]:
        """Counters (c/plane.h: struct plane_counts), and what is known of the sender: jitter_ms, rtt_ms (-1: not known), position..."""
        return self.final if self.final is not None else self._plane.native.counts(self.index)

    def play(self, samples: Pcm, *, loops: bool = False) -> int:
        """Plays int16 samples of `send_rate_hz`, behind what is played already; a number for `on_played`. The samples must not be changed until then."""
        return self._plane._play(self, np.ascontiguousarray(samples, np.int16), loops)

    def flush(self) -> None:
        """Stops what is played, within one packet time."""
        self._plane.native.flush(self.index)

    def send_digits(self, digits: str, *, duration_ms: int = 120, pause_ms: int = 80) -> None:
        """Sends digits as telephone-event (RFC 4733). Raises ValueError for what is none, or where it was not negotiated."""
        if self.settings.send_event is None:
            raise ValueError("the other end takes no telephone-event")
        events = [event for one in digits if (event := event_of(one)) is not None]
        if len(events) < len(digits):
            raise ValueError("digits are 0-9, *, # and A-D")
        for event in events:
            self._plane.native.digit(self.index, event, duration_ms=duration_ms, pause_ms=pause_ms)

    def record(self, recording: int, track: int, *, kind: str = "pcm", rate_hz: int = 0, origin_ns: int, law: int = 0) -> None:
        """Writes what is heard to a track of a recording of the plane's writer, that began at `origin_ns`: "pcm" samples at `rate_hz` (0: the stream's), "payload" the
        bytes of G.711 untouched (`law` 0 mu, 1 A), "opus" the packets."""
        rate = 48000 if kind == "opus" else rate_hz or self.rate_hz
        self._plane.native.record(self.index, recording, track, kind, rate, origin_ns, law=law)

    def stop_recording(self) -> None:
        """Nothing more of it is recorded from now on."""
        self._plane.native.stop_recording(self.index)

    def pause_recording(self, paused: bool) -> None:
        """While paused, silence is written."""
        self._plane.native.pause(self.index, paused)

    def capture(self, recording: int, track: int = 0) -> None:
        """Writes the packets, both ways and as they are on the wire, to a capture file of the plane's writer."""
        self._plane.native.capture(self.index, recording, track)

    def stop_capture(self) -> None:
        self._plane.native.stop_capture(self.index)

    def hear(self, block_ms: int, rate_hz: int = 0) -> None:
        """Has blocks of PCM brought to `on_pcm`, at `rate_hz` (0: the stream's own); 0 ms ends it. A block has at most `BLOCK_SAMPLES_MAX` samples."""
        self._plane.native.hear(self.index, block_ms, rate_hz)

    def relay_to(self, other: MediaStream | None) -> None:
        """Sends what comes here on to the other end of another stream, as it is; None ends that."""
        self._plane.native.relay(self.index, native.NO_STREAM if other is None else other.index)

    def join(self, mix: Mix | None) -> None:
        """Becomes a leg of a mix: it hears all the others. None leaves it."""
        self._plane.native.join(self.index, native.NO_STREAM if mix is None else mix.index, 0 if mix is None else mix.rate_hz)

    def gain(self, gain: float) -> None:
        """Of what is sent: 1 as it is, at most 15."""
        self._plane.native.gain(self.index, min(max(round(gain * 4096), 0), 65535))

    def close(self) -> None:
        """Ends the stream; `closed` is done when what it had is delivered."""
        if self.is_open:
            self.is_open = False
            self._plane.native.close_stream(self.index)


class Mix:
    """Legs that hear each other, at one rate; at most 16."""

    def __init__(self, plane: MediaPlane, index: int, rate_hz: int) -> None:
        self.index = index
        self.rate_hz = rate_hz
        self._plane = plane

    def close(self) -> None:
        """To be called when its legs have left."""
        self._plane._mixes.append(self.index)


class MediaPlane:
    """The plane with its thread. `open` starts it in the running event loop; `close` ends it. Raises MediaFull where there is no room for more."""

    def __init__(self, settings: PlaneSettings, *, writer: Writer | None = None, urandom: Random = os.urandom) -> None:
        self.settings = settings
        self.writer = writer
        self.native = native.Plane(
            ports=settings.streams + settings.shared_ports, streams=settings.streams, mixes=settings.mixes, packets=settings.packets,
            pcm_blocks=settings.pcm_blocks, events=settings.events, seed=int.from_bytes(urandom(8)),
        )  # fmt: skip
        self.native.use_srtp(functions_address())
        if writer is not None:
            self.native.use_writer(writer)
        self.loop: asyncio.AbstractEventLoop
        self._urandom = urandom
        self._choice = random.Random(int.from_bytes(urandom(16)))
        self._streams: dict[int, MediaStream] = {}
        self._ports: dict[int, MediaPort] = {}
        self._free_streams = list(range(settings.streams))[::-1]
        self._free_ports = list(range(settings.streams + settings.shared_ports))[::-1]
        self._mixes = list(range(settings.mixes))[::-1]
        self._clips: dict[int, MediaStream] = {}
        self._tags = itertools.count(1)
        ports = settings.ports
        self._range = None if ports is None else PortRange(*ports, quarantine_s=settings.quarantine_s, clock=time.monotonic, choice=self._choice)
        self._stopped: asyncio.Future[None]
        self._closed_ports: dict[int, asyncio.Future[None]] = {}

    def open(self) -> None:
        """Starts the thread. Raises OSError."""
        with contextlib.suppress(CodecUnavailable):  # then Opus is refused when it is asked for
            native.bind_opus(opus.addresses())
        self.loop = asyncio.get_running_loop()
        self._stopped = self.loop.create_future()
        # What one turn of the event loop commands reaches the plane as a whole: a stream is not heard before it is recorded.
        self.native.on_first = lambda: self.loop.call_soon(self.native.publish)
        self.native.start(self.settings.priority)
        self.loop.add_reader(self.native.fd, self._heard)

    async def close(self) -> None:
        """Ends all streams and the thread."""
        await self.loop.run_in_executor(None, self.native.stop)
        self._heard()
        for stream in list(self._streams.values()):  # whose end found no room among the events
            self._stream_closed(stream)
        self.loop.remove_reader(self.native.fd)
        for port in list(self._ports.values()):
            port._release()
        self._ports.clear()

    def publish(self) -> None:
        """Has all commands until now obeyed at once, and not only behind this turn of the event loop."""
        self.native.publish()

    def numbers(self) -> dict[str, int]:
        """Counters of the plane."""
        return self.native.numbers()

    @property
    def ports(self) -> tuple[int, int]:
        """Media ports that are in use, and how many there are; 0 where the system gives them."""
        return len(self._ports), (len(self._ports) + self._range.free if self._range is not None else 0)

    def random_number(self, bits: int) -> int:
        """For SSRCs, sequence numbers and timestamps, which nobody may guess (RFC 3550 8.1)."""
        return int.from_bytes(self._urandom(8)) >> (64 - bits)

    # ---- ports ----

    def open_port(self, *, host: str = "", shared: bool = False, port: int = 0, rtcp: bool = True) -> MediaPort:
        """Binds a port for RTP, and the next one for RTCP. `host` is the plane's where it is empty; `port` 0 takes one of the range. Raises MediaFull, OSError."""
        if not self._free_ports:
            raise MediaFull("all media ports are in use")
        rtp, control = self._bind(host or self.settings.host, port, rtcp)
        size = self.settings.shared_buffer_bytes if shared else self.settings.receive_buffer_bytes
        for one in (rtp, control):
            if one is not None:
                one.setblocking(False)
                _room(one, size)
        made = MediaPort(self, self._free_ports.pop(), rtp, control, shared, of_range=not port)
        self._ports[made.index] = made
        self.native.open_port(made.index, rtp.fileno(), -1 if control is None else control.fileno(), made.host, made.port, shared=shared)
        return made

    def _bind(self, host: str, port: int, rtcp: bool) -> tuple[socket.socket, socket.socket | None]:
        if port or self._range is None:
            return self._bind_anywhere(host, port, rtcp)
        last: OSError | None = None
        for wanted in self._range.take():
            try:
                return _bound_pair(host, wanted, rtcp)
            except OSError as error:
                last = error
                self._range.give_back(wanted)
                if error.errno not in TAKEN:
                    break
        raise MediaFull(f"no media port of {self.settings.ports} is free on {host}") from last

    def _bind_anywhere(self, host: str, port: int, rtcp: bool) -> tuple[socket.socket, socket.socket | None]:
        last: OSError | None = None
        for _ in range(1 if port else PORT_TRIES):
            try:
                return _bound_pair(host, port, rtcp)
            except OSError as error:
                last = error
        if port and last is not None:
            raise last
        raise MediaFull(f"no media port is free on {host}") from last

    def _close_port(self, port: MediaPort) -> None:
        if self._ports.get(port.index) is port and port.index not in self._closed_ports:
            self._closed_ports[port.index] = self.loop.create_future()
            self.native.close_port(port.index)

    # ---- streams ----

    def open_stream(self, port: MediaPort, settings: StreamSettings, listener: StreamListener | None = None, *, kept: object = None) -> MediaStream:
        """Begins a stream on a port. `kept` lives as long as the settings do. Raises MediaFull, ValueError for what the plane cannot do."""
        if not self._free_streams:
            raise MediaFull("all media streams are in use")
        index = self._free_streams.pop()
        stream = MediaStream(self, index, port, settings, listener or StreamListener())
        try:
            self.native.set_up(index, port.index, settings, kept)
        except BaseException:
            self._free_streams.append(index)
            raise
        self._streams[index] = stream
        return stream

    def open_mix(self, rate_hz: int) -> Mix:
        """A place where legs can hear each other. Raises MediaFull."""
        if not self._mixes:
            raise MediaFull("all mixes are in use")
        return Mix(self, self._mixes.pop(), rate_hz)

    def end_recording(self, recording: int) -> None:
        """Behind what its streams have written until now, a recording's files are closed."""
        self.native.end_recording(recording)

    def _play(self, stream: MediaStream, samples: Pcm, loops: bool) -> int:
        tag = next(self._tags)
        self._clips[tag] = stream
        try:
            self.native.play(stream.index, samples, tag, loops=loops)
        except BaseException:
            del self._clips[tag]
            raise
        return tag

    # ---- events ----

    def _heard(self) -> None:
        for event in self.native.drain():
            try:
                self._tell(*event)
            except Exception:
                log.exception("a listener of media failed at %s", event[0])

    def _tell(self, kind: str, index: int, a: int, b: int, c: int, time_ns: int, position: int, subject: Any) -> None:
        if kind == "clip":
            played = self._clips.pop(a, None)
            if played is not None:
                played.listener.on_played(played, a, flushed=bool(b))
            return
        if kind == "port-closed":
            self._port_closed(index)
            return
        stream = self._streams.get(index)
        if stream is None:
            return
        listener = stream.listener
        match kind:
            case "pcm":
                listener.on_pcm(stream, subject, position, c)
            case "started":
                listener.on_started(stream, a, b, subject)
            case "digit-begun" if name := digit(a):
                listener.on_digit(stream, name, in_band=bool(c))
            case "digit-begun":
                listener.on_event(stream, a)
            case "digit-ended" if name := digit(a):
                listener.on_digit_end(stream, name, b, in_band=bool(c))
            case "ssrc-changed":
                listener.on_ssrc_changed(stream, a, b)
            case "moved":
                listener.on_moved(stream, subject)
            case "timed-out":
                listener.on_timeout(stream, ever=not a)
            case "resumed":
                listener.on_resumed(stream)
            case "said-bye":
                listener.on_bye(stream)
            case "report":
                clock_rate_hz = stream.settings.send.clock_rate_hz if stream.settings.send is not None else 8000
                listener.on_report(stream, a / 256, b * 1000 / clock_rate_hz, None if position < 0 else position / 1000)
            case "played-out":
                listener.on_played_out(stream)
            case "record-behind":
                listener.on_record_behind(stream, a)
            case "stream-closed":
                self._stream_closed(stream)

    def _stream_closed(self, stream: MediaStream) -> None:
        stream.final = self.native.counts(stream.index)
        stream.is_open = False
        del self._streams[stream.index]
        self._free_streams.append(stream.index)
        if not stream.closed.done():
            stream.closed.set_result(None)
        stream.listener.on_closed(stream)

    def _port_closed(self, index: int) -> None:
        port = self._ports.pop(index, None)
        if port is not None:
            port._release()
            self._free_ports.append(index)
            if port.of_range and self._range is not None:
                self._range.give_back(port.port)
        waiting = self._closed_ports.pop(index, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h: beyond net.core.rmem_max, where that is allowed


def _room(one: socket.socket, size: int) -> None:
    try:
        one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except OSError:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _bound_pair(host: str, port: int, rtcp: bool) -> tuple[socket.socket, socket.socket | None]:
    """A socket on a port (0: an even one that the system gives), and one on the next. Raises OSError, with nothing left open."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    rtp = socket.socket(family, socket.SOCK_DGRAM)
    try:
        rtp.bind((host, port))
        bound = rtp.getsockname()[1]
        if not rtcp:
            return rtp, None
        if bound % 2:
            raise OSError(errno.EADDRINUSE, "RTP has an even port")
        control = socket.socket(family, socket.SOCK_DGRAM)
        try:
            control.bind((host, bound + 1))
        except BaseException:
            control.close()
            raise
        return rtp, control
    except BaseException:
        rtp.close()
        raise


__all__ = ["MediaFull", "MediaPlane", "MediaPort", "MediaStream", "Mix", "Pcm", "StreamListener"]
