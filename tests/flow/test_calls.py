"""Whole calls of the endpoint with real SIP programs on the other side, as caller and as called, over each transport, with and without a proxy."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal, ParamSpec, TypeVar

import pytest
import uvloop

from engine.sip import compose
from engine.sip.call import Call, CallUser, Ending, Session, State
from engine.sip.endpoint import Endpoint, Listener, Tls
from engine.sip.flow import Flow
from engine.sip.incoming import IncomingCall
from engine.sip.message import Message
from engine.sip.outgoing import Identity, OutgoingCall
from engine.sip.registration import Account, Registration
from engine.sip.registration import State as RegistrationState
from engine.sip.transaction import NonInviteServer
from engine.sip.transaction_layer import new_branch
from engine.sip.transfer import Transfer
from engine.sip.user_agent import Application
from tests.flow import sipsak
from tests.flow.baresip import Baresip, baresip
from tests.flow.certificates import Certificates, certificates
from tests.flow.kamailio import kamailio
from tests.flow.program import bracketed
from tests.flow.sipp import CALLED, CALLING, Outcome, sipp
from tests.flow.sipp import Transport as SippTransport

pytestmark = pytest.mark.slow
Name = Literal["UDP", "TCP", "TLS", "WS", "WSS"]
Proxied = Literal["udp", "tcp", "tls", "ws", "wss"]
Direct = Literal["udp", "tcp", "tls"]
WAIT_S: Final = 20.0
WHOLE_S: Final = 90.0
_DIRECTION: Final = re.compile(rb"(?m)^a=(sendrecv|sendonly|recvonly|inactive)\r?$")
P = ParamSpec("P")
T = TypeVar("T")


class Audio:
    """One stream of G.711 that is never sent: what an offer of it and an answer to one say (RFC 3264 6.1, 8.4)."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.sends = self.receives = True  # what we want
        self.remote = ""  # what they said last
        self.rolled_back = 0
        self._version = 0
        # a real port, so that media sent here disturbs nobody
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))

    def close(self) -> None:
        self._socket.close()

    def _description(self, sends: bool, receives: bool) -> bytes:
        self._version += 1
        direction = {(True, True): "sendrecv", (True, False): "sendonly", (False, True): "recvonly", (False, False): "inactive"}[sends, receives]
        address = f"IN IP{6 if ':' in self.host else 4} {self.host}"
        lines = (
            "v=0", f"o=engine 7 {self._version} {address}", "s=-", f"c={address}", "t=0 0",
            f"m=audio {self._socket.getsockname()[1]} RTP/AVP 0 8 101", "a=rtpmap:0 PCMU/8000", "a=rtpmap:8 PCMA/8000",
            "a=rtpmap:101 telephone-event/8000", f"a={direction}", "",
        )  # fmt: skip
        return "\r\n".join(lines).encode()

    def _heard(self, body: bytes) -> None:
        assert body.startswith(b"v=0"), body
        found = _DIRECTION.search(body)
        self.remote = found[1].decode() if found else "sendrecv"

    def local_offer(self) -> bytes:
        return self._description(self.sends, self.receives)

    def remote_answer(self, body: bytes) -> None:
        self._heard(body)

    def remote_offer(self, body: bytes) -> bytes:
        self._heard(body)
        return self._description(
            self.sends and self.remote in ("sendrecv", "recvonly"), self.receives and self.remote in ("sendrecv", "sendonly")
        )

    def rollback(self) -> None:
        self.rolled_back += 1

    def fork(self) -> Session:
        return self


