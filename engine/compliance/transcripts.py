"""Transcripts without personal data: what stands between speech recognition and everybody who listens.

A number may be spoken over several final texts; what a speaker's last one ended with is kept for a few seconds, and read together with the next.
Digits that may become a number are masked before that is known, in partial texts earlier than in final ones: what was told cannot be taken back.
Where it was said is kept for the audio, by channel, and beside the recordings until it was used: a process that dies forgets none of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from engine.compliance.pii import KINDS, LAST, RUN_MIN, Finder, Finding, Found, label, masked
from engine.compliance.spoken import Run, runs
from engine.config.document import Pii
from engine.media.manifest import Interval
from engine.siprec.events import Transcript, Word

GAP_S: Final = 6.0  # between two texts that may hold one number
ASKED_S: Final = 20.0  # digits that follow a question for a number are masked sooner
PARTIAL_DIGITS: Final = 3
CARD_COMMON: Final = 15  # digits; cards with fewer are rare, and mostly the beginning of longer ones
LEAD_MAX_CHARS: Final = 400
CALLS_MAX: Final = 20_000
STRETCHES_MAX: Final = 10_000  # of one call; more are joined to the last one
WIDER_S: Final = 0.25  # of times of words
GUESSED_WIDER_S: Final = 1.0  # of times that follow from places in a text
SUFFIX: Final = ".pii"

log = logging.getLogger("trunkline.compliance")


class Stretch(msgspec.Struct, frozen=True, array_like=True):
    """Where in one channel something was said that must not be heard."""

    channel: int
    start_ms: int
    end_ms: int
    type: str


class _Tail(msgspec.Struct, frozen=True):
    """What a speaker's last text ended with: digits from `digits_at` on, when they were said, and whether they were masked."""

    text: str
    digits_at: int
    end_s: float
    spans: tuple[tuple[float, float], ...]
    masked: bool


class _Call:
    """What is kept of one call."""

    __slots__ = ("asked_s", "pending", "stretches", "tails")

    def __init__(self) -> None:
        self.asked_s = -math.inf
        self.tails: dict[tuple[int, str], _Tail] = {}
        self.pending: dict[tuple[int, str], list[Stretch]] = {}  # of partial texts without their final one
        self.stretches: list[Stretch] = []


class _Read(msgspec.Struct, frozen=True):
    """What was found in a text behind its lead: `findings` count from the lead's beginning."""

    lead: str
    text: str
    findings: tuple[Finding, ...]
    run: Run | None

    @property
    def places(self) -> list[Finding]:
        """Findings in the text itself, counted from its beginning."""
        begin = len(self.lead)
        return [
            msgspec.structs.replace(each, start=max(each.start - begin, 0), end=each.end - begin) for each in self.findings if each.end > begin
        ]


def interval_of(stretch: Stretch) -> Interval:
    """A stretch as recordings have it."""
    return Interval(type="pii", start_ms=stretch.start_ms, end_ms=stretch.end_ms, reason=stretch.type, tracks=(stretch.channel,))


