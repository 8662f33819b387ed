"""Who is heard, and who may begin something: rates, lists, scanners, bans, trunks, overload, and how much strangers are answered.

A guard is asked twice. `admit` sees every message as bytes, before anything reads it, and costs one look-up for a source that is known.
`judge` sees each request that would begin a transaction. It neither sends nor waits, and what it remembers is bounded: sources that are
known, banned or strangers lie in three tables, so a flood of strangers pushes out nobody but strangers.

On spoofing: whoever sends datagrams can write any source address into them. What that does to the address is limited. Addresses of the
allow-list and of trunks are never banned. One that has proven itself (`Guard.proven`) is banned over UDP for wrong passwords alone, for
`ban_first_s`, and then only from beginning something: what it has begun goes on. Any other address can be made to look bad by a forger
and loses what a stranger has, so list the peers that matter. Rates are counted by address: who knows a trunk's address can use up its
rate, and only a filter on the way, or TLS, helps there. Where nothing is proven, no more than `answer_factor` times the bytes that came
from an address are sent to it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from enum import Enum
from ipaddress import ip_network
from itertools import islice
from math import inf
from socket import AF_INET, AF_INET6, inet_ntoa, inet_pton
from typing import Final, Literal

import msgspec

from engine.sip.compose import Header
from engine.sip.flow import Flow
from engine.sip.message import Message
from engine.sip.timers import Clock

Key = str | bytes
Peer = tuple[str, int]
Offence = Literal["auth", "flood", "malformed", "not_found", "probe", "scanner"]
MAPPED: Final = bytes(10) + b"\xff\xff"  # an IPv4 address in an IPv6 one (RFC 4291 2.5.5.2)
# No sender has these: this network, multicast, reserved and broadcast. An answer to one would go to many.
NO_SENDERS: Final = ("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "ff00::/8")
# Services that answer any datagram; a forged one of theirs would begin a conversation with us.
PORTS_REFUSED: Final = (0, 7, 9, 13, 17, 19, 37, 53, 69, 111, 123, 137, 138, 161, 389, 520, 1900, 3702, 5353, 11211)
CREDIT_MAX_BYTES: Final = 65_536
LAG_WEIGHT: Final = 0.25  # of the newest lag in the mean
LAG_COUNTED: Final = 2.0  # of the limit: so much of a lag counts at most
DOUBLINGS_MAX: Final = 30
SLACK_S: Final = 1e-9  # what adding up floats may be wrong by


# ---- settings ----


class ScannerRule(msgspec.Struct, frozen=True, kw_only=True):
    """A sign of a scanner: text anywhere in a header, or the user part of one that holds an address, whole or, with * behind it, how it
    begins. Case is of no matter."""

    header: str
    contains: str = ""
    user: str = ""


SCANNERS: Final = (
    *(ScannerRule(header="User-Agent", contains=name) for name in (
        "friendly-scanner", "sipvicious", "sipcli", "vaxsip", "pplsip", "sundayddr", "sip-scan", "sipscan", "siparmyknife", "smap", "iwar",
        "sivus", "sipptk", "gulp", "mr.sip", "sip-probe",
    )),
    ScannerRule(header="From", contains="sipvicious"), ScannerRule(header="From", contains="@1.1.1.1"),
    ScannerRule(header="To", contains="@1.1.1.1"),
)  # fmt: skip


class Signs:
    """The rules of one header, made ready."""

    def __init__(self, header: str, rules: Iterable[ScannerRule]) -> None:
        ours = [rule for rule in rules if rule.header == header]
        users = [rule.user.lower().encode() for rule in ours if rule.user]
        self._header = header
        self._texts = tuple(rule.contains.lower() for rule in ours if rule.contains)
        self._users = frozenset(users)
        self._beginnings = tuple(user[:-1] for user in users if user.endswith(b"*"))

    def found_in(self, request: Message) -> bool:
        """Whether any of the header's values has any of the signs."""
        for value in request.values(self._header):
            small = value.lower()
            if any(text in small for text in self._texts):
                return True
        if not self._users:
            return False
        users = [address.user.lower() for address in request.addresses(self._header)]
        return any(user in self._users or user.startswith(self._beginnings) for user in users)


