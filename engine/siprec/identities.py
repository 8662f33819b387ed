"""Names of calls and of people in the one form that can be compared: UCIDs, UUIDs, addresses of subscribers."""

from __future__ import annotations

import binascii
import re
import uuid
from typing import Final

_UCID: Final = re.compile(r"(?:0[0-9A-F])?FA08([0-9A-F]{16})")
_SIXTEEN: Final = re.compile(r"[0-9A-F]{16}")
_DECIMAL: Final = re.compile(r"(\d{5})(\d{5})(\d{10})")
_GUID: Final = re.compile(r"(\d{1,10})-(\d{1,10})-(\d{1,10})-(\d{1,10})")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_SEPARATORS: Final = str.maketrans("", "", " -.()")
_PLACEHOLDERS: Final = re.compile(r"^(?:sips?:)?asbce@", re.IGNORECASE)
_DIGITS_ALIKE: Final = 7  # that many digits at the end make two numbers one: national and international form
UCID_TAG: Final = 0xFA
TEXT_TAG: Final = 0xC8


def ucid_of(value: str, *, bare: bool = True) -> str:
    """An Avaya universal call identifier as 16 hex digits: node, sequence and time. "" where the value is none.

    Read as it is in User-to-User (00FA08 or 04FA08 in front), without the first byte of that, alone, with ";encoding=hex" behind, and in the 20 decimal digits that Avaya
    prints. Without `bare` only forms with FA08 count, for values that may be anything.
    """
    value = value.partition(";")[0].strip().strip('"').upper()
    if found := _UCID.match(value):
        return found[1]
    if not bare:
        return ""
    if _SIXTEEN.fullmatch(value):
        return value
    if found := _DECIMAL.fullmatch(value):
        node, sequence, moment = (int(part) for part in found.groups())
        if node < 1 << 16 and sequence < 1 << 16 and moment < 1 << 32:
            return f"{node:04X}{sequence:04X}{moment:08X}"
    return ""


def user_to_user(value: str) -> tuple[str, str]:
    """(UCID, identifier of the conversation) of a User-to-User value (RFC 7433) as Avaya fills it, each "" where it is not there: a discriminator, then fields of a tag,
    a length and content, in hex; a conversation's UUID stands in a field of text, or behind a "|"."""
    packed, _, behind = value.partition(";")[0].strip().strip('"').partition("|")
    ucid, said = "", behind
    try:
        content = binascii.a2b_hex(packed)
    except (binascii.Error, ValueError):
        content, said = b"", value
    at = 1
    while at + 2 <= len(content):
        tag, length = content[at], content[at + 1]
        field = content[at + 2 : at + 2 + length]
        if tag == UCID_TAG and length == 8 and len(field) == 8 and not ucid:
            ucid = field.hex().upper()
        elif tag == TEXT_TAG:
            said += "|" + field.decode("latin-1")
        at += 2 + length
    found = _UUID.search(said)
    return ucid, found[0].lower() if found else ""


def hex_uuid(value: str) -> str:
    """A UUID as 32 hex digits: with hyphens or without, or in the four decimal numbers of Cisco-Guid. "" where the value is none, or the nil one."""
    value = value.strip()
    if found := _GUID.fullmatch(value):
        numbers = [int(part) for part in found.groups()]
        return "".join(f"{number:08x}" for number in numbers) if any(numbers) and all(number < 1 << 32 for number in numbers) else ""
    try:
        number = uuid.UUID(value)
    except ValueError:
        return ""
    return number.hex if number.int else ""


def address_of(aor: str) -> str:
    """An address of record without name, brackets and parameters, of the user part too: `sip:2125550100;noa=international@host;user=phone` is `sip:2125550100@host`."""
    aor = aor.strip()
    if "<" in aor:
        aor = aor.partition("<")[2].partition(">")[0]
    user, at, host = aor.partition("@")
    return f"{user.partition(';')[0]}@{host.partition(';')[0].partition('?')[0]}" if at else user.partition(";")[0].partition("?")[0].rstrip(">")


def subscriber_of(aor: str) -> str:
    """The user or number in an address, to compare: in lower case, numbers without separators and plus sign."""
    user = address_of(aor).partition("@")[0]
    scheme, colon, rest = user.partition(":")
    user = (rest if colon and scheme.lower() in ("sip", "sips", "tel", "h323") else user).lower()
    number = user.translate(_SEPARATORS).lstrip("+")
    return number if number.isdigit() else user


def same_party(one: str, other: str) -> bool:
    """Whether two addresses are of one subscriber; the national form of a number is that of the international one."""
    a, b = subscriber_of(one), subscriber_of(other)
    if not a or not b:
        return False
    if a.isdigit() and b.isdigit() and min(len(a), len(b)) >= _DIGITS_ALIKE:
        return a.endswith(b) or b.endswith(a)
    return a == b


def is_placeholder(aor: str) -> bool:
    """Whether an address stands for a party that is not known yet: Avaya's session border controller names itself."""
    return bool(_PLACEHOLDERS.match(aor.strip()))


__all__ = ["address_of", "hex_uuid", "is_placeholder", "same_party", "subscriber_of", "ucid_of", "user_to_user"]
