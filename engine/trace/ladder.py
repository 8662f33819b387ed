"""The ladder of a call: who sent what to whom, over all legs that were found to be one call, with its media.

`ladder` builds it from the tables; `as_json` is the document of the ladder contract, `ladder_text`, `ladder_svg` and
`ladder_mermaid` draw it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec
import numpy as np

from engine.trace.finding import SEVERITIES
from engine.trace.report_text import SRTP_LIKELY, clock
from engine.trace.rules.base import NONE, Hits, Rule
from engine.trace.tables import CODECS, METHOD, TRANSPORTS, Table, Tables

MESSAGE_IN_DIALOG, MESSAGE_MIRRORED, MESSAGE_SDP = 4, 2, 8  # enum message_flag in tables.h
MEDIA_NAMES = ("media", "audio", "video", "image", "application", "text", "message")  # enum sdp_media_type
DIRECTIONS = ("", "sendrecv", "sendonly", "recvonly", "inactive")  # enum sdp_direction
NO_MEDIA_CODECS = frozenset({"telephone-event", "CN", "red", "rtx", "ulpfec"})
CODECS_NAMED_MAX = 4
DRAWN_MAX = 1000
TAP_COPY = 1 << 15  # enum rtp_flag: the same packets seen on another side of a NAT

Key: TypeAlias = "tuple[str, int]"


class Node(msgspec.Struct):
    """A column: one host (or one address and port where a host talks to itself)."""

    address: str
    label: str = ""
    system: bool = False

    @property
    def name(self) -> str:
        """What heads its column."""
        return self.label or self.address


class Badge(msgspec.Struct, frozen=True):
    """A finding that shows at a message."""

    severity: str
    rule: str
    title: str


class Message(msgspec.Struct):
    """One SIP message. `number` counts the trace's messages from 1; `copies` holds times of folded retransmissions."""

    number: int
    leg: int
    time_ns: int
    source: int
    target: int
    direction: str
    transport: str
    method: str
    label: str
    sdp: bool
    note: str
    text: bytes
    delta_ms: float | None = None
    repeats: int = 0
    copies: list[int] = []
    badges: list[Badge] = []


class Media(msgspec.Struct):
    """One RTP stream, drawn at its start. Figures are None where they are not known."""

    stream: int
    leg: int
    time_ns: int
    source: int
    target: int
    codec: str
    packets: int
    loss_percent: float
    jitter_ms: float
    mos: float | None
    duration_s: float
    addresses: str
    encrypted: bool = False
    delta_ms: float | None = None

    @property
    def label(self) -> str:
        """Codec and packet count, for the arrow itself."""
        return f"{'SRTP' if self.encrypted else 'RTP'} {self.codec} {self.packets:,} packets"

    @property
    def note(self) -> str:
        """Quality in figures."""
        parts = [f"{self.duration_s:.1f} s", f"loss {self.loss_percent:.2f} %", f"jitter {self.jitter_ms:.1f} ms"]
        if self.mos:
            parts.append(f"MOS {self.mos:.2f}")
        return ", ".join(parts)


class Leg(msgspec.Struct):
    """One Call-ID of the call."""

    call: int
    call_id: str


Step: TypeAlias = "Message | Media"


class Ladder(msgspec.Struct):
    """Nodes from left to right and steps in order of time. `omitted` steps were left out of a long one."""

    gid: str
    nodes: list[Node]
    legs: list[Leg]
    steps: list[Step]
    no_time: bool
    omitted: int = 0

    @property
    def messages(self) -> list[Message]:
        """The signalling alone, every retransmission a message of its own."""
        return [step for step in self.steps if isinstance(step, Message)]

    def folded(self, limit: int = DRAWN_MAX) -> Ladder:
        """For drawing: retransmissions folded onto their first copy, deltas between what is left, at most `limit` steps."""
        kept: list[Step] = []
        first: dict[int, Message] = {}
        for step in self.steps:
            if isinstance(step, Message) and step.repeats in first:
                first[step.repeats].copies.append(step.time_ns)
                continue
            drawn = msgspec.structs.replace(step)
            if isinstance(drawn, Message):
                drawn.copies = []
                first[drawn.number] = drawn
            kept.append(drawn)
        shown = kept[:limit]
        _set_deltas(shown, self.no_time)
        return msgspec.structs.replace(self, steps=shown, omitted=self.omitted + len(kept) - len(shown))


# ---- building ----