class PiiFilter:
    """Redacts transcripts of all calls; used by one thread. `settings` may be replaced at any time. `folder` is where stretches of audio are kept until they are
    used; without one they are in memory alone."""

    def __init__(self, settings: Pii, folder: Path | None = None, *, gap_s: float = GAP_S) -> None:
        self.settings = settings
        self._folder = folder
        self._gap_s = gap_s
        self._calls: OrderedDict[str, _Call] = OrderedDict()
        self._finder, self._made_for = _finder_of(settings), settings

    def apply(self, transcript: Transcript) -> Transcript:
        """The transcript as others may see it, text and words; itself where nothing has to be taken out of transcripts."""
        settings = self.settings
        if not settings.enabled:
            return transcript
        if settings is not self._made_for:
            self._finder, self._made_for = _finder_of(settings), settings
        finder = self._finder
        call = self._call(transcript.call_id)
        key = (transcript.channel, transcript.speaker)
        tail = self._tail_of(call, key, transcript)
        asks = finder.asks(transcript.text)
        asked = asks or transcript.start_time - call.asked_s <= ASKED_S or tail is not None
        least = 1 if asked or transcript.is_final else RUN_MIN
        read = _read(finder, tail.text + " " if tail else "", transcript.text, transcript.language, least)
        spoken = " ".join(word.text for word in transcript.words)
        by_word = _read(finder, read.lead, spoken, transcript.language, least) if transcript.words and spoken != transcript.text else read
        self._note_audio(call, key, transcript, tail, read, by_word)
        held = [_held(finder, each, transcript, asked) for each in (read, by_word)]
        if transcript.is_final:
            if asks:
                call.asked_s = max(transcript.end_time, transcript.start_time)
            self._keep_tail(call, key, transcript, tail, read, by_word, is_masked=held[0] is not None)
        if not settings.apply_to_transcriptions:
            return transcript
        show = _Show(settings.redaction_char, settings.preserve_format, transcript.language)
        text = show.text(read, held[0])
        words = show.words(transcript.words, by_word, held[1]) if transcript.words else ()
        if text == transcript.text and words == transcript.words:
            return transcript
        return msgspec.structs.replace(transcript, text=text, words=words)

    def intervals(self, call_id: str) -> dict[int, tuple[Interval, ...]]:
        """What must not be heard of a call, by channel, in order of time."""
        by_channel: dict[int, list[Interval]] = {}
        call = self._call(call_id)
        for stretch in _merged([*call.stretches, *(each for pending in call.pending.values() for each in pending)]):
            by_channel.setdefault(stretch.channel, []).append(interval_of(stretch))
        return {channel: tuple(found) for channel, found in by_channel.items()}

    def forget(self, call_id: str) -> None:
        """Nothing of this call is needed any more, neither here nor on disk."""
        self._calls.pop(call_id, None)
        if self._folder is not None:
            self._file(call_id).unlink(missing_ok=True)

    def sweep(self, before_s: float) -> None:
        """Takes away what was last written before a time, in seconds since 1970: the recordings of these calls were finished long ago. Raises OSError."""
        for path in self._folder.glob(f"*{SUFFIX}") if self._folder is not None else ():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before_s:
                    path.unlink()

    # ---- inside ----

    def _call(self, call_id: str) -> _Call:
        call = self._calls.get(call_id)
        if call is None:
            call = self._calls[call_id] = _Call()
            call.stretches = self._kept(call_id)
            if len(self._calls) > CALLS_MAX:
                self._calls.popitem(last=False)
        else:
            self._calls.move_to_end(call_id)
        return call

    def _tail_of(self, call: _Call, key: tuple[int, str], transcript: Transcript) -> _Tail | None:
        tail = call.tails.get(key)
        if tail is None or transcript.start_time - tail.end_s <= self._gap_s:
            return tail
        del call.tails[key]
        return None

    def _keep_tail(
        self, call: _Call, key: tuple[int, str], transcript: Transcript, tail: _Tail | None, read: _Read, by_word: _Read, *, is_masked: bool
    ) -> None:
        run = read.run
        if run is None:
            if read.text.strip():
                call.tails.pop(key, None)
            return
        begin = max(run.start - LEAD_MAX_CHARS // 2, len(read.lead) + len(read.text) - LEAD_MAX_CHARS, 0)
        spans = list(tail.spans) if tail and run.start < len(read.lead) else []
        behind = Finding(max(run.start - len(read.lead), 0), run.end - len(read.lead), "digits", 0.0)
        if by_word.run is not None and transcript.words:
            behind = Finding(max(by_word.run.start - len(by_word.lead), 0), by_word.run.end - len(by_word.lead), "digits", 0.0)
        spans.append(_times(transcript, behind, len(read.text), by_words=bool(transcript.words) and by_word.run is not None))
        call.tails[key] = _Tail((read.lead + read.text)[begin:], run.start - begin, max(transcript.end_time, transcript.start_time), tuple(spans[-64:]), is_masked)

    def _note_audio(self, call: _Call, key: tuple[int, str], transcript: Transcript, tail: _Tail | None, read: _Read, by_word: _Read) -> None:
        found: list[Stretch] = []
        sources = [(by_word, True)] if transcript.words and by_word.places else [(read, False)]
        for source, by_words in sources:
            for finding in source.findings:
                if finding.end <= len(source.lead):
                    continue
                if tail is not None and finding.start < len(source.lead):
                    found += [_stretch(transcript.channel, span, finding.type) for span in tail.spans]
            for place in source.places:
                found.append(_stretch(transcript.channel, _times(transcript, place, len(source.text), by_words=by_words), place.type))
        if transcript.is_final:
            call.pending.pop(key, None)
            self._keep(transcript.call_id, call, found)
        elif found:
            call.pending[key] = found

    # ---- on disk ----

    def _file(self, call_id: str) -> Path:
        assert self._folder is not None
        return self._folder / (hashlib.blake2b(call_id.encode(errors="surrogatepass"), digest_size=16).hexdigest() + SUFFIX)

    def _keep(self, call_id: str, call: _Call, found: Sequence[Stretch]) -> None:
        fresh = [each for each in found if each not in call.stretches]
        if not fresh:
            return
        call.stretches = _merged([*call.stretches, *fresh])
        if self._folder is None:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._file(call_id), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, b"".join(msgspec.json.encode(each) + b"\n" for each in fresh))
            os.fsync(fd)
        except OSError as error:
            log.error("where a call has personal data is in memory alone: %s", error)
        finally:
            os.close(fd)

    def _kept(self, call_id: str) -> list[Stretch]:
        if self._folder is None:
            return []
        found = []
        with contextlib.suppress(FileNotFoundError), self._file(call_id).open("rb") as file:
            for line in file:
                with contextlib.suppress(msgspec.MsgspecError):  # the last line may be cut
                    found.append(msgspec.json.decode(line, type=Stretch))
        return _merged(found)


