"""The view of a call over many documents, and whose voices are in which m= line."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from engine.siprec.metadata import Metadata, parse
from engine.siprec.vendor import document_of
from engine.siprec.view import (
    OBJECTS_MAX,
    PARTIES_MAX,
    Changes,
    ChannelParties,
    OfferedLine,
    View,
    channels,
    check,
    order_of,
)
from tests.engine.siprec import shaped

AT = 1_800_000_000.0
NONE = Changes()


def doc(inside: str, mode: str = "complete") -> Metadata:
    return parse(f"<recording xmlns='urn:ietf:params:xml:ns:recording:1'><datamode>{mode}</datamode>{inside}</recording>".encode())


def partial(inside: str) -> Metadata:
    return doc(inside, "partial")


def person(identifier: str, aor: str = "", inside: str = "", name: str = "") -> str:
    return f"<participant participant_id='{identifier}'><nameID aor='{aor or f'sip:{identifier}@x'}'><name>{name}</name></nameID>{inside}</participant>"


def sends(identifier: str, *streams: str) -> str:
    return f"<participantstreamassoc participant_id='{identifier}'>{''.join(f'<send>{stream}</send>' for stream in streams)}</participantstreamassoc>"


def stream(identifier: str, label: str, session: str = "s", more: str = "") -> str:
    return f"<stream stream_id='{identifier}' session_id='{session}'><label>{label}</label>{more}</stream>"


def in_session(identifier: str, session: str = "s", time: str = "") -> str:
    return f"<participantsessionassoc participant_id='{identifier}' session_id='{session}'>{time}</participantsessionassoc>"


TWO = person("a") + person("b") + stream("1", "L1") + stream("2", "L2") + sends("a", "1") + sends("b", "2")


def view_of(*documents: Metadata) -> View:
    view = View()
    for number, document in enumerate(documents):
        view.apply(document, AT + number)
    return view


def lines(*labels: str) -> tuple[OfferedLine, ...]:
    return tuple(OfferedLine(index=index, label=label) for index, label in enumerate(labels))


def parties(found: Sequence[ChannelParties]) -> list[tuple[int, ...]]:
    return [channel.parties for channel in found]


def words(texts: Sequence[str]) -> list[str]:
    return [text.partition(":")[0] for text in texts]


# ---- every client ----

# shape: aors by m= line; m= lines in the order of channels; roles by place; what the check says
EXPECTED = {
    "audiocodes_legacy": ([["+12065550101"], ["2060"]], (0, 1), ["", ""], []),
    "audiocodes_rfc": ([["sip:+12065550101@audiocodes.example"], ["sip:2060@audiocodes.example"]], (0, 1), ["", ""], []),
    "avaya_sbce": ([["sip:15550100381@192.0.2.65"], ["sip:ASBCE@asbce.com"]], (0, 1), ["", ""], ["position"]),
    "broadworks_mono": ([["sip:7412@bw.example.net", "sip:8101@192.0.2.90"]], (0,), ["callee", "caller"], []),
    "broadworks_separate": ([["sip:7412@bw.example.net"], ["sip:8101@192.0.2.90"]], (1, 0), ["callee", "caller"], []),
    "cisco_cube": ([["sip:4401@192.0.2.21"], ["sip:+15550100123@192.0.2.30"]], (0, 1), ["", ""], []),
    "cisco_cube_inactive": ([["sip:4401@192.0.2.21"], ["sip:+15550100123@192.0.2.30"]], (0, 1), ["", ""], ["position", "position"]),
    "cisco_nbr": ([["sip:4401@192.0.2.12", "sip:+15550100123@192.0.2.30"]], (0,), ["", ""], []),
    "cisco_nbr_transferred": ([["sip:4401@192.0.2.12", "sip:4477@192.0.2.12"]], (0,), ["", ""], []),
    "freeswitch": ([["sip:1000@pbx.example", "sip:+15550100222@pbx.example"]], (0,), ["", ""], ["unknown_label"]),
    "genesys": ([["sip:+15550100777@192.0.2.140"], ["sip:agent5001@192.0.2.141"]], (0, 1), ["", ""], []),
    "metaswitch": ([["7605550116", "7605550110"]], (0,), ["callee", "caller"], []),
    "netsapiens": ([["sip:15550100888@carrier.example"], ["sip:2001@tenant.example"]], (1, 0), ["callee", "caller"], []),
    "opensips": ([["sip:bob@example.com"], ["sip:alice@example.com"]], (1, 0), ["", ""], []),
    "opensips_old": ([["sip:alice@example.com"], ["sip:bob@example.com"]], (0, 1), ["", ""], ["unclaimed_label", "unclaimed_label", "position", "position"]),
    "oracle": ([["sip:8005550188@198.51.100.7"], ["sip:5550100444@203.0.113.9"]], (1, 0), ["callee", "caller"], []),
    "rfc7865": ([["sip:ana@north.example"], ["sip:paul@east.example"]] * 2, (0, 2, 1, 3), ["", ""], []),
    "ribbon": ([["5085550109@203.0.113.55"], ["2245550142@203.0.113.72"]], (0, 1), ["callee", "caller"], []),
    "sems": ([["49305550100@sems.example"], ["49305550101@sems.example"]], (0, 1), ["", ""], []),
    "webex": ([["sip:yztpfzz1kq@1001.example.webex.invalid"], ["sip:7722@192.0.2.148"]], (0, 1), ["callee", "caller"], []),
}


def test_every_shape_with_a_description_is_expected() -> None:
    assert set(EXPECTED) == {name for name in shaped.NAMES if "update" not in name and "bib" not in name}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_shape_puts_the_right_voices_into_the_right_channels(name: str) -> None:
    voices, order, roles, problems = EXPECTED[name]
    document = document_of(shaped.message(name)) or shaped.document(name)
    view = view_of(document)
    offered = shaped.lines(name)
    found = channels(view, offered)
    people = view.participants
    assert [[people[place].aor for place in channel.parties] for channel in found] == voices
    assert order_of(view, found) == order
    assert [party.role for party in people] == roles
    assert words(check(view, offered)) == problems
    assert view.apply(document, AT + 60) == NONE  # the same document again
    assert [party.left for party in people] == [""] * len(people)


def test_both_dialogs_of_a_built_in_bridge_have_one_voice_each() -> None:
    for end, aor in (("nearend", "sip:4401@192.0.2.12"), ("farend", "sip:4406@192.0.2.12")):
        document = document_of(shaped.message(f"cisco_cucm_bib_{end}"))
        assert document is not None
        view = view_of(document)
        (channel,) = channels(view, lines(""))
        assert [view.participants[place].aor for place in channel.parties] == [aor]
        assert [party.participant_id for party in view.participants] == ["31846207", "31846206"]


# ---- who comes and goes ----


def test_a_complete_document_closes_who_is_not_in_it_and_moves_nobody() -> None:
    view = view_of(doc(TWO))
    changes = view.apply(doc(person("c") + person("b") + stream("2", "L2") + sends("b", "2")), AT + 5)
    assert (changes.joined, changes.left, changes.streams_added, changes.streams_removed) == ((2,), (0,), (), ("1",))
    assert [(party.place, party.participant_id, bool(party.left)) for party in view.participants] == [(0, "a", True), (1, "b", False), (2, "c", False)]
    back = view.apply(doc(TWO), AT + 9)
    assert (back.joined, back.left, [party.left for party in view.participants][:2]) == ((0,), (2,), ["", ""])
    assert view.present == (0, 1)


def test_a_partial_document_ends_nothing_by_leaving_it_out() -> None:
    view = view_of(doc(TWO))
    changes = view.apply(partial(person("c") + stream("3", "L3") + sends("c", "3")), AT + 5)
    assert changes == Changes(joined=(2,), streams_added=("3",))
    assert parties(channels(view, lines("L1", "L2", "L3"))) == [(0,), (1,), (2,)]
    assert view.apply(partial(""), AT + 6) == NONE
    assert view.apply(partial(person("c") + stream("3", "L3") + sends("c", "3")), AT + 7) == NONE


def test_a_transfer_by_partial_document() -> None:
    view = view_of(shaped.document("rfc7865"))
    offered = shaped.lines("rfc7865")
    before = channels(view, offered)
    changes = view.apply(shaped.partial("rfc_partial_transfer"), AT + 30)
    assert (changes.joined, changes.left, changes.became) == ((2,), (1,), ())
    assert [(party.name, party.joined, party.left) for party in view.participants] == [
        ("Ana", "2010-12-16T23:41:07.000Z", ""), ("Paul", "2010-12-16T23:41:07.000Z", "2010-12-16T23:45:00.000Z"), ("Carol", "2010-12-16T23:45:01.000Z", ""),
    ]  # fmt: skip
    after = channels(view, offered)
    assert parties(before) == [(0,), (1,), (0,), (1,)]
    assert parties(after) == [(0,), (2,), (0,), (2,)]
    assert [channel.former for channel in after] == [(), (1,), (), (1,)]
    assert view.apply(shaped.partial("rfc_partial_transfer"), AT + 31) == NONE


def test_a_hold_by_metadata_leaves_the_channel_with_its_party() -> None:
    view = view_of(shaped.document("rfc7865"))
    assert view.apply(shaped.partial("rfc_partial_hold"), AT + 30) == NONE
    found = channels(view, shaped.lines("rfc7865"))
    assert parties(found) == [(0,), (1,), (0,), (1,)]
    assert [channel.by for channel in found] == ["association", "former", "association", "former"]
    assert view.parties_of_stream("8zc6e0lYTlWIINA6GR+3ag==") == ()


def test_a_disassociation_of_one_stream_keeps_the_others() -> None:
    view = view_of(doc(person("a") + stream("1", "L1") + stream("2", "L2") + sends("a", "1", "2")))
    view.apply(partial("<participantstreamassoc participant_id='a'><send>2</send><disassociate-time>2026-01-01T00:00:00Z</disassociate-time></participantstreamassoc>"), AT)
    assert (view.parties_of_stream("1"), view.parties_of_stream("2")) == ((0,), ())
    view.apply(partial("<participantstreamassoc participant_id='a'><disassociate-time>2026-01-01T00:00:00Z</disassociate-time></participantstreamassoc>"), AT)
    assert view.parties_of_stream("1") == ()


def test_an_empty_disassociate_time_ends_nothing() -> None:
    view = view_of(doc(person("a") + in_session("a", time="<disassociate-time> </disassociate-time>")))
    assert view.present == (0,)


def test_a_party_of_two_sessions_leaves_with_the_last() -> None:
    over = "<disassociate-time>2027-06-01T00:00:00Z</disassociate-time>"
    view = view_of(doc("<session session_id='s'/><session session_id='t'/>" + person("a") + in_session("a", "s") + in_session("a", "t")))
    assert view.apply(partial(in_session("a", "s", over)), AT) == NONE
    assert view.apply(partial(in_session("a", "t", over)), AT).left == (0,)
    assert view.participants[0].session_ids == ("s", "t")
    assert view.apply(partial(in_session("a", "t")), AT + 1).joined == (0,)


def test_a_session_that_is_not_recorded_any_more_ends_for_who_was_only_in_it() -> None:
    """Persistent recording (RFC 7866 6.2): the dialog stays, sessions come and go."""
    view = view_of(doc("<session session_id='s'/>" + person("a") + person("b") + in_session("a") + in_session("b")))
    changes = view.apply(partial("<session session_id='t'/>" + person("c") + in_session("a", "t") + in_session("c", "t")
                                 + "<sessionrecordingassoc session_id='s'><disassociate-time>2027-03-01T00:00:00Z</disassociate-time></sessionrecordingassoc>"), AT)  # fmt: skip
    assert (changes.joined, changes.left) == ((2,), (1,))
    assert (view.session_ids, [session.session_id for session in view.sessions]) == (("s", "t"), ["t"])
    assert view.sessions_now == ("t",)
    assert view.apply(partial("<session session_id='t'><stop-time>2027-03-02T00:00:00Z</stop-time></session>"), AT).left == (0, 2)
    assert view.apply(doc(""), AT + 9) == NONE  # and the dialog goes on with no call


def test_streams_are_changed_in_place_and_removed_by_their_time() -> None:
    view = view_of(doc(TWO))
    view.apply(partial("<stream stream_id='2' session_id='s'><label>L9</label></stream>"), AT)
    assert [one.label for one in view.streams] == ["L1", "L9"]
    assert view.apply(partial(stream("2", "L9", more="<disassociate-time>2027-01-01T00:00:00Z</disassociate-time>")), AT).streams_removed == ("2",)


def test_a_new_name_or_address_is_a_renaming() -> None:
    view = view_of(doc(person("a", name="Ann")))
    assert view.apply(partial(person("a", name="Ann Lee")), AT) == Changes(renamed=(0,))
    assert view.apply(doc(person("a", aor="sip:ann@y", name="Ann Lee")), AT) == Changes(renamed=(0,))
    assert view.apply(partial("<participant participant_id='a'/>"), AT) == NONE
    assert (view.participants[0].name, view.participants[0].aor) == ("Ann Lee", "sip:ann@y")


def test_a_placeholder_becomes_who_it_was() -> None:
    """Avaya's border controller names itself until the call is answered; what was said until then is of the one who answered."""
    view = view_of(shaped.document("avaya_sbce"))
    assert view.participants[1].aor == "sip:ASBCE@asbce.com"
    changes = view.apply(shaped.document("avaya_sbce_update"), AT + 2)
    assert (changes.became, changes.joined, changes.left) == (((1, 2),), (2,), (1,))
    assert [(party.aor, bool(party.left)) for party in view.participants][1:] == [("sip:ASBCE@asbce.com", True), ("sip:7205550101@192.0.2.32", False)]
    found = channels(view, shaped.lines("avaya_sbce"))
    assert (parties(found), [channel.by for channel in found]) == ([(0,), (2,)], ["association", "association"])
    assert check(view, shaped.lines("avaya_sbce")) == ()
    assert view.apply(shaped.document("avaya_sbce_update"), AT + 3) == NONE


