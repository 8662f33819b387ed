"""RFC 4475: every torture message is read, and what is wrong with it is said."""

from __future__ import annotations

import re
from email.message import Message as MimeMessage
from email.parser import BytesParser

import pytest

from engine._native import sip
from tests.rfc import build_rfc4475, torture

EXPECTED = torture.expected("rfc4475")
READ = [title for title, said in EXPECTED.items() if said["outcome"] != "no SIP"]
# RFC 4475 sections 3.1.1.8, 3.1.2.2, 3.1.2.3, 3.3.9 and 3.4.1: the length is wrong or missing on purpose.
LENGTH_ON_PURPOSE = {"dblreq", "clerr", "ncl", "mcl01", "inv2543"}
BAD_ADDRESS = sip.AddressFlag.UNBALANCED | sip.AddressFlag.DISPLAY_UNQUOTED | sip.AddressFlag.BARE_QUERY
BAD_URI = (
    sip.UriFlag.BAD_CHARACTER | sip.UriFlag.UNBRACKETED_V6 | sip.UriFlag.BAD_ESCAPE | sip.UriFlag.PORT_BAD
)


def scanned(title: str) -> sip.Message:
    message = sip.scan(torture.wire("rfc4475", title))
    assert message is not None
    return message


@pytest.mark.parametrize("name", build_rfc4475.SETS)
def test_files_are_what_the_notation_builds(name: str) -> None:
    built = build_rfc4475.messages(name)
    kept = {path.stem: path.read_bytes() for path in (build_rfc4475.HERE / name).glob("*.dat")}
    assert kept == built


def test_all_messages_of_the_rfc_are_there_and_expected() -> None:
    sections = torture.sections("rfc4475")
    assert len(sections) == 50
    assert list(EXPECTED) == list(sections)
    numbered = [section for title, section in sections.items() if title != "test"]
    assert len(set(numbered)) == 49


@pytest.mark.parametrize("title", [title for title in READ if title not in LENGTH_ON_PURPOSE])
def test_content_length_counts_the_octets_of_the_body(title: str) -> None:
    octets = torture.wire("rfc4475", title)
    head, _, body = octets.partition(b"\r\n\r\n")
    assert [int(value) for value in torture.LENGTH.findall(head)] == [len(body)]


def test_lengths_that_are_wrong_on_purpose() -> None:
    told = {
        title: torture.LENGTH.findall(torture.wire("rfc4475", title).partition(b"\r\n\r\n")[0])
        for title in LENGTH_ON_PURPOSE
    }
    assert told == {
        "dblreq": [b"0"],
        "clerr": [b"9999"],
        "ncl": [b"-999"],
        "mcl01": [b"13", b"5"],
        "inv2543": [],
    }


@pytest.mark.parametrize("title", READ)
def test_scan_flags_what_is_wrong_and_nothing_else(title: str) -> None:
    said = EXPECTED[title]
    flags = scanned(title).flags
    assert flags & ~torture.FORMS == torture.flags_of(sip.Flag, said["defects"])
    assert flags & torture.FORMS == torture.flags_of(sip.Flag, said["forms"])


@pytest.mark.parametrize(
    ("title", "place"),
    [(title, place) for title in READ for place in torture.PLACES if place in EXPECTED[title]],
)
def test_a_bad_value_is_flagged_where_it_stands(title: str, place: str) -> None:
    wanted = torture.flags_of(torture.PLACES[place], EXPECTED[title][place])
    assert torture.value_flags(scanned(title), place) & wanted == wanted


@pytest.mark.parametrize("title", [title for title in READ if EXPECTED[title]["outcome"] == "valid"])
def test_no_value_of_a_valid_message_is_called_bad(title: str) -> None:
    message = scanned(title)
    for header in ("From", "To", "Contact", "Route", "Record-Route"):
        if header.lower() in EXPECTED[title]:
            continue  # what is expected of it is tested above
        for value in message.header(header):
            for element in sip.split_list(value):
                address = sip.parse_address(element)
                assert not address.flags & BAD_ADDRESS, (header, element)
                assert not address.parsed.flags & BAD_URI, (header, element)
    for value in message.header("Via"):
        for element in sip.split_list(value):
            assert not sip.parse_via(element).flags & sip.ViaFlag.MALFORMED, element
    if not message.is_response:
        assert not sip.parse_uri(message.request_uri).flags & BAD_URI


@pytest.mark.parametrize("title", READ)
def test_every_header_line_becomes_one_row(title: str) -> None:
    lines = torture.header_lines(torture.wire("rfc4475", title))
    rows = scanned(title).headers
    assert [name for name, *_ in rows] == [line.partition(b":")[0].rstrip(b" \t") for line in lines]


