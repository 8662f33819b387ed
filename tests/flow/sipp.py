"""SIPp in tests: either side of calls, by a scenario of its own or one that is given as XML, and what became of the calls.

What it counts is read from its statistics file, and is there once it ended: a side that calls ends behind its last call, one that is called
is told to by `finish`. Debian builds it without TLS.
"""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec

from tests.flow.program import Kind, Program, bracketed, path_of, program
from tests.ports import free_ports

# one UDP socket, one a call, one an address; one TCP connection, one a call
Transport = Literal["u1", "un", "ui", "t1", "tn"]
BUILT_IN: Final = frozenset({"uac", "uas", "regexp", "branchc", "branchs"})
FINISH_S: Final = 60.0
ALL_OF_IPV4: Final = "0.0.0.0"
DTD: Final = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE scenario SYSTEM "sipp.dtd">\n'

# The called side, as its own "uas", which leaves Record-Route out of its answers and waits four seconds behind every call.
CALLED: Final = (
    DTD
    + """<scenario name="called">
  <recv request="INVITE"/>
  <send><![CDATA[
    SIP/2.0 180 Ringing
    [last_Via:]
    [last_Record-Route:]
    [last_From:]
    [last_To:];tag=called[pid]x[call_number]
    [last_Call-ID:]
    [last_CSeq:]
    Contact: <sip:called@[local_ip]:[local_port];transport=[transport]>
    Content-Length: 0

  ]]></send>
  <send retrans="500"><![CDATA[
    SIP/2.0 200 OK
    [last_Via:]
    [last_Record-Route:]
    [last_From:]
    [last_To:];tag=called[pid]x[call_number]
    [last_Call-ID:]
    [last_CSeq:]
    Contact: <sip:called@[local_ip]:[local_port];transport=[transport]>
    Content-Type: application/sdp
    Content-Length: [len]

    v=0
    o=called 1 1 IN IP[local_ip_type] [local_ip]
    s=-
    c=IN IP[media_ip_type] [media_ip]
    t=0 0
    m=audio [media_port] RTP/AVP 0
    a=rtpmap:0 PCMU/8000
  ]]></send>
  <recv request="ACK"/>
  <recv request="BYE"/>
  <send><![CDATA[
    SIP/2.0 200 OK
    [last_Via:]
    [last_From:]
    [last_To:]
    [last_Call-ID:]
    [last_CSeq:]
    Content-Length: 0

  ]]></send>
</scenario>
"""
)

# The calling side, as its own "uac", which sends ACK and BYE to where the INVITE went whatever the answer's Contact and Record-Route say.
CALLING: Final = (
    DTD
    + """<scenario name="calling">
  <send retrans="500"><![CDATA[
    INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];rport;branch=[branch]
    From: <sip:calling@[local_ip]:[local_port]>;tag=calling[pid]x[call_number]
    To: <sip:[service]@[remote_ip]:[remote_port]>
    Call-ID: [call_id]
    CSeq: 1 INVITE
    Contact: <sip:calling@[local_ip]:[local_port];transport=[transport]>
    Max-Forwards: 70
    Content-Type: application/sdp
    Content-Length: [len]

    v=0
    o=calling 1 1 IN IP[local_ip_type] [local_ip]
    s=-
    c=IN IP[media_ip_type] [media_ip]
    t=0 0
    m=audio [media_port] RTP/AVP 0
    a=rtpmap:0 PCMU/8000
  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="183" optional="true"/>
  <recv response="200" rrs="true"/>
  <send><![CDATA[
    ACK [next_url] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];rport;branch=[branch]
    [routes]
    From: <sip:calling@[local_ip]:[local_port]>;tag=calling[pid]x[call_number]
    To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
    Call-ID: [call_id]
    CSeq: 1 ACK
    Max-Forwards: 70
    Content-Length: 0

  ]]></send>
  <pause/>
  <send retrans="500"><![CDATA[
    BYE [next_url] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];rport;branch=[branch]
    [routes]
    From: <sip:calling@[local_ip]:[local_port]>;tag=calling[pid]x[call_number]
    To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
    Call-ID: [call_id]
    CSeq: 2 BYE
    Max-Forwards: 70
    Content-Length: 0

  ]]></send>
  <recv response="200"/>
</scenario>
"""
)

# Media lines of a description, for `speaking`. The port of what SIPp streams itself is another one than that of captures that it plays.
CAPTURE_PORT: Final = "[media_port]"
STREAM_PORT: Final = "[rtpstream_audio_port]"
_PCMU: Final = "m=audio [media_port] RTP/AVP 0\n    a=rtpmap:0 PCMU/8000"
_LAST_CSEQ: Final = 90


def media(*formats: str, port: str = CAPTURE_PORT, direction: str = "sendrecv") -> str:
    """The m= line and what belongs to it, for formats like "0 PCMU/8000"."""
    numbers = " ".join(one.split()[0] for one in formats)
    return "\n    ".join([f"m=audio {port} RTP/AVP {numbers}", *(f"a=rtpmap:{one}" for one in formats), f"a={direction}"])


def does(action: str) -> str:
    """A step: one of SIPp's actions with media, such as 'rtp_stream="file,1,0"' or 'play_pcap_audio="file"'."""
    return f"<nop><action><exec {action}/></action></nop>"


def waits(ms: int) -> str:
    """A step: nothing for a while."""
    return f'<pause milliseconds="{ms}"/>'


def offers(lines: str, number: int = 2) -> str:
    """A step: a re-INVITE with another offer. `number` is its CSeq, one more each time."""
    invite = CALLING[CALLING.index("<send") : CALLING.index("<pause/>")].replace(_PCMU, lines)
    invite = invite.replace("sip:[service]@[remote_ip]:[remote_port] SIP/2.0", "[next_url] SIP/2.0", 1)
    invite = invite.replace("To: <sip:[service]@[remote_ip]:[remote_port]>\n", "To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]\n", 1)
    return invite.replace("CSeq: 1 ", f"CSeq: {number} ").replace("o=calling 1 1 ", f"o=calling 1 {number} ")


