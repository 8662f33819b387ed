"""A recording client of which a test decides every byte: messages over a socket of its own, and what comes back."""

from __future__ import annotations

import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from tests.flow.siprec.scenario import Body, description, line, metadata_part, multipart, session_part
from tests.flow.siprec.shapes.shape import Person, metadata
from tests.flow.siprec.wire import Noted, parsed

HOST: Final = "127.0.0.1"
WAIT_S: Final = 8.0
_LENGTH: Final = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)


def plain_body(port: int = 20_000, lines: int = 2) -> Body:
    """A body as it is to be, with media from these ports."""
    people = [Person(id=f"person-{at}", aor=f"sip:person{at}@example.com", name=f"Person {at}", sends=(f"s{at}",)) for at in range(lines)]
    offer = description(*(line(port + 2 * at, str(at + 1)) for at in range(lines)))
    return multipart("raw", session_part(offer), metadata_part(metadata("raw-session", people, [(f"s{at}", str(at + 1)) for at in range(lines)])))


class Dialog:
    """One call of a peer: what its messages have in common."""

    def __init__(self, peer: Peer, call_id: str) -> None:
        self.peer = peer
        self.call_id = call_id
        self.tag = secrets.token_hex(6)
        self.to_tag = ""
        self.cseq = 0

    def request(self, method: str, body: Body | None = None, *headers: str, number: int = 0, branch: str = "", tags: bool = True) -> bytes:
        """A message. `number` is its CSeq where that is not the next one; without `tags` it has none."""
        if not number:
            self.cseq += 1
            number = self.cseq
        content = body[1].replace("\r\n", "\n").replace("\n", "\r\n").encode("latin-1", "surrogateescape") if body else b""
        host, port = self.peer.address
        lines = [
            f"{method} sip:srs@{HOST}:{self.peer.to[1]} SIP/2.0", f"Via: SIP/2.0/{self.peer.transport} {host}:{port};rport;branch=z9hG4bK{branch or secrets.token_hex(8)}",
            f"From: <sip:raw@{host}:{port}>" + (f";tag={self.tag}" if tags else ""), f"To: <sip:srs@{HOST}>" + (f";tag={self.to_tag}" if tags and self.to_tag else ""),
            f"Call-ID: {self.call_id}", f"CSeq: {number} {method}", f"Contact: <sip:raw@{host}:{port};transport={self.peer.transport.lower()}>;+sip.src", "Max-Forwards: 70",
            *(["Require: siprec"] if method == "INVITE" else []), *headers, *([f"Content-Type: {body[0]}"] if body else []), f"Content-Length: {len(content)}",
        ]  # fmt: skip
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + content

    def answered(self, noted: Noted) -> Noted:
        """Takes over what an answer says of the dialog."""
        if (found := re.search(r";tag=([^;>]+)", noted.header("to"))) is not None:
            self.to_tag = found[1]
        return noted

    def invite(self, body: Body | None, *headers: str) -> Noted:
        """An INVITE and its final answer, which is acknowledged."""
        data = self.request("INVITE", body, *headers)
        self.peer.send(data)
        answer = self.answered(self.final("INVITE"))
        self.acknowledge(answer, data)
        return answer

    def acknowledge(self, answer: Noted, invite: bytes, body: Body | None = None) -> None:
        """The ACK of an answer (RFC 3261 13.2.2.4, 17.1.1.3)."""
        branch = ""
        if answer.status >= 300:
            branch = re.search(rb"branch=z9hG4bK([^\s;]+)", invite)[1].decode()  # type: ignore[index]
        self.peer.send(self.request("ACK", body, number=int(answer.header("cseq").split()[0]), branch=branch))

    def bye(self) -> Noted:
        """A BYE and its answer."""
        self.peer.send(self.request("BYE"))
        return self.final("BYE")

    def final(self, method: str, within_s: float = WAIT_S) -> Noted:
        """The next final answer to a method. Raises AssertionError when none comes."""
        call_id = self.call_id.encode("utf-8", "surrogateescape").decode("latin-1")
        return self.peer.next(lambda one: one.status >= 200 and one.method == method and one.header("call-id") == call_id, f"an answer to {method} of {self.call_id[:60]!r}", within_s)


class Peer:
    """An address that talks to the server."""

    def __init__(self, to: tuple[str, int], transport: str = "UDP") -> None:
        self.to = to
        self.transport = transport
        self.heard: list[Noted] = []
        self._kept = b""
        if transport == "TCP":
            self._socket = socket.create_connection(to, timeout=WAIT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            self._socket.bind((HOST, 0))
            self._socket.connect(to)

    @property
    def address(self) -> tuple[str, int]:
        """Its own."""
        host, port = self._socket.getsockname()
        return host, port

    def dialog(self, call_id: str = "") -> Dialog:
        """A call that is to be."""
        return Dialog(self, call_id or f"{secrets.token_hex(8)}@raw")

    def send(self, data: bytes, pieces: Sequence[int] = ()) -> None:
        """Sends bytes; of a stream in pieces of these sizes, again and again, each a segment of its own."""
        if not pieces:
            self._socket.sendall(data)
            return
        at, turn = 0, 0
        while at < len(data):
            self._socket.sendall(data[at : at + pieces[turn % len(pieces)]])
            at, turn = at + pieces[turn % len(pieces)], turn + 1

    def next(self, is_it: Callable[[Noted], bool], what: str, within_s: float = WAIT_S) -> Noted:
        """The first message for which something holds, which then counts as read; the others stay. Raises AssertionError when none comes."""
        deadline = time.monotonic() + within_s
        while True:
            for at, one in enumerate(self.heard):
                if is_it(one):
                    return self.heard.pop(at)
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"{what} did not come; there is {[(one.first, one.header('cseq')) for one in self.heard]}"
            self._read(left_s)

    def listen(self, for_s: float) -> list[Noted]:
        """Everything that was not read so far, and what comes within that time."""
        deadline = time.monotonic() + for_s
        while (left_s := deadline - time.monotonic()) > 0:
            self._read(left_s)
        return self.heard

    def _read(self, within_s: float) -> None:
        self._socket.settimeout(max(within_s, 0.001))
        try:
            data = self._socket.recv(1 << 20)
        except (TimeoutError, ConnectionError):
            return
        if self.transport == "UDP":
            self._take(data)
            return
        self._kept = (self._kept + data).lstrip(b"\r\n")  # an answer to a keep-alive (RFC 5626 4.4.1)
        while (end := self._kept.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._kept[:end])
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._kept) < whole:
                return
            self._take(self._kept[:whole])
            self._kept = self._kept[whole:].lstrip(b"\r\n")

    def _take(self, data: bytes) -> None:
        if data.strip():
            self.heard.append(parsed(time.time(), False, data.decode("latin-1")))

    def close(self) -> None:
        """Its socket."""
        self._socket.close()


@contextmanager
def peer(port: int, transport: str = "UDP") -> Iterator[Peer]:
    """One that talks to a port of this machine."""
    made = Peer((HOST, port), transport)
    try:
        yield made
    finally:
        made.close()


__all__ = ["HOST", "Dialog", "Peer", "peer", "plain_body"]