def ladder(
    tables: Tables,
    call: int,
    *,
    media: bool = True,
    system: str | None = None,
    findings: bool = True,
    everything: bool = False,
) -> Ladder:
    """The ladder of a calls row and all legs correlated with it; with `everything`, of all the tables hold.

    `system` names the node that direction is seen from (a label, "ip:port" or host); without it, it is the node that
    logged the trace, else the one in the middle, else the one that was called. Raises IndexError for a row that is
    none and ValueError for a system that takes no part.
    """
    if not 0 <= call < len(tables.calls):
        raise IndexError(f"no calls row {call}")
    group = tables.calls.group
    calls = np.arange(len(group)) if everything else np.flatnonzero(group == group[call])
    calls = calls[np.argsort(tables.calls.start_ns[calls], kind="stable")]
    rows = np.concatenate([tables.messages_of(int(leg)) for leg in calls])
    rows = rows[(tables.messages.flags[rows] & MESSAGE_MIRRORED) == 0]
    rows = rows[np.lexsort((rows, tables.messages.time_ns[rows]))]
    builder = _Builder(tables, [int(leg) for leg in calls], [int(row) for row in rows])
    builder.place_messages()
    builder.choose_system(system)
    steps: list[Step] = list(builder.messages(findings))
    if media:
        steps += builder.media()
        steps.sort(key=lambda step: step.time_ns)
    _set_deltas(steps, tables.no_time)
    legs = [Leg(leg, tables.call_id(leg)) for leg in builder.calls]
    return Ladder(gid_of(legs), builder.nodes, legs, steps, tables.no_time)


def gid_of(legs: list[Leg]) -> str:
    """A session's name in the contract's form "hex:number:number", the same for the same call every time."""
    digest = hashlib.sha256(legs[0].call_id.encode("utf-8", "surrogateescape")).digest()
    return f"{digest[:3].hex()}:{digest[3]}:{int.from_bytes(digest[4:6], 'big')}"


def _set_deltas(steps: Iterable[Step], no_time: bool) -> None:
    before: int | None = None
    for step in steps:
        step.delta_ms = None if no_time or before is None else (step.time_ns - before) / 1e6
        before = step.time_ns