class Telephone(Application, CallUser):
    """The endpoint, with somebody who answers every call and writes down what happens."""

    def __init__(self, host: str, made: Certificates | None, tls_max: ssl.TLSVersion, call_id: str) -> None:
        self.host = host
        self.told: list[str] = []
        self.endings: list[Ending] = []
        self.calls: list[IncomingCall] = []
        self.sessions: list[Audio] = []
        self.answers = True
        self.addresses: dict[str, tuple[str, int]] = {}
        tls = Tls()
        if made is not None:
            server = made.server_context()
            server.maximum_version = tls_max
            tls = Tls(server=server, client=made.client_context())
        self.endpoint = Endpoint(self, tls=tls, methods=("REGISTER",), new_call_id=(lambda: call_id) if call_id else None)

    async def listen(self, *names: Name) -> None:
        for name in names:
            self.addresses[name] = await self.endpoint.listen(Listener(transport=name, host=self.host, port=0))

    def address(self, name: Name) -> str:
        host, port = self.addresses[name]
        return f"{bracketed(host)}:{port}"

    def uri(self, name: Name = "UDP") -> str:
        return f"sip:engine@{self.address(name)}{'' if name == 'UDP' else f';transport={name.lower()}'}"

    def session(self) -> Audio:
        self.sessions.append(Audio(self.host))
        return self.sessions[-1]

    def dial(self, uri: str, *, user: str = "engine") -> OutgoingCall:
        return self.endpoint.agent.call(uri, Identity(uri=f"sip:{user}@{bracketed(self.host)}"), session=self.session(), user=self)

    async def ping(self, uri: str) -> int:
        answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.endpoint.agent.options(uri, Identity(uri="sip:engine@127.0.0.1"), lambda status, response: answered.set_result(status))
        return await asyncio.wait_for(answered, WAIT_S)

    async def until(self, true: Callable[[], bool]) -> None:
        """Until something holds. Raises AssertionError with what was told when it does not in time."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not true():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"it never came to that; told: {self.told}, ended: {self.endings}") from None

    async def heard(self, what: str, times: int = 1) -> None:
        await self.until(lambda: self.told.count(what) >= times)

    async def settled(self) -> None:
        """Until nothing of any call is left, which was all well-formed."""
        agent = self.endpoint.agent
        await self.until(lambda: agent.calls == 0 and len(agent.dialogs) == 0)
        assert agent.layer.counters.malformed == 0

    # ---- Application ----

    def on_call(self, call: IncomingCall) -> None:
        self.calls.append(call)
        call.user = self
        call.session = self.session()
        call.ring()
        if self.answers:
            call.answer()

    def on_request(self, transaction: NonInviteServer, flow: Flow) -> bool:
        if transaction.request.method != "REGISTER":
            return False
        self.told.append("register")
        self.endpoint.agent.layer.respond(transaction, 200, to_tag="registrar")
        return True

    # ---- CallUser ----

    def on_progress(self, call: Call, response: Message) -> None:
        self.told.append(f"progress {response.status}")

    def on_connected(self, call: Call) -> None:
        self.told.append("connected")

    def on_media(self, call: Call) -> None:
        assert isinstance(call.session, Audio)
        self.told.append(f"media {call.session.remote}")

    def on_offer_refused(self, call: Call, status: int) -> None:
        self.told.append(f"refused {status}")

    def on_refer(self, call: Call, transfer: Transfer) -> None:
        self.told.append("refer")
        if transfer.accept():
            assert transfer.target is not None
            identity = Identity(uri="sip:engine@127.0.0.1")
            self.endpoint.agent.follow(call, transfer.target, identity, tell=transfer.tell, session=self.session(), user=self)

    def on_transfer(self, call: Call, status: int) -> None:
        self.told.append(f"transfer {status}")

    def on_replaced(self, call: Call, by: Call) -> None:
        self.told.append("replaced")

    def on_ended(self, call: Call, ending: Ending) -> None:
        self.told.append("ended")
        self.endings.append(ending)


@asynccontextmanager
async def telephone(
    *names: Name, host: str = "127.0.0.1", made: Certificates | None = None, tls_max: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    call_id: str = "",
) -> AsyncIterator[Telephone]:  # fmt: skip
    phone = Telephone(host, made, tls_max, call_id)
    try:
        await phone.listen(*names)
        yield phone
    except BaseException as error:
        error.add_note(f"the endpoint was told {phone.told}, and of ends {phone.endings}")
        raise
    finally:
        await phone.endpoint.close()
        for session in phone.sessions:
            session.close()


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(WHOLE_S):
            await scenario()

    uvloop.run(run())


async def aside(wait: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Waits for a program, with the endpoint at work meanwhile."""
    return await asyncio.to_thread(wait, *arguments, **named)


