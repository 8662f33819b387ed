"""Whom a stream listens to: every row of the rules for RTP sources, sprays of strangers, and the twin on random crowds."""

from __future__ import annotations

from random import Random

import pytest

from engine._native.jitter import ANY, DROP, HELD, HOST, LEARN, MOVED, PASS, STRICT, Latch
from tests.data.rtp_builder import endpoint
from tests.oracle.latch_twin import Address, Twin

MS, SECOND = 1_000_000, 1_000_000_000
PEER = endpoint("203.0.113.10:4000")
SAME_HOST = endpoint("203.0.113.10:4002")
SAME_NET = endpoint("203.0.113.99:4000")
STRANGER = endpoint("198.51.100.66:6000")
OTHER_STRANGER = endpoint("198.51.100.67:6000")


def send(latch: Latch, source: Address, sequences: range, *, begin_ms: float = 0, step_ms: float = 20, ssrc: int = 1, authentic: bool = False) -> list[int]:
    """Verdicts over packets of one source."""
    return [
        latch.judge(source, ssrc, sequence % 65536, int((begin_ms + step_ms * k) * MS), authentic=authentic) for k, sequence in enumerate(sequences)
    ]


# ---- strict, and by host ----


def test_strict_hears_only_the_signalled_address_and_port() -> None:
    latch = Latch(STRICT, PEER)
    assert send(latch, PEER, range(10)) == [PASS] * 10
    for source in (SAME_HOST, SAME_NET, STRANGER):
        assert send(latch, source, range(10, 100), begin_ms=200) == [DROP] * 90
        assert send(latch, source, range(10, 20), begin_ms=60_000) == [DROP] * 10  # nor after silence, with the same SSRC going on
        assert send(latch, source, range(20, 30), begin_ms=120_000, authentic=True) == [DROP] * 10
    assert latch.current == PEER
    assert latch.counts["dropped"] == 3 * 110


def test_by_host_any_port_is_heard_and_nothing_is_sent_there() -> None:
    latch = Latch(HOST, PEER)
    assert send(latch, SAME_HOST, range(5)) == [PASS] * 5
    assert send(latch, PEER, range(5, 10)) == [PASS] * 5
    assert send(latch, SAME_NET, range(10, 60), begin_ms=100_000) == [DROP] * 50
    assert latch.current == PEER


@pytest.mark.parametrize("policy", [STRICT, HOST])
def test_nobody_is_heard_while_nobody_is_signalled(policy: int) -> None:
    latch = Latch(policy)
    assert send(latch, PEER, range(10)) == [DROP] * 10
    latch.signalled(PEER, 300 * MS)
    assert send(latch, PEER, range(10), begin_ms=300) == [PASS] * 10
    latch.signalled(None, 600 * MS)
    assert send(latch, PEER, range(10), begin_ms=600) == [DROP] * 10


@pytest.mark.parametrize("policy", [STRICT, HOST])
def test_a_new_offer_moves_what_is_heard(policy: int) -> None:
    latch = Latch(policy, PEER)
    send(latch, PEER, range(10))
    latch.signalled(STRANGER, 200 * MS)
    assert send(latch, PEER, range(10, 20), begin_ms=200) == [DROP] * 10
    assert send(latch, STRANGER, range(10), begin_ms=200) == [PASS] * 10
    assert latch.current == STRANGER


# ---- learning ----


def test_a_source_behind_nat_is_learnt_from_four_packets_in_sequence() -> None:
    latch = Latch(LEARN, PEER)
    assert send(latch, STRANGER, range(10)) == [HELD] * 3 + [MOVED] + [PASS] * 6
    assert latch.current == STRANGER
    assert latch.counts == {"dropped": 0, "moved": 1, "let_through": 3}


def test_the_signalled_source_is_learnt_without_a_move() -> None:
    latch = Latch(LEARN, PEER)
    assert send(latch, PEER, range(65534, 65544)) == [HELD] * 3 + [PASS] * 7
    assert latch.counts["moved"] == 0


def test_four_packets_within_22_ms_are_not_enough() -> None:
    latch = Latch(LEARN, PEER)
    assert send(latch, STRANGER, range(30), step_ms=1) == [HELD] * 5 + [DROP] * 17 + [MOVED] + [PASS] * 7


@pytest.mark.parametrize(("step_ms", "at"), [(5, 5), (7.333, 4), (7.334, 3), (10, 3), (60, 3)])
def test_the_first_packet_that_passes(step_ms: float, at: int) -> None:
    latch = Latch(LEARN, PEER)
    assert send(latch, STRANGER, range(10), step_ms=step_ms).index(MOVED) == at


def test_a_run_of_more_than_255_packets_is_still_one() -> None:
    latch = Latch(LEARN, PEER)
    assert send(latch, STRANGER, range(260), step_ms=22.0001 / 257).index(MOVED) == 257


