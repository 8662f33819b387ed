"""Whose voices are in which m= line of a recording session, and where its description and its metadata contradict each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from engine.siprec.facts import Party
from engine.siprec.identities import same_party
from engine.siprec.metadata import Stream

if TYPE_CHECKING:
    from engine.siprec.view import View

By = Literal["association", "participant_ref", "inline", "stream_id", "former", "position", ""]


class OfferedLine(msgspec.Struct, frozen=True, kw_only=True):
    """An m= line of the description: its place, a=label and the cname of a=ssrc."""

    index: int
    label: str = ""
    cname: str = ""


class ChannelParties(msgspec.Struct, frozen=True, kw_only=True):
    """Whose voices are in an m= line, by place: `parties` send into it now, `former` did before. `by` is how that is known; "position" is a guess, "former" that nobody
    sends at present (a hold) and those who did are still there."""

    index: int
    label: str = ""
    stream_id: str = ""
    parties: tuple[int, ...] = ()
    former: tuple[int, ...] = ()
    by: By = ""


def _streams_of_lines(view: View, lines: Sequence[OfferedLine]) -> dict[int, Stream]:
    """The stream of each m= line: by its label, by an identifier that is the label, and what is left over by position."""
    left = list(view.streams)
    found: dict[int, Stream] = {}

    def take(line: OfferedLine, stream: Stream | None) -> None:
        if stream is not None and line.index not in found:
            found[line.index] = stream
            left.remove(stream)

    for line in lines:
        take(line, next((stream for stream in left if stream.media_index == line.index), None))
    for line in lines:
        take(line, next((stream for stream in left if line.label and stream.label == line.label), None))
    for line in lines:
        take(line, next((stream for stream in left if line.label and stream.stream_id == line.label), None))
    for line in lines:
        if line.index not in found and not view.is_sent(line.label):
            take(line, left[0] if left else None)
    return found


def _of_line(view: View, line: OfferedLine, stream: Stream | None, guessed: bool) -> ChannelParties:
    by: By = ""
    parties: tuple[int, ...] = ()
    former: tuple[int, ...] = ()
    if stream is not None:
        parties, by = view.senders(stream)
        former = view.former(stream)
        if not parties:
            present = set(view.present)
            parties = tuple(place for place in former if place in present)
            by = "former" if parties else ""
        elif guessed:
            by = "position"
        elif stream.label != line.label and stream.media_index != line.index:
            by = "stream_id"
    elif line.label:
        parties = view.parties_of_stream(line.label)
        by = "stream_id" if parties else ""
    return ChannelParties(
        index=line.index, label=line.label, stream_id=stream.stream_id if stream else "", parties=parties,
        former=tuple(place for place in former if place not in parties), by=by,
    )  # fmt: skip


def channels(view: View, lines: Sequence[OfferedLine]) -> tuple[ChannelParties, ...]:
    """Whose voices are in each m= line, one entry a line, in their order.

    A line is joined to a stream by label, and a stream to participants by their participantstreamassoc, by its participant-ref, by what they name inside them, by a label
    that is the identifier of a stream. What nothing says goes by position: the first of those who send nothing is in the first line that has no one; all are in the one
    line of a call that is mixed.
    """
    streams = _streams_of_lines(view, lines)
    alone = len(lines) == 1 and len(view.streams) == 1
    found = [_of_line(view, line, streams.get(line.index), not alone and _is_guess(line, streams.get(line.index))) for line in lines]
    claimed = {place for channel in found for place in channel.parties}
    idle = [place for place in view.present if place not in claimed]
    empty = [number for number, channel in enumerate(found) if not channel.parties]
    for number in empty:
        parties = tuple(idle) if len(lines) == 1 else tuple(idle[:1])
        del idle[: len(parties)]
        if parties:
            found[number] = msgspec.structs.replace(found[number], parties=parties, by="position")
    return tuple(found)


def _is_guess(line: OfferedLine, stream: Stream | None) -> bool:
    return stream is not None and stream.media_index != line.index and (not line.label or line.label not in (stream.label, stream.stream_id))


def order_of(view: View, channels: Sequence[ChannelParties]) -> tuple[int, ...]:
    """The m= lines in the order of channels: the caller's first and the callee's behind it where they are known, then by the first appearance of whom they carry, and
    last those of whom nothing is known."""
    roles = {party.place: party.role for party in view.participants}
    ranks = {"caller": 0, "callee": 1}

    def rank(channel: ChannelParties) -> tuple[int, int, int]:
        parties = channel.parties or channel.former
        return (min((ranks.get(roles.get(place, ""), 2) for place in parties), default=3), min(parties, default=channel.index), channel.index)

    return tuple(channel.index for channel in sorted(channels, key=rank))


def check(view: View, lines: Sequence[OfferedLine]) -> tuple[str, ...]:
    """Where the metadata and the description contradict each other: texts that begin with duplicate_label, unknown_label (of the metadata, in no m= line), unclaimed_label
    (of an m= line, in no metadata), unlabelled, no_sender, ambiguous_sender, participant_mismatch or position."""
    if not view.streams and not view.participants:
        return ()
    return tuple(dict.fromkeys((*_label_problems(view, lines), *_sender_problems(view, lines))))


def _label_problems(view: View, lines: Sequence[OfferedLine]) -> Iterator[str]:
    offered = Counter(line.label for line in lines if line.label)
    known = Counter((stream.session_id, stream.label) for stream in view.streams if stream.label)
    for label, count in offered.items():
        if count > 1:
            yield f"duplicate_label: {label[:64]} labels {count} m= lines"
    for (_, label), count in known.items():
        if count > 1:
            yield f"duplicate_label: {label[:64]} labels {count} streams of the metadata"
    if len(lines) > 1 and (bare := [line.index for line in lines if not line.label]):
        yield f"unlabelled: {len(bare)} of {len(lines)} m= lines have no label"
    for stream in view.streams:
        # a stream that nobody sends any more may have lost its line: that is how a party leaves
        if stream.label and stream.label not in offered and (view.senders(stream)[0] or not view.former(stream)):
            yield f"unknown_label: {stream.label[:64]} of the metadata labels no m= line"
    labels = {label for _, label in known} | {stream.stream_id for stream in view.streams}
    for label in offered:
        if label not in labels and not view.is_sent(label):
            yield f"unclaimed_label: {label[:64]} of an m= line is in no stream of the metadata"


def _sender_problems(view: View, lines: Sequence[OfferedLine]) -> Iterator[str]:
    parties = {party.place: party for party in view.participants}
    streams = _streams_of_lines(view, lines)
    for line, channel in zip(lines, channels(view, lines), strict=True):
        stream = streams.get(line.index)
        if channel.by == "position":
            yield f"position: whose voice is in m= line {line.index} goes by position"
        elif not channel.parties and not channel.former and stream is not None:
            yield f"no_sender: nobody sends the stream of m= line {line.index}"
        elif len(channel.parties) > 1 and len(lines) > 1 and not (stream and stream.mode == "mixed"):
            yield f"ambiguous_sender: {len(channel.parties)} participants send into m= line {line.index}"
        if line.cname and channel.parties and not any(_is_of(line.cname, parties[place]) for place in channel.parties):
            others = [party for party in parties.values() if _is_of(line.cname, party)]
            if others:
                yield f"participant_mismatch: m= line {line.index} has the cname of participant {others[0].place}, the metadata has another"


def _is_of(cname: str, party: Party) -> bool:
    return any(same_party(cname, aor) for aor in party.aors)


__all__ = ["By", "ChannelParties", "OfferedLine", "channels", "check", "order_of"]
