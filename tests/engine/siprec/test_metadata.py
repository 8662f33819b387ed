"""Recording metadata as clients send it: every shape, every oddity, and what must be refused."""

from __future__ import annotations

import pytest

from engine.siprec.elements import ELEMENTS_MAX, TEXT_MAX, clean, duration_s, instant
from engine.siprec.metadata import EXTENSIONS_MAX, OBJECTS_MAX, Metadata, MetadataError, parse
from tests.engine.siprec import shaped

SHAPES = [name for name in shaped.NAMES if name not in shaped.WITHOUT_METADATA]
NS = 'xmlns="urn:ietf:params:xml:ns:recording:1"'


def doc(inside: str, root: str = f"recording {NS}") -> Metadata:
    return parse(f"<{root}>{inside}</{root.split()[0]}>".encode())


def words(metadata: Metadata) -> list[str]:
    return [text.partition(":")[0] for text in metadata.warnings]


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_read_with_all_its_ids_joined(name: str) -> None:
    """Sessions, participants and streams of each client; every reference points at something that is there."""
    metadata = shaped.document(name)
    sessions = {session.session_id for session in metadata.sessions}
    people = {one.participant_id for one in metadata.participants}
    streams = {stream.stream_id for stream in metadata.streams}
    assert metadata.data_mode == "complete"
    assert len(sessions) == 1 and len(people) == (3 if "conference" in name else 2)
    assert {session for one in metadata.participants for session in one.session_ids} <= sessions
    assert {link.session_id for link in metadata.participant_sessions} <= sessions
    assert {link.participant_id for link in metadata.participant_sessions} <= people
    assert {link.participant_id for link in metadata.participant_streams} <= people
    assert {stream.session_id for stream in metadata.streams} <= sessions
    named = {stream for link in metadata.participant_streams for stream in link.sends} | {stream for one in metadata.participants for stream in one.sends}
    assert named <= streams or name == "opensips_old"  # it has no stream elements at all
    assert {group for session in metadata.sessions for group in session.group_ids} <= {group.group_id for group in metadata.groups}
    assert all(one.aors for one in metadata.participants)
    assert not set(words(metadata)) - {"no_sessionrecordingassoc"}


def test_the_document_of_the_rfc_is_read_fully() -> None:
    metadata = shaped.document("rfc7865")
    first, second = metadata.participants
    assert (first.aors, first.names) == (("sip:ana@north.example",), ("Ana",))
    assert (second.aors, second.names) == (("sip:paul@east.example", "tel:+13105550112"), ("Paul",))
    assert [stream.label for stream in metadata.streams] == ["96", "97", "98", "99"]
    assert metadata.participant_streams[0].sends == ("i1Pz3to5hGk8fuXl+PbwCw==", "UAAMm5GRQKSCMVvLyl4rFw==")
    assert metadata.participant_streams[0].receives == ("8zc6e0lYTlWIINA6GR+3ag==", "EiXGlc+4TruqqoDaNE76ag==")
    assert metadata.participant_sessions[0].parameters == (("audio", "yes"),)
    session = metadata.sessions[0]
    assert session.sip_session_ids == ("ab30317f1a784dc48ff824d0d3715d86;remote=47755a9de7794ba387653f2099600ef2",)
    assert (session.group_ids, session.start_time) == (("7+OTCyoxTmqmqyA/1weDAg==",), "2010-12-16T23:41:07Z")
    assert [(one.namespace, one.path, one.text, one.owner_kind) for one in metadata.extensions if one.text] == [
        ("urn:example:call-center", "call-center/supervisor", "sip:lead@contact.example", "group"),
        ("http://example.org/my", "mydata/structure", "FOO!", "group"), ("http://example.org/my", "mydata/whatever", "bar", "group"),
    ]  # fmt: skip
    assert {one.owner for one in metadata.extensions} == {"7+OTCyoxTmqmqyA/1weDAg=="}
    assert metadata.warnings == ()


