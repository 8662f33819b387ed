"""RFC 3263 against a real name server, against one that says what a test wants, and against some that are none."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
import uvloop

from engine._native.sip import parse_via
from engine.sip import resolver as module
from engine.sip.resolver import Avoided, Failover, LookupFailed, NoTarget, Resolver, Target, by_weight
from tests.engine.sip.fake_clock import FakeClock
from tests.flow.program import program
from tests.ports import free_ports

ALL = ("UDP", "TCP", "TLS", "WS", "WSS")
WAIT_S = 20.0
TTL_S = 60
RECORDS = """
host-record=one.example.test,192.0.2.1
host-record=two.example.test,192.0.2.2,2001:db8::2
host-record=three.example.test,192.0.2.3
host-record=plain.test,192.0.2.9,2001:db8::9
host-record=both.test,192.0.2.21,2001:db8::21
host-record=both.test,192.0.2.22
host-record=nobody.test,0.0.0.0
host-record=group.test,224.0.1.75
host-record=short.test,192.0.2.8,5
cname=long.test,short.test,500
cname=other.test,example.test

naptr-record=example.test,90,60,s,SIP+D2U,,_sip._udp.example.test
naptr-record=example.test,90,50,s,SIP+D2T,,_sip._tcp.example.test
naptr-record=example.test,50,50,S,SIPS+D2T,,_sips._tcp.example.test
naptr-record=example.test,10,10,u,E2U+sip,!^.*$!sip:info@example.test!,.
srv-host=_sip._udp.example.test,two.example.test,5070,20,0
srv-host=_sip._udp.example.test,one.example.test,5060,10,0
srv-host=_sip._tcp.example.test,one.example.test,5060,10,0
srv-host=_sips._tcp.example.test,one.example.test,5061,10,0

naptr-record=odd.test,10,1,a,SIPS+D2T,,_sips._tcp.example.test
naptr-record=odd.test,10,2,s,SIP+D2S,,_sip._sctp.odd.test
naptr-record=odd.test,10,3,s,SIP+D2T,!.*!x!,_sip._tcp.example.test
naptr-record=odd.test,20,1,s,SIP+D2T,,_sip._tcp.nothing.test
naptr-record=odd.test,30,1,s,sip+d2u,,other-service.odd.test
srv-host=other-service.odd.test,three.example.test,5099,1,1

naptr-record=ws.test,10,10,s,SIP+D2W,,_sip._ws.ws.test
naptr-record=ws.test,10,20,s,SIPS+D2W,,_sips._ws.ws.test
srv-host=_sip._ws.ws.test,one.example.test,8080,1,1
srv-host=_sips._ws.ws.test,one.example.test,8443,1,1

host-record=srvonly.test,192.0.2.66
srv-host=_sip._udp.srvonly.test,one.example.test,5080,1,1
srv-host=_sips._tcp.srvonly.test,three.example.test,5081,1,1

host-record=closed.test,192.0.2.67
srv-host=_sip._udp.closed.test,.,1,0,0
srv-host=_sip._tcp.closed.test,one.example.test,5060,0,0

host-record=broken.test,192.0.2.68
srv-host=_sip._udp.broken.test,gone.test,5060,0,0

