"""Kamailio in tests: a proxy that stays in the way of every call it relays, a registrar, or a stateless answerer, on free ports.

The configuration is written for each: what it does not need is not loaded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from tests.flow.certificates import Certificates
from tests.flow.program import Kind, Program, bracketed, path_of, program
from tests.ports import free_ports

Transport = Literal["udp", "tcp", "tls", "ws", "wss"]
TRANSPORTS: Final[tuple[Transport, ...]] = ("udp", "tcp", "tls", "ws", "wss")
REALM: Final = "kamailio.test"
_ON_TLS: Final = frozenset({"tls", "wss"})

GLOBAL: Final = """\
debug=2
log_stderror=yes
children=1
tcp_children=2
auto_aliases=no
dns=no
rev_dns=no
# what does not listen any more is known at once
tcp_connect_timeout=3
tcp_connection_lifetime=120
# a browser's HTTP request has no Content-Length
tcp_accept_no_cl=yes
"""

# Every request is noted, so that a test that fails shows the way they took.
NOTED: Final = 'xlog("L_INFO", "request $rm $ru from $proto:$si:$sp, CSeq $cs, $ci\\n");\n'

PROXY: Final = """
request_route {
    %(noted)s
    if (!mf_process_maxfwd_header("70")) {
        sl_send_reply("483", "Too Many Hops");
        exit;
    }
    # the connection that a WebSocket client opened is the only way to it
    if ($proto == "ws" || $proto == "wss") {
        if (is_method("INVITE|SUBSCRIBE|UPDATE|REGISTER")) {
            add_contact_alias();
        }
    }
    if (is_method("CANCEL")) {
        if (t_check_trans()) {
            t_relay();
        }
        exit;
    }
    if (has_totag()) {
        if (loose_route()) {
            handle_ruri_alias();
            route(RELAY);
        }
        if (is_method("ACK") && t_check_trans()) {
            t_relay();
            exit;
        }
        # SIPp's own scenarios send what belongs to a call to where its INVITE went, without a Route: then it goes on as that did
        %(stray)s
    }
    t_check_trans();
    # whatever port it names: sipsak cuts those of five digits short
    if (is_method("OPTIONS") && $rU == "proxy") {
        sl_send_reply("200", "OK");
        exit;
    }
    %(registrar)s
    if (is_method("INVITE|SUBSCRIBE|REFER") && !has_totag()) {
        record_route();
    }
    %(onward)s
}

route[RELAY] {
    t_on_reply("BACK");
    if (!t_relay()) {
        sl_reply_error();
    }
    exit;
}

onreply_route {
    xlog("L_INFO", "response $rs to $rm from $proto:$si:$sp, $ci\\n");
}

onreply_route[BACK] {
    if ($proto == "ws" || $proto == "wss") {
        add_contact_alias();
    }
}
"""

REGISTRAR: Final = """
    if (is_method("REGISTER")) {
        %s
        if (!save("location")) {
            sl_reply_error();
        }
        exit;
    }
    if (lookup("location")) {
        handle_ruri_alias();
        if (is_method("INVITE|SUBSCRIBE|REFER")) {
            record_route();
        }
        route(RELAY);
    }
"""

CHALLENGE: Final = """
        if (!pv_www_authenticate("%(realm)s", "%(password)s", "0")) {
            www_challenge("%(realm)s", "1");
            exit;
        }
        consume_credentials();
