"""Bodies of requests and answers: the session description in one, and which other bodies are taken (RFC 3261 7.4, 20.11; RFC 5621)."""

from __future__ import annotations

from typing import Final

from engine._native.sdp import split_multipart
from engine.errors import EngineError
from engine.sip.compose import Header
from engine.sip.message import Message

SDP: Final = "application/sdp"
ACCEPTED: Final = "application/sdp, multipart/mixed, application/dtmf-relay"
_MULTIPART: Final = frozenset({"multipart/mixed", "multipart/related", "multipart/alternative"})
_OF_INVITES: Final = frozenset({"INVITE", "UPDATE", "PRACK", "ACK"})


def description_of(message: Message) -> bytes:
    """The session description of a message, in its body or a part of that; b"" where there is none."""
    body = message.body
    if not body:
        return b""
    kind = message.content_type
    if kind == SDP or not kind:  # a body whose type is not told is what its method usually carries
        return body
    if kind in _MULTIPART:
        for part in parts_of(message):
            if part[0] == SDP:
                return part[1]
    return b""


def parts_of(message: Message) -> list[tuple[str, bytes]]:
    """The parts of a multipart body: (media type in lower case, content)."""
    found, _ = split_multipart(message.value("Content-Type").encode("utf-8", "surrogateescape"), message.body)
    return [(part.content_type.decode("latin-1").partition(";")[0].strip().lower(), bytes(part.body)) for part in found]


def refusal_of(message: Message, also: tuple[str, ...] = ()) -> tuple[int, list[Header]] | None:
    """Why the body of a request cannot be worked with (8.2.3): (415, headers), or None. One whose handling is optional always can. `also` are media types that
    the application reads."""
    if not message.body:
        return None
    coding = message.value("Content-Encoding").strip().lower()
    if coding not in ("", "identity"):
        return 415, [("Accept-Encoding", "identity")]
    kind = message.content_type
    optional = "handling=optional" in message.value("Content-Disposition").replace(" ", "").lower()
    if message.method in _OF_INVITES and kind not in ("", SDP, *also) and kind not in _MULTIPART and not optional:
        return 415, [("Accept", accepted(also))]
    return None


def accepted(also: tuple[str, ...] = ()) -> str:
    """The value of Accept."""
    return ", ".join((ACCEPTED, *also))


def accepts_descriptions(message: Message) -> bool:
    """Whether the answer to a request may carry a description: Accept names it, or is not there (20.1)."""
    elements = message.elements("Accept")
    kinds = {element.partition(b";")[0].strip().lower().decode("latin-1") for element in elements}
    return not message.values("Accept") or bool(kinds & {SDP, "application/*", "*/*"})


def content_type(body: bytes) -> list[Header]:
    """The Content-Type of a description, where there is one."""
    return [("Content-Type", SDP)] if body else []


def warning_of(error: EngineError) -> list[Header]:
    """What a refused offer was refused for (20.43)."""
    said = "".join(character if " " <= character <= "~" and character not in '"\\' else " " for character in str(error))
    return [("Warning", f'{getattr(error, "warning", 399)} trunkline "{said[:200]}"')]


__all__ = ["ACCEPTED", "SDP", "accepted", "accepts_descriptions", "content_type", "description_of", "parts_of", "refusal_of", "warning_of"]
