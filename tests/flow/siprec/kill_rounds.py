"""Rounds in which the engine worker is killed while it records: `python -m tests.flow.siprec.kill_rounds [--rounds 200] [--calls 50] [--seed 1]`.

In each round SIPp calls, two legs a call say what nobody else says, and at a moment by chance the worker is killed (-9). What had been sent when the kill came is known to
the packet, since the same thread sends and kills. The supervisor starts another worker, which finishes what it finds; in every fifth round the whole server is killed, and
another one started. Then each leg's file is compared with what was said: the same sample for sample up to an end, which may be 250 ms before the last packet and no more.
Prints the worst loss, as JSON in the last line.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from engine.media.manifest import problems
from tests.data.rtp_builder import rtp
from tests.flow import media_sources as sources
from tests.flow.audio_quality import Pcm, place_of
from tests.flow.sipp import sipp
from tests.flow.siprec.calls import HOST, Recorder, recorder, wait_until
from tests.flow.siprec.recorded import RATE_HZ, Recorded, recorded
from tests.flow.siprec.scenario import PCMU, Client, description, line, metadata_part, multipart, session_part
from tests.flow.siprec.shapes.shape import Person, metadata
from tests.flow.siprec.speaking import first_in_line
from tests.flow.siprec.wire import Log, Noted

CALLS: Final = 50
LEGS: Final = 2
LOST_MAX_MS: Final = 250.0
PACKET_S: Final = 0.02
SAMPLES: Final = 160
SPEAKS_S: Final = (0.4, 1.6)  # until the kill
LONGEST: Final = 200  # packets
LIFE: Final = 5  # rounds of one server; a supervisor would soon take its time with a worker that always dies
TRUNK: Final = json.dumps([{"name": "recording-clients", "sources": ["127.0.0.0/8"], "calls_max": 5000, "calls_per_s": 1000.0, "calls_burst": 2000}])


class Fault(Exception):
    """A round came out wrong."""


class Told(msgspec.Struct, frozen=True):
    """What a run came to. Milliseconds are of one leg, between the last packet that was sent before the kill and the last that is in its file."""

    rounds: int
    calls: int
    legs: int
    worst_lost_ms: float
    mean_lost_ms: float
    seconds_a_round: float


def scenario() -> str:
    """A client that stays until it hears BYE. Ports and names come from SIPp's fields."""
    person = [
        Person(id="caller-[field2]", aor="sip:caller[field2]@example.com", name="Caller [field2]", sends=("s1",), hears=("s2",)),
        Person(id="called-[field2]", aor="sip:called[field2]@example.com", name="Called [field2]", sends=("s2",), hears=("s1",)),
    ]
    offer = description(line(0, "1", PCMU), line(0, "2", PCMU)).replace("m=audio 0", "m=audio [field0]", 1).replace("m=audio 0", "m=audio [field1]", 1)
    xml = metadata("session-[field2]", person, [("s1", "1"), ("s2", "2")])
    client = Client(headers=["Require: siprec"]).invite(multipart("of-a-round", session_part(offer), metadata_part(xml)))
    return client.hears_bye().xml()


class Leg:
    """One stream."""

    def __init__(self, number: int, seed: int) -> None:
        self.ssrc = 0x1000 + number
        self.data = sources.codes(SAMPLES * LONGEST, seed=seed)
        self.sent = 0
        self.to = (HOST, 0)

    def packet(self) -> bytes:
        """The next."""
        payload = self.data[self.sent * SAMPLES : (self.sent + 1) * SAMPLES]
        return rtp(self.sent + 100, self.sent * SAMPLES, payload, ssrc=self.ssrc, marker=not self.sent)

    @property
    def pcm(self) -> Pcm:
        """What was sent of it."""
        return sources.of_ulaw(self.data[: self.sent * SAMPLES])


def children(server: Recorder) -> dict[str, tuple[int, str]]:
    """Processes of the server: pid and state, by name."""
    with server.running.client() as admin:
        found = admin.get("/status").json()["processes"]["children"]
    return {one["name"]: (one["pid"], one["state"]) for one in found}


