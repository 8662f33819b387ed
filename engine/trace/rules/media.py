"""Media: RTP and RTCP against what was agreed, audio quality, DTMF and fax.

The conditions are sighted by `engine/_native/c/conditions_media*.c`; the texts are here.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.trace.finding import Evidence
from engine.trace.rules.base import NONE, Explanation, Hit, Rule
from engine.trace.rules.codec import formats_of
from engine.trace.rules.compliance import cited
from engine.trace.tables import CODECS, Tables

Explain = Callable[[Tables, Hit], Explanation]
Step = Callable[[Hit], "str | None"]
DIRECTIONS = ("", "sendrecv", "sendonly", "recvonly", "inactive")
SIDES = ("", "caller", "callee")
T38_NAMES = ("T38FaxVersion", "T38FaxRateManagement", "T38FaxUdpEC", "T38MaxBitRate")


def ends_of(tables: Tables, row: int) -> str:
    """ "source -> target" of a streams row. """
    s = tables.streams
    return f"{tables.address(int(s.source_endpoint[row]))} -> {tables.address(int(s.target_endpoint[row]))}"


def stream_evidence(tables: Tables, row: int, call: int = NONE) -> Evidence:
    """Evidence that names a stream with its figures."""
    s = tables.streams
    value = (
        f"SSRC 0x{int(s.ssrc[row]):08x}, {int(s.packets[row]):,} packets, {float(s.loss_percent[row]):.2f} % lost, "
        f"jitter {float(s.steady_jitter_mean_ms[row]):.1f} ms mean"
    )
    if s.mos_known[row]:
        value += f", MOS {float(s.mos_lq[row]):.2f}"
    time = None if tables.no_time else int(s.first_time_ns[row]) / 1e9
    return Evidence(stream=row, time=time, summary=ends_of(tables, row), value=value, call_id=tables.call_id(call))


def _no_step(hit: Hit) -> str | None:
    return None


def _stream(sentence: str, step: Step = _no_step) -> Explain:
    """{ends}, {codec}, {number}, {percent} (value in hundredths), {seconds}, {code}, {other}, {ssrc} of the hit's stream."""

    def explain(tables: Tables, hit: Hit) -> Explanation:
        s, row = tables.streams, hit.row
        other = ends_of(tables, hit.other) if hit.other != NONE and hit.other < len(s) else "the other direction"
        detail = sentence.format(
            ends=ends_of(tables, row), codec=CODECS[int(s.codec[row])] or "an unknown codec", number=hit.value, percent=hit.value / 100,
            seconds=hit.value / 1000, code=hit.code, other=other, ssrc=f"0x{int(s.ssrc[row]):08x}", side=SIDES[hit.code] if hit.code < 3 else "",
            lost=int(s.lost[row]), expected=int(s.expected[row]), jitter=float(s.steady_jitter_mean_ms[row]),
            jitter_max=float(s.steady_jitter_max_ms[row]), mos=float(s.mos_lq[row]), worst=float(s.mos_worst_10s[row]),
            discard=float(s.discard_percent[row]), clipped=float(s.clipped_percent[row]), level=float(s.level_mean_dbov[row]),
            run=int(s.loss_run_max[row]), packets=int(s.packets[row]), flaws=_flaws(tables, row), digits=digits_of(tables, row),
        )  # fmt: skip
        items = [stream_evidence(tables, row, hit.call)]
        if hit.other != NONE and hit.other < len(s):
            items.append(stream_evidence(tables, hit.other, hit.call))
        return Explanation(detail, items, severity=step(hit))

    return explain


def digits_of(tables: Tables, row: int) -> str:
    """The telephone-event digits of a stream, masked to their count: digits may be card numbers or PINs."""
    return "*" * int(tables.streams.digit_count[row])


def _flaws(tables: Tables, row: int) -> str:
    s = tables.streams
    counts = (
        (int(s.event_no_end[row]), "without an end packet"), (int(s.event_few_ends[row]), "with fewer than three end packets"),
        (int(s.event_shrinking[row]), "whose duration shrinks"), (int(s.event_zero[row]), "of duration 0"),
        (int(s.event_short[row]), "shorter than 40 ms"), (int(s.event_split[row]), "split by a new timestamp"),
    )  # fmt: skip
    return ", ".join(f"{count} {what}" for count, what in counts if count) or "none"


