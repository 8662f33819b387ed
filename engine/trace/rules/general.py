"""General facts: what the trace holds, who took part, how it was captured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.trace.finding import Evidence
from engine.trace.rules.base import NO_HITS, NONE, Explanation, Hit, Hits, Rule, hits_of, one_hit
from engine.trace.rules.compliance import cited
from engine.trace.tables import CALL_KINDS, CODECS, OUTCOMES, TRANSPORTS, Tables

SUCCESS = (200,)
EFFECTIVE = (200, 480, 486, 600, 603)
TUNNELS = ("GRE", "ERSPAN", "VXLAN", "Geneve", "GTP-U", "IP in IP", "TZSP", "L2TP", "PPPoE", "QinQ", "MPLS", "802.1Q", "VN-Tag", "HEP")
EVENT_NAMES = {8: "TLS", 9: "STUN", 10: "DTLS", 11: "another protocol"}
PERCENTILES = (50, 95, 99)


def percentiles(values: npt.NDArray[Any]) -> list[float]:
    """The PERCENTILES by nearest rank: figures that were really measured."""
    ordered = np.sort(values).tolist()
    return [float(ordered[min(len(ordered) - 1, len(ordered) * share // 100)]) for share in PERCENTILES]


def _by_host(hosts: npt.NDArray[np.uint32]) -> list[tuple[int, npt.NDArray[np.intp]]]:
    """(host, where it stands) of the ten hosts that stand there most often, the first of them first."""
    if len(hosts) <= 64:  # sorting arrays costs more than looking at so few
        places: dict[int, list[int]] = {}
        for at, host in enumerate(hosts.tolist()):
            places.setdefault(host, []).append(at)
        largest = sorted(sorted(places), key=lambda host: -len(places[host]))[:10]
        return [(host, np.array(places[host])) for host in largest]
    names, inverse, counts = np.unique(hosts, return_inverse=True, return_counts=True)
    return [
        (int(names[at]), np.flatnonzero(inverse == at)) for at in np.argsort(-counts, kind="stable")[:10].tolist()
    ]


def _once(present: bool) -> Hits:
    return one_hit() if present else NO_HITS


# ---- calls ----


def _invite_calls(tables: Tables) -> Hits:
    return hits_of(tables.invite_calls[:100_000])


def _first_calls(tables: Tables) -> Hits:
    """One hit a call for small traces; a trace-wide picture is the peer table's work."""
    calls = tables.invite_calls
    return hits_of(calls) if len(calls) <= 10 else NO_HITS


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.1f} s" if milliseconds >= 0 else "unknown"


def _call_summary(tables: Tables, hit: Hit) -> Explanation:
    c, call = tables.calls, hit.call
    first = int(tables.messages_of(call)[0])
    outcome = OUTCOMES[int(c.outcome[call])]
    status = int(c.final_status[call])
    parts = [
        f"Call {tables.user(first, 'From') or '?'} -> {tables.user(first, 'To') or '?'} "
        f"({tables.endpoint(int(c.caller[call]))} -> {tables.endpoint(int(c.callee[call]))}): {outcome}"
        + (f" ({status})" if status else "")
    ]
    if not tables.no_time:
        parts.append(f"first ringing or answer after {_seconds(int(c.pdd_ms[call]))}")
        if c.setup_ms[call] >= 0:
            parts.append(f"answered after {_seconds(int(c.setup_ms[call]))}")
        if c.talk_ms[call] >= 0:
            parts.append(f"talk time {_seconds(int(c.talk_ms[call]))}")
    if c.released_by[call]:
        parts.append(f"released by the {'caller' if c.released_by[call] == 1 else 'callee'}")
    if c.codec[call]:
        parts.append(f"codec {CODECS[int(c.codec[call])]}")
    parts.append(f"{int(c.message_count[call])} messages over {max(1, int(c.hops[call]))} hop(s)")
    return Explanation("; ".join(parts) + ".", [cited(tables, first)])


def _durations(tables: Tables) -> Hits:
    return _once(bool((tables.calls.talk_ms >= 0).any()))


