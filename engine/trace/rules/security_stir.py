"""Signed caller identity (STIR/SHAKEN): Identity headers, what they claim, and how verifiers answered.

A PASSporT's header and claims are read here; its signature can only be checked with the certificate behind x5u, which a trace does
not hold: the verifier's own answer (437, 438) is the evidence for that.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.trace.finding import Evidence
from engine.trace.rules.base import Explanation, Hit, Hits, Rule
from engine.trace.rules.compliance import cited
from engine.trace.tables import Tables

FRESH_S = 60
PASSPORTS = ("shaken", "div", "rcd", "rph", "msec")
IDENTITIES_MAX = 2000


def _decoded(part: str) -> dict[str, Any]:
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}


def passport(identity: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """(header, claims, parameters) of an Identity header value; empty dicts where it does not decode (RFC 8224 §4)."""
    token, _, rest = identity.partition(";")
    parameters = {name.lower(): value.strip('<>"') for name, value in re.findall(r'(\w+)\s*=\s*("[^"]*"|<[^>]*>|[^;\s]+)', rest)}
    parts = token.strip().split(".")
    if len(parts) != 3:
        return {}, {}, parameters
    return _decoded(parts[0]), _decoded(parts[1]), parameters


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _same_number(a: str, b: str) -> bool:
    """Equal after E.164 canonicalisation as far as it can be done without a dial plan: one ends in the other."""
    a, b = _digits(a).lstrip("0"), _digits(b).lstrip("0")
    return not a or not b or a == b or (min(len(a), len(b)) >= 7 and (a.endswith(b) or b.endswith(a)))


def _numbers(claim: Any) -> list[str]:
    if not isinstance(claim, dict):
        return []
    tn = claim.get("tn", [])
    return [str(tn)] if isinstance(tn, (str, int)) else [str(item) for item in tn] if isinstance(tn, list) else []


def _each(test: Callable[[Tables, int, str], bool], *also: str) -> Callable[[Tables], Hits]:
    """Signed INVITEs whose Identity passes a test, and sightings of `also` (a verifier's answers)."""

    def select(tables: Tables) -> Hits:
        hits = tables.sightings_of("stir-attest")
        keep = []
        for at, row in enumerate(hits.row[:IDENTITIES_MAX].tolist()):
            if any(test(tables, row, value) for value in tables.headers(row, "Identity")):
                keep.append(at)
        chosen = hits.take(keep)
        for condition in also:
            more = tables.sightings_of(condition)
            chosen = Hits(*(_joined(a, b) for a, b in zip(_columns(chosen), _columns(more), strict=True)))
        return chosen

    return select


def _columns(hits: Hits) -> tuple[Any, ...]:
    return hits.call, hits.row, hits.other, hits.code, hits.value


def _joined(a: Any, b: Any) -> Any:
    return np.concatenate([a, b])


def _stale(tables: Tables, row: int, identity: str) -> bool:
    issued = passport(identity)[1].get("iat")
    now = tables.time_s(row)
    return now is not None and isinstance(issued, (int, float)) and abs(now - issued) > FRESH_S


def _other_number(tables: Tables, row: int, identity: str) -> bool:
    header, claims, _ = passport(identity)
    if not claims or header.get("ppt") == "div":
        return False
    caller = tables.user(row, "P-Asserted-Identity") or tables.user(row, "From")
    called = tables.user(row, "To")
    origin, targets = _numbers(claims.get("orig")), _numbers(claims.get("dest"))
    wrong_origin = bool(origin) and not any(_same_number(caller, tn) for tn in origin)
    return wrong_origin or (bool(targets) and not any(_same_number(called, tn) for tn in targets))


def faults(identity: str) -> list[str]:
    """What is wrong with a PASSporT's form (RFC 8225, 8588)."""
    header, claims, parameters = passport(identity)
    if not header or not claims:
        return ["it is no three-part token with JSON in it"]
    found = []
    if header.get("alg") != "ES256":
        found.append(f"alg is {header.get('alg')!r} and not ES256")
    if header.get("ppt") is not None and header.get("ppt") not in PASSPORTS:
        found.append(f"ppt is {header.get('ppt')!r}")
    x5u = header.get("x5u")
    if not isinstance(x5u, str) or not x5u.startswith("https://"):
        found.append("x5u is missing or not https")
    if isinstance(x5u, str) and parameters.get("info") and parameters["info"] != x5u:
        found.append("info and x5u name different certificates")
    found += [f"the claim {name} is missing" for name in ("iat", "orig", "dest") if name not in claims]
    return found


def _bad(tables: Tables, row: int, identity: str) -> bool:
    return bool(faults(identity))


def _identity_of(tables: Tables, row: int) -> str:
    return next(iter(tables.headers(row, "Identity")), "")


def _invite_of(tables: Tables, hit: Hit) -> int:
    """The signed INVITE: the hit's own row, or for a response the call's."""
    return int(tables.calls.invite_row[hit.call]) if int(tables.messages.status[hit.row]) else hit.row


def _claims(tables: Tables, hit: Hit) -> tuple[dict[str, Any], dict[str, Any]]:
    row = _invite_of(tables, hit)
    identity = _identity_of(tables, row) if row < len(tables.messages) else ""
    return passport(identity)[:2]


def _answered(tables: Tables, hit: Hit) -> str:
    return tables.start_line(hit.row) if int(tables.messages.status[hit.row]) else ""


def _explain_stale(tables: Tables, hit: Hit) -> Explanation:
    answer = _answered(tables, hit)
    if answer:
        return Explanation(f"The verifier answered {answer}.", [cited(tables, hit.row, "", answer)])
    issued, now = _claims(tables, hit)[1].get("iat"), tables.time_s(hit.row)
    apart = (now or 0) - float(issued if isinstance(issued, (int, float)) else 0)
    return Explanation(
        f"The PASSporT was issued {apart:.0f} s before the INVITE; verifiers accept {FRESH_S} s.", [cited(tables, hit.row, "Identity", f"iat {issued}")]
    )


def _explain_numbers(tables: Tables, hit: Hit) -> Explanation:
    _, claims = _claims(tables, hit)
    caller = tables.user(hit.row, "P-Asserted-Identity") or tables.user(hit.row, "From")
    return Explanation(
        f"The PASSporT is for {', '.join(_numbers(claims.get('orig')))} -> {', '.join(_numbers(claims.get('dest')))}, the INVITE for {caller} -> "
        f"{tables.user(hit.row, 'To')}.",
        [cited(tables, hit.row, "Identity", "orig, dest"), cited(tables, hit.row, "From", tables.header(hit.row, "From"))],
    )


def _explain_attest(tables: Tables, hit: Hit) -> Explanation:
    header, claims = _claims(tables, hit)
    level = claims.get("attest", "(none)")
    return Explanation(
        f"{tables.summary(hit.row)} is signed with attestation {level}, origid {claims.get('origid', '(none)')}, certificate {header.get('x5u', '(none)')}.",
        [cited(tables, hit.row, "Identity", f"attest {level}")],
        severity="low" if level == "C" else None,
    )


def _explain_bad(tables: Tables, hit: Hit) -> Explanation:
    answer = _answered(tables, hit)
    if answer:
        return Explanation(f"The verifier refused the Identity: {answer}.", [cited(tables, hit.row, "", answer)])
    return Explanation(
        f"The PASSporT in {tables.summary(hit.row)} is malformed: {'; '.join(faults(_identity_of(tables, hit.row)))}.",
        [cited(tables, hit.row, "Identity", "(token)")],
    )


def _explain_answer(sentence: str) -> Callable[[Tables, Hit], Explanation]:
    def explain(tables: Tables, hit: Hit) -> Explanation:
        line = tables.start_line(hit.row)
        return Explanation(sentence.format(line=line, what=tables.summary(hit.row), number=hit.value), [Evidence(
            message=hit.row + 1, time=tables.time_s(hit.row), summary=tables.summary(hit.row), header="Reason", value=tables.header(hit.row, "Reason"))])  # fmt: skip

    return explain


def _invalid(tables: Tables) -> Hits:
    """438 and 437 answers: the verifier could not validate the signature."""
    hits = tables.sightings_of("stir-bad-passport")
    return hits.take(hits.code == 438)


def _rule(id: str, severity: str, title: str, rfc: str, recommendation: str, explain: Callable[[Tables, Hit], Explanation],
          select: Callable[[Tables], Hits] | None = None, needs: tuple[str, ...] = ()) -> Rule:  # fmt: skip
    return Rule(id=id, severity=severity, category="security", title=title, rfc=rfc, recommendation=recommendation, explain=explain,
                select=select, needs=needs, confidence=0.85, symptoms=("call-setup-failing", "security"), escalates=False)  # fmt: skip


RULES: tuple[Rule, ...] = (
    _rule("stir-identity-missing", "medium", "Call without signed identity", "RFC 8224 6.2.2",
          "Sign calls on this trunk. Asterisk: stir_shaken, stir_shaken_profile; Kamailio: stirshaken module.",
          _explain_answer("{what} shows that a signed identity is wanted and missing ({line}).")),
    _rule("stir-stale", "high", "PASSporT too old or from the future", "RFC 8224 4, 6.2", "Synchronise clocks, and sign when the call is sent and not before.",
          _explain_stale, _each(_stale, "stir-stale"), ("stir-attest", "stir-stale")),
    _rule("stir-tn-mismatch", "high", "PASSporT is for other numbers", "RFC 8224 8.3", "Sign after the numbers are rewritten, or add a div PASSporT.", _explain_numbers,
          _each(_other_number), ("stir-attest",)),
    _rule("stir-attest", "info", "Attestation of the caller", "RFC 8588 4", "", _explain_attest),
    _rule("stir-bad-passport", "high", "PASSporT is malformed", "RFC 8225; RFC 8588; RFC 8946", "Correct the signing service: ES256, https x5u, iat, orig and dest are required.",
          _explain_bad, _each(_bad, "stir-bad-passport"), ("stir-attest", "stir-bad-passport")),
    _rule("stir-signature-invalid", "critical", "Signature does not verify", "RFC 8224 6.2", "Find what changes the signed values between signing and verifying, or the wrong key.",
          _explain_answer("The verifier says that the signature does not fit: {line}."), _invalid, ("stir-bad-passport",)),
    _rule("stir-cert", "high", "Signing certificate refused", "RFC 8226", "Check the certificate's validity, its TNAuthList and that x5u can be fetched.",
          _explain_answer("The verifier could not use the signer's certificate: {line}.")),
    _rule("verstat-untrusted", "high", "verstat without a signature", "3GPP 24.229", "Strip verstat from peers outside the trust domain.",
          _explain_answer("{what} carries verstat and no Identity, so nothing proves it.")),
)  # fmt: skip
