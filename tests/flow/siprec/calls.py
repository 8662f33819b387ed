"""Calls of many recording clients at once against the real program, and what became of each."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.flow.impairment import senders
from tests.flow.sipp import Outcome, Sipp, sipp
from tests.flow.siprec.recorded import Recorded, recorded
from tests.flow.siprec.shapes.shape import ELSEWHERE, Shape
from tests.flow.siprec.speaking import Mouth, speak
from tests.flow.siprec.wire import Log, Noted
from tests.ports import free_ports
from tests.running import Running, server

HOST: Final = "127.0.0.1"
WITHIN_S: Final = 40.0
PORTS: Final = 1000


class Recorder(msgspec.Struct):
    """A server that records: where it is called, and where its files are."""

    running: Running
    port: int
    recordings: Path
    rtp: range

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"


@contextmanager
def recorder(data: Path, **environment: str) -> Iterator[Recorder]:
    """One that takes calls of this machine over UDP and TCP; whoever calls from ELSEWHERE is recorded whatever it says. More settings are environment variables."""
    first = free_ports(PORTS + 2, hosts=(HOST,))
    port = first + PORTS + 1  # not among those of media
    settings = {
        "TRUNKLINE_SIP_LISTEN": msgspec.json.encode([f"udp://{HOST}:{port}", f"tcp://{HOST}:{port}"]).decode(), "TRUNKLINE_SIPREC_ENABLED": "true",
        "TRUNKLINE_SIPREC_PEERS": msgspec.json.encode([f"{ELSEWHERE}/32"]).decode(), "TRUNKLINE_NETWORK_RTP_BIND_IP": HOST,
        "TRUNKLINE_NETWORK_RTP_PORT_MIN": str(first), "TRUNKLINE_NETWORK_RTP_PORT_MAX": str(first + PORTS),
    }  # fmt: skip
    with server(data=data, **{**settings, **environment}) as running:
        yield Recorder(running, port, data / "recordings", range(first, first + PORTS))


class Call(msgspec.Struct):
    """A call that is over: what SIPp counted, the messages, what was said, and what was recorded of it."""

    name: str
    outcome: Outcome
    noted: list[Noted]
    mouth: Mouth
    recorded: Recorded | None = None

    @property
    def call_id(self) -> str:
        return self.noted[0].header("call-id")

    @property
    def requests(self) -> list[Noted]:
        """INVITEs and UPDATEs, as they were sent first."""
        found: list[Noted] = []
        for one in self.noted:
            if one.sent and one.method in ("INVITE", "UPDATE") and not one.status and one.header("cseq") not in {each.header("cseq") for each in found}:
                found.append(one)
        return found

    @property
    def answers(self) -> list[Noted]:
        """The 200s to those."""
        return self.mouth.answers

    @property
    def exchanges(self) -> list[tuple[Noted, Noted]]:
        """Each with the answer to it."""
        return list(zip(self.requests, self.answers, strict=True))

    @property
    def told(self) -> Recorded:
        """What was recorded."""
        assert self.recorded is not None
        return self.recorded


class Ringing:
    """The clients of a run. What they say is there before they call, so that nothing is late."""

    def __init__(self, folder: Path, address: str, shapes: Mapping[str, Shape]) -> None:
        self._folder = folder
        self._address = address
        self._stack = ExitStack()
        self._sides: dict[str, Sipp] = {}
        self._shapes = shapes
        self._ports: dict[str, list[socket.socket]] = {}
        self.mouths: dict[str, Mouth] = {}
        for name, shape in shapes.items():
            ports = [self._stack.enter_context(senders(HOST))[0].socket for _ in range(shape.ports)]
            self._ports[name] = ports
            self.mouths[name] = Mouth(Log(folder / f"{name}-messages.log"), ports, shape.says, len(self.mouths) + 1)

    def _begin(self) -> None:
        for name, shape in self._shapes.items():
            client = shape.script([port.getsockname()[1] for port in self._ports[name]])
            arguments = ["-cid_str", f"{shape.call_id or name}-%u-%p@{shape.host}"]
            self._sides[name] = self._stack.enter_context(
                sipp(client.xml(), self._folder, target=self._address, host=shape.host, name=name, user="srs", transport=shape.transport, arguments=arguments)
            )

    def speak(self, within_s: float) -> None:
        """Has all of them call, and says what they say. Raises AssertionError when that takes too long."""
        with ThreadPoolExecutor(1) as pool:
            begun = pool.submit(self._begin)
            try:
                speak(list(self.mouths.values()), lambda: begun.done() and self.is_over(), within_s)
            finally:
                begun.result()

    def is_over(self) -> bool:
        """Whether all that began have ended."""
        return all(side.program.status is not None for side in self._sides.values())

    def finish(self) -> dict[str, Call]:
        """What became of them."""
        found = {}
        for name, side in self._sides.items():
            outcome = side.finish()
            self.mouths[name].look()
            found[name] = Call(name, outcome, self.mouths[name].log.noted, self.mouths[name])
        return found

    def close(self) -> None:
        """Ends what is left."""
        self._stack.close()

    def __enter__(self) -> Ringing:
        return self

    def __exit__(self, *failure: Any) -> None:
        self._stack.__exit__(*failure)


def call(shapes: Mapping[str, Shape], folder: Path, server: Recorder, within_s: float = WITHIN_S) -> dict[str, Call]:
    """All of them at once. Raises AssertionError where one does not come to its end, or nothing is there of what it said."""
    with Ringing(folder, server.address, shapes) as ringing:
        ringing.speak(within_s)
        calls = ringing.finish()
    for name, one in calls.items():
        assert (one.outcome.successful, one.outcome.failed, one.outcome.unexpected) == (1, 0, 0), f"{name}: {one.outcome}, the last messages: {_last(one.noted)}"
    there = recorded(server.recordings, [one.call_id for one in calls.values()])
    for one in calls.values():
        one.recorded = there[one.call_id]
    return calls


def _last(noted: Sequence[Noted]) -> str:
    return "; ".join(f"{'>' if one.sent else '<'} {one.first}" for one in noted[-6:])


def wait_until(true: Any, what: str, within_s: float = 20.0) -> None:
    """Until something holds. Raises AssertionError when it does not in time."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"it never came to that: {what}"
        time.sleep(0.02)


__all__ = ["HOST", "Call", "Recorder", "Ringing", "call", "recorder", "wait_until"]