@pytest.mark.parametrize("title", READ)
def test_the_whole_datagram_is_the_message(title: str) -> None:
    octets = torture.wire("rfc4475", title)
    message = scanned(title)
    assert message.length == len(octets)
    head, blank, body = octets.partition(b"\r\n\r\n")
    assert message.body_offset == len(head) + len(blank)
    kept = message.content_length if message.content_length >= 0 else len(body)
    assert message.body == body[:kept]


def test_a_start_line_without_version_is_no_sip() -> None:
    with pytest.raises(sip.Malformed):
        sip.scan(torture.wire("rfc4475", "test"))


def test_wsinv_reads_folded_and_spaced_values() -> None:
    message = scanned("wsinv")
    assert (message.method, message.request_uri) == (
        b"INVITE",
        b"sip:vivekg@chair-dnrc.example.com;unknownparam",
    )
    assert sip.parse_cseq(message.header("CSeq")[0]) == (9, b"INVITE")
    assert sip.parse_number(message.header("Max-Forwards")[0]) == (68, 4)
    assert message.header("Subject") == [b""]
    assert message.header("UnknownHeaderWithUnusualValue") == [b";;,,;;,;"]
    origin, target = (sip.parse_address(message.header(name)[0]) for name in ("From", "To"))
    assert (origin.user, origin.host, origin.tag) == (b"jdrosen", b"example.com", b"98asjd8")
    assert (target.user, target.host, target.tag) == (b"vivekg", b"chair-dnrc.example.com", b"1918181833n")
    vias = [sip.parse_via(element) for value in message.header("Via") for element in sip.split_list(value)]
    assert [(via.transport_name, via.host, via.branch) for via in vias] == [
        (b"UDP", b"192.0.2.2", b"390skdjuw"),
        (b"TCP", b"spindle.example.com", b"z9hG4bK9ikj8"),
        (b"UDP", b"192.168.255.111", b"z9hG4bK30239"),
    ]
    contact = sip.parse_address(message.header("Contact")[0])
    assert contact.uri == b"sip:jdrosen@example.com"
    assert sip.parameter(b";" + contact.parameters, b"newparam") == b"newvalue"
    assert sip.parameter(b";" + contact.parameters, b"q") == b"0.33"


def test_intmeth_keeps_every_token_character() -> None:
    message = scanned("intmeth")
    assert message.method == b"!interesting-Method0123456789_*+`.%indeed'~"
    assert sip.parse_cseq(message.header("CSeq")[0]) == (139122385, message.method)
    uri = sip.parse_uri(message.request_uri)
    assert uri.user == b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert uri.password == b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert uri.host == b"example.com"
    assert sip.parse_address(message.header("From")[0]).tag == b"_token~1'+`*%!-."


def test_escapes_are_left_as_they_are() -> None:
    assert sip.parse_uri(scanned("esc01").request_uri).user == b"sips%3Auser%40example.com"
    users = [sip.parse_address(value).user for value in scanned("escnull").header("Contact")]
    assert users == [b"%00", b"%00%00"]
    assert scanned("esc02").method == b"RE%47IST%45R"
    assert sip.method_id(scanned("esc02").method) == 0
    assert len(scanned("esc02").header("Contact")) == 2


def test_longreq_keeps_all_its_vias() -> None:
    hosts = [sip.parse_via(value).host for value in scanned("longreq").header("Via")]
    assert hosts == [*(b"sip%d.example.com" % number for number in range(33, 0, -1)), b"host.example.com"]


def test_dblreq_ends_where_content_length_says() -> None:
    octets = torture.wire("rfc4475", "dblreq")
    first = sip.scan(octets, stream=True)
    assert first is not None
    assert (first.method, first.body) == (b"REGISTER", b"")
    rest = octets[first.length :]
    assert sip.sniff(rest)
    second = sip.scan(rest, stream=True)
    assert second is not None
    assert second.method == b"INVITE"
    assert second.flags & sip.Flag.LEADING_CRLF


def test_clerr_waits_for_the_rest_on_a_stream() -> None:
    assert sip.scan(torture.wire("rfc4475", "clerr"), stream=True) is None


def test_semiuri_keeps_the_semicolon_in_the_user_part() -> None:
    uri = sip.parse_uri(scanned("semiuri").request_uri)
    assert (uri.user, uri.host, uri.parameters) == (b"user;par=u%40example.net", b"example.com", b"")


def test_transports_are_read_from_via() -> None:
    vias = [sip.parse_via(value) for value in scanned("transports").header("Via")]
    names = [via.transport_name for via in vias]
    assert names == [b"UDP", b"SCTP", b"TLS", b"UNKNOWN", b"TCP"]
    kinds = [via.transport for via in vias]
    wanted = [sip.Transport[name] for name in ("UDP", "SCTP", "TLS", "OTHER", "TCP")]
    assert kinds == wanted


