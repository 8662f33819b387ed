"""What must not go out."""

from __future__ import annotations

from typing import Any

from engine.analytics.pauses import MARGIN_S, WINDOWS_MAX, Pauses
from engine.siprec.events import Word
from engine.siprec.facts import ChannelFacts
from tests.engine.analytics.calls import said, session


def paused(*changes: tuple[float, bool]) -> Pauses:
    pauses = Pauses()
    for at, is_paused in changes:
        pauses.update(session(transcription_paused=is_paused), at)
    return pauses


def shown(pauses: Pauses, begin: float, end: float, **changes: Any) -> str:
    transcript = pauses.shown(said("my card is four one", begin, end, **changes))
    return "" if transcript is None else transcript.text


def test_nothing_goes_out_while_it_is_paused() -> None:
    pauses = paused((10.0, True))
    assert shown(pauses, 20, 21) == shown(pauses, 1, 2) == ""


def test_what_was_said_in_a_pause_never_goes_out() -> None:
    pauses = paused((10.0, True), (20.0, False))
    assert shown(pauses, 12, 13) == shown(pauses, 9, 11) == shown(pauses, 19, 21) == shown(pauses, 5, 30) == ""
    assert shown(pauses, 5, 9.7) and shown(pauses, 20.3, 22)


def test_what_is_so_near_that_nobody_can_tell_stays_in() -> None:
    pauses = paused((10.0, True), (20.0, False))
    assert shown(pauses, 20 + MARGIN_S / 2, 22) == shown(pauses, 8, 10 - MARGIN_S / 2) == ""


def test_words_with_times_go_out_that_are_outside() -> None:
    words = (Word("my", 8.0, 8.4), Word("card", 8.5, 9.0), Word("four", 11.0, 11.4), Word("one", 19.9, 20.1), Word("thanks", 21.0, 21.5), Word("odd", 0.0, 0.0))
    pauses = paused((10.0, True), (20.0, False))
    transcript = pauses.shown(said("my card four one thanks odd", 8.0, 21.5, words=words))
    assert transcript is not None
    assert transcript.text == "my card thanks" and [word.text for word in transcript.words] == ["my", "card", "thanks"]
    assert (transcript.start_time, transcript.end_time) == (8.0, 21.5)


def test_words_that_are_all_inside_leave_nothing() -> None:
    assert paused((10.0, True), (20.0, False)).shown(said("four", 11, 12, words=(Word("four", 11, 12),))) is None


def test_what_has_no_times_does_not_go_out_once_there_was_a_pause() -> None:
    assert shown(paused((10.0, True), (20.0, False)), 0.0, 0.0) == ""
    assert shown(paused((0.0, False)), 0.0, 0.0)


def test_of_a_muted_channel_nothing_goes_out() -> None:
    pauses = Pauses()
    pauses.update(session(channels=(ChannelFacts(index=0, muted=True), ChannelFacts(index=1))), 5.0)
    assert shown(pauses, 6, 7) == "" and shown(pauses, 6, 7, channel=1)
    pauses.update(session(), 10.0)
    assert shown(pauses, 6, 7) == "" and shown(pauses, 11, 12) and shown(pauses, 6, 7, channel=1)


def test_windows_that_end_are_told() -> None:
    pauses = Pauses()
    assert pauses.update(session(transcription_paused=True), 5.0) == []
    (window,) = pauses.update(session(), 7.0)
    assert (window.begin, window.end) == (5.0, 7.0)
    assert pauses.update(session(), 8.0) == []


def test_before_it_was_known_everything_is_hidden() -> None:
    pauses = Pauses()
    pauses.hide_until(100.0)
    assert shown(pauses, 50, 51) == "" and shown(pauses, 101, 102)


def test_many_pauses_are_bounded_and_hide_no_less() -> None:
    pauses = Pauses()
    for number in range(2000):
        pauses.update(session(transcription_paused=True), number * 10.0)
        pauses.update(session(), number * 10.0 + 1)
    assert len(pauses.windows) <= WINDOWS_MAX
    assert all(shown(pauses, number * 10.0 + 0.2, number * 10.0 + 0.8) == "" for number in range(0, 2000, 7))
    assert shown(pauses, 20_005, 20_006)
