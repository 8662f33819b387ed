"""What a shape is, and the metadata of clients that keep to RFC 7865."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from tests.flow.sipp import Transport
from tests.flow.siprec.scenario import RFC, Client
from tests.flow.siprec.speaking import Say

MS: Final = 1000
ELSEWHERE: Final = "127.0.0.9"  # of clients that are known by their address alone


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a client: its scenario for these ports, how many ports, and what is said. `host` is where it signals from, `call_id` what its Call-ID begins with."""

    script: Callable[[Sequence[int]], Client]
    ports: int = 2
    says: tuple[Say, ...]
    transport: Transport = "u1"
    host: str = "127.0.0.1"
    call_id: str = ""


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A participant: whose voice it is in `sends` and what it hears in `hears`, by stream ids."""

    id: str
    aor: str = ""
    name: str = ""
    sends: tuple[str, ...] = ()
    hears: tuple[str, ...] = ()
    left: str = ""


def named(person: Person) -> str:
    """The nameID of a participant."""
    name = f'<name xml:lang="en">{person.name}</name>' if person.name else ""
    return f'<nameID aor="{person.aor}">{name}</nameID>' if person.aor else ""


def metadata(
    session: str, people: Sequence[Person], streams: Sequence[tuple[str, str]], *, mode: str = "complete", group: str = "", sip_session: str = "", namespace: str = RFC,
    since: str = "2026-03-02T09:30:00Z", more: str = "",
) -> str:  # fmt: skip
    """A document of RFC 7865 5: `streams` are ids with their labels, `more` stands in the session."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<recording xmlns="{namespace}">', f"<datamode>{mode}</datamode>"]
    if group:
        lines.append(f'<group group_id="{group}"><associate-time>{since}</associate-time></group>')
    lines.append(
        f'<session session_id="{session}">' + (f"<sipSessionID>{sip_session}</sipSessionID>" if sip_session else "") + (f"<group-ref>{group}</group-ref>" if group else "")
        + f"<start-time>{since}</start-time>{more}</session>"
    )  # fmt: skip
    lines += [f'<participant participant_id="{one.id}">{named(one)}</participant>' for one in people]
    lines += [f'<stream stream_id="{stream}" session_id="{session}"><label>{label}</label></stream>' for stream, label in streams]
    lines.append(f'<sessionrecordingassoc session_id="{session}"><associate-time>{since}</associate-time></sessionrecordingassoc>')
    for one in people:
        until = f"<disassociate-time>{one.left}</disassociate-time>" if one.left else ""
        lines.append(f'<participantsessionassoc participant_id="{one.id}" session_id="{session}"><associate-time>{since}</associate-time>{until}</participantsessionassoc>')
        carried = "".join([*(f"<send>{stream}</send>" for stream in one.sends), *(f"<recv>{stream}</recv>" for stream in one.hears)])
        lines.append(f'<participantstreamassoc participant_id="{one.id}">{carried}<associate-time>{since}</associate-time>{until}</participantstreamassoc>')
    return "\n".join([*lines, "</recording>"])


def two_voices(law: str = "ulaw", packets: int = 90) -> tuple[Say, ...]:
    """Both lines from the first answer on, the second 500 ms behind the first; the first until the end."""
    return (Say(line=0, packets=0, law=law), Say(line=1, packets=packets, delay_ms=500, law=law))  # type: ignore[arg-type]


__all__ = ["ELSEWHERE", "MS", "Person", "Shape", "metadata", "named", "two_voices"]
