"""RFC 5118: IPv6 in SIP is read as it was meant."""

from __future__ import annotations

import pytest

from engine._native import sip
from tests.rfc import torture

EXPECTED = torture.expected("rfc5118")


def scanned(title: str) -> sip.Message:
    message = sip.scan(torture.wire("rfc5118", title))
    assert message is not None
    return message


def test_all_messages_of_the_rfc_are_there_and_expected() -> None:
    assert list(EXPECTED) == list(torture.sections("rfc5118"))
    assert len(EXPECTED) == 12


@pytest.mark.parametrize("title", EXPECTED)
def test_content_length_counts_the_octets_of_the_body(title: str) -> None:
    head, _, body = torture.wire("rfc5118", title).partition(b"\r\n\r\n")
    assert [int(value) for value in torture.LENGTH.findall(head)] == [len(body)]


@pytest.mark.parametrize("title", EXPECTED)
def test_scan_finds_no_fault(title: str) -> None:
    assert scanned(title).flags & ~torture.FORMS == torture.flags_of(sip.Flag, EXPECTED[title]["defects"])


@pytest.mark.parametrize("title", [title for title, said in EXPECTED.items() if "host" in said])
def test_the_request_uri_is_read_as_host_and_port(title: str) -> None:
    uri = sip.parse_uri(scanned(title).request_uri)
    wanted = sip.parse_address_literal(EXPECTED[title]["host"])
    assert (uri.address.ip, uri.address.family, uri.port) == (wanted.ip, 6, EXPECTED[title]["port"])
    assert not uri.flags & (sip.UriFlag.UNBRACKETED_V6 | sip.UriFlag.PORT_BAD | sip.UriFlag.BAD_CHARACTER)


def test_an_address_without_brackets_is_flagged() -> None:
    assert sip.parse_uri(scanned("ipv6-bad").request_uri).flags & sip.UriFlag.UNBRACKETED_V6


@pytest.mark.parametrize("title", [title for title, said in EXPECTED.items() if "received" in said])
def test_received_is_an_address_with_and_without_brackets(title: str) -> None:
    via = sip.parse_via(scanned(title).header("Via")[0])
    wanted = sip.parse_address_literal(EXPECTED[title]["received"])
    assert (via.received_from.ip, via.received_from.family) == (wanted.ip, 6)
    assert not via.flags & sip.ViaFlag.MALFORMED


def test_families_may_be_mixed_in_via() -> None:
    vias = [sip.parse_via(value) for value in scanned("mult-ip-in-header").header("Via")]
    assert [(via.sent_by.family, via.port) for via in vias] == [(6, 6050), (4, 0), (6, 0)]
    assert vias[2].received == b"192.0.2.200"


def test_mapped_addresses_are_read() -> None:
    message = scanned("ipv4-mapped-ipv6")
    vias = [sip.parse_via(value) for value in message.header("Via")]
    wanted = [sip.parse_address_literal(text).ip for text in ("::ffff:192.0.2.10", "::ffff:192.0.2.2")]
    assert [via.sent_by.ip for via in vias] == wanted
    assert vias[0].port == 19823
    assert sip.parse_address(message.header("Contact")[0]).user == b"ted"


def test_three_colons_are_read_as_two() -> None:
    bug, right = (
        sip.parse_uri(scanned(title).request_uri).address
        for title in ("ipv6-bug-abnf-3-colons", "ipv6-correct-abnf-2-colons")
    )
    assert bug.ip == right.ip
