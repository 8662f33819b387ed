"""What is sent of metadata is what is read: answers with a document, and requests for one."""

from __future__ import annotations

import pytest

from engine.siprec import compose
from engine.siprec.bodies import parts_of
from engine.siprec.metadata import Metadata, Participant, Stream, parse
from engine.siprec.view import View, channels
from tests.engine.siprec import shaped

AT = 1_800_000_000.0
SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.50\r\ns=-\r\nt=0 0\r\n"


def answered(view: View, sequence: int = 1, sdp: bytes = SDP) -> tuple[bytes, Metadata]:
    content_type, body = compose.answer_body(sdp, view, recording_session_id="rec-1", sequence=sequence)
    found = parts_of(content_type.encode(), body)
    assert (found.warnings, found.metadata_type) == ((), "application/rs-metadata+xml")
    return found.sdp, parse(found.metadata)


@pytest.mark.parametrize("name", [name for name in shaped.NAMES if name not in shaped.WITHOUT_METADATA])
def test_the_view_comes_back_as_it_is(name: str) -> None:
    view, again = View(), View()
    view.apply(shaped.document(name), AT)
    sdp, metadata = answered(view)
    assert (sdp, metadata.data_mode, metadata.warnings) == (SDP, "complete", ())
    again.apply(metadata, AT)
    assert [(party.participant_id, party.aors, party.name, party.joined) for party in again.participants] == [
        (party.participant_id, party.aors, party.name, party.joined) for party in view.participants
    ]
    assert (again.session_ids, again.group_ids) == (view.session_ids, view.group_ids)
    lines = shaped.lines(name)
    assert [channel.parties for channel in channels(again, lines)] == [channel.parties for channel in channels(view, lines)]


def test_documents_are_numbered() -> None:
    view = View()
    said = [next(one.attributes for one in answered(view, sequence)[1].extensions if one.name == "recording-session") for sequence in (1, 2, 3)]
    assert said == [{"id": "rec-1", "sequence": str(sequence)} for sequence in (1, 2, 3)]


def test_an_answer_is_on_few_lines() -> None:
    """A 200 that outgrows a datagram is lost, so nothing is indented."""
    view = View()
    view.apply(shaped.document("rfc7865"), AT)
    document = compose.document(view, recording_session_id="r", sequence=1)
    assert b"\n" not in document and b"> <" not in document


def test_names_of_strangers_do_not_break_out() -> None:
    view = View()
    evil = '"/><x a="\'&<]]>\x00\ud800\r\n--trunkline-siprec'
    view.apply(Metadata(participants=(Participant(participant_id=evil, aors=(evil,), names=(evil,)),), streams=(Stream(stream_id=evil, label=evil),)), AT)
    content_type, body = compose.answer_body(SDP, view, recording_session_id=evil, sequence=1)
    assert content_type != "multipart/mixed;boundary=trunkline-siprec"
    metadata = parse(parts_of(content_type.encode(), body).metadata)
    assert (len(metadata.participants), len(metadata.streams), metadata.warnings) == (1, 1, ())
    assert metadata.participants[0].names == ('"/><x a="\'&<]]> --trunkline-siprec',)


def test_who_left_is_not_told() -> None:
    view = View()
    view.apply(Metadata(participants=(Participant(participant_id="a"), Participant(participant_id="b"))), AT)
    view.apply(Metadata(participants=(Participant(participant_id="b"),)), AT)
    assert [one.participant_id for one in answered(view)[1].participants] == ["b"]


@pytest.mark.parametrize("sdp", [SDP, SDP.rstrip(), SDP.replace(b"\r\n", b"\n"), b""])
def test_a_description_is_sent_as_it_is(sdp: bytes) -> None:
    """The line end in front of a boundary belongs to the boundary."""
    assert answered(View(), sdp=sdp)[0] == sdp


def test_a_snapshot_is_asked_for() -> None:
    media_type, body = compose.snapshot_request("lost <track>")
    assert media_type == "application/rs-metadata-request"
    assert body == (b'<?xml version="1.0" encoding="UTF-8"?><requestsnapshot xmlns="urn:ietf:params:xml:ns:recording:1">'
                    b"<requestreason>lost &lt;track&gt;</requestreason></requestsnapshot>")  # fmt: skip
    assert b"requestreason" not in compose.snapshot_request()[1]
    content_type, offer = compose.offer_with_request(SDP, "lost <track>")
    found = parts_of(content_type.encode(), offer)
    assert (found.sdp, found.others, found.metadata) == (SDP, ((media_type, body),), b"")
