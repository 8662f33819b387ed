"""Who says what is heard in a channel: the parties of the metadata, by channel and time, and who of them is the agent.

A channel's parties change: somebody is transferred, or the metadata first has a stand-in (Avaya's `ASBCE@...`) and names the real party later. What was said before
a transfer stays with who said it; what was put down to a stand-in goes to who took its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from engine.siprec.events import Transcript
from engine.siprec.facts import Party, SessionFacts

NOBODY: Final = -1  # no party is known for a channel
SEVERAL: Final = -2  # several talk in it
CHANGES_MAX: Final = 64  # of one channel
FORMER_MAX: Final = 256  # parties that the metadata does not name any more
NAMED_MAX: Final = 256
DIARISED_MAX: Final = 16  # of one call
_STAND_INS: Final = frozenset({"asbce"})
# Identifiers of vendors that name the agent: their address's user, name or number.
_AGENT_IDENTIFIERS: Final = ("agent_id", "agent", "station_id", "recorded_party", "broadworks_user_id", "metaswitch_recorded_party")


class Key(NamedTuple):
    """A voice: its channel, the party's place (or NOBODY, SEVERAL), and whom diarisation tells apart."""

    channel: int
    place: int
    diarised: str = ""


class Speaker(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who talks, as they are named in what goes out. `is_agent` also where that is only taken for granted: the callee of a call of which nothing else is known."""

    key: Key
    label: str
    id: str = ""
    name: str = ""
    role: str = ""
    stream_label: str = ""
    is_agent: bool = False


def user_of(aor: str) -> str:
    """The user or number of an address, in lower case: alice of sip:Alice@example.com, +1555 of tel:+1555;phone-context=x."""
    user = aor.partition("@")[0].partition(";")[0].lower()
    scheme, colon, rest = user.partition(":")
    return rest if colon and scheme in ("sip", "sips", "tel") else user


def is_stand_in(party: Party) -> bool:
    """Whether the metadata has it only until the real one is known."""
    return user_of(party.aor) in _STAND_INS or not (party.aor or party.name)


def _names_of(party: Party) -> set[str]:
    return {name.lower() for name in (user_of(party.aor), party.name, party.participant_id, *map(user_of, party.aors)) if name}


def agents_of(facts: SessionFacts) -> frozenset[int]:
    """Places of parties that are agents: by their role, by the label of their stream, by an identifier of the vendor. Empty where nothing tells."""
    found = {party.place for party in facts.participants if party.role == "agent"}
    if not found:
        found = {channel.parties[0] for channel in facts.channels if "agent" in channel.label.lower() and len(channel.parties) == 1}
    if not found:
        told = {value.lower() for name, value in facts.vendor.identifiers.items() if value and name.endswith(_AGENT_IDENTIFIERS)}
        found = {party.place for party in facts.participants if told & _names_of(party)}
    return frozenset(found)


class Roster:
    """The parties of one call, and whose voice was in which channel when. Times are seconds from the beginning of the recording."""

    def __init__(self) -> None:
        self.facts: SessionFacts | None = None
        self._parties: dict[int, Party] = {}  # who is named now, and who was
        self._agents: frozenset[int] = frozenset()
        self._channels: dict[int, list[tuple[float, int]]] = {}
        self._labels: dict[int, str] = {}
        self._became: dict[tuple[int, int], int] = {}  # by channel and place
        self._diarised: set[str] = set()
        self._named: dict[Key, Speaker] = {}

    def update(self, facts: SessionFacts, at: float) -> list[tuple[Key, Key]]:
        """Takes what is known from now on. Returns who turned out to be whom: (key until now, key)."""
        self.facts = facts
        self._named.clear()
        now = {party.place: party for party in facts.participants}
        former = {place: party for place, party in self._parties.items() if place not in now}
        self._parties = {**dict(list(former.items())[-FORMER_MAX:]), **now}
        self._agents = agents_of(facts)
        renamed: list[tuple[Key, Key]] = []
        for channel in facts.channels:
            self._labels[channel.index] = channel.label
            place = self._place(channel.parties)
            changes = self._channels.setdefault(channel.index, [])
            before = changes[-1][1] if changes else NOBODY
            is_open = before == NOBODY or (before in self._parties and is_stand_in(self._parties[before]))
            if place == before or (is_open and place == NOBODY):
                continue
            if is_open and (before == NOBODY or place >= 0):
                self._became[channel.index, before] = place
                renamed += [(Key(channel.index, before, name), Key(channel.index, place, name)) for name in ("", *sorted(self._diarised))]
                if changes:
                    changes[-1] = (changes[-1][0], place)
                    continue
            if len(changes) < CHANGES_MAX:
                changes.append((at, place))
            else:
                changes[-1] = (at, place)
        return renamed

    def _place(self, places: Iterable[int]) -> int:
        """The one of these parties who is there."""
        known = [self._parties[place] for place in places if place in self._parties]
        there = [party for party in known if not party.left] or known
        return NOBODY if not there else there[0].place if len(there) == 1 else SEVERAL

    def key_of(self, transcript: Transcript) -> Key:
        """Whose voice it is."""
        changes = self._channels.get(transcript.channel, ())
        middle = (transcript.start_time + transcript.end_time) / 2
        place = changes[0][1] if changes else NOBODY
        for since, who in changes:
            if since <= middle:
                place = who
        diarised = transcript.speaker[:64] if place < 0 else ""
        if diarised and diarised not in self._diarised:
            if len(self._diarised) >= DIARISED_MAX:
                diarised = ""
            else:
                self._diarised.add(diarised)
        return Key(transcript.channel, place, diarised)

    def named(self, key: Key) -> Speaker:
        """How they are named, by what is known now."""
        speaker = self._named.get(key)
        if speaker is None:
            if len(self._named) >= NAMED_MAX:
                self._named.clear()
            speaker = self._named[key] = self._speaker(key)
        return speaker

    def _speaker(self, key: Key) -> Speaker:
        place = self._became.get((key.channel, key.place), key.place)
        party = self._parties.get(place)
        stream_label = self._labels.get(key.channel, "")
        if party is None:
            label = key.diarised or (stream_label if not stream_label.isdigit() else "") or f"speaker-{key.channel + 1}"
            is_agent = "agent" in label.lower() or (not self._agents and not key.diarised and self._is_callee(key.channel, None))
            return Speaker(key=key, label="agent" if "agent" in label.lower() else label, stream_label=stream_label, is_agent=is_agent)
        is_agent = party.place in self._agents if self._agents else self._is_callee(key.channel, party)
        label = self._label_of(party, key.channel)
        role = "agent" if party.place in self._agents else party.role
        return Speaker(
            key=key, id=party.participant_id, label=label, name=party.name, role=role or (label if label in ("customer", "caller", "callee") else ""),
            stream_label=stream_label, is_agent=is_agent,
        )  # fmt: skip

    def _label_of(self, party: Party, channel: int) -> str:
        if party.place in self._agents:
            return "agent"
        parties = self.facts.participants if self.facts is not None else ()
        others = [other for other in parties if other.place not in self._agents and not other.left and not is_stand_in(other)]
        if party.role == "customer" or (self._agents and (party.role == "caller" or len(others) <= 1)):
            return "customer"
        return party.role or party.name or user_of(party.aor) or f"speaker-{channel + 1}"

    def _is_callee(self, channel: int, party: Party | None) -> bool:
        """Whether it is taken for the agent where nobody is known to be one: who was called answers for the house."""
        if party is not None and party.role:
            return party.role == "callee"
        return channel == 1


__all__ = ["NOBODY", "SEVERAL", "Key", "Roster", "Speaker", "agents_of", "is_stand_in", "user_of"]