def wait_for_calls(log: Log, count: int, within_s: float = 20.0) -> dict[str, Noted]:
    """The 200s of so many calls, by Call-ID."""
    deadline = time.monotonic() + within_s
    found: dict[str, Noted] = {}
    while len(found) < count:
        if time.monotonic() > deadline:
            raise Fault(f"{len(found)} of {count} calls were answered")
        for noted in log.more():
            if not noted.sent and noted.status == 200 and noted.method == "INVITE":
                found[noted.header("call-id")] = noted
        time.sleep(0.005)
    return found


def speak_and_kill(legs: Sequence[tuple[Leg, socket.socket]], pids: Sequence[int], seconds: float) -> None:
    """Sends a packet of each leg every 20 ms, spread over the time, and kills in between: what was sent is what was sent."""
    begin = time.monotonic()
    step = PACKET_S / len(legs)
    for turn in range(LONGEST):
        for number, (leg, mouth) in enumerate(legs):
            due = begin + turn * PACKET_S + number * step
            if due - begin >= seconds:
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                return
            wait_s = due - time.monotonic()
            if wait_s > 0.001:
                time.sleep(wait_s)
            mouth.sendto(leg.packet(), leg.to)
            leg.sent += 1
    raise AssertionError("it is to be killed before that")


def lost_ms(pcm: Pcm, leg: Leg) -> float:
    """How much of what was sent is not there. Raises Fault for anything that was not sent."""
    said = leg.pcm
    head = min(said.size, 2 * SAMPLES)
    at = place_of(said[:head], pcm)
    if at < 0:
        if pcm.any():
            raise Fault("a leg has what was not said")
        return said.size * 1000 / RATE_HZ
    there = pcm[at : at + said.size]
    differs = np.flatnonzero(there != said[: there.size])
    same = int(differs[0]) if differs.size else there.size
    if pcm[:at].any() or pcm[at + same :].any():
        raise Fault(f"a leg has what was not said: its first {same} samples are right, {np.flatnonzero(pcm[at + same :]).size} behind them are not silence")
    return (said.size - same) * 1000 / RATE_HZ


def digests(folder: Path) -> dict[str, str]:
    """Of all files that are there to stay as they are: records tell what became of the others, and change."""
    kept = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".") and path.suffix != ".record"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


