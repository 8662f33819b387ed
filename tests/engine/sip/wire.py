"""User agents on a wire that is all in memory, under a clock that is told when to go on: whole calls without a socket or a second's wait."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from engine.errors import EngineError
from engine.sip.call import Call, CallUser, Ending
from engine.sip.incoming import IncomingCall
from engine.sip.message import Message, parse
from engine.sip.outgoing import Identity
from engine.sip.transfer import Transfer
from engine.sip.user_agent import Application, Settings, UserAgent

from .fake_clock import FakeClock

OneWay = Callable[[bytes], bool]


class Wire:
    """What joins the agents. `lost` says of a message that is sent whether it gets lost; all that is sent is kept in `log`."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.agents: dict[str, Wired] = {}
        self.log: list[tuple[str, str, Message]] = []
        self.lost: Callable[[str, Message], bool] = lambda sender, message: False

    def carry(self, sender: str, receiver: str, data: bytes) -> None:
        message = parse(data)
        self.log.append((sender, receiver, message))
        if not self.lost(sender, message):
            there = self.agents.get(receiver)
            if there is not None:
                self.clock.call_later(0.001, there.take, data, sender)

    def said(self, method_or_status: str | int) -> list[Message]:
        """What was sent with a method, or with a status, repeats and all."""
        return [
            message for _, _, message in self.log
            if (message.method == method_or_status if isinstance(method_or_status, str) and message.is_request else message.status == method_or_status)
        ]  # fmt: skip


class WireFlow:
    """From one agent to another."""

    alive = True

    def __init__(self, wire: Wire, ours: str, theirs: str, reliable: bool) -> None:
        self._wire, self._ours, self._theirs = wire, ours, theirs
        self.reliable = reliable
        self.transport = "TCP" if reliable else "UDP"
        self.peer = (theirs, 5060)
        self.local = (ours, 5060)

    def close(self) -> None:
        pass

    def send(self, data: bytes) -> None:
        if self._theirs not in self._wire.agents:
            raise ConnectionRefusedError(f"nobody is at {self._theirs}")
        self._wire.carry(self._ours, self._theirs, data)