def test_extensions_know_their_owner_and_what_is_around_them() -> None:
    oracle = shaped.document("oracle").extensions
    assert [(one.name, one.text, one.owner_kind, one.owner) for one in oracle[:3]] == [
        ("ucid", "00FA080001002769D9F3A4;encoding=hex", "session", "Tv1mEkS9T2B6x0a7Zr3qLw=="),
        ("callerOrig", "true", "session", "Tv1mEkS9T2B6x0a7Zr3qLw=="), ("callingParty", "false", "participant", "m0JtYx7cQe9zXnB1s5dVgA=="),
    ]  # fmt: skip
    values = [(oracle[one.inside].attributes["label"], one.text) for one in oracle if one.name == "value"]
    assert values == [("P-Asserted-Identity", "<sip:5550100444@203.0.113.9>"), ("X-Genesys-CallUUID", "0DLS6RQ7KTBHV2LC3JO43MAGIC0001AB")]
    broadworks = {one.path: one for one in shaped.document("broadworks_mono").extensions}
    number = broadworks["broadWorksRecordingMetadata/callType/termCall/callingPartyNumber"]
    assert (number.text, number.namespace) == ("sip:8101@192.0.2.90;user=phone", "http://schema.broadsoft.com/broadworksCallRecording")
    assert number.owner == "urn:uuid:1d0c6a72-44be-4f0e-8d5b-0e7f3a94c611"  # its extensiondata names the session as its parent


@pytest.mark.parametrize("element", ["datamode", "dataMode", "DataMode", "data-mode"])
@pytest.mark.parametrize("root", [
    f"recording {NS}", 'recording xmlns="urn:ietf:params:xml:ns:recording"', 'recording_metadata xmlns="urn:ietf:params:xml:ns:siprec"', "recording", "rec:recording",
    'recording xmlns="urn:example:another"',
])  # fmt: skip
def test_any_namespace_and_any_case_of_the_data_mode(root: str, element: str) -> None:
    assert doc(f"<{element}> Partial </{element}><participant participant_id='p'/>", root).data_mode == "partial"
    assert parse(f"<recording {NS} dataMode='partial'/>".encode()).data_mode == "partial"


def test_a_prefix_that_nobody_declared_is_read() -> None:
    metadata = parse(b"<tns:recording><tns:participant participant_id='p'><tns:nameID aor='sip:a@b'/><apkt:ucid>1</apkt:ucid></tns:participant></tns:recording>")
    assert metadata.participants[0].aors == ("sip:a@b",)
    assert doc("<participant participant_id='p'><apkt:ucid xmlns:apkt='urn:x'>00</apkt:ucid></participant>").extensions[0].owner == "p"


@pytest.mark.parametrize("attributes", ["participant_id='p' session_id='s'", "id='p' session='s'", "participantID='p' sessionId='s'", "x:id='p' session='s'"])
def test_attributes_have_aliases(attributes: str) -> None:
    one = doc(f"<participant {attributes}><nameID aor='sip:a@b'/></participant>").participants[0]
    assert (one.participant_id, one.session_ids) == ("p", ("s",))


@pytest.mark.parametrize("inside", [
    "<nameID aor='sip:a@b'><name>Ann</name></nameID>", "<nameID><aor>sip:a@b</aor><name xml:lang='en'>Ann</name></nameID>", "<aor>sip:a@b</aor><name>Ann</name>",
    "<nameID aor='sip:a@b' name='Ann'/>", "<nameID>sip:a@b</nameID><name>\"Ann\"</name>", "<nameID aor='sip:a@b'><name>Ann;lang=en</name></nameID>",
    "<nameID aor=' sip:a@b '><name>\n  Ann\n</name></nameID>",
])  # fmt: skip
def test_addresses_and_names_stand_in_many_places(inside: str) -> None:
    one = doc(f"<participant id='p'>{inside}</participant>").participants[0]
    assert (one.aors, one.names) == (("sip:a@b",), ("Ann",))


@pytest.mark.parametrize("inside", ["", "<nameID/>", "<nameID aor=''><name> </name></nameID>", "<nameID aor=''></nameID>"])
def test_participants_without_address_or_name(inside: str) -> None:
    one = doc(f"<participant id='p'>{inside}</participant>").participants[0]
    assert (one.participant_id, one.aors, one.names) == ("p", (), ())


