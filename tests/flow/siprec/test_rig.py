"""The rig of these tests, by itself: scenarios that SIPp understands, logs that are read while they grow, and packets that say what they are to say. The other side is
a few lines of Python that answer whatever comes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email.parser import BytesParser
from pathlib import Path

import pytest

from tests.data.rtp_builder import rtp
from tests.flow.siprec import shapes_all
from tests.flow.siprec.calls import Call, Ringing
from tests.flow.siprec.speaking import SAMPLES
from tests.ports import free_ports

SHAPES = shapes_all.every()


class Answering(threading.Thread):
    """Answers all INVITEs, UPDATEs and BYEs with 200, each m= line with the port of one socket that hears everything."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(daemon=True)
        self.udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.udp.bind(("127.0.0.1", free_ports()))
        self.tcp = stack.enter_context(socket.create_server(self.udp.getsockname()))
        self.media = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.media.bind(("127.0.0.1", 0))
        self.media.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.bodies: list[tuple[str, bytes]] = []
        self.over = False

    def run(self) -> None:
        self.udp.settimeout(0.2)
        self.tcp.settimeout(0.01)
        while not self.over:
            try:
                data, peer = self.udp.recvfrom(65536)
            except TimeoutError:
                pass
            else:
                if answer := self.answer(data):
                    self.udp.sendto(answer, peer)
            try:
                connection, _ = self.tcp.accept()
            except TimeoutError:
                continue
            threading.Thread(target=self.stream, args=(connection,), daemon=True).start()

    def stream(self, connection: socket.socket) -> None:
        kept = b""
        with connection:
            while piece := connection.recv(65536):
                kept += piece
                while b"\r\n\r\n" in kept:
                    head, _, rest = kept.partition(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length:")[2].split()[0])
                    if len(rest) < length:
                        break
                    if answer := self.answer(head + b"\r\n\r\n" + rest[:length]):
                        connection.sendall(answer)
                    kept = rest[length:]

    def answer(self, data: bytes) -> bytes:
        first, _, rest = data.partition(b"\r\n")
        message = BytesParser().parsebytes(rest)
        self.bodies.append((message["Content-Type"] or "", rest.partition(b"\r\n\r\n")[2]))
        assert int(message["Content-Length"]) == len(self.bodies[-1][1]), data
        if first.startswith(b"ACK "):
            return b""
        lines = [line for line in rest.split(b"\r\n") if line.startswith(b"m=audio ")]
        labels = [line for line in rest.split(b"\r\n") if line.startswith(b"a=label:")]
        port = self.media.getsockname()[1]
        offered = lines or ([b"m=audio 0 RTP/AVP 0"] * 2 if first.startswith(b"INVITE") and not self.bodies[-1][1] else [])
        sdp = "" if not offered else "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n" + "".join(
            f"m=audio {port} RTP/AVP 0\r\na=recvonly\r\n" + (f"{labels[at].decode()}\r\n" if at < len(labels) else "") for at in range(len(offered))
        )  # fmt: skip
        copied = "".join(f"{name}: {message[name]}{';tag=far' if name == 'To' and 'tag=' not in message[name] else ''}\r\n" for name in ("Via", "From", "To", "Call-ID", "CSeq"))
        kind = "Content-Type: application/sdp\r\n" if sdp else ""
        port = self.udp.getsockname()[1]
        return f"SIP/2.0 200 OK\r\n{copied}Contact: <sip:far@127.0.0.1:{port}>;+sip.srs\r\n{kind}Content-Length: {len(sdp)}\r\n\r\n{sdp}".encode()


@contextmanager
def answering() -> Iterator[Answering]:
    with ExitStack() as stack:
        made = Answering(stack)
        made.start()
        try:
            yield made
        finally:
            made.over = True
            made.join()


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Call], Answering, list[bytes]]]:
    folder: Path = tmp_path_factory.mktemp("rig")
    with answering() as far, Ringing(folder, f"127.0.0.1:{far.udp.getsockname()[1]}", SHAPES) as ringing:
        ringing.speak(60)
        calls = ringing.finish()
        ended = {name: one.outcome for name, one in calls.items()}
        assert [name for name, outcome in ended.items() if (outcome.successful, outcome.failed, outcome.unexpected) != (1, 0, 0)] == [], ended
        far.media.setblocking(False)
        heard = []
        try:
            while True:
                heard.append(far.media.recv(2048))
        except BlockingIOError:
            pass
        yield calls, far, heard


@pytest.mark.parametrize("name", SHAPES)
def test_sipp_plays_the_scenario_to_its_end(called: tuple[dict[str, Call], Answering, list[bytes]], name: str) -> None:
    one = called[0][name]
    assert len(one.requests) == len(one.answers) and one.mouth.bye is not None
    assert all(spoken.sent for spoken in one.mouth.spoken)


def test_every_packet_is_what_it_is_to_be(called: tuple[dict[str, Call], Answering, list[bytes]]) -> None:
    """Each byte that was to be said was sent once, in packets with numbers in a row, spaced by 20 ms."""
    calls, _, heard = called
    by_source: dict[bytes, dict[int, bytes]] = {}
    for packet in heard:
        numbered = by_source.setdefault(packet[8:12], {})
        assert int.from_bytes(packet[2:4]) not in numbered
        numbered[int.from_bytes(packet[2:4])] = packet[12:]
    said = [spoken for one in calls.values() for spoken in one.mouth.spoken]
    assert sum(spoken.sent for spoken in said) == len(heard)
    whole = [b"".join(payload for _, payload in sorted(numbered.items())) for numbered in by_source.values()]
    for spoken in said:
        assert any(spoken.data[: spoken.sent * SAMPLES] in one for one in whole)
        assert abs(spoken.last_at - spoken.first_at - (spoken.sent - 1) * 0.02) < 0.1
    assert len(rtp(1, 2, b"")) == 12


def test_bodies_are_whole(called: tuple[dict[str, Call], Answering, list[bytes]]) -> None:
    """Content-Length is right everywhere, and multipart bodies have their ends."""
    _, far, _ = called
    multiparts = [body for kind, body in far.bodies if kind.startswith("multipart/")]
    assert len(multiparts) >= len([name for name in SHAPES if not name.startswith(("cisco-bib", "cisco-network", "freeswitch"))])
    assert all(body.endswith(b"--\r\n") for body in multiparts)
