"""The filter between speech and listeners: numbers over several texts, partial texts, words, and where it was said."""

from __future__ import annotations

import math
import random
from pathlib import Path

import msgspec
import pytest

from engine.compliance.transcripts import PiiFilter
from engine.config.document import Pii
from engine.media.manifest import Interval
from engine.siprec.events import Transcript, Word

ON = Pii(enabled=True, enabled_types=["ssn", "credit_card", "phone", "email"])


def heard(text: str, start: float, end: float, *, final: bool = True, channel: int = 0, words: tuple[Word, ...] = (), speaker: str = "") -> Transcript:
    return Transcript(call_id="c1", channel=channel, text=text, is_final=final, start_time=start, end_time=end, words=words, speaker=speaker)


def words_of(text: str, start: float, each_s: float = 0.5) -> tuple[Word, ...]:
    return tuple(Word(word, start + at * each_s, start + at * each_s + each_s * 0.8, 0.9) for at, word in enumerate(text.split()))


def digits_of(text: str) -> str:
    return "".join(each for each in text if each.isdecimal())


def covers(intervals: tuple[Interval, ...], start: float, end: float) -> bool:
    return any(each.start_ms <= start * 1000 and end * 1000 <= each.end_ms for each in intervals)


def test_text_and_words_are_redacted_and_times_stay() -> None:
    text = "my card is 4111 1111 1111 1111 thanks"
    told = PiiFilter(ON).apply(heard(text, 10, 14, words=words_of(text, 10)))
    assert told.text == "my card is **** **** **** 1111 thanks"
    assert [word.text for word in told.words] == ["my", "card", "is", "****", "****", "****", "1111", "thanks"]
    assert [(word.start, word.end, word.confidence) for word in told.words] == [(word.start, word.end, 0.9) for word in words_of(text, 10)]
    assert (told.call_id, told.start_time, told.end_time, told.is_final) == ("c1", 10, 14, True)


def test_words_may_be_spelled_otherwise_than_the_text() -> None:
    spoken = "card four one one one one one one one one one one one one one one one please"
    told = PiiFilter(ON).apply(heard("card 4111 1111 1111 1111, please", 0, 9, words=words_of(spoken, 0)))
    assert told.text == "card **** **** **** 1111, please"
    assert [word.text for word in told.words] == ["card", *["*"] * 12, "one", "one", "one", "one", "please"]


def test_without_the_format_a_number_is_one_word() -> None:
    quiet = PiiFilter(msgspec.structs.replace(ON, preserve_format=False))
    text = "card 4111 1111 1111 1111 please"
    told = quiet.apply(heard(text, 0, 4, words=words_of(text, 0)))
    assert told.text == "card [CREDIT_CARD] please"
    assert [word.text for word in told.words] == ["card", "[CREDIT_CARD]", "please"]
    assert (told.words[1].start, told.words[1].end) == (0.5, 2.4)


def test_a_number_over_several_final_texts() -> None:
    quiet = PiiFilter(ON)
    quiet.apply(heard("could I have the card number", 0, 2, channel=1))
    parts = ["it's four one one one", "one one one one", "one one one one", "one one one one"]
    told = [quiet.apply(heard(part, 3 + 2 * at, 4 + 2 * at)).text for at, part in enumerate(parts)]
    assert told[:3] == ["it's * * * *", "* * * *", "* * * *"]
    assert told[3] == "one one one one"  # its last four
    (intervals,) = quiet.intervals("c1").values()
    assert all(covers(intervals, 3.5 + 2 * at, 4 + 2 * at) for at in range(4))
    assert all(each.tracks == (0,) and each.type == "pii" for each in intervals)


def test_what_goes_with_a_card_in_the_next_text() -> None:
    quiet = PiiFilter(ON)
    quiet.apply(heard("4111 1111 1111 1111", 0, 3))
    assert "3" not in quiet.apply(heard("and 123", 4, 5)).text


def test_a_number_with_a_long_pause_in_it_is_two() -> None:
    quiet = PiiFilter(ON)
    quiet.apply(heard("I said one one one one one", 0, 2))
    assert quiet.apply(heard("two apples", 60, 61)).text == "two apples"


def test_speakers_and_channels_do_not_mix() -> None:
    quiet = PiiFilter(ON)
    quiet.apply(heard("four one one one one one one one", 0, 2, channel=0))
    assert quiet.apply(heard("one moment", 2, 3, channel=1)).text == "one moment"
    assert quiet.apply(heard("two of them", 2, 3, channel=0, speaker="2")).text == "two of them"


def test_partial_texts_hold_digits_back() -> None:
    quiet = PiiFilter(ON)
    number = ["four", *["one"] * 15]
    shown = [quiet.apply(heard("it is " + " ".join(number[:upto]), 0, upto / 2, final=False)).text for upto in range(1, len(number) + 1)]
    assert max(text.count("one") + text.count("four") for text in shown) <= 4
    assert quiet.apply(heard("it is " + " ".join(number), 0, 8)).text.count("one") == 4


def test_a_partial_text_without_its_final_one_is_silenced_too() -> None:
    quiet = PiiFilter(ON)
    quiet.apply(heard("4111 1111 1111 1111", 5, 8, final=False))
    assert covers(quiet.intervals("c1")[0], 5, 8)
    quiet.apply(heard("for eleven ones", 5, 8))
    assert quiet.intervals("c1") == {}