def test_localised_names_are_all_kept() -> None:
    one = doc("<participant id='p'><nameID aor='sip:a@b'><name xml:lang='it'>Anna</name><name xml:lang='en'>Ann</name></nameID></participant>").participants[0]
    assert one.names == ("Anna", "Ann")


@pytest.mark.parametrize(("said", "name"), [
    ('"Ada" (mobile)', '"Ada" (mobile)'), ('"Lovelace, Ada"', "Lovelace, Ada"), ('Ada "Countess" L', 'Ada "Countess" L'), ('"', '"'), ('""', ""), ('" "', ""),
    ('"Ada";lang=en', "Ada"), ("O'Neil", "O'Neil"), ('"A" "B"', '"A" "B"'),
])  # fmt: skip
def test_quotes_go_where_they_are_around_the_whole_name(said: str, name: str) -> None:
    assert doc(f"<participant id='p'><name>{said}</name></participant>").participants[0].names == ((name,) if name else ())


def test_label_and_mode_as_attribute_or_element() -> None:
    metadata = doc("<stream id='1' session='s' label='10' mode='Mixed'/><stream stream_id='2'><label> 20 </label><mode>separate</mode><content-type>audio</content-type>"
                   "<participant-ref>p</participant-ref></stream>")  # fmt: skip
    assert [(one.stream_id, one.session_id, one.label, one.mode, one.content_type, one.participant_ids) for one in metadata.streams] == [
        ("1", "s", "10", "mixed", "", ()), ("2", "", "20", "separate", "audio", ("p",)),
    ]  # fmt: skip


@pytest.mark.parametrize("send", ["<send>x</send><send>y</send>", "<send>x y</send>", "<send><id>x</id><id>y</id></send>", "<send id='x'/><send stream_id='y'/>"])
def test_streams_that_are_sent(send: str) -> None:
    assert doc(f"<participantstreamassoc participant_id='p'>{send}</participantstreamassoc>").participant_streams[0].sends == ("x", "y")
    assert doc(f"<participant id='p'>{send}</participant>").participants[0].sends == ("x", "y")
    assert doc("<participantstreamassoc participant_id='p' stream_id='z'/>").participant_streams[0].sends == ("z",)


def test_a_group_of_a_session_by_reference_attribute_or_association() -> None:
    assert doc("<session id='s'><group-ref>g</group-ref></session>").sessions[0].group_ids == ("g",)
    assert doc("<session id='s' group='g'/>").sessions[0].group_ids == ("g",)
    assert doc("<session id='s'/><sessiongroupassoc session_id='s' group_id='g'/>").sessions[0].group_ids == ("g",)


def test_state_reason_and_session_associations_may_be_missing() -> None:
    """None of them is in RFC 7865; the one association that is, is missed with a warning."""
    metadata = doc("<session session_id='s'/><participant participant_id='p'/><participantsessionassoc participant_id='p' session_id='s'/>")
    assert (metadata.state, metadata.reason, words(metadata)) == ("", "", ["no_sessionrecordingassoc"])
    assert doc("<session session_id='s'/><sessionrecordingassoc session_id='s'/>").warnings == ()


def test_states_and_policies_are_read_where_a_client_tells_them() -> None:
    metadata = parse(f"<recording {NS} state='Active' reason='Normal'><session id='s' siprecTimeout='90s'><siprecMaxDuration>1h30m</siprecMaxDuration></session>"
                     "<siprecRetention>7</siprecRetention></recording>".encode())  # fmt: skip
    assert (metadata.state, metadata.reason) == ("active", "normal")
    assert (metadata.timeout_s, metadata.max_duration_s, metadata.retention_s) == (90.0, 5400.0, 7 * 86_400.0)
    assert parse(b"<recording xmlns:state='urn:x' xmlns:reason='urn:y'/>").state == ""
    odd = doc("<state>dreaming</state><siprecTimeout>soon</siprecTimeout>")
    assert (words(odd), odd.timeout_s) == (["unknown_state", "bad_duration"], None)


