"""The signalling of a recorded session, asked of the worker that had it, on its way into the store.

A worker keeps the messages of a call for some minutes behind its end, and the database may be away for longer: so they wait in a dot file beside the recording,
which goes with it where it is erased, and as soon as the store has them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from engine.bus import Bus, BusError
from engine.errors import EngineError
from engine.recordings.catalogue import Catalogue

if TYPE_CHECKING:
    from engine.store import KeptCall
    from engine.trace.live import LiveTrace

ASK_S: Final = 5.0
TRACE_MAX_BYTES: Final = 64 << 20
ASKED_AT_ONCE: Final = 16
log = logging.getLogger("trunkline.recordings")


def name_of(id: str) -> str:
    """Where the messages wait."""
    return f".{id}.trace"


class Traces:
    """What the keeper asks workers for. Belongs to one event loop."""

    def __init__(self, bus: Bus, catalogue: Catalogue) -> None:
        self._bus, self._catalogue = bus, catalogue
        self._places = asyncio.Semaphore(ASKED_AT_ONCE)

    async def fetch(self, id: str, worker: str, call_id: str) -> bool:
        """Has the messages of a session wait beside its recording; whether there are any. A worker that does not know the call, or does not answer, has none."""
        from engine.trace.live import LiveTrace
        from engine.trace.live_service import MESSAGES_SUBJECT, CallWanted

        try:
            async with self._places:
                trace = await self._bus.request(worker, MESSAGES_SUBJECT, CallWanted(call_id), ASK_S, shape=LiveTrace)
            if not trace.messages:
                return False
            await asyncio.to_thread(self._catalogue.replace, name_of(id), msgspec.msgpack.encode(trace))
        except (BusError, OSError, ValueError) as error:
            log.info("the signalling of recording %s stays with its worker: %s", id, error)
            return False
        return True

    def waiting(self, id: str) -> LiveTrace | None:
        """The messages that wait for the store."""
        from engine.trace.live import LiveTrace

        try:
            return msgspec.msgpack.decode(self._catalogue.folder.read(name_of(id), TRACE_MAX_BYTES), type=LiveTrace)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            log.warning("the signalling of recording %s cannot be read: %s", id, error)
            self.done(id)
            return None

    def rows(self, id: str, owner: str, now: float) -> KeptCall | None:
        """Its call with messages and findings, as the store keeps them; None where none wait. Takes some milliseconds."""
        from engine.store.live import rows_of_live

        trace = self.waiting(id)
        if trace is None:
            return None
        try:
            calls = rows_of_live(trace, owner=owner, at=now).calls
        except (EngineError, ValueError) as error:
            log.warning("the signalling of recording %s is not kept: %s", id, error)
            calls = ()
        if not calls:
            self.done(id)
            return None
        return max(calls, key=lambda kept: kept.call.message_count)

    def done(self, id: str) -> None:
        """The store has them."""
        with contextlib.suppress(OSError):
            self._catalogue.folder.unlink(name_of(id))


__all__ = ["Traces", "name_of"]
