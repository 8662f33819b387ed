"""The guard: rates, lists, scanners, bans and how they are forgiven, forged sources, answers to strangers, trunks, and overload."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from ipaddress import IPv4Address
from random import Random
from typing import Any

import pytest

from engine.sip import compose
from engine.sip.guard import (
    ADMIT,
    SCANNERS,
    Call,
    Guard,
    GuardSettings,
    Judgement,
    ScannerRule,
    Trunk,
    Verdict,
    key_of,
)
from engine.sip.message import Message, parse
from tests.engine.sip.fake_clock import FakeClock

CARRIER = Trunk(name="carrier", sources=("198.51.100.0/29", "2001:db8:aa::/48"), calls_max=3, calls_per_s=2, calls_burst=4)
TRUNK, ALLOWED, STRANGER = ("198.51.100.1", 5060), ("192.0.2.9", 5060), ("203.0.113.5", 40000)
PEER = ("203.0.113.77", 5060)
MESSAGE = b"OPTIONS sip:x SIP/2.0\r\n" + b"x" * 377  # 400 bytes


def guard(**more: Any) -> tuple[Guard, FakeClock]:
    clock = FakeClock()
    told: dict[str, Any] = {"allow": ("192.0.2.0/24",), "trunks": (CARRIER,), "strangers_may": ("REGISTER",), "proven_may": ("INVITE", "REGISTER")}
    return Guard(GuardSettings(**(told | more)), clock, chance=lambda: 0.5), clock


class FakeFlow:
    reliable = False
    alive = True
    local = ("192.0.2.1", 5060)

    def __init__(self, peer: tuple[str, int], transport: str = "UDP") -> None:
        self.peer = peer
        self.transport = transport

    def send(self, data: bytes) -> None:
        raise AssertionError("a guard sends nothing")

    def close(self) -> None:
        raise AssertionError("a guard closes nothing")


def request(method: str = "INVITE", *, tag: str = "", agent: str = "phone", sender: str = "sip:a@example.com") -> Message:
    headers = [
        ("Via", "SIP/2.0/UDP 203.0.113.5;branch=z9hG4bK1"), ("From", f"<{sender}>;tag=1"), ("To", "<sip:b@example.com>" + (f";tag={tag}" if tag else "")),
        ("Call-ID", "c"), ("CSeq", f"1 {method}"), ("User-Agent", agent),
    ]  # fmt: skip
    return parse(compose.request(method, "sip:b@example.com", headers))


def admitted(made: Guard, peer: tuple[str, int], count: int = 1, transport: str = "UDP") -> int:
    return sum(made.admit(peer, MESSAGE, transport) for _ in range(count))


def verdict(made: Guard, message: Message, peer: tuple[str, int], transport: str = "UDP") -> tuple[str, str]:
    told = made.judge(message, FakeFlow(peer, transport))
    return told.verdict.value, told.why


# ---- rates ----


@pytest.mark.parametrize("transport", ["UDP", "TCP", "WS"])
@pytest.mark.parametrize(("peer", "proven", "burst", "per_s"), [(STRANGER, False, 16, 8), (STRANGER, True, 400, 200), (TRUNK, False, 10_000, 5000)])
def test_a_source_has_a_burst_and_a_rate(transport: str, peer: tuple[str, int], proven: bool, burst: int, per_s: int) -> None:
    made, clock = guard(floods_max=10**6)
    if proven:
        made.proven(peer)
    assert admitted(made, peer, burst + 500, transport) == burst
    assert made.counters.dropped["rate"] == 500
    clock.run(1.0)
    assert admitted(made, peer, burst, transport) == per_s
    clock.run(3600.0)
    if proven:
        made.proven(peer)
    assert admitted(made, peer, burst + 500, transport) == burst


def test_sources_are_addresses_of_ipv4_and_64s_of_ipv6() -> None:
    made, _ = guard()
    assert admitted(made, ("203.0.113.1", 1), 20) == 16
    assert admitted(made, ("203.0.113.1", 2), 20) == 0
    assert admitted(made, ("203.0.113.2", 1), 20) == 16
    assert admitted(made, ("::ffff:203.0.113.2", 1), 20) == 0
    assert sum(admitted(made, (f"2001:db8:1:2:{at:x}::{at:x}", 5060)) for at in range(200)) == 16
    assert admitted(made, ("2001:db8:1:3::1", 5060), 20) == 16
    assert admitted(made, ("fe80::1%eth0", 5060), 20) == 16
    assert admitted(made, ("fe80::2%eth0", 5060), 20) == 0
    assert (key_of("::1"), key_of("no address"), key_of("1:2")) == (bytes(8), "no address", "1:2")
    assert admitted(made, ("no address", 1), 20) == 16


def test_all_strangers_together_leave_the_known_their_share() -> None:
    made, clock = guard(strangers_per_s=100, strangers_burst=50)
    made.proven(PEER)
    strangers = [(f"203.0.{at // 256}.{at % 256}", 5060) for at in range(1000)]
    assert sum(admitted(made, peer) for peer in strangers) == 50
    assert (admitted(made, PEER, 100), admitted(made, TRUNK, 100)) == (100, 100)
    assert made.counters.dropped["strangers"] == 950
    assert made.sources["strangers"] == 50  # nothing is remembered of the others
    clock.run(0.1)
    assert sum(admitted(made, peer) for peer in strangers) == 10
    assert made.counters.admitted == 50 + 200 + 10


# ---- lists ----


def test_the_longer_prefix_counts_and_of_equals_the_denial() -> None:
    made, _ = guard(allow=("192.0.2.0/24", "10.0.0.0/8", "10.1.2.3", "172.16.0.0/12", "0.0.0.0/0"), deny=("10.1.0.0/16", "172.16.0.0/12"))
    heard = {host: made.admit((host, 5060), MESSAGE, "UDP") for host in ("10.0.0.1", "10.1.0.1", "10.1.2.3", "172.17.0.1", "8.8.8.8", "224.0.0.1", "255.255.255.255", "0.0.0.1", "ff02::1")}
    assert [host for host, told in heard.items() if told] == ["10.0.0.1", "10.1.2.3", "8.8.8.8"]
    assert made.counters.dropped["denied"] == 6
    assert not made.admit(("10.1.0.1", 5060), MESSAGE, "TCP")
    assert verdict(made, request(), ("10.1.0.1", 5060)) == ("drop", "denied")
    assert not made.allow_answer(("10.1.0.1", 5060), 1)
    assert made.sources == {"known": 3, "banned": 0, "strangers": 0}
    made.proven(("10.1.0.1", 5060))
    made.failed_auth(("10.1.0.1", 5060))
    assert not made.admit(("10.1.0.1", 5060), MESSAGE, "UDP")
    assert not made.admit(("10.1.0.2", 5060), MESSAGE, "UDP")
    assert made.sources == {"known": 3, "banned": 0, "strangers": 0}


def test_datagrams_from_ports_that_answer_anything_are_dropped() -> None:
    made, _ = guard()
    assert not made.admit((STRANGER[0], 53), MESSAGE, "UDP")
    assert not made.admit((STRANGER[0], 0), MESSAGE, "UDP")
    assert made.admit((STRANGER[0], 53), MESSAGE, "TCP")
    assert made.counters.dropped["port"] == 2


@pytest.mark.parametrize(
    "wrong",
    [{"allow": ("192.0.2.1/24",)}, {"deny": ("nowhere",)}, {"trunks": (CARRIER, Trunk(name="other", sources=CARRIER.sources))}, {"trunks": (CARRIER, CARRIER)},
     {"stranger_per_s": 0}, {"proven_burst": 0}, {"sources_max": 0}, {"lag_low_s": 5.0}, {"retry_after_min_s": 99}, {"malformed_max": 0}, {"answer_factor": -1},
     {"transactions_low": 10**9}, {"ban_forgiven_s": 0}],
)  # fmt: skip
def test_settings_that_cannot_be_change_nothing(wrong: dict[str, Any]) -> None:
    made, _ = guard()
    with pytest.raises(ValueError, match=r"\w"):
        made.configure(GuardSettings(**wrong))
    assert verdict(made, request(), TRUNK) == ("admit", "")


@pytest.mark.parametrize("wrong", [{"name": ""}, {"calls_max": -1}, {"calls_per_s": 0}, {"calls_burst": 0}, {"full_status": 200}])
def test_trunks_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="trunk"):
        Trunk(**({"name": "x"} | wrong))


def test_new_settings_count_at_once() -> None:
    made, clock = guard()
    for peer in (TRUNK, ALLOWED, STRANGER):
        assert admitted(made, peer) == 1
    made.proven(PEER)
    clock.run(1)
    made.configure(GuardSettings(deny=(STRANGER[0],), allow=(PEER[0],), stranger_burst=5))
    assert [admitted(made, peer, 9) for peer in (TRUNK, ALLOWED, STRANGER, PEER)] == [5, 5, 0, 9]
    assert verdict(made, request(), TRUNK) == ("drop", "forbidden")
    made.configure(GuardSettings(deny=(PEER[0],), trunks=(CARRIER,)))
    assert [admitted(made, peer, 9) for peer in (TRUNK, PEER)] == [9, 0]
    made.configure(GuardSettings())
    assert admitted(made, PEER, 100) == 16  # its proof came before it was listed, and is not kept over that


# ---- who may begin what ----


def test_who_was_allowed_much_is_not_shut_out_for_it() -> None:
    made, clock = guard(allowed_per_s=1, allowed_burst=1000)
    assert admitted(made, ALLOWED, 2000) == 1000
    made.configure(GuardSettings())
    clock.run(1)
    assert admitted(made, ALLOWED, 100) == 1  # with no burst, yet not in a thousand seconds
    clock.run(1)
    assert admitted(made, ALLOWED, 100) == 8


def test_by_default_only_those_on_a_list_may_begin_anything() -> None:
    made = Guard(GuardSettings(allow=("192.0.2.0/24",), trunks=(CARRIER,)), FakeClock())
    made.proven(PEER)
    for method in ("INVITE", "REGISTER", "OPTIONS", "MESSAGE", "BYE"):
        assert verdict(made, request(method), STRANGER) == ("drop", "forbidden")
        assert verdict(made, request(method), PEER) == ("drop", "forbidden")
        assert verdict(made, request(method), ALLOWED) == ("admit", "")
        assert verdict(made, request(method), ("2001:db8:aa:7::9", 5060)) == ("admit", "")


def test_strangers_and_the_proven_may_what_they_are_given() -> None:
    made, _ = guard(probes_max=100)
    made.proven(PEER)
    told = {method: (verdict(made, request(method), STRANGER)[0], verdict(made, request(method), PEER)[0]) for method in ("REGISTER", "INVITE", "OPTIONS", "REFER")}
    assert told == {"REGISTER": ("admit", "admit"), "INVITE": ("drop", "admit"), "OPTIONS": ("drop", "drop"), "REFER": ("drop", "drop")}
    for message in (request("BYE", tag="x"), request("INVITE", tag="x"), request("ACK", tag="x"), request("CANCEL")):
        assert verdict(made, message, PEER) == ("admit", "")
        assert verdict(made, message, STRANGER) == ("drop", "forbidden")
    made.configure(GuardSettings(strangers_may=("INVITE",), hidden=False, probes_max=100))
    for message in (request("BYE", tag="x"), request("ACK", tag="x"), request("CANCEL"), request()):
        assert verdict(made, message, STRANGER) == ("admit", "")
    told_openly = made.judge(request("REGISTER"), FakeFlow(STRANGER))
    assert (told_openly.verdict, told_openly.status, told_openly.headers) == (Verdict.REFUSE, 403, ())
    made.configure(GuardSettings(hidden=False))
    assert verdict(made, request("ACK"), STRANGER) == ("drop", "forbidden")  # an ACK is never answered


def test_invites_of_what_is_no_trunk_have_a_rate() -> None:
    made, clock = guard(invites_per_s=2, invites_burst=5)
    made.proven(PEER)
    told = [made.judge(request(), FakeFlow(PEER)) for _ in range(7)]
    assert [judgement.verdict for judgement in told] == [Verdict.ADMIT] * 5 + [Verdict.REFUSE] * 2
    assert (told[-1].status, told[-1].headers, told[-1].why) == (503, (("Retry-After", "10"),), "rate")
    clock.run(1)
    assert [verdict(made, request(), PEER)[0] for _ in range(3)] == ["admit", "admit", "refuse"]
    assert verdict(made, request("REGISTER"), PEER) == ("admit", "")
    assert all(verdict(made, request(), ALLOWED) == ("admit", "") for _ in range(20))


# ---- scanners ----


@pytest.mark.parametrize("agent", ["friendly-scanner", "sipcli/v1.8", "VaxSIPUserAgent/3.1", "pplsip", "sundayddr", "SIPVicious", "Friendly-Scanner x"])
def test_scanners_hear_nothing_and_are_banned(agent: str) -> None:
    made, _ = guard()
    assert admitted(made, STRANGER) == 1
    assert verdict(made, request("REGISTER", agent=agent), STRANGER) == ("drop", "scanner")
    assert admitted(made, STRANGER) == 0
    assert verdict(made, request("REGISTER"), STRANGER) == ("drop", "banned")
    assert (made.counters.bans["scanner"], made.counters.dropped["banned"]) == (1, 2)
    assert verdict(made, request("REGISTER", agent=agent), TRUNK) == ("admit", "")  # its own affair


def test_rules_look_into_any_header() -> None:
    rules = (ScannerRule(header="From", user="100"), ScannerRule(header="Call-ID", contains="XYZ"))
    made, _ = guard(scanners=rules)
    assert verdict(made, request("REGISTER", sender="sip:1001@x"), STRANGER) == ("admit", "")
    assert verdict(made, request("REGISTER", agent="sipvicious"), STRANGER) == ("admit", "")
    assert verdict(made, request("REGISTER", sender="SIP:100@x"), STRANGER) == ("drop", "scanner")
    assert verdict(made, parse(b"REGISTER sip:x SIP/2.0\r\ni: axyzb\r\n\r\n"), PEER) == ("drop", "scanner")
    made, _ = guard(scanners=(ScannerRule(header="From", user="00*"), ScannerRule(header="To", user="9*")))
    for sender, why in (("sip:0044@x", "scanner"), ("sip:044@x", "banned")):
        assert verdict(made, request("REGISTER", sender=sender), STRANGER) == ("drop", why)
    assert verdict(made, request("REGISTER", sender="sip:044@x"), PEER) == ("admit", "")
    made, _ = guard()
    assert verdict(made, request("REGISTER", sender="sip:100@1.1.1.1"), STRANGER) == ("drop", "scanner")
    assert all(rule.contains or rule.user for rule in SCANNERS)


# ---- bans ----


def test_offences_of_each_kind_earn_a_ban() -> None:
    for kind, offend, limit in (("auth", Guard.failed_auth, 10), ("malformed", Guard.malformed, 20), ("not_found", Guard.not_found, 10)):
        made, clock = guard()
        for _ in range(limit - 1):
            offend(made, STRANGER)
        assert admitted(made, STRANGER) == 1
        offend(made, STRANGER)
        assert admitted(made, STRANGER) == 0
        assert {name: count for name, count in made.counters.bans.items() if count} == {kind: 1}
        assert admitted(made, ("203.0.113.6", 40000)) == 1
        clock.run(299)
        assert admitted(made, STRANGER, 1, "TCP") == 0
        clock.run(2)
        assert admitted(made, STRANGER) == 1


def test_kinds_are_counted_apart_and_forgotten() -> None:
    made, clock = guard()
    for _ in range(9):
        made.failed_auth(STRANGER)
        made.not_found(STRANGER)
    assert admitted(made, STRANGER) == 1
    clock.run(30)  # half of them
    for _ in range(5):
        made.failed_auth(STRANGER)
    assert admitted(made, STRANGER) == 1
    made.failed_auth(STRANGER)
    assert admitted(made, STRANGER) == 0
    made, clock = guard()
    for _ in range(1000):  # one in 7 s for hours
        made.failed_auth(STRANGER)
        clock.run(7)
    assert admitted(made, STRANGER) == 1


def test_a_ban_is_for_what_was_before_it() -> None:
    made, clock = guard(ban_first_s=1)
    for _ in range(10):
        made.failed_auth(STRANGER)
    clock.run(2)
    made.failed_auth(STRANGER)
    assert admitted(made, STRANGER) == 1
    for _ in range(9):
        made.failed_auth(STRANGER)
    assert admitted(made, STRANGER) == 0
    assert made.counters.bans["auth"] == 2


def test_probes_and_floods_earn_a_ban() -> None:
    made, _ = guard()
    told = [verdict(made, request("OPTIONS"), STRANGER)[1] for _ in range(12)]
    assert told == ["forbidden"] * 10 + ["banned"] * 2
    made, clock = guard()
    assert admitted(made, STRANGER, 1000) == 16
    assert (made.counters.bans["flood"], made.counters.dropped["rate"], made.counters.dropped["banned"]) == (1, 200, 784)
    clock.run(200)
    assert admitted(made, STRANGER) == 0


def ban_lengths(made: Guard, clock: FakeClock, pause_s: float, count: int) -> Iterator[float]:
    for _ in range(count):
        made.judge(request(agent="sipvicious"), FakeFlow(STRANGER))
        began = clock.now
        while not made.admit(STRANGER, MESSAGE, "UDP"):
            clock.run(10)
        yield clock.now - began
        clock.run(pause_s)


def test_bans_grow_and_are_forgiven() -> None:
    made, clock = guard(ban_max_s=2000)
    assert list(ban_lengths(made, clock, 0, 5)) == [300, 600, 1200, 2000, 2000]
    clock.run(3600 * 4)
    assert list(ban_lengths(made, clock, 0, 2)) == [600, 1200]
    clock.run(3600 * 24)
    assert list(ban_lengths(made, clock, 3600, 3)) == [300, 300, 300]


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
@pytest.mark.parametrize("peer", [TRUNK, ALLOWED])
def test_nothing_gets_a_trunk_banned(peer: tuple[str, int], transport: str) -> None:
    """Who forges its address, or is it: it is heard."""
    made, _ = guard()
    for _ in range(1000):
        made.failed_auth(peer, transport)
        made.malformed(peer, transport)
        made.not_found(peer, transport)
        made.judge(request(agent="sipvicious"), FakeFlow(peer, transport))
    assert admitted(made, peer) == 1
    assert verdict(made, request(), peer) == ("admit", "")
    assert (sum(made.counters.bans.values()), made.counters.spared) == (0, 3000)


def test_an_address_put_on_the_list_is_banned_no_more() -> None:
    made, _ = guard()
    made.judge(request(agent="sipvicious"), FakeFlow(STRANGER))
    assert admitted(made, STRANGER) == 0
    made.configure(GuardSettings(allow=(STRANGER[0],)))
    assert admitted(made, STRANGER) == 1
    assert verdict(made, request(), STRANGER) == ("admit", "")


def test_forged_datagrams_cost_the_proven_little() -> None:
    made, clock = guard()
    made.proven(PEER)
    for _ in range(1000):
        made.malformed(PEER)
        made.not_found(PEER)
        assert verdict(made, request(agent="sipvicious"), PEER) == ("drop", "scanner")
    assert verdict(made, request(), PEER) == ("admit", "")
    for _ in range(1000):
        made.failed_auth(PEER)
    assert verdict(made, request(), PEER) == ("drop", "banned")
    assert admitted(made, PEER) == 1
    assert verdict(made, request("BYE", tag="x"), PEER) == ("admit", "")  # what it has begun goes on
    clock.run(301)
    assert verdict(made, request(), PEER) == ("admit", "")
    assert sum(made.counters.bans.values()) == 1


def test_over_a_stream_the_proven_are_banned_like_others() -> None:
    made, _ = guard()
    made.proven(PEER)
    for _ in range(20):
        made.malformed(PEER, "TLS")
    assert admitted(made, PEER) == 0
    made.proven(PEER)  # too late
    assert admitted(made, PEER) == 0
    assert verdict(made, request("BYE", tag="x"), PEER) == ("drop", "banned")


# ---- answers to strangers ----


def test_a_stranger_is_sent_three_bytes_for_one() -> None:
    made, _ = guard()
    assert not made.allow_answer(STRANGER, 1)  # never heard of
    made.admit(STRANGER, MESSAGE, "UDP")
    assert [made.allow_answer(STRANGER, 500) for _ in range(4)] == [True, True, False, False]  # an answer and what repeats it
    assert made.allow_answer(STRANGER, 200)
    assert not made.allow_answer(STRANGER, 1)
    assert made.counters.unanswered == 4
    assert made.allow_answer(STRANGER, 10**6, "TCP")
    made.proven(STRANGER)
    assert made.allow_answer(STRANGER, 10**6)
    assert made.allow_answer(TRUNK, 10**6)


def test_while_all_is_hidden_strangers_are_sent_nothing() -> None:
    made, _ = guard(strangers_may=())
    for transport in ("UDP", "TCP"):
        assert admitted(made, STRANGER, 1, transport) == 1
        assert not made.allow_answer(STRANGER, 1, transport)
        assert made.allow_answer(TRUNK, 1, transport)
    made.configure(GuardSettings(hidden=False))
    assert made.allow_answer(STRANGER, 1, "TCP")
    assert made.allow_answer(STRANGER, 1)
    assert not made.allow_answer(("203.0.113.6", 5060), 1)


def test_what_was_dropped_earns_no_answer_and_credit_is_bounded() -> None:
    made, clock = guard(answer_factor=1.0)
    admitted(made, STRANGER, 100)
    assert not made.allow_answer(STRANGER, 16 * 400 + 1)
    assert made.allow_answer(STRANGER, 16 * 400)
    for _ in range(1000):
        clock.run(1)
        admitted(made, STRANGER, 8)
    assert not made.allow_answer(STRANGER, 65_537)
    assert made.allow_answer(STRANGER, 65_536)


def test_never_more_bytes_go_out_than_came_in_times_the_factor(seed: int = 11) -> None:
    random = Random(seed)
    made, clock = guard(answer_factor=2.0, sources_max=16)
    bytes_in: dict[str, int] = {}
    out: dict[str, int] = {}
    for _ in range(20_000):
        peer = (f"203.0.113.{random.randrange(40)}", 5060)
        data = b"x" * random.randrange(20, 1400)
        if random.random() < 0.5:
            if made.admit(peer, data, "UDP"):
                bytes_in[peer[0]] = bytes_in.get(peer[0], 0) + len(data)
        elif made.allow_answer(peer, len(data)):
            out[peer[0]] = out.get(peer[0], 0) + len(data)
        clock.run(0.01)
    assert len(out) == 40
    assert all(sent <= 2 * bytes_in[host] for host, sent in out.items())


def test_a_proof_grows_old() -> None:
    made, clock = guard()
    made.admit(PEER, MESSAGE, "UDP")
    made.proven(PEER)
    clock.run(3000)
    made.proven(PEER)
    clock.run(3000)
    assert made.allow_answer(PEER, 10**6)
    clock.run(601)
    assert not made.allow_answer(PEER, 10**6)
    assert verdict(made, request(), PEER) == ("drop", "forbidden")
    assert admitted(made, PEER, 100) == 16
    assert made.allow_answer(PEER, 16 * 1200)
    assert made.sources == {"known": 0, "banned": 0, "strangers": 1}


# ---- floods ----


def flood(made: Guard, clock: FakeClock, count: int) -> None:
    first = int(IPv4Address("11.0.0.0"))
    for at in range(count):
        clock.now += 2e-5
        made.admit((str(IPv4Address(first + at * 7)), 5060), MESSAGE, "UDP")


def test_a_flood_of_forged_sources_pushes_out_strangers_only() -> None:
    made, clock = guard(sources_max=200, strangers_per_s=1e6, strangers_burst=10**6)
    made.proven(PEER)
    made.judge(request(agent="sipvicious"), FakeFlow(STRANGER))
    admitted(made, TRUNK)
    flood(made, clock, 20_000)
    assert made.sources["strangers"] <= 200
    assert made.sources["known"] == 2
    assert admitted(made, STRANGER) == 0
    assert admitted(made, PEER, 400) == 400


def test_a_flood_of_forged_offences_is_bounded() -> None:
    made, _ = guard(sources_max=100, malformed_max=1)
    for at in range(5000):
        made.malformed((f"11.1.{at // 250}.{at % 250}", 5060))
    for at in range(5000):
        made.proven((f"11.2.{at // 250}.{at % 250}", 5060))
    for _ in range(50):
        made.configure(GuardSettings(sources_max=100))
        flood(made, FakeClock(), 60)
    assert all(50 <= count <= 100 for count in made.sources.values())


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"strangers_per_s": 1e7, "strangers_burst": 10**7}])
def test_a_million_forged_sources_fill_a_bounded_memory(more: dict[str, Any]) -> None:
    """With the defaults, and with the rate of all strangers lifted so that each of them is remembered for a while."""
    made, clock = guard(**more)
    made.proven(PEER)
    tracemalloc.start()
    flood(made, clock, 100_000)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held <= peak < 24 << 20
    gc.collect()
    before = len(gc.get_objects())
    flood(made, clock, 900_000)
    assert made.sources["strangers"] <= 32_768
    gc.collect()
    assert len(gc.get_objects()) - before <= 32_768  # tracing a million allocations would take a minute
    assert admitted(made, PEER, 400) == 400
    assert more or made.counters.admitted < 4000 + 2000 * 20 + 500


# ---- streams ----


def test_connections_of_one_source_are_counted() -> None:
    made, _ = guard(connections_max=3, deny=("203.0.113.200",))
    assert [made.connected(STRANGER) for _ in range(5)] == [True] * 3 + [False] * 2
    assert made.connected(("203.0.113.6", 1))
    made.disconnected(STRANGER)
    assert [made.connected(STRANGER) for _ in range(2)] == [True, False]
    for _ in range(9):
        made.disconnected(STRANGER)
    assert [made.connected(STRANGER) for _ in range(4)] == [True] * 3 + [False]
    assert all(made.connected(TRUNK) for _ in range(100))
    assert not made.connected(("203.0.113.200", 1))
    made.judge(request(agent="sipvicious"), FakeFlow(PEER))
    assert not made.connected(PEER)
    for peer in [STRANGER] * 3 + [("203.0.113.6", 1)] + [TRUNK] * 100:
        made.disconnected(peer)
    assert made._connections == {}  # nothing is kept of those who are gone
    assert (made.counters.dropped["connections"], made.counters.dropped["banned"], made.counters.dropped["denied"]) == (4, 1, 1)


# ---- calls ----


def began(made: Guard, who: tuple[str, int] | str) -> Call:
    call = made.call_began(who)
    assert isinstance(call, Call)
    return call


def refusal(made: Guard, who: tuple[str, int] | str) -> tuple[str, int]:
    told = made.call_began(who)
    assert isinstance(told, Judgement)
    return told.why, told.status


def test_a_trunk_has_so_many_calls_and_no_more() -> None:
    made, clock = guard()
    calls = [began(made, TRUNK), began(made, "carrier"), began(made, ("198.51.100.7", 5060))]
    assert (made.calls_of("carrier"), made.calls) == (3, 3)
    assert [made.trunk_of(peer) for peer in (TRUNK, ALLOWED, STRANGER)] == ["carrier", "", ""]
    assert refusal(made, TRUNK) == refusal(made, "carrier") == ("trunk_full", 503)
    assert verdict(made, request(), TRUNK) == ("refuse", "trunk_full")
    assert verdict(made, request(tag="x"), TRUNK) == ("admit", "")
    for _ in range(3):
        made.call_ended(calls[0])
    assert made.calls_of("carrier") == 2
    clock.run(10)
    assert verdict(made, request(), TRUNK) == ("admit", "")
    calls.append(began(made, TRUNK))
    for call in calls * 2:
        made.call_ended(call)
    assert (made.calls_of("carrier"), made.calls) == (0, 0)
    with pytest.raises(KeyError):
        made.call_began("nobody")


def test_a_trunk_may_want_another_status() -> None:
    made, _ = guard(trunks=(Trunk(name="pbx", sources=("198.51.100.1",), calls_max=0, full_status=486),))
    told = made.judge(request(), FakeFlow(TRUNK))
    assert (told.status, told.headers) == (486, ())


def test_calls_of_a_trunk_have_a_rate() -> None:
    made, clock = guard()

    def whole_calls(most: int) -> int:
        for done in range(most):
            told = made.call_began("carrier")
            if not isinstance(told, Call):
                assert (told.why, told.status, told.headers) == ("trunk_rate", 503, (("Retry-After", "10"),))
                return done
            made.call_ended(told)
        return most

    assert whole_calls(9) == 4
    assert verdict(made, request(), TRUNK) == ("refuse", "trunk_rate")
    clock.run(1)
    assert whole_calls(9) == 2
    clock.run(60)
    assert whole_calls(9) == 4


def test_other_sources_and_everybody_have_limits_as_well() -> None:
    made, _ = guard(source_calls_max=2, calls_max=5)
    mine = [began(made, STRANGER), began(made, ("203.0.113.5", 1))]
    assert refusal(made, STRANGER) == ("source_full", 486)
    others = [began(made, ("2001:db8:1:2::1", 1)), began(made, ("2001:db8:1:2::2", 1))]
    assert refusal(made, ("2001:db8:1:2::3", 1)) == ("source_full", 486)
    made.configure(GuardSettings(trunks=(CARRIER,), allow=(STRANGER[0],), source_calls_max=2, calls_max=5))
    mine.append(began(made, STRANGER))
    made.call_ended(mine.pop())
    trunk = began(made, "carrier")
    assert refusal(made, "carrier") == ("full", 503)
    for call in [*mine, *others, trunk, *mine]:
        made.call_ended(call)
    assert made.calls == 0
    assert began(made, STRANGER)


def test_calls_are_counted_over_new_settings() -> None:
    made, clock = guard()
    call = began(made, TRUNK)
    made.configure(GuardSettings(trunks=(Trunk(name="carrier", sources=CARRIER.sources, calls_max=1),)))
    assert refusal(made, TRUNK) == ("trunk_full", 503)
    made.configure(GuardSettings())
    with pytest.raises(KeyError):
        made.call_began("carrier")
    made.configure(GuardSettings(trunks=(CARRIER,)))
    assert made.calls_of("carrier") == 1
    made.call_ended(call)
    made.call_ended(call)
    assert (made.calls_of("carrier"), made.calls) == (0, 0)
    clock.run(1)
    made.configure(GuardSettings())
    made.configure(GuardSettings(trunks=(CARRIER,)))
    assert made.calls_of("carrier") == 0


def test_counts_are_exact_whatever_happens(seed: int = 3) -> None:
    random = Random(seed)
    made, clock = guard(source_calls_max=4, calls_max=12)
    callers: list[tuple[str, int] | str] = [TRUNK, "carrier", STRANGER, PEER, ("2001:db8::1", 1), ("2001:db8::2", 1)]
    calls: list[Call] = []
    ended: list[Call] = []
    for _ in range(5000):
        clock.run(0.05)
        who = random.choice(callers)
        if random.random() < 0.5:
            told = made.call_began(who)
            if isinstance(told, Call):
                calls.append(told)
        elif calls:
            ended.append(calls.pop(random.randrange(len(calls))))
            made.call_ended(ended[-1])
        if ended and random.random() < 0.2:
            made.call_ended(random.choice(ended))
        assert made.calls == len(calls) <= 12
        assert 0 <= made.calls_of("carrier") <= 3
    for call in calls:
        made.call_ended(call)
    assert (made.calls, made.calls_of("carrier")) == (0, 0)


# ---- overload ----


def test_overload_refuses_what_is_new_and_lets_the_rest_pass() -> None:
    made, clock = guard()
    clock.run(100)
    for _ in range(3):
        made.note_lag(0.2)
    assert made.overloaded
    for method in ("INVITE", "REGISTER", "OPTIONS", "MESSAGE", "SUBSCRIBE"):
        told = made.judge(request(method), FakeFlow(TRUNK))
        assert (told.verdict, told.status, told.headers, told.why) == (Verdict.REFUSE, 503, (("Retry-After", "10"),), "overload")
    assert made.judge(request("REGISTER"), FakeFlow(STRANGER)).status == 503
    assert verdict(made, request("OPTIONS"), STRANGER) == ("drop", "forbidden")
    for message in (request("BYE", tag="x"), request("INVITE", tag="x"), request("ACK"), request("CANCEL"), request("UPDATE", tag="x")):
        assert made.judge(message, FakeFlow(TRUNK)) is ADMIT
    assert made.counters.refused["overload"] == 6
    for _ in range(5):
        made.note_lag(0.0)
    assert made.overloaded  # too soon
    clock.run(1)
    made.note_lag(0.0)
    assert not made.overloaded
    assert made.judge(request(), FakeFlow(TRUNK)) is ADMIT


def test_overload_does_not_flicker() -> None:
    made, clock = guard(transactions_high=100, transactions_low=50)
    for _ in range(2):
        made.note_lag(5.0)
    assert not made.overloaded  # twice is not a mean of 0.1 s, however long it was
    for _ in range(8):
        made.note_lag(0.0)
    made.note_transactions(99)
    assert not made.overloaded
    made.note_transactions(100)
    states = []
    for count in (99, 51, 50, 60, 99, 100):
        clock.run(2)
        made.note_lag(0.0)
        made.note_transactions(count)
        states.append(made.overloaded)
    assert states == [True, True, False, False, False, True]
    clock.run(2)
    for _ in range(3):
        made.note_lag(10.0)
    made.note_transactions(0)
    assert made.overloaded  # for another reason now
    for _ in range(40):
        made.note_lag(0.0)
    assert not made.overloaded


@pytest.mark.parametrize(("chance", "after"), [(0.0, "5"), (0.49, "10"), (1.0, "15")])
def test_those_sent_away_do_not_all_come_back_at_once(chance: float, after: str) -> None:
    made = Guard(GuardSettings(trunks=(CARRIER,)), FakeClock(), chance=lambda: chance)
    made.note_transactions(10**6)
    assert made.judge(request(), FakeFlow(TRUNK)).headers == (("Retry-After", after),)