host-record=many.test,192.0.2.100
"""
ONE, TWO, THREE, SIX = "192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::2"
Way = tuple[str, str, int]


def run(scenario: Coroutine[Any, Any, Any], runner: Callable[..., Any] = uvloop.run) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(WAIT_S):
            return await scenario

    return runner(bounded())


def ways(targets: list[Target]) -> list[Way]:
    return [(target.transport, target.host, target.port) for target in targets]


# ---- a real name server ----


@pytest.fixture(scope="module")
def name_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("names")
    port = free_ports()
    lines = [f"port={port}", "listen-address=127.0.0.1", "bind-interfaces", "no-resolv", "no-hosts", "local=/test/", f"local-ttl={TTL_S}"]
    lines += [f"srv-host=_sip._udp.many.test,many.test,{6000 + at},{at},0" for at in random.Random(3).sample(range(60), 60)]
    (folder / "names.conf").write_text("\n".join(lines) + RECORDS)
    found = shutil.which("dnsmasq", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert found, "dnsmasq is missing; see ci/sip_setup.sh"
    with program("dnsmasq", [found, "-k", "-C", str(folder / "names.conf"), "--user=", "--pid-file="], folder) as running:
        running.wait_for_ports(("udp", port), ("tcp", port))
        yield f"127.0.0.1:{port}"


def ask(name_server: str, uri: str, *transports: str, resolver: Resolver | None = None) -> list[Way]:
    async def scenario() -> list[Target]:
        return await (resolver or Resolver([name_server])).targets(uri, transports=transports or ALL)

    return ways(run(scenario()))


@pytest.mark.parametrize(
    ("uri", "transports", "targets"),
    [
        # addresses and ports say it all (4.1)
        ("sip:192.0.2.5", ALL, [("UDP", "192.0.2.5", 5060)]),
        ("sip:192.0.2.5", ("TLS", "TCP"), [("TCP", "192.0.2.5", 5060)]),
        ("sips:a@192.0.2.5", ALL, [("TLS", "192.0.2.5", 5061)]),
        ("sips:a@192.0.2.5;transport=ws", ALL, [("WSS", "192.0.2.5", 443)]),
        ("sip:a@192.0.2.5;transport=ws", ALL, [("WS", "192.0.2.5", 80)]),
        ("sip:[2001:DB8::5]:5070;transport=tcp", ALL, [("TCP", "2001:db8::5", 5070)]),
        ("sip:a@nowhere.test;maddr=192.0.2.6", ALL, [("UDP", "192.0.2.6", 5060)]),
        ("sip:a@nowhere.test;maddr=[2001:db8::6]", ALL, [("UDP", "2001:db8::6", 5060)]),
        ("sip:plain.test:5099", ALL, [("UDP", "192.0.2.9", 5099), ("UDP", "2001:db8::9", 5099)]),
        ("sip:example.test.:5099;maddr=plain.test", ("TCP",), [("TCP", "192.0.2.9", 5099), ("TCP", "2001:db8::9", 5099)]),
        ("sips:plain.test:5099;transport=tcp", ALL, [("TLS", "192.0.2.9", 5099), ("TLS", "2001:db8::9", 5099)]),
        ("sip:plain.test:80;transport=ws", ALL, [("WS", "192.0.2.9", 80), ("WS", "2001:db8::9", 80)]),
        # NAPTR: of what we have, the least order alone, and in it each in its preference
        ("sip:example.test", ALL, [("TLS", ONE, 5061)]),
        ("sip:EXAMPLE.test.", ("UDP", "TCP"), [("TCP", ONE, 5060), ("UDP", ONE, 5060), ("UDP", TWO, 5070), ("UDP", SIX, 5070)]),
        ("sip:other.test", ("UDP",), [("UDP", ONE, 5060), ("UDP", TWO, 5070), ("UDP", SIX, 5070)]),
        ("sips:example.test", ALL, [("TLS", ONE, 5061)]),
        ("sip:ws.test", ALL, [("WS", ONE, 8080), ("WSS", ONE, 8443)]),
        ("sips:ws.test", ALL, [("WSS", ONE, 8443)]),
        ("sip:odd.test", ALL, [("UDP", THREE, 5099)]),
        # SRV, where there is no NAPTR or the transport is told
        ("sip:example.test;transport=udp", ALL, [("UDP", ONE, 5060), ("UDP", TWO, 5070), ("UDP", SIX, 5070)]),
        ("sip:example.test;Transport=TLS", ALL, [("TLS", ONE, 5061)]),
        ("sip:srvonly.test", ALL, [("UDP", ONE, 5080), ("TLS", THREE, 5081)]),
        ("sip:srvonly.test", ("TLS", "UDP"), [("TLS", THREE, 5081), ("UDP", ONE, 5080)]),
        ("sips:srvonly.test", ALL, [("TLS", THREE, 5081)]),
        ("sip:closed.test", ALL, [("TCP", ONE, 5060)]),
        # neither: addresses, and the default of the scheme
        ("sip:plain.test", ALL, [("UDP", "192.0.2.9", 5060), ("UDP", "2001:db8::9", 5060)]),
        ("sips:plain.test", ALL, [("TLS", "192.0.2.9", 5061), ("TLS", "2001:db8::9", 5061)]),
        ("sip:srvonly.test;transport=tcp", ALL, [("TCP", "192.0.2.66", 5060)]),
    ],
)
def test_a_uri_leads_where_the_rfc_says(name_server: str, uri: str, transports: tuple[str, ...], targets: list[Way]) -> None:
    assert ask(name_server, uri, *transports) == targets


@pytest.mark.parametrize(
    ("uri", "transports"),
    [
        ("sip:missing.test", ALL), ("sip:missing.test:5060", ALL), ("tel:+4712345678", ALL), ("sip:", ALL), ("sips:plain.test", ("UDP", "TCP", "WS")),
        ("sip:plain.test;transport=sctp", (*ALL, "SCTP")), ("sips:plain.test;transport=udp", ALL), ("sip:plain.test:65536", ALL),
        ("sip:closed.test;transport=udp", ALL), ("sip:broken.test", ALL), ("sip:nobody.test", ALL), ("sip:group.test", ALL),
    ],
)  # fmt: skip
def test_a_uri_that_leads_nowhere_is_told(name_server: str, uri: str, transports: tuple[str, ...]) -> None:
    """A service that is decidedly not there, or whose targets have no address, is not looked for at the host (RFC 2782, RFC 3263 4.2)."""
    with pytest.raises(NoTarget) as told:
        ask(name_server, uri, *transports)
    assert not isinstance(told.value, LookupFailed)


@pytest.mark.parametrize(
    "host",
    [
        "x" * 64 + ".test", "x." * 130 + "test", "a..b.test", "-a.test", "\udcff.test", "a b.test", "æ.test", "1.2.3", "192.0.2.256", "1.2.3.4.5",
        "abc.invalid", "invalid", "[192.0.2.1", "[]", ".", "", "a\x00.test", "a.test\n",
    ],
)  # fmt: skip
def test_what_is_no_host_is_asked_of_nobody(host: str) -> None:
    async def scenario() -> None:
        resolver = Resolver(["127.0.0.1:1"], hosts=None)
        for port in (None, 5060):
            with pytest.raises(NoTarget):
                await resolver.resolve(host, port)
        assert resolver.asked == 0

    run(scenario())


def test_an_address_is_asked_of_nobody() -> None:
    async def scenario() -> None:
        resolver = Resolver(["127.0.0.1:1"])
        for host, address in (("192.0.2.1", "192.0.2.1"), ("[2001:DB8::0:1]", "2001:db8::1"), ("2001:db8::1", "2001:db8::1")):
            assert await resolver.resolve(host) == [Target("UDP", address, 5060, address)]
            assert await resolver.resolve(host, 0, scheme="sips", transports=("TCP", "WSS")) == [Target("WSS", address, 443, address)]
        assert resolver.asked == 0

    run(scenario())


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_and_a_scheme_are_checked(port: int) -> None:
    resolver = Resolver(["127.0.0.1:1"])
    with pytest.raises(NoTarget, match="port"):
        run(resolver.resolve("192.0.2.1", port))
    with pytest.raises(NoTarget, match="scheme"):
        run(resolver.resolve("192.0.2.1", scheme="http"))


def test_sips_leads_to_nothing_that_is_not_secure(name_server: str) -> None:
    """Whatever the name, the port, the parameter, and the transports that there are."""

    async def scenario() -> None:
        resolver = Resolver([name_server])
        hosts = ["example.test", "odd.test", "ws.test", "srvonly.test", "closed.test", "plain.test", "192.0.2.1", "localhost"]
        found = 0
        for host, port, told, count in itertools.product(hosts, (None, 5060), ("", "udp", "tcp", "tls", "ws", "wss"), range(1, 6)):
            for transports in itertools.combinations(ALL, count):
                with contextlib.suppress(NoTarget):
                    targets = await resolver.resolve(host, port, scheme="sips", transport=told, transports=transports)
                    found += len(targets)
                    assert {target.transport for target in targets} <= {"TLS", "WSS"} & set(transports)
        assert found > 100

    run(scenario())


def test_the_certificate_must_have_the_name_of_the_uri(name_server: str) -> None:
    """Not that of an SRV record, which anybody may have put there (RFC 5922 7)."""
    resolver = Resolver([name_server])
    assert run(resolver.targets("sips:a@Example.test", transports=ALL)) == [Target("TLS", ONE, 5061, "example.test")]


@pytest.mark.parametrize(
    ("families", "hosts"),
    [
        ((4, 6), ["192.0.2.21", "2001:db8::21", "192.0.2.22"]),
        ((6, 4), ["2001:db8::21", "192.0.2.21", "192.0.2.22"]),
        ((4,), ["192.0.2.21", "192.0.2.22"]), ((6,), ["2001:db8::21"]),
    ],
)  # fmt: skip
def test_both_families_come_in_turn(name_server: str, families: tuple[module.Family, ...], hosts: list[str]) -> None:
    found = ask(name_server, "sip:both.test:5060", resolver=Resolver([name_server], families=families))
    four = sorted(host for _, host, _ in found if ":" not in host)  # a name server turns its answers
    fours = iter(four)
    assert [host if ":" in host else next(fours) for _, host, _ in found] == hosts


def test_of_a_long_answer_the_first_are_used(name_server: str) -> None:
    """Sixty SRV records do not fit into a datagram, so that this is TCP as well."""
    assert ask(name_server, "sip:many.test", "UDP") == [("UDP", "192.0.2.100", 6000 + at) for at in range(module.RECORDS_MAX)]


def test_what_was_asked_is_kept_as_long_as_it_says(name_server: str) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        resolver = Resolver([name_server], clock=clock.time)

        async def twenty(uri: str) -> None:
            await asyncio.gather(*(resolver.targets(uri, transports=("UDP", "TCP")) for _ in range(20)))

        await twenty("sip:example.test")
        before = resolver.asked
        await twenty("sip:EXAMPLE.test")
        clock.now += TTL_S - 1
        await twenty("sip:example.test")
        assert resolver.asked == before
        clock.now += 1
        await twenty("sip:example.test")
        assert resolver.asked == 2 * before  # twenty who ask at once ask once

    run(scenario())


def test_an_alias_is_kept_no_longer_than_what_it_stands_for(name_server: str) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        resolver = Resolver([name_server], clock=clock.time, families=(4,))
        for passed_s, asked in ((0.0, 1), (4.0, 1), (1.0, 2)):
            clock.now += passed_s
            assert ways(await resolver.resolve("long.test", 5060)) == [("UDP", "192.0.2.8", 5060)]
            assert resolver.asked == asked

    run(scenario())


def test_that_there_is_nothing_is_kept_for_a_while(name_server: str) -> None:
    """dnsmasq tells nobody how long."""
    clock = FakeClock()

    async def scenario() -> None:
        resolver = Resolver([name_server], clock=clock.time, families=(4,))
        for passed_s, asked in ((0.0, 1), (59.0, 1), (1.0, 2)):
            clock.now += passed_s
            with pytest.raises(NoTarget):
                await resolver.resolve("missing.test", 5060)
            assert resolver.asked == asked

    run(scenario())


# ---- the hosts file ----


def test_a_name_of_the_hosts_file_is_asked_of_nobody(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("# 192.0.2.30 no\n192.0.2.31 Box box.example  # a comment\n2001:db8::31\tbox\n192.0.2.31 box\nrubbish box\n\n192.0.2.33\n")

    async def scenario() -> None:
        resolver = Resolver(["127.0.0.1:1"], hosts=path)
        assert ways(await resolver.resolve("BOX")) == [("UDP", "192.0.2.31", 5060), ("UDP", "2001:db8::31", 5060)]
        assert ways(await resolver.resolve("box.example.", 5070, scheme="sips")) == [("TLS", "192.0.2.31", 5070)]
        assert ways(await resolver.resolve("box", transport="tcp")) == [("TCP", "192.0.2.31", 5060), ("TCP", "2001:db8::31", 5060)]
        path.write_text("192.0.2.32 box\n192.0.2.1 localhost\n")
        os.utime(path, ns=(1, 1))
        assert ways(await resolver.resolve("box")) == [("UDP", "192.0.2.32", 5060)]
        assert ways(await resolver.resolve("localhost")) == [("UDP", "192.0.2.1", 5060)]
        path.unlink()
        for name in ("localhost", "a.localhost"):
            assert ways(await resolver.resolve(name)) == [("UDP", "127.0.0.1", 5060), ("UDP", "::1", 5060)]
        assert resolver.asked == 0
        with pytest.raises(LookupFailed):
            await resolver.resolve("box")
        assert resolver.asked > 0

    run(scenario())


def test_the_systems_own_hosts_file_is_read() -> None:
    assert ("UDP", "127.0.0.1", 5060) in ask("127.0.0.1:1", "sip:localhost")


# ---- failures (4.3) ----


def test_a_target_that_failed_comes_last_for_a_while(name_server: str) -> None:
    clock = FakeClock()
    resolver = Resolver([name_server], clock=clock.time)
    uri = "sip:example.test;transport=udp"
    before = ask(name_server, uri, resolver=resolver)
    resolver.avoid(*before[0])
    assert ask(name_server, uri, resolver=resolver) == [*before[1:], before[0]]
    clock.now += module.AVOIDED_S - 1
    assert ask(name_server, uri, resolver=resolver) == [*before[1:], before[0]]
    clock.now += 1
    assert ask(name_server, uri, resolver=resolver) == before
    resolver.avoid(*before[0], retry_after_s=300.0)
    resolver.avoid(*before[0])  # the longer of both
    clock.now += 299
    assert ask(name_server, uri, resolver=resolver)[-1] == before[0]
    clock.now += 1
    assert ask(name_server, uri, resolver=resolver) == before


def some(*numbers: int) -> list[Target]:
    return [Target("UDP", f"192.0.2.{number}", 5060, "x.test") for number in numbers]


def test_failover_gives_each_target_once_and_remembers_those_that_failed() -> None:
    clock = FakeClock()
    avoided = Avoided(clock.time)
    failover = Failover(some(1, 2, 3), avoided)
    failover.failed()  # there is none yet
    failover.answered()
    assert next(failover) == some(1)[0] == failover.current
    failover.failed(retry_after_s=20.0)
    avoided.add("UDP", "192.0.2.2", 5060)  # somebody else's request found that out meanwhile
    assert [next(failover), next(failover)] == some(3, 2)
    assert list(failover) == []
    failover.failed()
    assert list(Failover(some(1, 2, 3), avoided)) == some(3, 1, 2)  # of those that failed the one that is free first
    clock.now += 20
    again = Failover(some(1, 2, 3), avoided)
    assert list(again) == some(1, 3, 2) and again.current == some(2)[0]
    again.answered()
    assert avoided.ordered(some(2, 1)) == some(2, 1)
    assert len(avoided) == 0


def test_another_transport_or_port_of_a_host_is_another_target() -> None:
    avoided = Avoided(FakeClock().time)
    avoided.add("UDP", "192.0.2.1", 5060)
    others = [Target("UDP", "192.0.2.1", 5060, ""), Target("TCP", "192.0.2.1", 5060, ""), Target("UDP", "192.0.2.1", 5070, "")]
    assert avoided.ordered(others) == [*others[1:], others[0]]


def test_failures_are_remembered_for_a_bounded_time_and_number() -> None:
    clock = FakeClock()
    avoided = Avoided(clock.time, kept_max=3)
    for number in range(10):
        avoided.add("UDP", f"192.0.2.{number}", 5060, retry_after_s=1e9)
    assert len(avoided) == 3
    assert avoided.ordered(some(9, 1)) == some(1, 9)
    clock.now += module.AVOIDED_MAX_S
    assert avoided.ordered(some(9, 1)) == some(9, 1)
    avoided.add("UDP", "192.0.2.1", 5060, retry_after_s=-5.0)
    assert avoided.ordered(some(1, 9)) == some(9, 1)


def test_a_resolver_hands_its_memory_to_failover(name_server: str) -> None:
    async def scenario() -> None:
        resolver = Resolver([name_server])
        tried = []
        failover = resolver.failover(await resolver.targets("sip:example.test;transport=udp"))
        for target in failover:
            tried.append(target)
            if len(tried) == 2:
                failover.answered()
                break
            failover.failed()
        again = await resolver.targets("sip:example.test;transport=udp")
        assert again[0] == tried[1] and again[-1] == tried[0]

    run(scenario())


# ---- weights (RFC 2782) ----


def test_weights_are_chances(seed: int = 7) -> None:
    chance = random.Random(seed).random
    records = [(10, 60, "a"), (10, 20, "b"), (20, 1, "e"), (10, 20, "c"), (10, 0, "d")]
    orders = [list(by_weight(records, chance)) for _ in range(10_000)]
    first = Counter(order[0] for order in orders)
    assert abs(first["a"] / 10_000 - 60 / 101) < 0.02
    assert abs(first["b"] / 10_000 - 20 / 101) < 0.02 and abs(first["c"] / 10_000 - 20 / 101) < 0.02
    assert 0 < first["d"] < 300  # a weight of 0 is a very small chance
    second = Counter(order[1] for order in orders if order[0] == "a")
    assert abs(second["b"] / first["a"] - 20 / 41) < 0.03
    assert all(sorted(order) == list("abcde") and order[-1] == "e" for order in orders)


def test_without_weights_all_are_alike(seed: int = 7) -> None:
    chance = random.Random(seed).random
    first = Counter(next(by_weight([(1, 0, at) for at in range(4)], chance)) for _ in range(4000))
    assert all(abs(first[at] - 1000) < 120 for at in range(4))
    first = Counter(next(by_weight([(1, 1, 1), (1, 0, 0)], chance)) for _ in range(4000))
    assert abs(first[1] - 2000) < 150  # a number from 0 to the sum, both of them included


@pytest.mark.parametrize("at", [0.0, 1.0 - 2**-53, 1.0])
def test_the_ends_of_chance_choose_too(at: float) -> None:
    assert sorted(by_weight([(1, 65535, "x"), (1, 0, "y"), (0, 3, "z")], lambda: at)) == ["x", "y", "z"]
    assert list(by_weight([], lambda: at)) == []


def test_a_resolution_chooses_by_weight() -> None:
    async def scenario() -> None:
        records = {("_sip._udp.w.test", "SRV"): ["1 90 5001 h.test", "1 10 5002 h.test"], ("h.test", "A"): ["192.0.2.1"]}
        async with scripted(records) as names:
            resolver = Resolver([names.address], chance=random.Random(5).random, hosts=None)
            first = Counter([(await resolver.resolve("w.test", transport="udp"))[0].port for _ in range(500)])
        assert abs(first[5001] - 450) < 40

    run(scenario())


# ---- a name server that says what it is told ----

Records = dict[tuple[str, str], list[str]]
Mangle = Callable[[bytes, bytes], bytes | list[bytes] | None]


class Names(asyncio.DatagramProtocol):
    """Answers out of a table; `mangle(question, answer)` has the last word on what is sent."""

    def __init__(self, records: Records, mangle: Mangle | None, ttl_s: int, soa_s: int, room: int) -> None:
        self.room = room
        self.records = records
        self.mangle = mangle
        self.ttl_s = ttl_s
        self.soa_s = soa_s
        self.asked: list[tuple[str, str]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.address = ""
        self.transport: Any = None
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        task = asyncio.create_task(self._reply(data, addr))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _reply(self, data: bytes, addr: Any) -> None:
        said = self._answers(data, self.room)
        await self.open.wait()
        for piece in said:
            self.transport.sendto(piece, addr)

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            for piece in self._answers(data, 65535):
                writer.write(len(piece).to_bytes(2, "big") + piece)
            await reader.read()
        writer.close()

    def _answers(self, data: bytes, room: int) -> list[bytes]:
        made = self._answer(data, room)
        said = made if self.mangle is None else self.mangle(data, made)
        return said if isinstance(said, list) else [] if said is None else [said]

    def _answer(self, data: bytes, room: int) -> bytes:
        question = dns.message.from_wire(data)
        name, kind = question.question[0].name, dns.rdatatype.to_text(question.question[0].rdtype)
        asked = name.to_text(omit_final_dot=True)
        self.asked.append((asked, kind))
        answer = dns.message.make_response(question)
        found = next(((each, self.records[asked, each]) for each in (kind, "CNAME") if (asked, each) in self.records), None)
        if found is not None:
            dot = "" if found[0] in ("A", "AAAA") else "."  # the others end with a name
            answer.answer.append(dns.rrset.from_text_list(name, self.ttl_s, "IN", found[0], [text + dot for text in found[1]]))
        else:
            if not any(each == asked for each, _ in self.records):
                answer.set_rcode(dns.rcode.NXDOMAIN)
            if self.soa_s:
                answer.authority.append(dns.rrset.from_text("test.", 3600, "IN", "SOA", f"ns.test. a.test. 1 2 3 4 {self.soa_s}"))
        try:
            return answer.to_wire(max_size=room)
        except dns.exception.TooBig:
            short = dns.message.make_response(question)
            short.flags |= dns.flags.TC
            return short.to_wire()


@asynccontextmanager
async def scripted(records: Records, mangle: Mangle | None = None, *, ttl_s: int = TTL_S, soa_s: int = 0, room: int = 1232) -> AsyncIterator[Names]:
    names = Names(records, mangle, ttl_s, soa_s, room)
    server = await asyncio.start_server(names.stream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: names, local_addr=("127.0.0.1", port))
    names.address = f"127.0.0.1:{port}"
    try:
        yield names
    finally:
        names.open.set()
        transport.close()
        server.close()
        await asyncio.sleep(0)


PLAIN: Records = {("a.test", "A"): ["192.0.2.1"]}


def test_who_asks_meanwhile_gets_the_same_answer() -> None:
    """And who gives up meanwhile takes it from nobody."""

    async def scenario() -> None:
        async with scripted(PLAIN) as names:
            resolver = Resolver([names.address], hosts=None, families=(4,))
            names.open.clear()
            asking = [asyncio.create_task(resolver.resolve("a.test", 5060)) for _ in range(50)]
            while not names.asked:
                await asyncio.sleep(0.001)
            asking[0].cancel()
            await asyncio.sleep(0)
            names.open.set()
            found = await asyncio.gather(*asking, return_exceptions=True)
            assert isinstance(found[0], asyncio.CancelledError)
            assert found[1:] == [[Target("UDP", "192.0.2.1", 5060, "a.test")]] * 49
            assert names.asked == [("a.test", "A")]

    run(scenario())


@pytest.mark.parametrize(("soa_s", "kept_s"), [(7, 7), (100_000, 60)])
@pytest.mark.parametrize("host", ["missing.test", "a.test"])
def test_that_there_is_nothing_is_kept_as_the_zone_says(host: str, soa_s: int, kept_s: int) -> None:
    """For a name that is not there, and one that has no such record (RFC 2308 5)."""
    clock = FakeClock()

    async def scenario() -> None:
        async with scripted(PLAIN, soa_s=soa_s) as names:
            resolver = Resolver([names.address], clock=clock.time, hosts=None, families=(6,))
            for passed_s, asked in ((0, 1), (kept_s - 1, 1), (1, 2)):
                clock.now += passed_s
                with pytest.raises(NoTarget):
                    await resolver.resolve(host, 5060)
                assert resolver.asked == asked

    run(scenario())


@pytest.mark.parametrize(("ttl_s", "kept_s"), [(0, 0), (1, 1), (2**31 - 1, 86_400)])
def test_no_answer_is_kept_for_ever(ttl_s: int, kept_s: int) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        async with scripted(PLAIN, ttl_s=ttl_s) as names:
            resolver = Resolver([names.address], clock=clock.time, hosts=None, families=(4,))
            await resolver.resolve("a.test", 5060)
            clock.now += max(kept_s - 0.5, 0)
            await resolver.resolve("a.test", 5060)
            assert resolver.asked == (1 if kept_s else 2)
            clock.now += 0.5
            await resolver.resolve("a.test", 5060)
            assert resolver.asked == (2 if kept_s else 3)

    run(scenario())


def test_only_so_many_answers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_MAX", 5)

    async def scenario() -> None:
        async with scripted({(f"h{at}.test", "A"): ["192.0.2.1"] for at in range(10)}) as names:
            resolver = Resolver([names.address], hosts=None, families=(4,))
            for at in range(10):
                await resolver.resolve(f"h{at}.test", 5060)
                await resolver.resolve("h0.test", 5060)  # who is used stays
            assert resolver.asked == 10
            await resolver.resolve("h9.test", 5060)
            assert resolver.asked == 10
            await resolver.resolve("h1.test", 5060)
            assert resolver.asked == 11

    run(scenario())


def test_aliases_are_followed_where_a_name_server_does_not_and_not_without_end() -> None:
    records: Records = {(f"c{at}.test", "CNAME"): [f"c{at + 1}.test"] for at in range(20)}
    records |= {("c20.test", "A"): ["192.0.2.1"], ("x.test", "CNAME"): ["y.test"], ("y.test", "CNAME"): ["x.test"]}

    async def scenario() -> None:
        async with scripted(records) as names:
            resolver = Resolver([names.address], hosts=None, families=(4,))
            assert ways(await resolver.resolve("c16.test", 5060)) == [("UDP", "192.0.2.1", 5060)]
            for name in ("c15.test", "x.test"):
                before = len(names.asked)
                with pytest.raises(LookupFailed):
                    await resolver.resolve(name, 5060)
                assert len(names.asked) == before + 5

    run(scenario())


def wide() -> Records:
    """A name that leads to 20 services of 20 hosts each."""
    records: Records = {("w.test", "NAPTR"): [f'1 {at} "s" "SIP+D2U" "" _sip._udp.w{at}.test' for at in range(20)]}
    for at in range(20):
        records[f"_sip._udp.w{at}.test", "SRV"] = [f"1 1 5060 h{at}-{host}.test" for host in range(20)]
    records |= {(f"h{at}-{host}.test", "A"): [f"10.0.{at}.{host}"] for at in range(20) for host in range(20)}
    return records


def test_one_resolution_asks_only_so_much() -> None:
    async def scenario() -> None:
        async with scripted(wide()) as names:
            resolver = Resolver([names.address], hosts=None)
            found = await resolver.resolve("w.test")
            assert 0 < len(found) <= module.TARGETS_MAX
            assert len(names.asked) <= module.QUESTIONS_MAX

    run(scenario())


def test_only_so_many_are_asked_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASKING_MAX", 3)

    async def scenario() -> None:
        async with scripted({(f"h{at}.test", "A"): ["192.0.2.1"] for at in range(10)}) as names:
            resolver = Resolver([names.address], hosts=None, families=(4,))
            names.open.clear()
            asking = [asyncio.create_task(resolver.resolve(f"h{at}.test", 5060)) for at in range(10)]
            while len(names.asked) < 3:
                await asyncio.sleep(0.001)
            names.open.set()
            found = await asyncio.gather(*asking, return_exceptions=True)
            assert [isinstance(each, LookupFailed) for each in found] == [False] * 3 + [True] * 7
            assert ways(await resolver.resolve("h9.test", 5060)) == [("UDP", "192.0.2.1", 5060)]  # later there is room again

    run(scenario())


def test_a_large_answer_is_read_and_a_huge_one_is_not() -> None:
    records: Records = {
        ("large.test", "A"): [f"10.0.{at // 250}.{at % 250 + 1}" for at in range(400)],
        ("huge.test", "A"): [f"10.0.{at // 250}.{at % 250 + 1}" for at in range(1000)],
    }

    async def scenario() -> None:
        async with scripted(records) as names:
            resolver = Resolver([names.address], hosts=None, families=(4,))
            assert len(await resolver.resolve("large.test", 5060)) == module.RECORDS_MAX
            with pytest.raises(LookupFailed):
                await resolver.resolve("huge.test", 5060)
        async with scripted(records, room=65_000) as names:  # in one datagram
            resolver = Resolver([names.address], hosts=None, families=(4,))
            assert len(await resolver.resolve("large.test", 5060)) == module.RECORDS_MAX
            with pytest.raises(LookupFailed):
                await Resolver([names.address], hosts=None, families=(4,), lookup_s=0.1).resolve("huge.test", 5060)

    run(scenario())


def test_hosts_of_one_address_are_one_target() -> None:
    records: Records = {("_sip._udp.m.test", "SRV"): ["1 1 5060 h.test", "2 1 5070 h.test", "3 1 5060 i.test"]}
    records |= {(f"{host}.test", "A"): ["192.0.2.1"] for host in "hi"}

    async def scenario() -> None:
        async with scripted(records) as names:
            found = await Resolver([names.address], hosts=None, families=(4,)).resolve("m.test", transport="udp")
            assert ways(found) == [("UDP", "192.0.2.1", 5060), ("UDP", "192.0.2.1", 5070)]

    run(scenario())


def test_a_uri_leads_to_only_so_many_targets() -> None:
    records: Records = {("_sip._udp.m.test", "SRV"): [f"{at} 1 5060 h{at}.test" for at in range(10)]}
    records |= {(f"h{at}.test", "A"): [f"10.0.{at}.{host}" for host in range(10)] for at in range(10)}

    async def scenario() -> None:
        async with scripted(records) as names:
            found = await Resolver([names.address], hosts=None, families=(4,)).resolve("m.test", transport="udp")
            assert sorted(target.host[:7] for target in found) == ["10.0.0."] * 10 + ["10.0.1."] * 10 + ["10.0.2."] * 10 + ["10.0.3."] * 2

    run(scenario())


def flipped(question: bytes, answer: bytes) -> bytes:
    return bytes([answer[0] ^ 1]) + answer[1:]


def elsewhere(question: bytes, answer: bytes) -> bytes:
    return answer.replace(b"\x01a\x04test", b"\x01b\x04test")


@pytest.mark.parametrize(
    "lie", [lambda q, a: b"", lambda q, a: a[:7], lambda q, a: b"\xff" * 600, flipped, elsewhere, lambda q, a: b"\xff" * 60_000],
    ids=["empty", "short", "noise", "other id", "other name", "large"],
)  # fmt: skip
def test_the_answer_behind_a_lie_is_taken(lie: Callable[[bytes, bytes], bytes]) -> None:
    """Who guesses at numbers spoils nothing."""

    async def scenario() -> None:
        async with scripted(PLAIN, lambda question, answer: [lie(question, answer)] * 3 + [answer]) as names:
            resolver = Resolver([names.address], hosts=None, families=(4,), lookup_s=WAIT_S)
            assert ways(await resolver.resolve("a.test", 5060)) == [("UDP", "192.0.2.1", 5060)]
            assert len(names.asked) == 1

    run(scenario())


def test_behind_too_many_lies_no_answer_is_taken() -> None:
    async def scenario(lies: int) -> list[Way]:
        async with scripted(PLAIN, lambda question, answer: [flipped(question, answer)] * lies + [answer]) as names:
            resolver = Resolver([names.address], hosts=None, families=(4,), lookup_s=3 * WAIT_S, whole_s=WAIT_S)
            return ways(await resolver.resolve("a.test", 5060))

    assert run(scenario(module.STRAYS_MAX)) == [("UDP", "192.0.2.1", 5060)]
    with pytest.raises(LookupFailed, match="do not tell"):
        run(scenario(module.STRAYS_MAX + 1))


SAYS: dict[str, Mangle] = {
    "silent": lambda asked, answer: None,
    "empty": lambda asked, answer: b"",
    "noise": lambda asked, answer: b"\xff" * 512,
    "other id": flipped,
    "other question": elsewhere,
    "the question": lambda asked, answer: asked,
    "failure": lambda asked, answer: asked[:2] + b"\x81\x82" + asked[4:],
    "refused": lambda asked, answer: asked[:2] + b"\x81\x85" + asked[4:],
    "truncated": lambda asked, answer: asked[:2] + b"\x83\x80" + asked[4:],  # over TCP too
    "cut": lambda asked, answer: answer[:-3],
    "counts": lambda asked, answer: answer[:6] + b"\xff\xff" + answer[8:],
    "pointers": lambda asked, answer: answer[:12] + answer[12 : len(asked) - 11] + b"\xc0\x17" * 100,
    "long": lambda asked, answer: answer + b"\0" * 60_000,
}  # fmt: skip


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("says", SAYS)
def test_a_name_server_that_lies_or_says_nothing_is_given_up(says: str, runner: Callable[..., Any]) -> None:
    """After a bounded time and a bounded number of questions, and not asked again at once."""
    clock = FakeClock()

    async def scenario() -> None:
        async with scripted(PLAIN, SAYS[says]) as names:
            resolver = Resolver([names.address], lookup_s=0.1, clock=clock.time, hosts=None)
            with pytest.raises(LookupFailed):
                await resolver.resolve("a.test")
            asked = len(names.asked)
            assert 0 < asked < 64
            with pytest.raises(LookupFailed):
                await resolver.resolve("a.test")
            assert len(names.asked) == asked
            clock.now += module.FAILED_KEPT_S
            names.mangle = None
            resolver._dns.lifetime = WAIT_S  # it is well again, however slow this machine is
            assert ways(await resolver.resolve("a.test")) == [("UDP", "192.0.2.1", 5060)]

    run(scenario(), runner)


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_where_nobody_listens_is_known_at_once_and_the_next_is_asked(runner: Callable[..., Any]) -> None:
    async def scenario() -> None:
        async with scripted(PLAIN) as names:
            resolver = Resolver(["127.0.0.1:1", names.address], hosts=None, lookup_s=3 * WAIT_S, whole_s=WAIT_S)
            assert ways(await resolver.resolve("a.test", 5060)) == [("UDP", "192.0.2.1", 5060)]
            with pytest.raises(LookupFailed, match="do not tell"):
                await Resolver(["127.0.0.1:1"], hosts=None, lookup_s=3 * WAIT_S, whole_s=WAIT_S).resolve("a.test", 5060)

    run(scenario(), runner)


def test_over_tcp_a_silent_name_server_is_given_up_too() -> None:
    def mangle(question: bytes, answer: bytes) -> bytes | list[bytes]:
        return answer if answer[2] & 2 else []  # truncated is what goes over UDP

    async def scenario() -> None:
        async with scripted({("a.test", "A"): [f"10.0.0.{at}" for at in range(200)]}, mangle) as names:
            with pytest.raises(LookupFailed):
                await Resolver([names.address], lookup_s=0.1, hosts=None).resolve("a.test", 5060)

    run(scenario())


def test_over_tcp_the_answer_to_another_question_is_not_taken() -> None:
    def mangle(question: bytes, answer: bytes) -> bytes:
        return answer if answer[2] & 2 else flipped(question, answer)

    async def scenario() -> None:
        async with scripted({("a.test", "A"): [f"10.0.0.{at}" for at in range(200)]}, mangle) as names:
            with pytest.raises(LookupFailed):
                await Resolver([names.address], hosts=None, families=(4,)).resolve("a.test", 5060)
            names.mangle = None
            assert await Resolver([names.address], hosts=None).resolve("a.test", 5060)

    run(scenario())


def test_a_question_that_was_lost_is_asked_again() -> None:
    async def scenario() -> None:
        lost = iter([True])
        async with scripted(PLAIN, lambda question, answer: None if next(lost, False) else answer) as names:
            resolver = Resolver([names.address], hosts=None, families=(4,), lookup_s=3 * WAIT_S, whole_s=WAIT_S)
            resolver._dns.timeout = 0.05
            assert ways(await resolver.resolve("a.test", 5060)) == [("UDP", "192.0.2.1", 5060)]
            assert len(names.asked) >= 2

    run(scenario())


def test_a_resolution_ends_whatever_is_still_asked() -> None:
    async def scenario() -> None:
        async with scripted(PLAIN, lambda question, answer: None) as names:
            resolver = Resolver([names.address], lookup_s=3 * WAIT_S, whole_s=0.05, hosts=None)
            with pytest.raises(LookupFailed, match=r"within 0\.05 s"):
                await resolver.resolve("a.test")

    run(scenario())


def test_a_part_that_fails_leaves_the_rest() -> None:
    """A name server that wants to know nothing of NAPTR, and an address that it does not tell."""
    records: Records = {
        ("_sip._udp.a.test", "SRV"): ["1 1 5060 lost.test", "2 1 5061 h.test", "3 1 0 h.test", "4 1 5064 127.0.0.1"], ("h.test", "A"): ["192.0.2.1"]
    }  # fmt: skip

    def mangle(question: bytes, answer: bytes) -> bytes | list[bytes] | None:
        fails = b"\x04lost" in question or question[-15:-11] == b"\x00\x23\x00\x01"
        return SAYS["failure"](question, answer) if fails else answer

    async def scenario() -> None:
        async with scripted(records, mangle) as names:
            resolver = Resolver([names.address], lookup_s=WAIT_S, hosts=None, families=(4,))
            assert ways(await resolver.resolve("a.test", transports=("UDP",))) == [("UDP", "192.0.2.1", 5061)]

    run(scenario())


def test_a_name_of_one_label_is_looked_for_in_the_search_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    """With name servers of its own there are none, and this machine's domain is none of them."""
    monkeypatch.setattr("socket.gethostname", lambda: "machine.lab.test")

    async def scenario() -> None:
        async with scripted({("box.lab.test", "A"): ["192.0.2.40"]}) as names:
            resolver = Resolver([names.address], hosts=None, families=(4,))
            with pytest.raises(NoTarget):
                await resolver.resolve("box", 5060)
            resolver = Resolver([names.address], hosts=None, families=(4,))
            monkeypatch.setattr(resolver._dns, "search", [dns.name.from_text("lab.test")])
            assert ways(await resolver.resolve("box", 5060)) == [("UDP", "192.0.2.40", 5060)]
            with pytest.raises(NoTarget):
                await resolver.resolve("box.x", 5060)

    run(scenario())


