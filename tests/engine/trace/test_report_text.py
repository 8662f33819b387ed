"""Findings, calls and streams as text: what is shown, how wide, in which colour, and that it cannot do harm."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.trace import read
from engine.trace.finding import Evidence, Finding, Problem, Report, Summary
from engine.trace.report_text import (
    CALL_COLUMNS,
    STREAM_COLUMNS,
    UNSAFE,
    call_row,
    calls_chosen,
    clipped,
    clock,
    columns_of,
    evidence_line,
    harmless_json,
    has_number,
    padded,
    printable,
    report_text,
    size_of,
    stream_row,
    table_text,
)
from tests.data.scene import CALLEE, CALLER, Scene


def finding(**changes: object) -> Finding:
    told: dict[str, object] = {
        "rule": "missing-ack", "severity": "high", "category": "signaling", "title": "No ACK",
        "detail": "The 200 was sent seven times and never acknowledged by the caller, so the callee gave up.",
        "recommendation": "Let the ACK reach the Contact of the 200.", "rfc": "RFC 3261 13.3.1.4", "call_id": "a@b",
        "evidence": [Evidence(message=3, time=1_700_000_000.25, summary="200 (INVITE) a -> b")],
    }  # fmt: skip
    return Finding(**{**told, **changes})  # type: ignore[arg-type]


def report(*findings: Finding, **summary: object) -> Report:
    figures: dict[str, object] = {
        "bytes": 4200, "packets": 12, "messages": 12, "calls": 1, "rtp_packets": 500, "streams": 2,
        "elapsed_ms": 1.4, "format": "pcap",
    }  # fmt: skip
    counts = {name: sum(f.severity == name for f in findings) for name in ("critical", "high", "medium", "low", "info")}
    return Report(
        Summary(**{**figures, **summary}),  # type: ignore[arg-type]
        counts,
        list(findings),
        [f.recommendation for f in findings if f.recommendation],
    )


@pytest.fixture(scope="module")
def tables() -> object:
    scene = Scene()
    scene.call(from_user="+15550100", to_user="2000").basic(talk_s=2.0)
    busy = scene.call(at=10.0, from_user="3000", to_user="4000").invite()
    busy.response(486).ack()
    return read(scene.pcap())


# ---- text that is safe to show ----


@given(st.text())
def test_printable_text_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    assert not UNSAFE.search(printable(text))


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_printable_leaves_plain_text_alone(text: str) -> None:
    assert printable(text) == text


def test_printable_writes_escapes() -> None:
    assert printable("a\r\n\t\x1b[31m\x7f\x9b\u202e") == "a\\r\\n\\t\\x1b[31m\\x7f\\x9b\\u202e"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_harmless_json_is_the_same_document_without_controls(text: str) -> None:
    made = harmless_json(msgspec.json.encode(text))
    assert msgspec.json.decode(made) == text
    assert not UNSAFE.search(re.sub("[\U000e0000-\U000e007f]", "", made.decode()))


@given(st.text(), st.integers(1, 40))
def test_clipped_text_never_takes_more_columns_than_it_may(text: str, columns: int) -> None:
    assert columns_of(clipped(text, columns)) <= columns


def test_wide_characters_count_twice_and_padding_knows_it() -> None:
    assert columns_of("電話") == 4
    assert padded("電話", 6) == "電話  "
    assert padded("ab", 4, right=True) == "  ab"


def test_times_and_sizes_are_written_for_people() -> None:
    assert clock(1_700_000_000_107_999_999) == "22:13:20.107"
    assert clock(1_700_000_000_107_000_000, date=True) == "2023-11-14T22:13:20.107Z"
    assert clock(10**30, date=True).endswith(" ns")
    assert [size_of(n) for n in (0, 999, 4200, 3_000_000_000, 10**16)] == ["0 B", "999 B", "4.2 kB", "3.0 GB", "10000.0 TB"]


# ---- the report ----


def test_a_finding_is_told_with_its_rule_evidence_and_fix() -> None:
    text = report_text(report(finding()))
    for part in ("HIGH", "1. No ACK", "[signaling] missing-ack, RFC 3261 13.3.1.4", "call a@b", "#3", "22:13:20.250",
                 "fix: Let the ACK reach", "What to do", "12 SIP messages, 1 call, 2 streams", "1 high"):  # fmt: skip
        assert part in text, part
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [40, 72, 120])
def test_text_keeps_to_the_width(width: int) -> None:
    long = finding(detail="word " * 200, recommendation="do this " * 60)
    body = report_text(report(long), width=width).splitlines()[3:]
    assert max(len(line) for line in body) <= width
    assert sum("word" in line for line in body) > 5


def test_colour_is_put_on_only_when_asked_for() -> None:
    plain, coloured = report_text(report(finding())), report_text(report(finding()), color=True)
    assert "\x1b[1;31m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_quiet_text_is_the_findings_alone() -> None:
    text = report_text(report(finding()), quiet=True)
    assert text.startswith("HIGH")
    assert "What to do" not in text


def test_a_report_without_findings_says_so() -> None:
    text = report_text(report())
    assert "Nothing to report." in text
    assert "Findings: none" in text


def test_what_could_not_be_read_is_named() -> None:
    problem = Problem("1", "packets cut short", 3, 4242, "cut\x1b.pcap")
    text = report_text(report(problems=[problem], omitted_findings=12))
    assert "cut\\x1b.pcap: packets cut short: 3 (first at byte 4,242)" in text
    assert "12 more findings" in text


def test_a_report_of_hostile_texts_cannot_steer_the_terminal() -> None:
    evil = "\x1b]0;x\x07\r\n\x9b2J"
    text = report_text(report(finding(title=evil, detail=evil, recommendation=evil, call_id=evil, rule=evil,
                                      evidence=[Evidence(message=1, summary=evil, header=evil, value=evil)])))  # fmt: skip
    assert not UNSAFE.search(text.replace("\n", ""))


def test_evidence_names_its_message_stream_and_header() -> None:
    told = evidence_line(Evidence(stream=2, header="c=", value="IN IP4 10.0.0.1"))
    assert told == "stream 3  c=: IN IP4 10.0.0.1"
    assert evidence_line(Evidence()) == ""


# ---- calls and streams ----


def test_a_call_row_holds_who_when_and_how_it_ended(tables: object) -> None:
    row = call_row(tables, 0)  # type: ignore[arg-type]
    assert (row["call"], row["kind"], row["outcome"], row["status"]) == (1, "call", "answered", 200)
    assert (row["from"], row["to"], row["caller"], row["callee"]) == ("+15550100", "2000", CALLER, CALLEE)
    assert (row["codec"], row["streams"], row["leg_of"]) == ("PCMU", 2, None)
    assert row["start"] == "2023-11-14T22:13:20.000Z"
    assert 1 < row["worst_mos"] <= 4.5
    assert row["talk_ms"] == pytest.approx(2000, abs=500)


def test_a_stream_row_holds_its_quality_with_units_in_the_names(tables: object) -> None:
    rows = [stream_row(tables, stream) for stream in range(2)]  # type: ignore[arg-type]
    assert {row["direction"] for row in rows} == {"caller to callee", "callee to caller"}
    assert all(row["call"] == 1 and row["codec"] == "PCMU" and row["lost"] == 0 for row in rows)
    assert all(re.fullmatch(r"0x[0-9a-f]{8}", row["ssrc"]) for row in rows)


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        ({}, [0, 1]),
        ({"number": "555-01"}, [0]),
        ({"number": "4000"}, [1]),
        ({"number": "999"}, []),
        ({"status": ["486"]}, [1]),
        ({"status": ["2xx", "busy"]}, [0, 1]),
        ({"status": ["answered"], "kind": ["call"]}, [0]),
        ({"kind": ["registration"]}, []),
    ],
)
def test_calls_are_chosen_by_all_filters(tables: object, filters: dict[str, object], rows: list[int]) -> None:
    assert list(calls_chosen(tables, **filters)) == rows  # type: ignore[arg-type]


@pytest.mark.parametrize("filters", [{"status": ["sometimes"]}, {"kind": ["party"]}])
def test_a_word_that_is_no_filter_is_refused_with_those_that_are(tables: object, filters: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match="is none of"):
        list(calls_chosen(tables, **filters))  # type: ignore[arg-type]


def test_numbers_match_without_their_separators(tables: object) -> None:
    assert has_number(tables, 0, "+1 (555) 01-00")  # type: ignore[arg-type]
    assert not has_number(tables, 1, "+1 (555) 01-00")  # type: ignore[arg-type]


def test_tables_are_aligned_and_name_their_columns(tables: object) -> None:
    lines = list(table_text((call_row(tables, call) for call in range(2)), CALL_COLUMNS))  # type: ignore[arg-type]
    assert len(lines) == 3
    at = lines[0].index("outcome")
    assert [line[at:].split()[0] for line in lines] == ["outcome", "answered", "busy"]
    streams = list(table_text((stream_row(tables, row) for row in range(2)), STREAM_COLUMNS))  # type: ignore[arg-type]
    assert "loss %" in streams[0]
    assert len(streams) == 3


def test_a_table_goes_on_past_the_rows_its_widths_come_from() -> None:
    rows = ({"a": number} for number in range(1500))
    lines = list(table_text(rows, [("a", "a", True)]))
    assert len(lines) == 1501
    assert lines[-1] == "1499"
