"""Recordings of one call: linked, recognised as the same, or made one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from engine.media.wav import WavFile
from engine.recordings import stitch
from engine.recordings.catalogue import chosen
from engine.siprec.document import SessionDocument
from tests.engine.media.rig import speech
from tests.engine.recordings.rig import ALICE, BEGAN, BOB, Rig, facts, met, record, rig


@pytest.fixture(autouse=True)
def quick_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: os.fstat(fd) and None)


def samples(path: Path) -> Any:
    with WavFile(path) as file:
        return file.read(0, 10**8)


def bridge(made: Rig, id: str, end: str, *, began: float, sound: Any, keys: Sequence[str] = ("refci:1001", "refci:1002"), rate_hz: int = 8000, **more: Any) -> None:
    """One direction of a phone's built-in bridge."""
    session = facts(id, f"{id}@cucm", legs=1, correlation=tuple(keys), participants=(ALICE,))
    headers = (("From", f'"1001" <sip:1001@cucm;x-{end};x-refci=1001;x-farendrefci=1002>;tag=1'),)
    seconds = len(sound) / rate_hz
    record(made.folder, id, f"{id}@cucm", legs=1, sound=[sound], began=began, seconds=seconds, rate_hz=rate_hz, document=SessionDocument(session=session, headers=headers), **more)


# ---- links ----


