"""Where a request for a SIP URI goes (RFC 3263 4), and where a response does whose flow is gone (5): targets in order, the failed ones last.

Names are asked of the name servers, NAPTR, SRV and addresses, and what they answer is kept as long as the records say. Before them comes
the hosts file: a name that it knows is asked of nobody, since who writes one there means to overrule the rest, and `localhost` never is
(RFC 6761 6.3). A name of one label is looked for in the search domains of the system as well. An address is never looked up.

What comes from a name server is a stranger's: answers that are too large, too many or too slow are cut off, and each resolution has an end.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import random
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeVar

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.query
import dns.resolver
import msgspec

from engine._native.sip import Scheme, UriFlag, Via, ViaFlag, parameter, parse_uri
from engine.errors import EngineError

PORTS: Final = {"UDP": 5060, "TCP": 5060, "TLS": 5061, "WS": 80, "WSS": 443}
# What NAPTR calls each transport (RFC 3263 4.1, RFC 7118), and where SRV has it.
SERVICES: Final = {"SIP+D2U": "UDP", "SIP+D2T": "TCP", "SIPS+D2T": "TLS", "SIP+D2W": "WS", "SIPS+D2W": "WSS"}
SRV_NAMES: Final = {"UDP": "_sip._udp", "TCP": "_sip._tcp", "TLS": "_sips._tcp", "WS": "_sip._ws", "WSS": "_sips._ws"}
SECURE: Final = frozenset({"TLS", "WSS"})
PREFERENCE: Final = ("UDP", "TCP", "TLS")
DEFAULTS: Final = ("UDP", "TCP", "TLS")  # of those we have, where nothing tells the transport; sips leaves only the last
HOSTS: Final = Path("/etc/hosts")
HOSTS_MAX_BYTES: Final = 1 << 20

LOOKUP_S: Final = 2.5  # one question: its repeats, and all name servers; three of them follow each other at most
TRIES: Final = 3
WHOLE_S: Final = 8.0
ANSWER_MAX_BYTES: Final = 8192  # a stranger's answer takes 7 ms a KiB to read
EDNS_BYTES: Final = 1232
STRAYS_MAX: Final = 64  # datagrams that answer another question than ours
ALIASES_MAX: Final = 4  # that we follow ourselves, where a name server does not
RECORDS_MAX: Final = 16  # of one answer that are used
QUESTIONS_MAX: Final = 64  # of one resolution
ASKING_MAX: Final = 512  # at a time: each is a socket
TARGETS_MAX: Final = 32
KEPT_MAX: Final = 4096
KEPT_MAX_S: Final = 86_400.0
NOTHING_KEPT_MAX_S: Final = 60.0  # that there is no such record (RFC 2308 5)
FAILED_KEPT_S: Final = 5.0  # that nobody answers: asking on and on makes that no better (RFC 9520 3.2)
AVOIDED_S: Final = 60.0
AVOIDED_MAX_S: Final = 3600.0
AVOIDED_MAX: Final = 4096

# A host: at its end is no number, which would be half an address (RFC 3261 25.1), and the names of its services are no longer than DNS allows.
_NAME: Final = re.compile(r"(?=.{1,242}\Z)(?:[A-Za-z0-9_][A-Za-z0-9_-]{0,62}\.)*(?![0-9]+\Z)[A-Za-z0-9_][A-Za-z0-9_-]{0,62}\Z")
Family = Literal[4, 6]
Record = TypeVar("Record")
What = TypeVar("What")


class NoTarget(EngineError):
    """A URI leads nowhere: its name does not exist, or nothing of it can be reached from here."""

    code = "sip.no_target"


class LookupFailed(NoTarget):
    """Nobody knows where a URI leads: the name servers did not answer, or not with what can be used. It may be otherwise later."""

    code = "sip.lookup_failed"


class Target(msgspec.Struct, frozen=True):
    """Where a message may go. `host` is an address; `server_name` is the name that a certificate must have (RFC 5922 7)."""

    transport: str
    host: str
    port: int
    server_name: str


# ---- order ----


def by_weight(records: Iterable[tuple[int, int, What]], chance: Callable[[], float]) -> Iterator[What]:
    """SRV records in the order to try them (RFC 2782): (priority, weight, what) each; `chance` gives numbers from 0 to 1."""
    levels: dict[int, list[tuple[int, What]]] = {}
    for priority, weight, what in records:
        levels.setdefault(priority, []).append((weight, what))
    for _, left in sorted(levels.items(), key=lambda level: level[0]):
        # those of weight 0 stand first, so that they have some chance too, and among themselves the same
        left.sort(key=lambda record: (record[0] > 0, chance()))
        while left:
            at, running = int(chance() * (sum(weight for weight, _ in left) + 1)), 0
            for number, (weight, _) in enumerate(left):
                running += weight
                if running >= at or number == len(left) - 1:
                    yield left.pop(number)[1]
                    break


def _in_turn(groups: Sequence[Sequence[What]]) -> list[What]:
    """The first of each group, then the second of each, and so on."""
    return [group[at] for at in range(max(map(len, groups), default=0)) for group in groups if at < len(group)]


class Avoided:
    """Targets that failed, for a while (RFC 3263 4.3). They are not left out: where all failed, the one that is free again first is tried."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, kept_max: int = AVOIDED_MAX) -> None:
        self._clock = clock
        self._max = kept_max
        self._until: OrderedDict[tuple[str, str, int], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, transport: str, host: str, port: int, retry_after_s: float = 0.0) -> None:
        """A target did not answer, cannot be sent to, or answered 503. `retry_after_s` is that header of the answer, 0 where it was not
        there (RFC 3261 21.5.4); what is longer than `AVOIDED_MAX_S` is cut."""
        key = (transport, host, port)
        until = self._clock() + (min(max(retry_after_s, 0.0), AVOIDED_MAX_S) or AVOIDED_S)
        self._until[key] = max(until, self._until.get(key, 0.0))
        self._until.move_to_end(key)
        while len(self._until) > self._max:
            self._until.popitem(last=False)

    def forget(self, transport: str, host: str, port: int) -> None:
        """A target works again."""
        self._until.pop((transport, host, port), None)

    def until(self, target: Target) -> float:
        """When others need not come first any more, on the clock; 0 for a target that nothing is known of."""
        key = (target.transport, target.host, target.port)
        until = self._until.get(key, 0.0)
        if until and until <= self._clock():
            del self._until[key]
            return 0.0
        return until

    def ordered(self, targets: Iterable[Target]) -> list[Target]:
        """Targets in their order, those that failed behind the others."""
        return sorted(targets, key=self.until)


