"""Who sent a recording, by which names others know the call, who called whom, and what the call asks for itself."""

from __future__ import annotations

import pytest

from engine.sip.message import Message
from engine.sip.message import parse as read
from engine.siprec.facts import Vendor
from engine.siprec.identities import (
    address_of,
    hex_uuid,
    is_placeholder,
    same_party,
    subscriber_of,
    ucid_of,
    user_to_user,
)
from engine.siprec.metadata import Metadata, Participant, parse
from engine.siprec.vendor import (
    CallPolicy,
    correlation_of,
    document_of,
    headers_of,
    nbr_participants,
    numbers_of,
    policy_of,
    roles_of,
    vendor_of,
)
from tests.engine.siprec import shaped


def message(*headers: str, sender: str = "<sip:a@b>") -> Message:
    lines = ("INVITE sip:r@s SIP/2.0", "Via: SIP/2.0/UDP h;branch=z9hG4bK1", f"From: {sender};tag=1", "To: <sip:r@s>", "Call-ID: rs-1", "CSeq: 1 INVITE", *headers)
    return read("\r\n".join(lines) + "\r\n\r\n")


def doc(inside: str) -> Metadata:
    return parse(f"<recording xmlns='urn:ietf:params:xml:ns:recording:1'>{inside}</recording>".encode())


def of_shape(name: str) -> tuple[Message, Metadata | None, Vendor]:
    found = shaped.message(name)
    document = document_of(found) if name in shaped.WITHOUT_METADATA else shaped.document(name)
    return found, document, vendor_of(found, document)


def keys(*headers: str, inside: str = "") -> tuple[str, ...]:
    found, document = message(*headers), doc(inside)
    return correlation_of(found, document, vendor_of(found, document))


# ---- who it is ----


@pytest.mark.parametrize("name", shaped.NAMES)
def test_every_shape_is_known(name: str) -> None:
    expected = {"rfc7865": "generic", "webex": "webex"}.get(name, name.partition("_")[0])
    assert of_shape(name)[2].type == expected


@pytest.mark.parametrize(("agent", "kind"), [
    ("Oracle ESBC/9.0", "oracle"), ("OCSBC/8.4", "oracle"), ("ACME Packet 4600", "oracle"), ("Cisco-CUCM12.5", "cisco"), ("CUBE/17", "cisco"),
    ("Avaya CM/R018x", "avaya"), ("IP Office 11.1", "avaya"), ("Device /7.40A.600.231", "audiocodes"), ("Mediant 4000/v.7.20A", "audiocodes"),
    ("Sonus SBC", "ribbon"), ("GENBAND C3", "ribbon"), ("SWe Lite", "ribbon"), ("NICE Engage", "nice"), ("Genesys Cloud", "genesys"), ("Asterisk PBX 20.5", "asterisk"),
    ("FreeSWITCH-mod_sofia/1.10", "freeswitch"), ("OpenSIPS (3.4)", "opensips"), ("Sansay VSXi", "sansay"), ("Huawei SE2900", "huawei"), ("Niceville PBX", "generic"),
    ("a device / of mine", "generic"), ("", "generic"),
])  # fmt: skip
def test_clients_are_known_by_user_agent(agent: str, kind: str) -> None:
    found = vendor_of(message(f"User-Agent: {agent}"), None)
    assert (found.type, found.user_agent) == (kind, agent)


