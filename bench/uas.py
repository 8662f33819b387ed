"""The least user of our transactions that SIPp's own scenario needs: 180 and 200 to INVITE, 200 to BYE. `python -m bench.uas PORT`.

The transactions, the transport and the messages are the engine's; only the decision what to answer is made here.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys

import uvloop

from engine.sip.flow import Flow
from engine.sip.message import Message
from engine.sip.transaction import InviteServer, NonInviteServer
from engine.sip.transaction_layer import TransactionLayer
from engine.sip.transport import Udp

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
CONTACT = ("Contact", "<sip:uas@127.0.0.1>")
RECEIVE_BUFFER_BYTES = 8 << 20


class Answerer:
    """Answers, and repeats a 200 until its ACK."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.layer = TransactionLayer(self, self.loop)
        self.calls = 0
        self._unacked: dict[str, asyncio.TimerHandle] = {}

    def on_request(self, transaction: InviteServer | NonInviteServer, flow: Flow) -> None:
        """Answers a request."""
        if not isinstance(transaction, InviteServer):
            self.calls += 1
            self.layer.respond(transaction, 200, to_tag="bench")
            return
        self.layer.respond(transaction, 180, to_tag="bench", headers=[CONTACT])
        data = self.layer.respond(
            transaction, 200, to_tag="bench", headers=[CONTACT, ("Content-Type", "application/sdp")], body=SDP
        )
        self._again(transaction.request.call_id, flow, data, 0.5)

    def _again(self, call_id: str, flow: Flow, data: bytes, interval_s: float) -> None:
        def fire() -> None:
            flow.send(data)
            if interval_s < 16:
                self._again(call_id, flow, data, 2 * interval_s)

        self._unacked[call_id] = self.loop.call_later(interval_s, fire)

    def on_ack(self, ack: Message, flow: Flow) -> None:
        """Ends the repeats."""
        waiting = self._unacked.pop(ack.call_id, None)
        if waiting is not None:
            waiting.cancel()

    def on_cancel(self, invite: InviteServer) -> None:
        """Nobody cancels here."""

    def on_stray_response(self, response: Message, flow: Flow) -> None:
        """Nothing was asked."""

    def on_no_ack(self, invite: InviteServer) -> None:
        """Nothing is refused here."""


async def main(port: int) -> None:
    """Serves until SIGTERM, then tells how many calls ended."""
    answerer = Answerer()
    udp = await Udp.listen("127.0.0.1", port, answerer.layer.received)
    bound = udp.socket
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    stop = asyncio.Event()
    answerer.loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    print(answerer.calls, answerer.layer.counters.received, answerer.layer.counters.sent, flush=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