def test_recordings_that_share_a_key_name_each_other(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        record(made.folder, "r1", "a@x", correlation=("group:g1", "ucid:01"))
        record(made.folder, "r2", "b@x", correlation=("group:g1", "ucid:02"), began=BEGAN + 1)
        record(made.folder, "r3", "c@x", correlation=("ucid:02",), began=BEGAN + 20)
        record(made.folder, "r4", "d@x", correlation=("ucid:03",))
        record(made.folder, "r5", "e@x", correlation=("group:g1",), began=BEGAN + 3 * 86_400)
        made.work()
        assert {id: made.of(id).linked for id in ("r1", "r2", "r3", "r4", "r5")} == {"r1": ("r2",), "r2": ("r1", "r3"), "r3": ("r2",), "r4": (), "r5": ()}
        assert all(made.of(f"r{number}").duplicate_of == "" for number in range(1, 6))
        assert stitch.link(made.catalogue, made.of("r1")) == []


def test_one_call_recorded_at_both_sides_is_recognised(tmp_path: Path) -> None:
    inside = (ALICE, BOB)
    with rig(tmp_path) as made:
        record(made.folder, "in", "a@x", seconds=1.0, participants=inside)
        outside = tuple(msgspec.structs.replace(party, aor=party.aor.replace("example", "carrier")) for party in inside)
        record(made.folder, "out", "b@x", seconds=0.9, began=BEGAN + 0.05, participants=outside)
        record(made.folder, "third", "c@x", seconds=0.9, began=BEGAN + 0.06, participants=inside)
        record(made.folder, "consultation", "d@x", seconds=0.3, began=BEGAN + 0.3, participants=(BOB, msgspec.structs.replace(ALICE, aor="sip:carol@x")))
        record(made.folder, "after", "e@x", seconds=0.5, began=BEGAN + 2, participants=inside)
        made.work()
        assert {id: made.of(id).duplicate_of for id in ("in", "out", "third", "consultation", "after")} == {
            "in": "", "out": "in", "third": "in", "consultation": "", "after": "",
        }  # fmt: skip
        assert all((made.folder / f"{id}.wav").exists() for id in ("in", "out", "third"))


def test_the_order_in_which_they_come_changes_nothing(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        record(made.folder, "later", "b@x", seconds=1.0, began=BEGAN + 0.1)
        made.work()
        assert made.of("later").duplicate_of == ""
        record(made.folder, "first", "a@x", seconds=1.0)
        made.work()
        assert made.of("later").duplicate_of == "first" and made.of("first").duplicate_of == ""


def test_a_key_that_everybody_has_costs_no_more_than_some(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        for number in range(6):
            record(made.folder, f"r{number}", f"{number}@x", seconds=0.02, correlation=("ucid:0",), began=BEGAN + number, document=True)
        made.catalogue.scan()
        near = made.catalogue.lookup.near(["ucid:0"], BEGAN + 3, 2.5, 3)
        assert near == ["r3", "r2", "r4"]


# ---- two directions ----


def test_both_directions_of_a_bridge_become_one_file_on_one_timeline(tmp_path: Path) -> None:
    near, far = speech(8000, 1), speech(6000, 2)
    with rig(tmp_path) as made:
        bridge(made, "far", "farend", began=BEGAN, sound=far)
        bridge(made, "near", "nearend", began=BEGAN + 0.25, sound=near)
        made.work()
        made_one, other = made.of("far"), made.of("near")
        assert made_one.linked == ("near",) and other.linked == ("far",)
        assert [file.name for file in other.files] == ["near-leg0.wav", "near.wav", "near.siprec.json"]
        file = chosen(made_one, None)
        assert (file.name, file.role, file.tracks) == ("far.combined.wav", "merged", (0, 1))
        heard = samples(made.folder / file.path)
        assert heard.shape == (2000 + 8000, 2)
        assert np.array_equal(heard[2000:, 0], near) and not heard[:2000, 0].any()  # the phone's own voice first
        assert np.array_equal(heard[:6000, 1], far) and not heard[6000:, 1].any()
        assert made_one.duplicate_of == other.duplicate_of == ""
        assert made.catalogue.verify(made_one) == []


def test_the_other_direction_is_waited_for_before_anything_is_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.recordings.pipeline.WAIT_S", 0.02)
    changes: dict[str, Any] = {"encryption": {"enable_recording_encryption": True}, "recording": {"format": "flac"}}
    with rig(tmp_path, changes) as made:
        made.now_s = BEGAN + 5.0
        bridge(made, "near", "nearend", began=BEGAN, sound=speech(8000, 1))

        async def scenario() -> None:
            pipeline = made.pipeline()
            await pipeline.start()
            await met(lambda: (made.folder / "near.record").exists())
            await asyncio.sleep(0.2)
            assert made.of("near").stage == "sealed"
            await asyncio.to_thread(bridge, made, "far", "farend", began=BEGAN + 0.5, sound=speech(8000, 2))
            await pipeline.adopt("far.json")
            await met(made.is_done)
            await pipeline.close()

        asyncio.run(scenario())
        file = chosen(made.of("near"), None)
        assert file.name == "near.combined.wav" and file.sealed is not None and file.format == "flac"
        assert made.catalogue.verify(made.of("near")) == []


def test_a_direction_whose_other_never_comes_goes_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.recordings.pipeline.WAIT_S", 0.02)
    with rig(tmp_path) as made:
        made.now_s = BEGAN + 5.0
        bridge(made, "near", "nearend", began=BEGAN, sound=speech(800, 1))
        bridge(made, "again", "nearend", began=BEGAN + 0.01, sound=speech(800, 2))  # two of the same direction are no pair

        async def scenario() -> None:
            pipeline = made.pipeline()
            await pipeline.start()
            await met(lambda: (made.folder / "near.record").exists())
            await asyncio.sleep(0.1)
            assert made.of("near").stage == "sealed"
            made.now_s = BEGAN + 60
            await met(made.is_done)
            await pipeline.close()

        asyncio.run(scenario())
        assert not [name for name in made.names() if "combined" in name]


def test_directions_of_two_rates_fit_one_another(tmp_path: Path) -> None:
    seconds = np.arange(16_000) / 16_000
    tone = (8000 * np.sin(2 * np.pi * 440 * seconds)).astype(np.int16)
    with rig(tmp_path) as made:
        bridge(made, "near", "nearend", began=BEGAN, sound=tone, rate_hz=16_000)
        bridge(made, "far", "farend", began=BEGAN, sound=np.ascontiguousarray(tone[::2]), rate_hz=8000)
        made.work()
        heard = samples(made.folder / "far.combined.wav").astype(float)
        assert heard.shape == (16_000, 2)
        assert np.array_equal(heard[:, 0], tone)
        middle = slice(2000, 14_000)
        assert np.corrcoef(heard[middle, 0], heard[middle, 1])[0, 1] > 0.999  # a sample late would be 0.985


def test_erasing_one_direction_takes_it_out_of_the_file_of_both(tmp_path: Path) -> None:
    changes = {"recording": {"storage": {"enabled": True, "folder": "elsewhere"}}}
    with rig(tmp_path, changes) as made:
        bridge(made, "near", "nearend", began=BEGAN, sound=speech(800, 1))
        bridge(made, "far", "farend", began=BEGAN + 0.01, sound=speech(800, 2))
        made.work()
        assert "near.combined.wav" in made.names()
        stored = {path.name for path in (tmp_path / "elsewhere").rglob("*.wav")}
        assert stored == {"near.wav", "near-leg0.wav", "near.combined.wav", "far.wav", "far-leg0.wav"}
        assert asyncio.run(made.catalogue.erase_call("far@cucm", by="ada")) == ()
        assert "near.combined.wav" not in made.names() and "near.wav" in made.names()
        assert {path.name for path in (tmp_path / "elsewhere").rglob("*.wav")} == {"near.wav", "near-leg0.wav"}
        left = made.of("near")
        assert [file.name for file in left.files] == ["near-leg0.wav", "near.wav", "near.siprec.json"]
        assert not any("combined" in url for url in made.catalogue.locations(left))
        assert made.catalogue.verify(left) == []