def good(outcome: Outcome, calls: int) -> bool:
    """Whether all calls were made and ended well, and nothing came that was not expected."""
    return (outcome.successful, outcome.failed, outcome.unexpected, outcome.exit_status) == (calls, 0, 0, 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("tls"))


SIPP_NAMES: Final[dict[SippTransport, Name]] = {"u1": "UDP", "un": "UDP", "ui": "UDP", "t1": "TCP", "tn": "TCP"}
NAMES: Final[dict[str, Name]] = {"udp": "UDP", "tcp": "TCP", "tls": "TLS", "ws": "WS", "wss": "WSS"}


# ---- SIPp calls ----


# its scenario with regular expressions looks for an address of IPv4
@pytest.mark.parametrize(
    ("scenario", "host"),
    [(CALLING, "127.0.0.1"), (CALLING, "::1"), ("uac", "127.0.0.1"), ("uac", "::1"), ("regexp", "127.0.0.1")],
    ids=["calling", "calling-ipv6", "uac", "uac-ipv6", "regexp"],
)
@pytest.mark.parametrize("transport", ["u1", "un", "t1", "tn"])
def test_sipp_calls(tmp_path: Path, scenario: str, transport: SippTransport, host: str) -> None:
    async def run() -> None:
        name = SIPP_NAMES[transport]
        async with telephone("UDP", "TCP", host=host) as phone:
            with sipp(
                scenario, tmp_path, target=phone.address(name), host=host, transport=transport, calls=20, rate=100, pause_ms=20
            ) as calling:
                outcome = await aside(calling.finish)
                assert good(outcome, 20)
            await phone.settled()
            assert phone.told.count("connected") == phone.told.count("ended") == 20
            assert {ending.by for ending in phone.endings} == {"them"}

    play(run)


def test_sipp_calls_from_many_addresses(tmp_path: Path) -> None:
    async def run() -> None:
        addresses = [f"127.0.0.{number}" for number in range(2, 7)]
        async with telephone("UDP") as phone:
            fields = [[address] for address in addresses]
            with sipp(CALLING, tmp_path, target=phone.address("UDP"), transport="ui", calls=10, rate=50, fields=fields) as calling:
                outcome = await aside(calling.finish)
                assert good(outcome, 10)
            assert {call.flow.peer[0] for call in phone.calls if call.flow is not None} == set(addresses)
            await phone.settled()

    play(run)


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_sipps_branching_client_calls(tmp_path: Path, transport: SippTransport) -> None:
    """REGISTER, then INVITE with the same Call-ID and another From tag."""

    async def run() -> None:
        async with telephone("UDP", "TCP") as phone:
            with sipp("branchc", tmp_path, target=phone.address(SIPP_NAMES[transport]), transport=transport, calls=3) as calling:
                outcome = await aside(calling.finish)
                assert good(outcome, 3)
            await phone.settled()
            assert phone.told.count("register") == phone.told.count("connected") == 3

    play(run)


# ---- SIPp is called ----


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_sipp_is_called(tmp_path: Path, transport: SippTransport, host: str) -> None:
    async def run() -> None:
        async with telephone("UDP", host=host) as phone:
            with sipp(CALLED, tmp_path, host=host, transport=transport) as called:
                for _ in range(10):
                    phone.dial(called.uri(transport="udp" if transport == "u1" else "tcp"))
                await phone.heard("connected", 10)
                for call in phone.endpoint.agent:
                    call.hang_up()
                await phone.heard("ended", 10)
                outcome = await aside(called.finish)
                assert good(outcome, 10)
            await phone.settled()
            assert phone.told.count("progress 180") == 10
            assert {ending.by for ending in phone.endings} == {"us"}

    play(run)


def test_sipps_own_uas_is_called(tmp_path: Path) -> None:
    async def run() -> None:
        async with telephone("UDP") as phone:
            with sipp("uas", tmp_path) as called:
                call = phone.dial(called.uri("service"))
                await phone.heard("connected")
                call.hang_up()
                await phone.settled()
                outcome = await aside(called.finish)
                assert good(outcome, 1)

    play(run)


