"""Offers and answers of one dialog (RFC 3264): what we say, what they said, and what holds between.

A `Negotiation` knows no SIP: it is handed descriptions and hands out descriptions. Which message carries which, and who may offer when both
would, is the matter of whoever has it; `can_offer` says whether an offer fits now. Refused offers change nothing (RFC 3264 4): what was agreed
stands until the next answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from enum import Enum
from functools import partial

import msgspec

from engine.sdp import compose, line
from engine.sdp.direction import Direction, direction_of, sends
from engine.sdp.errors import ADDRESS_FORMAT, NegotiationError
from engine.sdp.line import Line
from engine.sdp.negotiated import NegotiatedMedia
from engine.sdp.remote import MEDIA_MAX, RemoteDescription, RemoteMedia
from engine.sdp.sdes import Random
from engine.sdp.terms import Opener, Terms, Transport


class State(Enum):
    """Where a negotiation stands."""

    NONE = "none"
    LOCAL_OFFER = "local offer out"
    REMOTE_OFFER = "remote offer in"
    STABLE = "stable"


class _Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that hold once the answer is there, and what comes with them."""

    lines: tuple[Line, ...]
    bundle: tuple[str, ...] = ()
    origin: int | None = None  # hash of their o= line without its version; None where no description of theirs belongs to it


