"""Recordings as vCons, against the schema of the draft's group."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.media.manifest import Interval
from engine.recordings import vcon
from engine.recordings.errors import NotRecorded
from engine.recordings.record import KeptFile
from engine.recordings.vcon import vcon_of
from engine.siprec.document import Body, SessionDocument
from engine.siprec.facts import ChannelFacts, Party
from tests.engine.recordings.rig import BEGAN, Rig, facts, record, rig

EVENTS = {"join", "drop", "hold", "unhold", "mute", "unmute", "keydown", "keyup"}
NOW = 1_700_000_000.0


def checked(told: dict[str, Any]) -> dict[str, Any]:
    """What every vCon must be (draft-ietf-vcon-vcon-core-02, sections 4.1 to 4.5)."""
    told = json.loads(msgspec.json.encode(told))
    assert told["vcon"] == "0.4.0" and told["created_at"].endswith("Z")
    assert uuid.UUID(told["uuid"]).version == 8
    parties = len(told["parties"])
    assert parties
    for dialog in told["dialog"]:
        assert dialog["type"] == "recording" and dialog["start"] and dialog["duration"] >= 0
        assert ("url" in dialog) != ("body" in dialog)
        assert dialog.get("encoding", "base64url") == "base64url" and "=" not in dialog.get("body", "")
        for place in dialog["parties"]:
            assert all(each is None or 0 <= each < parties for each in (place if isinstance(place, list) else [place]))
        for event in dialog.get("party_history", ()):
            assert event["event"] in EVENTS and 0 <= event["party"] < parties and event["time"].endswith("Z")
    for analysis in told["analysis"]:
        assert analysis["type"] and analysis["vendor"] and analysis["encoding"] in ("json", "none", "base64url")
    for attachment in told["attachments"]:
        assert attachment["start"] and 0 <= attachment["party"] < parties and 0 <= attachment["dialog"] < len(told["dialog"])
    return told


def made_of(made: Rig, id: str = "r1", **more: Any) -> dict[str, Any]:
    made.catalogue.scan()
    return checked(vcon_of(made.catalogue, made.of(id), at=NOW, **({"url_of": lambda file: f"https://x/{file.name}"} | more)))


def test_parties_channels_and_sound(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        record(made.folder)
        told = made_of(made)
        assert told["parties"] == [{"sip": "sip:alice@example.com", "name": "Alice", "uuid": "p1"}, {"sip": "sip:bob@example.net;user=phone", "name": "Bob", "uuid": "p2"}]
        (dialog,) = told["dialog"]
        sound = (made.folder / "r1.wav").read_bytes()
        assert dialog["parties"] == [0, 1] and dialog["mediatype"] == "audio/x-wav" and dialog["filename"] == "r1.wav" and dialog["url"] == "https://x/r1.wav"
        assert dialog["content_hash"] == "sha512-" + base64.urlsafe_b64encode(hashlib.sha512(sound).digest()).rstrip(b"=").decode()
        assert dialog["duration"] == 0.25
        assert told["attachments"] == [
            {"purpose": "rs-metadata", "start": "2026-01-02T03:04:05.500Z", "party": 0, "dialog": 0, "mediatype": "application/rs-metadata+xml", "encoding": "none",
             "body": "<recording/>"}
        ]  # fmt: skip
        assert told["uuid"] == made_of(made)["uuid"]


def test_inline_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with rig(tmp_path) as made:
        record(made.folder)
        (dialog,) = made_of(made, url_of=None)["dialog"]
        assert base64.urlsafe_b64decode(dialog["body"] + "==") == (made.folder / "r1.wav").read_bytes()
        monkeypatch.setattr(vcon, "INLINE_MAX_BYTES", 100)
        with pytest.raises(NotRecorded):
            vcon_of(made.catalogue, made.of(), at=NOW)


def test_legs_without_a_merged_file(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        record(made.folder)
        made.catalogue.scan()
        legs = made.catalogue.update("r1", lambda now: msgspec.structs.replace(now, files=tuple(file for file in now.files if file.role != "merged")))
        told = checked(vcon_of(made.catalogue, legs, at=NOW, url_of=lambda file: f"https://x/{file.tracks[0]}"))
        assert [(dialog["parties"], dialog["url"]) for dialog in told["dialog"]] == [([0], "https://x/0"), ([1], "https://x/1")]


def test_who_came_and_went_held_and_was_muted(tmp_path: Path) -> None:
    parties = (
        Party(place=0, participant_id="a", aor="tel:+4930123456", joined="2026-01-02T03:04:05+01:00", left="2026-01-02T03:04:09"),
        Party(place=3, participant_id="b", aor="+14155552671", name='B "x"', joined="nonsense"),
        Party(place=5, participant_id="c", aor="sip:+33123456789@x;user=phone"),
    )
    channels = (ChannelFacts(index=0, parties=(0, 5)), ChannelFacts(index=1, parties=(3, 99)), ChannelFacts(index=2))
    session = msgspec.structs.replace(
        facts("r1", "c1"), participants=parties, channels=channels,
        session_ids=("ab30317f1a784dc48ff824d0d3715d86;remote=47755a9de7794ba387653f2099600ef2", "nothing"),
    )  # fmt: skip
    intervals = (Interval(type="hold", start_ms=1000, end_ms=2000, tracks=(1,)), Interval(type="pause", start_ms=2000, end_ms=3000), Interval(type="gap", start_ms=0, end_ms=1))
    with rig(tmp_path) as made:
        record(made.folder, legs=3, document=SessionDocument(session=session), intervals=intervals)
        told = made_of(made)
        assert [party.get("tel") for party in told["parties"]] == ["tel:+4930123456", "tel:+14155552671", "tel:+33123456789"]
        (dialog,) = told["dialog"]
        assert dialog["parties"] == [[0, 2], 1, None]
        assert dialog["session_id"] == {"local": "ab30317f1a784dc48ff824d0d3715d86", "remote": "47755a9de7794ba387653f2099600ef2"}
        events = [(event["party"], event["event"]) for event in dialog["party_history"]]
        assert events == [
            (0, "join"), (1, "hold"), (1, "unhold"), (0, "mute"), (1, "mute"), (2, "mute"), (0, "unmute"), (1, "unmute"), (2, "unmute"), (0, "drop"),
        ]  # fmt: skip
        assert dialog["party_history"][0]["time"] == "2026-01-02T02:04:05.000Z" and dialog["party_history"][1]["time"] == "2026-01-02T03:04:06.500Z"


def test_without_a_document_channels_are_the_parties(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        record(made.folder, document=False)
        told = made_of(made)
        assert told["parties"] == [{"name": "1"}, {"name": "2"}]
        assert told["dialog"][0]["parties"] == [0, 1] and told["attachments"] == []


def test_transcript_and_redaction(tmp_path: Path) -> None:
    content = b'{"segments":[{"text":"hello"}]}'
    with rig(tmp_path) as made:
        record(made.folder)
        (made.folder / "r1.transcript.json").write_bytes(content)
        made.catalogue.scan()
        file = KeptFile(
            name="r1.transcript.json", role="transcript", path="r1.transcript.json", format="json", bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
        )
        before = made_of(made)["uuid"]
        redactions = (Interval(type="pii", start_ms=0, end_ms=100, tracks=(0,)),)
        made.catalogue.update("r1", lambda now: msgspec.structs.replace(now, files=(*now.files, file), redactions=redactions))
        told = made_of(made)
        assert told["analysis"][0]["body"] == {"segments": [{"text": "hello"}]} and told["analysis"][0]["type"] == "transcript"
        assert told["redacted"] == {"type": "pii"} and told["uuid"] != before


def test_metadata_in_any_bytes(tmp_path: Path) -> None:
    raw = "<name>Zo\u00eb \U0001f408</name>".encode() + b"\xff"
    bodies = (
        Body(at=BEGAN, direction="in", method="INVITE", content_type="application/rs-metadata", content=raw.decode("latin-1")),
        Body(at=BEGAN, direction="out", method="INVITE", content_type="application/rs-metadata+xml", content="ours"),
        Body(at=BEGAN, direction="in", method="INVITE", content_type="application/sdp", content="v=0"),
    )
    with rig(tmp_path) as made:
        record(made.folder, document=SessionDocument(session=facts("r1", "c1"), bodies=bodies))
        (only,) = made_of(made)["attachments"]
        assert only["body"] == "<name>Zo\u00eb \U0001f408</name>\ufffd"
