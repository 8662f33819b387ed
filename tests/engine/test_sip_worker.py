"""Engine workers that share SIP ports: calls belong to one of them each, one that dies takes its own calls along and says so, and what is
let in at the door. A whole server, with our own endpoint and SIPp as callers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from engine.config import load
from engine.config.document import Config
from engine.sip.call import Call, CallUser, Ending
from engine.sip.endpoint import Endpoint, Listener
from engine.sip.outgoing import Identity
from engine.sip.user_agent import Application
from engine.sip_worker import check_free, guard_settings, listeners_of, tls_of
from tests.flow.kamailio import kamailio
from tests.running import Running, server

CALLS = 40
WAIT_S = 20.0
SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
ME = Identity(uri="sip:test@127.0.0.1")


def free_pair() -> int:
    """A port that is free for UDP and TCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            port: int = udp.getsockname()[1]
            try:
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Plain:
    """A session that offers one description and takes any."""

    def local_offer(self) -> bytes:
        return SDP

    def remote_answer(self, body: bytes) -> None:
        assert body.startswith(b"v=0")

    def remote_offer(self, body: bytes) -> bytes:
        return SDP

    def rollback(self) -> None:
        pass

    def fork(self) -> Plain:
        return self


class Watched(CallUser):
    def __init__(self) -> None:
        self.connected: set[Call] = set()
        self.endings: list[Ending] = []

    def on_connected(self, call: Call) -> None:
        self.connected.add(call)

    def on_ended(self, call: Call, ending: Ending) -> None:
        self.connected.discard(call)
        self.endings.append(ending)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.02)


async def with_endpoint(work: Callable[[Endpoint], Awaitable[None]]) -> None:
    endpoint = Endpoint(Application())
    await endpoint.listen(Listener(host="127.0.0.1", port=0))
    await endpoint.listen(Listener(transport="TCP", host="127.0.0.1", port=0))
    try:
        await work(endpoint)
    finally:
        await endpoint.close()


def dial(endpoint: Endpoint, port: int, transport: str, calls: int = CALLS) -> Watched:
    watched = Watched()
    for at in range(calls):
        endpoint.agent.call(f"sip:{at}@127.0.0.1:{port};transport={transport}", ME, session=Plain(), user=watched)
    return watched


def pids(running: Running) -> dict[str, int]:
    with running.client() as admin:
        return {child["name"]: child["pid"] for child in admin.get("/status").json()["processes"]["children"]}


@pytest.fixture(scope="module")
def sip_port() -> int:
    return free_pair()


@pytest.fixture(scope="module")
def running(sip_port: int) -> Iterator[Running]:
    with server(
        TRUNKLINE_ENGINE_WORKERS="3", TRUNKLINE_SIP_HOST="127.0.0.1", TRUNKLINE_SIP_PORT=str(sip_port), TRUNKLINE_SIP_ANSWER="everybody"
    ) as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_calls_stand_and_end_whichever_worker_has_them(running: Running, sip_port: int, transport: str) -> None:
    async def work(endpoint: Endpoint) -> None:
        watched = dial(endpoint, sip_port, transport)
        await until(lambda: len(watched.connected) == CALLS)
        for call in list(watched.connected):
            call.hang_up()
        await until(lambda: len(watched.endings) == CALLS)
        assert {ending.by for ending in watched.endings} == {"us"}

    asyncio.run(with_endpoint(work))


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_worker_that_dies_takes_only_its_own_calls_along_and_says_so(running: Running, sip_port: int, transport: str) -> None:
    async def work(endpoint: Endpoint) -> None:
        watched = dial(endpoint, sip_port, transport)
        await until(lambda: len(watched.connected) == CALLS)
        before = await asyncio.to_thread(pids, running)
        os.kill(before["worker.1"], signal.SIGKILL)
        await until(lambda: len(watched.endings) > 0)
        await asyncio.sleep(2.0)  # others would follow now, if they did
        lost = len(watched.endings)
        assert 0 < lost < CALLS
        assert {ending.by for ending in watched.endings} == {"them"}, "not a BYE of the successor"
        for call in list(watched.connected):
            call.hang_up()
        await until(lambda: len(watched.endings) == CALLS)
        assert {ending.by for ending in watched.endings[lost:]} == {"us"}, "a call of another worker was lost"
        again = dial(endpoint, sip_port, transport)
        await until(lambda: len(again.connected) == CALLS)
        for call in list(again.connected):
            call.hang_up()
        await until(lambda: len(again.endings) == CALLS)

    asyncio.run(with_endpoint(work))