@pytest.mark.parametrize(("header", "kind"), [
    ("X-Oracle-UCID: 00FA080001002769D9F3A4", "oracle"), ("Cisco-Guid: 1-2-3-4", "cisco"), ("Sigma-UUI-A: 04FA08000103E8605D4C53", "avaya"),
    ("Contact: <sip:sbce@h>;+av.sip.iptolerance", "avaya"), ("User-to-User: 00FA08000103E8605D4C53;encoding=hex", "avaya"), ("X-AC-Action: pause-siprec", "audiocodes"),
    ("X-GENBAND-Call-ID: 7", "ribbon"), ("X-BroadWorks-Correlation-Info: 7", "broadworks"), ("X-NICE-Call-ID: 7", "nice"), ("ms-conversation-id: 7", "microsoft"),
    ("Organization: Metaswitch Networks", "metaswitch"), ("Content-Type: multipart/mixed;boundary=OSS-unique-boundary-42", "opensips"),
    ("Content-Type: multipart/mixed;boundary=UniqueBroadWorksBoundary", "broadworks"), ("X-Unheard-Of: 7", "generic"),
])  # fmt: skip
def test_clients_without_user_agent_are_known_by_what_they_send(header: str, kind: str) -> None:
    assert vendor_of(message(header), None).type == kind


# ---- identifiers ----


def test_identifiers_of_the_shapes() -> None:
    expected = {
        "oracle": {"oracle_ucid": "00FA080001002769D9F3A4", "ucid": "0001002769D9F3A4", "genesys_uuid": "0DLS6RQ7KTBHV2LC3JO43MAGIC0001AB"},
        "avaya_sbce": {"avaya_ucid": "0001000B69B4C5D2", "ucid": "0001000B69B4C5D2", "uui": "00FA080001000B69B4C5D2;encoding=hex"},
        "audiocodes_legacy": {"ucid": "0001000C69983E1B", "genesys_uuid": "4BOKLLA3VH66JF112M1CC9VHKS000F0KB",
                              "audiocodes_ac_action": 'start-siprec;recording-ip-group="SRS";recorded-side=peer'},
        "cisco_cube": {"cisco_guid": "1568799648-0373887473-2177597463-1277784789",
                       "cisco_session_id": "4f1d8c2a90b7561e3ca2d40e85b9f613;remote=00000000000000000000000000000000"},
        "cisco_cucm_bib_nearend": {"cisco_refci": "31846207", "cisco_farend_refci": "31846206", "cisco_device_name": "SEP00A1B2C3D4E5"},
        "ribbon": {"call_id": "1b6b6a73-b717-2346-e7b3-6365114b5a99", "gcid": "352578529"},
        "broadworks_mono": {"tracking_id": "5531:1", "broadworks_call_id": "callhalf-5531:1", "broadworks_user_id": "7412@bw.example.net",
                            "broadworks_correlation_info": "24f716d9-1035-4eab-91e1-92496d9146a9", "broadworks_acd_name": "Support"},
        "metaswitch": {"metaswitch_recorded_party": "+17605550110", "metaswitch_business_group": "Example Bank", "metaswitch_call_type": "originating"},
        "netsapiens": {"transferred_from": "3f9a-orig-leg@192.0.2.170"},
        "genesys": {"genesys_uuid": "0DLS6RQ7KTBHV2LC3JO43MAGIC0002CD", "genesys_interaction_id": "0003HaG3"},
    }  # fmt: skip
    for name, identifiers in expected.items():
        found = of_shape(name)[2].identifiers
        assert {key: found.get(key) for key in identifiers} == identifiers, name


def test_the_ucid_of_oracle_is_taken_from_metadata_then_header_then_charging_vector() -> None:
    agent, icid = "User-Agent: OCSBC", "P-Charging-Vector: icid-value=\"ab.12\";orig-ioi=x"
    header, xml = "P-OCSBC-UCID: 00FA08000100AA69D9F3A4", doc("<session id='s'><ucid>00FA08000100BB69D9F3A4;encoding=hex</ucid></session>")
    assert vendor_of(message(agent, icid, header), xml).identifiers["oracle_ucid"] == "00FA08000100BB69D9F3A4"
    assert vendor_of(message(agent, icid, header), None).identifiers["oracle_ucid"] == "00FA08000100AA69D9F3A4"
    only = vendor_of(message(agent, icid), None)
    assert (only.identifiers["oracle_ucid"], only.identifiers.get("ucid")) == ("ab.12", None)
    assert correlation_of(message(agent, icid), None, only) == ("icid:ab.12",)


