"""The messages of `shapes/`: one or more for each client, written by what is known of how it sends. Files have bare LF; on the wire each line ends in CRLF."""

from __future__ import annotations

from pathlib import Path

from engine._native.sdp import scan
from engine.sip.message import Message
from engine.sip.message import parse as read
from engine.siprec.bodies import RecordingParts, parts_of
from engine.siprec.metadata import Metadata, parse
from engine.siprec.view import OfferedLine

FOLDER = Path(__file__).parent / "shapes"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.sip")))
WITHOUT_METADATA = frozenset({"cisco_cucm_bib_nearend", "cisco_cucm_bib_farend", "cisco_nbr", "cisco_nbr_transferred"})


def message(name: str, line_end: bytes = b"\r\n") -> Message:
    head, _, body = (FOLDER / f"{name}.sip").read_bytes().replace(b"\n", line_end).partition(line_end * 2)
    return read(head + line_end * 2 + body)


def parts(name: str, line_end: bytes = b"\r\n") -> RecordingParts:
    found = message(name, line_end)
    return parts_of(found.value("Content-Type").encode(), found.body)


def document(name: str) -> Metadata:
    return parse(parts(name).metadata)


def partial(name: str) -> Metadata:
    return parse((FOLDER / f"{name}.xml").read_bytes())


def lines(name: str) -> tuple[OfferedLine, ...]:
    """The m= lines of its offer."""
    offer = scan(parts(name).sdp)
    return tuple(OfferedLine(index=index, label=media.label.decode()) for index, media in enumerate(offer.media)) if offer else ()