def _message(sentence: str, step: Step = _no_step) -> Explain:
    """{what}, {answered}, {offered}, {code}, {number}, {seconds} of a message hit (row and other are messages)."""

    def explain(tables: Tables, hit: Hit) -> Explanation:
        other = hit.other if hit.other != NONE and hit.other < len(tables.messages) else hit.row
        detail = sentence.format(
            what=tables.summary(hit.row), line=tables.start_line(hit.row), answered=formats_of(tables, hit.row), offered=formats_of(tables, other),
            code=hit.code, number=hit.value, seconds=hit.value / 1000,
        )  # fmt: skip
        rows = dict.fromkeys((other, hit.row))
        return Explanation(detail, [cited(tables, row, "", tables.start_line(row)) for row in rows], severity=step(hit))

    return explain


def _media_address(tables: Tables, line: int) -> str:
    return tables.address(int(tables.media_lines.endpoint[line])) if line != NONE else "unknown"


def _no_rtp(tables: Tables, hit: Hit) -> Explanation:
    c = tables.calls
    offer, answer = int(c.offer_line[hit.call]), int(c.answer_line[hit.call])
    return Explanation(
        f"The call was answered and lasted {hit.value / 1000:.1f} s, but no RTP flowed in either direction; media was announced for "
        f"{_media_address(tables, offer)} and {_media_address(tables, answer)}.",
        [cited(tables, hit.row)],
    )


def _one_way(tables: Tables, hit: Hit) -> Explanation:
    heard, silent = (SIDES[hit.code], SIDES[3 - hit.code])
    c = tables.calls
    line = int(c.answer_line[hit.call] if hit.code == 1 else c.offer_line[hit.call])
    return Explanation(
        f"In {hit.value / 1000:.1f} s of talk only the {heard} sent RTP ({ends_of(tables, hit.other)}); nothing came from the {silent}, "
        f"whose SDP names {_media_address(tables, line)}.",
        [cited(tables, hit.row), stream_evidence(tables, hit.other, hit.call)],
    )


def _by_sdp(tables: Tables, hit: Hit) -> Explanation:
    offered, answered = DIRECTIONS[hit.code] or "sendrecv", DIRECTIONS[hit.value] or "sendrecv"
    return Explanation(
        f"Offer says {offered} and answer says {answered}, though nothing was put on hold: audio is allowed one way at most.",
        [cited(tables, hit.other, f"a={offered}", "present"), cited(tables, hit.row, f"a={answered}", "present")],
    )


def _against_line(sentence: str) -> Explain:
    """`other` is a media_lines row: {announced} is its address."""

    def explain(tables: Tables, hit: Hit) -> Explanation:
        message = int(tables.media_lines.message[hit.other])
        announced = _media_address(tables, hit.other)
        detail = sentence.format(ends=ends_of(tables, hit.row), announced=announced, number=hit.value, code=hit.code)
        return Explanation(detail, [stream_evidence(tables, hit.row, hit.call), cited(tables, message, "c=/m=", announced)])

    return explain


def _ptime(tables: Tables, hit: Hit) -> Explanation:
    message = int(tables.media_lines.message[hit.other])
    return Explanation(
        f"{ends_of(tables, hit.row)} carries {hit.value} ms a packet; the receiver asked for {hit.code} ms.",
        [stream_evidence(tables, hit.row, hit.call), cited(tables, message, "a=ptime", str(hit.code))],
    )


def _dscp(tables: Tables, hit: Hit) -> Explanation:
    if hit.code == 1:
        return Explanation(f"{tables.summary(hit.row)} is marked DSCP {hit.value}; 24, 26 or 40 is usual for signalling.", [cited(tables, hit.row, "DSCP", str(hit.value))])
    how = f"is marked DSCP {hit.value} and not EF (46)" if hit.code == 2 else f"changes its DSCP on the way (last {hit.value})"
    return Explanation(f"RTP {ends_of(tables, hit.row)} {how}.", [stream_evidence(tables, hit.row, hit.call)])


def _not_negotiated(tables: Tables, hit: Hit) -> Explanation:
    how = "Only the offer has telephone-event" if hit.code else "Neither side offers telephone-event"
    return Explanation(
        f"{how} ({formats_of(tables, hit.other)} / {formats_of(tables, hit.row)}), and no INFO carries digits: key presses can only travel in the audio.",
        [cited(tables, hit.row, "SDP", formats_of(tables, hit.row))],
        confidence=0.7,
    )


