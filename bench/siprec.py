"""The recording server as a row of the benchmarks needs it: an engine worker as it is run, on a core of its own, and SIPp as the recording client.

SIPp signals: an INVITE with a description of two lines and metadata, its answer, the ACK, and after a while BYE. What it is told of ports goes to a file. RTP is sent by
rtp_load.c to those ports, so that each leg's file can be checked byte by byte.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from bench.rtp_load import GENERATOR_CORE, Subject, expected_payload, pinned
from engine.bus import Bus, open_bus
from engine.bus.errors import BusError
from engine.bus.hub import Hub
from engine.config.loading import environment_name
from engine.media.manifest import Manifest, read
from engine.sip_worker import prepare

HOST: Final = "127.0.0.1"
NAME: Final = "worker.0"
PORTS: Final = (12_000, 29_999)
START_S: Final = 30.0
END_S: Final = 120.0
CALL_ID: Final = re.compile(r"bench-(\d+)@")
# A client keeps to RFC 7866 and 7865; ports come from a file, so that each call has two streams of its own.
BODY: Final = """\
--bench
Content-Type: application/sdp

v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio [field0] RTP/AVP 0 8 101
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=label:1
a=sendonly
m=audio [field1] RTP/AVP 0 8 101
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=label:2
a=sendonly

--bench
Content-Type: application/rs-metadata+xml
Content-Disposition: recording-session

<?xml version="1.0" encoding="UTF-8"?>
<recording xmlns="urn:ietf:params:xml:ns:recording:1">
<datamode>complete</datamode>
<group group_id="group-[call_number]"><associate-time>2026-01-01T00:00:00Z</associate-time></group>
<session session_id="session-[call_number]"><sipSessionID>cs-[call_number]@bench;remote=f-[call_number]</sipSessionID><group-ref>group-[call_number]</group-ref></session>
<participant participant_id="caller-[call_number]"><nameID aor="sip:+1555[call_number]@example.com"><name xml:lang="en">Caller [call_number]</name></nameID></participant>
<participant participant_id="agent-[call_number]"><nameID aor="sip:agent[call_number]@example.com"><name xml:lang="en">Agent [call_number]</name></nameID></participant>
<stream stream_id="s1-[call_number]" session_id="session-[call_number]"><label>1</label></stream>
<stream stream_id="s2-[call_number]" session_id="session-[call_number]"><label>2</label></stream>
<sessionrecordingassoc session_id="session-[call_number]"><associate-time>2026-01-01T00:00:00Z</associate-time></sessionrecordingassoc>
<participantsessionassoc participant_id="caller-[call_number]" session_id="session-[call_number]"><associate-time>2026-01-01T00:00:00Z</associate-time></participantsessionassoc>
<participantsessionassoc participant_id="agent-[call_number]" session_id="session-[call_number]"><associate-time>2026-01-01T00:00:00Z</associate-time></participantsessionassoc>
<participantstreamassoc participant_id="caller-[call_number]"><send>s1-[call_number]</send><recv>s2-[call_number]</recv></participantstreamassoc>
<participantstreamassoc participant_id="agent-[call_number]"><send>s2-[call_number]</send><recv>s1-[call_number]</recv></participantstreamassoc>
</recording>
--bench--

