"""Our endpoint as a phone that answers everybody: 180 and 200 to INVITE, 200 to BYE. `python -m bench.uas PORT [SESSION_EXPIRES_S]`.

Sockets, transactions, dialogs and session timers are the engine's; only that it answers, and with what description, is decided here. On
SIGUSR1 it tells what it has on one line; on SIGTERM it tells again and ends.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from pathlib import Path

import msgspec
import uvloop

from engine.sip.endpoint import Endpoint, Listener
from engine.sip.incoming import IncomingCall
from engine.sip.session_timer import TimerSettings
from engine.sip.user_agent import Application, Settings

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
RECEIVE_BUFFER_BYTES = 8 << 20
COLLECT_AT = (2_000, 20_000, 100)  # as engine workers do


class Fixed:
    """A session that always says the same: what is measured is SIP."""

    def local_offer(self) -> bytes:
        """An offer."""
        return SDP

    def remote_offer(self, body: bytes) -> bytes:
        """An answer."""
        return SDP

    def remote_answer(self, body: bytes) -> None:
        """Theirs."""

    def rollback(self) -> None:
        """Nothing was changed."""

    def fork(self) -> Fixed:
        """It has nothing of its own."""
        return self


class Answerer(Application):
    """Answers at once."""

    def on_call(self, call: IncomingCall) -> None:
        """A call."""
        call.session = Fixed()
        call.ring()
        call.answer()


class Told(msgspec.Struct, frozen=True):
    """What it has."""

    answered: int
    calls: int
    dialogs: int
    transactions: int
    rss_bytes: int


async def main(port: int, expires_s: int) -> None:
    """Serves until SIGTERM."""
    endpoint = Endpoint(Answerer(), settings=Settings(timer=TimerSettings(expires_s=expires_s)))
    await endpoint.listen(Listener(host="127.0.0.1", port=port))
    for found in endpoint.datagram_sockets:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AT)
    agent = endpoint.agent

    def tell() -> None:
        rss = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
        told = Told(agent.counters.answered, agent.calls, len(agent.dialogs), agent.layer.counters.transactions, rss)
        print(msgspec.json.encode(told).decode(), flush=True)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, tell)
    await stop.wait()
    tell()
    await endpoint.close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1800))