def test_a_placeholder_goes_with_a_partial_document_too_and_may_keep_its_id() -> None:
    view = view_of(doc(person("a") + person("x", "sip:ASBCE@avaya.com")))
    assert view.apply(partial(person("b")), AT + 2) == Changes(joined=(2,), left=(1,), became=((1, 2),))
    same = view_of(doc(person("a") + person("x", "sip:ASBCE@avaya.com")))
    assert same.apply(doc(person("a") + person("x", "sip:real@y")), AT + 2) == Changes(renamed=(1,))


def test_metadata_of_updates_changes_participants() -> None:
    """A third one in a conference, by an UPDATE that has no description."""
    view = view_of(shaped.document("broadworks_mono"))
    assert view.apply(shaped.document("broadworks_conference_update"), AT + 9) == Changes(joined=(2,))
    assert parties(channels(view, shaped.lines("broadworks_mono"))) == [(0, 1, 2)]
    assert [party.aor for party in view.participants] == ["sip:7412@bw.example.net", "sip:8101@192.0.2.90", "7701@bw.example.net"]


def test_a_call_without_metadata_is_transferred_by_its_headers() -> None:
    first, second = document_of(shaped.message("cisco_nbr")), document_of(shaped.message("cisco_nbr_transferred"))
    assert first is not None and second is not None
    view = view_of(first)
    assert view.apply(second, AT + 30) == Changes(joined=(2,), left=(1,))
    (channel,) = channels(view, shaped.lines("cisco_nbr"))
    assert (channel.parties, channel.former, channel.by) == ((0, 2), (1,), "inline")


