"""Hostile recording metadata: whatever comes, it is read or refused, within its limits, and a view of it never contradicts itself."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from engine.siprec.compose import document
from engine.siprec.elements import TEXT_MAX
from engine.siprec.metadata import (
    EXTENSION_TEXT_MAX,
    OBJECTS_MAX,
    WARNINGS_MAX,
    Metadata,
    MetadataError,
    parse,
)
from engine.siprec.vendor import correlation_of, policy_of, roles_of, vendor_of
from engine.siprec.view import OfferedLine, View, channels, check, order_of
from tests.engine.siprec import shaped

DOCUMENTS = tuple(shaped.parts(name).metadata for name in shaped.NAMES if name not in shaped.WITHOUT_METADATA)
PARTIALS = tuple((shaped.FOLDER / f"{name}.xml").read_bytes() for name in ("rfc_partial_hold", "rfc_partial_transfer"))
PIECES = (
    b"<", b">", b"/>", b"</", b"&", b"&amp;", b"&#0;", b"&#xD800;", b"&x;", b"<!DOCTYPE r [<!ENTITY x 'y'>]>", b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<?xml version='1.0'?>",
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\r\n", b"'", b'"', b" xmlns='urn:x'", b" xmlns:tns='urn:y'", b"<participant id='p'>", b"<send>1</send>", b"<datamode>partial</datamode>",
    b"<disassociate-time>2026-01-01T00:00:00Z</disassociate-time>", b"<stream stream_id='' session_id=''><label>1</label></stream>", b"<participantstreamassoc/>",
    b"<nameID aor='sip:ASBCE@asbce.com'/>", b"<callingParty>true</callingParty>", b"<stop-time>x</stop-time>", b"\xe2\x80\xae", b"x" * 3000, b"participant_id=''",
)  # fmt: skip
LINES = tuple(OfferedLine(index=index, label=label, cname=cname) for index, (label, cname) in enumerate((("1", ""), ("2", "sip:4401@x"), ("1", "a"), ("", ""), ("96", ""))))
AT = 1_800_000_000.0


def mutated(random: Random, text: bytes) -> bytes:
    """The text with one to eight changes: pieces put in, bytes cut or changed, elements moved or doubled, ends cut off."""
    for _ in range(random.randint(1, 8)):
        at, kind = random.randrange(len(text) + 1), random.random()
        if kind < 0.4:
            text = text[:at] + random.choice(PIECES) + text[at:]
        elif kind < 0.55:
            text = text[:at] + text[at + random.randint(1, 40) :]
        elif kind < 0.7:
            text = text[:at] + bytes([random.randrange(256)]) + text[at + 1 :]
        elif kind < 0.95:
            elements = text.split(b"><")
            elements.insert(random.randrange(len(elements) + 1), elements.pop(random.randrange(len(elements))))
            elements.insert(random.randrange(len(elements) + 1), random.choice(elements))
            text = b"><".join(elements)
        else:
            text = text[:at]
    return text


def texts_of(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in texts_of(part)]
    return [text for part in value for text in texts_of(part)] if isinstance(value, list | tuple) else []


def bounded(metadata: Metadata) -> None:
    plain = msgspec.to_builtins(metadata)
    for name in ("groups", "sessions", "participants", "streams", "session_recordings", "participant_sessions", "participant_streams"):
        assert len(plain.get(name, ())) <= OBJECTS_MAX
    assert len(metadata.warnings) <= WARNINGS_MAX + 2
    assert all(text.isprintable() and len(text) <= EXTENSION_TEXT_MAX for text in texts_of(plain))
    assert all(len(text) <= TEXT_MAX for name, objects in plain.items() if name != "extensions" for text in texts_of(objects))


def read(body: bytes) -> Metadata | None:
    try:
        metadata = parse(body)
    except MetadataError as error:
        assert str(error).isprintable()
        return None
    bounded(metadata)
    return metadata


@pytest.mark.parametrize("seed", range(6))
def test_whatever_comes_is_read_or_refused(seed: int) -> None:
    random = Random(seed)
    message = shaped.message("oracle")
    refused = 0
    for _ in range(250):
        metadata = read(mutated(random, random.choice(DOCUMENTS)))
        if metadata is None:
            refused += 1
            continue
        vendor = vendor_of(message, metadata)
        keys = correlation_of(message, metadata, vendor)
        assert len(keys) <= 64 and all(key.partition(":")[2] for key in keys)
        assert set(roles_of(metadata).values()) <= {"caller", "callee", "agent", "customer"}
        assert policy_of(message, metadata).source in ("metadata", "global")
    assert 0 < refused < 200  # the changes are neither harmless nor the end of everything


@pytest.mark.parametrize("seed", range(6))
def test_a_view_of_anything_stays_true_to_itself(seed: int) -> None:
    """Places never move, the same document twice changes nothing, every m= line has an answer, and what is sent back is read."""
    random = Random(100 + seed)
    view, places = View(), list[str]()
    at = AT
    for _ in range(120):
        source = random.choice(DOCUMENTS + PARTIALS) if random.random() < 0.5 else mutated(random, random.choice(DOCUMENTS + PARTIALS))
        metadata = read(source)
        if metadata is None:
            continue
        at += 1
        view.apply(metadata, at)
        parties = view.participants
        assert [party.participant_id for party in parties][: len(places)] == places
        assert [party.place for party in parties] == list(range(len(parties)))
        places = [party.participant_id for party in parties]
        assert not view.apply(metadata, at + 0.5)
        found = channels(view, LINES)
        present = set(view.present)
        assert [channel.index for channel in found] == [line.index for line in LINES]
        assert all(set(channel.parties) <= present and not set(channel.parties) & set(channel.former) for channel in found)
        assert sorted(order_of(view, found)) == list(range(len(LINES)))
        assert all(text.isprintable() and len(text) < 400 for text in check(view, LINES))
        assert read(document(view, recording_session_id="r", sequence=1)) is not None


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_are_refused(seed: int) -> None:
    random = Random(200 + seed)
    for _ in range(300):
        assert read(random.randbytes(random.randrange(200))) is None
        assert read(b"<" + bytes(random.choice(b"<>/&='\" abrecording:\n") for _ in range(random.randrange(120)))) is None
