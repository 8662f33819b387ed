"""Rows that hold one message each: table dumps, JSON exports, NDJSON logs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from engine.trace import framing
from engine.trace.sources.base import Frame, Options, join, place, transport
from engine.trace.stamps import SECOND, Clock, epoch_ns, fraction_ns

MAX_DEPTH = 12
MAX_FIELDS = 2000
MAX_FAULTS = 256
_OBJECT = re.compile(r"\n[ \t]*(?=\{)")
_ARRAY = re.compile(r"\[\s*(?=\{)")
_GAP = re.compile(r"[\s,\[\]\x1e]*")
_STARTS = re.compile(
    r"\s*(?:SIP/2\.0 \d{3}|[A-Za-z]{3,20} +[A-Za-z][A-Za-z0-9+.\-]{0,30}:\S+ +SIP/2\.0(?:\s|\\[rn]))"
)

_MESSAGE = ("raw", "msg", "message", "sip_message", "payload", "sip", "body", "data", "text", "content")
_SOURCE_IP = ("srcip", "src_ip", "source_ip", "sourceip", "source.ip", "source.address", "src", "source", "from_ip",
              "ip.src", "saddr")  # fmt: skip
_TARGET_IP = ("dstip", "dst_ip", "destination_ip", "destinationip", "destination.ip", "destination.address", "dst",
              "destination", "target", "to_ip", "ip.dst", "daddr")  # fmt: skip
_SOURCE_PORT = ("srcport", "src_port", "source_port", "sourceport", "source.port", "sport", "from_port")
_TARGET_PORT = (
    "dstport",
    "dst_port",
    "destination_port",
    "destinationport",
    "destination.port",
    "dport",
    "to_port",
)
_TRANSPORT = ("transport", "proto", "protocol", "network.transport")
_TIME = ("create_date", "time_stamp", "timestamp", "@timestamp", "micro_ts", "ts", "time", "date", "datetime",
         "created_at", "time_epoch")  # fmt: skip
_CORRELATION = ("correlation_id", "correlationid", "session_id")
_BY_NUMBER = {"17": "UDP", "6": "TCP", "132": "SCTP", "22": "TLS"}


def text_of(value: str) -> bytes:
    """The bytes of a string that was decoded as Latin-1 to keep them, but for what its escapes put beyond."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return b"".join(c.encode("latin-1" if c < "\x80" else "utf-8", "replace") for c in value)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a key that occurs again makes a list of its values (tshark writes one `ip` a tunnel layer)."""
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        grouped: dict[str, list[Any]] = {}
        for key, value in pairs:
            if key in seen:
                grouped.setdefault(key, []).append(value)
            seen.add(key)
        for key in grouped:
            made[key] = [value for name, value in pairs if name == key] if len(pairs) < 64 else [made[key]]
    return made


def objects(data: bytes, options: Options) -> Iterator[tuple[int, dict[str, Any]]]:
    """(offset, object) of every object of a JSON document, an array of them, or one a line.

    Reads as far as it gets: after a fault it goes on at the next line that begins an object behind it. An outer object
    that does not end is entered once, at its first array of objects. A document (not lines) is given up after
    MAX_FAULTS.
    """
    text = data.decode("latin-1")
    decoder = json.JSONDecoder(object_pairs_hook=_pairs)
    position = faults = seen = 0
    entered = False
    while faults < MAX_FAULTS:
        gap = _GAP.match(text, position)
        position = gap.end() if gap else position
        if position >= len(text):
            return
        if text[position] == "{":
            line = _line(text, position) if position >= seen else ""
            seen = max(seen, position + len(line))
            value, end = _decoded(decoder, text, position, line)
            if value is not None:
                yield position, value
                position = end
                continue
            options.note("truncated" if end >= len(text) - 1 else "unreadable-row", position)
            if end < 0:
                position = -end
            else:
                faults += 1
                array = None if entered else _ARRAY.search(text, position)
                if array is not None:
                    entered = True
                    position = array.end()
                    continue
                position = max(end, position + 1)
        following = _OBJECT.search(text, position)
        if following is None:
            return
        position = following.end()


def _line(text: str, position: int) -> str:
    """The rest of a line, empty where it is longer than any row should be."""
    newline = text.find("\n", position, position + (1 << 20))
    if newline < 0:
        return text[position:] if len(text) - position < 1 << 20 else ""
    return text[position:newline]


def _decoded(
    decoder: json.JSONDecoder, text: str, position: int, line: str
) -> tuple[dict[str, Any] | None, int]:
    """(object, its end), or (None, where it is wrong), negative where the fault lies within `line`."""
    line = line.rstrip(", \r\t")
    if len(line) > 2 and line[-1] == "}":
        # One a line: a fault costs no more than its line, unless the object goes on behind it.
        try:
            value, end = decoder.raw_decode(line)
        except json.JSONDecodeError as error:
            if error.pos < len(line) - 1:
                return None, -(position + len(line))
        except (ValueError, RecursionError):
            return None, -(position + len(line))
        else:
            return value, position + end
    try:
        return decoder.raw_decode(text, position)
    except json.JSONDecodeError as error:
        return None, error.pos
    except (ValueError, RecursionError):
        return None, position + 1