class Trunk(msgspec.Struct, frozen=True, kw_only=True):
    """A carrier or PBX: where it sends from, and how many calls it may have, both ways together. `full_status` refuses one too many."""

    name: str
    sources: tuple[str, ...] = ()  # CIDRs; its addresses are allowed as those of the allow-list are
    calls_max: int = 1000
    calls_per_s: float = 30.0
    calls_burst: int = 60
    full_status: int = 503

    def __post_init__(self) -> None:
        if not self.name or self.calls_max < 0 or self.calls_per_s <= 0 or self.calls_burst < 1 or not 400 <= self.full_status <= 699:
            raise ValueError(f"trunk {self.name!r} needs a name, rates above 0, a burst of 1 or more, and a status from 400 to 699")


class GuardSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Rates are messages or calls in a second with the burst that may come at once; `_s` are seconds, `_max` counts.

    By default only `allow` and the sources of trunks may begin anything, and others hear nothing. A source is an IPv4 address or an
    IPv6 /64. Raises ValueError for numbers that cannot be.
    """

    allow: tuple[str, ...] = ()  # CIDRs; of two that hold an address the longer counts, of equals the denial
    deny: tuple[str, ...] = ()
    trunks: tuple[Trunk, ...] = ()
    strangers_may: tuple[str, ...] = ()  # methods that a source which has not proven itself may begin with, such as REGISTER
    proven_may: tuple[str, ...] = ()  # methods of one that has
    hidden: bool = True  # what may not be is dropped without a word; else it is refused with 403
    ports_refused: tuple[int, ...] = PORTS_REFUSED  # of datagrams
    scanners: tuple[ScannerRule, ...] = SCANNERS

    allowed_per_s: float = 5000.0  # a source of `allow` or a trunk
    allowed_burst: int = 10_000
    proven_per_s: float = 200.0
    proven_burst: int = 400
    stranger_per_s: float = 8.0
    stranger_burst: int = 16
    strangers_per_s: float = 2000.0  # all strangers together
    strangers_burst: int = 4000
    invites_per_s: float = 10.0  # INVITEs that begin calls, of a source that is no trunk's
    invites_burst: int = 50
    proven_s: float = 3600.0  # how long a proof counts
    answer_factor: float = 3.0  # bytes to an address that has proven nothing, for each byte from it
    sources_max: int = 32_768  # remembered of each kind: known, banned, strangers; some 400 bytes each
    connections_max: int = 100  # streams of one source that is not allowed

    auth_failures_max: int = 10  # each within offence_window_s; so many earn a ban
    malformed_max: int = 20
    not_found_max: int = 10
    probes_max: int = 10  # requests that were dropped because their source may not begin them
    floods_max: int = 200  # messages above the rate
    offence_window_s: float = 60.0
    ban_first_s: float = 300.0  # each later ban is twice as long
    ban_max_s: float = 86_400.0
    ban_forgiven_s: float = 3600.0  # for each so long behind a ban one doubling is forgiven

    calls_max: int = 0  # of everybody, 0 for no limit
    source_calls_max: int = 10  # of a source that is neither a trunk's nor allowed
    lag_high_s: float = 0.1  # mean lag of the event loop at which overload begins, and below which it may end
    lag_low_s: float = 0.03
    transactions_high: int = 50_000
    transactions_low: int = 40_000
    overload_least_s: float = 1.0
    retry_after_min_s: int = 5
    retry_after_max_s: int = 15

    def __post_init__(self) -> None:
        rates = ("allowed", "proven", "stranger", "strangers", "invites")
        if wrong := [name for name in rates if getattr(self, f"{name}_per_s") <= 0 or getattr(self, f"{name}_burst") < 1]:
            raise ValueError(f"{wrong[0]}_per_s must be above 0 and {wrong[0]}_burst at least 1")
        counts = ("sources_max", "auth_failures_max", "malformed_max", "not_found_max", "probes_max", "floods_max")
        if wrong := [name for name in counts if getattr(self, name) < 1]:
            raise ValueError(f"{wrong[0]} must be at least 1")
        if self.offence_window_s <= 0 or self.ban_forgiven_s <= 0 or self.answer_factor < 0:
            raise ValueError("offence_window_s and ban_forgiven_s must be above 0, answer_factor not below")
        if self.lag_low_s > self.lag_high_s or self.transactions_low > self.transactions_high or self.retry_after_min_s > self.retry_after_max_s:
            raise ValueError("a low or min value lies above its high or max")
        if len({trunk.name for trunk in self.trunks}) < len(self.trunks):
            raise ValueError("two trunks have one name")


# ---- what is told ----


class Verdict(Enum):
    """What becomes of a request."""

    ADMIT = "admit"
    DROP = "drop"
    REFUSE = "refuse"


class Judgement(msgspec.Struct, frozen=True):
    """A verdict, why ("" for ADMIT; else a key of `Counters.dropped` or `refused`), and of REFUSE the answer's status and headers."""

    verdict: Verdict
    why: str = ""
    status: int = 0
    headers: tuple[Header, ...] = ()


