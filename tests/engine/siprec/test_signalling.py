"""The document beside a recording: bounded, whole whenever a process dies, and named when its recording is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from engine.media.staging import Folder
from engine.siprec.document import SUFFIX, SessionDocument
from engine.siprec.facts import SessionFacts
from engine.siprec.signalling import (
    BODIES_MAX,
    BYTES_MAX,
    DRAFTS_MAX,
    Bodies,
    Journal,
    finish_left,
    read_draft,
)


def document(name: str = "r1", warnings: tuple[str, ...] = ()) -> SessionDocument:
    return SessionDocument(session=SessionFacts(call_id="call@x", recording_id=name, warnings=warnings))


def read(path: Path) -> SessionDocument:
    return msgspec.json.decode(path.read_bytes(), type=SessionDocument)


def test_of_too_many_bodies_the_first_and_the_latest_are_kept() -> None:
    bodies = Bodies()
    for number in range(BODIES_MAX + 10):
        bodies.add(float(number), "in", "UPDATE", "application/rs-metadata", b"%d" % number)
    kept = [one.content for one in bodies.all()]
    assert len(kept) == BODIES_MAX and kept[0] == "0" and kept[1] == "11" and kept[-1] == str(BODIES_MAX + 9) and bodies.dropped == 10
    large = Bodies()
    for _ in range(20):
        large.add(0.0, "in", "UPDATE", "application/rs-metadata", bytes(1 << 20))
    assert sum(len(one.content) for one in large.all()) <= BYTES_MAX
    large.add(0.0, "in", "INFO", "x", bytes(range(256)))
    assert large.all()[-1].content.encode("latin-1") == bytes(range(256))


def drafted(folder: Path) -> tuple[str, ...]:
    return read_draft((folder / ".r1.siprec.part").read_bytes()).session.warnings


def test_a_draft_that_is_torn_is_as_it_was_before() -> None:
    first, second = (msgspec.json.encode(document(warnings=(text,))) for text in ("first", "second"))
    for length in range(len(second)):
        assert read_draft(first + b"\n" + second[:length]).session.warnings == ("first",)
    assert read_draft(first + b"\n" + second).session.warnings == ("second",)


def test_keys_of_media_are_not_kept() -> None:
    bodies = Bodies()
    line = b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4 FEC_ORDER=FEC_SRTP\r\n"
    bodies.add(0.0, "in", "INVITE", "application/sdp", b"v=0\r\n" + line)
    assert bodies.all()[0].content == "v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:[REDACTED]|2^20|1:4 FEC_ORDER=FEC_SRTP\r\n"


def test_a_hundred_changes_are_few_writes_and_the_last_is_there(tmp_path: Path) -> None:
    writes = 0

    async def case() -> None:
        folder = Folder(tmp_path)
        changes = 0

        async def in_thread(work: Any) -> None:
            nonlocal writes
            writes += 1
            await asyncio.to_thread(work)

        journal = Journal(folder, "r1", lambda: document(warnings=(str(changes),)), in_thread)
        for number in range(100):
            changes = number
            journal.changed()
        for _ in range(200):
            await asyncio.sleep(0.005)
            if (tmp_path / ".r1.siprec.part").exists() and drafted(tmp_path) == ("99",):
                break
        assert drafted(tmp_path) == ("99",) and writes <= 3
        for number in range(3 * DRAFTS_MAX):
            changes = number
            journal.changed()
            while drafted(tmp_path) != (str(number),):
                await asyncio.sleep(0.001)
        assert (tmp_path / ".r1.siprec.part").read_bytes().count(b"\n") <= DRAFTS_MAX
        changes = 100
        beside = await journal.finish()
        assert msgspec.json.decode(beside.files[SUFFIX], type=SessionDocument).session.warnings == ("100",)
        assert beside.drafts == (".r1.siprec.part",)
        journal.changed()
        await journal.forget()
        assert list(tmp_path.iterdir()) == []

    asyncio.run(case())


def test_what_a_dead_process_left_gets_its_name_where_there_is_a_recording(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for name in ("sealed", "running", "nothing"):
        (tmp_path / f".{name}.siprec.part").write_bytes(msgspec.json.encode(document(name)) + b"\n")
    (tmp_path / ".torn.siprec.part").write_bytes(b'{"session":')
    for name in ("sealed.json", "torn.json", ".running.recording"):
        (tmp_path / name).write_bytes(b"{}")
    assert finish_left(folder) == ["sealed"] and finish_left(folder) == []
    assert read(tmp_path / "sealed.siprec.json").session.state == "ended"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".running.recording", ".running.siprec.part", ".torn.siprec.part", "sealed.json", "sealed.siprec.json", "torn.json",
    ]  # fmt: skip