@pytest.mark.parametrize(("user", "status"), [("ua2", 200), ("ua1", 403)])
def test_sipps_branching_server_is_called(tmp_path: Path, user: str, status: int) -> None:
    """A REGISTER, then a call with the same Call-ID; it answers those of ua2 only."""

    async def run() -> None:
        async with telephone("UDP", call_id="branches-1") as phone:
            with sipp("branchs", tmp_path) as called:
                assert await registers(phone, called.uri(user), "branches-1") == 200
                call = phone.dial(called.uri("ua3"), user=user)
                if status == 200:
                    await phone.heard("connected")
                    call.hang_up()
                await phone.heard("ended")
                assert [ending.status for ending in phone.endings] == [0 if status == 200 else status]
                await phone.settled()
                outcome = await (aside(called.finish) if status == 200 else aside(called.cut))
                assert outcome.successful == (status == 200)
                assert outcome.failed == 0

    play(run)


async def registers(phone: Telephone, uri: str, call_id: str) -> int:
    """The status of one REGISTER with a Call-ID that the test chooses."""
    answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    endpoint = phone.endpoint
    flow = endpoint.at_once(uri)
    assert flow is not None
    headers = [
        ("Via", f"{endpoint.via(flow)};rport;branch={new_branch()}"), ("Max-Forwards", "70"), ("From", f"<{uri}>;tag=r1"), ("To", f"<{uri}>"),
        ("Call-ID", call_id), ("CSeq", "1 REGISTER"), ("Contact", endpoint.contact(flow)),
    ]  # fmt: skip
    endpoint.agent.layer.request(
        compose.request("REGISTER", uri, headers), flow, on_response=lambda response: answered.set_result(response.status),
        on_timeout=lambda: answered.set_result(408), on_failure=answered.set_exception,
    )  # fmt: skip
    return await asyncio.wait_for(answered, WAIT_S)


# ---- sipsak ----


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_sipsak_pings(made: Certificates, transport: Direct) -> None:
    async def run() -> None:
        async with telephone("UDP", "TCP", "TLS", made=made, tls_max=ssl.TLSVersion.TLSv1_2) as phone:
            uri = f"sip:engine@{phone.address(NAMES[transport])}"
            told = await aside(sipsak.ping, uri, transport=transport, authority=made.authority)
            assert told.status == 0, told.output
            assert "SIP/2.0 200 OK" in told.output
            assert phone.endpoint.agent.counters.options == 1

    play(run)


def test_sipsak_registers() -> None:
    async def run() -> None:
        async with telephone("UDP") as phone:
            told = await aside(sipsak.register, phone.uri())
            assert told.status == 0, told.output
            assert "register" in phone.told

    play(run)


def test_sipsaks_trash_and_flood_are_survived() -> None:
    async def run() -> None:
        async with telephone("UDP") as phone:
            for _ in range(2):
                await aside(sipsak.random_trash, phone.uri(), characters=60)
            flood = await aside(sipsak.flood, phone.uri(), requests=1000)
            assert flood.status == 0, flood.output
            told = await aside(sipsak.ping, phone.uri())
            assert told.status == 0, told.output
            assert phone.endpoint.agent.calls == 0

    play(run)


# ---- baresip ----


