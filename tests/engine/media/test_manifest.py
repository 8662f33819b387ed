"""Manifests: what they say, their chain, and what is noticed when a file was changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from engine.media import manifest as manifests
from engine.media.manifest import ChainHead, Channel, Interval, Manifest, RecordedFile


def sample(*files: RecordedFile) -> Manifest:
    return Manifest(
        recording_id="r1", call_id="c@1", start="2026-01-02T03:04:05.678Z", end="2026-01-02T03:04:06.678Z", duration_ms=1000, state="complete",
        files=files, channels=(Channel(0, "a", "Ä", ssrc=(1, 2), lost=3),), intervals=(Interval("pause", 10, 20, "card", "api"),),
    )  # fmt: skip


def recorded(path: Path, name: str) -> RecordedFile:
    content = (path / name).read_bytes()
    return RecordedFile(name, "wav", "pcm16", 8000, 1, len(content), hashlib.sha256(content).hexdigest(), (0,))


def test_it_is_read_as_it_was_written_and_its_fields_have_their_names(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    told = sample(recorded(tmp_path, "a.wav"))
    (tmp_path / "r1.json").write_bytes(manifests.encode(told))
    assert manifests.read(tmp_path / "r1.json") == told
    plain = msgspec.json.decode((tmp_path / "r1.json").read_bytes())
    assert list(plain) == [
        "manifest_version", "recording_id", "call_id", "start", "end", "duration_ms", "state", "files", "channels", "intervals", "warnings",
        "prev_manifest_sha256",
    ]  # fmt: skip
    assert plain["files"][0] == {
        "path": "a.wav", "format": "wav", "codec": "pcm16", "rate_hz": 8000, "channels": 1, "bytes": 1,
        "sha256": hashlib.sha256(b"x").hexdigest(), "tracks": [0],
    }  # fmt: skip
    assert plain["channels"] == [{"index": 0, "label": "a", "name": "Ä", "ssrc": [1, 2], "lost": 3}]
    assert plain["intervals"] == [{"type": "pause", "start_ms": 10, "end_ms": 20, "reason": "card", "actor": "api"}]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (None, []),
        (b"changed", ["a.wav: 7 bytes, not 5"]),
        (b"sAmes", ["a.wav: its content was changed"]),
        (b"", ["a.wav: 0 bytes, not 5"]),
    ],
)
def test_a_changed_file_is_noticed(tmp_path: Path, change: bytes | None, told: list[str]) -> None:
    (tmp_path / "a.wav").write_bytes(b"sames")
    (tmp_path / "r1.json").write_bytes(manifests.encode(sample(recorded(tmp_path, "a.wav"))))
    if change is not None:
        (tmp_path / "a.wav").write_bytes(change)
    assert manifests.problems(tmp_path / "r1.json") == told


def test_missing_and_unreadable_things_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"same")
    there = recorded(tmp_path, "a.wav")
    outside = msgspec.structs.replace(there, path="../a.wav")
    (tmp_path / "r1.json").write_bytes(manifests.encode(sample(there, outside)))
    (tmp_path / "a.wav").unlink()
    assert manifests.problems(tmp_path / "r1.json") == ["a.wav: No such file or directory", "../a.wav: is not beside the manifest"]
    (tmp_path / "r2.json").write_bytes(b"{")
    assert len(manifests.problems(tmp_path / "r2.json")) == len(manifests.problems(tmp_path / "none.json")) == 1


def test_the_head_of_the_chain_is_the_last_manifest_that_came_to_be() -> None:
    content = b"the manifest"
    digest = hashlib.sha256(content).hexdigest()
    head = msgspec.json.encode(ChainHead(before="b4", name="m.json", sha256=digest))
    files = {"m.json": content}

    def read(name: str) -> bytes:
        if name not in files:
            raise FileNotFoundError(name)
        return files[name]

    assert manifests.chain_head(head, read) == digest
    files["m.json"] = b"another"
    assert manifests.chain_head(head, read) == "b4"
    del files["m.json"]
    assert manifests.chain_head(head, read) == "b4"
    assert manifests.chain_head(b"", read) == manifests.chain_head(b"{broken", read) == ""
