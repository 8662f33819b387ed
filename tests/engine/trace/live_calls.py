"""Messages of made-up calls as a worker sees them, and the means to note them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from engine.trace import read
from engine.trace.export import KeptMessage
from engine.trace.live import LiveSettings, LiveTraces
from tests.data.scene import CALLEE, CALLER, Scene

SECOND_NS = 1_000_000_000
US, PEER = CALLEE, CALLER


class Clock:
    """Time that a test sets, in ns since 1970."""

    def __init__(self, now_ns: int = 1_700_000_000 * SECOND_NS) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns

    def pass_s(self, seconds: float) -> None:
        self.now_ns += round(seconds * SECOND_NS)


def traces(folder: Path, clock: Clock | None = None, **settings: float) -> LiveTraces:
    """Live traces in a folder, with these settings."""
    return LiveTraces(folder, settings=LiveSettings(**settings), clock=clock or Clock())  # type: ignore[arg-type]


def kept(scene: Scene, transport: str = "UDP") -> list[KeptMessage]:
    """The SIP messages of a scene in order of time."""
    tables = read(scene.pcap())
    m = tables.messages
    return [
        KeptMessage(
            int(m.time_ns[row]), tables.address(int(m.source[row])), tables.address(int(m.target[row])), transport, tables.text(row)
        )
        for row in range(len(m))
    ]


def answered(call_id: str = "live@x", *, bye: bool = True) -> list[KeptMessage]:
    """A call that was answered, and let go after ten seconds."""
    scene = Scene()
    call = scene.call(call_id=call_id)
    call.invite().trying().ringing().ok().ack()
    if bye:
        call.bye(at=10.0).ok()
    return kept(scene)


def place(end: str | None) -> tuple[str, int]:
    """An end as sockets name it."""
    assert end is not None
    host, _, port = end.rpartition(":")
    return host.strip("[]"), int(port)


def note(live: LiveTraces, messages: Iterable[KeptMessage], call_id: str = "live@x", *, call: bool = True, us: str = US) -> None:
    """Notes messages as the worker at `us` sees them; with `call`, they are a call, which is up."""
    for message in messages:
        assert message.time_ns is not None
        sent = message.source == us
        peer = message.target if sent else message.source
        live.note(call_id, message.text, sent, message.transport or "UDP", place(us), place(peer), message.time_ns)
        if call:
            live.began(call_id)


__all__ = ["PEER", "SECOND_NS", "US", "Clock", "answered", "kept", "note", "place", "traces"]
