"""IP reassembly: order, overlap, bounded memory, and datagrams that never become whole."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from engine._native.packet import Fragments
from tests.data import capture_builder as build

if TYPE_CHECKING:
    from engine._native.packet import Packet

SNAPPED, REASSEMBLED, TUNNEL = 1, 4, 64
SECOND = 10**9
BODY = bytes(range(256)) * 8
DATAGRAM = build.udp(BODY, 5062, 5060)


def frames(datagram: bytes = DATAGRAM, size: int = 512, identification: int = 7, source: str = "10.0.0.1") -> list[bytes]:
    return [
        build.ethernet(octets)
        for octets in build.ipv4_fragments(datagram, size, source=source, identification=identification)
    ]


def frames_v6(datagram: bytes = DATAGRAM, size: int = 512, identification: int = 7) -> list[bytes]:
    return [
        build.ethernet(
            build.ipv6(
                build.ipv6_fragment(datagram[at : at + size], 17, at, at + size < len(datagram), identification),
                next_header=44,
            )
        )
        for at in range(0, len(datagram), size)
    ]


def pushed(reassembly: Fragments, pieces: list[bytes]) -> list[Packet]:
    results = [reassembly.push(piece) for piece in pieces]
    return [packet for packet in results if packet is not None]


@pytest.mark.parametrize("make", [frames, frames_v6])
def test_fragments_in_any_order_give_the_datagram_once(make: object) -> None:
    assert callable(make)
    dice = random.Random(3)
    for _ in range(30):
        pieces = make()
        dice.shuffle(pieces)
        reassembly = Fragments()
        packets = pushed(reassembly, pieces)
        assert [(p["payload"], p["source"][1], p["target"][1]) for p in packets] == [(BODY, 5062, 5060)]
        assert packets[0]["flags"] == REASSEMBLED
        assert packets[0]["number"] == len(pieces)
        assert reassembly.problems == {}


def test_what_is_no_fragment_passes_through() -> None:
    packet = Fragments().push(build.ethernet(build.ipv4(DATAGRAM)))
    assert packet is not None
    assert packet["flags"] == 0


def test_a_fragment_seen_twice_changes_nothing() -> None:
    pieces = frames()
    reassembly = Fragments()
    assert [p["payload"] for p in pushed(reassembly, [pieces[0], pieces[0], pieces[1], *pieces[1:]])] == [BODY]
    assert reassembly.problems == {}


def fragment(at: int, body: bytes, more: bool) -> bytes:
    return build.ethernet(build.ipv4(body, identification=7, fragment_offset=at, more_fragments=more))


@pytest.mark.parametrize("at", [8, 504, 16])
def test_the_first_copy_of_overlapping_bytes_is_kept(at: int) -> None:
    """C08: overlap and teardrop."""
    attack = fragment(at, b"\xee" * 512, more=True)
    pieces = frames()
    reassembly = Fragments()
    (packet,) = pushed(reassembly, [pieces[0], attack, *pieces[1:]])
    assert packet["payload"][:496] == BODY[:496]
    assert list(reassembly.problems) == ["FRAGMENT_OVERLAP"]


def test_bytes_that_came_first_stay_even_when_they_were_the_attackers() -> None:
    reassembly = Fragments()
    attack = fragment(512, b"\xee" * 512, more=True)
    packets = pushed(reassembly, [attack, *frames()])
    assert [p["payload"] for p in packets] == [BODY[:504] + b"\xee" * 512 + BODY[1016:]]
    assert reassembly.problems["FRAGMENT_OVERLAP"][0] == 1


def test_two_ends_and_bytes_behind_the_end_are_refused() -> None:
    """C08: two last fragments that disagree, a fragment behind the end."""
    reassembly = Fragments()
    pieces = frames()
    behind = fragment(len(DATAGRAM) // 8 * 8 + 800, b"x" * 8, more=True)
    other_end = fragment(len(DATAGRAM) // 8 * 8 + 1600, b"x" * 8, more=False)
    assert [p["payload"] for p in pushed(reassembly, [pieces[-1], behind, other_end, *pieces[:-1]])] == [BODY]
    assert reassembly.problems["FRAGMENT_OVERLAP"][0] == 2


def test_bytes_that_came_before_the_end_was_known_and_lie_behind_it_do_not_complete_the_datagram() -> None:
    reassembly = Fragments()
    behind = fragment(4096, b"x" * 512, more=True)
    pieces = frames()
    assert pushed(reassembly, [behind, pieces[-1], *pieces[1:-1]]) == []
    assert [p["payload"] for p in pushed(reassembly, pieces[:1])] == [BODY]


@pytest.mark.parametrize("at", [65_528, 65_520])
def test_a_fragment_past_the_largest_datagram_is_refused(at: int) -> None:
    """C08: offset past 65,535."""
    reassembly = Fragments()
    assert reassembly.push(fragment(at, b"x" * 24, more=False)) is None
    assert list(reassembly.problems) == ["NETWORK_HEADER"]


def test_a_middle_fragment_of_odd_length_is_refused() -> None:
    reassembly = Fragments()
    assert reassembly.push(fragment(0, b"x" * 13, more=True)) is None
    assert list(reassembly.problems) == ["NETWORK_HEADER"]


def test_the_largest_datagram_of_the_smallest_fragments_is_put_together() -> None:
    """C08: thousands of tiny fragments of one datagram."""
    body = random.Random(4).randbytes(65_507 - 8)
    pieces = frames(build.udp(body), 8)
    random.Random(5).shuffle(pieces)
    assert [p["payload"] for p in pushed(Fragments(1), pieces)] == [body]


def test_a_first_fragment_that_is_missing_leaves_nothing_to_give() -> None:
    """C08: first missing."""
    reassembly = Fragments()
    assert pushed(reassembly, frames()[1:]) == []
    assert reassembly.drain(SECOND) == []
    reassembly.finish()
    assert reassembly.problems["FRAGMENT_INCOMPLETE"][0] == 1


def test_the_same_identification_from_ten_thousand_hosts_stays_in_its_memory() -> None:
    """C08: same id from 10,000 hosts; the oldest datagrams give way."""
    reassembly = Fragments(64)
    for n in range(10_000):
        pieces = frames(source=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
        assert reassembly.push(pieces[0]) is None
    assert reassembly.problems["FRAGMENT_OVERFLOW"][0] == 10_000 - 64
    last = frames(source="10.0.39.15")
    assert [p["payload"] for p in pushed(reassembly, last[1:])] == [BODY]


def test_addresses_identifications_and_vlans_keep_datagrams_apart() -> None:
    reassembly = Fragments()
    tagged = [build.ethernet(build.vlan(octets, 5), 0x8100) for octets in build.ipv4_fragments(DATAGRAM, 512)]
    families = [frames(), frames(identification=8), frames(source="10.0.0.9"), tagged, frames_v6()]
    woven = [piece for row in zip(*families, strict=True) for piece in row]
    assert [p["payload"] for p in pushed(reassembly, woven)] == [BODY] * 5
    assert reassembly.problems == {}


def test_half_a_minute_of_capture_time_ends_a_datagram() -> None:
    reassembly = Fragments()
    pieces = frames()
    assert reassembly.push(pieces[0], time_ns=0) is None
    assert reassembly.push(frames(identification=9)[0], time_ns=31 * SECOND) is None
    assert reassembly.problems["FRAGMENT_INCOMPLETE"][0] == 1
    assert [reassembly.push(piece, time_ns=31 * SECOND) for piece in pieces[1:]] == [None] * (len(pieces) - 1)


def test_times_at_the_limits_do_not_overflow() -> None:
    """C06: timestamps at the ends of 64 bits."""
    reassembly = Fragments()
    for time_ns in (-(2**63), 2**63 - 1, 0, -(2**63)):
        assert reassembly.push(frames()[0], time_ns=time_ns) is None


def test_the_leading_bytes_of_an_incomplete_datagram_can_be_drained() -> None:
    """A capture filter by port keeps first fragments only: their headers are still worth reading."""
    reassembly = Fragments()
    reassembly.push(frames()[0], time_ns=5)
    reassembly.push(frames(identification=8)[1], time_ns=6)
    reassembly.push(frames(identification=9)[0], time_ns=9)
    drained = reassembly.drain(8)
    assert [(p["payload"], p["source"][1], p["time_ns"]) for p in drained] == [(BODY[:504], 5062, 5)]
    assert drained[0]["flags"] == REASSEMBLED | SNAPPED
    assert reassembly.problems == {"FRAGMENT_INCOMPLETE": (2, 1)}
    assert [p["payload"] for p in reassembly.drain(10)] == [BODY[:504]]


def test_a_tunnel_inside_a_reassembled_datagram_is_taken_off() -> None:
    inner = build.ethernet(build.ipv4(build.udp(BODY, 4000, 4002), "192.168.1.1", "192.168.1.2"))
    pieces = [build.ethernet(octets) for octets in build.ipv4_fragments(build.vxlan(inner), 512)]
    packets = pushed(Fragments(), pieces)
    assert [(p["payload"], p["source"][0]) for p in packets] == [(BODY, "192.168.1.1")]
    assert packets[0]["flags"] == REASSEMBLED | TUNNEL


def test_random_cuts_with_loss_and_repetition_never_invent_a_byte() -> None:
    dice = random.Random(6)
    for _ in range(60):
        body = dice.randbytes(dice.randrange(1, 3000))
        pieces = frames(build.udp(body), dice.choice((8, 64, 1480)))
        lost = dice.random() < 0.3 and len(pieces) > 1
        if lost:
            pieces.pop(dice.randrange(len(pieces)))
        pieces += [dice.choice(pieces) for _ in range(dice.randrange(3))]
        dice.shuffle(pieces)
        reassembly = Fragments(4)
        packets = pushed(reassembly, pieces)
        assert {p["payload"] for p in packets} == (set() if lost else {body})