async def with_hold(phone: Telephone, other: Baresip, call: Call) -> None:
    """Both sides hold the call that stands and take it back, one behind the other."""
    session = call.session
    assert isinstance(session, Audio)
    for act, remote in ((other.hold, "sendonly"), (other.resume, "sendrecv")):
        phone.told.clear()
        other.forget()
        await aside(act)
        await phone.heard(f"media {remote}")
        await aside(other.wait_for, "CALL_REMOTE_SDP")
    for receives, answer in ((False, "recvonly"), (True, "sendrecv")):
        session.receives = receives
        phone.told.clear()
        call.offer()
        await phone.heard(f"media {answer}")
    assert session.rolled_back == 0


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("ends", ["us", "them"])
def test_baresip_is_called(tmp_path: Path, made: Certificates, transport: Direct, ends: str) -> None:
    async def run() -> None:
        async with telephone("UDP", "TCP", "TLS", made=made) as phone:
            with baresip(tmp_path, "bob", certificates=made) as bob:
                assert await phone.ping(bob.uri(transport)) == 200
                call = phone.dial(bob.uri(transport))
                await aside(bob.wait_for, "CALL_INCOMING")
                await aside(bob.accept)
                await phone.heard("connected")
                await aside(bob.wait_for, "CALL_ESTABLISHED")
                await with_hold(phone, bob, call)
                if ends == "us":
                    call.hang_up()
                else:
                    await aside(bob.hangup)
                await phone.heard("ended")
                await aside(bob.wait_for, "CALL_CLOSED")
            assert phone.endings[0].by == ends
            await phone.settled()

    play(run)


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("ends", ["us", "them"])
def test_baresip_calls(tmp_path: Path, made: Certificates, transport: Direct, ends: str) -> None:
    async def run() -> None:
        async with telephone("UDP", "TCP", "TLS", made=made) as phone:
            with baresip(tmp_path, "alice", certificates=made) as alice:
                await aside(alice.dial, phone.uri(NAMES[transport]))
                await aside(alice.wait_for, "CALL_ESTABLISHED")
                await phone.heard("connected")
                call = phone.calls[0]
                await with_hold(phone, alice, call)
                if ends == "us":
                    call.hang_up()
                else:
                    await aside(alice.hangup)
                await phone.heard("ended")
                await aside(alice.wait_for, "CALL_CLOSED")
            assert phone.endings[0].by == ends
            await phone.settled()

    play(run)


def test_baresip_over_ipv6(tmp_path: Path) -> None:
    async def run() -> None:
        async with telephone("UDP", host="::1") as phone:
            with baresip(tmp_path, "bob", host="::1", answer="auto") as bob:
                call = phone.dial(bob.uri())
                await phone.heard("connected")
                await aside(bob.wait_for, "CALL_ESTABLISHED")
                await with_hold(phone, bob, call)
                await aside(bob.dial, phone.uri())  # a second one, the other way
                await phone.heard("connected")
                for each in phone.endpoint.agent:
                    each.hang_up()
                for _ in range(2):
                    await aside(bob.wait_for, "CALL_CLOSED")
            await phone.settled()

    play(run)


def test_baresip_refuses(tmp_path: Path) -> None:
    async def run() -> None:
        async with telephone("UDP") as phone:
            with baresip(tmp_path, "bob") as bob:
                phone.dial(bob.uri())
                await aside(bob.wait_for, "CALL_INCOMING")
                await aside(bob.hangup)
                await phone.heard("ended")
            assert (phone.endings[0].by, phone.endings[0].status) == ("them", 486)
            await phone.settled()

    play(run)


def test_a_call_to_baresip_is_cancelled(tmp_path: Path) -> None:
    async def run() -> None:
        async with telephone("UDP") as phone:
            with baresip(tmp_path, "bob") as bob:
                call = phone.dial(bob.uri())
                await aside(bob.wait_for, "CALL_INCOMING")
                await phone.heard("progress 180")
                call.hang_up()
                await phone.heard("ended")
                await aside(bob.wait_for, "CALL_CLOSED")
            assert phone.endings[0].by == "us"
            await phone.settled()

    play(run)


def test_baresip_cancels_and_is_refused(tmp_path: Path) -> None:
    async def run() -> None:
        async with telephone("UDP") as phone:
            phone.answers = False
            with baresip(tmp_path, "alice") as alice:
                await aside(alice.dial, phone.uri())
                await aside(alice.wait_for, "CALL_RINGING")
                await aside(alice.hangup)
                await phone.heard("ended")
                assert (phone.endings[0].by, phone.endings[0].status) == ("them", 487)
                await aside(alice.wait_for, "CALL_CLOSED")
                await aside(alice.dial, phone.uri())
                await aside(alice.wait_for, "CALL_RINGING")
                phone.calls[1].refuse(486)
                closed = await aside(alice.wait_for, "CALL_CLOSED")
                assert "486" in closed.param
            await phone.settled()

    play(run)