def read_json(data: bytes, options: Options) -> Iterator[Frame]:
    """The messages of every row in a JSON input, each at the offset of its start line where that can be told."""
    clock = options.clock()
    for offset, value in objects(data, options):
        last = offset
        for row in holders(value):
            for frame in frames_of(flat(row), offset, clock, options):
                if last >= 0 and row is not value:
                    last = data.find(frame.text[:32].partition(b"\r")[0], last + 1)
                    frame.offset = max(last, offset)
                yield frame


def flat(value: Any) -> dict[str, str]:
    """Leaves of an object by their lower-case dotted path; lists are left out."""
    found: dict[str, str] = {}
    pending: list[tuple[str, Any, int]] = [("", value, 0)]
    while pending and len(found) < MAX_FIELDS:
        path, item, depth = pending.pop()
        if isinstance(item, dict):
            if depth < MAX_DEPTH:
                pending += [
                    (f"{path}.{key}" if path else str(key), inner, depth + 1) for key, inner in item.items()
                ]
        elif item is not None and not isinstance(item, list):
            found.setdefault(path.lower(), item if isinstance(item, str) else str(item))
    return found


def holders(value: Any) -> Iterator[dict[str, Any]]:
    """The objects in `value` that are rows: an object, and every object in the lists it holds."""
    pending: list[tuple[Any, int]] = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        if depth > MAX_DEPTH:
            continue
        if isinstance(item, list):
            pending += [(inner, depth + 1) for inner in reversed(item) if isinstance(inner, (dict, list))]
            continue
        yield item
        queue = [item]
        lists: list[Any] = []
        level = 0
        while queue and level < MAX_DEPTH:
            level += 1
            below: list[dict[str, Any]] = []
            for inner in queue:
                for part in inner.values():
                    if isinstance(part, list):
                        lists.append(part)
                    elif isinstance(part, dict):
                        below.append(part)
            queue = below
        pending += [(inner, depth + 1) for inner in reversed(lists)]


def message_in(fields: Mapping[str, str]) -> str | None:
    """The value that begins as a SIP message does, the usual names first."""
    for name in _MESSAGE:
        value = fields.get(name)
        if value is not None and _STARTS.match(value[:4096]):
            return value
    for value in fields.values():
        if len(value) > 20 and "SIP/2.0" in value[:4096] and _STARTS.match(value[:4096]):
            return value
    return None


def frames_of(fields: Mapping[str, str], offset: int, clock: Clock, options: Options) -> Iterator[Frame]:
    """The messages of one row. Names are matched whole or by their last part, whatever the table calls them."""
    short = {name.rpartition(".")[2]: value for name, value in fields.items()}
    message = message_in(short) or message_in(fields)
    if message is None:
        return
    row = {**short, **fields}
    text = text_of(message)
    if b"\\r\\n" in text[:4096] and b"\n" not in text:
        text = text.replace(b"\\r\\n", b"\r\n").replace(b'\\"', b'"')
    moment, known = _moment(row, clock)
    source, carrier = _end(row, "fromip", _SOURCE_IP, _SOURCE_PORT)
    target, other_carrier = _end(row, "toip", _TARGET_IP, _TARGET_PORT)
    named = _first(row, _TRANSPORT)
    carrier = carrier or other_carrier
    if carrier is None and named is not None:
        carrier = _BY_NUMBER.get(named) or transport(named.encode())
    way = {"in": 1, "incoming": 1, "received": 1, "rx": 1, "out": 2, "outgoing": 2, "sent": 2, "tx": 2}.get(
        row.get("direction", "").lower(), 0
    )
    for piece in framing.pieces(text, 0, len(text), options.max_message_bytes, options.note_at(offset)):
        yield Frame(
            piece.text, moment, source, target, carrier, way, offset, _first(row, _CORRELATION), False, known
        )


def _first(row: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = row.get(name)
        if value:
            return text_of(value).decode("utf-8", "replace")
    return None


def _end(
    row: Mapping[str, str], whole: str, hosts: tuple[str, ...], ports: tuple[str, ...]
) -> tuple[str | None, str | None]:
    """(address, transport) of one side: `proto:ip:port` in one column, or address and port in two."""
    if value := row.get(whole):
        carrier, _, rest = value.partition(":")
        named = transport(carrier.encode())
        return place((rest if named else value).encode("utf-8", "replace")), named
    host = _first(row, hosts)
    if host is None:
        return None, None
    port = _first(row, ports)
    return (join(host, port) if port else place(host.encode())), None


def _moment(row: Mapping[str, str], clock: Clock) -> tuple[int | None, bool]:
    seconds = row.get("timeseconds")
    if seconds and seconds.isdigit():
        micro = row.get("timeuseconds", "0")
        return int(seconds) * SECOND + (int(micro) * 1000 if micro.isdigit() else 0), True
    value = _first(row, _TIME)
    if value is None:
        return None, True
    moment = of_number(value)
    known = True
    if moment is None:
        moment, known = clock.find(value.encode())
    micro = row.get("time_us", "")
    if moment is not None and micro.isdigit() and moment % SECOND == 0:
        moment += fraction_ns(micro.zfill(6).encode())
    return moment, known


def of_number(value: str) -> int | None:
    """Nanoseconds of seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by their size."""
    if value.isdigit() and len(value) > 10:
        digits = len(value)
        scale = 1_000_000 if digits <= 13 else 1000 if digits <= 16 else 1
        return int(value) * scale if digits <= 19 else None
    return epoch_ns(value)
