"""TLS and DTLS handshakes of a trace, as far as they travel in clear.

The native pass keeps the first bytes of each direction (`events.bytes_offset`); here they become hello messages, certificates and
alerts (RFC 5246 §7, RFC 6347 §4, RFC 8446 §4). A certificate is parsed by the `cryptography` package; one that does not
parse is left out.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import msgspec
import numpy as np

from engine.trace.tables import Tables

EVENT_DTLS, EVENT_TLS, EVENT_TLS_ALERT = 10, 12, 13
HANDSHAKES_MAX = 4096
CLIENT_HELLO, SERVER_HELLO, CERTIFICATE, CERTIFICATE_REQUEST, FINISHED = 1, 2, 11, 13, 20
VERSIONS = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3",
            0xFEFF: "DTLS 1.0", 0xFEFD: "DTLS 1.2", 0xFEFC: "DTLS 1.3"}  # fmt: skip
ALERTS = {0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 40: "handshake_failure", 42: "bad_certificate",
          43: "unsupported_certificate", 44: "certificate_revoked", 45: "certificate_expired", 46: "certificate_unknown",
          47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error", 51: "decrypt_error",
          70: "protocol_version", 71: "insufficient_security", 80: "internal_error", 86: "inappropriate_fallback",
          112: "unrecognized_name", 116: "certificate_required", 120: "no_application_protocol"}  # fmt: skip
# cipher suites by what is wrong with them (IANA TLS Cipher Suites numbers)
NULL_OR_EXPORT = frozenset({*range(0x0000, 0x0004), 0x0006, 0x0008, 0x000B, 0x000E, 0x0011, 0x0014, 0x0017, 0x0018, 0x0019, 0x001A,
                            0x001B, 0x0034, 0x003A, 0x003B, 0x006C, 0x006D, 0xC001, 0xC006, 0xC00B, 0xC010, 0xC015})  # fmt: skip
RC4_OR_3DES = frozenset({0x0004, 0x0005, 0x000A, 0x000D, 0x0010, 0x0013, 0x0016, 0xC002, 0xC003, 0xC007, 0xC008, 0xC00C, 0xC00D,
                         0xC011, 0xC012, 0xC016, 0xC017})  # fmt: skip
RSA_EXCHANGE = frozenset({0x002F, 0x0035, 0x003C, 0x003D, 0x009C, 0x009D, 0x0041, 0x0084})
CBC_SHA1 = frozenset({0x0033, 0x0039, 0xC009, 0xC00A, 0xC013, 0xC014})


class Certificate(msgspec.Struct):
    """A leaf certificate: validity in UTC, the names it is for, whether issuer and subject are one."""

    subject: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    self_signed: bool
    fingerprints: dict[str, str]


class Handshake(msgspec.Struct):
    """One connection's handshake; `event` is the first event row. Versions are record numbers, 0 when not seen."""

    event: int
    client: int
    server: int
    time_ns: int
    dtls: bool = False
    server_name: str = ""
    offered_version: int = 0
    version: int = 0
    cipher: int = 0
    hello_seen: bool = False
    server_hello_seen: bool = False
    certificates: list[Certificate] = []
    certificate_requested: bool = False
    client_certificate: bool = False
    alerts: list[tuple[int, int]] = []
    application_seen: bool = False
    complete: bool = False


def handshakes(tables: Tables) -> list[Handshake]:
    """Every handshake of the trace, in order of arrival; read once."""
    cached: list[Handshake] | None = tables.__dict__.get("handshakes_cached")
    if cached is None:
        cached = _read(tables)
        tables.__dict__["handshakes_cached"] = cached
    return cached


def _read(tables: Tables) -> list[Handshake]:
    e = tables.events
    rows = np.flatnonzero(np.isin(e.kind, (EVENT_DTLS, EVENT_TLS, EVENT_TLS_ALERT)))[: HANDSHAKES_MAX * 4]
    found: dict[tuple[int, int], Handshake] = {}
    for row in rows.tolist():
        source, target = int(e.source[row]), int(e.target[row])
        dtls = int(e.kind[row]) == EVENT_DTLS
        key = (min(source, target), max(source, target))
        if key not in found:
            if len(found) >= HANDSHAKES_MAX:
                continue
            found[key] = Handshake(row, source, target, int(e.time_ns[row]), dtls)
        shake = found[key]
        if int(e.kind[row]) == EVENT_TLS_ALERT:
            value = int(e.value[row])
            shake.alerts = [*shake.alerts, (value >> 8, value & 255)] if value else shake.alerts
            continue
        length = int(e.bytes_length[row])
        if length:
            _take(shake, tables.trace.arena_bytes(int(e.bytes_offset[row]), length), source)
    return list(found.values())


def _take(shake: Handshake, flight: bytes, source: int) -> None:
    header = 13 if shake.dtls else 5
    stream = bytearray()
    at = 0
    while at + header <= len(flight):
        kind = flight[at]
        length = int.from_bytes(flight[at + header - 2 : at + header], "big")
        record = flight[at + header : at + header + length]
        if kind == 22:
            if shake.dtls:
                _messages(shake, _undatagrammed(record), source)
            else:
                stream += record
        elif kind == 21 and len(record) == 2:
            shake.alerts = [*shake.alerts, (record[0], record[1])]
        elif kind == 23:
            shake.application_seen = True
        elif kind == 20:
            shake.complete = True
        at += header + length
    if stream:
        _messages(shake, bytes(stream), source)


