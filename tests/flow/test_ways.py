"""Where an endpoint's requests go: by name with failover, over TCP when they are large, and over TLS that asks both sides who they are."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from engine.sip.compose import Header
from engine.sip.endpoint import Endpoint, Listener, Tls
from engine.sip.incoming import IncomingCall
from engine.sip.resolver import Resolver
from engine.sip.timers import Timers
from engine.sip.user_agent import Application
from tests.engine.sip.test_transport import until
from tests.engine.test_sip_worker import ME, Plain, Watched
from tests.flow.certificates import certificates
from tests.flow.program import program
from tests.ports import free_ports

QUICK = Timers(t1_s=0.02, t2_s=0.1, t4_s=0.1, d_s=0.5)
LARGE: list[Header] = [("X-Filling", "x" * 1400)]


class Phone(Application):
    """Answers, or refuses with a status, and knows what calls came over."""

    def __init__(self, refuses: int = 0) -> None:
        self.refuses = refuses
        self.over: list[str] = []

    def on_call(self, call: IncomingCall) -> None:
        assert call.flow is not None
        self.over.append(call.flow.transport)
        if self.refuses:
            call.refuse(self.refuses)
        else:
            call.session = Plain()
            call.answer()


async def called(caller: Endpoint, target: str, headers: list[Header] | None = None) -> Watched:
    """A call that is made and ended; what became of it."""
    watched = Watched()
    call = caller.agent.call(target, ME, session=Plain(), user=watched, headers=headers)
    await until(lambda: bool(watched.connected or watched.endings))
    if watched.connected:
        call.hang_up()
    await until(lambda: len(watched.endings) == 1)
    return watched


@pytest.mark.parametrize("takes_tcp", [True, False])
def test_a_large_request_goes_over_tcp_where_it_can(takes_tcp: bool) -> None:
    """RFC 3261 18.1.1."""

    async def run() -> None:
        phone = Phone()
        there, caller = Endpoint(phone, timers=QUICK), Endpoint(Application(), timers=QUICK)
        host, port = await there.listen(Listener(host="127.0.0.1", port=free_ports()))
        if takes_tcp:
            await there.listen(Listener(transport="TCP", host=host, port=port))
        await caller.listen(Listener(host=host, port=0))
        await called(caller, f"sip:a@{host}:{port}")
        await called(caller, f"sip:a@{host}:{port}", LARGE)
        assert phone.over == ["UDP", "TCP" if takes_tcp else "UDP"]
        await caller.close()
        await there.close()

    uvloop.run(run())


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[int]]]:
    """A name server, and the ports that its SRV records lead to, in their order."""
    folder = tmp_path_factory.mktemp("names")
    server, *ports = (free_ports() for _ in range(4))
    lines = [f"port={server}", "listen-address=127.0.0.1", "bind-interfaces", "no-resolv", "no-hosts", "local=/test/", "local-ttl=60"]
    lines += ["host-record=phone.example.test,127.0.0.1"]
    lines += [f"srv-host=_sip._{kind}.example.test,phone.example.test,{port},{at},0" for at, port in enumerate(ports) for kind in ("udp", "tcp")]
    (folder / "names.conf").write_text("\n".join(lines) + "\n")
    found = shutil.which("dnsmasq", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert found, "dnsmasq is missing; see ci/sip_setup.sh"
    with program("dnsmasq", [found, "-k", "-C", str(folder / "names.conf"), "--user=", "--pid-file="], folder) as running:
        running.wait_for_ports(("udp", server))
        yield f"127.0.0.1:{server}", ports


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("first", ["silent", 503])
def test_a_name_leads_to_the_next_target_when_the_first_fails_and_stays_there(names: tuple[str, list[int]], transport: str, first: str | int) -> None:
    """RFC 3263 4.3: nobody answers, the connection is refused, or 503."""

    async def run() -> None:
        server, ports = names
        busy, phone = Phone(503), Phone()
        ends = []
        if first == 503:
            ends.append(Endpoint(busy, timers=QUICK))
            await ends[-1].listen(Listener(transport=transport.upper(), host="127.0.0.1", port=ports[0]))  # type: ignore[arg-type]
        ends.append(Endpoint(phone, timers=QUICK))
        await ends[-1].listen(Listener(transport=transport.upper(), host="127.0.0.1", port=ports[1]))  # type: ignore[arg-type]
        caller = Endpoint(Application(), timers=QUICK, resolver=Resolver([server]))
        await caller.listen(Listener(host="127.0.0.1", port=0))
        target = f"sip:a@example.test;transport={transport}"
        for _ in range(3):
            assert (await called(caller, target)).endings[0].by == "us"
        assert phone.over == [transport.upper()] * 3
        assert len(busy.over) == (first == 503)  # it is left alone for a while
        for end in (caller, *ends):
            await end.close()

    uvloop.run(run())


def test_a_name_that_leads_nowhere_ends_the_call(names: tuple[str, list[int]]) -> None:
    async def run() -> None:
        caller = Endpoint(Application(), timers=QUICK, resolver=Resolver([names[0]]))
        await caller.listen(Listener(host="127.0.0.1", port=0))
        watched = await called(caller, "sip:a@missing.test")
        assert (watched.endings[0].by, watched.endings[0].status) == ("nobody", 503)
        await caller.close()

    uvloop.run(run())


@pytest.mark.parametrize("shown", [True, False])
def test_tls_may_ask_the_caller_for_a_certificate(tmp_path: Path, shown: bool) -> None:
    made = certificates(tmp_path)

    async def run() -> None:
        phone = Phone()
        server = made.server_context(client_wanted=True)
        client = made.client_context() if shown else ssl.create_default_context(cafile=str(made.authority))
        there = Endpoint(phone, timers=QUICK, tls=Tls(server=server))
        host, port = await there.listen(Listener(transport="TLS", host="127.0.0.1", port=0))
        caller = Endpoint(Application(), timers=QUICK, tls=Tls(client=client))
        await caller.listen(Listener(host=host, port=0))
        watched = await called(caller, f"sip:a@{host}:{port};transport=tls")
        assert watched.endings[0].by == ("us" if shown else "nobody")
        assert phone.over == (["TLS"] if shown else [])
        await caller.close()
        await there.close()

    uvloop.run(run())


def test_many_requests_at_once_open_one_connection() -> None:
    async def run() -> None:
        phone = Phone()
        there, caller = Endpoint(phone, timers=QUICK), Endpoint(Application(), timers=QUICK)
        host, port = await there.listen(Listener(transport="TCP", host="127.0.0.1", port=0))
        await caller.listen(Listener(host=host, port=0))
        await asyncio.gather(*(called(caller, f"sip:{at}@{host}:{port};transport=tcp") for at in range(20)))
        assert len(phone.over) == 20 and there.sockets == 1
        await caller.close()
        await until(lambda: there.sockets == 0)
        await there.close()

    uvloop.run(run())
