"""Transcription jobs: only files of the recordings, and the urgent ones first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.speech.jobs import NoAudio, Wanted, confined, row_of, status_of


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    (folder / "sub").mkdir(parents=True)
    for path in (folder / "a.wav", folder / "sub" / "b.wav", tmp_path / "secret.wav"):
        path.write_bytes(b"RIFF")
    return folder


def test_a_file_of_the_recordings_is_found_by_its_path(recordings: Path) -> None:
    assert confined(recordings, "a.wav") == recordings / "a.wav"
    assert confined(recordings, str(recordings / "sub" / "b.wav")) == recordings / "sub" / "b.wav"
    assert confined(recordings, "sub/../a.wav") == recordings / "a.wav"


@pytest.mark.parametrize("told", ["../secret.wav", "/etc/passwd", "", "none.wav", ".", "sub", "a.wav\0", "sub/../../secret.wav", "x" * 5000, "a.wav/x"])
def test_what_lies_elsewhere_is_none(recordings: Path, told: str) -> None:
    with pytest.raises(NoAudio):
        confined(recordings, told)


def test_links_lead_nowhere(recordings: Path) -> None:
    (recordings / "link.wav").symlink_to(recordings.parent / "secret.wav")
    (recordings / "out").symlink_to(recordings.parent)
    os.mkfifo(recordings / "pipe.wav")
    for told in ("link.wav", "out/secret.wav", "pipe.wav"):
        with pytest.raises(NoAudio):
            confined(recordings, told)


def test_the_urgent_come_first_and_of_these_the_first() -> None:
    rows = [row_of(str(at), Wanted(audio_path="a", priority=priority), owner="x", team=None, now=1.7e9 + at) for at, priority in enumerate((3, 2, 1, 2, 1))]
    assert [row.id for row in sorted(rows, key=lambda row: row.run_at)] == ["2", "4", "1", "3", "0"]
    assert all(row.run_at <= row.created_at for row in rows) and {status_of(row) for row in rows} == {"queued"}
