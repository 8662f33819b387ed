"""Ladders: the contract's own example, who is where, what is folded, and that nothing in them can do harm."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from engine.trace import read
from engine.trace.analysis import label_endpoints
from engine.trace.ladder import Ladder, Media, Message, as_json, documented_text, ladder
from engine.trace.ladder_mermaid import escaped, ladder_mermaid
from engine.trace.ladder_svg import ladder_svg
from engine.trace.ladder_text import ladder_text
from engine.trace.report_text import UNSAFE
from tests.data import b2bua_ladder
from tests.data.scene import CALLEE, CALLER, Scene

HOSTILE = "\x1b]0;owned\x07\x9b31m\x7f\u202e<script>&\"'"
PROXY = "192.0.2.5:5060"
Drawing = Callable[[Ladder], Iterator[str]]
DRAWINGS: tuple[Drawing, ...] = (ladder_text, ladder_svg, ladder_mermaid)


def drawn(trace: bytes, call: int = 0, **options: Any) -> Ladder:
    return ladder(read(trace), call, **options)


def simple() -> Scene:
    scene = Scene()
    scene.call().basic(talk_s=2.0)
    return scene


@pytest.fixture(scope="module")
def b2bua() -> Ladder:
    return drawn(b2bua_ladder.capture())


# ---- the contract ----


@pytest.mark.parametrize("trace", [b2bua_ladder.capture, b2bua_ladder.sngrep_export])
def test_the_documented_example_comes_out_of_its_own_messages(trace: Callable[[], bytes]) -> None:
    made = as_json(drawn(trace()), gid=b2bua_ladder.GID)
    expected = b2bua_ladder.document()
    assert made["nodes"] == expected["nodes"]
    for number, (got, wanted) in enumerate(zip(made["messages"], expected["messages"], strict=True)):
        assert got == wanted, f"message {number}"
    assert list(made["messages"][0]) == list(expected["messages"][0])
    assert made == expected


def test_the_gid_has_the_documented_form_and_is_the_same_every_time(b2bua: Ladder) -> None:
    again = drawn(b2bua_ladder.sngrep_export())
    assert re.fullmatch(r"[0-9a-f]{6}:[0-9]+:[0-9]+", b2bua.gid)
    assert again.gid == b2bua.gid
    assert drawn(simple().pcap()).gid != b2bua.gid


def test_iso_times_are_written_on_request(b2bua: Ladder) -> None:
    assert as_json(b2bua, iso=True)["messages"][0]["timestamp"] == "2024-07-08T07:19:38.107Z"


def test_a_ladder_holds_both_legs_of_a_call_whichever_is_asked_for() -> None:
    tables = read(b2bua_ladder.capture())
    first, second = ladder(tables, 0), ladder(tables, 1)
    assert [leg.call_id for leg in first.legs] == [leg.call_id for leg in second.legs]
    assert len(first.legs) == 2
    assert first.gid == second.gid


def test_full_json_adds_legs_numbers_and_media_and_keeps_the_documented_fields() -> None:
    scene = simple()
    made = as_json(drawn(scene.pcap()), full=True)
    plain = as_json(drawn(scene.pcap()))
    assert [leg["call"] for leg in made["legs"]] == [1]
    assert [message["number"] for message in made["messages"]] == sorted(m["number"] for m in made["messages"])
    assert {media["codec"] for media in made["media"]} == {"PCMU"}
    assert all(media["packets"] > 90 for media in made["media"])
    for full, documented in zip(made["messages"], plain["messages"], strict=True):
        assert {key: full[key] for key in documented} == documented
    assert set(plain) == {"diagnosticInfo", "nodes", "messages"}


@pytest.mark.parametrize(
    ("wire", "shown"),
    [
        (b"BYE sip:a SIP/2.0\r\nCall-ID: a\r\n\r\n", "BYE sip:a SIP/2.0\r\nCall-ID: a\r\n"),
        (b"BYE sip:a SIP/2.0\r\nCall-ID: a\r\n", "BYE sip:a SIP/2.0\r\nCall-ID: a\r\n"),
        (b"INFO sip:a SIP/2.0\r\n\r\nx=1\r\n", "INFO sip:a SIP/2.0\r\n\r\nx=1\r\n\r\n"),
        (b"INFO sip:a SIP/2.0\r\n\r\nx=1", "INFO sip:a SIP/2.0\r\n\r\nx=1\r\n\r\n"),
        (b"INFO sip:a SIP/2.0\r\n\r\nx=1\r\n\r\n", "INFO sip:a SIP/2.0\r\n\r\nx=1\r\n\r\n"),
        (b"INFO sip:\xff SIP/2.0", "INFO sip:\\xff SIP/2.0"),
    ],
)
def test_a_message_ends_as_the_contract_writes_it(wire: bytes, shown: str) -> None:
    assert documented_text(wire) == shown


# ---- nodes and direction ----


def test_the_system_of_a_plain_call_is_the_side_that_was_called() -> None:
    made = drawn(simple().pcap())
    assert [node.address for node in made.nodes] == [CALLER, CALLEE]
    assert [node.system for node in made.nodes] == [False, True]
    assert made.messages[0].direction == "Incoming"
    assert made.messages[1].direction == "Outgoing"


def test_the_system_can_be_named_and_stands_second_in_the_document() -> None:
    tables = read(simple().pcap())
    label_endpoints(tables, ["Phone", "Gateway"])
    for name in ("Phone", CALLER, CALLER.split(":")[0]):
        made = ladder(tables, 0, system=name)
        assert made.messages[0].direction == "Outgoing"
        document = as_json(made)
        assert document["nodes"] == [{"displayName": CALLEE}, {"displayName": "System", "system": True}]
        assert (document["messages"][0]["fromNode"], document["messages"][0]["toNode"]) == (1, 0)


def test_a_system_that_takes_no_part_is_refused_with_the_nodes_that_do() -> None:
    with pytest.raises(ValueError, match=re.escape(f"nodes are {CALLER}, {CALLEE}")):
        drawn(simple().pcap(), system="192.0.2.99")


def test_a_call_row_that_is_none_is_refused() -> None:
    with pytest.raises(IndexError):
        drawn(simple().pcap(), call=7)


def test_labels_head_the_columns_and_the_document_keeps_addresses() -> None:
    tables = read(b2bua_ladder.capture())
    label_endpoints(tables, ["Carrier", "SBC", "Bot"])
    made = ladder(tables, 0)
    assert [node.name for node in made.nodes] == ["Carrier", "SBC", "Bot"]
    assert as_json(made)["nodes"][2] == {"displayName": b2bua_ladder.ADDRESSES[2]}


def test_two_programs_on_one_host_get_a_column_each() -> None:
    scene = Scene()
    scene.call(caller="192.0.2.1:5060", callee="192.0.2.1:5080").basic(talk_s=1.0, rtp=False)
    made = drawn(scene.pcap())
    assert [node.address for node in made.nodes] == ["192.0.2.1:5060", "192.0.2.1:5080"]
    assert all(step.source != step.target for step in made.messages)


def test_messages_without_addresses_stand_between_an_unknown_caller_and_callee() -> None:
    told = (
        "MESSAGE tel:+15550100 SIP/2.0\nFrom: <tel:+1555>;tag=a\nTo: <tel:+15550100>\nCall-ID: no-address\n"
        "CSeq: 1 MESSAGE\nContent-Length: 0\n\n"
        "SIP/2.0 200 OK\nFrom: <tel:+1555>;tag=a\nTo: <tel:+15550100>;tag=b\nCall-ID: no-address\n"
        "CSeq: 1 MESSAGE\nContent-Length: 0\n\n"
    )
    made = drawn(told.encode())
    assert made.no_time
    assert len(made.messages) == 2
    ends = [(step.source, step.target) for step in made.messages]
    assert ends[0] == ends[1][::-1]
    assert ends[0][0] != ends[0][1]
    assert as_json(made)["messages"][0]["timestamp"] == ""


# ---- steps ----


def test_retransmissions_are_folded_in_drawings_and_kept_in_the_document() -> None:
    scene = Scene()
    call = scene.call().invite()
    call.retransmit(call.now, 2)
    call.ok(at=4.0).ack()
    made = drawn(scene.pcap())
    assert [message.method for message in made.messages].count("INVITE") == 3
    folded = made.folded()
    invites = [step for step in folded.messages if step.method == "INVITE"]
    assert [len(step.copies) for step in invites] == [2]
    assert "x3 until" in "\n".join(ladder_text(made))
    assert len(made.messages) == 5  # folding leaves the ladder as it was


def test_a_stream_is_one_arrow_with_its_quality_at_its_start() -> None:
    made = drawn(simple().pcap())
    media = [step for step in made.steps if isinstance(step, Media)]
    assert sorted((step.source, step.target) for step in media) == [(0, 1), (1, 0)]
    assert all("loss 0.00 %" in step.note and "MOS" in step.note for step in media)
    times = [step.time_ns for step in made.steps]
    assert times == sorted(times)
    assert not any(isinstance(step, Media) for step in drawn(simple().pcap(), media=False).steps)


def test_media_from_a_host_without_signalling_is_drawn_from_the_node_that_announced_it() -> None:
    scene = Scene()
    scene.call(callee_media="203.0.113.99:30000").basic(talk_s=1.0)
    made = drawn(scene.pcap())
    assert len(made.nodes) == 2
    assert {(s.source, s.target) for s in made.steps if isinstance(s, Media)} == {(0, 1), (1, 0)}


def test_a_finding_shows_at_its_message() -> None:
    scene = Scene()
    call = scene.call().invite()
    call.ok()
    for repeat in range(5):
        call.ok(at=1.0 + repeat)
    made = drawn(scene.pcap())
    badges = {badge.rule for step in made.messages for badge in step.badges}
    assert badges
    assert any(f"{badge}]" in line for line in ladder_text(made) for badge in badges)
    assert not any(step.badges for step in drawn(scene.pcap(), findings=False).messages)


def test_a_long_ladder_is_cut_with_a_remark() -> None:
    made = drawn(simple().pcap())
    cut = made.folded(limit=3)
    assert len(cut.steps) == 3
    assert cut.omitted == len(made.steps) - 3
    assert f"{cut.omitted:,} more steps" in "\n".join(ladder_text(cut))


# ---- drawings ----


def test_the_text_drawing_shows_numbers_times_deltas_and_descriptions(b2bua: Ladder) -> None:
    lines = list(ladder_text(b2bua))
    invite = next(line for line in lines if "INVITE (SDP)" in line)
    assert "07:19:38.107" in invite
    assert "SDP PCMA" in invite
    assert "10.4.2.23:6000" in invite
    assert "▶" in invite
    ringing = [line for line in lines if "180 Ringing" in line]
    assert "◀" in ringing[0]
    assert "+0.0 ms" in ringing[0]
    assert "System" not in lines[4]
    assert "20.79.230.247:5060 *" in "\n".join(lines)


def test_every_arrow_of_the_text_drawing_keeps_the_other_columns_in_place(b2bua: Ladder) -> None:
    lines = [line for line in ladder_text(b2bua) if re.match(r" +\d+  \d\d:", line)]
    positions = {at for at, mark in enumerate(next(s for s in ladder_text(b2bua) if set(s.strip()) == {"│", " "})) if mark == "│"}
    assert len(positions) == 3
    assert len(lines) == 14
    for line in lines:
        assert all(line[at] in "│▶◀" for at in positions), line


def test_the_text_drawing_can_do_with_ascii(b2bua: Ladder) -> None:
    assert all(line.isascii() for line in ladder_text(b2bua, ascii_only=True))


def test_the_svg_is_well_formed_and_fetches_nothing(b2bua: Ladder) -> None:
    text = "\n".join(ladder_svg(b2bua))
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    labels = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert labels.count("INVITE (SDP)") == 2
    assert not re.search(r"href|url\(|@import|<script|<foreignObject| on\w+=", text)


def test_the_mermaid_diagram_has_a_participant_a_node_and_an_arrow_a_message(b2bua: Ladder) -> None:
    lines = list(ladder_mermaid(b2bua))
    assert lines[0] == "sequenceDiagram"
    assert sum("participant" in line for line in lines) == 3
    assert sum(bool(re.match(r" +n\d-?->>n\d: ", line)) for line in lines) == 14


def hostile() -> Ladder:
    scene = Scene()
    call = scene.call(call_id=f"evil{HOSTILE}id", callee_media="203.0.113.20:4000")
    call.invite(headers={"Subject": HOSTILE})
    call.response(486, f"Busy {HOSTILE} end; #1")
    tables = read(scene.pcap())
    label_endpoints(tables, [f"A{HOSTILE}", "end"])
    return ladder(tables, 0)


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_nothing_a_message_says_can_steer_a_terminal_or_a_page(drawing: Drawing) -> None:
    lines = list(drawing(hostile()))
    assert len(lines) > 5
    for line in lines:
        for part in line.split("\n"):
            assert not UNSAFE.search(part), part
    text = "\n".join(lines)
    assert "\\x1b" in text.replace("#92;", "\\")
    if drawing is not ladder_text:
        assert "<script" not in text


def test_the_svg_of_hostile_messages_is_well_formed() -> None:
    ElementTree.fromstring("\n".join(ladder_svg(hostile())))


def test_mermaid_text_escapes_what_mermaid_reads() -> None:
    assert escaped("a;b#c:d%e<f>") == "a#59;b#35;c:d#37;e#60;f#62;"
    assert escaped("end") == "(end)"


def test_the_document_of_hostile_messages_is_json() -> None:
    document = as_json(hostile(), full=True)
    assert msgspec.json.decode(msgspec.json.encode(document)) == document


def test_messages_are_counted_from_one() -> None:
    made = drawn(simple().pcap())
    assert next(step.number for step in made.steps if isinstance(step, Message)) == 1
