"""A recording as a vCon: who talked, what was recorded, what was heard (draft-ietf-vcon-vcon-core-02).

The sound is told by URL and hash, or is in it. Channels are mapped to parties; who joined, left, held or was muted is told with its time.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from engine.clock import iso
from engine.media.manifest import Interval, Manifest
from engine.recordings.catalogue import Catalogue, chosen
from engine.recordings.errors import NotRecorded
from engine.recordings.record import KeptFile, Record
from engine.siprec.document import Body
from engine.siprec.facts import ChannelFacts, Party, SessionFacts

VERSION: Final = "0.4.0"
VENDOR: Final = "trunkline"
INLINE_MAX_BYTES: Final = 64 << 20
ATTACHMENTS_MAX: Final = 1000
MEDIA_TYPES: Final = {"wav": "audio/x-wav", "flac": "audio/flac", "mp3": "audio/mpeg", "ogg": "audio/ogg", "opus": "audio/ogg"}
_NUMBER: Final = re.compile(r"\+?[0-9][0-9.-]{2,31}")
_SESSION_ID: Final = re.compile(r"([0-9a-f]{32})(?:.*?;remote=([0-9a-f]{32}))?", re.IGNORECASE | re.DOTALL)
_EVENTS: Final = {"hold": ("hold", "unhold"), "mute": ("mute", "unmute"), "pause": ("mute", "unmute")}


def vcon_of(catalogue: Catalogue, record: Record, *, at: float, url_of: Callable[[KeptFile], str] | None = None) -> dict[str, Any]:
    """The vCon of a recording. `at` is now, seconds since 1970; `url_of` says where a file can be had, and without it the sound is in the document. Waits for
    the disk, and for storage elsewhere. Raises NotRecorded, where it has no sound or too much to be inside, and what `Catalogue.read_audio` raises."""
    manifest = catalogue.manifest(record)
    document = catalogue.document(record)
    session = document.session if document is not None else SessionFacts(call_id=record.call_id, recording_id=record.recording_id)
    parties = [_party(party) for party in session.participants] or [{"name": channel.name or channel.label or f"channel {channel.index}"} for channel in manifest.channels]
    made: dict[str, Any] = {
        "vcon": VERSION, "uuid": _uuid(record), "created_at": iso(at), "parties": parties or [{"name": "unknown"}],
        "dialog": _dialog(catalogue, record, manifest, session, url_of), "analysis": _analysis(catalogue, record),
        "attachments": _attachments(document.bodies) if document is not None else [],
    }  # fmt: skip
    if record.redactions:
        made["redacted"] = {"type": "pii"}
    return made


def _uuid(record: Record) -> str:
    """A UUID of version 8 (RFC 9562 5.8) that is always the same for a recording as it is."""
    digest = bytearray(hashlib.sha256(f"{record.recording_id}/{record.manifest_sha256}/{len(record.redactions)}".encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(digest)))


def _party(party: Party) -> dict[str, Any]:
    told: dict[str, Any] = {}
    scheme, _, rest = party.aor.partition(":")
    user = rest.partition("@")[0].partition(";")[0] if rest else party.aor.partition("@")[0]
    if scheme.lower() in ("sip", "sips"):
        told["sip"] = party.aor
    if _NUMBER.fullmatch(user):
        told["tel"] = f"tel:{user}"
    if party.name:
        told["name"] = party.name
    told["uuid"] = party.participant_id
    return told


# ---- dialog ----


def _dialog(catalogue: Catalogue, record: Record, manifest: Manifest, session: SessionFacts, url_of: Callable[[KeptFile], str] | None) -> list[dict[str, Any]]:
    """The merged file, or one dialog a leg where there is none."""
    first = chosen(record, None)
    files = [first] if first.role != "leg" else [file for file in record.files if file.role == "leg"]
    return [_recording(catalogue, record, manifest, session, file, url_of) for file in files]


def _recording(
    catalogue: Catalogue, record: Record, manifest: Manifest, session: SessionFacts, file: KeptFile, url_of: Callable[[KeptFile], str] | None
) -> dict[str, Any]:
    channels = {channel.index: channel for channel in session.channels}
    tracks = file.tracks or tuple(channel.index for channel in manifest.channels)
    told: dict[str, Any] = {
        "type": "recording", "start": manifest.start, "duration": manifest.duration_ms / 1000,
        "parties": [_of_channel(channels.get(track), session.participants, track) for track in tracks], "mediatype": MEDIA_TYPES.get(file.format, "audio/x-wav"),
        "filename": file.name,
    }  # fmt: skip
    if ids := [_session_id(each) for each in session.session_ids if _SESSION_ID.match(each)]:
        told["session_id"] = ids[0] if len(ids) == 1 else ids
    if history := _history(record, manifest, session):
        told["party_history"] = history
    digest, sound = hashlib.sha512(), bytearray()
    if url_of is None and file.bytes > INLINE_MAX_BYTES:
        raise NotRecorded(f"{file.name} has {file.bytes} bytes; a document takes {INLINE_MAX_BYTES}")
    for piece in catalogue.read_audio(record, file):
        digest.update(piece)
        if url_of is None:
            sound += piece
    told["content_hash"] = f"sha512-{_base64url(digest.digest())}"
    return told | ({"url": url_of(file)} if url_of is not None else {"body": _base64url(bytes(sound)), "encoding": "base64url"})


def _of_channel(channel: ChannelFacts | None, participants: Sequence[Party], track: int) -> int | list[int] | None:
    """Whose voices are in a channel, by their place among the parties; None where nobody knows."""
    if not participants:
        return track
    place = {party.place: number for number, party in enumerate(participants)}
    found = [place[each] for each in channel.parties if each in place] if channel is not None else []
    return None if not found else found[0] if len(found) == 1 else found


def _session_id(text: str) -> dict[str, str]:
    """A Session-ID (RFC 7989 5) in its halves."""
    found = _SESSION_ID.match(text)
    assert found is not None
    return {"local": found[1]} | ({"remote": found[2]} if found[2] else {})


def _history(record: Record, manifest: Manifest, session: SessionFacts) -> list[dict[str, Any]]:
    """Who joined, left, held, was muted; in order of time."""
    came_and_went = ((number, when, event) for number, party in enumerate(session.participants) for when, event in ((party.joined, "join"), (party.left, "drop")))
    told = [(at, number, event) for number, when, event in came_and_went if when and (at := _instant(when)) is not None]
    begin = datetime.fromisoformat(manifest.start).timestamp()
    for interval in manifest.intervals:
        if interval.type in _EVENTS:
            for number in _parties_of(interval, session):
                told += [(begin + ms / 1000, number, event) for ms, event in zip((interval.start_ms, interval.end_ms), _EVENTS[interval.type], strict=True)]
    return [{"party": number, "time": iso(when), "event": event} for when, number, event in sorted(told, key=lambda each: each[0])]


def _parties_of(interval: Interval, session: SessionFacts) -> Iterable[int]:
    place = {party.place: number for number, party in enumerate(session.participants)}
    channels = [channel for channel in session.channels if not interval.tracks or channel.index in interval.tracks]
    return sorted({place[each] for channel in channels for each in channel.parties if each in place})


def _instant(text: str) -> float | None:
    """A time of the metadata in seconds since 1970; without a zone it is UTC. None for what is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else datetime.fromisoformat(f"{text}+00:00")).timestamp()


# ---- analysis and attachments ----


def _analysis(catalogue: Catalogue, record: Record) -> list[dict[str, Any]]:
    """What was heard, for each transcript."""
    found = []
    for file in record.files:
        if file.role == "transcript" and file.bytes <= INLINE_MAX_BYTES:
            body = msgspec.json.decode(b"".join(catalogue.read_audio(record, file)))
            found.append(
                {"type": "transcript", "dialog": 0, "vendor": VENDOR, "schema": "transcript", "mediatype": "application/json", "encoding": "json", "body": body}
            )
    return found


def _attachments(bodies: Sequence[Body]) -> list[dict[str, Any]]:
    """The metadata as it came."""
    return [
        {
            "purpose": "rs-metadata", "start": iso(body.at), "party": 0, "dialog": 0, "mediatype": body.content_type, "encoding": "none",
            "body": body.content.encode("latin-1", "replace").decode("utf-8", "replace"),
        }
        for body in bodies
        if "rs-metadata" in body.content_type and body.direction == "in"
    ][:ATTACHMENTS_MAX]  # fmt: skip


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


__all__ = ["INLINE_MAX_BYTES", "VERSION", "vcon_of"]