def test_mpart01_carries_binary_in_its_second_part() -> None:
    message = scanned("mpart01")
    head = b"Content-Type: " + message.header("Content-Type")[0] + b"\r\n\r\n"
    parts = BytesParser().parsebytes(head + message.body).get_payload()
    kinds = [part.get_content_type() for part in parts if isinstance(part, MimeMessage)]
    assert kinds == ["text/plain", "application/octet-stream"]
    assert bytes.fromhex("3082015206092A864886F70D010702") in message.body
    assert message.body.count(b"\0") > 1


def test_reason_phrases_may_be_strange_or_empty() -> None:
    strange = scanned("unreason")
    assert (strange.status, strange.reason.decode()[:15]) == (200, "= 2**3 * 5**2 н")
    assert (scanned("noreason").status, scanned("noreason").reason) == (100, b"")


def test_numbers_too_large_are_no_small_ones() -> None:
    wide = scanned("scalar02")
    number, method = sip.parse_cseq(wide.header("CSeq")[0]) or (0, b"")
    assert (number, method) == (2**63 - 1, b"REGISTER")
    assert sip.parse_number(wide.header("Expires")[0]) == (2**63 - 1, 101)
    assert sip.parse_number(scanned("scalarlg").header("Retry-After")[0])[0] == 2**63 - 1
    assert scanned("bigcode").status > 699


def test_methods_of_start_line_and_cseq_are_both_told() -> None:
    told = [
        (message.method, (sip.parse_cseq(message.header("CSeq")[0]) or (0, b""))[1])
        for message in map(scanned, ("mismatch01", "mismatch02"))
    ]
    assert told == [(b"OPTIONS", b"INVITE"), (b"NEWMETHOD", b"INVITE")]


def test_badbranch_is_a_cookie_alone() -> None:
    via = sip.parse_via(scanned("badbranch").header("Via")[0])
    assert via.branch == b"z9hG4bK"
    assert via.flags & sip.ViaFlag.COOKIE


def test_insuf_lacks_the_mandatory_headers() -> None:
    lacking = [name for name in ("To", "From", "Call-ID", "Max-Forwards") if not scanned("insuf").has(name)]
    assert lacking == ["To", "From", "Call-ID", "Max-Forwards"]


def test_schemes_of_others_are_kept() -> None:
    unknown, other = (sip.parse_uri(scanned(title).request_uri) for title in ("unkscm", "novelsc"))
    assert (unknown.scheme, other.scheme) == (b"nobodyKnowsThisScheme", b"soap.beep")
    assert unknown.scheme_id == other.scheme_id == sip.Scheme.OTHER
    assert sip.parse_address(scanned("unksm2").header("To")[0]).parsed.scheme == b"isbn"


def test_multi01_repeats_headers_that_may_stand_once() -> None:
    message = scanned("multi01")
    repeats = {
        name: message.repeats(sip.header_id(name))
        for name in ("CSeq", "Call-ID", "From", "To", "Max-Forwards")
    }
    assert set(repeats.values()) == {2}


def test_headers_inside_uris_are_not_taken_for_headers() -> None:
    assert sip.parse_uri(scanned("escruri").request_uri).headers == b"Route=%3Csip:example.com%3E"
    assert not scanned("escruri").has("Route")
    contact = sip.parse_address(scanned("regescrt").header("Contact")[0])
    assert contact.parsed.headers == b"Route=%3Csip:sip.example.com%3E"
    assert not scanned("regescrt").has("Route")


def test_unknownparam_belongs_to_contact_or_to_its_uri() -> None:
    outside, inside = (
        sip.parse_address(scanned(title).header("Contact")[0]) for title in ("cparam01", "cparam02")
    )
    assert (outside.parameters, outside.parsed.parameters) == (b"unknownparam", b"")
    assert (inside.parameters, inside.parsed.parameters) == (b"", b"unknownparam")


def test_remaining_facts_that_rules_judge_by() -> None:
    assert sip.parse_number(scanned("zeromf").header("Max-Forwards")[0]) == (0, 1)
    assert scanned("regaut01").header("Authorization")[0].startswith(b"NoOneKnowsThisScheme")
    assert scanned("bext01").header("Require") == [b"nothingSupportsThis, nothingSupportsThisEither"]
    assert scanned("invut").header("Content-Type") == [b"application/unknownformat"]
    assert scanned("sdp01").header("Accept") == [b"text/nobodyKnowsThis"]
    assert re.search(rb" EST$", scanned("baddate").header("Date")[0])
    hosts = [sip.parse_via(value).sent_by.kind for value in scanned("bcast").header("Via")]
    assert hosts[1] == sip.AddressClass.BROADCAST
    old = sip.parse_via(scanned("inv2543").header("Via")[0])
    assert not old.flags & sip.ViaFlag.BRANCH
    assert not sip.parse_address(scanned("inv2543").header("From")[0]).tag