# ---- responses (5) ----


@pytest.mark.parametrize(
    ("via", "targets"),
    [
        ("SIP/2.0/UDP h.test:5070;received=192.0.2.50;rport=4321;branch=z9hG4bK1", [("UDP", "192.0.2.50", 4321)]),
        ("SIP/2.0/UDP h.test:5070;received=192.0.2.50", [("UDP", "192.0.2.50", 5070)]),
        ("SIP/2.0/UDP h.test;received=192.0.2.50;rport", [("UDP", "192.0.2.50", 5060)]),
        ("SIP/2.0/UDP [2001:db8::7]:5070;received=2001:db8::8", [("UDP", "2001:db8::8", 5070)]),
        # a new connection does not go to the port that the old one came from
        ("SIP/2.0/TCP h.test:5070;received=192.0.2.50;rport=4321", [("TCP", "192.0.2.50", 5070)]),
        ("SIP/2.0/TLS h.test;received=192.0.2.50", [("TLS", "192.0.2.50", 5061)]),
        ("SIP/2.0/UDP h.test;maddr=224.0.1.75;received=192.0.2.50;rport=4321", [("UDP", "224.0.1.75", 5060)]),
        ("SIP/2.0/UDP h.test:5070;maddr=plain.test", [("UDP", "192.0.2.9", 5070), ("UDP", "2001:db8::9", 5070)]),
        ("SIP/2.0/TCP h.test;maddr=192.0.2.51;received=192.0.2.50", [("TCP", "192.0.2.50", 5060)]),
        # nothing was received that differs: sent-by, by SRV where it has no port
        ("SIP / 2.0 / udp 192.0.2.60", [("UDP", "192.0.2.60", 5060)]),
        ("SIP/2.0/TLS [2001:db8::7]", [("TLS", "2001:db8::7", 5061)]),
        ("SIP/2.0/UDP plain.test:5070", [("UDP", "192.0.2.9", 5070), ("UDP", "2001:db8::9", 5070)]),
        ("SIP/2.0/UDP example.test", [("UDP", ONE, 5060), ("UDP", TWO, 5070), ("UDP", SIX, 5070)]),
        ("SIP/2.0/TLS example.test", [("TLS", ONE, 5061)]),
        ("SIP/2.0/TCP srvonly.test;received=rubbish", [("TCP", "192.0.2.66", 5060)]),
    ],
)
def test_a_response_goes_where_its_via_says(name_server: str, via: str, targets: list[Way]) -> None:
    assert ways(run(Resolver([name_server]).response_targets(parse_via(via.encode())))) == targets


