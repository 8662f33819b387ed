"""Codecs: what descriptions offer, what was agreed, what is sent.

The conditions are sighted by `engine/_native/c/conditions_codec.c`; the texts are here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from engine._native import sdp as native_sdp
from engine.trace.finding import Evidence
from engine.trace.rules.base import NONE, Explanation, Hit, Rule
from engine.trace.rules.compliance import cited
from engine.trace.tables import CODECS, Tables

Explain = Callable[[Tables, Hit], Explanation]
OPUS_PARAMETERS = ("", "channels (must be opus/48000/2)", "maxaveragebitrate", "maxplaybackrate", "sprop-maxcapturerate", "stereo", "cbr",
                   "useinbandfec", "usedtx", "sprop-stereo")  # fmt: skip


@lru_cache(maxsize=256)
def names(bits: int) -> str:
    """Codec names of a bit set."""
    return ", ".join(name for bit, name in enumerate(CODECS) if bit and bits >> bit & 1) or "none that is known"


def formats_of(tables: Tables, row: int) -> str:
    """Encoding names of the first media line of a message, in order, with their payload types."""
    formats = native_sdp.formats_of(tables.text(row))
    if formats is None:
        return "(no media line)"
    return ", ".join(f"{name or '?'} ({payload_type})" for name, payload_type in formats) or "(none)"


def fmtp_of(tables: Tables, row: int, codec: int) -> str:
    """The fmtp parameters of a codec in a message."""
    description = tables.sdp(row)
    for media in description.media if description is not None else ():
        for entry in media.formats:
            if entry.codec == codec:
                return entry.fmtp.decode("utf-8", "replace") or "(none)"
    return "(none)"


def _pair(sentence: str, severity: Callable[[Hit], str | None] = lambda hit: None) -> Explain:
    """{offered}, {answered} are the formats of the two messages; {codec}, {codecs} of code and value."""

    def explain(tables: Tables, hit: Hit) -> Explanation:
        offered = formats_of(tables, hit.other) if hit.other != NONE and hit.other < len(tables.messages) else ""
        answered = formats_of(tables, hit.row)
        detail = sentence.format(
            offered=offered, answered=answered, codec=CODECS[hit.code] if hit.code < len(CODECS) else "?", codecs=names(hit.value),
            first=CODECS[hit.value] if 0 <= hit.value < len(CODECS) else "?", what=tables.summary(hit.row), code=hit.code, number=hit.value,
        )  # fmt: skip
        evidence = [cited(tables, hit.row, "SDP", answered)]
        if offered:
            evidence.insert(0, cited(tables, hit.other, "SDP", offered))
        return Explanation(detail, evidence, severity=severity(hit))

    return explain


def _no_common(tables: Tables, hit: Hit) -> Explanation:
    offered = formats_of(tables, hit.other)
    answer = tables.start_line(hit.row)
    warning = tables.header(hit.row, "Warning")
    return Explanation(
        f"The offer lists {offered}; the peer is known to speak {names(hit.value)}: there is no common codec ({answer}"
        + (f", Warning: {warning})." if warning else ")."),
        [cited(tables, hit.other, "SDP", offered), cited(tables, hit.row, "Warning", warning or answer)],
    )


def _rejected(tables: Tables, hit: Hit) -> Explanation:
    offered, warning = formats_of(tables, hit.other), tables.header(hit.row, "Warning")
    common = f" although {names(hit.value)} is common to both" if hit.value else ""
    return Explanation(
        f"The offer ({offered}) was refused with {tables.start_line(hit.row)}{common}" + (f"; Warning: {warning}." if warning else "."),
        [cited(tables, hit.other, "SDP", offered), cited(tables, hit.row, "Warning", warning)],
    )


def _codec_list(tables: Tables, hit: Hit) -> Explanation:
    offer, answer = (int(line[hit.call]) for line in (tables.calls.offer_line, tables.calls.answer_line))
    lines = tables.media_lines
    told = [f"{side}: {names(int(lines.codecs[line]))}" for side, line in (("offered", offer), ("answered", answer)) if line != NONE]
    return Explanation(f"Agreed codec is {CODECS[hit.code]}; {'; '.join(told)}.", [cited(tables, hit.row, "SDP", formats_of(tables, hit.row))])


def _changed(tables: Tables, hit: Hit) -> Explanation:
    before, after = hit.value >> 8, hit.value & 255
    return Explanation(
        f"The agreed codec changed {hit.code} time(s) during the call, last from {CODECS[before]} to {CODECS[after]}.",
        [cited(tables, hit.row, "SDP", formats_of(tables, hit.row))],
        severity="low" if hit.code > 2 else None,
    )


def _stream_name(tables: Tables, row: int) -> str:
    s = tables.streams
    return f"{tables.address(int(s.source_endpoint[row]))} -> {tables.address(int(s.target_endpoint[row]))}"


def _not_negotiated(tables: Tables, hit: Hit) -> Explanation:
    line = hit.other
    message = int(tables.media_lines.message[line])
    return Explanation(
        f"{_stream_name(tables, hit.row)} sends payload type {hit.code} ({hit.value:,} packets); the receiver's SDP lists {formats_of(tables, message)}.",
        [Evidence(stream=hit.row, summary=_stream_name(tables, hit.row)), cited(tables, message, "SDP", formats_of(tables, message))],
    )


def _asymmetric(tables: Tables, hit: Hit) -> Explanation:
    return Explanation(
        f"The caller sends {CODECS[hit.code]}, the callee sends {CODECS[hit.value]}.",
        [Evidence(stream=row, summary=_stream_name(tables, row)) for row in (hit.other, hit.row)],
    )


def _bandwidth(tables: Tables, hit: Hit) -> Explanation:
    codec = CODECS[int(tables.media_lines.codec[hit.other])]
    return Explanation(
        f"The bandwidth line allows {hit.value} kbit/s; {codec} at 20 ms needs about {hit.code} kbit/s with headers.",
        [cited(tables, hit.row, "b=", f"{hit.value} kbit/s")],
    )


def _opus(tables: Tables, hit: Hit) -> Explanation:
    name = OPUS_PARAMETERS[hit.code] if hit.code < len(OPUS_PARAMETERS) else "a parameter"
    value = "not a number" if hit.value == -2 else str(hit.value)
    return Explanation(
        f"opus in {tables.summary(hit.row)} has an illegal {name}: {value}.",
        [cited(tables, hit.row, "a=fmtp", fmtp_of(tables, hit.row, tables_opus()))],
        severity="medium" if hit.code == 1 else None,
    )


def tables_opus() -> int:
    """Number of opus in the codec list."""
    return next(number for number, name in enumerate(CODECS) if name.lower() == "opus")


def _modes(codec_word: str) -> Explain:
    def explain(tables: Tables, hit: Hit) -> Explanation:
        codec = int(tables.calls.codec[hit.call]) if hit.call != NONE else 0
        offered, answered = fmtp_of(tables, hit.other, codec), fmtp_of(tables, hit.row, codec)
        return Explanation(
            f"{codec_word} parameters differ: offered {offered}, answered {answered}.",
            [cited(tables, hit.other, "a=fmtp", offered), cited(tables, hit.row, "a=fmtp", answered)],
        )

    return explain


def _legs(sentence: str) -> Explain:
    def explain(tables: Tables, hit: Hit) -> Explanation:
        other = tables.call_id(hit.other)
        return Explanation(sentence.format(codecs=names(hit.value), other=other), [cited(tables, hit.row, "SDP", formats_of(tables, hit.row))])

    return explain


def _clock(tables: Tables, hit: Hit) -> Explanation:
    return Explanation(
        f"{CODECS[hit.code]} is mapped with clock rate {hit.value} in {tables.summary(hit.row)}, which is not its own.",
        [cited(tables, hit.row, "a=rtpmap", formats_of(tables, hit.row))],
    )


def _rule(id: str, severity: str, title: str, rfc: str, recommendation: str, explain: Explain, *, confidence: float = 0.9,
          symptoms: tuple[str, ...] = ("poor-audio",), subject: str = "message", group: str = "peers") -> Rule:  # fmt: skip
    return Rule(id=id, severity=severity, category="codec", title=title, rfc=rfc, recommendation=recommendation, explain=explain,
                confidence=confidence, symptoms=symptoms, subject=subject, group=group, escalates=severity in ("critical", "high", "medium"))  # fmt: skip


NO_AUDIO = ("no-audio", "one-way-audio", "call-setup-failing", "ai-voice-agent-call")
LISTS = "Asterisk: allow= of the endpoint; FreeSWITCH: inbound-codec-prefs, outbound-codec-prefs."

RULES: tuple[Rule, ...] = (
    _rule("no-common-codec", "critical", "No common codec", "RFC 3261 21.4.26; RFC 3264 6", f"Add a codec that both sides have. {LISTS}", _no_common, symptoms=NO_AUDIO),
    _rule("codec-rejected-488", "high", "Offer refused although codecs match or are unknown", "RFC 3261 21.4.26",
          "Look at what else the offer asks for: SRTP or RTP profile, ptime, DTMF, bandwidth, T.38.", _rejected, symptoms=NO_AUDIO),
    _rule("media-rejected", "high", "Audio refused in an answered call", "RFC 3264 6", f"The answer sets the audio port to 0. {LISTS}",
          _pair("The answer refuses the audio line (port 0) that offered {offered}."), symptoms=NO_AUDIO),
    _rule("codec-list", "info", "Codecs offered and agreed", "", "", _codec_list),
    _rule("codec-changed-mid-call", "info", "Codec changed during the call", "RFC 3264 8.3.2", "", _changed),
    _rule("codec-not-negotiated", "high", "Sent codec was never negotiated", "RFC 3264 5.1, 8.3.2",
          "Have the sender keep to the answer. Asterisk: codec_prefs_* and preferred_codec_only; at an SBC, check its transcoding rule.", _not_negotiated,
          subject="stream", symptoms=(*NO_AUDIO, "poor-audio")),
    _rule("codec-asymmetric", "low", "Directions use different codecs", "RFC 3264 6.1", "Legal, and not every device follows: answer with one codec.", _asymmetric, subject="stream"),
    _rule("codec-multiple-in-answer", "info", "Answer lists several codecs", "RFC 3264 6.1", "", _pair("The answer keeps several codecs ({answered}), so either may be sent.")),
    _rule("codec-order-ignored", "info", "Agreed codec is not the first offered", "RFC 3264 6.1", "", _pair("Agreed {codec}; the offer prefers {first} ({offered}).")),
    _rule("transcode-risk", "medium", "Legs agree on different codecs", "", "Let both legs agree on one codec. FreeSWITCH: disable-transcoding, inbound-late-negotiation; Asterisk: allow by endpoint.",
          _legs("The legs of the call (also {other}) use different codecs: {codecs}.")),
    _rule("transcode-chain", "medium", "Two lossy codecs in a row", "G.113", "Use one lossy codec or G.711 in between at most: impairments add up.", _legs("Two lossy codecs follow each other over the legs: {codecs}.")),
    _rule("codec-deprecated", "low", "Outdated codec agreed", "RFC 3551", "Move to G.711, G.722 or opus.", _pair("The call agreed on {codec}, an outdated codec.")),
    _rule("codec-wideband-lost", "info", "Wideband possible and not used", "", "", _pair("Both sides name {codecs}, yet the call agreed on {codec}.")),
    _rule("codec-bandwidth", "low", "Bandwidth line below the codec's need", "RFC 3890", "Raise or drop the b= line.", _bandwidth),
    _rule("pt-static-conflict", "medium", "Static payload type redefined", "RFC 3551 6", "Keep the assigned meaning of payload types 0 to 34.",
          _pair("{what} maps a static payload type to another codec: {answered}."), symptoms=("no-audio", "poor-audio")),
    _rule("pt-dynamic-conflict", "medium", "Payload type means two codecs", "RFC 3264 8.3.2", "Keep a payload type's mapping for the life of the dialog.",
          _pair("{what} gives a payload type another codec than before: {answered}."), symptoms=("no-audio", "poor-audio")),
    _rule("pt-missing-rtpmap", "medium", "Dynamic payload type without rtpmap", "RFC 8866 6.6", "Name the codec of every dynamic payload type.", _pair("{what} lists a dynamic payload type without rtpmap: {answered}."),
          symptoms=("no-audio",)),
    _rule("pt-out-of-range", "medium", "Payload type out of range", "RFC 3551; RFC 5761 4", "Use 0 to 127, and not 64 to 95 with rtcp-mux.", _pair("{what} uses a payload type that may not be used: {answered}.")),
    _rule("rtpmap-clock-wrong", "medium", "Codec with a wrong clock rate", "RFC 3551 4.5.2; RFC 7587 4.1", "G722 is mapped with 8000, opus with 48000/2, AMR-WB with 16000.", _clock),
    _rule("opus-fmtp", "low", "Illegal opus parameter", "RFC 7587 6.1, 7", "Correct the parameter in the endpoint's opus profile.", _opus),
    _rule("amr-fmtp-mismatch", "high", "AMR modes differ", "RFC 4867 8.3", "Use one mode set on both sides; octet-align decides the packet layout.", _modes("AMR"), symptoms=("poor-audio", "no-audio")),
    _rule("g729-annexb", "low", "G.729 Annex B differs", "RFC 4856 2.1.9; RFC 7261", "Set annexb=no on both sides.", _modes("G.729")),
    _rule("g7231-annexa", "low", "G.723.1 Annex A differs", "RFC 4856", "Set annexa alike on both sides.", _modes("G.723.1")),
    _rule("ilbc-mode", "low", "iLBC modes differ", "RFC 3952 6", "The answer must use the longer frame of the two.", _modes("iLBC")),
    _rule("g726-packing", "medium", "G.726 packings mixed", "RFC 3551 4.5.4", "Use G726-32 or AAL2-G726-32 on both sides. Asterisk: g726_non_standard.",
          _pair("G726-32 and AAL2-G726-32 meet in one exchange ({offered} / {answered}); the bits are in other order."), confidence=0.7),
    _rule("telephone-event-events", "info", "telephone-event without the usual events", "RFC 4733 2.4.1", "", _pair("{what} offers telephone-event without 0-16 in its fmtp.")),
    _rule("sdp-size", "info", "Very large description", "", "", _pair("{what} describes {code} formats in {number} bytes.")),
    _rule("video-reject", "info", "Video offered and refused", "", "", _pair("{what} refuses the video line.")),
)  # fmt: skip