def test_headers_of_one_vendor_are_read_in_a_call_of_another() -> None:
    found = vendor_of(message("User-Agent: OCSBC", "X-Genesys-Conversation-ID: c-1", "X-NICE-Interaction-ID: n-1", "X-Avaya-VDN: 7001"), None)
    assert (found.type, found.identifiers) == ("oracle", {"genesys_conversation_id": "c-1", "nice_interaction_id": "n-1", "avaya_vdn": "7001"})


def test_a_mapping_adds_headers_and_elements() -> None:
    mapping = {"x-crm-case": "crm_case", "queueName": "queue_name", "x-genesys-calluuid": "our_uuid"}
    found = vendor_of(message("X-CRM-Case: 0815", "X-Genesys-CallUUID: u1"), doc("<session id='s'><q:queueName xmlns:q='urn:q'>Sales</q:queueName></session>"), mapping)
    assert found.identifiers == {"crm_case": "0815", "queue_name": "Sales", "our_uuid": "u1"}


def test_values_of_strangers_are_cut_and_on_one_line() -> None:
    found = vendor_of(message("User-Agent: " + "x" * 999, "X-UCID: a\x00\x1b[31mb" + "y" * 999), None)
    assert len(found.user_agent) == 256 and len(found.identifiers["ucid"]) == 256 and found.identifiers["ucid"].isprintable()


# ---- correlation ----


@pytest.mark.parametrize("value", [
    "00FA080001000758A20EFA", "00FA080001000758A20EFA;encoding=hex", "04FA080001000758A20EFA", "FA080001000758A20EFA", "0001000758A20EFA", "0001000758a20efa",
    '"00FA080001000758A20EFA";encoding=hex', "00001000071487015674", " 00fa080001000758a20efa ",
])  # fmt: skip
def test_a_ucid_has_one_form(value: str) -> None:
    """2017-02-13, the 7th call of node 1: in hex with what stands in front of it or without, and in the decimal digits that Avaya prints."""
    assert ucid_of(value) == "0001000758A20EFA"


@pytest.mark.parametrize("value", ["", "x", "0001", "99999999999999999999", "0001000758A20EFG", "0001000758A20EFA00", "abc-def"])
def test_what_is_no_ucid(value: str) -> None:
    assert ucid_of(value) == ""


def test_only_the_full_form_counts_where_anything_may_stand() -> None:
    assert (ucid_of("0001000758A20EFA", bare=False), ucid_of("00FA080001000758A20EFA", bare=False)) == ("", "0001000758A20EFA")


@pytest.mark.parametrize(("value", "expected"), [
    ("00FA080001000758A20EFA;encoding=hex", ("0001000758A20EFA", "")),
    ("04FA080001000758A20EFAC80431323334", ("0001000758A20EFA", "")),
    ("04C8" + "24" + b"0b6f3c52-9d1e-4a77-8c3e-5a1f2b3c4d5e".hex() + "FA080001000758A20EFA;encoding=hex", ("0001000758A20EFA", "0b6f3c52-9d1e-4a77-8c3e-5a1f2b3c4d5e")),
    ("04FA080001000758A20EFA|0B6F3C52-9D1E-4A77-8C3E-5A1F2B3C4D5E|x", ("0001000758A20EFA", "0b6f3c52-9d1e-4a77-8c3e-5a1f2b3c4d5e")),
    ("hello;encoding=ascii", ("", "")), ("", ("", "")), ("0", ("", "")), ("00FA", ("", "")), ("00FAFF00", ("", "")), ("00" * 9000, ("", "")),
])  # fmt: skip
def test_user_to_user(value: str, expected: tuple[str, str]) -> None:
    assert user_to_user(value) == expected


