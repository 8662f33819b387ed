"""A SIP station for tests: the engine's transports and transactions on real sockets, under a user that answers what comes.

It answers INVITE with 180 and 200 (repeating the 200 until its ACK, RFC 3261 13.3.1.4), and BYE and OPTIONS with 200; others with 405.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from engine.sip.flow import Flow
from engine.sip.message import Message
from engine.sip.transaction import InviteServer, NonInviteServer
from engine.sip.transaction_layer import TransactionLayer
from engine.sip.transport import Streams, Udp

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
T1_S, T2_S = 0.5, 4.0


class Station:
    """Its sockets and what it saw."""

    def __init__(self) -> None:
        self.layer = TransactionLayer(self, asyncio.get_running_loop())
        self.udp: Udp | None = None
        self.tcp = Streams(self.layer.received)
        self.tls: Streams | None = None
        self.seen: list[str] = []
        self.acked = self.ended = self.cancelled = self.strays = self.not_acked = 0
        self._unacked: dict[tuple[str, int], asyncio.TimerHandle] = {}
        self._tags = 0

    @property
    def unacked(self) -> int:
        """2xx that wait for their ACK."""
        return len(self._unacked)

    def on_request(self, transaction: InviteServer | NonInviteServer, flow: Flow) -> None:
        request = transaction.request
        self.seen.append(request.method)
        if isinstance(transaction, InviteServer):
            self._tags += 1
            host, port = (self.udp.address if flow.transport == "UDP" and self.udp else self.tcp.address)
            headers = [("Contact", f"<sip:station@{host}:{port};transport={flow.transport.lower()}>")]
            tag = f"station{self._tags}"
            self.layer.respond(transaction, 180, to_tag=tag, headers=headers)
            data = self.layer.respond(transaction, 200, to_tag=tag, headers=[*headers, ("Content-Type", "application/sdp")], body=SDP)
            cseq = request.cseq[0] if request.cseq else 0
            self._await_ack((request.call_id, cseq), flow, data, T1_S, 0.0)
        elif request.method in ("BYE", "OPTIONS"):
            self.ended += request.method == "BYE"
            self.layer.respond(transaction, 200, to_tag="station")
        else:
            self.layer.respond(transaction, 405, to_tag="station", headers=[("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS")])

    def _await_ack(self, key: tuple[str, int], flow: Flow, data: bytes, interval_s: float, waited_s: float) -> None:
        def again() -> None:
            if waited_s + interval_s >= 64 * T1_S:
                del self._unacked[key]
                return
            flow.send(data)
            self._await_ack(key, flow, data, min(2 * interval_s, T2_S), waited_s + interval_s)

        self._unacked[key] = asyncio.get_running_loop().call_later(interval_s, again)

    def on_ack(self, ack: Message, flow: Flow) -> None:
        waiting = self._unacked.pop((ack.call_id, ack.cseq[0] if ack.cseq else 0), None)
        if waiting is not None:
            waiting.cancel()
            self.acked += 1

    def on_cancel(self, invite: InviteServer) -> None:
        self.cancelled += 1
        self.layer.respond(invite, 487, to_tag="station")

    def on_stray_response(self, response: Message, flow: Flow) -> None:
        self.strays += 1

    def on_no_ack(self, invite: InviteServer) -> None:
        self.not_acked += 1

    def close(self) -> None:
        for handle in self._unacked.values():
            handle.cancel()
        self.layer.close()
        for transport in (self.udp, self.tcp, self.tls):
            if transport is not None:
                transport.close()


@asynccontextmanager
async def station(tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Station]:
    """A station on free ports of this machine."""
    made = Station()
    made.udp = await Udp.listen(host, 0, made.layer.received)
    await made.tcp.listen(host, 0)
    if tls is not None:
        made.tls = Streams(made.layer.received, tls=tls)
        await made.tls.listen(host, 0)
    try:
        yield made
    finally:
        made.close()
        await asyncio.sleep(0)