class Failover:
    """The targets of one request, one by one (RFC 3263 4.3). Each is given once; tell `failed` before the next is asked for."""

    def __init__(self, targets: Sequence[Target], avoided: Avoided) -> None:
        self._left = list(targets)
        self._avoided = avoided
        self.current: Target | None = None

    def __iter__(self) -> Iterator[Target]:
        return self

    def __next__(self) -> Target:
        """The first of those that are left, as far as others have not found out meanwhile that it fails."""
        if not self._left:
            raise StopIteration
        found = min(self._left, key=self._avoided.until)  # of several that are alike it is the first
        self._left.remove(found)
        self.current = found
        return found

    def failed(self, retry_after_s: float = 0.0) -> None:
        """The current target did not answer in time, could not be sent to, or answered 503 with that Retry-After."""
        if self.current is not None:
            self._avoided.add(self.current.transport, self.current.host, self.current.port, retry_after_s)

    def answered(self) -> None:
        """The current target answered with anything but 503."""
        if self.current is not None:
            self._avoided.forget(self.current.transport, self.current.host, self.current.port)


# ---- records ----


class Kind(Generic[Record]):
    """One type of records, and how to read one; None for one that is of no use here."""

    __slots__ = ("name", "rank", "read")

    def __init__(self, name: str, read: Callable[[Any], Record | None], rank: Callable[[Record], Any] | None = None) -> None:
        """`rank` says which are kept where there are more than `RECORDS_MAX`: the least."""
        self.name = name
        self.read = read
        self.rank = rank