class _Builder:
    """Columns and steps of one ladder while it is built."""

    def __init__(self, tables: Tables, calls: list[int], rows: list[int]) -> None:
        self.tables = tables
        self.calls = calls
        self.rows = rows
        self.leg_of = {call: at for at, call in enumerate(calls)}
        self.nodes: list[Node] = []
        self.places: dict[Key, int] = {}
        self.ends: dict[int, tuple[int, int]] = {}
        self.system = 0
        self.by_port = self._talks_to_itself()

    def _talks_to_itself(self) -> bool:
        hosts = self.tables.endpoints.host
        for row in self.rows:
            source, target = self._endpoints(row)
            if NONE not in (source, target) and source != target and hosts[source] == hosts[target]:
                return True
        return False

    def _endpoints(self, row: int) -> tuple[int, int]:
        m = self.tables.messages
        return int(m.source[row]), int(m.target[row])

    def _key(self, endpoint: int) -> Key:
        return ("endpoint", endpoint) if self.by_port else ("host", int(self.tables.endpoints.host[endpoint]))

    def _place(self, key: Key, address: str, label: str = "") -> int:
        at = self.places.get(key)
        if at is None:
            at = self.places[key] = len(self.nodes)
            self.nodes.append(Node(address, label))
        return at

    def place_messages(self) -> None:
        """Nodes in order of first appearance, and each message's ends among them."""
        addresses = self._addresses()
        for row in self.rows:
            ends = []
            for end, sends in zip(self._endpoints(row), (True, False), strict=True):
                if end == NONE:
                    side = "caller" if self._by_caller(row) == sends else "callee"
                    ends.append(self._place((side, 0), f"unknown {side}"))
                    continue
                key = self._key(end)
                label = self.tables.endpoint_names.get(int(self.tables.endpoints.host[end]), "")
                ends.append(self._place(key, addresses[key], label))
            self.ends[row] = ends[0], ends[1]

    def _addresses(self) -> dict[Key, str]:
        """ "ip:port" a node: the port that most messages went to, so that ephemeral ones do not name it."""
        received: dict[Key, Counter[int]] = {}
        for row in self.rows:
            source, target = self._endpoints(row)
            for end, weight in ((source, 0), (target, 1)):
                if end != NONE:
                    received.setdefault(self._key(end), Counter())[end] += weight
        return {key: self.tables.address(counts.most_common(1)[0][0]) for key, counts in received.items()}

    def _by_caller(self, row: int) -> bool:
        """Whether the side that made the call sent the message, judged by its From tag."""
        m = self.tables.messages
        first = int(self.tables.messages_of(int(m.call[row]))[0])
        same = bool(m.from_tag_hash[row] == m.from_tag_hash[first])
        if m.status[first]:
            return same != bool(m.status[row])
        return same == (not m.status[row])

    def choose_system(self, wanted: str | None) -> None:
        """Marks the node that direction is seen from."""
        if not self.nodes:
            return
        if wanted is not None:
            self.system = self._named(wanted)
        else:
            logged = self._logging_node()
            middle = logged if logged is not None else self._middle_node()
            self.system = middle if middle is not None else self._called_node()
        self.nodes[self.system].system = True

    def _named(self, wanted: str) -> int:
        for at, node in enumerate(self.nodes):
            host = node.address.rpartition(":")[0].strip("[]")
            if wanted in (node.label, node.address, host):
                return at
        raise ValueError(f"{wanted} takes no part in this call; nodes are {', '.join(n.name for n in self.nodes)}")

    def _logging_node(self) -> int | None:
        votes: Counter[int] = Counter()
        for row in self.rows:
            direction = int(self.tables.messages.direction[row])
            if direction:
                votes[self.ends[row][1 if direction == 1 else 0]] += 1
        return votes.most_common(1)[0][0] if votes else None

    def _middle_node(self) -> int | None:
        """The node that initial INVITEs (or other opening requests) reach and leave."""
        m = self.tables.messages
        received: Counter[int] = Counter()
        sent: Counter[int] = Counter()
        for row in self.rows:
            if m.status[row] or m.flags[row] & MESSAGE_IN_DIALOG or m.method[row] in (METHOD["ACK"], METHOD["CANCEL"]):
                continue
            source, target = self.ends[row]
            if source != target:
                sent[source] += 1
                received[target] += 1
        both = [node for node in range(len(self.nodes)) if sent[node] and received[node]]
        return max(both, key=lambda node: (min(sent[node], received[node]), -node)) if both else None

    def _called_node(self) -> int:
        first = self.rows[0]
        return self.ends[first][0 if self.tables.messages.status[first] else 1]

    def messages(self, findings: bool) -> list[Message]:
        badges = _badges(self.tables, self.calls) if findings else {}
        return [self._message(row, badges.get(row, [])) for row in self.rows]

    def _message(self, row: int, badges: list[Badge]) -> Message:
        tables, m = self.tables, self.tables.messages
        status = int(m.status[row])
        source, target = self.ends[row]
        original = int(m.retransmission_of[row])
        return Message(
            number=row + 1,
            leg=self.leg_of[int(m.call[row])],
            time_ns=int(m.time_ns[row]),
            source=source,
            target=target,
            direction=self._direction(source, target),
            transport=TRANSPORTS[min(int(m.transport[row]), len(TRANSPORTS) - 1)],
            method=str(status) if status else _method(tables, row),
            label=_label(tables, row, status),
            sdp=bool(m.media_count[row]) or bool(m.flags[row] & MESSAGE_SDP),
            note=description_note(tables, row),
            text=tables.text(row),
            repeats=0 if original == NONE else original + 1,
            badges=badges,
        )

    def _direction(self, source: int, target: int) -> str:
        if target == self.system:
            return "Incoming"
        if source == self.system:
            return "Outgoing"
        return "Incoming" if abs(target - self.system) < abs(source - self.system) else "Outgoing"

    def media(self) -> list[Media]:
        """One arrow a stream; a node that signalling does not know becomes a column of its own."""
        s = self.tables.streams
        drawn = []
        for call in self.calls:
            for stream in self.tables.streams_of(call).tolist():
                if int(s.flags[stream]) & TAP_COPY:
                    continue
                source = self._media_end(int(s.source_endpoint[stream]), int(s.sender_media_line[stream]))
                target = self._media_end(int(s.target_endpoint[stream]), int(s.media_line[stream]))
                drawn.append(self._media(stream, self.leg_of[call], source, target))
        return drawn

    def _media_end(self, endpoint: int, line: int) -> int:
        """The node whose host sends or receives; else the one that announced the address."""
        if endpoint != NONE and not self.by_port:
            at = self.places.get(self._key(endpoint))
            if at is not None:
                return at
        if line != NONE:
            ends = self.ends.get(int(self.tables.media_lines.message[line]))
            if ends is not None:
                return ends[0]
        if endpoint == NONE:
            return self._place(("media", 0), "unknown")
        host = int(self.tables.endpoints.host[endpoint])
        return self._place(("host", host), self.tables.address(host), self.tables.endpoint_names.get(host, ""))

    def _media(self, stream: int, leg: int, source: int, target: int) -> Media:
        tables, s = self.tables, self.tables.streams
        codec = int(s.codec[stream])
        ends = int(s.source_endpoint[stream]), int(s.target_endpoint[stream])
        return Media(
            stream=stream,
            leg=leg,
            time_ns=int(s.first_time_ns[stream]),
            source=source,
            target=target,
            codec=CODECS[codec] if codec else f"pt {int(s.payload_type[stream])}",
            packets=int(s.packets[stream]),
            loss_percent=float(s.loss_percent[stream]),
            jitter_ms=float(s.jitter_mean_ms[stream]),
            mos=round(float(s.mos_lq[stream]), 2) or None,
            duration_s=float(s.duration_s[stream]),
            addresses=f"{tables.address(ends[0])} -> {tables.address(ends[1])}",
            encrypted=bool(int(s.flags[stream]) & SRTP_LIKELY),
        )