def _finder_of(settings: Pii) -> Finder:
    try:
        return Finder(settings.enabled_types, context_length=settings.context_length)
    except ValueError as error:
        log.error("pii.enabled_types: %s; until that is right, all types are looked for", error)
        return Finder(KINDS, context_length=settings.context_length)


def _read(finder: Finder, lead: str, text: str, language: str, least: int) -> _Read:
    findings, run = finder.look(lead + text, language, least)
    return _Read(lead, text, tuple(each for each in findings if each.end > len(lead)), run)


def _held(finder: Finder, read: _Read, transcript: Transcript, asked: bool) -> Run | None:
    """The digits at the end of a text that are masked although it is not known what they become."""
    run = read.run
    if run is None or run.end <= len(read.lead):
        return None
    if not transcript.is_final and (asked or len(run.digits) >= PARTIAL_DIGITS):
        return run
    return run if finder.may_become(run, asked=asked) else None


def _seconds(value: float) -> float:
    return value if math.isfinite(value) and value > 0 else 0.0


def _times(transcript: Transcript, place: Finding, length: int, *, by_words: bool) -> tuple[float, float]:
    """When a place of a text was said, a little widened, in seconds."""
    begin, end = _seconds(transcript.start_time), _seconds(transcript.end_time)
    end = max(begin, end)
    if by_words:
        said = [word for word, (first, last) in zip(transcript.words, _spans(transcript.words), strict=True) if first < place.end and last > place.start]
        times = [(_seconds(word.start), _seconds(word.end)) for word in said]
        if times and all(first <= last for first, last in times):
            return max(min(first for first, _ in times) - WIDER_S, 0.0), max(last for _, last in times) + WIDER_S
    length = max(length, 1)
    first, last = (begin + (end - begin) * at / length for at in (place.start, place.end))
    return max(first - GUESSED_WIDER_S, 0.0), last + GUESSED_WIDER_S


