"""What the tests of RFC 4475 and RFC 5118 share: their messages, what is expected, and plain readings of both."""

from __future__ import annotations

import re
import tomllib
from enum import IntFlag
from pathlib import Path
from typing import Any

from engine._native import sip
from tests.rfc.build_rfc4475 import HERE

FORMS = sip.Flag.FOLDED | sip.Flag.COMPACT | sip.Flag.LONG | sip.Flag.SPACE_BEFORE_COLON
LENGTH = re.compile(rb"(?im)^(?:Content-Length|l)[ \t]*:[ \t]*(\S+)")


def expected(name: str) -> dict[str, dict[str, Any]]:
    """Message name -> what expected.toml says."""
    return tomllib.loads((HERE / name / "expected.toml").read_text())


def wire(name: str, title: str) -> bytes:
    """Octets of a message."""
    return (Path(HERE) / name / f"{title}.dat").read_bytes()


def sections(name: str) -> dict[str, str]:
    """Message name -> section of the RFC, from the notation."""
    text = (HERE / name / "notation.txt").read_text()
    return dict(re.findall(r"^=== (\S+) (\S+)$", text, re.MULTILINE))


def flags_of(kind: type[IntFlag], names: list[str]) -> IntFlag:
    """Names to bits."""
    total = kind(0)
    for name in names:
        total |= kind[name]
    return total


def header_lines(octets: bytes) -> list[bytes]:
    """Header lines without continuation lines, read the slow and simple way."""
    head = octets.partition(b"\r\n\r\n")[0].removesuffix(b"\r\n").split(b"\r\n")[1:]
    return [line for line in head if line[:1] not in (b" ", b"\t")]


def value_flags(message: sip.Message, place: str) -> IntFlag:
    """Flags of the value that a key of expected.toml names."""
    if place == "request_uri":
        return sip.parse_uri(message.request_uri).flags
    if place == "via":
        flags = sip.ViaFlag(0)
        for value in message.header("Via"):
            for element in sip.split_list(value):
                flags |= sip.parse_via(element).flags
        return flags
    header, _, part = place.partition("_")
    address = sip.parse_address(message.header(header.title())[0])
    return address.parsed.flags if part else address.flags


PLACES: dict[str, type[IntFlag]] = {
    "request_uri": sip.UriFlag,
    "via": sip.ViaFlag,
    "from": sip.AddressFlag,
    "to": sip.AddressFlag,
    "contact": sip.AddressFlag,
    "to_uri": sip.UriFlag,
}
