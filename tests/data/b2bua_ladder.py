"""One call through a B2BUA, as `b2bua_ladder.txt` keeps it: the trace it came from, and the ladder document it is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.data.scene import Scene

FOLDER = Path(__file__).parent
ADDRESSES = ("52.156.76.224:5060", "20.79.230.247:5060", "10.4.2.23:5070")
GID = "8f63e4:44:11524"
YEAR = 2024


def entries() -> list[tuple[list[str], str]]:
    """(time, from, to, direction, transport, method, "sdp" or "-") and the text of every message."""
    made: list[tuple[list[str], list[str]]] = []
    for line in (FOLDER / "b2bua_ladder.txt").read_text().splitlines():
        if line.startswith("== "):
            made.append((line.split()[1:], []))
        elif made:
            made[-1][1].append(line)
    return [(head, "".join(f"{line}\r\n" for line in lines)) for head, lines in made]


def document() -> dict[str, Any]:
    """The ladder as the contract documents it."""
    messages = [
        {
            "timestamp": time, "fromNode": int(source), "toNode": int(target), "direction": direction,
            "transport": transport, "method": method, "sdp": sdp == "sdp", "text": text,
        }
        for (time, source, target, direction, transport, method, sdp), text in entries()
    ]  # fmt: skip
    nodes: list[dict[str, Any]] = [{"displayName": address} for address in ADDRESSES]
    nodes[1] = {"displayName": "System", "system": True}
    return {"diagnosticInfo": {"gid": GID}, "nodes": nodes, "messages": messages}


def moment(time: str) -> datetime:
    """A time of the document, in the year it has none of."""
    return datetime.strptime(f"{YEAR}-{time}", "%Y-%m-%d@%H:%M:%S.%f").replace(tzinfo=UTC)


def on_the_wire(text: str) -> bytes:
    """The message as it travelled: an empty line behind the header, and no more than Content-Length behind that."""
    head, blank, body = text.encode().partition(b"\r\n\r\n")
    return head + blank + body[:-2] if blank else text.encode() + b"\r\n"


def capture() -> bytes:
    """A pcap file with the messages."""
    told = entries()
    start = moment(told[0][0][0]).timestamp()
    scene = Scene(start)
    for (time, source, target, *_), text in told:
        at = round(moment(time).timestamp() - start, 3)
        scene.sip(at, ADDRESSES[int(source)], ADDRESSES[int(target)], on_the_wire(text))
    return scene.pcap()


def sngrep_export() -> bytes:
    """The text that sngrep saves for the call."""
    parts = []
    for (time, source, target, *_), text in entries():
        stamp = moment(time).strftime("%Y/%m/%d %H:%M:%S.%f")
        head = f"{stamp} {ADDRESSES[int(source)]} -> {ADDRESSES[int(target)]}\n"
        parts.append(head.encode() + on_the_wire(text) + b"\n\n")
    return b"".join(parts)
