"""What the tests of offers and answers are written with: descriptions line by line, and negotiations whose randomness is a number."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from engine._native.sdp import Flag
from engine.sdp.codecs import PCMA, PCMU
from engine.sdp.description import Description, parse
from engine.sdp.offer_answer import Negotiation
from engine.sdp.terms import Terms, Transport

HOST = "192.0.2.1"
PORT = 20000
KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"  # of RFC 4568 9.1
OTHER_KEY = "PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR"


def offer(*media: str, host: str = "198.51.100.7", session: tuple[str, ...] = (), version: int = 1, session_id: str = "77") -> bytes:
    """A description of theirs; the lines of `session` stand behind t=."""
    head = ("v=0", f"o=- {session_id} {version} IN IP{6 if ':' in host else 4} {host}", "s=-", f"c=IN IP{6 if ':' in host else 4} {host}", "t=0 0")
    return "".join(f"{line}\r\n" for line in (*head, *session, *media)).encode("latin-1")


def terms(**more: Any) -> Terms:
    return msgspec.structs.replace(Terms(host=HOST, codecs=(PCMU, PCMA)), **more)


class Ports:
    """An opener that counts, and has ports only for the IP versions it knows."""

    def __init__(self, versions: tuple[int, ...] = (4,), limit: int = 1000) -> None:
        self.versions, self.limit = versions, limit
        self.opened: list[tuple[int, int]] = []

    def __call__(self, index: int, version: int) -> Transport | None:
        if version not in self.versions or len(self.opened) >= self.limit:
            return None
        self.opened.append((index, version))
        port = PORT + 2 * len(self.opened) - 2
        return Transport(host=HOST if version == 4 else "2001:db8::1", port=port, rtcp_port=port + 1)


def negotiation(*, seed: int = 1, ports: Ports | None = None, **more: Any) -> Negotiation:
    return Negotiation(terms(**more), ports or Ports(), random=Random(seed).randbytes)


def read(body: bytes) -> Description:
    """A description of ours, which never has a defect."""
    found = parse(body)
    assert found is not None
    assert found.row.flags == Flag(0), found.defects
    return found


def lines(body: bytes, start: str) -> list[str]:
    """The lines of a description that begin with something."""
    return [line for line in body.decode().split("\r\n") if line.startswith(start)]