def _method(tables: Tables, row: int) -> str:
    return tables.method(row) or (tables.start_line(row).split(" ", 1)[0] or "?")[:32]


def _label(tables: Tables, row: int, status: int) -> str:
    if not status:
        return _method(tables, row)
    words = tables.start_line(row).split(" ", 2)
    reason = words[2].strip() if len(words) > 2 else ""
    return f"{status} {reason}".strip()


def description_note(tables: Tables, row: int) -> str:
    """A message's SDP in a few words: "PCMA,G729 sendonly 10.0.0.1:6000"; one part a media line, "" without SDP."""
    parts = []
    lines = tables.media_lines
    for line in tables.media_lines_of(row):
        kind = MEDIA_NAMES[min(int(lines.media[line]), len(MEDIA_NAMES) - 1)]
        names = _codec_names(int(lines.codecs[line]), int(lines.codec[line]))
        words = [] if kind == "audio" else [kind]
        words += [",".join(names)] if names else []
        if not int(lines.port[line]):
            words.append("refused")
        else:
            direction = int(lines.direction[line])
            words += [DIRECTIONS[direction]] if direction > 1 else []
            words += ["encrypted"] if lines.crypto_count[line] or lines.fingerprint_hash[line] else []
            words += [tables.address(int(lines.endpoint[line]))] if int(lines.endpoint[line]) != NONE else []
        parts.append(" ".join(words))
    return "; ".join(parts)


def _codec_names(bits: int, first: int) -> list[str]:
    order = [first] if first else []
    order += [bit for bit in range(1, len(CODECS)) if bits >> bit & 1 and bit != first]
    names = [CODECS[bit] for bit in order if CODECS[bit] not in NO_MEDIA_CODECS]
    return names[:CODECS_NAMED_MAX] + (["…"] if len(names) > CODECS_NAMED_MAX else [])


# ---- findings at messages ----


def _badges(tables: Tables, calls: list[int]) -> dict[int, list[Badge]]:
    """Message row -> what rules say there, the severest first; information is left out."""
    from engine.trace.analysis import rules

    found: dict[int, dict[str, Badge]] = {}
    for rule in rules():
        if rule.severity == "info":
            continue
        hits = _hits(rule, tables)
        if hits is None or not len(hits):
            continue
        for at in np.flatnonzero(np.isin(hits.call, calls)).tolist():
            row = _message_row(tables, rule, int(hits.row[at]), int(hits.call[at]))
            if row is not None:
                found.setdefault(row, {})[rule.id] = Badge(rule.severity, rule.id, rule.title)
    return {
        row: sorted(badges.values(), key=lambda badge: SEVERITIES.index(badge.severity))
        for row, badges in found.items()
    }


def _hits(rule: Rule, tables: Tables) -> Hits | None:
    if rule.select is None:
        return tables.sightings_of(rule.id) if tables.sighted(rule.id) else None
    if rule.needs and not any(tables.sighted(need) for need in rule.needs):
        return None
    return rule.select(tables)


