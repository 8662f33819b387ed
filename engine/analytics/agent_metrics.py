"""Who talked for how long, where nobody did, and who cut in, from the times of what was said.

Utterances come about in the order in which they end, and are put in the order in which they begin: the last ones wait until nothing earlier can come. What
waits is counted for the figures of the moment, and then forgotten again.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Hashable
from typing import Final, TypeVar

import msgspec

Speaker = TypeVar("Speaker", bound=Hashable)

DEAD_AIR_S: Final = 2.0  # shorter gaps belong to talking
OVERLAP_S: Final = 0.5  # shorter ones are no interruption
WAITING_MAX, WAITING_S = 32, 60.0
SPEAKERS_MAX: Final = 32
LENGTH_MAX_S: Final = 3600.0  # of one utterance: what is longer is no time


class Talk(msgspec.Struct):
    """One speaker, in seconds. `until` is where their last utterance ends."""

    seconds: float = 0.0
    until: float = -math.inf
    interruptions: int = 0
    longest_s: float = 0.0


class Tally(msgspec.Struct):
    """All of it up to some moment of the call. `heard_until` is None before anything was said; `turn` is who talks since `turn_began`."""

    talks: dict[Hashable, Talk] = {}
    dead_air_s: float = 0.0
    heard_until: float | None = None
    turn: Hashable = None
    turn_began: float = 0.0

    def count(self, begin: float, end: float, speaker: Hashable) -> None:
        """Takes an utterance; None is a stretch in which nothing could be heard. They come in the order of `begin`."""
        if self.heard_until is not None and begin - self.heard_until > DEAD_AIR_S:
            self.dead_air_s += begin - self.heard_until
        self.heard_until = end if self.heard_until is None else max(self.heard_until, end)
        if speaker is None:
            self.turn = None
            return
        talk = self.talks.get(speaker)
        if talk is None:
            if len(self.talks) >= SPEAKERS_MAX:
                return
            talk = self.talks[speaker] = Talk()
        for known, other in self.talks.items():
            if other.until - begin >= OVERLAP_S <= end - begin and known != speaker:
                talk.interruptions += 1
                break
        if end > talk.until:
            talk.seconds += end - max(begin, talk.until)
            talk.until = end
        if self.turn != speaker:
            self.turn, self.turn_began = speaker, begin
        talk.longest_s = max(talk.longest_s, talk.until - self.turn_began)

    def copy(self) -> Tally:
        """Another one with the same figures."""
        talks = {speaker: Talk(talk.seconds, talk.until, talk.interruptions, talk.longest_s) for speaker, talk in self.talks.items()}
        return Tally(talks, self.dead_air_s, self.heard_until, self.turn, self.turn_began)


class TalkTimes:
    """One call's. Times are seconds from the beginning of the recording."""

    def __init__(self) -> None:
        self._settled = Tally()
        self._waiting: list[tuple[float, float, int, Hashable]] = []
        self._number = 0
        self._now: Tally | None = None

    def add(self, begin: float, end: float, speaker: Hashable) -> None:
        """An utterance, or with None a stretch in which nothing could be heard (pause, hold). What has no sensible times is left out."""
        if not (math.isfinite(begin) and math.isfinite(end) and begin >= 0 and end > begin) or (speaker is not None and end - begin > LENGTH_MAX_S):
            return
        self._number += 1
        entry = (begin, end, self._number, speaker)
        insort(self._waiting, entry)
        if self._waiting[-1] is not entry:
            self._now = None
        elif self._now is not None:
            self._now.count(begin, end, speaker)
        newest = self._waiting[-1][0]
        while len(self._waiting) > WAITING_MAX or newest - self._waiting[0][0] > WAITING_S:
            begin, end, _, speaker = self._waiting.pop(0)
            self._settled.count(begin, end, speaker)

    def rename(self, old: Hashable, new: Hashable) -> None:
        """What one said was said by the other."""
        self._waiting = [(begin, end, number, new if speaker == old else speaker) for begin, end, number, speaker in self._waiting]
        settled = self._settled
        talk = settled.talks.pop(old, None)
        if talk is not None:
            other = settled.talks.setdefault(new, Talk())
            settled.talks[new] = Talk(
                talk.seconds + other.seconds, max(talk.until, other.until), talk.interruptions + other.interruptions, max(talk.longest_s, other.longest_s)
            )
        if settled.turn == old:
            settled.turn = new
        self._now = None

    def now(self) -> Tally:
        """The figures up to now; not to be changed, and not to be kept."""
        if self._now is None:
            self._now = self._settled.copy()
            for begin, end, _, speaker in self._waiting:
                self._now.count(begin, end, speaker)
        return self._now


class AgentFigures(msgspec.Struct, frozen=True):
    """What a call comes to. `talk_ratio` is the agent's share of all that was said, `silence_ratio` dead air beside talking; monologue and interruptions are the agent's."""

    talk_ratio: float
    talk_s: float
    agent_talk_s: float
    dead_air_s: float
    interruptions: int
    longest_monologue_s: float

    @property
    def silence_ratio(self) -> float:
        """Dead air beside talking and itself."""
        whole = self.talk_s + self.dead_air_s
        return self.dead_air_s / whole if whole else 0.0


def figures(tally: Tally, agents: frozenset[Hashable]) -> AgentFigures:
    """The figures of those who are agents."""
    mine = [talk for speaker, talk in tally.talks.items() if speaker in agents]
    talked = sum(talk.seconds for talk in tally.talks.values())
    spoken = sum(talk.seconds for talk in mine)
    return AgentFigures(
        talk_ratio=spoken / talked if talked else 0.0,
        talk_s=talked,
        agent_talk_s=spoken,
        dead_air_s=tally.dead_air_s,
        interruptions=sum(talk.interruptions for talk in mine),
        longest_monologue_s=max((talk.longest_s for talk in mine), default=0.0),
    )


__all__ = ["DEAD_AIR_S", "OVERLAP_S", "AgentFigures", "TalkTimes", "Tally", "figures"]