@pytest.mark.parametrize("broken", [[0, 1, 2, 4, 5, 6, 8], [0, 1, 2, 2, 3, 4, 4], [3, 2, 1, 0, 3, 2, 1], [0, 1, 2, 32771, 32772]])
def test_packets_out_of_sequence_prove_nothing(broken: list[int]) -> None:
    latch = Latch(LEARN, PEER)
    assert {latch.judge(STRANGER, 1, sequence, 20 * MS * k) for k, sequence in enumerate(broken)} <= {HELD, DROP}
    assert not latch.latched


def test_another_ssrc_in_every_packet_proves_nothing() -> None:
    """P07: and no more than five packets get through."""
    latch = Latch(LEARN, PEER)
    verdicts = [latch.judge(STRANGER, k, k % 65536, k * MS // 10) for k in range(19_000)]
    assert verdicts[:5] == [HELD] * 5
    assert set(verdicts[5:]) == {DROP}
    assert not latch.latched


def test_what_is_not_learnt_in_time_is_not_learnt_but_the_signalled_host_is() -> None:
    latch = Latch(LEARN, PEER, learn_ms=2000, now_ns=5 * SECOND)
    assert send(latch, STRANGER, range(50), begin_ms=7001) == [DROP] * 50
    assert send(latch, SAME_NET, range(50), begin_ms=8001) == [DROP] * 50
    assert send(latch, SAME_HOST, range(10), begin_ms=9500) == [HELD] * 3 + [MOVED] + [PASS] * 6
    in_time = Latch(LEARN, PEER, learn_ms=2000, now_ns=5 * SECOND)
    assert send(in_time, STRANGER, range(4), begin_ms=6940)[3] == MOVED
    late = Latch(LEARN, PEER, learn_ms=2000, now_ns=5 * SECOND)
    assert send(late, STRANGER, range(4), begin_ms=6941)[3] == DROP


def test_the_signalled_host_takes_over_from_a_stranger_while_it_is_learnt() -> None:
    latch = Latch(LEARN, PEER)
    send(latch, STRANGER, range(10))
    assert latch.current == STRANGER
    assert send(latch, SAME_NET, range(6), begin_ms=300)[:5] == [DROP] * 3 + [MOVED, PASS]
    assert send(latch, SAME_HOST, range(6), begin_ms=600)[:5] == [DROP] * 3 + [MOVED, PASS]
    assert send(latch, PEER, range(6), begin_ms=900)[:5] == [DROP] * 3 + [MOVED, PASS]
    for worse in (SAME_HOST, SAME_NET, STRANGER):
        assert send(latch, worse, range(20), begin_ms=1020) == [DROP] * 20
    assert latch.current == PEER


def test_a_better_source_on_its_way_is_waited_for_but_not_for_ever() -> None:
    latch = Latch(LEARN, PEER)
    assert latch.judge(PEER, 1, 0, 0) == HELD
    verdicts = send(latch, STRANGER, range(20), begin_ms=1, step_ms=25, ssrc=2)
    assert verdicts[:10] == [DROP] * 10  # 250 ms, although it had proven itself after 75
    assert verdicts[10] == MOVED


def test_a_network_of_ipv6_is_a_64() -> None:
    signalled = endpoint("[2001:db8:1:2:3::1]:4000")
    near, far = endpoint("[2001:db8:1:2:ffff::9]:4000"), endpoint("[2001:db8:1:3:3::1]:4000")
    latch = Latch(LEARN, signalled)
    send(latch, far, range(10))
    assert latch.current == far
    assert MOVED in send(latch, near, range(10), begin_ms=300)
    assert MOVED not in send(latch, far, range(10, 40), begin_ms=500)


@pytest.mark.parametrize("policy", [LEARN, ANY])
def test_what_is_authentic_is_proven_at_once(policy: int) -> None:
    latch = Latch(policy, PEER)
    assert latch.judge(STRANGER, 1, 5, 10 * SECOND, authentic=True) == MOVED
    assert latch.judge(OTHER_STRANGER, 1, 6, 10 * SECOND + 1, authentic=True) == DROP  # but the latched one is heard
    assert latch.judge(OTHER_STRANGER, 1, 7, 13 * SECOND, authentic=True) == MOVED


def test_any_latches_to_the_first() -> None:
    latch = Latch(ANY)
    assert send(latch, STRANGER, range(5)) == [MOVED] + [PASS] * 4
    assert send(latch, PEER, range(100, 200), begin_ms=100, ssrc=2) == [DROP] * 100


# ---- moving later ----


@pytest.mark.parametrize("policy", [LEARN, ANY])
@pytest.mark.parametrize(
    ("silence_ms", "ssrc", "ahead", "moves"),
    [
        (3000, 1, 1, True),
        (3000, 1, 150, True),
        (2900, 1, 146, False),  # three seconds are over only with its sixth packet, and four are needed then
        (3000, 2, 1, False),
        (3000, 1, 65526, False),
        (3000, 1, 60_000, False),
        (3000, 1, 3290, True),
        (3000, 1, 3310, False),
        (60_000, 1, 8990, True),
        (60_000, 1, 32768, False),
        (3_600_000, 1, 32760, True),
    ],
)
def test_a_moved_source_is_followed_after_silence_if_its_ssrc_goes_on(policy: int, silence_ms: int, ssrc: int, ahead: int, moves: bool) -> None:
    latch = Latch(policy, PEER)
    send(latch, PEER, range(100, 200))  # the last passes at 1,980 ms
    verdicts = send(latch, STRANGER, range(199 + ahead, 199 + ahead + 6), begin_ms=1980 + silence_ms, ssrc=ssrc)
    if moves:
        assert verdicts == [DROP] * 3 + [MOVED] + [PASS] * 2
        assert send(latch, PEER, range(200, 230), begin_ms=1980 + silence_ms + 200) == [DROP] * 30
    else:
        assert verdicts == [DROP] * 6
        assert latch.current == PEER


def test_a_refresh_with_the_same_address_changes_nothing_while_the_source_is_heard() -> None:
    latch = Latch(LEARN, PEER)
    send(latch, STRANGER, range(10))
    latch.signalled(PEER, 60 * SECOND)
    ours = iter(send(latch, STRANGER, range(10, 110), begin_ms=60_000))
    theirs = send(latch, OTHER_STRANGER, range(2000), begin_ms=60_000, step_ms=1, ssrc=2)
    assert set(ours) == {PASS}
    assert MOVED not in theirs
    assert latch.current == STRANGER


def test_after_a_refresh_another_source_is_learnt_where_the_old_one_is_silent() -> None:
    latch = Latch(LEARN, PEER)
    send(latch, STRANGER, range(10))
    latch.signalled(PEER, 60 * SECOND)
    assert MOVED in send(latch, OTHER_STRANGER, range(10), begin_ms=60_100, ssrc=2)
    assert send(latch, STRANGER, range(10, 20), begin_ms=60_400) == [DROP] * 10


def test_a_new_address_begins_learning_anew() -> None:
    latch = Latch(LEARN, PEER)
    send(latch, PEER, range(10))
    latch.signalled(OTHER_STRANGER, 60 * SECOND)
    assert not latch.latched
    assert latch.current == OTHER_STRANGER
    assert send(latch, OTHER_STRANGER, range(10), begin_ms=60_000, ssrc=9) == [HELD] * 3 + [PASS] * 7
    assert latch.counts["let_through"] == 3


# ---- sprays ----


def spray(latch: Latch, begin_ms: int, end_ms: int, *, ports: bool, ssrcs: bool, hosts: int = 1, seed: int = 0) -> list[int]:
    """Ten packets a millisecond from a third host (or several), and the true one's among them; the true one's verdicts."""
    random, found = Random(seed), []
    for tenth in range(begin_ms * 10, end_ms * 10):
        host = bytes(10) + b"\xff\xff" + bytes([198, 51, 100, random.randrange(hosts)])
        source = host, 1024 + tenth % 60_000 if ports else 6000
        latch.judge(source, tenth if ssrcs else 0xBAD, tenth % 65536, tenth * MS // 10)
        if tenth % 200 == 7:
            found.append(latch.judge(PEER, 1, tenth // 200, tenth * MS // 10))
    return found


@pytest.mark.parametrize("ssrcs", [False, True])
@pytest.mark.parametrize("ports", [False, True])
@pytest.mark.parametrize("policy", [STRICT, HOST, LEARN])
def test_a_spray_at_10_kpps_from_the_first_moment_on_takes_nothing(policy: int, ports: bool, ssrcs: bool) -> None:
    latch = Latch(policy, PEER)
    verdicts = spray(latch, 0, 2500, ports=ports, ssrcs=ssrcs)
    assert latch.current == PEER
    assert set(verdicts[4:]) <= {PASS}
    assert len(verdicts) - 4 <= verdicts.count(PASS) + verdicts.count(MOVED)


@pytest.mark.parametrize("hosts", [1, 200])
@pytest.mark.parametrize("policy", [STRICT, HOST, LEARN, ANY])
def test_a_spray_at_10_kpps_in_a_call_takes_nothing(policy: int, hosts: int) -> None:
    latch = Latch(policy, PEER)
    send(latch, PEER, range(65400, 65500), begin_ms=-2000)
    assert set(spray(latch, 0, 4000, ports=True, ssrcs=False, hosts=hosts)) == {PASS}
    assert latch.current == PEER


@pytest.mark.parametrize("ports", [False, True])
def test_one_stranger_does_not_keep_a_source_behind_nat_from_being_learnt(ports: bool) -> None:
    """The stranger's own packets never follow each other; the true source is as unknown as he is."""
    latch = Latch(LEARN, endpoint("10.0.0.5:4000"))
    found = []
    for tenth in range(20_000):
        latch.judge((STRANGER[0], 1024 + tenth if ports else 6000), tenth, tenth * 7 % 65536, tenth * MS // 10)
        if tenth % 200 == 7:
            found.append(latch.judge(PEER, 1, tenth // 200, tenth * MS // 10))
    assert found[3:] == [MOVED] + [PASS] * (len(found) - 4)


def test_many_strangers_of_a_worse_rank_do_not_keep_the_signalled_host_out() -> None:
    latch = Latch(LEARN, PEER)
    found, random = [], Random(1)
    for tenth in range(5_000):
        latch.judge((bytes(10) + b"\xff\xff" + random.randbytes(4), 1), 1, tenth % 65536, tenth * MS // 10)
        if tenth % 200 == 199:
            found.append(latch.judge(SAME_HOST, 1, tenth // 200, tenth * MS // 10))
    assert found[3:] == [MOVED] + [PASS] * (len(found) - 4)


# ---- against the twin ----


@pytest.mark.parametrize("policy", [STRICT, HOST, LEARN, ANY])
@pytest.mark.parametrize("seed", range(15))
def test_a_random_crowd_is_judged_as_the_twin_judges_it(seed: int, policy: int) -> None:
    random = Random(seed)
    addresses = [endpoint(f"203.0.113.{host}:{port}") for host in (1, 2) for port in (4000, 4002)]
    addresses += [endpoint(f"198.51.{host}.1:{port}") for host in (1, 2, 3) for port in (4000, 4002)] + [endpoint("[2001:db8::1]:4000")]
    first = random.choice([None, *addresses])
    options = {"learn_ms": random.choice((0, 500, 2000)), "now_ns": 0}
    latch, twin = Latch(policy, first, **options), Twin(policy, first, **options)
    sequences = {address: random.randrange(65536) for address in addresses}
    speakers, now_ns = addresses[: random.randrange(1, 12)], 0
    for _ in range(3000):
        now_ns += random.choice((1, 3, 3, 10)) * MS
        event = random.random()
        if event < 0.003:
            now_ns += random.choice((900, 1100, 2990, 3010, 60_000)) * MS
        elif event < 0.006:
            address = random.choice([None, first, *addresses])
            latch.signalled(address, now_ns)
            twin.signalled(address, now_ns)
        elif event < 0.03:
            speakers = random.sample(addresses, random.randrange(1, 8))
        source = random.choice(speakers)
        if random.random() < 0.02:
            sequences[source] = random.choice((sequences[addresses[0]], random.randrange(65536)))
        sequences[source] = (sequences[source] + (random.random() < 0.97)) % 65536
        ssrc = 1 if random.random() < 0.97 else random.randrange(3)
        authentic = random.random() < 0.003
        assert latch.judge(source, ssrc, sequences[source], now_ns, authentic=authentic) == twin.judge(
            source, ssrc, sequences[source], now_ns, authentic=authentic
        )
        assert (latch.latched, latch.counts) == (twin.latched, twin.counts)
        assert latch.current == twin.current


@pytest.mark.parametrize("seed", range(20))
def test_more_sources_than_places_are_watched_as_the_twin_watches_them(seed: int) -> None:
    """Hosts of every rank, whose sequence numbers break off so often that nobody is learnt soon."""
    random = Random(seed)
    addresses = [endpoint(f"203.0.113.{host}:{4000 + random.randrange(2)}") for host in (1, 1, 2, 3, 4)]
    addresses += [endpoint(f"198.51.100.{host}:4000") for host in range(8)]
    latch, twin = Latch(LEARN, addresses[0], learn_ms=60_000), Twin(LEARN, addresses[0], learn_ms=60_000)
    sequences, now_ns = dict.fromkeys(addresses, 0), 0
    for _ in range(1500):
        now_ns += random.choice((0, 1, 3, 12, 12, 130, 550)) * MS
        source = random.choice(addresses)
        sequences[source] = (sequences[source] + random.choice((1, 1, 1, 2))) % 65536
        assert latch.judge(source, 1, sequences[source], now_ns) == twin.judge(source, 1, sequences[source], now_ns)
        if latch.latched:
            signalled = endpoint(f"203.0.113.1:{random.randrange(3000, 60_000)}")
            latch.signalled(signalled, now_ns)
            twin.signalled(signalled, now_ns)
