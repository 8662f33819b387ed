"""Pauses on disk: whole or not at all, under names that tell nothing, for as long as they matter; what is none of ours is passed over."""

from __future__ import annotations

import os
import random
from pathlib import Path

import msgspec
import pytest

from engine.siprec.pauses import GROUP_OVER_S, LIVE_S, OVER_S, Found, Pauses, PauseState
from tests.engine.siprec.live_sessions import CALL_ID, NOW, Time

STATE = PauseState(recording_since=NOW, transcription_since=NOW, actor="desk", reason="card number")
HOSTILE = ["../../etc/passwd", "..", "/", "", "a" * 10_000, "\x00", "\ud800", "Ünïcode@hôst", "a\r\nb: c", "%2e%2e/", "-rf *"]


def pauses(folder: Path, now: float = NOW, **options: float) -> Pauses:
    """As a worker that was just started has them."""
    return Pauses(folder, Time(now), **options)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_state_is_found_by_each_of_its_names(tmp_path: Path) -> None:
    pauses(tmp_path).keep(CALL_ID, ["s-1", "s-2"], ["g-1"], STATE)
    after = pauses(tmp_path)
    for found in (after.find(CALL_ID), after.find("x", ["s-1"]), after.find("x", ["s-0", "s-2"]), after.find("x", [], ["g-1"])):
        assert found is not None
        assert found.state == STATE
    assert after.find("x", ["g-1"], ["s-1"]) is None
    assert after.find("x") is None


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in" / "here"
    pauses(folder).keep(name, [name], [name], STATE)
    found = pauses(folder).find(name, [name], [name])
    assert found is not None and found.state == STATE
    for path in files(tmp_path):
        assert path.parent.parent == folder
        assert len(path.name) == len(path.parent.name) == 32
        assert not name.strip("./ ") or name.encode("utf-8", "surrogatepass") not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0
    before = pauses(folder)
    before.drop(name, superseded=found.superseded)
    assert list(folder.iterdir()) == []


def test_states_of_several_sessions_are_joined_the_longest_pause_of_all(tmp_path: Path) -> None:
    kept = pauses(tmp_path)
    kept.keep("a", ["s"], [], PauseState(recording_since=NOW - 10, recording_until=NOW + 20))
    kept.keep("b", ["s"], [], PauseState(recording_since=NOW - 5, recording_until=NOW + 50, transcription_since=NOW))
    found = kept.find("c", ["s"])
    assert found is not None
    assert found.state == PauseState(recording_since=NOW - 10, recording_until=NOW + 50, transcription_since=NOW)
    kept.keep("d", ["s"], [], PauseState(recording_since=NOW - 1))
    found = kept.find("c", ["s"])
    assert found is not None
    assert (found.state.recording_since, found.state.recording_until) == (NOW - 10, None)


def test_names_that_are_no_longer_a_sessions_do_not_keep_its_state(tmp_path: Path) -> None:
    kept = pauses(tmp_path)
    kept.keep(CALL_ID, ["s-1"], ["g-1"], STATE)
    kept.keep(CALL_ID, ["s-2"], ["g-1"], STATE)
    assert kept.find("x", ["s-1"]) is None
    assert kept.find("x", ["s-2"]) is not None
    again = pauses(tmp_path)  # which does not know what its predecessor wrote
    found = again.find(CALL_ID)
    assert found is not None
    again.keep(CALL_ID, ["s-3"], [], STATE, superseded=found.superseded)
    assert again.find("x", ["s-2"], ["g-1"]) is None
    assert again.find("x", ["s-3"]) is not None
    again.drop(CALL_ID)
    assert files(tmp_path) == []


def test_what_was_taken_over_goes_from_all_its_places_and_a_groups_stays(tmp_path: Path) -> None:
    pauses(tmp_path).keep("first", ["s-1"], ["g-1"], STATE)
    pauses(tmp_path).keep("sibling", ["s-9"], ["g-1"], STATE)
    after = pauses(tmp_path)
    found = after.find("second", ["s-1"], ["g-1"])
    assert found is not None
    after.keep("second", ["s-1"], ["g-1"], found.state, superseded=found.superseded)
    after.drop("second")
    assert after.find("first", ["s-1"]) is None
    assert after.find("x", [], ["g-1"]) is not None  # the sibling is paused still


def test_states_expire_sooner_when_their_session_is_over(tmp_path: Path) -> None:
    kept = pauses(tmp_path)
    kept.keep("live", [], [], STATE)
    kept.keep("over", [], [], STATE, is_over=True)
    for now, live, over in ((NOW + OVER_S - 1, True, True), (NOW + OVER_S + 1, True, False), (NOW + LIVE_S - 1, True, False), (NOW + LIVE_S + 1, False, False)):
        at = pauses(tmp_path, now)
        assert (at.find("live") is not None, at.find("over") is not None) == (live, over)
    assert list(tmp_path.iterdir()) == []


def test_a_group_forgets_a_session_that_is_over_soon(tmp_path: Path) -> None:
    kept = pauses(tmp_path)
    kept.keep("live", [], ["g"], STATE)
    kept.keep("over", ["s"], ["h"], STATE, is_over=True)
    assert pauses(tmp_path, NOW + GROUP_OVER_S - 1).find("x", [], ["h"]) is not None
    later = pauses(tmp_path, NOW + GROUP_OVER_S + 1)
    assert later.find("x", [], ["h"]) is None
    assert later.find("x", ["s"], ["h"]) is not None
    assert later.find("x", [], ["g"]) is not None


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    (tmp_path / ".4194399-0").write_bytes(b"{")
    ours = tmp_path / f".{os.getpid()}-7"
    ours.write_bytes(b"{")
    pauses(tmp_path)
    assert files(tmp_path) == [ours]


