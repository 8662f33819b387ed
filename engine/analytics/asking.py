"""What the workers know of a session that this process has not heard of: it was started while calls went on."""

from __future__ import annotations

from typing import Final

from engine.bus import Bus, BusError, UnknownTarget
from engine.siprec.facts import SessionFacts
from engine.siprec.service import SESSION_SUBJECT, SessionWanted, UnknownSession, ask
from engine.supervisor import STATUS_SUBJECT, Status

SUPERVISOR: Final = "supervisor"
ASK_S: Final = 5.0


async def session_of(bus: Bus, call_id: str) -> SessionFacts | None:
    """The session of a Call-ID; None where no worker of this machine has it. Raises BusError where one that might have it does not say."""
    try:
        status = await bus.request(SUPERVISOR, STATUS_SUBJECT, timeout_s=ASK_S, shape=Status)
    except UnknownTarget:  # this process runs alone
        return None
    workers = [child.name for child in status.children if child.kind == "engine"]
    try:
        return await ask(bus, workers, SESSION_SUBJECT, SessionWanted(id=call_id), SessionFacts, timeout_s=ASK_S)
    except UnknownSession:
        return None
    except BusError as error:
        if error.code == UnknownSession.code:
            return None
        raise


__all__ = ["session_of"]