def speaking(*steps: str, lines: str = _PCMU) -> str:
    """The calling side, with media lines of its own and further steps once the call stands, in front of its pause."""
    scenario = CALLING.replace(_PCMU, lines).replace("CSeq: 2 BYE", f"CSeq: {_LAST_CSEQ} BYE")
    return scenario.replace("<pause/>", "\n  ".join([*steps, "<pause/>"]))


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the calls of one side."""

    created: int
    successful: int
    failed: int
    retransmissions: int
    unexpected: int
    out_of_call: int
    exit_status: int


class Sipp:
    """One side that runs. The ports are its own."""

    def __init__(self, program: Program, statistics: Path, host: str, port: int, media_port: int, *, calls_others: bool) -> None:
        self.program = program
        self.host = host
        self.port = port
        self.media_port = media_port
        self._statistics = statistics
        self._calls_others = calls_others

    def uri(self, user: str = "called", transport: str = "") -> str:
        """Where it is called."""
        return f"sip:{user}@{bracketed(self.host)}:{self.port}{f';transport={transport}' if transport else ''}"

    def wait_for_media(self) -> None:
        """Until it has its ports for media, so that the next program that is started takes others. For calls that are not over at once."""
        self.program.wait_for_ports(("udp", self.media_port), ("udp", self.media_port + 2))

    def finish(self, within_s: float = FINISH_S) -> Outcome:
        """Waits until its calls are over, and says what became of them. Its own "uas" and "branchs" hold each for four seconds more."""
        if not self._calls_others:
            self.program.signal(signal.SIGUSR1)  # no new calls, and the end when those under way are over
        return self._outcome(self.program.wait_for_end(within_s))

    def cut(self) -> Outcome:
        """Ends it at once, and says what became of its calls so far: those whose scenario is not at its end are neither good nor failed."""
        self.program.signal(signal.SIGTERM)
        return self._outcome(self.program.wait_for_end(FINISH_S))

    def _outcome(self, status: int) -> Outcome:
        with self._statistics.open(newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter=";"))
        assert rows, f"{self.program.name} counted nothing, and ended with {status}"
        last = rows[-1]
        return Outcome(
            created=int(last["TotalCallCreated"]), successful=int(last["SuccessfulCall(C)"]), failed=int(last["FailedCall(C)"]),
            retransmissions=int(last["Retransmissions(C)"]), unexpected=int(last["FailedUnexpectedMessage(C)"]),
            out_of_call=int(last["OutOfCallMsgs(C)"]), exit_status=status,
        )  # fmt: skip


@contextmanager
def sipp(
    scenario: str, folder: Path, *, target: str = "", host: str = "127.0.0.1", transport: Transport = "u1", calls: int = 1, rate: int = 10,
    pause_ms: int = 0, user: str = "service", name: str = "", fields: Sequence[Sequence[str]] = (), arguments: Sequence[str] = (),
) -> Iterator[Sipp]:  # fmt: skip
    """Runs one side of calls. With a `target`, host:port, it calls `calls` times; without, it is called, and listens when this returns.

    `scenario` is the name of one of its own, or XML. `fields` are the lines of an injection file; with "ui" the first field of each is the
    address to call from. What SIPp saw on the wire is shown when the test fails.
    """
    role = name or (scenario if scenario in BUILT_IN else "calling" if target else "called")
    port = free_ports(hosts=(host,))
    media_port = free_ports(4, hosts=(host, ALL_OF_IPV4))
    statistics, messages, errors = (folder / f"{role}-{kind}" for kind in ("statistics.csv", "messages.log", "errors.log"))
    folder.mkdir(parents=True, exist_ok=True)
    command = [path_of("sipp"), *([target] if target else [])]
    if scenario in BUILT_IN:
        command += ["-sn", scenario]
    else:
        (folder / f"{role}.xml").write_text(scenario)
        command += ["-sf", f"{role}.xml"]
    if fields:
        (folder / f"{role}-fields.csv").write_text("\n".join(["SEQUENTIAL", *(";".join(line) + ";" for line in fields), ""]))
        command += ["-inf", f"{role}-fields.csv"]
    if transport == "ui":
        command += ["-ip_field", "0"]
    if target:
        command += ["-m", str(calls), "-r", str(rate), "-d", str(pause_ms), "-timeout", str(int(FINISH_S) - 10), "-timeout_error"]
    command += [
        "-i", host, "-p", str(port), "-mi", host, "-mp", str(media_port), "-cp", str(media_port + 3), "-t", transport, "-s", user,
        "-nostdin", "-max_socket", "1000", "-trace_stat", "-stf", statistics.name, "-trace_msg", "-message_file", messages.name,
        "-trace_err", "-error_file", errors.name, *arguments,
    ]  # fmt: skip
    if ":" not in host:
        command += ["-ci", host]  # beside calls over IPv6 its control socket is at all addresses of IPv4
    with program(f"sipp-{role}", command, folder, more_logs=(errors, messages)) as running:
        if not target:
            kind: Kind = "tcp" if transport.startswith("t") else "udp"
            running.wait_for_ports((kind, port))
        yield Sipp(running, statistics, host, port, media_port, calls_others=bool(target))


__all__ = [
    "BUILT_IN", "CALLED", "CALLING", "CAPTURE_PORT", "STREAM_PORT", "Outcome", "Sipp", "Transport", "does", "media", "offers", "sipp", "speaking", "waits",
]  # fmt: skip