def _mode(tables: Tables, hit: Hit) -> Explanation:
    if hit.code == 1:
        return Explanation(
            f"Digits are sent as payload type {hit.value}, which the receiver's SDP does not map to telephone-event ({formats_of(tables, hit.row)}).",
            [cited(tables, hit.row, "SDP", formats_of(tables, hit.row)), stream_evidence(tables, hit.other, hit.call)],
        )
    both = "and RFC 4733 events are sent as well: digits may be counted twice" if hit.code == 3 else "although telephone-event was negotiated"
    return Explanation(f"{tables.summary(hit.row)} carries digits in INFO {both}.", [cited(tables, hit.row, "Content-Type", tables.header(hit.row, "Content-Type"))])


def _t38_params(tables: Tables, hit: Hit) -> Explanation:
    name = T38_NAMES[hit.code]
    values = [_attribute(tables, row, name) for row in (hit.other, hit.row)]
    return Explanation(f"{name} differs: offered {values[0]}, answered {values[1]}.", [cited(tables, row, f"a={name}", value) for row, value in zip((hit.other, hit.row), values, strict=True)])  # fmt: skip


def _attribute(tables: Tables, row: int, name: str) -> str:
    text = tables.text(row).decode("utf-8", "replace")
    return next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.lower().startswith(f"a={name.lower()}:")), "(absent)")


def _mixed(row_sentence: str, line_header: str) -> Explain:
    def explain(tables: Tables, hit: Hit) -> Explanation:
        codec = CODECS[hit.code] if hit.code < len(CODECS) else "the codec"
        return Explanation(row_sentence.format(what=tables.summary(hit.row), codec=codec, number=hit.value), [cited(tables, hit.row, line_header, str(hit.value))])

    return explain


def _rule(id: str, severity: str, title: str, rfc: str, recommendation: str, explain: Explain, *, confidence: float = 0.9,
          symptoms: tuple[str, ...] = ("poor-audio", "ai-voice-agent-call"), subject: str = "stream", escalates: bool = True) -> Rule:  # fmt: skip
    return Rule(id=id, severity=severity, category="media", title=title, rfc=rfc, recommendation=recommendation, explain=explain,
                confidence=confidence, symptoms=symptoms, subject=subject, escalates=escalates and severity not in ("info", "low"))  # fmt: skip


def _by_code(*severities: str | None) -> Step:
    return lambda hit: severities[hit.code] if hit.code < len(severities) else None


ONE_WAY = ("one-way-audio", "no-audio", "ai-voice-agent-call")
DTMF = ("dtmf",)
FAX = ("fax",)
NETWORK = "Give RTP priority (DSCP EF), look for saturated links, duplex faults and Wi-Fi on the path, and compare with RTCP from the far end."
SYMMETRIC = "Asterisk: rtp_symmetric=yes, external_media_address, direct_media=no; FreeSWITCH: ext-rtp-ip, leave RTP auto-adjust on; Kamailio: rtpengine_manage()."