def _message_row(tables: Tables, rule: Rule, row: int, call: int) -> int | None:
    """The message that a hit is shown at: its own, its transaction's or description's, else the call's first."""
    column: dict[str, Callable[[], tuple[Table, str]]] = {
        "transaction": lambda: (tables.transactions, "first"),
        "media_line": lambda: (tables.media_lines, "message"),
    }
    if rule.subject in column:
        table, name = column[rule.subject]()
        row = int(getattr(table, name)[row]) if row < len(table) else NONE
    elif rule.subject == "call":
        row = int(tables.messages_of(call)[0])
    elif rule.subject != "message":
        return None
    return row if row < len(tables.messages) else None


# ---- the contract's document ----


def as_json(drawn: Ladder, *, iso: bool = False, gid: str | None = None, full: bool = False) -> dict[str, Any]:
    """The ladder contract's document: diagnosticInfo, nodes (the system second) and messages.

    `iso` writes times as ISO 8601 instead of MM-DD@HH:MM:SS.mmm; `full` adds what the contract does not have: labels,
    message numbers, legs, retransmissions, findings and media.
    """
    order = _contract_order(drawn)
    position = {node: at for at, node in enumerate(order)}
    nodes: list[dict[str, Any]] = []
    for at in order:
        node = drawn.nodes[at]
        told: dict[str, Any] = {"displayName": "System", "system": True} if node.system else {"displayName": node.address}
        if full:
            told["address"] = node.address
            told["label"] = node.label
        nodes.append(told)
    document: dict[str, Any] = {
        "diagnosticInfo": {"gid": gid or drawn.gid},
        "nodes": nodes,
        "messages": [_message_json(step, position, drawn, iso, full) for step in drawn.messages],
    }
    if full:
        document["legs"] = [{"call": leg.call + 1, "call_id": leg.call_id} for leg in drawn.legs]
        document["media"] = [_media_json(s, position, drawn, iso) for s in drawn.steps if isinstance(s, Media)]
    return document


def _contract_order(drawn: Ladder) -> list[int]:
    """Node indices with the system second, as readers of the contract's document expect it."""
    order = [at for at, node in enumerate(drawn.nodes) if not node.system]
    systems = [at for at, node in enumerate(drawn.nodes) if node.system]
    return order[:1] + systems + order[1:]


def timestamp(time_ns: int, *, iso: bool) -> str:
    """ "2024-07-08T07:19:38.107Z", or "07-08@07:19:38.107" as the contract's example has it; both UTC."""
    told = clock(time_ns, date=True)
    return told if iso or not told.endswith("Z") else told[5:-1].replace("T", "@")


def documented_text(text: bytes) -> str:
    """A message as the contract writes it: nothing behind the last header without a body, an empty line behind one."""
    told = text.decode("utf-8", "backslashreplace")
    head, blank, body = told.partition("\r\n\r\n")
    if not body:
        return head.rstrip("\r\n") + "\r\n" if blank or told.endswith("\r\n") else told
    missing = "" if body.endswith("\r\n\r\n") else "\r\n" if body.endswith("\r\n") else "\r\n\r\n"
    return told + missing


def _message_json(
    step: Message, position: dict[int, int], drawn: Ladder, iso: bool, full: bool
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "timestamp": "" if drawn.no_time else timestamp(step.time_ns, iso=iso),
        "fromNode": position[step.source],
        "toNode": position[step.target],
        "direction": step.direction,
        "transport": step.transport,
        "method": step.method,
        "sdp": step.sdp,
        "text": documented_text(step.text),
    }
    if full:
        told |= {
            "number": step.number,
            "leg": step.leg,
            "retransmissionOf": step.repeats or None,
            "description": step.note,
            "findings": [msgspec.to_builtins(badge) for badge in step.badges],
        }
    return told


def _media_json(step: Media, position: dict[int, int], drawn: Ladder, iso: bool) -> dict[str, Any]:
    return {
        "timestamp": "" if drawn.no_time else timestamp(step.time_ns, iso=iso),
        "fromNode": position[step.source],
        "toNode": position[step.target],
        "stream": step.stream + 1,
        "leg": step.leg,
        "codec": step.codec,
        "packets": step.packets,
        "lossPercent": round(step.loss_percent, 2),
        "jitterMs": round(step.jitter_ms, 2),
        "mos": step.mos,
        "durationSeconds": round(step.duration_s, 3),
        "addresses": step.addresses,
        "encrypted": step.encrypted,
    }


__all__ = [
    "Badge", "Ladder", "Leg", "Media", "Message", "Node", "as_json", "description_note", "documented_text", "gid_of",
    "ladder", "timestamp",
]  # fmt: skip