def _undatagrammed(record: bytes) -> bytes:
    """DTLS handshake messages with their 12-byte headers turned into TLS ones; only whole ones are kept."""
    out, at = bytearray(), 0
    while at + 12 <= len(record):
        total = int.from_bytes(record[at + 1 : at + 4], "big")
        offset = int.from_bytes(record[at + 6 : at + 9], "big")
        length = int.from_bytes(record[at + 9 : at + 12], "big")
        if offset == 0 and (length == total or record[at] == CERTIFICATE):
            out += record[at : at + 1] + length.to_bytes(3, "big") + record[at + 12 : at + 12 + length]
        at += 12 + length
    return bytes(out)


def _messages(shake: Handshake, stream: bytes, source: int) -> None:
    at = 0
    while at + 4 <= len(stream):
        kind, length = stream[at], int.from_bytes(stream[at + 1 : at + 4], "big")
        body = stream[at + 4 : at + 4 + length]
        if kind == CLIENT_HELLO:
            shake.client, shake.server = (source, shake.server if source == shake.client else shake.client)
            _client_hello(shake, body)
        elif kind == SERVER_HELLO and len(body) >= 38:
            _server_hello(shake, body)
        elif kind == CERTIFICATE:
            _certificates(shake, body, source)
        elif kind == CERTIFICATE_REQUEST:
            shake.certificate_requested = True
        elif kind > 24:
            return  # encrypted from here on
        at += 4 + length


def _client_hello(shake: Handshake, body: bytes) -> None:
    shake.hello_seen = True
    if len(body) < 38:
        return
    shake.offered_version = int.from_bytes(body[0:2], "big")
    at = 35 + body[34]
    if shake.dtls and at < len(body):
        at += 1 + body[at]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + (body[at] if at < len(body) else 0)
    for kind, extension in _extensions(body, at):
        if kind == 0 and len(extension) > 5:
            shake.server_name = extension[5:].decode("ascii", "replace")
        elif kind == 43 and len(extension) > 2:
            offered = [int.from_bytes(extension[i : i + 2], "big") for i in range(1, len(extension) - 1, 2)]
            known = [version for version in offered if version in VERSIONS]
            best = min(known) if shake.dtls and known else max(known, default=0)
            shake.offered_version = best or shake.offered_version


def _server_hello(shake: Handshake, body: bytes) -> None:
    shake.server_hello_seen = True
    shake.version = int.from_bytes(body[0:2], "big")
    at = 35 + body[34]
    shake.cipher = int.from_bytes(body[at : at + 2], "big")
    for kind, extension in _extensions(body, at + 3):
        if kind == 43 and len(extension) >= 2:
            shake.version = int.from_bytes(extension[:2], "big")


def _extensions(body: bytes, at: int) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    at += 2
    while at + 4 <= len(body) and len(found) < 64:
        kind, length = int.from_bytes(body[at : at + 2], "big"), int.from_bytes(body[at + 2 : at + 4], "big")
        found.append((kind, body[at + 4 : at + 4 + length]))
        at += 4 + length
    return found


def _certificates(shake: Handshake, body: bytes, source: int) -> None:
    total = int.from_bytes(body[0:3], "big")
    if source == shake.client:
        shake.client_certificate = total > 0
        return
    length = int.from_bytes(body[3:6], "big")
    certificate = _certificate(body[6 : 6 + length])
    if certificate is not None:
        shake.certificates = [*shake.certificates, certificate]


def _certificate(der: bytes) -> Certificate | None:
    # only a trace that holds certificates pays for loading the library
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        parsed = x509.load_der_x509_certificate(der)
        try:
            extension = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            names = [str(name) for name in extension.get_values_for_type(x509.DNSName)]
            names += [str(name) for name in extension.get_values_for_type(x509.IPAddress)]
            names += [uri.split(":", 1)[-1] for uri in extension.get_values_for_type(x509.UniformResourceIdentifier)]
        except x509.ExtensionNotFound:
            names = [str(item.value) for item in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        return Certificate(
            subject=parsed.subject.rfc4514_string(), names=tuple(names), not_before=parsed.not_valid_before_utc,
            not_after=parsed.not_valid_after_utc, self_signed=parsed.issuer == parsed.subject,
            fingerprints={name: hashlib.new(name, der).hexdigest() for name in ("sha1", "sha256", "sha384", "sha512")},
        )  # fmt: skip
    except (ValueError, TypeError):
        return None


def captured_at(shake: Handshake) -> datetime:
    """When the handshake was seen, UTC."""
    return datetime.fromtimestamp(shake.time_ns / 1e9, UTC)


def name_matches(pattern: str, name: str) -> bool:
    """Whether a certificate's DNS name covers a host name (RFC 6125: one wildcard as the whole leftmost label)."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if pattern.startswith("*."):
        return "." in name and name.split(".", 1)[1] == pattern[2:]
    return pattern == name