def test_expired_states_go_while_others_are_written(tmp_path: Path) -> None:
    time = Time()
    kept = Pauses(tmp_path, time)
    kept.keep("over", [], [], STATE, is_over=True)
    time.now += OVER_S + 1
    kept.keep("live", [], [], STATE)
    assert len(files(tmp_path)) == 1


def test_a_pause_can_be_asked_for_before_the_call_and_taken_back(tmp_path: Path) -> None:
    kept = pauses(tmp_path)
    kept.arm(CALL_ID, STATE)
    assert kept.armed(CALL_ID) == STATE
    assert kept.armed("x") is None
    kept.disarm(CALL_ID)
    assert kept.armed(CALL_ID) is None
    kept.arm(CALL_ID, STATE)
    found = pauses(tmp_path).find(CALL_ID, ["s"], ["g"])
    assert found == Found(PauseState(), STATE, found.superseded if found else ())
    other = pauses(tmp_path)
    other.drop(CALL_ID, superseded=found.superseded)
    assert other.armed(CALL_ID) is None
    assert files(tmp_path) == []


def test_long_texts_are_cut_and_not_a_reason_to_forget_a_pause(tmp_path: Path) -> None:
    kept = pauses(tmp_path)
    kept.keep(CALL_ID, [f"s-{n}" for n in range(1000)], [f"g-{n}" for n in range(1000)], PauseState(recording_since=NOW, actor="ä" * 500, reason="\x00" * 500))
    found = pauses(tmp_path).find(CALL_ID)
    assert found is not None
    assert (len(found.state.actor), len(found.state.reason)) == (200, 200)
    assert len(files(tmp_path)) == 33


# ---- files of others ----


def place(folder: Path) -> tuple[Path, bytes]:
    """The file of the call's state, and what is in it."""
    pauses(folder).keep(CALL_ID, [], [], STATE)
    (path,) = files(folder)
    return path, path.read_bytes()


def forged(path: Path, **fields: object) -> bytes:
    content = {"keys": [path.parent.name], "expires_at": NOW + 100, "state": {"recording_since": NOW}, **fields}
    return msgspec.json.encode(content)


def test_a_state_like_ours_is_read(tmp_path: Path) -> None:
    path, _ = place(tmp_path)
    path.write_bytes(forged(path))
    assert pauses(tmp_path).find(CALL_ID) is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": NOW + 1e8}, {"expires_at": -1}, {"expires_at": 1e300}, {"expires_at": "soon"}, {"keys": []}, {"keys": ["../../etc"]}, {"keys": ["0" * 32]},
        {"keys": ["0" * 32] * 1000}, {"state": {"recording_since": "x"}}, {"state": {"recording_since": -5}}, {"state": {"actor": "x" * 300}}, {"state": []},
        {"more": 1},
    ],
)  # fmt: skip
def test_states_that_nobody_here_wrote_are_passed_over_with_one_warning(tmp_path: Path, fields: dict[str, object], caplog: pytest.LogCaptureFixture) -> None:
    path, _ = place(tmp_path)
    path.write_bytes(forged(path, **fields))
    kept = pauses(tmp_path)
    for _ in range(3):
        assert kept.find(CALL_ID) is None
    assert len(caplog.records) == 1
    assert "passed over" in caplog.text


def test_files_that_are_none_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, content = place(tmp_path)
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    elsewhere.write_bytes(content)

    def replaced(make: object) -> Found | None:
        caplog.clear()
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        assert callable(make)
        make()
        return pauses(tmp_path).find(CALL_ID)

    assert replaced(lambda: path.write_bytes(content)) is not None
    for make in (
        lambda: path.symlink_to(elsewhere), lambda: path.mkdir(), lambda: os.mkfifo(path), lambda: path.write_bytes(content + b" " * 10_000),
        lambda: path.write_bytes(b""), lambda: path.write_bytes(b"[" * 8000), lambda: path.write_bytes(b"\xff\xfe"),
    ):  # fmt: skip
        assert replaced(make) is None
        assert caplog.records
    path.unlink()
    (path.parent / "README").write_bytes(content)
    assert pauses(tmp_path).find(CALL_ID) is None


def test_a_key_that_is_a_link_or_a_file_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, content = place(tmp_path)
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    path.parent.rename(outside)
    path.parent.symlink_to(outside)
    assert pauses(tmp_path).find(CALL_ID) is None
    assert (outside / path.name).read_bytes() == content
    path.parent.unlink()
    path.parent.write_bytes(content)
    kept = pauses(tmp_path)
    assert kept.find(CALL_ID) is None
    kept.keep(CALL_ID, [], [], STATE)
    assert kept.failed == 1
    assert "was not written down" in caplog.text


def test_damaged_states_are_never_an_error(tmp_path: Path) -> None:
    """Every byte of a file may be another one, and it may end anywhere."""
    path, content = place(tmp_path)
    chance = random.Random(7866)
    for _ in range(400):
        damaged = bytearray(content[: chance.randrange(len(content) + 1)])
        for _ in range(chance.randrange(4)):
            if damaged:
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        found = pauses(tmp_path).find(CALL_ID)
        if found is not None:
            assert found.state.holds
            pauses(tmp_path).drop("x", superseded=found.superseded)
            path.parent.mkdir(exist_ok=True)


def test_many_paused_calls_of_one_group_cost_a_new_one_little(tmp_path: Path) -> None:
    kept = pauses(tmp_path)
    for number in range(200):
        kept.keep(f"call-{number}", [], ["all"], STATE)
    reads = []
    kept._read, real = (lambda key, owner: reads.append(owner) or real(key, owner)), kept._read  # type: ignore[method-assign, func-returns-value]
    assert kept.find("new", [], ["all"]) is not None
    assert len(reads) <= 64