def _spans(words: Sequence[Word]) -> list[tuple[int, int]]:
    """Where each word is in the text of all of them with spaces between."""
    at, spans = 0, []
    for word in words:
        spans.append((at, at + len(word.text)))
        at += len(word.text) + 1
    return spans


def _stretch(channel: int, span: tuple[float, float], type: Found) -> Stretch:
    return Stretch(channel, math.floor(round(span[0] * 1000, 3)), math.ceil(round(span[1] * 1000, 3)), type)


def _merged(stretches: Iterable[Stretch]) -> list[Stretch]:
    """In order of channel and time, those that touch made one."""
    merged: list[Stretch] = []
    for each in sorted(stretches, key=lambda one: (one.channel, one.start_ms, one.end_ms)):
        last = merged[-1] if merged else None
        if last is not None and last.channel == each.channel and (each.start_ms <= last.end_ms or len(merged) >= STRETCHES_MAX):
            merged[-1] = Stretch(last.channel, last.start_ms, max(last.end_ms, each.end_ms), last.type)
        else:
            merged.append(each)
    return merged


class _Show(msgspec.Struct, frozen=True):
    """How what was found is shown."""

    char: str
    preserve: bool
    language: str

    def _places(self, read: _Read, held: Run | None) -> list[tuple[Finding, int]]:
        """What to replace in a text, and how many digits at its end stay readable."""
        places: list[tuple[Finding, int]] = []
        begin = len(read.lead)
        for finding, place in zip([each for each in read.findings if each.end > begin], read.places, strict=True):
            digits = sum(len(run.digits) for run in runs((read.lead + read.text)[finding.start : finding.end], self.language))
            keep = LAST if finding.type in ("ssn", "credit_card", "phone") and digits > 2 * LAST - 2 else 0
            # what may go on shows no digits: they would be in its middle
            goes_on = held is not None and held.is_spoken and held.start <= finding.start and (finding.type != "credit_card" or digits < CARD_COMMON)
            places.append((place, 0 if goes_on else keep))
        if held is not None:
            places += [(each, 0) for each in _uncovered(max(held.start - begin, 0), held.end - begin, [place for place, _ in places])]
        return sorted(places)

    def text(self, read: _Read, held: Run | None) -> str:
        pieces, at = [], 0
        for place, keep in self._places(read, held):
            told = read.text[place.start : place.end]
            pieces += [read.text[at : place.start], masked(told, place.type, self.char, self.language, keep) if self.preserve else label(place.type)]
            at = place.end
        return "".join(pieces) + read.text[at:]

    def words(self, words: Sequence[Word], read: _Read, held: Run | None) -> tuple[Word, ...]:
        made: list[Word] = []
        spans = _spans(words)
        at = 0
        for place, keep in self._places(read, held):
            inside = [number for number in range(at, len(words)) if spans[number][0] < place.end and spans[number][1] > place.start]
            if not inside:
                continue
            first, last = inside[0], inside[-1]
            made += words[at:first]
            made += self._hidden(words[first : last + 1], place.type, keep)
            at = last + 1
        return (*made, *words[at:])

    def _hidden(self, words: Sequence[Word], type: Found, keep: int) -> list[Word]:
        if not self.preserve:
            return [Word(label(type), words[0].start, words[-1].end)]
        hidden: list[Word] = []
        for word in reversed(words):
            text = masked(word.text, type, self.char, self.language, keep)
            keep = max(keep - sum(len(run.digits) for run in runs(word.text, self.language)), 0)
            hidden.append(msgspec.structs.replace(word, text=text))
        return hidden[::-1]


def _uncovered(start: int, end: int, places: Sequence[Finding]) -> list[Finding]:
    """What of a stretch of text is in none of these places."""
    left, at = [], start
    for place in places:
        if place.start < end and place.end > at:
            if place.start > at:
                left.append(Finding(at, place.start, "digits", 0.0))
            at = max(at, place.end)
    if at < end:
        left.append(Finding(at, end, "digits", 0.0))
    return left


__all__ = ["PiiFilter", "Stretch", "interval_of"]