def test_groups_and_sessions_are_collected() -> None:
    view = view_of(doc("<group group_id='g'/><session session_id='s'><group-ref>g</group-ref></session>"), doc("<session session_id='t' group='h'/>"))
    assert (view.group_ids, view.session_ids, [group.group_id for group in view.groups]) == (("g", "h"), ("s", "t"), [])


def test_a_clock_of_1970_is_not_believed() -> None:
    view = view_of(shaped.document("ribbon"))
    assert {party.joined for party in view.participants} == {"2027-01-15T08:00:00.000Z"}
    late = view_of(doc(person("a") + in_session("a", time="<associate-time>9999-12-31T23:59:59-23:59</associate-time>")))
    assert late.participants[0].joined == "2027-01-15T08:00:00.000Z"


def test_nobody_leaves_before_he_came() -> None:
    """The client's clock is ahead of ours."""
    view = view_of(doc(person("a") + in_session("a", time="<associate-time>2027-01-15T09:00:00Z</associate-time>")), doc(""))
    assert (view.participants[0].joined, view.participants[0].left) == ("2027-01-15T09:00:00.000Z",) * 2


# ---- identifiers that lie ----


def test_one_identifier_for_two_people() -> None:
    document = doc(person("x", "sip:a@x") + person("x", "sip:b@x") + stream("1", "L1") + sends("x", "1"))
    view = View()
    changes = view.apply(document, AT)
    assert words(changes.warnings) == ["duplicate_id"]
    assert [(party.participant_id, party.aor) for party in view.participants] == [("x", "sip:a@x"), ("x", "sip:b@x")]
    assert not view.apply(document, AT)


