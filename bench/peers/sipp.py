"""SIPp: the load of SIP benchmarks, and with its own UAS scenario the peer of ours."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from bench.peers.program import need

PROGRAM = "sipp"
NAME = "SIPp UAS"
INVITE = """\
INVITE sip:bench@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: sipp <sip:sipp@[local_ip]:[local_port]>;tag=[pid]x[call_number]
To: bench <sip:bench@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: sip:sipp@[local_ip]:[local_port]
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 40000 RTP/AVP 0
a=rtpmap:0 PCMU/8000
"""
INSIDE = """\
%(method)s sip:bench@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: sipp <sip:sipp@[local_ip]:[local_port]>;tag=[pid]x[call_number]
To: bench <sip:bench@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: %(number)d %(method)s
Max-Forwards: 70
Content-Length: 0

"""
# The time of the first answer to each INVITE is noted. `%s` is what follows the ACK.
SCENARIO = """\
<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="bench">
<send retrans="500" start_rtd="1"><![CDATA[
%s]]></send>
<recv response="100" optional="true" rtd="1"/>
<recv response="180" optional="true" rtd="1"/>
<recv response="200"/>
<send><![CDATA[
%s]]></send>
%s</scenario>
"""
BYE = """\
<send retrans="500"><![CDATA[
%s]]></send>
<recv response="200"/>
""" % (INSIDE % {"method": "BYE", "number": 2})


class Load(NamedTuple):
    """Calls that went well, that failed, messages that were repeated, and the times of first answers in ms."""

    good: int
    failed: int
    repeated: int
    first_answers_ms: list[float]


def install() -> None:
    """Installs SIPp when it is missing."""
    need(PROGRAM)


def uas(port: int) -> list[str]:
    """The command of its UAS."""
    return [PROGRAM, "-sn", "uas", "-i", "127.0.0.1", "-p", str(port), "-nostdin"]


def call(port: int, rate: int, calls: int, folder: Path, *, ends: bool = True) -> Load:
    """`calls` calls at `rate` a second: INVITE, 180, 200, ACK and, where the call `ends`, BYE, 200."""
    scenario = folder / "bench.xml"
    scenario.write_text(SCENARIO % (INVITE, INSIDE % {"method": "ACK", "number": 1}, BYE if ends else ""))
    command = [PROGRAM, f"127.0.0.1:{port}", "-sf", str(scenario), "-r", str(rate), "-m", str(calls), "-i", "127.0.0.1", "-nostdin",
               "-timeout", str(calls // rate + 40), "-max_socket", "1000", "-trace_rtt", "-rtt_freq", "1000"]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=calls / rate + 60)
    good = re.findall(r"Successful call\s*\|[^|]*\|\s*(\d+)", done.stdout)
    failed = re.findall(r"Failed call\s*\|[^|]*\|\s*(\d+)", done.stdout)
    if not good or not failed:
        raise RuntimeError(f"SIPp told nothing: {done.stdout[-500:]}{done.stderr[-500:]}")
    repeated = sum(int(count) for count in re.findall(r"(?m)^\s+(?:INVITE|BYE) -+>\s+\d+\s+(\d+)", done.stdout))
    times_ms = []
    for path in folder.glob("bench_*_rtt.csv"):
        times_ms += [float(line.split(";")[1]) for line in path.read_text().splitlines()[1:] if line.count(";") >= 2]
        path.unlink()
    return Load(int(good[-1]), int(failed[-1]), repeated, times_ms)


__all__ = ["NAME", "PROGRAM", "Load", "call", "install", "uas"]