def _call_duration(tables: Tables, hit: Hit) -> Explanation:
    talk = tables.calls.talk_ms[tables.calls.talk_ms >= 0] / 1000
    if len(talk) == 1:
        return Explanation(f"The call talked for {talk[0]:.1f} s.")
    p50, p95, p99 = percentiles(talk)
    return Explanation(
        f"{len(talk):,} calls talked: mean {talk.mean():.1f} s, median {p50:.1f} s, 95 % below {p95:.1f} s, 99 % below "
        f"{p99:.1f} s, longest {talk.max():.1f} s."
    )


def _agents(tables: Tables) -> Hits:
    return _once(bool((tables.messages.user_agent != NONE).any()))


VENDORS = (
    ("asterisk", "Asterisk", "PBX"), ("freepbx", "FreePBX", "PBX"), ("freeswitch", "FreeSWITCH", "PBX or softswitch"),
    ("kamailio", "Kamailio", "proxy"), ("opensips", "OpenSIPS", "proxy"), ("cisco", "Cisco", "gateway or phone"),
    ("audiocodes", "AudioCodes", "SBC or gateway"), ("oracle", "Oracle", "SBC"), ("acme", "Oracle (Acme Packet)", "SBC"),
    ("ribbon", "Ribbon", "SBC"), ("sonus", "Ribbon (Sonus)", "SBC"), ("polycom", "Poly", "phone"), ("poly/", "Poly", "phone"),
    ("yealink", "Yealink", "phone"), ("grandstream", "Grandstream", "phone or PBX"), ("snom", "Snom", "phone"),
    ("linphone", "Linphone", "softphone"), ("zoiper", "Zoiper", "softphone"), ("microsip", "MicroSIP", "softphone"),
    ("baresip", "baresip", "softphone"), ("pjsua", "pjsua", "softphone"), ("sipp", "SIPp", "traffic generator"),
    ("3cx", "3CX", "PBX"), ("avaya", "Avaya", "PBX or phone"), ("broadworks", "BroadWorks", "softswitch"),
    ("genesys", "Genesys", "contact centre"), ("mitel", "Mitel", "PBX or phone"), ("fritz", "AVM", "home gateway"),
    ("friendly-scanner", "SIPVicious", "scanner"), ("sipvicious", "SIPVicious", "scanner"),
)  # fmt: skip


def _endpoint_id(tables: Tables, hit: Hit) -> Explanation:
    agents, sent = tables.endpoints.user_agent, tables.endpoints.messages_sent
    rows = np.flatnonzero((agents != NONE) & (sent > 0))
    if len(rows) <= 12:
        order = sorted(rows.tolist(), key=lambda row: -int(sent[row]))
    else:
        order = rows[np.argsort(-sent[rows].astype(np.int64), kind="stable")][:12].tolist()
    told, evidence = [], []
    for row in order:
        product = tables.string(int(agents[row]))
        found = next(((vendor, role) for word, vendor, role in VENDORS if word in product.lower()), None)
        told.append(f"{tables.endpoint(row)} is {product}" + (f" ({found[0]}, {found[1]})" if found else ""))
        evidence.append(Evidence(summary=tables.endpoint(row), header="User-Agent/Server", value=product[:200]))
    if not told:
        products = [tables.string(row) for row in np.unique(tables.messages.user_agent)[:6].tolist() if row != NONE]
        return Explanation(f"Products named in the trace: {', '.join(products)}.")
    more = f" and {len(rows) - 12:,} more" if len(rows) > 12 else ""
    return Explanation("; ".join(told) + more + ".", evidence)


def _has_many_calls(tables: Tables) -> Hits:
    return _once(len(tables.invite_calls) >= 2)


