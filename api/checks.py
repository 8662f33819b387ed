"""What figures say of health: those of the engine workers of SIP, recording sessions and ports for RTP, those of the store of transcription jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from engine.health import Result

if TYPE_CHECKING:
    from api.engines import Figures
    from engine.config import Config
    from engine.store.jobs import Figures as JobFigures

PORTS_LOW = 0.1  # of all
JOBS_MANY = 1000
FAILED_MANY = 0.5  # of those that ended


async def none() -> Result:
    """Of what this server does without, or another process tells."""
    return Result("not_configured")


def _takes_sip(config: Config) -> bool:
    return bool(config.sip.listen or config.sip.port)


def sip(config: Config, figures: Figures | None) -> Result:
    """Whether calls can come in. Without one worker that answers there is no SIP at all."""
    if not _takes_sip(config):
        return Result("not_configured", "no port is configured")
    if figures is None or len(figures.silent) >= figures.workers:
        return Result("unhealthy", "no engine worker answers")
    if figures.silent:
        return Result("degraded", f"no answer from {', '.join(figures.silent)}")
    return Result("healthy", "SIP service is running")


def sessions(config: Config, figures: Figures | None) -> Result:
    """Whether another recording session would be taken."""
    if not _takes_sip(config) or not config.siprec.enabled:
        return Result("not_configured")
    if figures is None or len(figures.silent) >= figures.workers:
        return Result("unhealthy", "no engine worker answers")
    active, most = figures.counts.get("active", 0), config.resources.max_concurrent_calls
    if figures.counts.get("has_room", 0) < figures.workers - len(figures.silent):
        return Result("degraded", "new sessions are refused: the disk of recordings is full")
    if active >= most:
        return Result("degraded", f"new sessions are refused: there are {active:,}, as many as resources.max_concurrent_calls allows")
    return Result("healthy", f"{active:,} of {most:,} sessions")


def rtp_ports(figures: Figures | None) -> Result:
    """Whether there are ports for more streams."""
    total = figures.counts.get("ports_total", 0) if figures is not None else 0
    if figures is None or not total:
        return Result("not_configured")
    free = max(0, total - figures.counts.get("ports_used", 0))
    if not free:
        return Result("unhealthy", "no RTP port is free")
    return Result("degraded" if free < total * PORTS_LOW else "healthy", f"{free:,} of {total:,} RTP ports available")


def transcription(config: Config, jobs: Iterable[JobFigures]) -> dict[str, Result]:
    """The queue of transcription jobs, and each provider. Nothing recognises speech here yet, so no provider is configured."""
    if not config.stt.async_enabled:
        return {"stt_queue": Result("not_configured")}
    counts: dict[str, int] = {}
    for one in jobs:
        counts[one.state] = counts.get(one.state, 0) + one.count
    waiting, done, failed = (counts.get(state, 0) for state in ("queued", "done", "failed"))
    bad = waiting > JOBS_MANY or failed > FAILED_MANY * (done + failed)
    told = {"stt_queue": Result("degraded" if bad else "healthy", f"{waiting:,} jobs wait; {failed:,} of {done + failed:,} failed")}
    return told | {f"stt_{vendor}": Result("not_configured") for vendor in config.stt.supported_vendors}


__all__ = ["none", "rtp_ports", "sessions", "sip", "transcription"]