ADMIT: Final = Judgement(Verdict.ADMIT)


class Counters:
    """What was done, by reason. `spared` are offences and bans that did not count because of who was named, `unanswered` answers held
    back."""

    __slots__ = ("admitted", "bans", "dropped", "refused", "spared", "unanswered")

    def __init__(self) -> None:
        self.admitted = self.spared = self.unanswered = 0
        self.dropped = dict.fromkeys(("banned", "denied", "forbidden", "port", "rate", "scanner", "strangers", "connections"), 0)
        self.refused = dict.fromkeys(("forbidden", "overload", "rate", "trunk_full", "trunk_rate", "source_full", "full"), 0)
        self.bans: dict[Offence, int] = dict.fromkeys(("auth", "flood", "malformed", "not_found", "probe", "scanner"), 0)


# ---- addresses ----


def key_of(host: str) -> Key:
    """What a source is remembered by: an IPv4 address, the 8 bytes of an IPv6 /64, and text that is no address as it is."""
    if ":" not in host:
        return host
    packed = packed_of(host)
    if len(packed) != 16:
        return host
    return inet_ntoa(packed[12:]) if packed.startswith(MAPPED) else packed[:8]


def packed_of(host: str) -> bytes:
    """16 bytes of an address, IPv4 mapped; b"" for what is none. A zone (RFC 4007 11) is left out."""
    try:
        return inet_pton(AF_INET6, host.partition("%")[0]) if ":" in host else MAPPED + inet_pton(AF_INET, host)
    except (OSError, ValueError):
        return b""


class Standing(msgspec.Struct, frozen=True):
    """What the lists say of an address."""

    allowed: bool
    trunk: str = ""


class Networks:
    """The lists: each prefix to what it stands for. A look-up costs one step for each length of prefix that there is."""

    def __init__(self, settings: GuardSettings) -> None:
        """Raises ValueError for what is no CIDR, and for one that two trunks have."""
        self._by_length: dict[int, dict[int, Standing]] = {}
        for trunk in settings.trunks:
            self._add(trunk.sources, Standing(True, trunk.name))
        self._add(settings.allow, Standing(True))
        self._add((*settings.deny, *NO_SENDERS), Standing(False))
        self._tables = [(128 - length, self._by_length[length]) for length in sorted(self._by_length, reverse=True)]

    def _add(self, cidrs: Iterable[str], standing: Standing) -> None:
        for cidr in cidrs:
            try:
                network = ip_network(cidr)
            except ValueError as error:
                raise ValueError(f"{cidr!r} is no network: {error}") from None
            length = network.prefixlen + (96 if network.version == 4 else 0)
            packed = network.network_address.packed
            number = int.from_bytes(MAPPED + packed if len(packed) == 4 else packed) >> 128 - length
            table = self._by_length.setdefault(length, {})
            before = table.get(number)
            if before is not None and before.trunk and standing.trunk:
                raise ValueError(f"{cidr} is a source of two trunks: {before.trunk} and {standing.trunk}")
            if before is None or not (before.trunk and standing.allowed):
                table[number] = standing

    def find(self, host: str) -> Standing | None:
        """What is said of an address, None for nothing."""
        packed = packed_of(host)
        if packed:
            number = int.from_bytes(packed)
            for shift, table in self._tables:
                found = table.get(number >> shift)
                if found is not None:
                    return found
        return None


