"""Files played to a stream: WAV samples, brought to its rate, some seconds ahead of what is heard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from engine._native.audio import Resampler
from engine.media.plane import MediaStream, Pcm
from engine.media.wav import WavFile

PIECE_S: Final = 2.0
PIECES_AHEAD: Final = 2
CHANNELS_ONE: Final = 1


class Player:
    """Plays a WAV file, all of its channels mixed into one. `on_end` is called once: with True when it was heard to its end.

    Its owner passes `StreamListener.on_played` on to `played`. Raises UnreadableAudio, OSError, ValueError where the rates do not go together.
    """

    def __init__(self, stream: MediaStream, path: Path, *, on_end: Callable[[bool], None] = lambda whole: None) -> None:
        self._stream = stream
        self._file = WavFile(path)
        self._on_end = on_end
        self._at = 0
        self._waiting: set[int] = set()
        self._over = False
        try:
            self._resampler = Resampler(self._file.layout.rate_hz, stream.send_rate_hz)
        except BaseException:
            self._file.close()
            raise

    @property
    def duration_s(self) -> float:
        return self._file.layout.duration_s

    def start(self) -> None:
        """Begins."""
        for _ in range(PIECES_AHEAD):
            self._more()
        if not self._waiting:
            self._end(True)

    def played(self, clip: int, *, flushed: bool) -> bool:
        """A clip of the stream was played; whether it was of this file."""
        if clip not in self._waiting:
            return False
        self._waiting.discard(clip)
        if flushed:
            self._end(False)
        elif not self._over:
            self._more()
            if not self._waiting:
                self._end(True)
        return True

    def stop(self) -> None:
        """Ends it; what is queued is flushed."""
        if not self._over:
            self._stream.flush()
            self._end(False)

    def _more(self) -> None:
        pcm = self._next()
        while len(pcm) == 0 and self._at < self._file.layout.frames:
            pcm = self._next()  # a resampler may keep what is less than its filter
        if len(pcm):
            self._waiting.add(self._stream.play(pcm))

    def _next(self) -> Pcm:
        count = int(PIECE_S * self._file.layout.rate_hz)
        frames = self._file.read(self._at, count)
        self._at = self._at + len(frames) if len(frames) else self._file.layout.frames
        if self._file.layout.channels != CHANNELS_ONE:
            frames = frames.mean(axis=1, keepdims=True).astype(np.int16)
        return np.asarray(self._resampler.run(np.ascontiguousarray(frames[:, 0], np.int16)))

    def _end(self, whole: bool) -> None:
        if not self._over:
            self._over = True
            self._file.close()
            self._on_end(whole)


__all__ = ["Player"]