def test_one_call_through_several_clients_has_one_key() -> None:
    """Both sides of a border controller record it, each with its own form."""
    avaya = keys("User-to-User: 00FA080001002769D9F3A4;encoding=hex")
    oracle = correlation_of(*of_shape("oracle"))
    audiocodes = keys(inside="<participant id='p'><ac:AvayaUCID xmlns:ac='urn:x'>FA080001002769D9F3A4</ac:AvayaUCID></participant>")
    sbce = keys(inside="<session session_id='00FA080001002769D9F3A4'/>")
    assert set(avaya) & set(oracle) & set(audiocodes) & set(sbce) == {"ucid:0001002769D9F3A4"}


def test_both_dialogs_of_a_built_in_bridge_share_their_keys() -> None:
    near, far = (correlation_of(*of_shape(f"cisco_cucm_bib_{end}")) for end in ("nearend", "farend"))
    assert near == far == ("refci:31846207", "refci:31846206")


def test_keys_of_the_shapes() -> None:
    assert correlation_of(*of_shape("ribbon"))[:2] == ("call-id:1b6b6a73-b717-2346-e7b3-6365114b5a99", "gcid:352578529")
    assert set(correlation_of(*of_shape("cisco_cube"))) == {
        "cisco-guid:5d81fba0164911f181cb80174c2972d5", "session-id:4f1d8c2a90b7561e3ca2d40e85b9f613", "session-id:9a07d3e15b2f48c6817d0f6ae4c35b28",
        "rs-session-id:kLq0dEsfEe+BxoArTClyVQ==",
    }  # fmt: skip
    assert "call-id:dlg-3c26706a4f31@198.51.100.80" in correlation_of(*of_shape("opensips"))  # where others have a Session-ID
    assert {"tracking:5531:1", "tracking:24f716d9-1035-4eab-91e1-92496d9146a9", "callhalf:callhalf-5531:1"} <= set(correlation_of(*of_shape("broadworks_mono")))
    assert {"genesys-uuid:4BOKLLA3VH66JF112M1CC9VHKS000F0KB", "ucid:0001000C69983E1B", "group-id:00000000-0000-002e-77f8-a3c1d0b9e514"} <= set(
        correlation_of(*of_shape("audiocodes_legacy"))
    )
    assert {"leg:3f9a-orig-leg@192.0.2.170", "leg:leg-a-7d20@192.0.2.170", "group-id:20260604090000000011-grp"} <= set(correlation_of(*of_shape("netsapiens")))


def test_nil_and_empty_values_join_nothing() -> None:
    assert keys("Session-ID: 00000000000000000000000000000000;remote=00000000000000000000000000000000", "X-Call-ID: 0", "X-NICE-Call-ID:", "Cisco-Guid: 0-0-0-0") == ()
    assert keys(inside="<session session_id=''><group-ref> </group-ref><sipSessionID>0</sipSessionID></session><group group_id='00'/>") == ()


def test_keys_have_limits() -> None:
    assert len(keys(inside="".join(f"<session session_id='number-{number}'/>" for number in range(200)))) == 64
    assert all(len(key) <= 256 for key in keys(f"X-Call-ID: {'x' * 900}", inside=f"<group group_id='{'y' * 900}'/>"))


@pytest.mark.parametrize("value", [
    "5d81fba0-1649-11f1-81cb-80174c2972d5", "5d81fba0164911f181cb80174c2972d5", "1568799648-0373887473-2177597463-1277784789", "5D81FBA0-1649-11F1-81CB-80174C2972D5",
])  # fmt: skip
def test_a_uuid_has_one_form(value: str) -> None:
    assert hex_uuid(value) == "5d81fba0164911f181cb80174c2972d5"
    assert [hex_uuid(other) for other in ("", "0" * 32, "9999999999-1-1-1", "0-0-0-0", "abc")] == [""] * 5


# ---- who called whom ----