"""
REQUEST: Final = """\
<send%(retrans)s%(timed)s><![CDATA[
%(method)s sip:srs@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:src@[local_ip]:[local_port]>;tag=[pid]x[call_number]
To: <sip:srs@[remote_ip]:[remote_port]>%(tag)s
Call-ID: [call_id]
CSeq: %(cseq)d %(method)s
Contact: <sip:src@[local_ip]:[local_port]>;+sip.src
Max-Forwards: 70
%(headers)sContent-Length: [len]

%(body)s]]></send>
"""


def scenario(stays_ms: int) -> str:
    """A call that stays for so long."""

    def request(method: str, cseq: int, body: str = "", *, first: bool = False) -> str:
        headers = "Require: siprec\nContent-Type: multipart/mixed;boundary=bench\n" if body else ""
        return REQUEST % {
            "method": method, "cseq": cseq, "body": body, "headers": headers, "tag": "" if first else "[peer_tag_param]",
            "retrans": "" if method == "ACK" else ' retrans="500"', "timed": ' start_rtd="1"' if first else "",
        }  # fmt: skip

    ports = '<ereg regexp="m=audio ([0-9]+) .*m=audio ([0-9]+) " search_in="body" check_it="true" assign_to="1,2,3"/>'
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="siprec">\n' + request("INVITE", 1, BODY, first=True)
        + '<recv response="100" optional="true"/>\n<recv response="180" optional="true"/>\n'
        + f'<recv response="200" rtd="1"><action>{ports}<log message="ports [call_number] [$2] [$3]"/></action></recv>\n<Reference variables="1"/>\n'
        + request("ACK", 1) + f'<pause milliseconds="{stays_ms}"/>\n' + request("BYE", 2) + '<recv response="200"/>\n</scenario>\n'
    )  # fmt: skip


class Ended(NamedTuple):
    """Calls that went well and that failed, and the times of the 200s in ms, in order."""

    good: int
    failed: int
    answers_ms: list[float]


class Calls:
    """Recording sessions by SIPp, `rate` a second, each of which stays for so long. `legs` are the ports that media come from."""

    def __init__(self, port: int, count: int, rate: int, stays_s: float, legs: Sequence[int], folder: Path, name: str = "bench") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.xml").write_text(scenario(round(stays_s * 1000)))
        rows = [f"{legs[2 * at % len(legs)]};{legs[(2 * at + 1) % len(legs)]};" for at in range(count)]
        (folder / f"{name}.csv").write_text("\n".join(["SEQUENTIAL", *rows, ""]))
        self._folder, self._name, self._count = folder, name, count
        self._output = (folder / f"{name}.out").open("wb")
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [
                *pinned(GENERATOR_CORE), "sipp", f"{HOST}:{port}", "-sf", f"{name}.xml", "-inf", f"{name}.csv", "-i", HOST, "-r", str(rate), "-m", str(count), "-l", str(count + 10),
                "-cid_str", f"{name}-%u@bench", "-nostdin", "-trace_logs", "-log_file", f"{name}.log", "-trace_rtt", "-rtt_freq", "10", "-trace_err", "-error_file", f"{name}.err",
            ],
            cwd=folder, stdout=self._output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def ports(self, within_s: float) -> list[int]:
        """Where each leg of each call is to be sent, in order, as soon as all calls stand. Raises TimeoutError."""
        deadline = time.monotonic() + within_s
        log = self._folder / f"{self._name}.log"
        while True:
            found = re.findall(r"ports (\d+) (\d+) (\d+)", log.read_text()) if log.exists() else []
            if len(found) >= self._count:
                by_call = {int(number): (int(first), int(second)) for number, first, second in found}
                return [port for number in sorted(by_call) for port in by_call[number]]
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise TimeoutError(f"{len(found)} of {self._count} sessions were set up: {self._errors()}")
            time.sleep(0.05)

    def _errors(self) -> str:
        path = self._folder / f"{self._name}.err"
        return path.read_text(errors="replace")[-600:] if path.exists() else ""

    def finish(self, within_s: float = END_S) -> Ended:
        """Waits for the end of all. Raises subprocess.TimeoutExpired, RuntimeError where SIPp told nothing."""
        self.process.wait(within_s)
        self._output.close()
        told = (self._folder / f"{self._name}.out").read_text(errors="replace")
        good, failed = re.findall(r"Successful call\s*\|[^|]*\|\s*(\d+)", told), re.findall(r"Failed call\s*\|[^|]*\|\s*(\d+)", told)
        if not good or not failed:
            raise RuntimeError(f"SIPp told nothing: {told[-500:]} {self._errors()}")
        times: list[float] = []
        for path in self._folder.glob(f"{self._name}_*_rtt.csv"):
            times += [float(line.split(";")[1]) for line in path.read_text().splitlines()[1:] if line.count(";") >= 2]
        return Ended(int(good[-1]), int(failed[-1]), sorted(times))

    def close(self) -> None:
        """Ends it, where it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._output.close()

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *failure: Any) -> None:
        self.close()


class Status(msgspec.Struct, frozen=True):
    """What a worker says of itself."""

    rss_bytes: int
    sip: dict[str, int]


