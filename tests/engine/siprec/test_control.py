"""Pauses and mutes of one session: what is shut before anything else, what a pause widens, when it ends by itself, and what the next session begins with."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.document import PauseResume
from engine.siprec.control import PauseSettings
from engine.siprec.facts import MuteStatus, PauseStatus
from engine.siprec.pauses import Pauses, PauseState
from tests.engine.siprec.live_sessions import CALL_ID, NOW, LiveSession, Time

LIMITED = PauseSettings(max_pause_s=30.0, auto_resume=True)


def paused(session: LiveSession) -> tuple[bool, bool]:
    return session.control.recording_paused, session.control.transcription_paused


# ---- pauses ----


def test_a_pause_shuts_the_gate_before_anything_is_told_of_it() -> None:
    time = Time()
    session = LiveSession(CALL_ID, time)
    session.control._on_change = lambda kind, actor, reason: session.gate.told.append((kind, actor, reason))
    status = session.control.pause(True, False, "desk", "card number")
    assert session.gate.told == [("recording", True, "card number", "desk"), ("paused", "desk", "card number")]
    assert status == PauseStatus(session_id=CALL_ID, is_paused=True, recording_paused=True, paused_at=NOW)
    time.pass_s(12.34)
    assert session.control.status().pause_duration == pytest.approx(12.34)


@pytest.mark.parametrize(
    ("recording", "transcription", "both"),
    [(None, None, (True, False)), (None, True, (True, True)), (False, None, (False, False)), (False, True, (False, True)), (True, None, (True, False))],
)
def test_what_is_not_said_is_as_the_configuration_has_it(recording: bool | None, transcription: bool | None, both: tuple[bool, bool]) -> None:
    session = LiveSession(CALL_ID, Time(), settings=PauseSettings(pause_recording=True, pause_transcription=False))
    session.control.pause(recording, transcription)
    assert paused(session) == both


def test_pausing_again_changes_nothing_and_may_widen_it() -> None:
    time = Time()
    session = LiveSession(CALL_ID, time)
    session.control.pause(True, False, "a")
    time.pass_s(5)
    assert session.control.pause(True, False, "b").paused_at == NOW
    assert len(session.changes) == 1
    session.gate.told.clear()
    wider = session.control.pause(True, True, "c")
    assert session.gate.told == [("transcription", True)]
    assert (wider.paused_at, wider.recording_paused, wider.transcription_paused) == (NOW, True, True)
    assert [change[0] for change in session.changes] == ["paused", "paused"]


def test_a_resume_ends_what_it_names_and_all_where_it_names_nothing() -> None:
    session = LiveSession(CALL_ID, Time())
    session.control.pause(True, True)
    assert session.control.resume(False, True).recording_paused
    assert paused(session) == (True, False)
    session.control.pause(True, True)
    assert session.control.resume() == PauseStatus(session_id=CALL_ID)
    count = len(session.changes)
    session.control.resume()
    assert len(session.changes) == count


def test_a_pause_ends_by_itself_when_its_limit_is_reached() -> None:
    time = Time()
    session = LiveSession(CALL_ID, time, settings=LIMITED)
    assert session.control.pause(True, True, "desk").auto_resume_at == NOW + 30
    time.pass_s(29.9)
    assert paused(session) == (True, True)
    time.pass_s(0.2)
    assert paused(session) == (False, False)
    assert session.changes[-1] == ("resumed", "timer", "limit")
    assert session.control.status() == PauseStatus(session_id=CALL_ID)


def test_what_is_paused_later_ends_later() -> None:
    time = Time()
    session = LiveSession(CALL_ID, time, settings=LIMITED)
    session.control.pause(False, True)
    time.pass_s(20)
    session.control.pause(True, False)
    assert session.control.status().auto_resume_at == NOW + 30
    time.pass_s(10)
    assert paused(session) == (True, False)
    assert session.control.status().auto_resume_at == NOW + 50
    time.pass_s(20)
    assert paused(session) == (False, False)


def test_the_limit_is_kept_when_the_clock_is_set_back() -> None:
    time = Time()
    session = LiveSession(CALL_ID, time, settings=LIMITED)
    session.control.pause(True, True)
    (timer,) = time.timers
    time.now -= 3600
    timer.work()
    assert paused(session) == (False, False)


@pytest.mark.parametrize("settings", [PauseSettings(max_pause_s=30.0), PauseSettings(auto_resume=True), PauseSettings()])
def test_without_auto_resume_or_a_limit_a_pause_holds(settings: PauseSettings) -> None:
    time = Time()
    session = LiveSession(CALL_ID, time, settings=settings)
    assert session.control.pause(True, True).auto_resume_at is None
    time.pass_s(1e6)
    assert paused(session) == (True, True)


def test_a_pause_that_is_not_limited_holds_until_it_is_ended() -> None:
    time = Time()
    session = LiveSession(CALL_ID, time, settings=LIMITED)
    assert session.control.pause(True, True, limited=False).auto_resume_at is None
    time.pass_s(1e6)
    assert paused(session) == (True, True)


def test_a_resume_and_a_pause_again_begin_a_new_limit() -> None:
    time = Time()
    session = LiveSession(CALL_ID, time, settings=LIMITED)
    session.control.pause(True, True)
    time.pass_s(20)
    session.control.resume()
    assert time.timers == []
    session.control.pause(True, True)
    time.pass_s(20)
    assert paused(session) == (True, True)
    time.pass_s(10)
    assert paused(session) == (False, False)


def test_after_its_end_nothing_is_changed_any_more() -> None:
    time = Time()
    session = LiveSession(CALL_ID, time, settings=LIMITED)
    session.control.pause(True, True)
    session.control.close()
    session.control.close()
    assert time.timers == []
    count = len(session.gate.told)
    session.control.resume()
    session.control.mute()
    assert len(session.gate.told) == count


# ---- mutes ----


def test_the_first_channel_is_inbound_and_all_others_are_outbound() -> None:
    time = Time()
    session = LiveSession(CALL_ID, time)
    session.control.has_legs(3)
    assert session.control.mute(False, True, "desk") == MuteStatus(session_id=CALL_ID, is_muted=True, outbound_muted=True, muted_at=NOW)
    assert session.gate.told == [("leg", 1, True), ("leg", 2, True)]
    time.pass_s(2.5)
    assert session.control.mute_status().mute_duration == 2.5
    session.gate.told.clear()
    session.control.mute()
    assert session.gate.told == [("leg", 0, True)]
    session.gate.told.clear()
    assert session.control.unmute() == MuteStatus(session_id=CALL_ID)
    assert session.gate.told == [("leg", 0, False), ("leg", 1, False), ("leg", 2, False)]
    assert session.changes == [("muted", "desk", ""), ("muted", "", ""), ("unmuted", "", "")]


def test_a_leg_that_joins_a_muted_side_is_silent_from_its_beginning() -> None:
    session = LiveSession(CALL_ID, Time())
    session.control.mute(False, True)
    session.gate.told.clear()
    session.control.has_legs(4)
    assert session.gate.told == [("leg", 2, True), ("leg", 3, True)]
    assert [session.control.is_muted(channel) for channel in range(4)] == [False, True, True, True]
    session.control.unmute()
    assert session.gate.told[2:] == [("leg", 1, False), ("leg", 2, False), ("leg", 3, False)]


# ---- from one session to the next ----


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pauses"


def begun(call_id: str, time: Time, folder: Path, session_ids: tuple[str, ...] = (), group_ids: tuple[str, ...] = (), settings: PauseSettings | None = None) -> LiveSession:
    """A session of a worker that was just started."""
    session = LiveSession(call_id, time, settings=settings, pauses=Pauses(folder, time))
    session.control.known_as(session_ids, group_ids)
    return session


@pytest.mark.parametrize(
    ("call_id", "session_ids", "group_ids"), [(CALL_ID, (), ()), ("other", ("s-1",), ()), ("other", (), ("g-1",)), ("other", ("s-0", "s-1"), ("g-0",))]
)
def test_the_session_that_takes_its_place_begins_paused(folder: Path, call_id: str, session_ids: tuple[str, ...], group_ids: tuple[str, ...]) -> None:
    time = Time()
    begun(CALL_ID, time, folder, ("s-1",), ("g-1",)).control.pause(True, False, "desk", "card number")
    time.pass_s(10)  # its worker was killed
    after = begun(call_id, time, folder, session_ids, group_ids)
    assert after.gate.told == [("recording", True, "card number", "desk")]
    assert after.changes == [("paused", "desk", "card number")]
    assert after.control.status() == PauseStatus(session_id=call_id, is_paused=True, recording_paused=True, paused_at=NOW, pause_duration=10)


def test_strangers_begin_as_always(folder: Path) -> None:
    time = Time()
    begun(CALL_ID, time, folder, ("s-1",), ("g-1",)).control.pause(True, True)
    assert begun("other", time, folder, ("s-2",), ("g-2",)).gate.told == []
    assert begun("s-1", time, folder, ("g-1",), (CALL_ID,)).gate.told == []  # the same text, as another kind of name


def test_what_was_resumed_is_not_paused_again(folder: Path) -> None:
    time = Time()
    begun(CALL_ID, time, folder, ("s-1",), ("g-1",)).control.pause(True, True)
    second = begun("second", time, folder, ("s-1",), ("g-1",))
    assert paused(second) == (True, True)
    second.control.resume()
    for call_id in (CALL_ID, "second", "third"):
        assert begun(call_id, time, folder, ("s-1",), ("g-1",)).gate.told == []
    assert list(folder.iterdir()) == []


def test_a_pause_whose_limit_passed_meanwhile_ends_at_once_and_one_that_did_not_later(folder: Path) -> None:
    time = Time()
    begun(CALL_ID, time, folder, settings=LIMITED).control.pause(True, True)
    time = Time(NOW + 10)
    second = begun(CALL_ID, time, folder, settings=LIMITED)
    assert second.control.status().auto_resume_at == NOW + 30
    time.pass_s(19.9)
    assert paused(second) == (True, True)
    late = Time(NOW + 40)
    third = begun(CALL_ID, late, folder, settings=LIMITED)
    assert paused(third) == (True, True)
    late.pass_s(0)
    assert paused(third) == (False, False)
    assert third.changes[-1] == ("resumed", "timer", "limit")


def test_mutes_are_taken_over_by_the_same_call_and_not_by_its_group(folder: Path) -> None:
    time = Time()
    first = begun(CALL_ID, time, folder, ("s-1",), ("g-1",))
    first.control.mute(False, True)
    assert begun("other", time, folder, (), ("g-1",)).gate.told == []
    first.control.pause(True, True)
    assert begun("another", time, folder, (), ("g-1",)).gate.told == [("recording", True, "", ""), ("transcription", True)]
    assert begun("same", time, folder, ("s-1",), ("g-1",)).gate.told == [("recording", True, "", ""), ("transcription", True), ("leg", 1, True)]


def test_names_that_come_later_are_looked_up_until_somebody_chose(folder: Path) -> None:
    time = Time()
    begun(CALL_ID, time, folder, ("s-1",), ("g-1",)).control.pause(True, True)
    waiting, chosen = begun("waiting", time, folder), begun("chosen", time, folder)
    chosen.control.pause(True, True)
    chosen.control.resume()
    for session in (waiting, chosen):
        session.control.known_as(("s-1",), ("g-1",))
    assert paused(waiting) == (True, True)
    assert paused(chosen) == (False, False)
    count = len(waiting.changes)
    waiting.control.known_as(("s-1",), ("g-1", "g-2"))
    assert len(waiting.changes) == count  # it is paused already, by what it wrote itself
    assert paused(begun("next", time, folder, (), ("g-2",))) == (True, True)


def test_what_was_asked_for_before_the_call_counts_from_its_beginning(folder: Path) -> None:
    time = Time()
    Pauses(folder, time).arm(CALL_ID, PauseState(recording_since=NOW, actor="desk", reason="soon"))
    time.pass_s(100)
    session = begun(CALL_ID, time, folder, settings=LIMITED)
    assert session.gate.told == [("recording", True, "soon", "desk")]
    assert session.control.status().paused_at == NOW + 100
    assert session.control.status().auto_resume_at == NOW + 130
    session.control.resume()
    session.control.close()
    assert begun(CALL_ID, time, folder).gate.told == []


def test_a_pause_is_in_force_though_the_disk_takes_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    session = begun(CALL_ID, Time(), folder)
    folder.rmdir()
    folder.write_text("no folder")
    session.control.pause(True, True)
    assert paused(session) == (True, True)
    assert "was not written down" in caplog.text
    assert CALL_ID not in caplog.text


def test_the_settings_are_those_of_the_configuration() -> None:
    section = PauseResume(enabled=True, pause_transcription=False, max_pause_s=60, auto_resume=True, per_session=False, api_key="secret")
    settings = PauseSettings.of(section)
    assert settings == PauseSettings(pause_transcription=False, max_pause_s=60, auto_resume=True, per_session=False)
    assert (settings.limit_s, PauseSettings.of(PauseResume()).limit_s, PauseSettings.of(PauseResume()).enabled) == (60, None, False)