@pytest.mark.parametrize("name", ["oracle", "ribbon", "broadworks_mono", "broadworks_separate", "webex", "metaswitch", "netsapiens"])
def test_the_caller_is_known_by_extensions(name: str) -> None:
    document = shaped.document(name)
    callee, caller = document.participants
    if name.startswith("broadworks"):
        assert roles_of(document) == {callee.participant_id: "callee", caller.participant_id: "caller"}
    assert roles_of(document)[caller.participant_id] == "caller"
    assert roles_of(document)[callee.participant_id] == "callee"


@pytest.mark.parametrize("name", ["rfc7865", "cisco_cube", "genesys", "opensips", "avaya_sbce"])
def test_where_nothing_tells_the_caller_nobody_is(name: str) -> None:
    assert roles_of(shaped.document(name)) == {}


def test_roles_of_their_own_and_of_the_other() -> None:
    assert roles_of(doc("<participant id='a' role='Agent'/><participant id='b'/>")) == {"a": "agent", "b": "customer"}
    assert roles_of(doc("<participant id='a'><role>calling</role></participant><participant id='b'/><participant id='c'/>")) == {"a": "caller"}
    assert roles_of(doc("<participant id='a' role='focus'/><participant id='b' role='mixer'/>")) == {}
    assert roles_of(doc("<participant id='a' role='caller'/><participant id='a'/>")) == {"a": "caller"}


def test_a_number_that_fits_nobody_makes_nobody_a_caller() -> None:
    said = "<session id='s'><x:caller xmlns:x='urn:x'>{}</x:caller></session><participant id='a'><aor>sip:+15550100200@h</aor></participant><participant id='b'><aor>tel:200</aor></participant>"
    assert roles_of(doc(said.format("15550109999"))) == {}
    assert roles_of(doc(said.format("(555) 010-0200"))) == {"a": "caller", "b": "callee"}
    assert roles_of(doc(said.format("0200"))) == {}  # too short to be the end of a number


def test_the_number_of_a_user_who_has_only_a_name() -> None:
    document = shaped.document("webex")
    roles = roles_of(document)
    assert numbers_of(document, roles) == {"urn:uuid:2c6f0a11-91f5-4a37-8b2e-0d6c1e5f7a01": ("sip:+12105550145@192.0.2.148",)}
    mono = shaped.document("broadworks_mono")
    assert numbers_of(mono, roles_of(mono)) == {}


# ---- addresses ----


@pytest.mark.parametrize(("aor", "address", "subscriber"), [
    ("sip:alice@example.com", "sip:alice@example.com", "alice"), ("sip:2125550100;noa=international;srvattri=national@h;user=phone", "sip:2125550100@h", "2125550100"),
    ("tel:+1-212-555-0100;phone-context=x", "tel:+1-212-555-0100", "12125550100"), ("+12125550100", "+12125550100", "12125550100"), ("2060", "2060", "2060"),
    ('"Ann" <sips:Ann@h:5061;transport=tls?x=y>;tag=1', "sips:Ann@h:5061", "ann"), ("anonymous", "anonymous", "anonymous"), ("5083084809@172.16.0.1", "5083084809@172.16.0.1", "5083084809"),
    ("", "", ""), ("@", "@", ""), ("<", "", ""), ("sip:", "sip:", ""),
])  # fmt: skip
def test_addresses(aor: str, address: str, subscriber: str) -> None:
    assert (address_of(aor), subscriber_of(aor)) == (address, subscriber)


def test_the_same_party() -> None:
    assert same_party("sip:+17605550110@a", "7605550110") and same_party("sip:Ann@a", "ann@b") and same_party("tel:2060", "sip:2060@h")
    assert not same_party("2060", "12060") and not same_party("", "") and not same_party("sip:@x", "sip:@y") and not same_party("ann", "anna")
    assert is_placeholder("sip:ASBCE@avaya.com") and is_placeholder("asbce@asbce.com") and not is_placeholder("sip:asbce2@x")