class Rounds:
    """Rounds on a data folder; `server` is the one that lives now."""

    def __init__(self, folder: Path, calls: int = CALLS, seed: int = 1) -> None:
        self.folder, self.calls = folder, calls
        self.lost: list[float] = []
        self._stack = ExitStack()
        self._chance = random.Random(seed)
        self._round = 0
        self._before: dict[str, str] = {}
        (folder / "calls").mkdir(parents=True, exist_ok=True)
        self.server = self._start()

    def _start(self) -> Recorder:
        return self._stack.enter_context(recorder(self.folder / "data", TRUNKLINE_SIP_TRUNKS=TRUNK))

    def close(self) -> None:
        """Ends the server."""
        self._stack.close()

    def play(self) -> float:
        """One round; the worst loss in it, in ms. Raises Fault, AssertionError."""
        self._round += 1
        is_last = self._round % LIFE == 0
        name, clients = f"round{self._round}", self.folder / "calls"
        with ExitStack() as stack:
            mouths = []
            for _ in range(self.calls * LEGS):
                mouth = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                mouth.bind((HOST, 0))
                mouths.append(mouth)
            legs = [Leg(number, self._round * 1000 + number) for number in range(self.calls * LEGS)]
            ports = [str(mouth.getsockname()[1]) for mouth in mouths]
            fields = [(ports[2 * call], ports[2 * call + 1], f"{self._round}x{call}") for call in range(self.calls)]
            arguments = ["-cid_str", f"kill-{self._round}-%u-x@{HOST}"]
            worker = self._worker()
            doomed = [worker, *([self.server.running.process.pid, *(pid for pid, _ in children(self.server).values() if pid != worker)] if is_last else [])]
            side = stack.enter_context(sipp(scenario(), clients, target=self.server.address, calls=self.calls, rate=200, name=name, fields=fields, arguments=arguments))
            answered = wait_for_calls(Log(clients / f"{name}-messages.log"), self.calls)
            for call_id, noted in answered.items():
                call = int(call_id.split("-")[2]) - 1
                for leg, port in zip(legs[2 * call : 2 * call + LEGS], noted.ports, strict=True):
                    leg.to = (HOST, port)
            with first_in_line():
                speak_and_kill(list(zip(legs, mouths, strict=True)), doomed, self._chance.uniform(*SPEAKS_S))
            if is_last:
                self._stack.close()
                self.server = self._start()
            there = recorded(self.server.recordings, list(answered))
            worst = max(self._judge(one, legs) for one in there.values())
            outcome = side.finish(20)  # the new worker says BYE for the old one
            if outcome.successful != self.calls:
                raise Fault(f"not every client heard BYE: {outcome}")
        self._nothing_else(there)
        for path in clients.glob(f"{name}*"):
            path.unlink()
        return worst

    def _worker(self) -> int:
        """The worker that is to be killed, as soon as it is there."""
        deadline = time.monotonic() + 20
        while True:
            pid, state = children(self.server).get("worker.0", (0, ""))
            if pid and state == "ready":
                return pid
            if time.monotonic() > deadline:
                raise Fault(f"the worker is {state!r}")
            time.sleep(0.02)

    def _judge(self, one: Recorded, legs: Sequence[Leg]) -> float:
        """The worst loss of a recording, of which everything else must be right."""
        call = int(one.facts.call_id.split("-")[2]) - 1
        if one.manifest.state != "recovered" or not one.manifest.warnings:
            raise Fault(f"{one.manifest.recording_id} is {one.manifest.state}")
        names = [party.name for party in one.facts.participants]
        if names != [f"Caller {self._round}x{call}", f"Called {self._round}x{call}"] or one.facts.state != "ended":
            raise Fault(f"who took part is not known any more: {one.facts}")
        worst = 0.0
        channels = one.channels()
        for channel in one.facts.channels:
            leg = legs[2 * call + int(channel.label) - 1]
            self.lost.append(lost_ms(channels[channel.index], leg))
            worst = max(worst, self.lost[-1])
        if worst > LOST_MAX_MS:
            raise Fault(f"{worst:.0f} ms of a leg are lost")
        return worst

    def _nothing_else(self, there: dict[str, Recorded]) -> None:
        """What was there before is as it was, nothing half done is left, and what is there now is remembered instead of it."""
        folder = self.server.recordings
        wait_until(lambda: not [path for path in folder.iterdir() if path.name.endswith((".part", ".recording", ".new"))], "nothing half done is left")
        now = digests(folder)
        if changed := [name for name, digest in self._before.items() if now.get(name) != digest]:
            raise Fault(f"changed: {changed}")
        for name in self._before:
            (folder / name).unlink()
            (folder / name).with_suffix(".record").unlink(missing_ok=True)
        for one in there.values():
            if found := problems(folder / f"{one.manifest.recording_id}.json"):
                raise Fault(f"{found}")
        self._before = {name: digest for name, digest in now.items() if name not in self._before}


def play(count: int, calls: int, seed: int, folder: Path, say: Callable[[str], object] = print) -> Told:
    """So many rounds. Raises Fault."""
    made = Rounds(folder, calls, seed)
    try:
        begin = time.monotonic()
        for number in range(count):
            worst = made.play()
            say(f"round {number + 1} of {count}: at most {worst:.0f} ms lost, {max(made.lost):.0f} ms in all rounds")
        seconds = (time.monotonic() - begin) / count
    finally:
        made.close()
    return Told(count, calls, len(made.lost), round(max(made.lost), 1), round(float(np.mean(made.lost)), 1), round(seconds, 2))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="kill_rounds", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        told = play(given.rounds, given.calls, given.seed, Path(folder), lambda text: print(text, flush=True))
    print(msgspec.json.encode(told).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())


__all__ = ["CALLS", "LEGS", "LOST_MAX_MS", "Fault", "Rounds", "Told", "play"]
