"""XML of strangers, read into elements: no DTD, no entities, limits on everything, and as much as can be read of a document that is broken.

Names keep their prefixes: clients forget to declare them, and that must not cost the document.
"""

from __future__ import annotations

import codecs
import datetime
import functools
import re
from typing import Any, Final
from xml.parsers import expat

from engine.errors import EngineError

DEPTH_MAX: Final = 32
ELEMENTS_MAX: Final = 10_000
ATTRIBUTES_MAX: Final = 64
TEXT_MAX: Final = 1024  # characters of an identifier, a name, an address


class MetadataError(EngineError):
    """A body in which no recording metadata can be read."""

    code = "siprec.metadata"
    status = 400


# ---- texts and times ----

_BARE_AMPERSAND: Final = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9a-fA-F]{1,6});)")
_NO_XML: Final = bytes(number for number in range(32) if number not in (9, 10, 13))
_DECLARED: Final = re.compile(rb"""^<\?xml[^>]{0,100}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_LATIN: Final = frozenset({"iso8859-1", "cp1252", "iso8859-15", "ascii"})
_DURATION: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*(ms|s|m|h|d|w|)", re.IGNORECASE)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_SECONDS_MAX: Final = 100 * 366 * 86_400.0
# A byte that is no UTF-8, as it comes out of "surrogateescape": what it is in Windows-1252, which is Latin-1 where that has letters.
_STRAY: Final = {0xDC00 + number: bytes([number]).decode("cp1252", "replace") for number in range(128, 256)}


def instant(text: str) -> float | None:
    """Seconds since 1970 of a time; one without a zone is UTC. None where it is none."""
    try:
        moment = datetime.datetime.fromisoformat(text.upper())
        return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def duration_s(text: str, bare: str = "s") -> float | None:
    """Seconds of "120s", "2h", "1h30m", "30d"; a number alone is in `bare`. None where it is no duration, or longer than a century."""
    total, at, text = 0.0, 0, text.strip()
    while found := _DURATION.match(text, at):
        total += float(found[1]) * _SECONDS[found[2].lower() or bare]
        at = found.end()
        while at < len(text) and text[at] == " ":
            at += 1
    return total if text and at == len(text) and total <= _SECONDS_MAX else None


def clean(text: str, most: int = TEXT_MAX) -> str:
    """A text on one line without characters that no one sees, at most `most` long."""
    text = text[: most * 4].strip()
    if not text.isprintable():
        text = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return text[:most]


@functools.lru_cache(maxsize=1024)
def plain(name: str) -> str:
    """A name without prefix, case, "_" and "-"."""
    return name.rpartition(":")[2].replace("_", "").replace("-", "").lower()


# ---- from bytes to elements ----


class Element:
    __slots__ = ("attributes", "children", "name", "pieces")

    def __init__(self, name: str, attributes: list[str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Element] = []
        self.pieces: list[str] = []

    def text(self, most: int = TEXT_MAX) -> str:
        pieces = self.pieces
        return clean(pieces[0] if len(pieces) == 1 else "".join(pieces), most) if pieces else ""


class _Refused(Exception):
    """A declaration that has no place in metadata."""


class _Enough(Exception):
    """A limit was reached."""


def _refuse(*_: object) -> Any:
    raise _Refused


def _tree(body: bytes) -> tuple[Element | None, str]:
    """The elements of a document in UTF-8, up to where it breaks, and why it does: "" where it is whole. Raises MetadataError for a DTD."""
    top = Element("", [])
    stack, left = [top], ELEMENTS_MAX

    def start(name: str, attributes: list[str]) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise _Enough(f"more than {ELEMENTS_MAX} elements")
        if len(stack) > DEPTH_MAX:
            raise _Enough(f"more than {DEPTH_MAX} elements in one another")
        if len(attributes) > 2 * ATTRIBUTES_MAX:
            raise _Enough(f"more than {ATTRIBUTES_MAX} attributes")
        element = Element(name, attributes)
        stack[-1].children.append(element)
        stack.append(element)

    def end(_: str) -> None:
        stack.pop()

    def data(text: str) -> None:
        stack[-1].pieces.append(text)

    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = parser.ordered_attributes = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ExternalEntityRefHandler = _refuse
    problem = ""
    try:
        parser.Parse(body, True)
    except _Refused:
        raise MetadataError("the metadata has a document type declaration: entities and DTDs are not read") from None
    except _Enough as limit:
        problem = str(limit)
    except expat.ExpatError as error:
        problem = f"{expat.ErrorString(error.code)} in line {error.lineno}"
    return (top.children[0] if top.children else None), problem


def _in_utf8(body: bytes, warnings: list[str]) -> bytes:
    """The document in UTF-8, from its first "<": without byte order mark, and stray bytes of names as what they are in Windows-1252."""
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace").encode("utf-8", "replace")
    body = body.removeprefix(codecs.BOM_UTF8).lstrip()
    if body.isascii():
        return body
    declared = _DECLARED.match(body)
    name = "utf-8"
    if declared:
        try:
            name = codecs.lookup(declared[1].decode("ascii")).name
        except LookupError:
            warnings.append(f"unknown_encoding: {declared[1].decode('ascii')}, read as UTF-8")
    if name in _LATIN:
        return body.decode("cp1252", "replace").encode()
    try:
        body.decode()
    except UnicodeDecodeError:
        warnings.append("bad_encoding: bytes that are no UTF-8, read as Windows-1252")
        return body.decode("utf-8", "surrogateescape").translate(_STRAY).encode()
    return body


def _size(element: Element | None) -> int:
    return 1 + sum(map(_size, element.children)) if element else 0


def root_of(body: bytes, warnings: list[str]) -> tuple[Element, bool]:
    """The root element, and whether the document is whole. Raises MetadataError where there is none."""
    body = _in_utf8(body, warnings)
    root, problem = _tree(body)
    if problem:
        # Names with a bare "&" and control bytes in texts are met in the field: a second reading without them
        mended = _BARE_AMPERSAND.sub(b"&amp;", body.translate(None, _NO_XML))
        again, still = _tree(mended) if mended != body else (None, problem)
        if _size(again) >= _size(root) and mended != body:
            root, problem = again, still
            warnings.append("mended: a bare & or a control byte")
    if root is None:
        raise MetadataError(f"the metadata is no XML: {problem or 'it is empty'}")
    if problem:
        warnings.append(f"malformed: {problem}: what stands before was read")
    return root, not problem


__all__ = ["ATTRIBUTES_MAX", "DEPTH_MAX", "ELEMENTS_MAX", "TEXT_MAX", "Element", "MetadataError", "clean", "duration_s", "instant", "plain", "root_of"]
