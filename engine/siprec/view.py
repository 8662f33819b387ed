"""What a recording session knows of its call: documents of metadata, one after the other, as one view (RFC 7865 5.1), and whose voices are in which m= line.

A participant has a place, which is its own for as long as the session lasts: files and transcripts point at it. Who leaves is closed, who comes is appended, and nobody moves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from engine.clock import iso
from engine.siprec.facts import Party
from engine.siprec.identities import address_of, is_placeholder
from engine.siprec.metadata import CommunicationSession, Group, Metadata, Participant, Stream, instant
from engine.siprec.vendor import numbers_of, roles_of
from engine.siprec.voices import By, ChannelParties, OfferedLine, channels, check, order_of

PARTIES_MAX: Final = 1024  # of one session, those who left counted too
VOICES_MAX: Final = 4096  # former senders that are remembered, over all streams
OBJECTS_MAX: Final = 256  # sessions, groups and streams that go on, each; and how many that were are remembered
_CLOCK_SET: Final = (946_684_800.0, 4_102_444_800.0)  # 2000 to 2100: a client that says another time has no clock


class Changes(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a document changed: places of parties, and streams by their identifiers or labels. `became` has pairs of places: a placeholder, which is closed, and who it was."""

    joined: tuple[int, ...] = ()
    left: tuple[int, ...] = ()
    renamed: tuple[int, ...] = ()
    became: tuple[tuple[int, int], ...] = ()
    streams_added: tuple[str, ...] = ()
    streams_removed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.joined or self.left or self.renamed or self.became or self.streams_added or self.streams_removed)


class _Member:
    """A participant with a place. `key` is what it is found by, see `View._key`; `sessions` those it is in, `was_in` those it ever was in."""

    __slots__ = ("aors", "identifier", "joined", "key", "left", "names", "place", "role", "sessions", "was_in")

    def __init__(self, place: int, key: str, identifier: str, joined: float) -> None:
        self.place, self.key, self.identifier, self.joined = place, key, identifier, joined
        self.left: float | None = None
        self.aors: tuple[str, ...] = ()
        self.names: tuple[str, ...] = ()
        self.role = ""
        self.sessions: tuple[str, ...] = ()
        self.was_in: tuple[str, ...] = ()

    @property
    def is_placeholder(self) -> bool:
        return bool(self.aors) and is_placeholder(self.aors[0])

    def facts(self) -> Party:
        return Party(
            place=self.place, participant_id=self.identifier, aor=address_of(self.aors[0]) if self.aors else "", name=self.names[0] if self.names else "", role=self.role,
            joined=iso(self.joined), left="" if self.left is None else iso(self.left), aors=self.aors, session_ids=self.was_in,
        )  # fmt: skip


