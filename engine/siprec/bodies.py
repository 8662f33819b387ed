"""The body of a recording session's message: the session description and the metadata in it (RFC 7866 9.1, RFC 5621), however they are put together.

Recording clients send them as parts in any order, with lines that end in LF alone, with a boundary that is not the one they announce, or one of the two alone. Nothing here
raises: what cannot be read is told in `warnings`, texts that begin with a word of their own.
"""

from __future__ import annotations

import binascii
import quopri
import re
from typing import Final

import msgspec

from engine._native.sdp import ContentKind, MimeFlag, Part, content_kind, split_multipart
from engine.siprec.elements import clean

PARTS_MAX: Final = 32  # of one multipart
PARTS_IN_ALL: Final = 64
DEPTH_MAX: Final = 4
WARNINGS_MAX: Final = 16

_DELIMITER: Final = re.compile(rb"^--([^\r\n]{1,200}?)[ \t]{0,16}\r?$", re.MULTILINE)
_HEADER: Final = re.compile(rb"^(content-transfer-encoding|content-disposition|e)[ \t]*:[ \t]*([^\r\n]{0,200})", re.IGNORECASE | re.MULTILINE)
_ROOT: Final = re.compile(rb"<(?:[A-Za-z_][\w.-]{0,40}:)?recording(?:_metadata|-metadata)?[\s>/]")
_FLAWS: Final = {
    MimeFlag.NO_BOUNDARY: "no_boundary: the type of the body names none",
    MimeFlag.BOUNDARY_BAD: "bad_boundary: it is not of the form of RFC 2046",
    MimeFlag.UNTERMINATED: "unterminated: the last boundary is missing",
    MimeFlag.TOO_MANY: f"too_many_parts: more than {PARTS_MAX}",
}


class RecordingParts(msgspec.Struct, frozen=True, kw_only=True):
    """What a body holds, each part byte for byte but for its transfer encoding. `metadata_type` is the media type the metadata came with; `others` are all other parts: (media type in lower case, content)."""

    sdp: bytes = b""
    metadata: bytes = b""
    metadata_type: str = ""
    others: tuple[tuple[str, bytes], ...] = ()
    warnings: tuple[str, ...] = ()


