"""Builds the messages of RFC 4475 and RFC 5118 from the RFC's own notation (RFC 4475 section 2).

`notation.txt` beside each set holds the messages as the RFC prints them; this turns each into the octets on
the wire, `<name>.dat`. Run it after an edit of the notation; a test compares both.
"""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
SETS = ("rfc4475", "rfc5118")
TITLE = re.compile(r"^=== (\S+) (\S+)\n", re.MULTILINE)
ONE_LINE = re.compile(r"<allOneLine>\n(.*?)\n</allOneLine>", re.DOTALL)
REPEAT = re.compile(r"<repeat count=(\d+)>(.*?)</repeat>", re.DOTALL)
HEX = re.compile(rb"<hex>([0-9A-Fa-f\s]*)</hex>")


def octets(text: str) -> bytes:
    """The wire form of one message: RFC 4475 section 2.1 (lines), 2.3 (repeats), 2.2 (octets), in that order."""
    text = ONE_LINE.sub(lambda match: match[1].replace("\n", ""), text)
    text = REPEAT.sub(lambda match: match[2] * int(match[1]), text)
    wire = text.encode("ascii").replace(b"\n", b"\r\n")
    return HEX.sub(lambda match: bytes.fromhex(match[1].decode()), wire)


def messages(name: str) -> dict[str, bytes]:
    """Message name -> octets of a set (`rfc4475` or `rfc5118`), in the RFC's order."""
    parts = TITLE.split((HERE / name / "notation.txt").read_text("ascii"))
    return {parts[at]: octets(parts[at + 2]) for at in range(1, len(parts), 3)}


def main() -> None:
    """Writes every `.dat` file."""
    for name in SETS:
        for title, wire in messages(name).items():
            (HERE / name / f"{title}.dat").write_bytes(wire)


if __name__ == "__main__":
    main()