def _ratio(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "no attempts"


def _peer_table(tables: Tables, hit: Hit) -> Explanation:
    c = tables.calls
    calls = np.flatnonzero((c.kind == 1) & (c.callee != NONE))
    told, evidence = [], []
    for host, places in _by_host(tables.endpoints.host[c.callee[calls]]):
        mine = calls[places]
        status = c.final_status[mine]
        refused = np.isin(status // 100, (3,)) | np.isin(status, (401, 402, 407))
        attempts = int(len(mine) - np.count_nonzero(refused))
        answered = int(np.count_nonzero(status // 100 == 2))
        effective = int(np.count_nonzero((status // 100 == 2) | np.isin(status, EFFECTIVE)))
        silent = int(np.count_nonzero(status == 0))
        line = (
            f"{tables.host(host)}: {len(mine):,} attempts, SER {_ratio(answered, attempts)}, "
            f"SEER {_ratio(effective, attempts)}, {silent:,} without final response"
        )
        waits = c.pdd_ms[mine][c.pdd_ms[mine] >= 0]
        if len(waits):
            line += f", median PDD {int(np.median(waits)):,} ms"
        told.append(line)
        evidence.append(Evidence(summary=line))
    return Explanation(". ".join(told) + ".", evidence)


def _has_responses(tables: Tables) -> Hits:
    x = tables.transactions
    return _once(not tables.no_time and bool(((x.first != NONE) & ((x.provisional != NONE) | (x.final != NONE))).any()))


def _rtt_table(tables: Tables, hit: Hit) -> Explanation:
    x, m = tables.transactions, tables.messages
    reply = np.minimum(x.provisional, x.final)  # rows are in order of arrival, NONE is the largest number
    rows = np.flatnonzero((x.first != NONE) & (reply != NONE) & (x.target != NONE))
    times = (m.time_ns[reply[rows]] - m.time_ns[x.first[rows]]) / 1e6
    told, evidence = [], []
    for host, places in _by_host(tables.endpoints.host[x.target[rows]]):
        p50, p95, p99 = percentiles(times[places])
        line = f"{tables.host(host)}: {len(places):,} transactions, first response p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms"
        told.append(line)
        evidence.append(Evidence(summary=line))
    return Explanation(". ".join(told) + ".", evidence)


def _no_calls(tables: Tables) -> Hits:
    return _once(not len(tables.invite_calls))


def _explain_no_calls(tables: Tables, hit: Hit) -> Explanation:
    kinds, counts = np.unique(tables.calls.kind, return_counts=True)
    held = [f"{int(n):,} {CALL_KINDS[int(k)]} dialog(s)" for k, n in zip(kinds, counts, strict=True)]
    if len(tables.streams):
        held.append(f"{len(tables.streams):,} RTP streams")
    return Explanation(f"No initial INVITE was found. The trace holds {', '.join(held) or 'no SIP message'}.")


def _ladders(tables: Tables, hit: Hit) -> Explanation:
    count, first = len(tables.invite_calls), int(tables.invite_calls[0])
    return Explanation(f"{count:,} call(s) can be drawn as a ladder; the first is {tables.call_id(first)}.")


def _has_calls(tables: Tables) -> Hits:
    return _once(len(tables.invite_calls) > 0)


# ---- the capture ----


def _sized(sentence: str) -> Callable[[Tables, Hit], Explanation]:
    def explain(tables: Tables, hit: Hit) -> Explanation:
        return Explanation(sentence.format(what=tables.summary(hit.row), value=hit.value), [cited(tables, hit.row)])

    return explain


def _fragmented(tables: Tables, hit: Hit) -> Explanation:
    repeated = int(tables.messages.retransmission_of[hit.row]) != NONE
    return Explanation(
        f"{tables.summary(hit.row)} has {hit.value:,} bytes and travelled as IP fragments; one lost fragment loses it whole.",
        [cited(tables, hit.row)],
        severity="high" if repeated else None,
    )


def _too_large(tables: Tables, hit: Hit) -> Explanation:
    if hit.code == 513:
        return Explanation(f"{tables.summary(hit.row)} refuses a message as too large.", [cited(tables, hit.row)])
    return Explanation(f"{tables.summary(hit.row)} has {hit.value:,} bytes.", [cited(tables, hit.row)])


def _problems(*kinds: str) -> Callable[[Tables], Hits]:
    def select(tables: Tables) -> Hits:
        return _once(any(problem.text.startswith(kinds) for problem in tables.problems))

    return select


def _tell_problems(*kinds: str) -> Callable[[Tables, Hit], Explanation]:
    def explain(tables: Tables, hit: Hit) -> Explanation:
        found = [problem for problem in tables.problems if problem.text.startswith(kinds)]
        told = "; ".join(f"{p.text}: {p.count:,} (first at byte {p.offset:,})" for p in found)
        return Explanation(f"{told}.", [Evidence(summary=p.text, value=f"{p.count:,} in {p.file}") for p in found])

    return explain


TRUNCATED = ("packets cut short", "the file ends inside")
LOST = ("TCP bytes missing", "IP datagrams whose fragments")


def _truncated(tables: Tables) -> Hits:
    return _problems(*TRUNCATED)(tables)


def _duplicates(tables: Tables) -> Hits:
    return _once(tables.trace.mirrored_packets > 0)


def _explain_duplicates(tables: Tables, hit: Hit) -> Explanation:
    copies, total = tables.trace.mirrored_packets, len(tables.messages)
    return Explanation(
        f"{copies:,} of {total:,} SIP messages ({100 * copies / max(1, total):.1f} %) are copies of a packet seen a moment "
        "before: a mirror port or two taps. They were not counted as retransmissions."
    )


def _unparsable(tables: Tables) -> Hits:
    return _once(any(p.text.startswith(("messages that look", "stretches", "TCP bytes between")) for p in tables.problems))


def _tunnels(tables: Tables) -> Hits:
    return _once(any(tables.trace.tunnel_packets()))


def _explain_tunnels(tables: Tables, hit: Hit) -> Explanation:
    counts = tables.trace.tunnel_packets()
    seen = [f"{name} ({count:,} packets)" for name, count in zip(TUNNELS, counts, strict=False) if count]
    return Explanation(f"Packets were decapsulated from {', '.join(seen)}.")


def _event(sentence: str) -> Callable[[Tables, Hit], Explanation]:
    def explain(tables: Tables, hit: Hit) -> Explanation:
        e = tables.events
        source, target = tables.endpoint(int(e.source[hit.row])), tables.endpoint(int(e.target[hit.row]))
        kind = EVENT_NAMES.get(hit.code, "another protocol")
        return Explanation(
            sentence.format(source=source, target=target, kind=kind),
            [Evidence(summary=f"{source} -> {target}", value=f"packet {int(e.frame_number[hit.row])}")],
        )

    return explain


def _orphan(tables: Tables, hit: Hit) -> Explanation:
    s = tables.streams
    where = f"{tables.endpoint(int(s.source_endpoint[hit.row]))} -> {tables.endpoint(int(s.target_endpoint[hit.row]))}"
    return Explanation(
        f"RTP stream {where} (SSRC 0x{int(s.ssrc[hit.row]):08x}, payload type {hit.code}, {hit.value:,} packets) belongs to no "
        "session description in the trace.",
        [Evidence(stream=hit.row, summary=where)],
    )


def _retransmissions(tables: Tables, hit: Hit) -> Explanation:
    share = hit.value / 100
    return Explanation(
        f"{share:.1f} % of the SIP messages that {tables.host(hit.other)} sent are retransmissions.",
        [cited(tables, hit.row)],
        severity="high" if share > 10 else None,
    )


def _cluster(tables: Tables, hit: Hit) -> Explanation:
    when = tables.time_s(hit.row)
    at = "" if when is None else f" around {np.datetime64(int(when), 's')} UTC"
    return Explanation(f"{hit.value:,} calls failed with {hit.code} within five minutes{at}, far more than at other times.", [cited(tables, hit.row)])


def _inconsistent(tables: Tables, hit: Hit) -> Explanation:
    codecs = [name for bit, name in enumerate(CODECS) if hit.value >> bit & 1]
    return Explanation(
        f"Calls to {tables.host(hit.other)} agree on {', '.join(codecs) or 'no known codec'} and use {hit.code} transport(s) "
        f"such as {TRANSPORTS[int(tables.messages.transport[hit.row])] or 'unknown'}: the same peer is configured in several ways.",
        [cited(tables, hit.row)],
    )


def _fact(id: str, title: str, select: Callable[[Tables], Hits] | None, explain: Callable[[Tables, Hit], Explanation],
          severity: str = "info", recommendation: str = "", group: str = "trace", subject: str = "trace", rfc: str = "",
          symptoms: tuple[str, ...] = (), escalates: bool = False) -> Rule:  # fmt: skip
    return Rule(id=id, severity=severity, category="general", title=title, recommendation=recommendation, explain=explain,
                rfc=rfc, confidence=1.0, subject=subject, select=select, group=group, symptoms=symptoms, escalates=escalates)  # fmt: skip


TCP_ADVICE = (
    "Keep requests small (fewer codecs, FreeSWITCH enable-compact-headers) or use TCP or TLS. Asterisk: disable_tcp_switch=no; "
    "Kamailio: udp_mtu, udp_mtu_try_proto."
)

RULES: tuple[Rule, ...] = (
    _fact("call-summary", "Call summary", _first_calls, _call_summary, group="call", subject="call"),
    _fact("call-duration", "Talk time", _durations, _call_duration, rfc="RFC 6076 4.5"),
    _fact("endpoint-id", "Endpoints", _agents, _endpoint_id),
    _fact("peer-table", "Results by peer", _has_many_calls, _peer_table, rfc="RFC 6076"),
    _fact("udp-fragmented", "SIP over fragmented UDP", None, _fragmented, "medium", TCP_ADVICE, "peers", "message", "RFC 3261 18.1.1",
          ("call-setup-failing",), True),
    _fact("udp-large", "SIP over UDP near the MTU", None,
          _sized("{what} has {value:,} bytes, more than the 1,300 that are safe over UDP."), "low", TCP_ADVICE, "peers", "message",
          "RFC 3261 18.1.1", ("call-setup-failing",)),
    _fact("message-too-large", "Message too large", None, _too_large, "high", TCP_ADVICE, "peers", "message", "RFC 3261 21.5.7"),
    _fact("capture-truncated", "Capture cuts packets short", _truncated, _tell_problems(*TRUNCATED),
          recommendation="Capture whole packets: tcpdump -s 0."),
    _fact("capture-one-sided", "Only one direction captured", None,
          _sized("Only one direction of the hop of {what} is in the capture, so what seems missing may only be unseen."),
          recommendation="Mirror both directions of the link.", group="peers", subject="message"),
    _fact("capture-duplicates", "Packets captured twice", _duplicates, _explain_duplicates),
    _fact("capture-loss", "The capture lost packets", _problems(*LOST), _tell_problems(*LOST), "medium",
          "Capture closer to the wire, with a larger buffer (tcpdump -B) or on a quieter port; findings about missing messages "
          "may be the capture's own loss."),
    _fact("capture-clock", "Capture time runs backward", _problems("records older"), _tell_problems("records older"), "low",
          "Synchronise the taps' clocks, or merge the captures with mergecap."),
    _fact("parse-errors", "Bytes that could not be read", _unparsable,
          _tell_problems("messages that look", "stretches", "TCP bytes between"), "low",
          "Look at the named offsets: damaged messages, or another protocol."),
    _fact("encrypted-signalling", "Encrypted signalling", None,
          _event("TLS runs between {source} and {target}; what it carries is not in this analysis."),
          recommendation="Supply a key log, or mirror the decrypted messages as HEP.", group="peers", subject="event"),
    _fact("orphan-rtp", "RTP without signalling", None, _orphan, group="peers", subject="stream"),
    _fact("non-sip-on-port", "Other protocols on the SIP port", None, _event("{kind} arrives at {target} from {source}."),
          group="peers", subject="event"),
    _fact("tunnel-seen", "Encapsulated traffic", _tunnels, _explain_tunnels),
    _fact("ladder-available", "Ladder available", _has_calls, _ladders),
    _fact("no-calls", "No calls in the trace", _no_calls, _explain_no_calls),
    _fact("retransmission-ratio", "Many retransmissions from one host", None, _retransmissions, "medium",
          "Look for loss or overload between the two hosts; Kamailio answers early with t_newtran().", "peers", "message",
          "RFC 3261 17", ("slow-setup", "call-setup-failing")),
    _fact("rtt-table", "Response times by peer", _has_responses, _rtt_table),
    _fact("time-of-failure-cluster", "Failures come in a bunch", None, _cluster, "medium",
          "Compare with maintenance, routing changes and alarms of that time.", "trace", "message", "", ("call-setup-failing",)),
    _fact("config-inconsistent", "One peer, several configurations", None, _inconsistent, "low",
          "Give every member of the peer one codec list, timer setting and transport.", "peers", "message"),
)  # fmt: skip
