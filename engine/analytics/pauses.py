"""What must not go out: what was said while the transcription was paused, or in a channel that was muted."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from engine.siprec.events import Transcript, Word
from engine.siprec.facts import SessionFacts

WINDOWS_MAX: Final = 512
MARGIN_S: Final = 0.25  # speech's times and those of a pause come from different clocks
EVERYTHING: Final = -1


class Window(msgspec.Struct):
    """A stretch of the recording, in seconds, of one channel or of EVERYTHING; it is open while it lasts."""

    begin: float
    end: float
    channel: int

    def touches(self, begin: float, end: float, channel: int) -> bool:
        """Whether something that was said then lies in it, or so near that nobody can tell."""
        return self.channel in (EVERYTHING, channel) and begin < self.end + MARGIN_S and end > self.begin - MARGIN_S


class Pauses:
    """The pauses of one call. Where there are more than WINDOWS_MAX, the two nearest of one channel become one with what lies between them: nothing that was hidden shows."""

    def __init__(self) -> None:
        self.windows: list[Window] = []
        self._open: dict[int, Window] = {}

    def update(self, facts: SessionFacts, at: float) -> list[Window]:
        """Takes what is paused from `at` on (seconds from the beginning of the recording). Returns the windows that ended."""
        wanted = {channel.index for channel in facts.channels if channel.muted}
        if facts.transcription_paused:
            wanted.add(EVERYTHING)
        ended = []
        for channel in [channel for channel in self._open if channel not in wanted]:
            window = self._open.pop(channel)
            window.end = max(at, window.begin)
            ended.append(window)
        for channel in sorted(wanted - self._open.keys()):
            window = self._open[channel] = Window(max(0.0, at), math.inf, channel)
            self.windows.append(window)
        if len(self.windows) > WINDOWS_MAX:
            self._merge()
        return ended

    def hide_until(self, at: float) -> None:
        """Hides all that was said before `at`: nobody knows what was paused until then."""
        self.windows.append(Window(0.0, at, EVERYTHING))

    def _merge(self) -> None:
        nearest: tuple[float, int, int] | None = None
        last: dict[int, int] = {}
        for number, window in enumerate(self.windows):
            before = last.get(window.channel)
            if before is not None:
                pair = (window.begin - self.windows[before].end, before, number)
                nearest = pair if nearest is None else min(nearest, pair)
            last[window.channel] = number
        if nearest is not None:
            _, before, number = nearest
            self.windows[number].begin = self.windows[before].begin
            del self.windows[before]

    @property
    def holds(self) -> bool:
        """Whether anything is hidden now."""
        return bool(self._open)

    def is_hidden(self, channel: int) -> bool:
        """Whether nothing of a channel may go out now."""
        return EVERYTHING in self._open or channel in self._open

    def shown(self, transcript: Transcript) -> Transcript | None:
        """What of it may go out: all; the words outside of the windows, where words have their times; or nothing."""
        channel = transcript.channel
        if self.is_hidden(channel):
            return None
        if self.windows and not transcript.end_time > transcript.start_time:  # without times nobody can tell
            return None
        touched = [window for window in self.windows if window.touches(transcript.start_time, transcript.end_time, channel)]
        if not touched:
            return transcript
        words = tuple(word for word in transcript.words if word.end > word.start and not any(window.touches(word.start, word.end, channel) for window in touched))
        if not words:
            return None
        return _of_words(transcript, words)


def _of_words(transcript: Transcript, words: tuple[Word, ...]) -> Transcript:
    text = " ".join(word.text.strip() for word in words)
    return msgspec.structs.replace(transcript, text=text, words=words, start_time=words[0].start, end_time=words[-1].end)


__all__ = ["EVERYTHING", "MARGIN_S", "WINDOWS_MAX", "Pauses", "Window"]
