"""An account of ours at somebody's registrar, on the sockets of an endpoint: the way there is looked for, and looked for again when it is
gone (RFC 5626 4.4.1), and `registration.py` does the rest.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Final

import msgspec

from engine.errors import EngineError
from engine.sip.endpoint import Endpoint
from engine.sip.flow import Flow
from engine.sip.registration import Account, Registration, State
from engine.sip.timers import Clock, Handle
from engine.sip.transaction import OnEnd, OnMessage
from engine.sip.transaction_layer import branched

LOOK_AGAIN_S: Final = 30.0
WATCH_S: Final = 5.0
log = logging.getLogger("trunkline.sip")


class KeptAccount:
    """One account that is kept registered. Belongs to one event loop."""

    def __init__(
        self, endpoint: Endpoint, account: Account, way: str, clock: Clock, *, user: str, chance: Callable[[], float] = random.random
    ) -> None:
        """`way` is the URI that requests go to, a registrar or an outbound proxy; `user` stands in the Contact."""
        self._endpoint = endpoint
        self._account = account
        self._way = way
        self._clock = clock
        self._user = user
        self._chance = chance
        self._flow: Flow | None = None
        self._due: Handle | None = None
        self._call_id = endpoint.agent.new_call_id()
        self._stopping = False
        self.registration: Registration | None = None

    @property
    def state(self) -> State:
        """Where it stands; IDLE while there is no way to the registrar."""
        return self.registration.state if self.registration is not None else State.IDLE

    def start(self) -> None:
        """Looks for a way, and registers."""
        self._endpoint.spawn(self._look())

    async def _look(self) -> None:
        try:
            flow = await anext(self._endpoint.each(self._way), None)
        except (EngineError, OSError) as error:
            log.warning("there is no way to the registrar of %s: %s", self._account.address_of_record, error)
            flow = None
        if self._stopping:
            return
        if flow is None:
            self._again(LOOK_AGAIN_S * (0.5 + 0.5 * self._chance()), self.start)
            return
        first, self._flow = self._flow is None, flow
        contact = self._endpoint.contact(flow)[1:-1].replace("sip:", f"sip:{self._user}@", 1)
        if self.registration is None or first or contact != self.registration.account.contact:
            account = msgspec.structs.replace(self._account, contact=contact)
            self.registration = Registration(account, self._send, self._clock, self._via, on_change=self._changed, call_id=self._call_id)
            self.registration.start()
        else:
            self.registration.again()
        self._again(WATCH_S, self._watch)

    def _again(self, delay_s: float, call: Callable[[], None]) -> None:
        if self._due is not None:
            self._due.cancel()
        self._due = self._clock.call_later(delay_s, call)

    def _watch(self) -> None:
        """A connection that is gone is made anew at once: calls come over it."""
        if self._flow is not None and self._flow.alive:
            self._again(WATCH_S, self._watch)
        else:
            self.start()

    def _via(self) -> str:
        assert self._flow is not None
        return branched(self._endpoint.via(self._flow))

    def _send(self, data: bytes, *, on_response: OnMessage, on_timeout: OnEnd, on_failure: Callable[[Exception], None]) -> None:
        assert self._flow is not None
        self._endpoint.agent.layer.request(data, self._flow, on_response=on_response, on_timeout=on_timeout, on_failure=on_failure)

    def _changed(self, registration: Registration) -> None:
        log.info("%s is %s%s", self._account.address_of_record, registration.state.value, f": {registration.why}" if registration.why else "")

    def stop(self) -> None:
        """Takes the binding away."""
        self._stopping = True
        if self._due is not None:
            self._due.cancel()
        if self.registration is not None:
            self.registration.stop()


__all__ = ["KeptAccount"]