class Wired:
    """One agent's end of the wire: its `Network`."""

    def __init__(self, wire: Wire, host: str, reliable: bool) -> None:
        self.wire, self.host, self.reliable = wire, host, reliable
        self.agent: UserAgent | None = None
        self.avoided: list[str] = []
        wire.agents[host] = self

    def flow(self, host: str) -> WireFlow:
        return WireFlow(self.wire, self.host, host, self.reliable)

    def take(self, data: bytes, sender: str) -> None:
        assert self.agent is not None
        self.agent.layer.received(data, self.flow(sender))

    def via(self, flow: Any) -> str:
        return f"SIP/2.0/{flow.transport} {self.host}:5060"

    def contact(self, flow: Any) -> str:
        return f"<sip:{self.host}>"

    def at_once(self, uri: str, *, large: bool = False) -> WireFlow | None:
        host = uri.partition("@")[2] or uri.partition(":")[2]
        return self.flow(host.partition(";")[0].partition(":")[0])

    async def each(self, uri: str, *, large: bool = False) -> AsyncIterator[WireFlow]:
        found = self.at_once(uri)
        if found is not None:
            yield found

    def avoid(self, flow: Any, retry_after_s: float) -> None:
        self.avoided.append(flow.peer[0])

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Nothing here waits for anything: it runs to its end at once."""
        try:
            while True:
                work.send(None)
        except StopIteration:
            pass


class Refused(EngineError):
    """A session that does not agree."""

    status = 488


class Marks:
    """A session whose descriptions say what they are: offers and answers with a number, so that a test sees which came of which. Offers and
    answers out of order are an assertion."""

    def __init__(self, name: str, made: int = 0) -> None:
        self.name = name
        self.made = made
        self.agreed: list[tuple[str, str]] = []  # (offer, answer)
        self._open = ""
        self.refuses = False
        self.rolled_back = 0

    def local_offer(self) -> bytes:
        assert not self._open, "an offer is under way already"
        self.made += 1
        self._open = f"offer {self.name} {self.made}"
        return self._open.encode()

    def remote_answer(self, body: bytes) -> None:
        assert self._open, "an answer without an offer"
        told = body.decode()
        if self.refuses or not told.startswith("answer"):
            raise Refused("that is no answer")
        assert told.endswith(f"({self._open})"), f"{told} answers something else than {self._open}"
        self.agreed.append((self._open, told))
        self._open = ""

    def remote_offer(self, body: bytes) -> bytes:
        assert not self._open, "their offer came while ours is open"
        told = body.decode()
        if self.refuses or not told.startswith("offer"):
            raise Refused("that is no offer")
        self.made += 1
        answer = f"answer {self.name} {self.made} ({told})"
        self.agreed.append((told, answer))
        return answer.encode()

    def rollback(self) -> None:
        self._open = ""
        self.rolled_back += 1

    def fork(self) -> Marks:
        made = Marks(self.name, self.made)
        made._open, made.agreed, made.refuses = self._open, list(self.agreed), self.refuses
        return made


class Watcher(CallUser):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.endings: list[Ending] = []
        self.transfers: list[Transfer] = []
        self.info_status = 200
        self.calls: list[Call] = []

    def on_progress(self, call: Call, response: Message) -> None:
        self.told.append(f"progress {response.status}")

    def on_connected(self, call: Call) -> None:
        self.told.append("connected")

    def on_media(self, call: Call) -> None:
        self.told.append("media")

    def on_offer_refused(self, call: Call, status: int) -> None:
        self.told.append(f"refused {status}")

    def on_info(self, call: Call, request: Message) -> int:
        self.told.append(f"info {request.body.decode()}")
        return self.info_status

    def on_refer(self, call: Call, transfer: Transfer) -> None:
        self.told.append("refer")
        self.transfers.append(transfer)

    def on_transfer(self, call: Call, status: int) -> None:
        self.told.append(f"transfer {status}")

    def on_replaced(self, call: Call, by: Call) -> None:
        self.told.append("replaced")

    def on_ended(self, call: Call, ending: Ending) -> None:
        self.told.append("ended")
        self.endings.append(ending)


class Party(Application):
    """Somebody with a phone on the wire. `answers` does with a call that comes what it likes; otherwise it rings and answers."""

    def __init__(
        self, wire: Wire, host: str, *, settings: Settings | None = None, reliable: bool = False, answers: Callable[[IncomingCall], None] | None = None,
        chance: float = 0.5,
    ) -> None:  # fmt: skip
        self.host = host
        self.network = Wired(wire, host, reliable)
        self.agent = UserAgent(self.network, wire.clock, self, settings, chance=lambda: chance)
        self.network.agent = self.agent
        self.calls: list[IncomingCall] = []
        self.users: list[Watcher] = []
        self._answers = answers

    @property
    def uri(self) -> str:
        return f"sip:{self.host}@{self.host}"

    @property
    def session(self) -> Marks:
        """Of the last call that came."""
        found = self.calls[-1].session
        assert isinstance(found, Marks)
        return found

    @property
    def user(self) -> Watcher:
        """Of the last call that came."""
        return self.users[-1]

    def on_call(self, call: IncomingCall) -> None:
        self.calls.append(call)
        self.users.append(Watcher())
        call.user = self.users[-1]
        call.session = Marks(self.host)
        if self._answers is not None:
            self._answers(call)
        else:
            call.ring()
            call.answer()

    def dial(self, other: Party | str, user: Watcher | None = None, **more: Any) -> Any:
        target = other if isinstance(other, str) else other.uri
        more.setdefault("session", Marks(self.host))
        identity = more.pop("identity", Identity(uri=self.uri))
        return self.agent.call(target, identity, user=user or Watcher(), **more)