"""

ANSWERER: Final = """
request_route {
    if (is_method("ACK")) {
        exit;
    }
    if (is_method("INVITE")) {
        append_to_reply("Contact: <sip:answerer@$Ri:$Rp;transport=$proto>\\r\\n");
        set_reply_body("v=0\\r\\no=answerer 1 1 IN IP4 127.0.0.1\\r\\ns=-\\r\\nc=IN IP4 127.0.0.1\\r\\nt=0 0\\r\\nm=audio 9 RTP/AVP 0\\r\\n",
            "application/sdp");
    }
    sl_send_reply("200", "OK");
}
"""

WEBSOCKET: Final = """
event_route[xhttp:request] {
    if ($hdr(Upgrade) =~ "websocket" && $hdr(Sec-WebSocket-Protocol) =~ "sip" && $rm == "GET") {
        if (ws_handle_handshake()) {
            exit;
        }
    }
    xhttp_reply("404", "Not Found", "text/plain", "SIP over WebSocket only\\n");
}
"""


class Kamailio:
    """One that runs. UDP, TCP and WebSocket have one port, TLS and secure WebSocket the next."""

    def __init__(self, program: Program, port: int, host: str) -> None:
        self.program = program
        self.port = port
        self.host = host

    def port_of(self, transport: Transport) -> int:
        """Where it listens for a transport."""
        return self.port + (transport in _ON_TLS)

    def address(self, transport: Transport = "udp", host: str = "") -> str:
        """host:port, as it stands in a URI."""
        return f"{bracketed(host or self.host)}:{self.port_of(transport)}"

    def uri(self, user: str, transport: Transport = "udp", host: str = "") -> str:
        """A user who is called through it."""
        return f"sip:{user}@{self.address(transport, host)}{'' if transport == 'udp' else f';transport={transport}'}"

    def route(self, transport: Transport = "udp", host: str = "") -> str:
        """It as a Route value or an outbound proxy."""
        return f"sip:{self.address(transport, host)}{'' if transport == 'udp' else f';transport={transport}'};lr"

    def told(self) -> str:
        """Its log: a line for each request and response."""
        return self.program.told()


@contextmanager
def kamailio(
    folder: Path, next_hop: str = "", *, registrar: bool = False, password: str = "", stateless: bool = False,
    transports: Sequence[Transport] = TRANSPORTS, ipv6: bool = False, certificates: Certificates | None = None,
    tls: str = "TLSv1.2+", children: int = 1,
) -> Iterator[Kamailio]:  # fmt: skip
    """Runs one that listens on 127.0.0.1, with `ipv6` on ::1 as well.

    Requests for whom it knows as a `registrar` go there, the others to `next_hop`, a URI; a `password` is what every user has to register
    with. A `stateless` one answers every request with 200 itself. It needs `certificates` for TLS, and verifies those it connects to; `tls`
    is the version as it names it, "TLSv1.2" for sipsak, which cannot do without.
    """
    hosts = ("127.0.0.1", "::1") if ipv6 else ("127.0.0.1",)
    port = free_ports(2, hosts)
    secured = not _ON_TLS.isdisjoint(transports)
    assert certificates is not None or not secured, "TLS needs certificates"
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / "kamailio.cfg"
    written.write_text(_configuration(
        folder, port, hosts, next_hop=next_hop, registrar=registrar, password=password, stateless=stateless, transports=transports,
        children=children,
    ))  # fmt: skip
    if certificates is not None and secured:
        (folder / "tls.cfg").write_text(_tls(certificates, tls))
    # its control socket's path must be short, and is made in here
    with tempfile.TemporaryDirectory(prefix="tl-kam-") as run_folder:
        command = [path_of("kamailio"), "-DD", "-E", "-m", "32", "-M", "8", "-Y", run_folder, "-f", str(written)]
        with program("kamailio", command, folder) as running:
            running.wait_for_ports(*_ports(port, transports))
            yield Kamailio(running, port, hosts[0])


def _ports(port: int, transports: Sequence[Transport]) -> list[tuple[Kind, int]]:
    kinds: list[tuple[Kind, int]] = [("udp", port)] if "udp" in transports else []
    if not {"tcp", "ws"}.isdisjoint(transports):
        kinds.append(("tcp", port))
    if not _ON_TLS.isdisjoint(transports):
        kinds.append(("tcp", port + 1))
    return kinds


def _configuration(
    folder: Path, port: int, hosts: Sequence[str], *, next_hop: str, registrar: bool, password: str, stateless: bool,
    transports: Sequence[Transport], children: int,
) -> str:  # fmt: skip
    modules = [*([] if stateless else ["tm", "tmx"]), "sl", "pv", "xlog", "textops", "siputils", "maxfwd"]
    parameters: list[tuple[str, str, str | int]] = []
    lines: list[str] = []
    for host in map(bracketed, hosts):
        if "udp" in transports:
            lines.append(f"listen=udp:{host}:{port}")
        if not {"tcp", "ws"}.isdisjoint(transports):
            lines.append(f"listen=tcp:{host}:{port}")
        if not _ON_TLS.isdisjoint(transports):
            lines.append(f"listen=tls:{host}:{port + 1}")
    if not _ON_TLS.isdisjoint(transports):
        lines.append("enable_tls=yes")
        modules.append("tls")
        parameters.append(("tls", "config", f"{folder}/tls.cfg"))
    if not stateless:
        modules += ["rr", "nathelper"]
        # long enough for a callee that is slow, short enough for a test that waits for 408
        parameters += [("tm", "fr_timer", 10_000), ("tm", "fr_inv_timer", 60_000), ("rr", "enable_full_lr", 1)]
    if registrar:
        modules += ["usrloc", "registrar"]
        parameters += [("usrloc", "db_mode", 0), ("registrar", "max_contacts", 4), ("registrar", "method_filtering", 0)]
        if password:
            modules.append("auth")
    websocket = not {"ws", "wss"}.isdisjoint(transports)
    if websocket:
        modules += ["xhttp", "websocket"]
        parameters.append(("websocket", "keepalive_mechanism", 0))
    lines += [f'loadmodule "{name}.so"' for name in modules]
    for name, what, value in parameters:
        quoted = value if isinstance(value, int) else f'"{value}"'
        lines.append(f'modparam("{name}", "{what}", {quoted})')
    head = GLOBAL.replace("children=1\n", f"children={children}\n", 1) + "\n".join(lines)
    if stateless:
        return head + ANSWERER + (WEBSOCKET if websocket else "")
    challenge = CHALLENGE % {"realm": REALM, "password": password} if password else ""
    onward = f'$du = "{next_hop}";\n    route(RELAY);' if next_hop else 'sl_send_reply("404", "Not Found");'
    route = PROXY % {"noted": NOTED, "registrar": REGISTRAR % challenge if registrar else "", "onward": onward, "stray": "" if next_hop else "route(RELAY);"}
    return head + route + (WEBSOCKET if websocket else "")


def _tls(certificates: Certificates, version: str) -> str:
    common = f"""\
private_key = {certificates.server.key}
certificate = {certificates.server.certificate}
ca_list = {certificates.authority}
method = {version}
"""
    server = f"[server:default]\n{common}verify_certificate = no\nrequire_certificate = no\n"
    return f"{server}\n[client:default]\n{common}verify_certificate = yes\n"


__all__ = ["REALM", "TRANSPORTS", "Kamailio", "Transport", "kamailio"]