RULES: tuple[Rule, ...] = (
    _rule("no-rtp", "critical", "No audio in either direction", "", f"Check firewall and media addresses at both ends. {SYMMETRIC}", _no_rtp, subject="message", symptoms=("no-audio", *ONE_WAY)),
    _rule("one-way-audio", "critical", "Audio in one direction only", "", f"Look at the silent side's SDP address, its NAT and firewall. {SYMMETRIC}", _one_way, subject="message", symptoms=ONE_WAY),
    _rule("one-way-by-sdp", "high", "Descriptions allow audio one way only", "RFC 3264 6.1", "Correct the direction attribute of the answer, or the SBC that rewrites it.", _by_sdp,
          subject="message", symptoms=(*ONE_WAY, "hold")),
    _rule("one-way-silence", "high", "Stream carries silence only", "", "Look for a muted microphone, a broken transcoder or an SRTP key mismatch.",
          _stream("{percent:.0f} % of the packets of {ends} hold one constant value: digital silence."), symptoms=ONE_WAY),
    _rule("rtp-gap", "medium", "Gaps in the stream", "", NETWORK,
          _stream("{ends} pauses {code} time(s) for more than half a second, the longest for {seconds:.1f} s.", lambda hit: "high" if hit.value > 5000 else None)),
    _rule("rtp-stops-early", "high", "RTP stops before the call ends", "", "A NAT binding or firewall state ran out, or the sender failed. Asterisk: rtp_keepalive.",
          _stream("RTP of the {side} ({ends}) ended {seconds:.1f} s before the BYE."), symptoms=("calls-dropping", *ONE_WAY)),
    _rule("rtp-late-start", "medium", "RTP starts late", "", "Open media before answering; look at ICE, firewall pinholes and SBC latching.",
          _stream("RTP of the {side} ({ends}) began {seconds:.1f} s after the answer.", lambda hit: "high" if hit.value > 3000 else None), symptoms=("early-media", *ONE_WAY)),
    _rule("rtp-after-bye", "low", "RTP goes on after the BYE", "", "Look for a stuck channel: it may also be billed on.", _stream("RTP of the {side} ({ends}) went on for {seconds:.1f} s after the BYE."), symptoms=("calls-dropping",)),
    _rule("rtp-source-mismatch", "medium", "RTP comes from an unannounced address", "", f"Latch on the real source, or correct the SDP. {SYMMETRIC}",
          _against_line("{ends} comes from another host than the sender's SDP names ({announced})."), symptoms=ONE_WAY),
    _rule("rtp-asymmetric-port", "low", "Sender's port is not the one it receives on", "RFC 4961", "Send from the port that the SDP names.", _against_line("{ends} is sent from another port than {announced}."), symptoms=ONE_WAY),
    _rule("rtp-source-changed", "medium", "Source of the stream changed", "", "NAT rebinding or fail-over; if neither, somebody injects media.", _stream("SSRC {ssrc} moved: before it was {other}, now {ends}."), symptoms=ONE_WAY),
    _rule("rtp-wrong-destination", "high", "RTP sent to an address nobody announced", "", "The sender uses an old description: check re-INVITE handling at it.",
          _against_line("{ends} ({number:,} packets of it) goes elsewhere than the peer's SDP asks ({announced})."), symptoms=ONE_WAY, confidence=0.8),
    _rule("rtp-to-private", "critical", "RTP sent to a private address", "RFC 1918", f"The packets cannot arrive. {SYMMETRIC}", _stream("{ends}: {number:,} packets from a public host go to a private address."), symptoms=ONE_WAY),
    _rule("loss", "high", "Packet loss", "RFC 3550 A.3", NETWORK, _stream("{ends} ({codec}) lost {percent:.2f} %: {lost:,} of {expected:,} packets.", _by_code(None, "medium", "high", "critical"))),
    _rule("loss-burst", "medium", "Packets lost in bursts", "RFC 3611 4.7.2", NETWORK, _stream("{ends} lost up to {run} packets in a row, which concealment cannot hide ({lost:,} lost in all).")),
    _rule("loss-remote", "high", "Receiver reports loss", "RFC 3550 6.4.1", "The loss happens behind the capture point, towards the receiver.", _stream("RTCP of the receiver of {ends} reports up to {percent:.1f} % loss, twice or more in a row.")),
    _rule("loss-capture", "info", "The capture lost packets, the network did not", "", "", _stream("{percent:.1f} % of {ends} is missing here, while RTCP of the receiver reports less than 1 %.")),
    _rule("jitter", "medium", "Jitter", "RFC 3550 A.8", f"Raise the jitter buffer and look at queueing. {NETWORK}", _stream("{ends} has {jitter:.1f} ms of jitter on average and {jitter_max:.1f} ms at worst.", _by_code(None, "medium", "high"))),
    _rule("jitter-burst", "medium", "Packets arrive in clumps", "", "Look at the sender's scheduling and at Wi-Fi.", _stream("{percent:.1f} % of the packets of {ends} come more than three packet times after the one before.")),
    _rule("out-of-order", "low", "Packets out of order", "RFC 3550", "Look for load sharing over paths of different delay.", _stream("{percent:.1f} % of {ends} arrived behind a later packet.", _by_code(None, "medium"))),
    _rule("duplicate-rtp", "low", "Packets twice", "RFC 3550", "Redundancy, a network loop or a mirror.", _stream("{percent:.1f} % of {ends} came twice.")),
    _rule("mos-low", "high", "Poor audio quality", "G.107", "The largest part of the impairment names the cure: loss, late packets or codec.",
          _stream("MOS of {ends} ({codec}) is {mos:.2f}, and {worst:.2f} in its worst ten seconds; {discard:.1f} % came too late to be played.", _by_code(None, "medium", "high"))),
    _rule("delay-high", "medium", "Long delay", "G.114", "Shorten the route, avoid relays and transcoders, trim jitter buffers.", _stream("One-way delay of {ends} is about {number} ms.", _by_code(None, "high")), symptoms=("poor-audio", "echo", "ai-voice-agent-call")),
    _rule("rtcp-missing", "low", "No RTCP", "RFC 3550 6", "Enable RTCP and open its port, or use rtcp-mux. FreeSWITCH: rtcp-audio-interval-msec.", _stream("{ends} and its reverse ran {number} s without RTCP.", _by_code(None, "medium"))),
    _rule("rtcp-one-way", "low", "RTCP from one side only", "RFC 3550 6.4", "Open the RTCP port in both directions.", _stream("RTCP of the call of {ends} comes from one side, or never reports about this stream.")),
    _rule("rtcp-rr-zero-received", "high", "Peer does not receive the stream", "RFC 3550 6.4.1", f"The peer sends RTCP and never reports this stream: it does not arrive there. {SYMMETRIC}",
          _stream("The receiver of {ends} sent {number} RTCP packets and no report about this stream."), symptoms=ONE_WAY, confidence=0.8),
    _rule("rtcp-interval", "info", "Unusual RTCP interval", "RFC 3550 6.2", "", _stream("RTCP of {ends} comes every {seconds:.1f} s.")),
    _rule("ssrc-change", "low", "SSRC changed", "RFC 3550 8", "A media source was switched; frequent changes confuse receivers and SRTP.", _stream("The stream {ends} took a new SSRC ({ssrc}); {code} change(s) so far.", lambda hit: "medium" if hit.code > 3 else None)),
    _rule("ssrc-collision", "medium", "One SSRC from two sources", "RFC 3550 8.2", "Both senders must choose another SSRC.", _stream("SSRC {ssrc} comes from two sources at once: {ends} and {other}.")),
    _rule("seq-jump", "medium", "Sequence numbers jump", "RFC 3550 A.1", "The sender restarts its numbering within one SSRC: look at bridging and transfers.", _stream("Sequence numbers of {ends} jump {number} time(s).")),
    _rule("timestamp-jump", "medium", "Timestamps jump", "RFC 3550 5.1", "FreeSWITCH: rtp-rewrite-timestamps; otherwise correct the transcoder.", _stream("Timestamps of {ends} jump {number} time(s) without a marker.")),
    _rule("clock-drift", "low", "Sender's clock drifts", "", "Receivers must insert or drop samples: look at the sender's clock source.", _stream("The clock of {ends} is off by {number} ppm.", _by_code(None, "medium"))),
    _rule("marker-flood", "info", "Marker bit on most packets", "RFC 3551 4.1", "", _stream("{percent:.0f} % of {ends} has the marker bit set.")),
    _rule("ptime-mismatch", "medium", "Packet time is not the negotiated one", "RFC 3264 5.1; RFC 8866 6.4", "Set ptime to 20 ms at both ends. Asterisk: use_ptime.", _ptime),
    _rule("ptime-asymmetric", "low", "Directions use different packet times", "", "Harmless where both ends accept it.", _stream("{ends} carries {number} ms a packet, the other direction {code} ms.")),
    _rule("ptime-nonstandard", "low", "Unusual ptime", "RFC 3551 4.2", "Use 20 ms.", _mixed("{what} asks for {number} ms a packet of {codec}.", "a=ptime"), subject="message"),
    _rule("packet-size-variable", "info", "Constant-rate codec with varying sizes", "", "", _stream("{ends} ({codec}) has {code} different payload sizes, up to {number} bytes.")),
    _rule("dscp-unmarked", "low", "Packets are not marked for priority", "RFC 4594", "Asterisk: tos_audio=ef, tos=cs3; mark RTP as EF (46).", _dscp),
    _rule("dtmf-not-negotiated", "medium", "DTMF not negotiated", "RFC 4733 2.4.1", "Offer telephone-event/8000 0-16. Asterisk: dtmf_mode=rfc4733 or auto; FreeSWITCH: dtmf-type.", _not_negotiated, subject="message", symptoms=DTMF),
    _rule("dtmf-mode-mismatch", "high", "DTMF methods do not match", "RFC 4733; RFC 6086", "Use one method end to end. FreeSWITCH: liberal-dtmf; Asterisk: dtmf_mode.", _mode, subject="message", symptoms=DTMF),
    _rule("dtmf-pt-differs", "low", "telephone-event has two payload types", "RFC 3264 5.1", "Use 101 in both directions. FreeSWITCH: rfc2833-pt.",
          _message("telephone-event is payload type {code} in the offer and {number} in the answer; simple devices send the wrong one."), subject="message", symptoms=DTMF),
    _rule("dtmf-clock-mismatch", "medium", "telephone-event has another clock than the audio", "RFC 4733 2.1; RFC 7587", "Offer telephone-event at the audio's clock rate.",
          _message("telephone-event runs at {number} Hz and the audio codec does not ({answered})."), subject="message", symptoms=DTMF),
    _rule("dtmf-malformed", "medium", "Malformed DTMF events", "RFC 4733 2.5", "Correct the sender's event timing; receivers miss or double such digits.", _stream("Of {code} events in {ends}, {flaws}."), symptoms=DTMF),
    _rule("t38-rejected", "high", "T.38 refused", "T.38 D; RFC 3261 13.3.1.3", "Asterisk: t38_udptl=yes; FreeSWITCH: t38-passthru, fax_enable_t38; or keep G.711 with VAD off.",
          _message("{line} refuses the switch to T.38.", lambda hit: "critical" if hit.value else None), subject="message", symptoms=FAX),
    _rule("t38-loop", "medium", "Both sides switch to T.38 over and over", "", "Let only the receiving side switch.", _message("T.38 was requested {code} times, and audio and image changed places {number} times."), subject="message", symptoms=FAX),
    _rule("t38-no-udptl", "high", "T.38 agreed and nothing sent", "", "Check the firewall for the new port.", _message("T.38 was accepted in {what}, port {number}, and no UDPTL packet followed."), subject="message", symptoms=FAX),
    _rule("t38-params", "low", "T.38 parameters differ", "T.38 D.2.3", "Answer with the offered rate management and error correction.", _t38_params, subject="message", symptoms=FAX),
    _rule("t38-loss", "high", "UDPTL packets lost", "T.38 9", "Use redundancy 3 and mend the loss.", _message("About one in a hundred UDPTL packets or more is missing behind {what}."), subject="message", symptoms=FAX),
    _rule("fax-over-compressed", "high", "Fax over a compressed codec", "G.711; T.38", "Force G.711 or T.38 for fax lines.", _message("The switch to T.38 failed with {number}, so the fax stays on a compressed codec."), subject="message", symptoms=FAX),
    _rule("cn-unnegotiated", "low", "Comfort noise without agreement", "RFC 3389 4", "FreeSWITCH: suppress-cng; Asterisk: rtp_keepalive sends such packets.", _against_line("{ends} has {number} comfort noise packets, which the receiver's SDP does not list ({announced}).")),
    _rule("cn-clock-mismatch", "low", "Narrowband comfort noise beside a wideband codec", "RFC 3389 3; RFC 3551", "Negotiate CN with the codec's clock.", _mixed("{what} lists CN as payload type 13 beside {codec} at {number} Hz.", "a=rtpmap"), subject="message"),
    _rule("video-audio-skew", "low", "Lips out of sync", "RFC 3550 6.4.1", "Look for different buffering of audio and video.", _stream("Video {ends} runs {number} ms off the audio {other}.")),
    _rule("level-clipping", "low", "Audio too loud", "G.100.1", "Lower the gain.", _stream("{ends}: {clipped:.2f} % of the samples are at full scale, mean level {level:.0f} dBov.")),
    _rule("level-low", "low", "Audio too quiet", "P.56", "Raise the gain.", _stream("{ends} has a mean level of {level:.0f} dBov.")),
    _rule("recording-leg-gap", "medium", "Recording misses packets", "RFC 7866", "Look at the path to the recorder.", _stream("The recorded stream {ends} misses {percent:.1f} %, the call's own stream {other} does not.")),
)  # fmt: skip