def test_the_same_participant_twice_is_one() -> None:
    assert len(view_of(doc(person("x", "sip:a@x") + person("x", "sip:a@x"))).participants) == 1


def test_participants_without_identifier_are_known_by_address() -> None:
    view = view_of(doc("<participant><nameID aor='sip:a@x'/></participant><participant><nameID aor='sip:b@x'/></participant><participant/>"))
    assert not view.apply(doc("<participant><nameID aor='sip:b@x'/></participant><participant><nameID aor='sip:a@x'/></participant><participant/>"), AT)
    assert len(view.participants) == 3


def test_stream_identifiers_of_two_sessions() -> None:
    """The same identifier in each: a stream has the voices of its own session."""
    view = view_of(doc(person("a") + person("b") + in_session("a", "s") + in_session("b", "t") + stream("1", "L1", "s") + stream("1", "L2", "t")
                       + sends("a", "1") + sends("b", "1")))  # fmt: skip
    assert parties(channels(view, lines("L1", "L2"))) == [(0,), (1,)]


def test_empty_stream_identifiers() -> None:
    view = view_of(doc(person("a") + person("b") + stream("1", "L1") + stream("", "L2") + sends("a", "1") + sends("b")))
    found = channels(view, lines("L1", "L2"))
    assert (parties(found), [channel.by for channel in found]) == ([(0,), (1,)], ["association", "position"])
    assert len(view_of(doc(stream("", "L1") + stream("", "L2") + stream("", ""))).streams) == 3