def test_baresip_transfers_us(tmp_path: Path) -> None:
    """Its REFER makes us call somebody else; it hangs up when the NOTIFY says that this stands."""

    async def run() -> None:
        async with telephone("UDP") as phone:
            with baresip(tmp_path, "alice") as alice, baresip(tmp_path, "carol", answer="auto") as carol:
                await aside(alice.dial, phone.uri())
                await aside(alice.wait_for, "CALL_ESTABLISHED")
                await phone.heard("connected")
                await aside(alice.transfer, carol.uri())
                await aside(carol.wait_for, "CALL_ESTABLISHED")
                await aside(alice.wait_for, "CALL_CLOSED")
                await phone.heard("ended")
                assert phone.told.count("refer") == 1
                left = list(phone.endpoint.agent)
                assert [call.state for call in left] == [State.CONNECTED]
                left[0].hang_up()
                await aside(carol.wait_for, "CALL_CLOSED")
            await phone.settled()

    play(run)


def test_we_transfer_baresip(tmp_path: Path) -> None:
    async def run() -> None:
        async with telephone("UDP") as phone:
            with baresip(tmp_path, "bob", answer="auto") as bob, baresip(tmp_path, "carol", answer="auto") as carol:
                call = phone.dial(bob.uri())
                await phone.heard("connected")
                call.refer(carol.uri())
                await aside(carol.wait_for, "CALL_ESTABLISHED")
                await phone.heard("transfer 200")
                call.hang_up()
                await aside(bob.wait_for, "CALL_CLOSED")
                assert "CALL_CLOSED" not in [event.type for event in carol.events]
            await phone.settled()

    play(run)


def test_sipp_takes_the_place_of_baresip(tmp_path: Path) -> None:
    """The end of an attended transfer (RFC 3891): baresip can neither ask for one nor do its part, so SIPp comes with the Replaces."""

    async def run() -> None:
        async with telephone("UDP") as phone:
            with baresip(tmp_path, "alice") as alice:
                await aside(alice.dial, phone.uri())
                await aside(alice.wait_for, "CALL_ESTABLISHED")
                await phone.heard("connected")
                dialog = phone.calls[0].dialog
                assert dialog is not None
                replaces = f"{dialog.call_id};to-tag={dialog.local_tag};from-tag={dialog.remote_tag}"
                scenario = CALLING.replace("Max-Forwards: 70\n", "Max-Forwards: 70\n    Require: replaces\n    Replaces: [replaces]\n", 1)
                with sipp(scenario, tmp_path, target=phone.address("UDP"), arguments=["-key", "replaces", replaces]) as calling:
                    await aside(alice.wait_for, "CALL_CLOSED")
                    outcome = await aside(calling.finish)
                    assert good(outcome, 1)
                with sipp(scenario, tmp_path, target=phone.address("UDP"), arguments=["-key", "replaces", replaces]) as calling:
                    outcome = await aside(calling.finish)
                    assert (outcome.failed, outcome.unexpected) == (1, 1), "there is nothing to replace any more"
            assert phone.told.count("replaced") == 1
            assert [ending.by for ending in phone.endings] == ["us", "them"]
            await phone.settled()

    play(run)