# ---- sources ----


def pace_of(per_s: float, burst: int) -> tuple[float, float]:
    """A token bucket as two times in seconds: between tokens, and how far ahead of its time the next one may be taken."""
    return 1 / per_s, (burst - 1) / per_s + SLACK_S


class Record:
    """What a source did wrong: when each kind is forgotten, how many bans it had, and the end of the last."""

    __slots__ = ("bans", "forgotten", "until")

    def __init__(self) -> None:
        self.forgotten: dict[Offence, float] = {}
        self.bans = 0
        self.until = 0.0


class Line:
    """Calls of a trunk, or of a source that is no trunk's (`trunk` is None then), that are up now."""

    __slots__ = ("calls", "due", "trunk")

    def __init__(self) -> None:
        self.trunk: Trunk | None = None
        self.calls = 0
        self.due = 0.0


class Source:
    """An address that was heard. Known `until` then, for ever when it is `trusted`; `due` is when its bucket is full again."""

    __slots__ = ("credit_bytes", "due", "interval_s", "invites_due", "line", "record", "tolerance_s", "trusted", "until")

    def __init__(self) -> None:
        self.due = self.invites_due = self.interval_s = self.tolerance_s = 0.0
        self.until = -inf
        self.trusted = False
        self.line: Line | None = None
        self.credit_bytes = 0
        self.record: Record | None = None

    def banned(self, now: float) -> bool:
        return self.record is not None and self.record.until > now


DENIED: Final = Source()


class Sources:
    """A bounded table in two generations: who was not heard while a whole one filled up is forgotten. Nothing is ever searched."""

    def __init__(self) -> None:
        self.most = 1
        self.young: dict[Key, Source] = {}  # always the same dict: the guard looks into it
        self.old: dict[Key, Source] = {}

    def __len__(self) -> int:
        return len(self.young) + len(self.old)

    def keep(self, key: Key, source: Source) -> None:
        if len(self.young) >= self.most:
            self.age()
        self.young[key] = source

    def age(self) -> None:
        """Everybody is old, and placed anew when heard again."""
        both = {**self.old, **self.young} if len(self.young) < self.most else self.young
        self.old = dict(islice(both.items(), max(0, len(both) - self.most), None))
        self.young.clear()

    def drop(self, key: Key) -> None:
        """For a source that was just found, which made it young."""
        self.young.pop(key, None)


class Call:
    """The token of one call that was let begin."""

    __slots__ = ("ended", "key", "line")

    def __init__(self, key: Key, line: Line) -> None:
        self.key = key
        self.line = line
        self.ended = False


# ---- the guard ----


