"""rtpengine in user space: the relay that carriers run, driven by its ng protocol (bencode over UDP), one offer and one answer a call.

Its recording daemon (rtpengine-recording) reads packets from the kernel module and cannot run without one; recording in user space is what the relay itself does
with `recording-method=pcap`, a capture file a call.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.peers.program import need
from bench.rtp_load import Subject

PROGRAM = "rtpengine"
NAME = "rtpengine, user space"
PORTS = (30_000, 39_999)
START_S = 10.0
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n"

Value = str | bytes | int | list[Any] | dict[str, Any]


def install() -> None:
    """Installs rtpengine when it is missing."""
    need(PROGRAM)


def version() -> str:
    """As it names itself."""
    told = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=False)
    return (told.stdout + told.stderr).replace("Version:", "").strip()


def bencode(value: Value) -> bytes:
    """A value as bencode: dictionaries sorted by key."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%b" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"


def bdecode(data: bytes, at: int = 0) -> tuple[Any, int]:
    """A value of bencode and the place behind it. Raises ValueError when there is none."""
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind.isdigit():
        colon = data.index(b":", at)
        end = colon + 1 + int(data[at:colon])
        return data[colon + 1 : end], end
    if kind not in (b"l", b"d"):
        raise ValueError(f"no bencode at {at}")
    found, at = [], at + 1
    while data[at : at + 1] != b"e":
        value, at = bdecode(data, at)
        found.append(value)
    return (found if kind == b"l" else dict(zip(found[::2], found[1::2], strict=True))), at + 1


class Control:
    """The ng protocol: a cookie and a dictionary there, the same cookie and a dictionary back."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(5)
        self._cookie = 0

    def ask(self, command: str, **fields: Value) -> dict[bytes, Any]:
        """A command's answer. Raises OSError when none comes, RuntimeError when it is refused."""
        self._cookie += 1
        cookie = b"%d_%d" % (id(self), self._cookie)
        self._socket.send(cookie + b" " + bencode({"command": command, **{name.replace("_", "-"): value for name, value in fields.items()}}))
        while True:
            head, _, body = self._socket.recv(65_535).partition(b" ")
            if head == cookie:
                break
        told: dict[bytes, Any] = bdecode(body)[0]
        if told.get(b"result") not in (b"ok", b"pong"):
            raise RuntimeError(f"rtpengine refused {command}: {told}")
        return told

    def described(self, command: str, port: int, **fields: Value) -> int:
        """An offer or an answer with this port; the port that it was given instead."""
        told = self.ask(command, sdp=SDP % port, **fields)
        line = next(line for line in told[b"sdp"].split(b"\r\n") if line.startswith(b"m=audio "))
        return int(line.split()[1])

    def close(self) -> None:
        """The socket."""
        self._socket.close()


class Rtpengine(Subject):
    """It prints nothing of its own accord; what it counted is asked of it."""

    control: Control
    calls: list[str]

    def stop(self) -> dict[bytes, Any]:
        """Ends its calls, which closes their files; its totals, then its end."""
        for call in self.calls:
            self.control.ask("delete", call_id=call, from_tag="a", delete_delay=0)
        told = self.control.ask("statistics")
        self.control.close()
        self.process.terminate()
        self.process.wait(30)
        statistics: dict[bytes, Any] = told[b"statistics"]
        return statistics


def start(legs: Sequence[int], recording: Path | None = None) -> tuple[Rtpengine, list[int]]:
    """A relay of calls: legs 2n and 2n + 1 are one. `legs` are the ports the two ends listen on, what is returned where they send. With `recording`, each call
    is written there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        PROGRAM, "--foreground", "--log-stderr", "--log-level=3", "--table=-1", "--interface=127.0.0.1", f"--listen-ng=127.0.0.1:{port}",
        f"--port-min={PORTS[0]}", f"--port-max={PORTS[1]}", "--num-threads=1", "--delete-delay=0",
    ]  # fmt: skip
    if os.geteuid() == 0:
        command += ["--scheduling=rr", "--priority=1"]  # as our media thread: what else the machine does is not to decide
    if recording:
        (recording / "spool").mkdir(exist_ok=True)
        command += [f"--recording-dir={recording / 'spool'}", "--recording-method=pcap"]
    subject = Rtpengine(command, folder=recording)
    subject.control, subject.calls = Control(port), []
    _wait(subject.control)
    ports = []
    for at in range(0, len(legs), 2):
        subject.calls.append(secrets.token_hex(8))
        about: dict[str, Value] = {"call_id": subject.calls[-1], "from_tag": "a", "ICE": "remove", "replace": ["origin", "session-connection"]}
        if recording:
            about["record call"] = "on"
        # the offer goes to the second leg, and so carries the port that the second leg sends to
        second = subject.control.described("offer", legs[at], **about)
        first = subject.control.described("answer", legs[at + 1], to_tag="b", **about)
        ports += [first, second]
    return subject, ports


def recorded(folder: Path) -> int:
    """Packets in the captures that it wrote."""
    found = 0
    for path in folder.glob("spool/pcaps/*.pcap"):
        data, at = path.read_bytes(), 24
        while at + 16 <= len(data):
            at += 16 + int.from_bytes(data[at + 8 : at + 12], "little")
            found += at <= len(data)
    return found


def _wait(control: Control) -> None:
    begin = time.monotonic()
    while True:
        try:
            control.ask("ping")
            return
        except OSError:  # not there yet: refused, or nothing within the time
            if time.monotonic() - begin > START_S:
                raise
            time.sleep(0.1)


__all__ = ["NAME", "PROGRAM", "Control", "bdecode", "bencode", "install", "recorded", "start", "version"]
