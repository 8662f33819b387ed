"""What was said, on the disk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from engine.analytics import transcripts
from engine.analytics.speakers import Key, Speaker
from engine.analytics.transcripts import (
    Line,
    TranscriptDocument,
    TranscriptFiles,
    part_name,
    segment_of,
    text_of,
)
from engine.media.errors import RecordingRefused
from engine.siprec.events import Word
from tests.engine.analytics.calls import CALL, RECORDING, said

BOB = Speaker(key=Key(1, 2), label="agent", id="p-2", name="Bob", role="agent")


ALICE_KEY = Key(0, 0)


def line(text: str, begin: float = 0.0, key: Key = ALICE_KEY) -> Line:
    speaker = Speaker(key=key, label=f"speaker-{key.channel + 1}")
    return Line(key=key, segment=segment_of(said(text, begin, channel=key.channel, words=(Word(text, begin, begin + 1),)), speaker))


def play(folder: Path, work: Callable[[TranscriptFiles], Awaitable[None]]) -> None:
    async def run() -> None:
        files = TranscriptFiles(folder)
        try:
            await work(files)
        finally:
            await files.close()

    asyncio.run(run())


def read(path: Path) -> TranscriptDocument:
    return msgspec.json.decode(path.read_bytes(), type=TranscriptDocument)


def test_what_was_said_becomes_a_document(tmp_path: Path) -> None:
    async def work(files: TranscriptFiles) -> None:
        files.keep(CALL, RECORDING, line("second", 5.0, Key(1, 2)))
        await files.flush()
        assert (tmp_path / part_name(RECORDING)).stat().st_mode & 0o777 == 0o600
        files.keep(CALL, RECORDING, line("first", 1.0))
        assert await files.finish(RECORDING, f"{RECORDING}-2.json", {Key(1, 2): BOB}, {"keywords": []}) == f"{RECORDING}-2.transcript.json"

    play(tmp_path, work)
    document = read(tmp_path / f"{RECORDING}-2.transcript.json")
    assert (document.call_id, document.recording_id, document.language, document.providers, document.duration_ms) == (CALL, RECORDING, "en-US", ("test",), 6000)
    assert [(each.text, each.speaker, each.name, each.channel) for each in document.segments] == [("first", "speaker-1", "", 0), ("second", "agent", "Bob", 1)]
    assert document.segments[0].words == (Word("first", 1.0, 2.0),) and document.analytics == {"keywords": []}
    assert text_of(document) == "speaker-1: first\nagent: second"
    assert os.listdir(tmp_path) == [f"{RECORDING}-2.transcript.json"]


def test_of_a_call_without_a_word_there_is_none(tmp_path: Path) -> None:
    async def work(files: TranscriptFiles) -> None:
        assert await files.finish(RECORDING, f"{RECORDING}.json", {}, None) == ""

    play(tmp_path, work)
    assert os.listdir(tmp_path) == []


def test_finishing_twice_says_the_same(tmp_path: Path) -> None:
    async def work(files: TranscriptFiles) -> None:
        files.keep(CALL, RECORDING, line("hello"))
        first = await files.finish(RECORDING, f"{RECORDING}.json", {}, None)
        assert first == await files.finish(RECORDING, f"{RECORDING}.json", {}, None) == f"{RECORDING}.transcript.json"

    play(tmp_path, work)


def test_what_a_process_that_died_left_is_gone_on_with(tmp_path: Path) -> None:
    async def first(files: TranscriptFiles) -> None:
        files.keep(CALL, RECORDING, line("before", 1.0))

    async def second(files: TranscriptFiles) -> None:
        with (tmp_path / part_name(RECORDING)).open("ab") as part:
            part.write(b'{"key":[0,0,""],"segment":{"start":2.0,"te')
        files.keep(CALL, RECORDING, line("after", 9.0))
        await files.finish(RECORDING, f"{RECORDING}.json", {}, None)

    play(tmp_path, first)
    play(tmp_path, second)
    assert [each.text for each in read(tmp_path / f"{RECORDING}.transcript.json").segments] == ["before", "after"]


@pytest.mark.parametrize("recording_id", ["../escape", "a/b", "", ".hidden", "x" * 300, "nul\0"])
def test_an_id_that_is_no_name_is_no_path(tmp_path: Path, recording_id: str) -> None:
    folder = tmp_path / "inside"

    async def work(files: TranscriptFiles) -> None:
        files.keep(CALL, recording_id, line("secret"))
        await files.flush()
        assert files.lost == 1
        for named in ((recording_id, "rec.json"), ("rec", f"{recording_id}.json")):
            with pytest.raises(RecordingRefused):
                await files.finish(*named, {}, None)

    play(folder, work)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    folder, outside = tmp_path / "inside", tmp_path / "outside"
    folder.mkdir()
    outside.write_text("mine")
    (folder / part_name(RECORDING)).symlink_to(outside)

    async def work(files: TranscriptFiles) -> None:
        files.keep(CALL, RECORDING, line("secret"))
        await files.flush()
        assert files.problem
        await files.erase([CALL])

    play(folder, work)
    assert outside.read_text() == "mine"


def test_what_the_disk_does_not_take_waits_and_is_written_later(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.write_text("in the way")

    async def work(files: TranscriptFiles) -> None:
        files.keep(CALL, RECORDING, line("first", 1.0))
        await files.flush()
        assert files.problem and files.lost == 0
        with pytest.raises(OSError, match="cannot be written"):
            await files.finish(RECORDING, f"{RECORDING}.json", {}, None)
        folder.unlink()
        files.keep(CALL, RECORDING, line("second", 2.0))
        await files.finish(RECORDING, f"{RECORDING}.json", {}, None)
        assert files.problem == ""

    play(folder, work)
    assert [each.text for each in read(folder / f"{RECORDING}.transcript.json").segments] == ["first", "second"]


def test_what_waits_and_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "WAITING_MAX_BYTES", 2000)
    monkeypatch.setattr(transcripts, "PART_MAX_BYTES", 3000)

    async def work(files: TranscriptFiles) -> None:
        for _ in range(50):
            files.keep(CALL, RECORDING, line("x" * 100))
        waiting_lost = files.lost
        assert 40 < waiting_lost < 50
        await files.flush()
        for _ in range(50):
            files.keep(CALL, RECORDING, line("x" * 100))
            await files.flush()
        assert files.lost > waiting_lost

    play(tmp_path, work)
    assert (tmp_path / part_name(RECORDING)).stat().st_size <= 3000


def test_erasing_takes_what_waits_and_what_lies_there(tmp_path: Path) -> None:
    async def work(files: TranscriptFiles) -> None:
        files.keep(CALL, RECORDING, line("secret"))
        files.keep("other", "rec-2", line("kept"))
        await files.flush()
        files.keep(CALL, RECORDING, line("secret too"))
        assert await files.erase([CALL]) == []

    play(tmp_path, work)
    assert os.listdir(tmp_path) == [part_name("rec-2")]
    assert b"secret" not in (tmp_path / part_name("rec-2")).read_bytes()