@pytest.mark.slow
def test_a_call_has_its_ladder_and_its_findings_while_it_is_up(running: Running, sip_port: int) -> None:
    async def work(endpoint: Endpoint) -> None:
        watched = dial(endpoint, sip_port, "udp", 4)
        await until(lambda: len(watched.connected) == 4)
        call_id = next(iter(watched.connected)).call_id

        def look() -> None:
            with running.client() as client:
                listed = client.get("/api/v1/live/calls").json()
                assert call_id in json.dumps(listed)
                ladder = client.get(f"/api/v1/live/calls/{call_id}/ladder?format=text").text
                assert "INVITE" in ladder and "200 OK" in ladder and "BYE" not in ladder
                findings = client.get(f"/api/v1/live/calls/{call_id}/findings").json()
                assert "missing-bye" not in json.dumps(findings)
                assert len(client.get(f"/api/v1/live/calls/{call_id}/messages").json()["messages"]) >= 3
                assert client.get("/api/v1/live/calls/nobody").status_code == 404

        await asyncio.to_thread(look)
        for call in list(watched.connected):
            call.hang_up()
        await until(lambda: len(watched.endings) == 4)

    asyncio.run(with_endpoint(work))


@pytest.mark.slow
def test_a_server_that_ends_says_goodbye_to_every_call() -> None:
    port = free_pair()

    async def work(endpoint: Endpoint) -> None:
        with server(
            TRUNKLINE_ENGINE_WORKERS="2", TRUNKLINE_SIP_HOST="127.0.0.1", TRUNKLINE_SIP_PORT=str(port), TRUNKLINE_SIP_ANSWER="everybody"
        ) as started:
            watched = dial(endpoint, port, "udp")
            await until(lambda: len(watched.connected) == CALLS)
            started.signal(signal.SIGTERM)
            await until(lambda: len(watched.endings) == CALLS)
            assert {ending.by for ending in watched.endings} == {"them"}

    asyncio.run(with_endpoint(work))