class Engine(Subject):
    """An engine worker on core 1, on a bus of its own whose hub is here, on core 0. Its recordings lie in `folder`."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder / "data" / "recordings"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((HOST, 0))
            self.port: int = probe.getsockname()[1]
        chosen = {
            "data.dir": str(folder / "data"), "sip.listen": f'["udp://{HOST}:{self.port}"]', "network.rtp_bind_ip": HOST, "network.rtp_port_min": str(PORTS[0]),
            "network.rtp_port_max": str(PORTS[1]), "resources.max_concurrent_calls": "10000", "resources.max_rtp_streams": "30000", "recording.g711": "untouched",
            "sip.trunks": '[{"name": "clients", "sources": ["127.0.0.0/8"], "calls_max": 50000, "calls_per_s": 5000, "calls_burst": 10000}]', **(settings or {}),
        }  # fmt: skip
        prepare(folder / "data")
        self._loop = asyncio.new_event_loop()
        self._hub = Hub(folder / "run" / "bus.sock")
        (folder / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._run(self._hub.start())
        self._bus: Bus = self._run(open_bus(self._hub.url, "bench"))
        environment = [f"{environment_name(name)}={value}" for name, value in chosen.items()]
        super().__init__(["env", *environment, sys.executable, "-m", "engine.worker", "--bus", self._hub.url, "--name", NAME, "--of", "1", "--grace-s", "60", "--log-level", "ERROR"])

    def _serve(self) -> None:
        if (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(0, {GENERATOR_CORE})
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(END_S)

    def wait_ready(self) -> None:
        """Until it answers. Raises RuntimeError when it does not."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.tell()
                return
            except BusError as error:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError(f"the worker does not answer: {os.pread(self._errors, 4096, 0).decode(errors='replace')}") from error
                time.sleep(0.1)

    def tell(self) -> Status:
        """What it says now."""
        told: Status = self._run(self._bus.request(NAME, "worker.status", shape=Status))
        return told

    def stop(self) -> Status:
        """What it says last; then its end, which seals everything."""
        told = self.tell()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(END_S)
        return told

    def sealed(self, count: int, within_s: float = END_S) -> list[Manifest]:
        """The manifests of so many recordings, as soon as they are there. Raises TimeoutError."""
        deadline = time.monotonic() + within_s
        while len(paths := [path for path in self.folder.glob("*.json") if not path.name.endswith(".siprec.json")]) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(paths)} of {count} recordings were sealed")
            time.sleep(0.1)
        return [read(path) for path in paths]

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *failure: Any) -> None:
        super().__exit__(*failure)
        self._run(self._bus.close())
        self._run(self._hub.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def start(folder: Path, settings: Mapping[str, str] | None = None) -> Engine:
    """A worker that takes calls."""
    engine = Engine(folder, settings)
    try:
        engine.wait_ready()
    except BaseException:
        engine.__exit__(None, None, None)
        raise
    return engine


class Checked(NamedTuple):
    """Legs whose file has all that was sent, byte for byte; packets that are missed in all; recordings that are not complete."""

    good: int
    lost: int
    incomplete: int


def check(folder: Path, manifests: Sequence[Manifest], packets: int) -> Checked:
    """Looks into each file of the calls of a load: call n has streams 2n and 2n + 1."""
    good = lost = incomplete = 0
    for manifest in manifests:
        found = CALL_ID.match(manifest.call_id)
        if found is None:  # of another load
            continue
        call = int(found[1]) - 1
        incomplete += manifest.state != "complete"
        lost += sum(channel.lost + channel.late for channel in manifest.channels)
        (merged,) = [file for file in manifest.files if file.channels == 2]
        data = (folder / merged.path).read_bytes()
        both = np.frombuffer(data, np.uint8, offset=data.index(b"data") + 8)
        for channel in manifest.channels:
            wanted = expected_payload(2 * call + int(channel.label) - 1, 0, packets)
            good += wanted in both[merged.tracks.index(channel.index) :: 2].tobytes()
    return Checked(good, lost, incomplete)


__all__ = ["Calls", "Checked", "Ended", "Engine", "Status", "check", "scenario", "start"]