# ---- calls without metadata ----


def test_the_participants_of_network_based_recording() -> None:
    assert nbr_participants(shaped.message("cisco_nbr")) == (
        Participant(participant_id="sip:4401@192.0.2.12", aors=("sip:4401@192.0.2.12",), sends=("media-index-0",)),
        Participant(participant_id="sip:+15550100123@192.0.2.30", aors=("sip:+15550100123@192.0.2.30",), sends=("media-index-0",)),
    )  # fmt: skip
    two = message('X-Cisco-Recording-Participant: "Ann" <sip:1@h>;media-index="0", sip:2@h;media-index="1"')
    assert [(one.aors, one.names, one.sends) for one in nbr_participants(two)] == [
        (("sip:1@h",), ("Ann",), ("media-index-0",)), (("sip:2@h",), (), ("media-index-1",)),
    ]  # fmt: skip
    document = document_of(two)
    assert document is not None and [(one.stream_id, one.media_index) for one in document.streams] == [("media-index-0", 0), ("media-index-1", 1)]


def test_the_ends_of_a_built_in_bridge() -> None:
    document = document_of(shaped.message("cisco_cucm_bib_farend"))
    assert document is not None
    assert [(one.participant_id, one.aors) for one in document.participants] == [("31846207", ("sip:4401@192.0.2.12",)), ("31846206", ("sip:4406@192.0.2.12",))]
    assert [(one.participant_id, one.sends) for one in document.participant_streams] == [("31846206", ("media-index-0",))]


@pytest.mark.parametrize("headers", [(), ("X-Cisco-Recording-Participant:",), ("X-Cisco-Recording-Participant: ;media-index=0",)])
def test_headers_that_tell_nobody(headers: tuple[str, ...]) -> None:
    assert document_of(message(*headers)) is None
    assert document_of(message(sender="<sip:a@b;x-refci=1>")) is None


def test_a_flood_of_participants_in_headers_is_cut() -> None:
    flood = message(*(f"X-Cisco-Recording-Participant: <sip:{number}@h>;media-index=999999" for number in range(200)))
    document = document_of(flood)
    assert document is not None and len(document.participants) <= 64


# ---- what a call asks for ----


def test_headers_go_before_metadata_before_what_is_set() -> None:
    document = doc("<siprecTimeout>90s</siprecTimeout><siprecMaxDuration>1h</siprecMaxDuration><siprecRetention>7d</siprecRetention>")
    assert policy_of(message(), None) == CallPolicy()
    assert policy_of(message(), document) == CallPolicy(timeout_s=90.0, max_duration_s=3600.0, retention_days=7, source="metadata")
    asked = policy_of(message("X-Recording-Timeout: 120s", "x-recording-retention: 30d"), document)
    assert asked == CallPolicy(timeout_s=120.0, max_duration_s=3600.0, retention_days=30, source="header")


@pytest.mark.parametrize(("value", "days"), [("30", 30), ("36h", 2), ("1s", 1), ("0", 0), ("0d", 0), ("soon", None), ("-1d", None), ("9" * 30 + "d", None)])
def test_retention_is_in_whole_days(value: str, days: int | None) -> None:
    assert policy_of(message(f"X-Recording-Retention: {value}"), None).retention_days == days


def test_headers_that_say_something_of_the_call_are_kept_and_no_secret() -> None:
    kept = headers_of(message("X-Agent: 7\x01", "P-Asserted-Identity: <sip:a@b>", "Authorization: Digest x", "X-Auth-Token: t", "X-Api-Key: k", "Subject: s", "Allow: INVITE"))
    assert dict(kept) == {"From": "<sip:a@b>;tag=1", "To": "<sip:r@s>", "X-Agent": "7", "P-Asserted-Identity": "<sip:a@b>", "Subject": "s"}
    assert len(headers_of(message(*(f"X-H{number}: v" for number in range(300))))) == 64
