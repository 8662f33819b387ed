"""The session kernels in plain Python: a sender's statistics (RFC 3550 A.1, A.3, A.8) and its RTCP, on whole numbers and packets as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import e

from engine._native import rtp_session as native
from engine.rtp import rtcp

NS = 10**9
WORD = 2**32
UNKNOWN = 127
Sent = tuple[int, int, int, int, int, int]
Quality = tuple[int, int, int, int, int, int, int, int]


def signed(value: int, bits: int = 32) -> int:
    """A difference modulo 2**bits as the nearer of both ways."""
    half = 1 << bits - 1
    return (value + half) % (1 << bits) - half


def toward_zero(over: int, under: int) -> int:
    """C's division."""
    return over // under if over >= 0 else -(-over // under)


@dataclass
class SourceTwin:
    """A.1 with its own names; runs are (first, last) extended numbers, both included."""

    ssrc: int
    clock: int
    max_seq: int = -1
    cycles: int = 65536
    bad_seq: int = -1
    runs: list[list[int]] = field(default_factory=list)
    received: int = 0
    payload_bytes: int = 0
    stray_bytes: int = 0
    strays: int = 0
    last: tuple[int, int] | None = None
    jitter: float = 0.0
    jitter_max: float = 0.0
    received_prior: int = 0
    expected_prior: int = 0
    first_ns: int = 0

    def take(self, seq: int, timestamp: int, size: int, now_ns: int) -> tuple[int, int]:
        """Verdict and extended number."""
        verdict, place = native.VALID, self.cycles + seq
        ahead = (seq - self.max_seq) % 65536
        repeated = bool(self.runs) and seq == self.max_seq
        if not self.runs:
            self.first_ns = now_ns
            self.runs.append([place, place])
            self.max_seq = seq
        elif ahead < 3000:
            if seq < self.max_seq:
                self.cycles += 65536
                place += 65536
            self.max_seq = seq
            self.runs[-1][1] = place
        elif ahead > 65536 - 100:
            place -= 65536 if seq > self.max_seq else 0
        elif seq == self.bad_seq:
            self.cycles += 2 * 65536
            place = self.cycles + seq
            self.runs.append([place - 1, place])
            self.max_seq, self.last, verdict = seq, None, native.RESTART
            self.strays -= 1
            self.received += 1
            self.payload_bytes += self.stray_bytes
        else:
            self.bad_seq, self.stray_bytes = (seq + 1) % 65536, size
            self.strays += 1
            return native.STRAY, 0
        self.bad_seq = -1
        self.received += 1
        self.payload_bytes += size
        if place == self.runs[-1][1] and not repeated:
            self._time(timestamp, now_ns)
        return verdict, place

    def _time(self, timestamp: int, now_ns: int) -> None:
        if self.last and self.clock:
            if timestamp == self.last[0]:
                return
            difference = abs((now_ns - self.last[1]) * self.clock / NS - signed(timestamp - self.last[0]))
            if difference <= 2 * self.clock:
                self.jitter += (difference - self.jitter) / 16
                self.jitter_max = max(self.jitter, self.jitter_max)
        if self.clock:
            self.last = timestamp, now_ns

    def change(self, clock: int) -> None:
        """Another clock from now on."""
        if clock != self.clock:
            self.jitter_max = self.jitter_max * clock / self.clock if self.clock else 0
            self.clock, self.jitter, self.last = clock, 0.0, None

    @property
    def expected(self) -> int:
        return sum(last - first + 1 for first, last in self.runs)

    @property
    def highest(self) -> int:
        return self.runs[-1][1] if self.runs else 0

    def facts(self) -> dict[str, float]:
        """What the kernel's facts have, as far as one can be wrong."""
        return {
            "expected": self.expected, "lost": self.expected - self.received, "received": self.received, "strays": self.strays,
            "payload_bytes": self.payload_bytes, "restarts": max(0, len(self.runs) - 1), "extended_highest": self.highest,
            "jitter": self.jitter, "jitter_max": self.jitter_max, "received_prior": self.received_prior, "expected_prior": self.expected_prior,
        }  # fmt: skip


