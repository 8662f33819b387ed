"""What the services of the keeper work with, and what it wants of them.

The keeper is one process a machine. It looks after what calls leave behind, and tells what they say while they go on; each part of that is a
service of its own, made with a `Keeping`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from engine.health import Result

if TYPE_CHECKING:
    from engine.bus import Bus
    from engine.compliance.audit_log import AuditEvent
    from engine.config import Config
    from engine.media.manifest import Interval
    from engine.recordings.catalogue import Catalogue
    from engine.recordings.record import KeptFile, Record
    from engine.siprec.events import LiveMessage
    from engine.store import Store

KEEPER: Final = "keeper"  # its name on the bus
HEALTH_SUBJECT: Final = "keeper.health"  # -> {name of a check: {"status", "message"}}


class Redactor(Protocol):
    """What must not be heard in a recording, and how it is taken out. Set as `Keeping.redactor`; without one nothing is taken out."""

    async def intervals(self, record: Record) -> Sequence[Interval] | None:
        """What to silence, in milliseconds of the recording; None where that cannot be said yet: the recording waits as it is, and is asked
        about again."""

    def silence(self, source: Path, target: Path, file: KeptFile, intervals: Sequence[Interval]) -> None:
        """Makes `target`, a file that is not there, of `source`: as long, with silence in the intervals. Runs in a thread. Raises OSError and engine
        errors, after which it is tried again."""


class Transcripts(Protocol):
    """What was heard in recordings, written beside them. Set as `Keeping.transcripts`."""

    async def finished(self, recording_id: str, manifest: str) -> str:
        """The name of a recording's transcript, whole and on the disk, in the folder of recordings; "" where nothing was heard. Waits a few seconds for
        what speech recognition still says."""


@dataclass(slots=True)
class Keeping:
    """`config` is the one in force: read it each time, since a reload replaces it. `store` gives the store, None until it could be opened once;
    while the database is away its methods raise `StoreError`. `clock` is wall time in seconds. `announce(topic, payload)` tells the processes of
    this machine and, where there is a bus between them, those of others; it does not raise. `listeners` are called with each message for those who
    follow calls, and its topic, before it goes on the bus: they neither wait nor change it. `erasers` are called with all Call-IDs of a call that is
    erased: each takes away what its part has of them, on the disk when it returns, and returns what could not be. `audit` writes into the log of
    compliance; `tell` does where there is one."""

    config: Config
    data_dir: Path
    bus: Bus
    store: Callable[[], Store | None]
    clock: Callable[[], float]
    catalogue: Catalogue
    announce: Callable[[str, Any], Awaitable[None]]
    redactor: Redactor | None = None
    transcripts: Transcripts | None = None
    listeners: list[Callable[[str, LiveMessage], None]] = field(default_factory=list)
    erasers: list[Callable[[frozenset[str]], Awaitable[Sequence[str]]]] = field(default_factory=list)
    audit: Callable[[AuditEvent], None] | None = None

    @property
    def recordings(self) -> Path:
        """The folder of recordings."""
        return self.data_dir / self.config.recording.directory

    def tell(self, event: str, *, call_id: str, actor: str, success: bool = True, detail: dict[str, Any] | None = None) -> None:
        """Has the audit log know of something that was done, or was not."""
        if self.audit is None:
            return
        from engine.compliance.audit_log import AuditEvent

        self.audit(
            AuditEvent(event=event, at=self.clock(), call_id=call_id, actor=actor, outcome="success" if success else "failure", detail=detail or {})
        )


class Service(Protocol):
    """A part of the keeper's work, made with its `Keeping` alone. `start` returns soon, and raises nothing because something else is away; work
    that waits goes on in tasks of its own. After `close` none is left."""

    def __init__(self, keeping: Keeping) -> None: ...

    async def start(self) -> None:
        """Serves its subjects on the bus, subscribes, begins its tasks."""

    async def close(self) -> None:
        """Finishes or leaves for the next start what it has begun."""

    def checks(self) -> dict[str, Result]:
        """How it is, by the name of each check in /health; not more than a look at what is known."""


__all__ = ["HEALTH_SUBJECT", "KEEPER", "Keeping", "Redactor", "Service", "Transcripts"]
