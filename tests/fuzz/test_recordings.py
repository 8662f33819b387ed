"""Files beside recordings that anything may have happened to, and texts of strangers: an error that says so, or nothing; never another."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import msgspec
import pytest

from api.routes.recordings import range_of
from engine.errors import EngineError
from engine.recordings.addresses import address_of
from engine.recordings.catalogue import Catalogue
from engine.recordings.index import rows_of
from engine.recordings.record import Record
from tests.engine.recordings.rig import BEGAN, record

ROUNDS = 600


@pytest.fixture(autouse=True)
def quick_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: os.fstat(fd) and None)


def changed(chance: Random, content: bytes) -> bytes:
    """Some bytes are others, gone, or there twice."""
    made = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(made))
        what = chance.randrange(4)
        if what == 0:
            made[at] = chance.randrange(256)
        elif what == 1:
            del made[at : at + chance.randint(1, 40)]
        elif what == 2:
            made[at:at] = made[at : at + chance.randint(1, 40)]
        else:
            made[at : at + 1] = chance.choice([b"-1", b"1e400", b'"\\u0000"', b"null", b"[[", b"99999999999999999999", b"../../x"])
        made = made or bytearray(b"{}")
    return bytes(made)


@pytest.mark.slow
def test_whatever_lies_beside_a_recording_keeps_no_other(tmp_path: Path) -> None:
    chance = Random(6)
    folder = tmp_path / "recordings"
    record(folder, "good")
    sources = {name: (folder / name).read_bytes() for name in ("good.json", "good.siprec.json")}
    catalogue = Catalogue(folder)
    assert catalogue.scan() == ["good"]
    sources["good.record"] = (folder / "good.record").read_bytes()
    taken = 0
    for number in range(ROUNDS):
        id = f"x{number}"
        for name, content in sources.items():
            rest = name.partition(".")[2]
            if rest != "record" or chance.random() < 0.3:
                content = content.replace(b'"good', f'"{id}'.encode())
                (folder / f"{id}.{rest}").write_bytes(changed(chance, content) if chance.random() < 0.6 else content)
        os.utime(folder / f"{id}.json", (BEGAN, BEGAN))
        for found in catalogue.scan():
            taken += 1
            told = catalogue.of_recording(found)
            catalogue.locations(told)
            for file in told.files:
                if Path(file.path).name != file.path:
                    continue
                try:
                    b"".join(catalogue.read_audio(told, file))
                except (EngineError, OSError, ValueError):
                    continue
            try:
                manifest = catalogue.manifest(told)
            except EngineError:
                continue
            try:
                rows_of(told, manifest, catalogue.document(told), b"{}", machine="here", now=1.0)
            except (OverflowError, ValueError):  # times that no calendar has
                continue
        for path in folder.glob(f"{id}.*"):
            path.unlink()
    assert taken > ROUNDS // 20
    assert catalogue.of_recording("good").recording_id == "good" and catalogue.verify(catalogue.of_recording("good")) == []
    catalogue.close()


def test_ranges_are_within_the_file_or_none() -> None:
    chance = Random(7)
    for _ in range(20_000):
        text = "".join(chance.choice(["bytes=", "-", ",", " ", "0", "1", "99", "9" * 18, "9" * 30, "x", "\u0664"]) for _ in range(chance.randint(0, 5)))
        size = chance.choice([0, 1, 2, 100, 10**12])
        if (span := range_of(text, size)) is not None:
            first, last, status = span
            assert (status == 200 and (first, last) == (0, size - 1)) or (status == 206 and 0 <= first <= last < size), text


def test_addresses_of_anybody_are_two_texts() -> None:
    chance = Random(8)
    for _ in range(20_000):
        text = "".join(chance.choice(["sip:", "tel:", "<", ">", "@", ";", "?", ":", "+", "1", "a", "\0", "\ud800", " "]) for _ in range(chance.randint(0, 12)))
        user, host = address_of(text)
        assert len(user) + len(host) <= len(text)


def test_keys_of_any_text_are_found(tmp_path: Path) -> None:
    chance = Random(9)
    catalogue = Catalogue(tmp_path)
    for number in range(50):
        key = "".join(chance.choice("ab:%'\"\0\u00e9") for _ in range(chance.randint(0, 400)))


        seed = Record(
            recording_id=f"r{number}", call_id=key[::-1], manifest="m", manifest_sha256="", stage="done", started_at=1.0, duration_ms=1, correlation=(key,), indexed=True
        )
        catalogue.save(seed)
        assert f"r{number}" in [found.recording_id for found in catalogue.with_keys([key])]
        assert f"r{number}" in [found.recording_id for found in catalogue.of_call(key[::-1])]
    assert msgspec.json.decode((tmp_path / "r3.record").read_bytes())["recording_id"] == "r3"
    catalogue.close()