class _Found:
    """The parts of one body, as they are met."""

    def __init__(self) -> None:
        self.sdp = self.metadata = b""
        self.metadata_type = ""
        self.others: list[tuple[str, bytes]] = []
        self.warnings: list[str] = []
        self.left = PARTS_IN_ALL

    def warn(self, text: str) -> None:
        if len(self.warnings) < WARNINGS_MAX and text not in self.warnings:
            self.warnings.append(text)

    def take(self, kind: ContentKind, media_type: str, body: bytes) -> None:
        """Puts a part where it belongs. The first description and the first metadata count."""
        if kind is ContentKind.SDP and not self.sdp:
            self.sdp = body.lstrip(b"\r\n\t ") if body[:1].isspace() else body
        elif kind is ContentKind.RS_METADATA and not self.metadata:
            self.metadata, self.metadata_type = body, media_type
        else:
            if kind in (ContentKind.SDP, ContentKind.RS_METADATA):
                self.warn(f"repeated: another part of {media_type}")
            self.others.append((media_type, body))

    def split(self, content_type: bytes, body: bytes, depth: int) -> None:
        """Takes the parts of a multipart."""
        if depth > DEPTH_MAX:
            self.warn(f"nested: more than {DEPTH_MAX} multiparts in one another")
            self.others.append(("multipart/mixed", body))
            return
        for part in self.parts(content_type, body):
            self.left -= 1
            if self.left < 0:
                self.warn(f"too_many_parts: more than {PARTS_IN_ALL}")
                return
            self.part(part, depth)

    def parts(self, content_type: bytes, body: bytes) -> list[Part]:
        found, flags = split_multipart(content_type, body, PARTS_MAX)
        if not found:
            # the boundary is missing or another one: the first line that looks like one is taken
            delimiter = _DELIMITER.search(body)
            if delimiter is None:
                self.warn("no_parts: the body has no boundary")
                self.others.append((_media_type(content_type), body))
                return []
            self.warn("boundary_recovered: it was taken from the body")
            quoted = delimiter[1].removesuffix(b"--").replace(b"\\", b"").replace(b'"', b"")
            found, flags = split_multipart(b'multipart/mixed;boundary="' + quoted + b'"', body, PARTS_MAX)
            flags &= ~MimeFlag.BOUNDARY_BAD
        for flag, text in _FLAWS.items():
            if flags & flag:
                self.warn(text)
        return found

    def part(self, part: Part, depth: int) -> None:
        headers = {name.lower(): value.strip().lower() for name, value in _HEADER.findall(part.headers)} if part.headers else {}
        body = self.decoded(part.body, headers.get(b"content-transfer-encoding", b""))
        kind = content_kind(part.content_type) if part.content_type else ContentKind.NONE
        if kind is ContentKind.MULTIPART:
            self.split(part.content_type, body, depth + 1)
            return
        media_type = _media_type(part.content_type) if part.content_type else "text/plain"
        if kind in (ContentKind.NONE, ContentKind.OTHER, ContentKind.TEXT, ContentKind.XML):
            looked = _looks_like(body)
            said = kind is ContentKind.NONE or headers.get(b"content-disposition", b"").startswith(b"recording-session")
            if looked is ContentKind.RS_METADATA or (looked is ContentKind.SDP and said):
                self.warn(f"untyped: a part of {media_type} was taken for what it looks like")
                kind = looked
        self.take(kind, media_type, body)

    def decoded(self, body: bytes, encoding: bytes) -> bytes:
        """A part without its Content-Transfer-Encoding (RFC 2045 6)."""
        if encoding in (b"", b"binary", b"8bit", b"7bit"):
            return body
        if encoding == b"base64":
            try:
                return binascii.a2b_base64(body)
            except binascii.Error:
                self.warn("bad_base64: the part was left as it is")
                return body
        if encoding == b"quoted-printable":
            return quopri.decodestring(body)
        self.warn(f"unknown_encoding: {clean(encoding.decode('latin-1'), 64)}")
        return body

    def whole(self) -> RecordingParts:
        return RecordingParts(
            sdp=self.sdp, metadata=self.metadata, metadata_type=self.metadata_type, others=tuple(self.others), warnings=tuple(self.warnings),
        )  # fmt: skip


def _media_type(content_type: bytes) -> str:
    return clean(content_type.decode("latin-1").partition(";")[0].lower(), 128)


def _looks_like(body: bytes) -> ContentKind:
    start = body[:2048].lstrip(b"\xef\xbb\xbf\r\n\t ")
    if start.startswith(b"v=0"):
        return ContentKind.SDP
    if start.startswith(b"<") and _ROOT.search(start):
        return ContentKind.RS_METADATA
    return ContentKind.MULTIPART if start.startswith(b"--") else ContentKind.NONE


def parts_of(content_type: bytes, body: bytes) -> RecordingParts:
    """The description, the metadata and all else of a body with the Content-Type `content_type`. Never raises."""
    found = _Found()
    if not body.strip():
        return found.whole()
    kind = content_kind(content_type)
    if kind not in (ContentKind.MULTIPART, ContentKind.SDP, ContentKind.RS_METADATA):
        looked = _looks_like(body)
        if looked is not ContentKind.NONE:
            found.warn(f"untyped: a body of {_media_type(content_type) or 'no type'} was taken for what it looks like")
            kind = looked
    if kind is ContentKind.MULTIPART:
        found.split(content_type, body, 1)
    else:
        found.take(kind, _media_type(content_type), body)
    return found.whole()


__all__ = ["RecordingParts", "parts_of"]
