"""Offers and answers of a recording session (RFC 7866 7.1): each m= line is answered, received only or not at all, and stays as it is where nobody says otherwise."""

from __future__ import annotations

import msgspec

from engine.sdp.offer_answer import Negotiation, State


class RecordingNegotiation(Negotiation):
    """The negotiation of a session recording server.

    An INVITE without an offer, inside the call, is offered what holds (RFC 3261 14.2): it comes with metadata alone, and changes no media. Where its ACK has no answer
    then, what holds goes on.
    """

    __slots__ = ()
    offers_what_holds = True

    def local_offer(self, *, streams: int | None = None) -> bytes:
        """What holds, again; a first offer where nothing does yet."""
        return self.refresh() if self.state is State.STABLE else super().local_offer(streams=streams)

    def directed(self, *, inactive: bool) -> bytes:
        """An offer that stops what they send, or has them send again."""
        before = self.terms
        self.terms = msgspec.structs.replace(before, direction="inactive" if inactive else "recvonly")
        try:
            return super().local_offer()
        except BaseException:
            self.terms = before
            raise


__all__ = ["RecordingNegotiation"]