@pytest.mark.slow
def test_who_may_not_call_hears_nothing_and_users_are_challenged(tmp_path: Path) -> None:
    port = free_pair()
    document = tmp_path / "config.toml"
    document.write_text(
        f'[sip]\nhost = "127.0.0.1"\nport = {port}\nallow = []\nanswer = "everybody"\nrealm = "home.example"\n'
        '[[sip.users]]\nusername = "alice"\npassword = "open sesame"\n'
    )
    register = (
        "REGISTER sip:home.example SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n"
        "From: <sip:alice@home.example>;tag=1\r\nTo: <sip:alice@home.example>\r\nCall-ID: r1\r\nCSeq: 1 REGISTER\r\n"
        "Contact: <sip:alice@127.0.0.1:{port}>\r\nContent-Length: 0\r\n\r\n"
    )
    with server("--config", str(document), TRUNKLINE_SIP_PORT=str(port)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(("127.0.0.1", 0))
        phone.settimeout(3)
        ours = phone.getsockname()[1]
        phone.sendto(register.format(port=ours, branch="a").replace("REGISTER", "OPTIONS").encode(), ("127.0.0.1", port))
        with pytest.raises(TimeoutError):
            phone.recv(65536)
        phone.sendto(register.format(port=ours, branch="b").encode(), ("127.0.0.1", port))
        answer = phone.recv(65536).decode()
        assert answer.startswith("SIP/2.0 401 ") and 'realm="home.example"' in answer


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_the_account_is_registered_called_over_and_taken_back(tmp_path: Path, transport: str) -> None:
    port = free_pair()
    with kamailio(tmp_path, registrar=True, password="secret", transports=("udp", "tcp")) as proxy:
        host, _, proxy_port = proxy.address(transport).rpartition(":")
        with server(
            TRUNKLINE_ENGINE_WORKERS="2", TRUNKLINE_SIP_HOST="127.0.0.1", TRUNKLINE_SIP_PORT=str(port), TRUNKLINE_SIP_ANSWER="everybody",
            TRUNKLINE_SIP_SERVER=f"{host}:{proxy_port}", TRUNKLINE_SIP_USERNAME="engine", TRUNKLINE_SIP_PASSWORD="secret",
            TRUNKLINE_SIP_TRANSPORT=transport,
        ):  # fmt: skip
            async def work(endpoint: Endpoint) -> None:
                watched = Watched()
                for _ in range(100):
                    watched = Watched()
                    endpoint.agent.call(f"sip:engine@{proxy.address('udp')}", ME, session=Plain(), user=watched)
                    await until(lambda watched=watched: bool(watched.connected or watched.endings))  # type: ignore[misc]
                    if watched.connected:
                        break
                    await asyncio.sleep(0.1)  # it is not registered yet
                assert watched.connected
                for call in list(watched.connected):
                    call.hang_up()
                await until(lambda: bool(watched.endings))

            asyncio.run(with_endpoint(work))
        assert proxy.told().count("request REGISTER") >= 3, "not challenged, registered, and taken back"


# ---- the configuration ----


def config_of(tmp_path: Path, *, environment: dict[str, str] | None = None, **sip: object) -> Config:
    return load(None, environment or {}, {"data.dir": str(tmp_path), **{f"sip.{name}": value for name, value in sip.items()}}).config


def test_sockets_are_udp_and_tcp_of_one_port_unless_they_are_named(tmp_path: Path) -> None:
    plain = listeners_of(config_of(tmp_path, host="192.0.2.1", port=5070))
    assert [(one.transport, one.host, one.port) for one in plain] == [("UDP", "192.0.2.1", 5070), ("TCP", "192.0.2.1", 5070)]
    assert listeners_of(config_of(tmp_path, port=0)) == []
    named = listeners_of(config_of(tmp_path, listen=["tls://[::1]", "wss://0.0.0.0:8443"], advertised="203.0.113.9"))
    assert [(one.transport, one.host, one.port) for one in named] == [("TLS", "::1", 5061), ("WSS", "0.0.0.0", 8443)]
    assert {one.advertised for one in named} == {"203.0.113.9"}


def test_ports_may_come_by_the_names_of_recording_servers(tmp_path: Path) -> None:
    environment = {"PORTS": "5070,5071", "TCP_PORTS": "5080", "EXTERNAL_IP": "203.0.113.9", "ENABLE_TLS": "true", "TLS_PORT": "5091", "SIP_HOST": "192.0.2.1"}
    environment |= {"TLS_CERT_PATH": str(tmp_path / "cert"), "TLS_KEY_PATH": str(tmp_path / "key")}
    found = listeners_of(config_of(tmp_path, environment=environment))
    assert [(one.transport, one.port) for one in found] == [("UDP", 5070), ("UDP", 5071), ("TCP", 5080), ("TLS", 5091)]
    assert {(one.host, one.advertised) for one in found} == {("192.0.2.1", "203.0.113.9")}
    only = listeners_of(config_of(tmp_path, environment={**environment, "SIP_REQUIRE_TLS": "true"}))
    assert [one.transport for one in only] == ["TLS"]


@pytest.mark.parametrize("url", ["sctp://0.0.0.0:5060", "udp://", "0.0.0.0:5060", "udp://0.0.0.0:70000", "udp://a@b:1", "tcp://0.0.0.0:5060/x"])
def test_a_socket_that_cannot_be_read_is_named(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match=r"sip\.listen"):
        listeners_of(config_of(tmp_path, listen=[url]))


def test_a_port_that_another_program_has_is_refused() -> None:
    port = free_pair()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", port))
        with pytest.raises(ValueError, match=f"UDP 127.0.0.1 port {port}"):
            check_free([Listener(host="127.0.0.1", port=port)])


def test_tls_without_a_certificate_and_networks_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tls_cert_file"):
        tls_of(config_of(tmp_path), listening=True)
    with pytest.raises(ValueError, match="no network"):
        guard_settings(config_of(tmp_path, allow=["10.0.0.0/33"]).sip)