class View:
    """The call as it is known now. `apply` takes each document in the order they came."""

    def __init__(self) -> None:
        self._members: list[_Member] = []
        self._places: dict[str, int] = {}  # by key
        self._groups: dict[str, Group] = {}
        self._sessions: dict[str, CommunicationSession] = {}
        self._seen_sessions: tuple[str, ...] = ()
        self._seen_groups: tuple[str, ...] = ()
        self._streams: dict[tuple[str, str], Stream] = {}
        self._sends: dict[str, tuple[str, ...]] = {}
        self._inline: dict[str, tuple[str, ...]] = {}
        self._voices: dict[str, tuple[int, ...]] = {}
        self._voices_left = VOICES_MAX
        self._index()

    # ---- what is known ----

    @property
    def participants(self) -> tuple[Party, ...]:
        """Everyone who is or was in the call, by place."""
        return tuple(member.facts() for member in self._members)

    @property
    def present(self) -> tuple[int, ...]:
        """Places of those who are in the call now."""
        return tuple(member.place for member in self._members if member.left is None)

    @property
    def session_ids(self) -> tuple[str, ...]:
        """Communication sessions that are or were recorded, in the order they came."""
        return self._seen_sessions

    @property
    def group_ids(self) -> tuple[str, ...]:
        return self._seen_groups

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(self._groups.values())

    @property
    def sessions(self) -> tuple[CommunicationSession, ...]:
        """Communication sessions that are recorded now."""
        return tuple(self._sessions.values())

    @property
    def sessions_now(self) -> tuple[str, ...]:
        """The identifiers of those: one recording session may outlive its calls (RFC 7866 6.2)."""
        return tuple(self._sessions)

    @property
    def streams(self) -> tuple[Stream, ...]:
        return tuple(self._streams.values())

    def sends(self, place: int) -> tuple[str, ...]:
        """Streams that a participant sends, as the metadata names them."""
        key = self._members[place].key
        return self._sends.get(key) or self._inline.get(key, ())

    def parties_of_stream(self, stream: str) -> tuple[int, ...]:
        """Places of those who send into a stream now, by its identifier or else its label."""
        found = next((one for one in self.streams if one.stream_id == stream), None) or next((one for one in self.streams if one.label == stream), None)
        return self.senders(found or Stream(stream_id=stream))[0]

    def is_sent(self, stream: str) -> bool:
        """Whether someone names a stream as what he sends, by its identifier or label."""
        return stream in self._associated or stream in self._named

    def senders(self, stream: Stream) -> tuple[tuple[int, ...], By]:
        """Who sends into a stream now, and how that is known."""
        if found := self._naming(self._associated, stream):
            return found, "association"
        if stream.participant_ids:
            named = set(stream.participant_ids)
            if found := tuple(member.place for member in self._members if member.left is None and member.identifier in named):
                return found, "participant_ref"
        return self._naming(self._named, stream), "inline"

    def former(self, stream: Stream) -> tuple[int, ...]:
        """Who ever sent into a stream, by the order in which they came to it."""
        return self._voices.get(_identity(stream), ())

    def _naming(self, senders: dict[str, list[_Member]], stream: Stream) -> tuple[int, ...]:
        """Those who name a stream: by its identifier, or by its label where no other stream is called so. Of streams with one identifier in several sessions, each has the
        voices of its own session."""
        apart = bool(stream.session_id) and self._identifiers[stream.stream_id] > 1
        for name in (stream.stream_id, stream.label):
            if name and (name == stream.stream_id or name not in self._identifiers):
                found = tuple(
                    member.place for member in senders.get(name, ()) if not apart or not member.sessions or stream.session_id in member.sessions
                )  # fmt: skip
                if found:
                    return found
        return ()

    def _index(self) -> None:
        """Finds senders by the streams they name, once a document."""
        self._identifiers = Counter(stream.stream_id for stream in self.streams)
        self._associated: dict[str, list[_Member]] = {}
        self._named: dict[str, list[_Member]] = {}
        for member in self._members:
            if member.left is None:
                for senders, sends in ((self._associated, self._sends), (self._named, self._inline)):
                    for stream in sends.get(member.key, ()):
                        senders.setdefault(stream, []).append(member)

    # ---- what a document changes ----

    def apply(self, document: Metadata, at: float) -> Changes:
        """Takes a document that came at `at`, seconds since 1970. One that is complete says all there is; a partial one only adds, changes, and ends what it says is over.
        The same document again changes nothing."""
        complete = document.data_mode == "complete"
        before = [(member.left is None, member.aors, member.names) for member in self._members]
        streams = dict.fromkeys(map(_identity, self.streams))
        warnings: list[str] = []
        self._apply_sessions(document, complete)
        listed = self._apply_participants(document, at, warnings)
        self._apply_presence(document, complete, listed, at)
        became = self._replace_placeholders(before, {member.place for member, _ in listed}, at)
        self._apply_streams(document, complete)
        self._apply_senders(document, complete, listed)
        self._index()
        roles = roles_of(document)
        numbers = numbers_of(document, roles)
        for member, _ in listed:
            if member.identifier in roles and not member.is_placeholder:
                member.role = roles[member.identifier]
            member.aors += numbers.get(member.identifier, ())
        self._remember_voices()
        now = dict.fromkeys(map(_identity, self.streams))
        was = [present for present, _, _ in before] + [False] * (len(self._members) - len(before))
        return Changes(
            joined=tuple(member.place for member in self._members if member.left is None and not was[member.place]),
            left=tuple(member.place for member in self._members if member.left is not None and was[member.place]),
            renamed=tuple(member.place for member, (_, *told) in zip(self._members, before, strict=False) if [member.aors, member.names] != told),
            became=became, streams_added=tuple(name for name in now if name not in streams), streams_removed=tuple(name for name in streams if name not in now),
            warnings=tuple(warnings),
        )  # fmt: skip

    def _apply_sessions(self, document: Metadata, complete: bool) -> None:
        if complete:
            self._groups, self._sessions = {}, {}
        for group in document.groups:
            if group.disassociate_time:
                self._groups.pop(group.group_id, None)
            elif group.group_id in self._groups or len(self._groups) < OBJECTS_MAX:
                self._groups[group.group_id] = group
        over = _ended_sessions(document)
        for session in document.sessions:
            if session.session_id not in over and (session.session_id in self._sessions or len(self._sessions) < OBJECTS_MAX):
                self._sessions[session.session_id] = session
        for identifier in over:
            self._sessions.pop(identifier, None)
        groups = (*(group.group_id for group in document.groups), *(group for session in document.sessions for group in session.group_ids))
        self._seen_groups = _with(self._seen_groups, groups)
        self._seen_sessions = _with(self._seen_sessions, (session.session_id for session in document.sessions))

    @staticmethod
    def _key(participant: Participant, number: int, taken: dict[str, tuple[str, ...]]) -> str:
        """What a participant is known by: its identifier; its address where it has none, or where another one of the document has the same identifier."""
        key = participant.participant_id or (participant.aors[0] if participant.aors else f"participant-{number}")
        others = taken.get(key)
        if others and participant.aors and not set(participant.aors) & set(others):
            key = f"{key} {participant.aors[0]}"
        taken.setdefault(key, participant.aors)
        return key

    def _apply_participants(self, document: Metadata, at: float, warnings: list[str]) -> list[tuple[_Member, Participant]]:
        """Enters the participants of a document; those it lists, in its order."""
        listed, taken = [], dict[str, tuple[str, ...]]()
        since = {link.participant_id: link.associate_time for link in reversed(document.participant_sessions) if not link.disassociate_time}
        for number, participant in enumerate(document.participants):
            key = self._key(participant, number, taken)
            if participant.participant_id and key != participant.participant_id:
                warnings.append(f"duplicate_id: participant {participant.participant_id} stands for several")
            place = self._places.get(key)
            if place is None:
                if len(self._members) >= PARTIES_MAX:
                    warnings.append(f"too_many: more than {PARTIES_MAX} participants")
                    break
                place = self._places[key] = len(self._members)
                self._members.append(_Member(place, key, participant.participant_id, _time(since.get(participant.participant_id) or participant.associate_time, at)))
            member = self._members[place]
            if participant.aors:
                member.aors, member.names = participant.aors, participant.names
            else:
                member.names = participant.names or member.names
            listed.append((member, participant))
        return listed

    def _apply_presence(self, document: Metadata, complete: bool, listed: list[tuple[_Member, Participant]], at: float) -> None:
        """Who is in which session, and who is in none any more."""
        ended = dict[int, str]()  # when a party left, by place
        entered = {member.place for member, participant in listed if complete or participant.session_ids or not member.was_in}
        for member, participant in listed:
            if complete:
                member.sessions = ()
            member.sessions = _with(member.sessions, participant.session_ids)
            if participant.disassociate_time:
                ended[member.place] = participant.disassociate_time
        for link in document.participant_sessions:
            if (place := self._places.get(link.participant_id)) is None:
                continue
            member = self._members[place]
            if not link.disassociate_time:
                member.sessions = _with(member.sessions, (link.session_id,))
                entered.add(place)
                continue
            member.was_in = _with(member.was_in, (link.session_id,))
            member.sessions = tuple(session for session in member.sessions if link.session_id not in ("", session))
            ended.setdefault(place, link.disassociate_time)
        over = _ended_sessions(document)
        for member in self._members:
            member.was_in = _with(member.was_in, member.sessions)
            if over and (last := [over[session] for session in member.sessions if session in over]):
                member.sessions = tuple(session for session in member.sessions if session not in over)
                ended.setdefault(member.place, last[-1])
            if member.place in ended and not member.sessions:
                self._close(member, _time(ended[member.place], at))
            elif member.place in entered:
                member.left = None
            elif complete:
                self._close(member, at)

    @staticmethod
    def _close(member: _Member, at: float) -> None:
        member.sessions = ()
        if member.left is None:
            member.left = max(at, member.joined)

    def _replace_placeholders(self, before: list[tuple[bool, tuple[str, ...], tuple[str, ...]]], here: set[int], at: float) -> tuple[tuple[int, int], ...]:
        """Closes placeholders in whose stead a document has someone new."""
        newcomers = [member.place for member in self._members[len(before) :] if not member.is_placeholder]
        became = []
        for member, (was_present, _, _) in zip(self._members, before, strict=False):
            if newcomers and was_present and member.is_placeholder and member.place not in here:
                self._close(member, at)
                became.append((member.place, newcomers.pop(0)))
        return tuple(became)

    def _apply_streams(self, document: Metadata, complete: bool) -> None:
        if complete:
            self._streams = {}
        for number, stream in enumerate(document.streams):
            key = (stream.session_id, stream.stream_id or f"\0{stream.label or number}")
            known = key if key in self._streams else next((one for one in self._streams if not complete and stream.stream_id and one[1] == stream.stream_id), key)
            if stream.disassociate_time:
                self._streams.pop(known, None)
            elif complete and key in self._streams:
                self._streams[(*key[:1], f"{key[1]}\0{number}")] = stream  # an identifier that stands twice
            elif known in self._streams or len(self._streams) < OBJECTS_MAX:
                old = self._streams.get(known)
                self._streams[known] = stream if old is None else msgspec.structs.replace(
                    stream, label=stream.label or old.label, mode=stream.mode or old.mode, participant_ids=stream.participant_ids or old.participant_ids,
                )  # fmt: skip

    def _apply_senders(self, document: Metadata, complete: bool, listed: list[tuple[_Member, Participant]]) -> None:
        """Who sends what: a document says all that a participant sends, so that one that lists only what it receives is on hold."""
        if complete:
            self._sends, self._inline = {}, {}
        links: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for link in document.participant_streams:
            if link.participant_id in self._places:
                links.setdefault(link.participant_id, []).append((link.sends, link.disassociate_time))
        for key, said in links.items():
            if any(not ended for _, ended in said):
                self._sends[key] = tuple(dict.fromkeys(stream for sends, ended in said if not ended for stream in sends))
                continue
            over = {stream for sends, _ in said for stream in sends}
            self._sends[key] = tuple(stream for stream in self._sends.get(key, ()) if over and stream not in over)
        for member, participant in listed:
            if participant.sends or complete:
                self._inline[member.key] = participant.sends

    def _remember_voices(self) -> None:
        for stream in self.streams:
            voices = self._voices.get(_identity(stream), ())
            known = frozenset(voices)
            fresh = tuple(place for place in self.senders(stream)[0] if place not in known)[: self._voices_left]
            if fresh:
                self._voices[_identity(stream)] = voices + fresh
                self._voices_left -= len(fresh)


def _with(known: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
    """Those and more, each once; the oldest go where they are too many."""
    fresh = tuple(dict.fromkeys(one for one in more if one not in known))
    return (known + fresh)[-OBJECTS_MAX:] if fresh else known


def _identity(stream: Stream) -> str:
    return stream.stream_id or stream.label


def _time(text: str, at: float) -> float:
    """A time that a client says, or `at` where it has no clock."""
    said = instant(text)
    return said if said is not None and _CLOCK_SET[0] < said < _CLOCK_SET[1] else at


def _ended_sessions(document: Metadata) -> dict[str, str]:
    """Communication sessions that are over, or not recorded any more, with the time."""
    over = {session.session_id: session.stop_time or session.disassociate_time for session in document.sessions if session.stop_time or session.disassociate_time}
    return over | {recording.session_id: recording.disassociate_time for recording in document.session_recordings if recording.disassociate_time}


__all__ = ["Changes", "ChannelParties", "OfferedLine", "View", "channels", "check", "order_of"]
