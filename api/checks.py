"""What the figures of the engine workers say of their health: SIP, recording sessions, ports for RTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.health import Result

if TYPE_CHECKING:
    from api.engines import Figures
    from engine.config import Config

PORTS_LOW = 0.1  # of all


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


__all__ = ["none", "rtp_ports", "sessions", "sip"]