def test_an_identifier_that_is_the_label_of_another_stream() -> None:
    view = view_of(doc(person("a") + person("b") + stream("1", "2") + stream("2", "1") + sends("a", "1") + sends("b", "2")))
    assert parties(channels(view, lines("1", "2"))) == [(1,), (0,)]
    silent = view_of(doc(person("a") + person("b") + stream("1", "2") + stream("2", "1") + sends("b", "2")))
    assert [(channel.parties, channel.by) for channel in channels(silent, lines("1", "2"))] == [((1,), "association"), ((0,), "position")]


# ---- whose voice: one way after the other ----


@pytest.mark.parametrize(("inside", "by"), [
    (person("a") + person("b") + stream("1", "L1") + sends("a", "1"), "association"),
    (person("a") + person("b") + stream("1", "L1") + sends("a", "L1"), "association"),
    (person("a") + person("b") + stream("1", "L1", more="<participant-ref>a</participant-ref>"), "participant_ref"),
    (person("a", inside="<send>1</send>") + person("b") + stream("1", "L1"), "inline"),
    (person("a", inside="<send>L1</send>") + person("b") + stream("1", "L1"), "inline"),
    (person("a") + person("b") + stream("L1", "") + sends("a", "L1"), "stream_id"),
    (person("a") + person("b") + sends("a", "L1"), "stream_id"),
    (person("a") + person("b"), "position"),
    (person("a") + person("b") + stream("1", "L1") + stream("2", "L2"), "position"),
])  # fmt: skip
def test_each_way_to_know_whose_voice_it_is(inside: str, by: str) -> None:
    found = channels(view_of(doc(inside)), lines("L1", "L2"))
    assert (found[0].parties, found[0].by) == ((0,), by)


def test_the_association_goes_before_the_reference_and_that_before_what_is_inline() -> None:
    both = person("a") + person("b", inside="<send>1</send>") + stream("1", "L1", more="<participant-ref>c</participant-ref>") + person("c")
    assert channels(view_of(doc(both + sends("a", "1"))), lines("L1"))[0].parties == (0,)
    assert channels(view_of(doc(both)), lines("L1"))[0].parties == (2,)


def test_unlabelled_lines_go_by_the_order_of_streams() -> None:
    view = view_of(doc(TWO))
    found = channels(view, lines("", ""))
    assert (parties(found), {channel.by for channel in found}) == ([(0,), (1,)], {"position"})
    assert words(check(view, lines("", ""))) == ["unlabelled", "unknown_label", "unknown_label", "position", "position"]
    assert parties(channels(view, lines("L2", ""))) == [(1,), (0,)]  # what is labelled goes first


def test_a_mixed_stream_has_everyone_in_it() -> None:
    assert parties(channels(view_of(doc(person("a") + person("b"))), lines(""))) == [(0, 1)]
    assert parties(channels(view_of(doc(person("a") + person("b") + stream("1", "L1", more="<mode>mixed</mode>"))), lines("L1"))) == [(0, 1)]


def test_two_lines_and_one_participant() -> None:
    view = view_of(doc(person("a") + stream("1", "L1") + stream("2", "L2") + sends("a", "1")))
    assert parties(channels(view, lines("L1", "L2"))) == [(0,), ()]