def test_a_response_goes_to_sent_by_when_received_is_known_to_fail(name_server: str) -> None:
    via = parse_via(b"SIP/2.0/TLS example.test;received=192.0.2.50")

    async def scenario() -> None:
        resolver = Resolver([name_server])
        assert await resolver.response_targets(via) == [Target("TLS", "192.0.2.50", 5061, "example.test")]
        assert resolver.asked == 0  # who sends a request has us look up nothing by that
        assert await resolver.response_targets(via, received_failed=True) == [Target("TLS", ONE, 5061, "example.test")]

    run(scenario())


@pytest.mark.parametrize(
    "via",
    [
        "", "SIP/2.0/UDP", "SIP/2.0/WS abc.invalid;received=192.0.2.1;rport=4321", "SIP/2.0/WSS abc.invalid", "SIP/2.0/SCTP h.test", "SIP/2.0/UDP h.test:99999",
        "SIP/2.0/UDP missing.test", "SIP/2.0/UDP closed.test", "SIP/2.0/UDP abc.invalid;maddr=a..b",
    ],
)  # fmt: skip
def test_a_response_that_can_go_nowhere_is_told(name_server: str, via: str) -> None:
    with pytest.raises(NoTarget):
        run(Resolver([name_server]).response_targets(parse_via(via.encode())))


# ---- settings ----


@pytest.mark.parametrize("text", ["", "ns.example", "192.0.2.1:0", "192.0.2.1:x", "192.0.2.1:70000", "[2001:db8::1]:", "192.0.2.1:²"])
def test_a_name_server_is_an_address(text: str) -> None:
    with pytest.raises(ValueError, match="name server"):
        Resolver([text])


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)), ("192.0.2.1:5353", ("192.0.2.1", 5353)), ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]", ("2001:db8::1", 53)), ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
    ],
)  # fmt: skip
def test_a_name_server_has_a_port(text: str, where: tuple[str, int]) -> None:
    assert [(server.address, server.port) for server in Resolver([text])._dns.nameservers] == [where]  # type: ignore[union-attr]