# ---- with Kamailio in between ----


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "ws", "wss"])
def test_we_call_sipp_through_kamailio(tmp_path: Path, made: Certificates, transport: Proxied) -> None:
    async def run() -> None:
        async with telephone("UDP", made=made) as phone:
            with sipp(CALLED, tmp_path) as called, kamailio(tmp_path, called.uri(), certificates=made) as proxy:
                assert await phone.ping(proxy.uri("proxy", transport)) == 200
                for _ in range(5):
                    phone.dial(proxy.uri("service", transport))
                await phone.heard("connected", 5)
                for call in phone.endpoint.agent:
                    call.hang_up()
                await phone.heard("ended", 5)
                outcome = await aside(called.finish)
                assert good(outcome, 5)
                # our BYE followed the Record-Route over the transport that the call began on
                assert sum("request BYE" in line and f" from {transport}:" in line for line in proxy.told().splitlines()) == 5
            await phone.settled()

    play(run)


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("scenario", [CALLING, "uac"], ids=["calling", "uac"])
def test_sipp_calls_us_through_kamailio(tmp_path: Path, made: Certificates, scenario: str, transport: Direct) -> None:
    async def run() -> None:
        async with telephone("UDP", "TCP", "TLS", made=made) as phone:
            with (
                kamailio(tmp_path, phone.uri(NAMES[transport]), certificates=made) as proxy,
                sipp(scenario, tmp_path, target=proxy.address(), transport="t1", calls=5, rate=50) as calling,
            ):
                outcome = await aside(calling.finish)
                assert good(outcome, 5)
                assert sum("response 200 to BYE" in line and f" from {transport}:" in line for line in proxy.told().splitlines()) == 5
            await phone.settled()
            assert phone.told.count("connected") == 5

    play(run)


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "ws", "wss"])
def test_we_register_at_kamailio_and_are_called_there(tmp_path: Path, made: Certificates, transport: Proxied) -> None:
    """Over a WebSocket the connection that registered is the only way to us (RFC 7118 5)."""

    async def run() -> None:
        listens: list[Name] = [] if transport in ("ws", "wss") else [NAMES[transport]]
        async with telephone(*listens, made=made) as phone:
            endpoint = phone.endpoint
            with kamailio(tmp_path, registrar=True, password="secret", certificates=made) as proxy:
                flow = await anext(endpoint.each(proxy.uri("proxy", transport)))
                account = Account(
                    registrar=f"sip:{proxy.address(transport)}", address_of_record=f"sip:engine@{proxy.address()}",
                    contact=endpoint.contact(flow)[1:-1].replace("sip:", "sip:engine@"), username="engine", password="secret",
                )  # fmt: skip

                def send(data: bytes, **callbacks: object) -> None:
                    endpoint.agent.layer.request(data, flow, **callbacks)  # type: ignore[arg-type]

                registration = Registration(
                    account, send, asyncio.get_running_loop(), lambda: f"{endpoint.via(flow)};rport;branch={new_branch()}"
                )
                registration.start()
                await phone.until(lambda: registration.state is RegistrationState.REGISTERED)
                with sipp(CALLING, tmp_path, target=proxy.address(), user="engine", calls=3) as calling:
                    outcome = await aside(calling.finish)
                    assert good(outcome, 3)
                await phone.settled()
                assert sum("response 200 to BYE" in line and f" from {transport}:" in line for line in proxy.told().splitlines()) == 3
                registration.stop()
                await phone.until(lambda: registration.state is RegistrationState.IDLE)

    play(run)


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("calls", ["us", "them"])
def test_baresip_and_we_through_kamailio(tmp_path: Path, made: Certificates, transport: Direct, calls: str) -> None:
    """Both sides hold, and either ends what the other began; baresip is behind UDP, we behind each."""

    async def run() -> None:
        async with telephone("UDP", "TCP", "TLS", made=made) as phone:
            with baresip(tmp_path, "bob", answer="auto", certificates=made) as bob:
                next_hop = bob.uri() if calls == "us" else phone.uri(NAMES[transport])
                with kamailio(tmp_path, next_hop, certificates=made) as proxy:
                    if calls == "us":
                        call: Call = phone.dial(proxy.uri("bob", transport))
                    else:
                        await aside(bob.dial, proxy.uri("engine"))
                    await phone.heard("connected")
                    await aside(bob.wait_for, "CALL_ESTABLISHED")
                    if calls == "them":
                        call = phone.calls[0]
                    await with_hold(phone, bob, call)
                    if calls == "us":
                        await aside(bob.hangup)
                    else:
                        call.hang_up()
                    await phone.heard("ended")
                    await aside(bob.wait_for, "CALL_CLOSED")
                    invites = [line for line in proxy.told().splitlines() if "request INVITE" in line]
                    # two of ours in the call, and the first where we called
                    assert sum(f" from {transport}:" in line for line in invites) >= 2
                    assert len(invites) >= 5
            await phone.settled()

    play(run)


def test_a_proxy_without_a_way_on_is_told_of(tmp_path: Path) -> None:
    async def run() -> None:
        async with telephone("UDP") as phone:
            with kamailio(tmp_path, transports=("udp",)) as proxy:
                phone.dial(proxy.uri("nobody"))
                await phone.heard("ended")
            assert (phone.endings[0].by, phone.endings[0].status) == ("them", 404)
            await phone.settled()

    play(run)