def test_who_left_is_in_no_guess() -> None:
    view = view_of(doc(person("a") + person("b")), doc(person("b")))
    assert parties(channels(view, lines("L1"))) == [(1,)]


def test_no_metadata_at_all() -> None:
    view = View()
    assert channels(view, lines("1", "2")) == (ChannelParties(index=0, label="1"), ChannelParties(index=1, label="2"))
    assert (check(view, lines("1", "2")), order_of(view, channels(view, lines("1", "2"))), view.participants) == ((), (0, 1), ())


def test_the_caller_comes_first_then_the_first_to_appear() -> None:
    view = view_of(doc(person("c") + person("a") + person("b", inside="<role>caller</role>") + stream("1", "1") + stream("2", "2") + stream("3", "3") + sends("a", "1")
                       + sends("b", "2") + sends("c", "3")))  # fmt: skip
    assert order_of(view, channels(view, lines("1", "2", "3", "4"))) == (1, 2, 0, 3)


# ---- the cross-check ----


@pytest.mark.parametrize(("inside", "labels", "expected"), [
    (TWO, ("L1", "L2"), []),
    (TWO, ("L1", "L1"), ["duplicate_label", "unknown_label", "position"]),
    (person("a") + stream("1", "L1") + stream("2", "L2") + sends("a", "1"), ("L1", "L2"), ["no_sender"]),
    (TWO, ("L1", "LX"), ["unknown_label", "unclaimed_label", "position"]),
    (TWO, ("L1",), ["unknown_label"]),
    (TWO, ("L1", "L2", "L3"), ["unclaimed_label"]),
    (TWO + stream("3", "L2"), ("L1", "L2"), ["duplicate_label"]),
    (person("a") + person("b") + stream("1", "L1") + stream("2", "L2") + sends("a", "1") + sends("b", "1"), ("L1", "L2"), ["ambiguous_sender", "no_sender"]),
    (person("a") + person("b") + stream("1", "L1", more="<mode>mixed</mode>") + stream("2", "L2") + sends("a", "1") + sends("b", "1"), ("L1", "L2"), ["no_sender"]),
    (person("a") + person("b") + stream("1", "L1") + sends("a", "1") + sends("b", "1"), ("L1",), []),
])  # fmt: skip
def test_contradictions_between_metadata_and_description(inside: str, labels: tuple[str, ...], expected: list[str]) -> None:
    assert words(check(view_of(doc(inside)), lines(*labels))) == expected


def test_a_cname_of_somebody_else_is_a_mismatch() -> None:
    view = view_of(doc(TWO))
    right = (OfferedLine(index=0, label="L1", cname="a@x"), OfferedLine(index=1, label="L2", cname="Zx81/random"))
    wrong = (OfferedLine(index=0, label="L1", cname="b@x"), OfferedLine(index=1, label="L2", cname="sip:a@x"))
    assert (check(view, right), words(check(view, wrong))) == ((), ["participant_mismatch", "participant_mismatch"])


def test_a_party_that_left_with_its_line_is_no_contradiction() -> None:
    view = view_of(doc(TWO), partial("<participantstreamassoc participant_id='b'><send>2</send><disassociate-time>2027-02-01T00:00:00Z</disassociate-time>"
                                     "</participantstreamassoc>"))  # fmt: skip
    assert check(view, lines("L1")) == ()


def test_labels_in_texts_are_cut() -> None:
    view = view_of(doc(person("a") + stream("1", "y" * 900)))
    assert all(len(text) < 160 for text in check(view, lines("z" * 900)))


# ---- limits ----


def test_a_flood_of_participants_is_cut_off() -> None:
    view = View()
    for batch in range(8):
        changes = view.apply(partial("".join(person(f"{batch}-{number}") for number in range(200))), AT)
    assert len(view.participants) == PARTIES_MAX
    assert words(changes.warnings) == ["too_many"]
    assert len(channels(view, lines(*map(str, range(8))))) == 8


def test_partial_documents_for_ever_fill_nothing() -> None:
    view = View()
    for batch in range(9):
        names = [f"{batch}-{number}" for number in range(60)]
        inside = "".join(f"<group group_id='{name}'/><session session_id='{name}'/>{stream(name, name, name)}{sends(name, name)}" for name in names)
        view.apply(partial(inside), AT)
    assert [len(view.sessions), len(view.groups), len(view.streams), len(view.session_ids), len(view.group_ids)] == [OBJECTS_MAX] * 5
    assert view.session_ids[-1] == "8-59"
    assert (len(view._sends), len(view._voices)) == (0, 0)
