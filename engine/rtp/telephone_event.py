"""Digits in the bodies of SIP INFO requests: `application/dtmf-relay` and `application/dtmf`, both ways.

Neither has an RFC. A digit is an event of RFC 4733 §3: 0 to 15 for 0-9, *, #, A-D, and 16 for a hook flash, which these bodies write as "!".
The packets of RFC 4733 itself are in `engine._native.rtp_session`.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from engine._native.rtp_session import digit, event_of

DTMF_RELAY: Final = "application/dtmf-relay"
DTMF: Final = "application/dtmf"
FLASH: Final = 16
DURATION_MS: Final = 250
DURATION_MIN_MS: Final = 40
DURATION_MAX_MS: Final = 6000
BODY_MAX_BYTES: Final = 256
_LINE: Final = re.compile(rb"[ \t]*([A-Za-z]+)[ \t]*[=:][ \t]*([^\r\n]*?)[ \t]*\Z")


class InfoDigit(msgspec.Struct, frozen=True, kw_only=True):
    """A digit of an INFO. `duration_ms` is within 40..6000, and 250 where the body has none."""

    event: int
    duration_ms: int = DURATION_MS

    @property
    def digit(self) -> str:
        """Its character, "" for a flash."""
        return digit(self.event)


def _event(text: bytes) -> int:
    """A character, or the number of an event, as some gateways write * and #."""
    character = text.decode("latin-1")
    if character == "!":
        return FLASH
    event = event_of(character)
    if event is None and re.fullmatch(rb"1[0-6]", text):
        event = int(text)
    if event is None:
        raise ValueError("the body of an INFO has no digit")
    return event


def _duration_ms(text: bytes) -> int:
    if not re.fullmatch(rb"[0-9]{1,9}", text):
        raise ValueError("the duration of a digit is not a number of milliseconds")
    return max(DURATION_MIN_MS, min(DURATION_MAX_MS, int(text)))


def read_info(content_type: str, body: bytes) -> InfoDigit:
    """The digit of an INFO by its Content-Type, whose parameters and case do not matter.

    Lines of `application/dtmf-relay` may come in any order, with any line end, and with others between them; they are taken under
    `application/dtmf` too. Raises ValueError for another type, more than 256 bytes, and a body without a digit.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in (DTMF_RELAY, DTMF):
        raise ValueError("this Content-Type carries no digits")
    if len(body) > BODY_MAX_BYTES:
        raise ValueError(f"the body of an INFO has {len(body)} bytes, more than a digit needs")
    found = [match for line in re.split(rb"[\r\n]+", body) if (match := _LINE.match(line))]
    fields = {match[1].lower(): match[2] for match in reversed(found)}
    if b"signal" in fields:
        return InfoDigit(event=_event(fields[b"signal"]), duration_ms=_duration_ms(fields.get(b"duration", b"%d" % DURATION_MS)))
    if kind == DTMF:
        return InfoDigit(event=_event(body.strip()))
    raise ValueError("the body of an INFO has no Signal line")


def write_info(content_type: str, event: int, duration_ms: int = DURATION_MS) -> bytes:
    """The body of an INFO of one of both types. Raises ValueError for another type, an event above 16, and a duration that is not 40..6000."""
    if not 0 <= event <= FLASH:
        raise ValueError(f"event {event} is no digit")
    if not DURATION_MIN_MS <= duration_ms <= DURATION_MAX_MS:
        raise ValueError(f"duration_ms is {duration_ms}, not {DURATION_MIN_MS}..{DURATION_MAX_MS}")
    signal = digit(event) or "!"
    if content_type == DTMF_RELAY:
        return f"Signal={signal}\r\nDuration={duration_ms}\r\n".encode()
    if content_type == DTMF:
        return signal.encode()
    raise ValueError("this Content-Type carries no digits")


__all__ = ["DTMF", "DTMF_RELAY", "FLASH", "InfoDigit", "read_info", "write_info"]
