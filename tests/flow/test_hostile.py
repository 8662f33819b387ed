"""An endpoint on real sockets among enemies: every torture message over every transport, a systematic set of malformed INVITEs, and floods of
junk, while good calls go on. Afterwards nothing is left."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from engine.sip.endpoint import Endpoint, Listener, Tls
from engine.sip.incoming import IncomingCall
from engine.sip.message import split_stream
from engine.sip.outgoing import Identity
from engine.sip.timers import Timers
from engine.sip.user_agent import Application
from tests.engine.sip.test_transport import until
from tests.engine.test_sip_worker import Plain, Watched
from tests.flow.certificates import Certificates, certificates
from tests.fuzz.test_protos import messages as malformed_invites
from tests.rfc import torture
from tests.rfc.test_torture_calls import ALL, EXPECTED
from tests.rfc.test_torture_transactions import DROPPED, REFUSED, RESPONSES

pytestmark = pytest.mark.slow
QUICK = Timers(t1_s=0.05, t2_s=0.2, t4_s=0.2, d_s=0.5)  # so that what lingers is over soon
WAIT_S, MOMENT_S = 10.0, 0.02
GOOD_CALLS = 200
JUNK = 20_000
ME = Identity(uri="sip:good@127.0.0.1")
Names = tuple[str, ...]


class Answering(Application):
    """Rings the calls of strangers, and answers those of the good."""

    def __init__(self) -> None:
        self.strangers: list[IncomingCall] = []

    def on_call(self, call: IncomingCall) -> None:
        call.session = Plain()
        if "sip:good@" in call.remote_uri:
            call.answer()
        else:
            call.ring()
            self.strangers.append(call)


Work = Callable[[Endpoint, Answering, dict[str, tuple[str, int]]], Awaitable[None]]


def play(work: Work, names: Names = ("UDP", "TCP"), made: Certificates | None = None) -> None:
    async def run() -> None:
        application = Answering()
        tls = Tls(server=made.server_context(), client=made.client_context()) if made is not None else Tls()
        endpoint = Endpoint(application, timers=QUICK, tls=tls)
        addresses = {name: await endpoint.listen(Listener(transport=name, host="127.0.0.1", port=0)) for name in names}  # type: ignore[arg-type]
        try:
            async with asyncio.timeout(90):
                await work(endpoint, application, addresses)
                for call in application.strangers:
                    if call.request is not None:
                        call.refuse(480)
                agent = endpoint.agent
                await until(lambda: agent.layer.counters.transactions == 0 and endpoint.sockets == 0)
                assert agent.calls == len(agent.dialogs) == len(agent._invites) == len(agent.layer._begun) == 0
        finally:
            await endpoint.close()

    uvloop.run(run())


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.heard = asyncio.Queue[bytes]()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard.put_nowait(data)


async def sent_over_udp(address: tuple[str, int], data: bytes, answered: bool) -> list[int]:
    """Statuses that come back: the first is waited for where there must be one, others for a moment."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
    transport.sendto(data)
    statuses = []
    try:
        while True:
            async with asyncio.timeout(WAIT_S if answered and not statuses else MOMENT_S):
                statuses += [message.status for message in split_stream(await protocol.heard.get())[0]]
    except TimeoutError:
        pass
    transport.close()
    return statuses


async def sent_over_a_stream(address: tuple[str, int], data: bytes, context: ssl.SSLContext | None, answered: bool) -> list[int]:
    reader, writer = await asyncio.open_connection(*address, ssl=context)
    writer.write(data)
    told = b""
    try:
        while True:
            async with asyncio.timeout(WAIT_S if answered and not told else MOMENT_S):
                piece = await reader.read(65536)
            if not piece:
                break
            told += piece
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
    return [message.status for message in split_stream(told)[0]]


# What a stream makes of messages that lie about their length: it waits for the rest, or takes what follows for a message.
WAITS = {"clerr"}
MORE_THAN_ONE = {"dblreq"}
# Without a Content-Length a stream has no body (18.3): what was refused for its body, or rang with it, is taken without.
NO_LENGTH = {"inv2543"}
# Its bytes are cut behind the head, so that it is a message like any other.
CUT = {"mcl01", "ncl", "baddn"}