class Negotiation:
    """What is negotiated in one dialog.

    `terms` may be changed at any time, and hold from the next offer or answer on. `media` is what is agreed; it is never changed in place.
    """

    __slots__ = (
        "_agreed", "_hold_before", "_hold_sends", "_open", "_proposal", "_random", "_received", "_sent", "_session_id", "_state", "_transports",
        "_version", "terms",
    )  # fmt: skip

    def __init__(self, terms: Terms, open_transport: Opener, *, random: Random) -> None:
        """`random` gives keys, ICE passwords and the session id: as many random bytes as asked for."""
        self.terms = terms
        self._open = open_transport
        self._random = random
        self._session_id = int.from_bytes(random(8), "big") >> 2  # 62 bits: every reader's integer holds it
        self._version = 0
        self._sent = ""  # what the last description said, but for its o= line
        self._state = State.NONE
        self._received = b""  # their offer that waits for its answer
        self._agreed = _Proposal(lines=())
        self._proposal: _Proposal | None = None
        self._transports: dict[int, Transport] = {}
        self._hold_sends: bool | None = None  # None: we hold nothing
        self._hold_before: bool | None = None

    def __repr__(self) -> str:
        return f"<Negotiation {self._state.value} {[(one.kind, one.direction) for one in self.media]}>"

    # ---- what there is ----

    @property
    def state(self) -> State:
        return self._state

    @property
    def can_offer(self) -> bool:
        """No offer is under way, ours or theirs (RFC 3264 4)."""
        return self._state in (State.NONE, State.STABLE)

    @property
    def media(self) -> tuple[NegotiatedMedia, ...]:
        """What is agreed, one for every m= line; empty before the first answer."""
        return tuple(one.media for one in self._agreed.lines)

    @property
    def proposed(self) -> tuple[NegotiatedMedia, ...]:
        """What would be agreed by an answer to their offer, and what may come in from the moment that ours is sent (RFC 3264 5.1): formats,
        ports and direction, without a place to send to. Empty while nothing is under way."""
        if self._proposal is None:
            return ()
        if self._state is State.REMOTE_OFFER:
            return tuple(one.media for one in self._proposal.lines)
        return tuple(
            NegotiatedMedia(
                index=index, kind=one.section.kind.lower(), accepted=one.section.transport is not None, label=one.section.label, mid=one.section.mid,
                proto=one.section.proto, direction=one.section.direction, by_us=one.section.direction, receive=one.section.payloads,
                local=one.section.transport, receive_ptime_ms=one.section.ptime_ms,
            )
            for index, one in enumerate(self._proposal.lines)
        )  # fmt: skip

    @property
    def is_held_by_us(self) -> bool:
        """`hold` was asked for, and `resume` not since."""
        return self._hold_sends is not None

    # ---- ours ----

    def local_offer(self, *, streams: int | None = None) -> bytes:
        """An offer of everything we can do. `streams` is how many audio lines there shall be: new ones take the place of refused ones, then
        go to the end, and of too many the last end (RFC 3264 8.1, 8.2). None: as many as there are, or as the terms say in the first offer.

        Raises NegotiationError: 491 when another offer is under way, 503 without ports.
        """
        self._must_be_free()
        return self._offer(streams)

    def refresh(self) -> bytes:
        """The description that was agreed on last as an offer again, with its version: a session timer asks for nothing else (RFC 4028
        7.4). Raises NegotiationError: 491 when another offer is under way, or none was ever answered."""
        self._must_be_free()
        if self._state is not State.STABLE:
            raise NegotiationError("there is nothing yet to offer again", status=491)
        return self._offered(self._agreed)

    def hold(self, *, send: bool = True) -> bytes:
        """An offer that puts them on hold: we go on sending (music, perhaps) or, with `send` False, do not (RFC 3264 8.4). Raises as
        `local_offer`; a refused one holds nothing."""
        return self._hold_offer(send)

    def resume(self) -> bytes:
        """An offer that ends our hold. Raises as `local_offer`."""
        return self._hold_offer(None)

    def _hold_offer(self, hold_sends: bool | None) -> bytes:
        self._must_be_free()
        before, self._hold_sends = self._hold_sends, hold_sends
        try:
            offer = self._offer()
        except NegotiationError:
            self._hold_sends = before
            raise
        self._hold_before = before
        return offer

    def _must_be_free(self) -> None:
        if not self.can_offer:
            raise NegotiationError("an offer is under way", status=491)

    def _wish(self) -> Direction:
        wish = self.terms.direction
        if self._hold_sends is None:
            return wish
        return direction_of(send=sends(wish) and self._hold_sends, receive=False)

    def _offer(self, streams: int | None = None) -> bytes:
        terms = self.terms
        lines = list(self._agreed.lines)
        live = [index for index, one in enumerate(lines) if one.media.accepted]
        wanted = (len(live) or terms.streams) if streams is None else streams
        ended, live = live[wanted:], live[:wanted]
        free = [index for index, one in enumerate(lines) if not one.media.accepted]
        live = sorted([*live, *[*free, *range(len(lines), MEDIA_MAX)][: wanted - len(live)]])
        for index in ended:
            lines[index] = line.refused(index, lines[index].section, "ended by us", lines[index].history)
        for place, index in enumerate(live):
            before = lines[index] if index < len(lines) else None
            transport = self._transport(index, self._version_of(index))
            label = terms.labels[place] if place < len(terms.labels) else ""
            made = line.offered(index, before, terms, wish=self._wish(), label=label, random=self._random, transport=transport)
            lines[index : index + 1] = [made]
        return self._offered(_Proposal(lines=tuple(lines)))

    def _offered(self, proposal: _Proposal) -> bytes:
        self._hold_before = self._hold_sends
        self._proposal = proposal
        self._state = State.LOCAL_OFFER
        return self._describe(proposal)

    def remote_answer(self, body: bytes) -> None:
        """Takes the answer to our offer. A line that they take in a way we cannot use is not `accepted`, with the `reason`.

        Raises NegotiationError, and then our offer is still open: 491 where there is none, 400 for what is no answer to it, 488 where it
        leaves nothing that can be used.
        """
        proposal = self._proposal
        if self._state is not State.LOCAL_OFFER or proposal is None:
            raise NegotiationError("there is no offer of ours to answer", status=491)
        remote = RemoteDescription(body)
        if len(remote.media) != len(proposal.lines):
            raise NegotiationError(f"{len(proposal.lines)} media lines were offered and {len(remote.media)} answered", status=400)
        faults: list[NegotiationError] = []
        lines: list[Line] = []
        for index, (ours, theirs) in enumerate(zip(proposal.lines, remote.media, strict=True)):
            before = self._agreed.lines[index] if index < len(self._agreed.lines) else None
            try:
                lines.append(line.concluded(index, ours, theirs, before, self.terms))
            except NegotiationError as error:
                if error.status == 400:
                    raise
                faults.append(error)
                lines.append(line.refused(index, ours.section, str(error), ours.history))
        if faults and not any(one.media.accepted for one in lines):
            raise faults[0]
        self._settle(_Proposal(lines=tuple(lines), bundle=proposal.bundle, origin=remote.description.row.origin_hash))

    def rollback(self) -> None:
        """The offer that is under way came to nothing, ours or theirs: what was agreed before stands. Without one it does nothing."""
        if self._state is State.LOCAL_OFFER:
            self._hold_sends = self._hold_before
        if self._proposal is not None:
            self._proposal = None
            self._state = State.STABLE if self._agreed.origin is not None else State.NONE

    # ---- theirs ----

    def remote_offer(self, body: bytes) -> bytes:
        """The answer to an offer of theirs, which may have been received already. Raises as `receive_offer`."""
        if self._state is not State.REMOTE_OFFER or body != self._received:
            self.receive_offer(body)
        return self.answer()

    def receive_offer(self, body: bytes) -> tuple[NegotiatedMedia, ...]:
        """Takes an offer of theirs and says what our answer would make of it; `answer` gives that, `rollback` drops it.

        Raises NegotiationError: 400 for what cannot be read, 488 when there is no line that we take, 491 when another offer is under way,
        503 without ports. Nothing is changed then.
        """
        self._must_be_free()
        remote = RemoteDescription(body)
        before = self._standing_lines(remote)
        faults: list[NegotiationError] = []
        lines: list[Line] = []
        # A stream that we have goes before one that we do not have yet: a new line is no reason to end an old one.
        room = self.terms.streams_max - sum(self._goes_on(index, before, remote.media) for index in range(len(remote.media)))
        for index, theirs in enumerate(remote.media):
            goes_on = self._goes_on(index, before, remote.media)
            if theirs.port == 0:
                lines.append(line.refused_theirs(index, theirs, "not offered"))
                continue
            try:
                made = line.answered(
                    index, theirs, before[index] if index < len(before) else None, self.terms, wish=self._wish(),
                    has_room=goes_on or room > 0, random=self._random, open_transport=partial(self._transport, index),
                )  # fmt: skip
                room -= not goes_on
            except NegotiationError as error:
                faults.append(error)
                made = line.refused_theirs(index, theirs, str(error))
                room += goes_on
            lines.append(made)
        if faults and not any(one.media.accepted for one in lines):
            raise self._worst(faults, remote.media)
        self._proposal = _Proposal(lines=tuple(lines), bundle=self._bundle_of(lines, remote), origin=remote.description.row.origin_hash)
        self._state = State.REMOTE_OFFER
        self._received = body
        return self.proposed

    def answer(self) -> bytes:
        """The answer to the offer that was received; from here on it holds. Raises NegotiationError (491) when there is none."""
        proposal = self._proposal
        if self._state is not State.REMOTE_OFFER or proposal is None:
            raise NegotiationError("there is no offer of theirs to answer", status=491)
        body = self._describe(proposal)
        self._received = b""
        self._settle(proposal)
        return body

    def _goes_on(self, index: int, before: Sequence[Line], media: Sequence[RemoteMedia]) -> bool:
        return index < len(before) and before[index].media.accepted and media[index].is_audio and media[index].port > 0

    def _standing_lines(self, remote: RemoteDescription) -> tuple[Line, ...]:
        """The lines that their offer goes on with. They may not become fewer (RFC 3264 8); but where the o= line names another session,
        somebody on the way has put us through to another end, which knows nothing of the lines that were."""
        lines = self._agreed.lines
        if len(remote.media) >= len(lines):
            return lines
        if remote.description.row.origin_hash == self._agreed.origin:
            raise NegotiationError(f"{len(lines)} media lines have become {len(remote.media)}")
        return lines

    @staticmethod
    def _worst(faults: list[NegotiationError], media: Sequence[RemoteMedia]) -> NegotiationError:
        """What is told of an offer without a usable line: why its first audio line is none, if it has one."""
        offered = [one for one in media if one.port]
        return next((fault for fault, one in zip(faults, offered, strict=True) if one.is_audio), faults[0])

    def _bundle_of(self, lines: list[Line], remote: RemoteDescription) -> tuple[str, ...]:
        """The BUNDLE group of an answer: the first stream that we take, if they have it in theirs (RFC 9143 7.3). One that we cannot bundle is
        left out, and has its own ports."""
        if self.terms.bundle:
            for one in lines:
                if one.section.transport is not None and one.section.rtcp_mux and one.section.mid in remote.bundle:
                    return (one.section.mid,)
        return ()

    # ---- both ----

    def fork(self) -> Negotiation:
        """An independent one that stands where this does: every early dialog of an offer has its own answer (RFC 3261 13.1). They share
        the ports that were offered."""
        made = copy(self)
        made._transports = dict(self._transports)
        return made

    def _settle(self, proposal: _Proposal) -> None:
        self._agreed = proposal
        self._proposal = None
        self._state = State.STABLE
        self._hold_before = self._hold_sends
        for index in list(self._transports):
            if index >= len(proposal.lines) or not proposal.lines[index].media.accepted:
                del self._transports[index]

    def _version_of(self, index: int) -> int:
        known = self._transports.get(index)
        return (6 if ":" in known.host else 4) if known is not None else 0

    def _transport(self, index: int, version: int) -> Transport:
        """The ports of a line, opened when they are first needed. `version` is 4, 6, or 0 for either."""
        known = self._transports.get(index)
        wanted = version or self._version_of(index) or (6 if ":" in self.terms.host else 4)
        if known is not None and wanted == (6 if ":" in known.host else 4):
            return known
        opened = self._open(index, wanted)
        if opened is None:
            if wanted == (6 if ":" in self.terms.host else 4):
                raise NegotiationError("no port is left for another stream", status=503)
            raise NegotiationError(f"IPv{wanted} is not reached from here", warning=ADDRESS_FORMAT)
        self._transports[index] = opened
        return opened

    def _describe(self, proposal: _Proposal) -> bytes:
        """A description, with a higher version where it says something else than the one before (RFC 3264 8)."""
        what = compose.content(self.terms.host, tuple(one.section for one in proposal.lines), proposal.bundle)
        if what != self._sent:
            self._sent = what
            self._version += 1
        return compose.description(self._session_id, self._version, self.terms.host, what)


__all__ = ["Negotiation", "State"]