def ntp_of(wall_ns: int) -> int:
    """64-bit NTP time."""
    return (wall_ns + 2_208_988_800 * NS) * WORD // NS % 2**64


def short_ntp(ns: int) -> int:
    """16.16 seconds."""
    return min(max(0, ns) * 65536 // NS, WORD - 1) if ns < 65536 * NS else WORD - 1


class SessionTwin:
    """RTCP of one session. Names in `facts` are those of the kernel."""

    def __init__(self, cname: bytes, now_ns: int, seed: int, *, reduced: bool = False, voip_metrics: bool = False) -> None:
        self.cname, self.random, self.reduced, self.voip_metrics = cname[:64], seed, reduced, voip_metrics
        self.marks: list[tuple[int, int]] = []
        self.sent_before = [0, 0]
        self.reported = self.waiting = False
        names = (
            "said_bye heard_bye last_sent_ns last_heard_ns sr_ntp sr_timestamp sr_packets sr_octets sr_ssrc sr_arrival_ns their_fraction "
            "their_highest their_jitter their_lost their_report_ns xr_seen rrtr_ntp rrtr_arrival_ns heard malformed foreign collisions rrtr_ssrc"
        )
        self.facts: dict[str, float] = dict.fromkeys(names.split(), 0)
        self.facts |= {"reduced": int(reduced), "voip_metrics": int(voip_metrics), "rtt_ms": -1, "rtt_max_ms": -1, "xr_loss": 255}
        self.facts |= {"xr_discard": 255, "xr_r_factor": UNKNOWN, "xr_mos_lq": UNKNOWN, "xr_mos_cq": UNKNOWN}
        self._wait(now_ns, 5 * NS // 2)

    def _wait(self, now_ns: int, least_ns: int) -> None:
        self.random = (self.random + 0x9E3779B97F4A7C15) % 2**64
        x = self.random
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ x >> shift) * factor % 2**64
        x ^= x >> 31
        interval = int(least_ns * (0.5 + (x >> 11) / 2**53) / (e - 1.5))
        self.facts |= {"interval_ns": interval, "next_ns": now_ns + interval}

    # ---- read ----

    def take(self, data: bytes, local: int, remote: SourceTwin | None, now_ns: int) -> int:
        """Bits of news, or MALFORMED."""
        try:
            packets = rtcp.read(data, reduced=self.reduced)
        except rtcp.MalformedRtcp:
            self.facts["malformed"] += 1
            return native.MALFORMED
        news = ours = 0
        for packet in packets:
            told, mine = self._packet(packet, local, remote.ssrc if remote else None, now_ns)
            news, ours = news | told, ours | mine
        if ours:
            self.facts["heard"] += 1
            self.facts["last_heard_ns"] = now_ns
        if news & native.NEWS_COLLISION:
            self.facts["collisions"] += 1
        elif not ours:
            self.facts["foreign"] += 1
        return news

    def _packet(self, packet: rtcp.Packet, local: int, remote: int | None, now_ns: int) -> tuple[int, bool]:
        if isinstance(packet, rtcp.Other):
            return 0, False
        if isinstance(packet, rtcp.SourceDescription):
            speakers = [chunk.ssrc for chunk in packet.chunks]
        else:
            speakers = list(packet.ssrcs) if isinstance(packet, rtcp.Bye) else [packet.ssrc]
        news = native.NEWS_COLLISION if local in speakers else 0
        ours = any(ssrc != local and remote in (None, ssrc) for ssrc in speakers)
        if isinstance(packet, rtcp.Bye) and remote is not None and remote != local and remote in packet.ssrcs:
            self.facts["heard_bye"] = 1
            news |= native.NEWS_BYE
        if news & native.NEWS_COLLISION or not isinstance(packet, rtcp.SenderReport | rtcp.ReceiverReport | rtcp.ExtendedReport):
            return news, ours
        if isinstance(packet, rtcp.ExtendedReport):
            told = [self._extended(block, packet.ssrc, local, remote, now_ns) for block in packet.blocks]
            return (native.NEWS_XR if any(told) else 0), ours or "about us" in told
        if isinstance(packet, rtcp.SenderReport) and packet.ssrc == remote:
            news |= native.NEWS_SR
            self.facts |= {"sr_ssrc": packet.ssrc, "sr_ntp": packet.ntp, "sr_timestamp": packet.timestamp, "sr_arrival_ns": now_ns}
            self.facts |= {"sr_packets": packet.packets, "sr_octets": packet.octets}
        for block in packet.blocks:
            if block.ssrc == local:
                news, ours = news | native.NEWS_REPORT, True
                self.facts |= {"their_fraction": block.fraction_lost, "their_lost": block.lost, "their_highest": block.highest_sequence}
                self.facts |= {"their_jitter": block.jitter, "their_report_ns": now_ns}
                self._round_trip(block.last_sr, block.delay_since_last_sr, now_ns)
        return news, ours

    def _extended(self, block: rtcp.ExtendedBlock, speaker: int, local: int, remote: int | None, now_ns: int) -> str:
        if isinstance(block, rtcp.VoipMetrics) and block.ssrc == local:
            self.facts |= {"xr_loss": block.loss, "xr_discard": block.discard, "xr_r_factor": block.r_factor, "xr_seen": 1}
            self.facts |= {"xr_mos_lq": block.mos_lq, "xr_mos_cq": block.mos_cq}
            return "about us"
        if isinstance(block, rtcp.LastReference):
            answers = [answer for answer in block.answers if answer[0] == local]
            for _, middle, delay in answers:
                self._round_trip(middle, delay, now_ns)
            return "about us" if answers else ""
        if isinstance(block, rtcp.ReferenceTime) and remote in (None, speaker):
            self.facts |= {"rrtr_ssrc": speaker, "rrtr_ntp": block.ntp, "rrtr_arrival_ns": now_ns}
            self.waiting = True
            return "theirs"
        return ""

    def _round_trip(self, middle: int, delay: int, now_ns: int) -> None:
        sent = [at for known, at in self.marks if known == middle and middle]
        if sent:
            ms = (now_ns - sent[-1]) / 1e6 - delay * 1000 / 65536
            if 0 <= ms <= 60_000:
                self.facts |= {"rtt_ms": ms, "rtt_max_ms": max(ms, self.facts["rtt_max_ms"])}

    # ---- written ----

    def report(self, sent: Sent, remote: SourceTwin | None, quality: Quality | None, now_ns: int, wall_ns: int) -> bytes:
        """The compound that is due."""
        if self.facts["said_bye"]:
            return b""
        packets = self._report(sent, remote, now_ns, wall_ns)
        is_sr = isinstance(packets[0], rtcp.SenderReport)
        blocks: list[rtcp.ExtendedBlock] = [] if is_sr else [rtcp.ReferenceTime(ntp=ntp_of(wall_ns))]
        if self.waiting:
            middle, delay = int(self.facts["rrtr_ntp"]) >> 16 & WORD - 1, short_ntp(now_ns - int(self.facts["rrtr_arrival_ns"]))
            blocks.append(rtcp.LastReference(answers=((int(self.facts["rrtr_ssrc"]), middle, delay),)))
        if self.voip_metrics and quality and remote and remote.runs:
            blocks.append(self._metrics(remote, quality, now_ns))
        if blocks:
            packets.append(rtcp.ExtendedReport(ssrc=sent[0], blocks=tuple(blocks)))
        self.waiting = False
        self._written(sent[1], now_ns, wall_ns, marked=True)
        self._wait(now_ns, 5 * NS)
        return rtcp.write(packets)

    def bye(self, sent: Sent, remote: SourceTwin | None, now_ns: int, wall_ns: int, reason: bytes = b"") -> bytes:
        """A report and BYE."""
        if self.facts["said_bye"] or not (self.reported or sent[1]):
            return b""
        packets = self._report(sent, remote, now_ns, wall_ns)
        packets.append(rtcp.Bye(ssrcs=(sent[0],), reason=reason[:255] or None))
        self._written(sent[1], now_ns, wall_ns, marked=isinstance(packets[0], rtcp.SenderReport))
        self.facts |= {"said_bye": 1, "next_ns": 2**63 - 1}
        return rtcp.write(packets)

    def _written(self, packets: int, now_ns: int, wall_ns: int, *, marked: bool) -> None:
        self.sent_before = [self.sent_before[1], packets]
        self.facts["last_sent_ns"] = now_ns
        self.reported = True
        if marked:
            self.marks = [*self.marks, (ntp_of(wall_ns) >> 16 & WORD - 1, now_ns)][-native.MARKS :]

    def _report(self, sent: Sent, remote: SourceTwin | None, now_ns: int, wall_ns: int) -> list[rtcp.Packet]:
        ssrc, packets, octets, timestamp, last_ns, clock = sent
        blocks = (self._block(remote, now_ns),) if remote and remote.received != remote.received_prior else ()
        named = rtcp.SourceDescription(chunks=(rtcp.Chunk(ssrc=ssrc, items=((rtcp.CNAME, self.cname),)),))
        if packets == self.sent_before[0]:
            return [rtcp.ReceiverReport(ssrc=ssrc, blocks=blocks), named]
        now_timestamp = (timestamp + toward_zero((now_ns - last_ns) * clock, NS)) % WORD
        report = rtcp.SenderReport(
            ssrc=ssrc, ntp=ntp_of(wall_ns), timestamp=now_timestamp, packets=packets, octets=octets, blocks=blocks
        )
        return [report, named]

    def _block(self, remote: SourceTwin, now_ns: int) -> rtcp.ReportBlock:
        expected = remote.expected - remote.expected_prior
        lost = expected - (remote.received - remote.received_prior)
        remote.expected_prior, remote.received_prior = remote.expected, remote.received
        middle = int(self.facts["sr_ntp"]) >> 16 & WORD - 1 if self.facts["sr_ssrc"] == remote.ssrc else 0
        return rtcp.ReportBlock(
            ssrc=remote.ssrc, fraction_lost=lost * 256 // expected if expected > 0 and lost > 0 else 0,
            lost=min(0x7FFFFF, max(-0x800000, remote.expected - remote.received)),
            highest_sequence=(remote.highest - 65536) % WORD, jitter=int(remote.jitter), last_sr=middle,
            delay_since_last_sr=short_ntp(now_ns - int(self.facts["sr_arrival_ns"])) if middle else 0,
        )  # fmt: skip

    def _metrics(self, remote: SourceTwin, quality: Quality, now_ns: int) -> rtcp.VoipMetrics:
        loss, discard, r_factor, mos_lq, mos_cq, delay_ms, jitter_ms, jitter_max_ms = quality
        return rtcp.VoipMetrics(
            ssrc=remote.ssrc, loss=loss, discard=discard, gap_density=min(255, loss + discard),
            gap_ms=min(65535, max(0, (now_ns - remote.first_ns) // 10**6)), round_trip_ms=int(max(0.0, self.facts["rtt_ms"]) + 0.5),
            end_system_ms=delay_ms, r_factor=r_factor, mos_lq=mos_lq, mos_cq=mos_cq,
            jitter_ms=jitter_ms, jitter_max_ms=jitter_max_ms, jitter_absolute_max_ms=jitter_max_ms,
        )  # fmt: skip

    def wall_ns(self, timestamp: int, clock: int) -> int | None:
        """Of an RTP timestamp."""
        ntp = int(self.facts["sr_ntp"])
        if not ntp or not clock:
            return None
        seconds = (ntp >> 32) + (0 if ntp >> 63 else WORD) - 2_208_988_800
        ticks = signed(timestamp - int(self.facts["sr_timestamp"]))
        return seconds * NS + ((ntp % WORD * NS + 2**31) >> 32) + toward_zero(ticks * NS, clock)