def test_an_unknown_data_mode_ends_nothing() -> None:
    metadata = doc("<datamode>whole</datamode><participant id='p'/>")
    assert (metadata.data_mode, words(metadata)) == ("partial", ["unknown_datamode"])


# ---- bytes ----


def test_byte_order_marks_quotes_and_space_in_front() -> None:
    text = "<?xml version='1.0' encoding='UTF-8'?><recording xmlns='urn:ietf:params:xml:ns:recording'><participant id='p'><aor>sip:ä@b</aor></participant></recording>"
    for body in (text.encode(), b"\xef\xbb\xbf" + text.encode(), b"\r\n \r\n" + text.encode(), text.replace("UTF-8", "utf-16").encode("utf-16")):
        assert parse(body).participants[0].aors == ("sip:ä@b",)


@pytest.mark.parametrize(("declared", "warned"), [("", ["bad_encoding"]), (" encoding='UTF-8'", ["bad_encoding"]), (" encoding='ISO-8859-1'", []),
                                                  (" encoding='klingon-1'", ["unknown_encoding", "bad_encoding"])])  # fmt: skip
def test_latin_names_are_read_declared_or_not(declared: str, warned: list[str]) -> None:
    body = f"<?xml version='1.0'{declared}?><recording {NS}><participant id='p'><name>Jürgen Müller</name></participant></recording>".encode("latin-1")
    metadata = parse(body)
    assert (metadata.participants[0].names, words(metadata)) == (("Jürgen Müller",), warned)


def test_utf_8_names_stay_right_beside_latin_ones() -> None:
    body = f"<recording {NS}><participant id='p'><name>Żółć".encode() + b" M\xfcller</name></participant></recording>"
    assert parse(body).participants[0].names == ("Żółć Müller",)


def test_bare_ampersands_and_control_bytes_are_mended() -> None:
    metadata = doc("<participant id='p'><name>AT&T \x01R&amp;D &nbsp; &#233;</name></participant><participant id='q'/>")
    assert metadata.participants[0].names == ("AT&T R&D &nbsp; é",)
    assert (len(metadata.participants), words(metadata), metadata.data_mode) == (2, ["mended"], "complete")


def test_what_stands_before_a_break_is_read_and_ends_nothing() -> None:
    whole = shaped.parts("rfc7865").metadata
    metadata = parse(whole[: whole.index(b"<sessionrecordingassoc")])
    assert [len(metadata.participants), len(metadata.streams), metadata.data_mode, words(metadata)] == [2, 4, "partial", ["malformed"]]
    behind = parse(whole + b"\n--boundary--")
    assert (len(behind.participant_streams), words(behind)) == (2, ["malformed"])


def test_texts_have_no_line_ends_or_invisible_characters() -> None:
    one = doc("<participant id='p&#10;q'><name>Eve\u202e\u2028 admin&#13;&#10;logged in\u200b</name></participant>").participants[0]
    assert (one.participant_id, one.names) == ("p q", ("Eve admin logged in",))


# ---- hostile ----


@pytest.mark.parametrize("body", [
    b"", b"   ", b"\0" * 50, b"v=0\r\no=- 1 1 IN IP4 1.2.3.4", b"<html><body/></html>", b"<", b"<recording", b"--b\r\n\r\n--b--", b"\xff\xfe<", b"&", b"]]>",
    b"<?xml version='1.0'?>", b"<requestsnapshot/>", b"\xfe\xff" + b"\xd8" * 31,
])  # fmt: skip
def test_what_is_no_metadata_is_refused(body: bytes) -> None:
    with pytest.raises(MetadataError) as raised:
        parse(body)
    assert (raised.value.code, raised.value.status) == ("siprec.metadata", 400)