def test_ordinary_speech_stays() -> None:
    quiet = PiiFilter(ON)
    for text in ("I'd like two of them", "it was in 2019 I think", "the order is 12345, and invoice 20240001 too", "at 10:30 on 01/02/2024 please", "about five hundred people"):
        assert quiet.apply(heard(text, 0, 1)).text == text
    assert quiet.intervals("c1") == {}


def test_times_come_from_words_or_from_places_in_the_text() -> None:
    by_words, by_places = PiiFilter(ON), PiiFilter(ON)
    text = "aaaa bbbb cccc dddd 4111 1111 1111 1111 eeee ffff gggg hhhh"
    by_words.apply(heard(text, 100, 106, words=words_of(text, 100)))
    (exact,) = by_words.intervals("c1")[0]
    assert (exact.start_ms, exact.end_ms) == (101_750, 104_150)
    by_places.apply(heard(text, 100, 106))
    (guessed,) = by_places.intervals("c1")[0]
    assert guessed.start_ms <= exact.start_ms and guessed.end_ms >= exact.end_ms
    assert guessed.start_ms >= 100_000


@pytest.mark.parametrize("times", [(math.nan, math.nan), (5.0, 1.0), (-3.0, 2.0), (math.inf, math.inf)])
def test_times_that_make_no_sense(times: tuple[float, float]) -> None:
    quiet = PiiFilter(ON)
    words = tuple(Word(text, *times) for text in ("4111", "1111", "1111", "1111"))
    assert quiet.apply(heard("4111 1111 1111 1111", *times, words=words)).text == "**** **** **** 1111"
    assert all(each.start_ms >= 0 and each.end_ms >= each.start_ms for each in quiet.intervals("c1").get(0, ()))


def test_settings() -> None:
    text = "4111 1111 1111 1111"
    assert PiiFilter(Pii(enabled=False)).apply(heard(text, 0, 1)).text == text
    audio_alone = PiiFilter(msgspec.structs.replace(ON, apply_to_transcriptions=False))
    assert audio_alone.apply(heard(text, 0, 1)).text == text
    assert audio_alone.intervals("c1")
    reloaded = PiiFilter(Pii(enabled=True, enabled_types=["ssn"]))
    assert reloaded.apply(heard(text, 0, 1)).text == text
    reloaded.settings = ON
    assert reloaded.apply(heard(text, 20, 21)).text == "**** **** **** 1111"
    assert PiiFilter(Pii(enabled=True, enabled_types=["credit card"])).apply(heard(text, 0, 1)).text == "**** **** **** 1111"


def test_where_it_was_said_outlives_the_process(tmp_path: Path) -> None:
    PiiFilter(ON, tmp_path).apply(heard("4111 1111 1111 1111", 5, 8))
    (file,) = tmp_path.iterdir()
    assert "c1" not in file.name and b"1111" not in file.read_bytes()
    with file.open("ab") as torn:
        torn.write(b"[0,12")
    again = PiiFilter(ON, tmp_path)
    assert covers(again.intervals("c1")[0], 5, 8)
    again.forget("c1")
    assert not list(tmp_path.iterdir())
    assert PiiFilter(ON, tmp_path).intervals("c1") == {}


def test_what_is_long_over_is_swept(tmp_path: Path) -> None:
    quiet = PiiFilter(ON, tmp_path)
    quiet.apply(heard("4111 1111 1111 1111", 5, 8))
    (file,) = tmp_path.iterdir()
    quiet.sweep(file.stat().st_mtime - 1)
    assert file.exists()
    quiet.sweep(file.stat().st_mtime + 1)
    assert not file.exists()


def test_a_number_cut_anywhere_never_shows_more_than_its_first_and_last_digits() -> None:
    chance = random.Random(3)
    spoken = dict(zip("0123456789", ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], strict=True))
    for card in ("4012888888881881", "5555555555554444", "378282246310005", "6011111111111117"):
        for _ in range(60):
            quiet = PiiFilter(ON)
            cuts = sorted(chance.sample(range(1, len(card)), chance.randrange(5)))
            pieces = [card[a:b] for a, b in zip([0, *cuts], [*cuts, len(card)], strict=True)]
            shown = ""
            for at, piece in enumerate(pieces):
                text = " ".join(spoken[each] for each in piece)
                told = quiet.apply(heard(text, at * 2, at * 2 + 1)).text
                shown += "".join(next((digit for digit, word in spoken.items() if word == each), "*" * len(each)) for each in told.split())
            assert len(shown) == len(card)
            assert set(shown[4 : len(card) - 4]) == {"*"}, (pieces, shown)


def test_any_texts_are_taken() -> None:
    chance = random.Random(11)
    quiet = PiiFilter(ON)
    vocabulary = ["four", "one", "double", "1111", "4", "+49", "at", "dot", "card", "", "\u0664", "é", "cvv", "123", "-", "a@b.de", "and", "uh"]
    for at in range(1500):
        text = " ".join(chance.choice(vocabulary) for _ in range(chance.randrange(12)))
        words = words_of(text, at) if chance.random() < 0.5 else ()
        told = quiet.apply(heard(text, at, at + 1, final=chance.random() < 0.6, channel=chance.randrange(2), words=words))
        assert isinstance(told.text, str)
        assert len(told.words) == len(words)