class Guard:
    """Guards one worker. Belongs to one event loop."""

    def __init__(self, settings: GuardSettings, clock: Clock, *, chance: Callable[[], float] = random.random) -> None:
        """`chance` gives numbers from 0 to 1, for Retry-After. Raises ValueError for lists that cannot be read."""
        self._now = clock.time
        self._chance = chance
        self._known, self._banned, self._strangers = Sources(), Sources(), Sources()
        self._near = self._known.young
        self._strangers_due = 0.0
        self._lines: dict[str, Line] = {}  # of trunks
        self._gone: dict[str, Line] = {}  # of trunks that were taken out, while their calls last
        self._own_lines: dict[Key, Line] = {}  # of sources that are no trunk's, while they have calls
        self._connections: dict[Key, int] = {}
        self._lag_s, self._transactions, self._overload_began = 0.0, 0, 0.0
        self.overloaded = False
        self.calls = 0
        self.counters = Counters()
        self.configure(settings)

    def configure(self, settings: GuardSettings) -> None:
        """Takes new settings over. Bans, proofs and calls stay. Raises ValueError, and changes nothing then."""
        self._networks = Networks(settings)
        self._settings = settings
        self._allowed_pace = pace_of(settings.allowed_per_s, settings.allowed_burst)
        self._proven_pace = pace_of(settings.proven_per_s, settings.proven_burst)
        self._stranger_pace = pace_of(settings.stranger_per_s, settings.stranger_burst)
        self._strangers_pace = pace_of(settings.strangers_per_s, settings.strangers_burst)
        self._ports = frozenset(settings.ports_refused)
        self._limits: dict[Offence, int] = {
            "auth": settings.auth_failures_max, "flood": settings.floods_max, "malformed": settings.malformed_max,
            "not_found": settings.not_found_max, "probe": settings.probes_max, "scanner": 1,
        }  # fmt: skip
        self._signs = [Signs(header, settings.scanners) for header in dict.fromkeys(rule.header for rule in settings.scanners)]
        for table in (self._known, self._banned, self._strangers):
            table.most = max(1, settings.sources_max // 2)
            table.age()
        before = {**self._gone, **self._lines}
        self._lines = {trunk.name: before.pop(trunk.name, Line()) for trunk in settings.trunks}
        self._gone = {name: line for name, line in before.items() if line.calls}
        for trunk in settings.trunks:
            self._lines[trunk.name].trunk = trunk

    # ---- every message ----

    def admit(self, peer: Peer, data: bytes, transport: str) -> bool:
        """Whether a message is to be read at all. What is not is dropped without a word; on a stream, close it."""
        now = self._now()
        source = self._near.get(peer[0])
        if source is None or source.until < now:
            source = self._find(peer[0], now)
            if source is None or source.until < now:
                return self._admit_stranger(source, peer, data, transport, now)
        due = source.due
        if due < now:
            due = now
        elif due - now > source.tolerance_s:
            self.counters.dropped["rate"] += 1
            return False
        source.due = due + source.interval_s
        self.counters.admitted += 1
        return True

    def _admit_stranger(self, source: Source | None, peer: Peer, data: bytes, transport: str, now: float) -> bool:
        counters = self.counters
        if source is DENIED:
            counters.dropped["denied"] += 1
            return False
        if transport == "UDP" and peer[1] in self._ports:
            counters.dropped["port"] += 1
            return False
        if source is not None:
            if source.record is not None and source.record.until > now:
                counters.dropped["banned"] += 1
                return False
            due = max(source.due, now)
            if due - now > source.tolerance_s:
                counters.dropped["rate"] += 1
                self._offence(peer, "flood", transport)
                return False
        interval_s, tolerance_s = self._strangers_pace
        all_due = max(self._strangers_due, now)
        if all_due - now > tolerance_s:  # before anything is remembered of who comes first now
            counters.dropped["strangers"] += 1
            return False
        self._strangers_due = all_due + interval_s
        if source is None:
            source = Source()
            self._settle(key_of(peer[0]), source, now)
            due = now
        source.due = due + source.interval_s
        source.credit_bytes = min(source.credit_bytes + int(len(data) * self._settings.answer_factor), CREDIT_MAX_BYTES)
        counters.admitted += 1
        return True

    def _find(self, host: str, now: float) -> Source | None:
        """Whose address it is, DENIED for one of the deny-list, None for a stranger of whom nothing is remembered."""
        key = key_of(host)
        source = self._known.young.get(key)
        if source is not None:
            if source.until >= now:
                return source
            self._known.drop(key)  # its proof is too old
        else:
            for table in (self._banned, self._strangers):
                source = table.young.get(key)
                if source is not None:
                    return source
            for table in (self._known, self._banned, self._strangers):
                source = table.old.pop(key, None)
                if source is not None:
                    break
        standing = self._networks.find(host)
        if standing is not None and not standing.allowed:
            return DENIED
        if standing is not None:
            source = source or Source()
            source.trusted, source.until, source.line = True, inf, self._lines.get(standing.trunk)
        elif source is None:
            return None
        elif source.trusted:  # it was, before the lists were changed
            source.trusted, source.until, source.line = False, -inf, None
        self._settle(key, source, now)
        return source

    def _settle(self, key: Key, source: Source, now: float) -> None:
        """Puts a source where it belongs, at the pace it has there. It must not be in any table."""
        if source.trusted:
            table, pace = self._known, self._allowed_pace
        elif source.until >= now:
            table, pace = self._known, self._proven_pace
        else:
            table, pace = self._banned if source.banned(now) else self._strangers, self._stranger_pace
        source.interval_s, source.tolerance_s = pace
        source.due = min(source.due, now + pace[1])
        table.keep(key, source)

    # ---- requests that would begin something ----

    def judge(self, request: Message, flow: Flow) -> Judgement:
        """What becomes of a request that no transaction knows. ACKs are only admitted or dropped.

        Requests within a dialog (those with a To tag), ACK and CANCEL pass where their source may send INVITEs or has proven itself,
        in overload too. A retransmission of what was dropped is judged again.
        """
        now = self._now()
        source = self._find(flow.peer[0], now) or self._newcomer(flow.peer[0], now)
        method = request.method
        settings = self._settings
        inside = method in ("ACK", "CANCEL") or bool(request.recipient and request.recipient.tag)
        if source is DENIED:
            return self._dropped("denied")
        if not source.trusted:
            known = source.until >= now
            if source.banned(now) and not (known and inside):
                return self._dropped("banned")
            if self._is_scanner(request):
                self._offence(flow.peer, "scanner", flow.transport)
                return self._dropped("scanner")
            may = settings.proven_may if known else settings.strangers_may
            if not (inside and known) and ("INVITE" if inside else method) not in may:
                self._offence(flow.peer, "probe", flow.transport)
                return self._dropped("forbidden") if settings.hidden or method == "ACK" else self._refused("forbidden", 403)
        if inside:
            return ADMIT
        if self.overloaded:
            return self._refused("overload", 503, self._retry_after())
        return self._may_call(source, now) if method == "INVITE" else ADMIT

    def _may_call(self, source: Source, now: float) -> Judgement:
        if source.line is not None:
            return self._full(source.line, now) or ADMIT
        if not source.trusted:
            interval_s, tolerance_s = pace_of(self._settings.invites_per_s, self._settings.invites_burst)
            due = max(source.invites_due, now)
            if due - now > tolerance_s:
                return self._refused("rate", 503, self._retry_after())
            source.invites_due = due + interval_s
        return ADMIT

    def _is_scanner(self, request: Message) -> bool:
        return any(signs.found_in(request) for signs in self._signs)

    def _dropped(self, why: str) -> Judgement:
        self.counters.dropped[why] += 1
        return Judgement(Verdict.DROP, why)

    def _refused(self, why: str, status: int, headers: tuple[Header, ...] = ()) -> Judgement:
        self.counters.refused[why] += 1
        return Judgement(Verdict.REFUSE, why, status, headers)

    def _retry_after(self) -> tuple[Header, ...]:
        """Not the same for all, or all would come back at once."""
        least, most = self._settings.retry_after_min_s, self._settings.retry_after_max_s
        return (("Retry-After", str(round(least + (most - least) * self._chance()))),)

    # ---- offences and proofs ----

    def failed_auth(self, peer: Peer, transport: str = "UDP") -> None:
        """Credentials of a request were wrong. A request without any, or with a stale nonce, is no failure."""
        self._offence(peer, "auth", transport)

    def malformed(self, peer: Peer, transport: str = "UDP") -> None:
        """A message could not be read."""
        self._offence(peer, "malformed", transport)

    def not_found(self, peer: Peer, transport: str = "UDP") -> None:
        """Somebody was asked for who does not exist."""
        self._offence(peer, "not_found", transport)

    def _offence(self, peer: Peer, kind: Offence, transport: str) -> None:
        now = self._now()
        source = self._find(peer[0], now) or self._newcomer(peer[0], now)
        known = source.until >= now
        if source is DENIED:
            return
        if source.trusted or (known and transport == "UDP" and kind != "auth"):
            self.counters.spared += 1
            return
        record = source.record = source.record or Record()
        window_s = self._settings.offence_window_s
        forgotten = max(record.forgotten.get(kind, 0.0), now) + window_s / self._limits[kind]
        record.forgotten[kind] = forgotten
        if forgotten - now >= window_s - SLACK_S and record.until <= now:
            record.forgotten.clear()
            self.counters.bans[kind] += 1
            self._ban(key_of(peer[0]), source, record, now, lightly=known and transport == "UDP")

    def _ban(self, key: Key, source: Source, record: Record, now: float, *, lightly: bool) -> None:
        settings = self._settings
        if lightly:
            record.until = now + settings.ban_first_s
            return
        if record.bans:
            record.bans = max(0, record.bans - int((now - record.until) / settings.ban_forgiven_s))
        record.until = now + min(settings.ban_max_s, settings.ban_first_s * 2 ** min(record.bans, DOUBLINGS_MAX))
        record.bans += 1
        source.until = -inf
        for table in (self._known, self._banned, self._strangers):
            table.drop(key)
        self._settle(key, source, now)

    def _newcomer(self, host: str, now: float) -> Source:
        source = Source()
        self._settle(key_of(host), source, now)
        return source

    def proven(self, peer: Peer) -> None:
        """The address is not forged: something came from it that only a receiver of our messages can know.

        That is a nonce of ours in good credentials, a To tag of ours in an ACK or a request within a dialog, or an answer to a request
        of ours. A matching branch alone is none: the sender of a request chose it.
        """
        now = self._now()
        source = self._find(peer[0], now) or self._newcomer(peer[0], now)
        if source is DENIED or source.trusted:
            return
        known = source.until >= now
        if not known and source.banned(now):
            return
        source.until = now + self._settings.proven_s
        if not known:
            key = key_of(peer[0])
            self._banned.drop(key)
            self._strangers.drop(key)
            self._settle(key, source, now)

    def allow_answer(self, peer: Peer, bytes_out: int, transport: str = "UDP") -> bool:
        """Whether an answer may be sent, a repeated one too; it is counted then.

        While everything is hidden from strangers they are sent nothing at all. Where they may begin something, a datagram to an address
        that has not proven itself must stay within `answer_factor` times what came from there; a stream's peer has shown that it receives.
        """
        now = self._now()
        source = self._near.get(peer[0])
        if source is None or source.until < now:
            source = self._find(peer[0], now)
        if source is not None and source.until >= now:
            return True
        settings = self._settings
        if source is not DENIED and (settings.strangers_may or not settings.hidden):
            if transport != "UDP":
                return True
            if source is not None and source.credit_bytes >= bytes_out:
                source.credit_bytes -= bytes_out
                return True
        self.counters.unanswered += 1
        return False

    # ---- streams ----

    def connected(self, peer: Peer) -> bool:
        """A stream came in; whether it may stay. Its end must be told by `disconnected` when it may."""
        now = self._now()
        source = self._find(peer[0], now)
        key = key_of(peer[0])
        count = self._connections.get(key, 0)
        why = ""
        if source is DENIED:
            why = "denied"
        elif source is None or not source.trusted:
            if source is not None and source.until < now and source.banned(now):
                why = "banned"
            elif count >= self._settings.connections_max:
                why = "connections"
        if why:
            self.counters.dropped[why] += 1
            return False
        self._connections[key] = count + 1
        return True

    def disconnected(self, peer: Peer) -> None:
        """A stream that was let stay is gone."""
        key = key_of(peer[0])
        count = self._connections.pop(key, 0)
        if count > 1:
            self._connections[key] = count - 1

    # ---- calls ----

    def call_began(self, who: Peer | str) -> Call | Judgement:
        """Counts a call of a trunk (its name) or of an address in: a token for `call_ended`, or the refusal to answer with.

        Calls we make to a trunk count as well. Raises KeyError for a trunk that is none.
        """
        now = self._now()
        settings = self._settings
        if settings.calls_max and self.calls >= settings.calls_max:
            return self._refused("full", 503, self._retry_after())
        key: Key = ""
        allowed = False
        if isinstance(who, str):
            line = self._lines[who]
        else:
            source = self._find(who[0], now)
            found = source.line if source is not None else None
            allowed = source is not None and source.trusted and found is None
            key = key_of(who[0]) if found is None else ""
            line = found or self._own_lines.get(key) or Line()
        refusal = None if allowed else self._full(line, now)
        if refusal is not None:
            return refusal
        if line.trunk is not None:
            line.due = max(line.due, now) + 1 / line.trunk.calls_per_s
        else:
            self._own_lines[key] = line
        line.calls += 1
        self.calls += 1
        return Call(key, line)

    def _full(self, line: Line, now: float) -> Judgement | None:
        trunk = line.trunk
        if trunk is None:
            return self._refused("source_full", 486) if line.calls >= self._settings.source_calls_max else None
        if line.calls >= trunk.calls_max:
            return self._refused("trunk_full", trunk.full_status, self._retry_after() if trunk.full_status == 503 else ())
        if line.due - now > pace_of(trunk.calls_per_s, trunk.calls_burst)[1]:
            return self._refused("trunk_rate", 503, self._retry_after())
        return None

    def call_ended(self, call: Call) -> None:
        """The call is over. Told twice, it is over once."""
        if call.ended:
            return
        call.ended = True
        call.line.calls -= 1
        self.calls -= 1
        if call.key and not call.line.calls:
            del self._own_lines[call.key]

    def trunk_of(self, peer: Peer) -> str:
        """The name of the trunk that an address is of, "" for none."""
        source = self._find(peer[0], self._now())
        trunk = source.line.trunk if source is not None and source.line is not None else None
        return trunk.name if trunk is not None else ""

    def calls_of(self, trunk: str) -> int:
        """Calls that a trunk has now. Raises KeyError for one that is none."""
        return self._lines[trunk].calls

    # ---- overload ----

    def note_lag(self, lag_s: float) -> None:
        """How late the event loop was, at regular times; a mean is held against the limits. One stall is no overload, however long it was."""
        self._lag_s += (min(lag_s, LAG_COUNTED * self._settings.lag_high_s) - self._lag_s) * LAG_WEIGHT
        self._weigh()

    def note_transactions(self, count: int) -> None:
        """Transactions that live now."""
        self._transactions = count
        self._weigh()

    def _weigh(self) -> None:
        settings = self._settings
        if not self.overloaded:
            self.overloaded = self._lag_s >= settings.lag_high_s or self._transactions >= settings.transactions_high
            self._overload_began = self._now()
        elif self._lag_s <= settings.lag_low_s and self._transactions <= settings.transactions_low:
            self.overloaded = self._now() < self._overload_began + settings.overload_least_s

    # ---- what is remembered ----

    @property
    def sources(self) -> dict[str, int]:
        """Addresses remembered of each kind."""
        return {"known": len(self._known), "banned": len(self._banned), "strangers": len(self._strangers)}


__all__ = [
    "ADMIT", "SCANNERS", "Call", "Counters", "Guard", "GuardSettings", "Judgement", "Networks", "ScannerRule", "Trunk", "Verdict", "key_of",
]  # fmt: skip