class Naptr(msgspec.Struct, frozen=True):
    """A NAPTR record that leads to an SRV record (RFC 3263 4.1)."""

    order: int
    preference: int
    transport: str
    name: str


class Srv(msgspec.Struct, frozen=True):
    """An SRV record (RFC 2782); `name` is "" where it says that there is no such service."""

    priority: int
    weight: int
    port: int
    name: str


def _name(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _naptr(record: Any) -> Naptr | None:
    transport = SERVICES.get(record.service.decode("latin-1").upper(), "")
    if not transport or record.flags.lower() != b"s" or record.regexp or record.replacement == dns.name.root:
        return None
    return Naptr(record.order, record.preference, transport, _name(record.replacement))


def _srv(record: Any) -> Srv:
    name = "" if record.target == dns.name.root else _name(record.target)
    # a port of 0 and a name that no host can have lead nowhere, and are no reason to look elsewhere
    return Srv(record.priority, record.weight, record.port, name if record.port and _NAME.match(name) else "")


def _usable_address(record: Any) -> str | None:
    address = ipaddress.ip_address(record.address)
    return None if address.is_unspecified or address.is_multicast else str(address)


NAPTR: Final = Kind[Naptr]("NAPTR", _naptr, lambda record: (record.order, record.preference))
SRV: Final = Kind[Srv]("SRV", _srv, lambda record: record.priority)
ADDRESSES: Final[dict[Family, Kind[str]]] = {4: Kind("A", _usable_address), 6: Kind("AAAA", _usable_address)}


class Answer(msgspec.Struct, frozen=True):
    """What is known of a name. `failed` is that nobody answered, which is not that there is nothing."""

    until: float
    records: tuple[Any, ...]
    failed: bool = False


class Search:
    """What one resolution may still ask, and whether something of it failed."""

    __slots__ = ("failed", "left")

    def __init__(self) -> None:
        self.left = QUESTIONS_MAX
        self.failed = False


# ---- the hosts file ----


class Hosts:
    """The system's hosts file, read again when it changed. Without a path there is none."""

    def __init__(self, path: Path | None = HOSTS) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._names: dict[str, list[str]] = {}

    def addresses(self, name: str) -> list[str]:
        """The addresses of a name in lower case, without a dot at its end."""
        self._read()
        found = self._names.get(name, [])
        if not found and (name == "localhost" or name.endswith(".localhost")):
            return ["127.0.0.1", "::1"]
        return found

    def _read(self) -> None:
        if self._path is None:
            return
        try:
            state = os.stat(self._path)
            seen = state.st_mtime_ns, state.st_size, state.st_ino
            if seen == self._seen:
                return
            self._seen, self._names = seen, {}
            with self._path.open("rb") as file:
                text = file.read(HOSTS_MAX_BYTES).decode("utf-8", "replace")
        except OSError:  # there is none, or it is not for us
            self._seen, self._names = None, {}
            return
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            address = _address(words[0]) if words else ""
            for name in words[1:] if address else ():
                known = self._names.setdefault(name.lower().rstrip("."), [])
                if address not in known:
                    known.append(address)


# ---- name servers ----


class Question(asyncio.DatagramProtocol):
    """A question on its way, and the first datagram that answers it. Others cost no more than a look at their first bytes."""

    def __init__(self, wire: bytes, length: int) -> None:
        """`length` is that of the header and the question."""
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._begin = wire[:2], wire[12:length].lower()
        self._length = length
        self._strays = 0

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Called by the loop."""
        if self.answer.done():
            return
        if len(data) <= ANSWER_MAX_BYTES and (data[:2], data[12 : self._length].lower()) == self._begin:
            self.answer.set_result(data)
            return
        self._strays += 1
        if self._strays > STRAYS_MAX:
            self.answer.set_exception(dns.query.BadResponse)

    def error_received(self, exc: Exception) -> None:
        """Called by the loop: nobody listens there."""
        self.connection_lost(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if not self.answer.done():
            self.answer.set_exception(exc or ConnectionAbortedError("the socket is closed"))
            self.answer.exception()  # seen, should nobody wait any more


class NameServer(dns.nameserver.Do53Nameserver):
    """One name server. Its answers are bounded before they are read."""

    async def async_query(
        self, request: dns.message.QueryMessage, timeout: float, source: str | None, source_port: int, max_size: bool,
        backend: Any, one_rr_per_rrset: bool = False, ignore_trailing: bool = False,
    ) -> dns.message.Message:  # fmt: skip
        """Called by dnspython. `max_size` is over TCP. Raises dns.exception.DNSException, EOFError and OSError."""
        wire = request.to_wire()
        name = request.question[0].name.to_wire()
        assert name is not None
        try:
            async with asyncio.timeout(timeout):
                data = await (self._stream(wire) if max_size else self._datagram(wire, 12 + len(name) + 4))
        except TimeoutError:
            raise dns.exception.Timeout from None
        answer = dns.message.from_wire(data, raise_on_truncation=True)
        if not request.is_response(answer):
            raise dns.query.BadResponse
        return answer

    async def _datagram(self, wire: bytes, length: int) -> bytes:
        loop = asyncio.get_running_loop()
        # connected: the kernel leaves out what others send
        transport, question = await loop.create_datagram_endpoint(lambda: Question(wire, length), remote_addr=(self.address, self.port))
        try:
            transport.sendto(wire)
            return await question.answer
        finally:
            transport.close()

    async def _stream(self, wire: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self.address, self.port, limit=ANSWER_MAX_BYTES)
        try:
            writer.write(len(wire).to_bytes(2, "big") + wire)
            length = int.from_bytes(await reader.readexactly(2), "big")
            if length > ANSWER_MAX_BYTES:
                raise dns.query.BadResponse
            return await reader.readexactly(length)
        finally:
            writer.transport.abort()


# ---- the resolver ----


class Resolver:
    """The resolver of one worker. Belongs to one event loop."""

    def __init__(
        self, servers: Sequence[str] = (), *, families: Sequence[Family] = (4, 6), hosts: Path | None = HOSTS,
        clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random, lookup_s: float = LOOKUP_S,
        whole_s: float = WHOLE_S,
    ) -> None:  # fmt: skip
        """`servers` are addresses of name servers, with a port behind them where it is not 53 (192.0.2.1:5353, [2001:db8::1]:5353); without
        any, those of the system. `families` are the IP versions to use, the favourite first. A question ends after `lookup_s`, a resolution
        after `whole_s`. `clock` gives seconds, `chance` numbers from 0 to 1. Raises ValueError for what is no address."""
        found = [_server(text) for text in servers]
        try:
            self._dns = dns.asyncresolver.Resolver(configure=not servers)
        except dns.resolver.NoResolverConfiguration:  # a machine without name servers has its hosts file
            self._dns = dns.asyncresolver.Resolver(configure=False)
        if not self._dns.nameservers or servers:
            self._dns.domain = dns.name.root  # not to be looked for in the domain of this machine
        if not servers:
            found = [(server, 53) for server in self._dns.nameservers if isinstance(server, str)]
        self._dns.nameservers = [NameServer(host, port) for host, port in found]
        self._dns.lifetime = lookup_s
        self._dns.timeout = lookup_s / TRIES
        self._dns.use_edns(0, 0, EDNS_BYTES)
        self._dns.cache = None  # what is kept here is bounded and counted
        self._whole_s = whole_s
        self._families = tuple(families)
        self._hosts = Hosts(hosts)
        self._clock = clock
        self._chance = chance
        self._kept: OrderedDict[tuple[str, str], Answer] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Task[Answer]] = {}
        self.avoided = Avoided(clock)
        self.asked = 0

    # -- requests (4) --

    async def targets(self, uri: str, *, transports: Sequence[str] = PREFERENCE) -> list[Target]:
        """Where a request for a URI goes: `resolve` of its maddr or host, its port, scheme and transport parameter. Raises NoTarget."""
        parsed = parse_uri(uri.encode("utf-8", "surrogateescape"))
        scheme = {Scheme.SIP: "sip", Scheme.SIPS: "sips"}.get(Scheme(int(parsed.scheme_id)), "")
        if not scheme or not parsed.host or int(parsed.flags) & UriFlag.PORT_BAD:
            raise NoTarget(f"{uri[:120]!r} is no SIP URI that leads anywhere")
        parameters = b";" + parsed.parameters
        host = (parameter(parameters, b"maddr") or parsed.host).decode("latin-1")
        transport = (parameter(parameters, b"transport") or b"").decode("latin-1")
        return await self.resolve(host, parsed.port, scheme=scheme, transport=transport, transports=transports)

    async def resolve(
        self, host: str, port: int | None = None, *, scheme: str = "sip", transport: str = "", transports: Sequence[str] = PREFERENCE
    ) -> list[Target]:
        """Where a request goes, in order, 1 to `TARGETS_MAX` of them (RFC 3263 4.1 and 4.2); those that failed lately are the last.

        `host` is a name or an address, an IPv6 one with or without brackets; a `port` of None or 0 is not stated; `transport` is the
        parameter of the URI, "" for none; `transports` are those we have, our favourite first. Raises NoTarget, and LookupFailed of it where
        the name servers are to blame.
        """
        if scheme not in ("sip", "sips"):
            raise NoTarget(f"{scheme[:20]!r} is no scheme of SIP")
        told = transport.upper()
        usable = [name for name in dict.fromkeys(map(str.upper, transports)) if name in PORTS]
        if scheme == "sips":  # what it names is the transport under TLS (RFC 3261 26.2.2)
            told = {"TCP": "TLS", "WS": "WSS"}.get(told, told)
            usable = [name for name in usable if name in SECURE]
        if told:
            usable = [name for name in usable if name == told]
        if not usable:
            raise NoTarget(f"{scheme}:{host[:120]} wants a transport that there is none of here: {transport[:20] or 'a secure one'}")
        return await self._in_time(host, port, lambda search: self._find(_plain(host), port or 0, told, usable, search))

    async def _in_time(self, host: str, port: int | None, find: Callable[[Search], Awaitable[list[Target]]]) -> list[Target]:
        """Runs one resolution to its end, and brings what it found into order. Raises NoTarget."""
        if not 0 <= (port or 0) < 65536:
            raise NoTarget(f"{port} is no port")
        search = Search()
        try:
            async with asyncio.timeout(self._whole_s):
                found = await find(search)
        except TimeoutError:
            raise LookupFailed(f"{host[:120]!r} was not found within {self._whole_s:g} s") from None
        if found:
            return self.avoided.ordered(list(dict.fromkeys(found))[:TARGETS_MAX])
        if search.failed:
            raise LookupFailed(f"the name servers do not tell where {host[:120]!r} is")
        raise NoTarget(f"{host[:120]!r} has no address that SIP could go to")

    async def _find(self, host: str, port: int, told: str, usable: Sequence[str], search: Search) -> list[Target]:
        default = next((name for name in DEFAULTS if name in usable), usable[0])
        if address := _address(host):
            return [Target(default, address, port or PORTS[default], address)]
        host = _checked(host)
        if port or self._hosts.addresses(host):
            return [Target(default, address, port or PORTS[default], host) for address in await self._addresses(host, search)]
        found = None if told else await self._by_naptr(host, usable, search)
        if found is None:
            found = await self._by_services([(name, f"{SRV_NAMES[name]}.{host}") for name in usable], host, search)
        if found is None:
            found = [Target(default, address, PORTS[default], host) for address in await self._addresses(host, search)]
        return found

    async def _by_naptr(self, host: str, usable: Sequence[str], search: Search) -> list[Target] | None:
        """Targets of the least order that leads to any, in order of preference; None where none does. Those of a greater order are not
        tried when targets fail (RFC 3403 4.1): who puts TLS before UDP does not want to be called over UDP because TLS is disturbed."""
        records = [record for record in await self._records(host, NAPTR, search) if record.transport in usable]
        for _, same in groupby(sorted(records, key=lambda record: (record.order, record.preference)), key=lambda record: record.order):
            found = await self._by_services([(record.transport, record.name) for record in same], host, search)
            if found:
                return found
        return None

    async def _by_services(self, services: Sequence[tuple[str, str]], host: str, search: Search) -> list[Target] | None:
        """Targets of SRV records, (transport, name) each, in that order; None where there are no such records at all."""
        found = await asyncio.gather(*(self._by_srv(transport, name, host, search) for transport, name in services))
        told = [targets for targets in found if targets is not None]
        return [target for targets in told for target in targets] if told else None

    async def _by_srv(self, transport: str, name: str, host: str, search: Search) -> list[Target] | None:
        """None where there are no such records. Some that lead nowhere are no reason to try the host itself (4.2)."""
        records = await self._records(name, SRV, search)
        if not records:
            return None
        order = by_weight(((record.priority, record.weight, record) for record in records if record.name), self._chance)
        ordered = list(order)
        found = await asyncio.gather(*(self._addresses(record.name, search) for record in ordered))
        return [Target(transport, address, record.port, host) for record, addresses in zip(ordered, found, strict=True) for address in addresses]

    async def _addresses(self, name: str, search: Search) -> list[str]:
        """Addresses of a name, of both families in turn."""
        known = self._hosts.addresses(name)
        if known:
            return _in_turn([[address for address in known if (":" in address) == (family == 6)] for family in self._families])
        return _in_turn(await asyncio.gather(*(self._records(name, ADDRESSES[family], search) for family in self._families)))

    # -- responses (5) --

    async def response_targets(self, via: Via, *, received_failed: bool = False) -> list[Target]:
        """Where a response goes that has no flow any more, in order (RFC 3261 18.2.2, RFC 3581 4, RFC 3263 5); `via` is the topmost of the
        request, with what the receiver added.

        Over UDP that is maddr, or received with rport or the port of sent-by; over TCP and TLS a new connection to received, at the port of
        sent-by. No name is looked up for these, and nothing but them is told, for a request may name any sent-by: where they are known to
        fail, `received_failed` asks for sent-by. Raises NoTarget; for WS and WSS always, whose clients cannot be connected to (RFC 7118 5).
        """
        transport = via.transport_name.decode("latin-1").upper()
        flags = int(via.flags)
        if transport not in ("UDP", "TCP", "TLS") or not via.host or flags & (ViaFlag.MALFORMED | ViaFlag.PORT_BAD):
            raise NoTarget(f"a Via of {transport[:20] or 'no transport'} leads nowhere without its flow")
        host = via.host.decode("latin-1")
        port = via.port or PORTS[transport]
        maddr = parameter(b";" + via.parameters, b"maddr") if transport == "UDP" else None
        received = _address(_plain(via.received.decode("latin-1")))
        name = _address(_plain(host)) or host.lower().rstrip(".")
        if maddr:
            told = maddr.decode("latin-1")
            return await self._in_time(told, port, lambda search: self._find(_plain(told), port, transport, [transport], search))
        if received and not received_failed:
            return [Target(transport, received, via.rport or port if transport == "UDP" else port, name)]
        return await self._in_time(host, via.port, lambda search: self._find(_plain(host), via.port, transport, [transport], search))

    # -- records --

    async def _records(self, name: str, kind: Kind[Record], search: Search) -> Sequence[Record]:
        """The records of a name, none where there are none. Whoever asks while somebody else does gets the same answer."""
        key = (name, kind.name)
        search.left -= 1
        answer = self._kept.get(key)
        if answer is not None and answer.until > self._clock():
            self._kept.move_to_end(key)
        else:
            asking = self._asking.get(key)
            if asking is None:
                if search.left < 0 or len(self._asking) >= ASKING_MAX:
                    search.failed = True
                    return ()
                asking = self._asking[key] = asyncio.create_task(self._ask(name, kind))
                asking.add_done_callback(lambda done: self._asking.pop(key, None))
            answer = await asyncio.shield(asking)
        search.failed |= answer.failed
        return answer.records

    async def _ask(self, name: str, kind: Kind[Any]) -> Answer:
        self.asked += 1
        try:
            async with asyncio.timeout(self._dns.lifetime):
                records, kept_s = await self._follow(name, kind)
        except (dns.exception.DNSException, OSError, ValueError):
            answer = Answer(self._clock() + FAILED_KEPT_S, (), failed=True)
        else:
            answer = Answer(self._clock() + kept_s, records)
        self._kept[name, kind.name] = answer
        self._kept.move_to_end((name, kind.name))
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return answer

    async def _follow(self, name: str, kind: Kind[Any]) -> tuple[tuple[Any, ...], float]:
        """Records and how long they may be kept, in seconds. A recursive name server follows aliases; one that is not leaves that to us."""
        wanted = dns.name.from_text(name)
        if "." not in name and (self._dns.search or self._dns.domain != dns.name.root):
            wanted = wanted.relativize(dns.name.root)
        kept_s = KEPT_MAX_S
        for _ in range(ALIASES_MAX + 1):
            try:
                answer = await self._dns.resolve(wanted, kind.name, search=not wanted.is_absolute(), raise_on_no_answer=False)
            except dns.resolver.NXDOMAIN as error:
                responses: dict[dns.name.Name, dns.message.QueryMessage] = error.kwargs["responses"]
                return (), min([kept_s, NOTHING_KEPT_MAX_S, *(float(each.resolve_chaining().minimum_ttl) for each in responses.values())])
            kept_s = min(kept_s, float(answer.chaining_result.minimum_ttl))
            if answer.rrset is not None:
                found = [record for record in map(kind.read, answer.rrset) if record is not None]
                return tuple(sorted(found, key=kind.rank) if kind.rank is not None else found)[:RECORDS_MAX], kept_s
            if answer.canonical_name == answer.qname:
                return (), min(kept_s, NOTHING_KEPT_MAX_S)
            wanted = answer.canonical_name
        raise dns.query.BadResponse  # aliases without an end

    # -- failures (4.3) --

    def failover(self, targets: Sequence[Target]) -> Failover:
        """The targets of a request, one by one; what fails is remembered here."""
        return Failover(targets, self.avoided)

    def avoid(self, transport: str, host: str, port: int, retry_after_s: float = 0.0) -> None:
        """A target failed, or asks to be left alone for a time: others come first (`Avoided.add`)."""
        self.avoided.add(transport, host, port, retry_after_s)


# ---- names and addresses ----


def _plain(host: str) -> str:
    """A host without the brackets of an IPv6 address."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _address(host: str) -> str:
    """An address in its usual spelling; "" for what is none."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""


def _checked(host: str) -> str:
    """A host name as it is asked for. Raises NoTarget for what can be none, which is asked of nobody (RFC 6761 6.4)."""
    name = host[:-1] if host.endswith(".") else host
    if not _NAME.match(name):
        raise NoTarget(f"{host[:120]!r} is no host name")
    name = name.lower()
    if name == "invalid" or name.endswith(".invalid"):
        raise NoTarget(f"{host[:120]!r} is a name that never exists")
    return name


def _server(text: str) -> tuple[str, int]:
    """Address and port of a name server. Raises ValueError."""
    if address := _address(_plain(text)):
        return address, 53
    host, _, port = text.rpartition(":")
    address = _address(_plain(host))
    if not address or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is no address of a name server")
    return address, int(port)


__all__ = ["PORTS", "SECURE", "Avoided", "Failover", "LookupFailed", "NoTarget", "Resolver", "Target", "by_weight"]