@pytest.mark.parametrize("transport", ["UDP", "TCP", "TLS"])
def test_every_torture_message_gets_its_status_over_every_transport(tmp_path: Path, transport: str) -> None:
    made = certificates(tmp_path)

    async def work(endpoint: Endpoint, application: Answering, addresses: dict[str, tuple[str, int]]) -> None:
        context = made.client_context() if transport == "TLS" else None
        for name, title in ALL:
            data = torture.wire(name, title)
            endpoint.agent.close()  # some have one branch, and would be repeats of each other
            silent = title in DROPPED or title in RESPONSES
            if transport == "UDP":
                statuses = await sent_over_udp(addresses["UDP"], data, not silent)
            else:
                unsure = silent or title in WAITS | MORE_THAN_ONE | NO_LENGTH | CUT
                statuses = await sent_over_a_stream(addresses[transport], data, context, not unsure)
            expected = REFUSED.get(title) if name == "rfc4475" else None
            if silent:
                assert statuses == [], title
                continue
            expected = EXPECTED[title] if expected is None else expected
            if transport != "UDP" and title in WAITS:
                assert statuses == [], title
            elif transport != "UDP" and title in MORE_THAN_ONE | NO_LENGTH | CUT:
                assert statuses == [] or statuses[0] in (expected, 400), title
            else:
                assert set(statuses) - {100} == {expected}, (title, statuses)

    play(work, ("UDP", "TCP", "TLS"), made)


async def good_calls(endpoint: Endpoint, address: tuple[str, int], pause_s: float) -> float:
    """The share of calls that stand and end as they should, one beginning every `pause_s`."""
    caller = Endpoint(Application())
    await caller.listen(Listener(host="127.0.0.1", port=0))
    watched = Watched()
    for _ in range(GOOD_CALLS):
        caller.agent.call(f"sip:x@{address[0]}:{address[1]}", ME, session=Plain(), user=watched)
        await asyncio.sleep(pause_s)
    await until(lambda: len(watched.connected) + len(watched.endings) == GOOD_CALLS)
    share = len(watched.connected) / GOOD_CALLS
    for call in list(watched.connected):
        call.hang_up()
    await until(lambda: len(watched.endings) == GOOD_CALLS)
    await caller.close()
    return share


def test_malformed_invites_by_the_thousand_leave_good_calls_alone() -> None:
    async def work(endpoint: Endpoint, application: Answering, addresses: dict[str, tuple[str, int]]) -> None:
        async def attack() -> None:
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, remote_addr=addresses["UDP"])
            for at, data in enumerate(malformed_invites()):
                if len(data) < 60_000:
                    transport.sendto(data)
                if at % 20 == 0:
                    await asyncio.sleep(0.005)
                    for call in application.strangers:
                        if call.request is not None:
                            call.refuse(480)
                    application.strangers.clear()
            transport.close()

        attacking = asyncio.create_task(attack())
        assert await good_calls(endpoint, addresses["UDP"], 0.005) >= 0.99
        await attacking
        assert endpoint.agent.layer.counters.malformed > 500

    play(work)


def test_a_flood_of_junk_leaves_good_calls_alone(seed: int = 23) -> None:
    chance = random.Random(seed)
    whole = torture.wire("rfc4475", "wsinv")

    def junk() -> bytes:
        kind = chance.random()
        if kind < 0.4:
            return chance.randbytes(chance.choice([1, 20, 300, 1400]))
        if kind < 0.7:
            return whole[: chance.randrange(len(whole))]
        mutated = bytearray(whole)
        for _ in range(5):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        return bytes(mutated)

    async def work(endpoint: Endpoint, application: Answering, addresses: dict[str, tuple[str, int]]) -> None:
        async def flood() -> None:
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, remote_addr=addresses["UDP"])
            for at in range(JUNK):
                transport.sendto(junk())
                if at % 25 == 0:
                    await asyncio.sleep(0.0025)
            transport.close()

        async def connections() -> None:
            for _ in range(100):
                try:
                    _, writer = await asyncio.open_connection(*addresses["TCP"])
                    writer.write(junk())
                    await asyncio.sleep(0.005)
                    writer.close()
                except ConnectionError:
                    pass

        attacks = [asyncio.create_task(flood()), asyncio.create_task(connections())]
        assert await good_calls(endpoint, addresses["UDP"], 0.01) >= 0.99
        await asyncio.gather(*attacks)
        assert endpoint.agent.layer.counters.received > JUNK / 2

    play(work)
