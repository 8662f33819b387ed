"""What the recording server sends of metadata: with an answer, where the setting asks for it, and the request for a snapshot (RFC 7866 9.1, 9806)."""

from __future__ import annotations

import re
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from engine.siprec.metadata import NAMESPACE
from engine.siprec.view import View

METADATA: Final = "application/rs-metadata+xml"
SNAPSHOT: Final = "application/rs-metadata-request"
EXTENSION: Final = "urn:trunkline:siprec"
_BOUNDARY: Final = "trunkline-siprec"
_NO_XML: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_XML: Final = '<?xml version="1.0" encoding="UTF-8"?>'


def _text(value: str) -> str:
    return escape(_NO_XML.sub("", value))


def _attribute(value: str) -> str:
    return quoteattr(_NO_XML.sub("", value))


def _element(name: str, value: str) -> str:
    return f"<{name}>{_text(value)}</{name}>" if value else ""


def _participants(view: View) -> str:
    said, parties = [], view.participants
    for place in view.present:
        party = parties[place]
        identifier = _attribute(party.participant_id or party.aor)
        names = _element("name", party.name)
        said.append(f"<participant participant_id={identifier}>" + "".join(
            f"<nameID aor={_attribute(aor)}>{names if number == 0 else ''}</nameID>" for number, aor in enumerate(party.aors)
        ) + "</participant>")  # fmt: skip
        said.extend(
            f"<participantsessionassoc participant_id={identifier} session_id={_attribute(session)}>{_element('associate-time', party.joined)}</participantsessionassoc>"
            for session in party.session_ids
        )  # fmt: skip
        if sends := view.sends(place):
            said.append(f"<participantstreamassoc participant_id={identifier}>{''.join(_element('send', stream) for stream in sends)}</participantstreamassoc>")
    return "".join(said)


def document(view: View, *, recording_session_id: str, sequence: int) -> bytes:
    """The view as a complete document of RFC 7865, on one line. Which recording session it is of, and the number of the document, stand in an extension."""
    groups = "".join(f"<group group_id={_attribute(group.group_id)}>{_element('associate-time', group.associate_time)}</group>" for group in view.groups)
    sessions = "".join(
        f"<session session_id={_attribute(session.session_id)}>{''.join(_element('sipSessionID', one) for one in session.sip_session_ids)}"
        f"{''.join(_element('group-ref', group) for group in session.group_ids)}{_element('start-time', session.start_time)}</session>"
        for session in view.sessions
    )  # fmt: skip
    streams = "".join(
        f"<stream stream_id={_attribute(stream.stream_id)} session_id={_attribute(stream.session_id)}>{_element('label', stream.label)}</stream>" for stream in view.streams
    )
    recorded = "".join(f"<sessionrecordingassoc session_id={_attribute(session.session_id)}/>" for session in view.sessions)
    return (
        f'{_XML}<recording xmlns="{NAMESPACE}"><datamode>complete</datamode>{groups}{sessions}{_participants(view)}{streams}{recorded}'
        f'<recording-session xmlns="{EXTENSION}" id={_attribute(recording_session_id)} sequence="{sequence}"/></recording>'
    ).encode("utf-8", "replace")


def _multipart(description: bytes, media_type: str, content: bytes) -> tuple[str, bytes]:
    """(Content-Type, body) of a description and a part of the recording session; the boundary is one that neither has."""
    boundary, number = _BOUNDARY, 0
    while boundary.encode() in description or boundary.encode() in content:
        number += 1
        boundary = f"{_BOUNDARY}-{number}"
    body = b"".join((
        f"--{boundary}\r\nContent-Type: application/sdp\r\n\r\n".encode(), description,
        f"\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Disposition: recording-session\r\n\r\n".encode(), content, f"\r\n--{boundary}--\r\n".encode(),
    ))  # fmt: skip
    return f"multipart/mixed;boundary={boundary}", body


def answer_body(sdp: bytes, view: View, *, recording_session_id: str, sequence: int) -> tuple[str, bytes]:
    """(Content-Type, body) of an answer with metadata: the description, and the view as document number `sequence`."""
    return _multipart(sdp, METADATA, document(view, recording_session_id=recording_session_id, sequence=sequence))


def snapshot_request(reason: str = "") -> tuple[str, bytes]:
    """(Content-Type, body) that asks a client for a complete document (RFC 7866 8.2); its Content-Disposition is recording-session. Only for a client that accepts the
    type."""
    asked = _element("requestreason", reason)
    return SNAPSHOT, f'{_XML}<requestsnapshot xmlns="{NAMESPACE}">{asked}</requestsnapshot>'.encode("utf-8", "replace")


def offer_with_request(description: bytes, reason: str = "") -> tuple[str, bytes]:
    """(Content-Type, body) of a re-INVITE that offers `description` and asks for a complete document."""
    media_type, request = snapshot_request(reason)
    return _multipart(description, media_type, request)


__all__ = ["METADATA", "SNAPSHOT", "answer_body", "document", "offer_with_request", "snapshot_request"]