@pytest.mark.parametrize("dtd", [
    '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>',
    '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>', '<!DOCTYPE r SYSTEM "http://127.0.0.1:1/x.dtd">', "<!DOCTYPE r>",
    '<!DOCTYPE r [<!ENTITY % p SYSTEM "http://127.0.0.1:1/p"> %p;]>', '<!DOCTYPE r [<!ATTLIST participant participant_id CDATA "x">]>',
])  # fmt: skip
def test_document_types_and_entities_are_refused(dtd: str) -> None:
    for body in (f"{dtd}<recording {NS}><name>&c;&x;</name></recording>", f"<?xml version='1.0'?>\n{dtd}<recording {NS}/>"):
        with pytest.raises(MetadataError, match="document type"):
            parse(body.encode())
        with pytest.raises(MetadataError, match="document type"):
            parse(body.encode("utf-16"))


def test_too_many_bytes_are_refused() -> None:
    body = f"<recording {NS}>{' ' * 5000}</recording>".encode()
    assert parse(body).data_mode == "complete"
    with pytest.raises(MetadataError, match="more than 1024"):
        parse(body, max_bytes=1024)


def test_depth_elements_and_attributes_have_limits() -> None:
    deep = doc("<participant id='p'/>" + "<x>" * 5000 + "</x>" * 5000)
    assert (len(deep.participants), words(deep), deep.data_mode) == (1, ["malformed"], "partial")
    wide = doc("<participant id='p'/>" + "<label/>" * (ELEMENTS_MAX + 5))
    assert (len(wide.participants), len(wide.extensions), "malformed" in words(wide)) == (1, EXTENSIONS_MAX, True)
    many = doc("<participant id='p'/><stream " + " ".join(f"a{number}=''" for number in range(100)) + "/>")
    assert (len(many.participants), len(many.streams), words(many)) == (1, 0, ["malformed"])
    crowd = doc("".join(f"<participant id='{number}'/>" for number in range(OBJECTS_MAX + 50)))
    assert (len(crowd.participants), words(crowd)) == (OBJECTS_MAX, ["too_many"])


def test_a_megabyte_of_text_is_cut() -> None:
    body = f"<recording {NS}><participant id='p'><name>{'x' * 1_000_000}</name></participant></recording>".encode()
    assert [len(name) for name in parse(body).participants[0].names] == [TEXT_MAX]
    mixed = doc("<participant id='p'>" + "<name/>yy" * 5000 + "</participant>")  # text in pieces between elements
    assert mixed.participants[0].names == ()


# ---- times ----


@pytest.mark.parametrize(("text", "seconds"), [
    ("2026-03-02T09:15:04Z", 1772442904.0), ("2026-03-02T09:15:04", 1772442904.0), ("2026-03-02T09:15:04+0000", 1772442904.0),
    ("2026-03-02T10:15:04.250+01:00", 1772442904.25), ("2026-03-02t09:15:04z", 1772442904.0), ("1970-02-03T00:41:05Z", 2853665.0),
    ("", None), ("yesterday", None), ("2026-13-40T99:00:00Z", None),
])  # fmt: skip
def test_times_are_read_with_and_without_zone(text: str, seconds: float | None) -> None:
    assert instant(text) == seconds


@pytest.mark.parametrize(("text", "seconds"), [
    ("120s", 120.0), ("2h", 7200.0), ("30d", 2_592_000.0), ("1h30m", 5400.0), ("1h 30m", 5400.0), ("90", 90.0), ("1.5h", 5400.0), ("500ms", 0.5), ("2W", 1_209_600.0),
    ("", None), ("-5s", None), ("5x", None), ("s", None), ("1e9", None), ("99999999999d", None), ("9" * 400, None), ("5s;", None),
])  # fmt: skip
def test_durations(text: str, seconds: float | None) -> None:
    assert duration_s(text) == seconds


def test_a_number_alone_has_the_unit_it_is_asked_in() -> None:
    assert duration_s("30", "d") == 2_592_000.0


def test_clean_cuts_and_joins() -> None:
    assert (clean("  a\tb\r\nc\x85d "), clean("x" * 99, 10), clean("\u0000\u0007"), clean("José Ångström 李")) == ("a b c d", "x" * 10, "", "José Ångström 李")
