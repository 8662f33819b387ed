"""The rig of real SIP programs, proven without the engine: they call each other directly and through Kamailio, over each transport."""

from __future__ import annotations

import base64
import hashlib
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flow import sipsak
from tests.flow.baresip import Baresip, baresip
from tests.flow.certificates import Certificates, certificates
from tests.flow.kamailio import Kamailio, kamailio
from tests.flow.program import program
from tests.flow.sipp import CALLED, CALLING, Outcome, sipp
from tests.flow.sipp import Transport as SippTransport
from tests.ports import free_ports

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("tls"))


def good(outcome: Outcome, calls: int) -> bool:
    """Whether all calls were made and ended well, and nothing came that was not expected."""
    return (outcome.successful, outcome.failed, outcome.unexpected, outcome.exit_status) == (calls, 0, 0, 0)


def got(proxy: Kamailio, what: str, transport: str) -> int:
    """Requests or responses that the proxy got over a transport."""
    return sum(what in told and f" from {transport}:" in told for told in proxy.told().splitlines())


# ---- SIPp ----


@pytest.mark.parametrize("transport", ["u1", "un", "t1", "tn"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_sipp_calls_sipp(tmp_path: Path, transport: SippTransport, host: str) -> None:
    with sipp(CALLED, tmp_path, host=host, transport="t1" if transport.startswith("t") else "u1") as called:
        target = called.uri().partition("@")[2]
        with sipp(CALLING, tmp_path, target=target, host=host, transport=transport, calls=3, rate=30) as calling:
            assert good(calling.finish(), 3)
        assert good(called.finish(), 3)


def test_sipps_own_scenarios_call_each_other(tmp_path: Path) -> None:
    with sipp("uas", tmp_path) as called:
        for scenario in ("uac", "regexp"):
            with sipp(scenario, tmp_path, target=f"127.0.0.1:{called.port}", calls=2) as calling:
                assert good(calling.finish(), 2), scenario
        assert called.cut().created == 4


def test_sipp_calls_from_several_addresses(tmp_path: Path) -> None:
    addresses = ["127.0.0.2", "127.0.0.3"]
    with sipp(CALLED, tmp_path) as called, kamailio(tmp_path, called.uri(), transports=("udp",)) as proxy:
        fields = [[address] for address in addresses]
        with sipp(CALLING, tmp_path, target=proxy.address(), transport="ui", calls=4, fields=fields) as calling:
            assert good(calling.finish(), 4)
        assert good(called.finish(), 4)
        for address in addresses:
            assert got(proxy, "request INVITE", f"udp:{address}") == 2


def test_sipps_branches_meet(tmp_path: Path) -> None:
    """REGISTER first; the second call alone is answered, the others get 403, which the client ends with a BYE of its own."""
    with sipp("branchs", tmp_path) as called:
        with sipp("branchc", tmp_path, target=f"127.0.0.1:{called.port}", calls=2) as calling:
            assert good(calling.finish(), 2)
        assert called.finish().successful == 2


def test_a_failed_call_is_counted(tmp_path: Path) -> None:
    """Nobody is there, and the proxy says so."""
    with kamailio(tmp_path, transports=("udp",)) as proxy, sipp(CALLING, tmp_path, target=proxy.address(), calls=2) as calling:
        outcome = calling.finish()
        assert (outcome.created, outcome.successful, outcome.failed, outcome.unexpected, outcome.exit_status) == (2, 0, 2, 2, 1)


# ---- Kamailio ----


@pytest.mark.parametrize("caller", ["u1", "t1"])
@pytest.mark.parametrize("called", ["u1", "t1"])
def test_kamailio_stays_between_sipps(tmp_path: Path, made: Certificates, caller: SippTransport, called: SippTransport) -> None:
    names = {"u1": "udp", "t1": "tcp"}
    with (
        sipp(CALLED, tmp_path, transport=called) as answering,
        kamailio(tmp_path, answering.uri(transport=names[called]), certificates=made) as proxy,
    ):
        for scenario in (CALLING, "uac"):
            with sipp(scenario, tmp_path, target=proxy.address(), transport=caller, calls=2, name="calls") as calling:
                assert good(calling.finish(), 2)
        assert good(answering.finish(), 4)
        assert got(proxy, "request BYE", names[caller]) == 4
        assert got(proxy, "response 200 to BYE", names[called]) == 4


def test_kamailio_relays_between_families(tmp_path: Path) -> None:
    with (
        sipp(CALLED, tmp_path, host="::1") as answering,
        kamailio(tmp_path, answering.uri(), transports=("udp", "tcp"), ipv6=True) as proxy,
        sipp(CALLING, tmp_path, target=proxy.address(), calls=2) as calling,
    ):
        assert good(calling.finish(), 2)
        assert good(answering.finish(), 2)


def test_kamailio_relays_registrations_too(tmp_path: Path) -> None:
    with (
        sipp("branchs", tmp_path) as answering,
        kamailio(tmp_path, answering.uri(), transports=("udp",)) as proxy,
        sipp("branchc", tmp_path, target=proxy.address(), calls=2) as calling,
    ):
        assert good(calling.finish(), 2)
        assert got(proxy, "request REGISTER", "udp") == 2
        assert answering.finish().successful == 2


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_kamailio_answers_without_state(tmp_path: Path, transport: SippTransport) -> None:
    with (
        kamailio(tmp_path, stateless=True, transports=("udp", "tcp")) as answerer,
        sipp("uac", tmp_path, target=answerer.address(), transport=transport, calls=50, rate=100) as calling,
    ):
        assert good(calling.finish(), 50)


@pytest.mark.parametrize("transport", ["ws", "wss"])
def test_kamailio_speaks_over_websockets(tmp_path: Path, made: Certificates, transport: str) -> None:
    """The handshake of RFC 7118, and one OPTIONS in a masked frame."""
    with kamailio(tmp_path, "sip:127.0.0.1:9", certificates=made) as proxy:
        port = proxy.port_of("wss" if transport == "wss" else "ws")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            connection = made.client_context().wrap_socket(plain, server_hostname="127.0.0.1") if transport == "wss" else plain
            key = base64.b64encode(os.urandom(16)).decode()
            connection.sendall(
                f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                "Sec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            told = b""
            while not told.endswith(b"\r\n\r\n"):
                piece = connection.recv(4096)
                assert piece, told
                told += piece
            assert told.startswith(b"HTTP/1.1 101 ")
            # the constant of RFC 6455 1.3
            accepted = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
            assert b"Sec-WebSocket-Accept: " + accepted in told
            assert b"Sec-WebSocket-Protocol: sip\r\n" in told
            options = (
                f"OPTIONS sip:proxy@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport.upper()} x.invalid;branch=z9hG4bKws1\r\nMax-Forwards: 70\r\n"
                "From: <sip:us@x.invalid>;tag=1\r\nTo: <sip:proxy@127.0.0.1>\r\nCall-ID: ws1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
            ).encode()
            mask = os.urandom(4)
            masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(options))
            connection.sendall(b"\x81\xfe" + len(options).to_bytes(2, "big") + mask + masked)
            assert b"SIP/2.0 200 OK\r\n" in connection.recv(4096)
            connection.close()


# ---- sipsak ----


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_sipsak_pings_kamailio(tmp_path: Path, made: Certificates, transport: sipsak.Transport) -> None:
    with kamailio(tmp_path, "sip:127.0.0.1:9", certificates=made, tls="TLSv1.2") as proxy:
        told = sipsak.ping(f"sip:proxy@{proxy.address(transport)}", transport=transport, authority=made.authority)
        assert told.status == 0, told.output
        assert "SIP/2.0 200 OK" in told.output
        assert got(proxy, "request OPTIONS", transport) == 1


def test_sipsak_tells_that_nobody_is_there() -> None:
    assert sipsak.ping(f"sip:nobody@127.0.0.1:{free_ports()}").status != 0


@pytest.mark.parametrize(("password", "said", "status"), [("", "", 0), ("secret", "secret", 0), ("secret", "wrong", 2)])
def test_sipsak_registers(tmp_path: Path, password: str, said: str, status: int) -> None:
    with kamailio(tmp_path, registrar=True, password=password, transports=("udp",)) as proxy:
        told = sipsak.register(f"sip:sak@{proxy.address()}", password=said)
        assert told.status == status, told.output
        assert got(proxy, "request REGISTER", "udp") == 1 + bool(password)


def test_sipsaks_trash_and_flood_leave_kamailio_alive(tmp_path: Path) -> None:
    with kamailio(tmp_path, stateless=True, transports=("udp",)) as answerer:
        uri = f"sip:proxy@{answerer.address()}"
        assert "OPTIONS" in sipsak.random_trash(uri, characters=20).output
        flood = sipsak.flood(uri, requests=200)
        assert flood.status == 0, flood.output
        assert sipsak.ping(uri).status == 0


# ---- baresip ----


def talk(caller: Baresip, called: Baresip, uri: str) -> None:
    """A call with all that there is in one."""
    caller.dial(uri)
    called.wait_for("CALL_INCOMING")
    called.accept()
    for phone in (caller, called):
        phone.wait_for("CALL_ESTABLISHED")
        phone.wait_for("CALL_RTPESTAB")
    caller.send_dtmf("5")
    assert called.wait_for("CALL_DTMF_START").param == "5"
    for act, attribute in ((caller.hold, "a=sendonly"), (caller.resume, "a=sendrecv")):
        before = called.told().count(attribute)
        called.forget()
        act()
        assert called.wait_for("CALL_REMOTE_SDP").param == "offer"
        assert called.told().count(attribute) > before
    called.hangup()
    caller.wait_for("CALL_CLOSED")


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_baresip_calls_baresip(tmp_path: Path, made: Certificates, transport: sipsak.Transport) -> None:
    with baresip(tmp_path, "alice", certificates=made) as alice, baresip(tmp_path, "bob", certificates=made) as bob:
        talk(alice, bob, bob.uri(transport))


def test_baresip_calls_baresip_over_ipv6(tmp_path: Path) -> None:
    with baresip(tmp_path, "alice", host="::1") as alice, baresip(tmp_path, "bob", host="::1") as bob:
        talk(alice, bob, bob.uri())


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_baresip_calls_baresip_through_kamailio(tmp_path: Path, made: Certificates, transport: sipsak.Transport) -> None:
    with (
        kamailio(tmp_path, registrar=True, password="secret", certificates=made) as proxy,
        baresip(tmp_path, "alice", proxy=proxy.route(transport), register=True, password="secret", certificates=made) as alice,
        baresip(tmp_path, "bob", proxy=proxy.route("udp"), register=True, password="secret", certificates=made) as bob,
    ):
        alice.wait_registered()
        bob.wait_registered()
        talk(alice, bob, proxy.uri("bob", transport))
        assert got(proxy, "request INVITE", transport) >= 3
        assert got(proxy, "request BYE", "udp") == 1


def test_kamailio_refuses_a_wrong_password(tmp_path: Path) -> None:
    with (
        kamailio(tmp_path, registrar=True, password="secret", transports=("udp",)) as proxy,
        baresip(tmp_path, "alice", proxy=proxy.route(), password="wrong", register=True) as alice,
    ):
        alice.program.wait_for_told("reg: sip:alice")
        assert "200 OK" not in alice.told()


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_baresip_calls_sipp_through_kamailio(tmp_path: Path, made: Certificates, transport: sipsak.Transport) -> None:
    with (
        sipp(CALLED, tmp_path) as answering,
        kamailio(tmp_path, answering.uri(), certificates=made) as proxy,
        baresip(tmp_path, "alice", certificates=made) as alice,
    ):
        alice.dial(proxy.uri("service", transport))
        alice.wait_for("CALL_ESTABLISHED")
        alice.hangup()
        assert good(answering.finish(), 1)
        assert got(proxy, "request BYE", transport) == 1


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_sipp_calls_baresip_through_kamailio(tmp_path: Path, made: Certificates, transport: sipsak.Transport) -> None:
    with (
        baresip(tmp_path, "bob", answer="auto", certificates=made) as bob,
        kamailio(tmp_path, bob.uri(transport), certificates=made) as proxy,
        sipp(CALLING, tmp_path, target=proxy.address(), user="bob", calls=2, pause_ms=100) as calling,
    ):
        assert good(calling.finish(), 2)
        bob.wait_for("CALL_CLOSED")
        assert got(proxy, "response 200 to BYE", transport) == 2


def test_baresip_transfers_a_call(tmp_path: Path) -> None:
    with (
        baresip(tmp_path, "alice") as alice, baresip(tmp_path, "bob", answer="auto") as bob,
        baresip(tmp_path, "carol", answer="auto") as carol,
    ):  # fmt: skip
        alice.dial(bob.uri())
        alice.wait_for("CALL_ESTABLISHED")
        bob.wait_for("CALL_ESTABLISHED")
        alice.transfer(carol.uri())
        carol.wait_for("CALL_ESTABLISHED")
        alice.wait_for("CALL_CLOSED")


# ---- the programs themselves ----


def test_a_program_ends_with_its_test_and_with_the_process_that_started_it(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo here; sleep 1000"]
    with pytest.raises(ValueError, match="from the test") as raised, program("sleeper", command, tmp_path) as running:
        running.wait_for_told("here")
        raise ValueError("from the test")
    assert running.process.returncode == -signal.SIGTERM
    assert any("here" in note for note in raised.value.__notes__)
    starts = (
        "import os, sys\nfrom pathlib import Path\nfrom tests.flow.program import program\n"
        "with program('sleeper', ['sh', '-c', 'echo here; exec sleep 1000'], Path(sys.argv[1])) as running:\n"
        "    running.wait_for_told('here')\n    print(running.process.pid, flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", starts, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        process = os.pidfd_open(int(starter.stdout.readline()))
        starter.kill()
    try:  # ready when it is no more
        assert select.select([process], [], [], 20)[0]
    finally:
        os.close(process)
