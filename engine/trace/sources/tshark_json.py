"""tshark `-T json` and `-T jsonraw`, also with `-x`: exact bytes in `sip_raw` where it is there, else start line,
headers and body from their fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from engine.trace import rows
from engine.trace.framing import pieces
from engine.trace.sources.base import Format, Frame, Options, join
from engine.trace.stamps import epoch_ns


def _frames(data: bytes, options: Options) -> Iterator[Frame]:
    for offset, value in rows.objects(data, options):
        source = value.get("_source")
        layers = source.get("layers") if isinstance(source, dict) else value.get("layers")
        if isinstance(layers, dict):
            yield from dissected(layers, offset, options, "")


def dissected(layers: dict[str, Any], offset: int, options: Options, stem: str) -> Iterator[Frame]:
    """The messages of one dissected packet. `stem` is what stands before a field's name, "%s_" for `-T ek`."""

    def field(layer: str, name: str) -> str | None:
        found = last(layers.get(layer))
        if not isinstance(found, dict):
            return None
        key = f"{layer}.{name}" if not stem else f"{layer}_{layer}_{name.replace('.', '_')}"
        return leaf(found.get(key))

    moment = when(field("frame", "time_epoch"))
    carrier = next(
        (name for name in ("udp", "tcp", "sctp") if name in layers or f"{name}_raw" in layers), None
    )
    ends: list[str | None] = []
    for side in ("src", "dst"):
        host = field("ip", side) or field("ipv6", side) or _raw_address(layers, side)
        port = field(carrier, f"{side}port") if carrier else None
        ends.append(join(host, port or _raw_port(layers, carrier, side)))
    shown = carrier.upper() if carrier else None
    if carrier == "tcp" and ("tls" in layers or "ssl" in layers):
        shown = "TLS"
    texts = list(_raw(layers)) or list(_told(layers, stem))
    for text in texts:
        for piece in pieces(text, 0, len(text), options.max_message_bytes, options.note_at(offset)):
            yield Frame(piece.text, moment, ends[0], ends[1], shown, 0, offset)


def when(value: str | None) -> int | None:
    """Nanoseconds of `frame.time_epoch`: decimal seconds, or RFC 3339 from newer versions."""
    if value is None:
        return None
    return epoch_ns(value) or Options().clock().find(value.encode())[0]


def last(value: Any) -> Any:
    """The innermost of layers of one name."""
    return value[-1] if isinstance(value, list) and value else value


def leaf(value: Any) -> str | None:
    """A field's text; the first where it occurs more than once."""
    while isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, str) else None


def _raw(layers: dict[str, Any]) -> Iterator[bytes]:
    """Exact bytes: `sip_raw` is ["hex", position, length, ...], or a list of such."""
    found = layers.get("sip_raw")
    if not isinstance(found, list) or not found:
        return
    for entry in found if isinstance(found[0], list) else [found]:
        digits = leaf(entry)
        if digits is None:
            continue
        try:
            yield bytes.fromhex(digits)
        except ValueError:
            continue


def _told(layers: dict[str, Any], stem: str) -> Iterator[bytes]:
    found = layers.get("sip")
    for layer in found if isinstance(found, list) else [found]:
        if not isinstance(layer, dict):
            continue
        before = "sip_sip_" if stem else "sip."
        first = leaf(layer.get(before + "Request-Line")) or leaf(layer.get(before + "Status-Line"))
        headers = leaf(layer.get(before + "msg_hdr"))
        if first is None:
            continue
        text = rows.text_of(first).rstrip(b"\r\n") + b"\r\n" + rows.text_of(headers or "")
        if b"\r\n\r\n" not in text:
            text += b"\r\n" if text.endswith(b"\r\n") else b"\r\n\r\n"
        if text.endswith(b"\r\n\r\n"):
            body = leaf(layer.get(before + "msg_body"))
            text += _body(body) if body else b""
        yield text


def _body(value: str) -> bytes:
    """A body printed as characters, or as hex pairs between colons."""
    if re.fullmatch(r"(?:[0-9a-f]{2}:)+[0-9a-f]{2}", value):
        return bytes.fromhex(value.replace(":", ""))
    return rows.text_of(value)


def _raw_address(layers: dict[str, Any], side: str) -> str | None:
    raw = leaf(layers.get("ip_raw"))
    if raw is not None and len(raw) >= 40:
        part = raw[24:32] if side == "src" else raw[32:40]
        return ".".join(str(int(part[i : i + 2], 16)) for i in (0, 2, 4, 6)) if _is_hex(part) else None
    raw = leaf(layers.get("ipv6_raw"))
    if raw is not None and len(raw) >= 80:
        part = raw[16:48] if side == "src" else raw[48:80]
        return ":".join(part[i : i + 4] for i in range(0, 32, 4)) if _is_hex(part) else None
    return None


def _raw_port(layers: dict[str, Any], carrier: str | None, side: str) -> str | None:
    raw = leaf(layers.get(f"{carrier}_raw"))
    if raw is None or len(raw) < 8:
        return None
    part = raw[:4] if side == "src" else raw[4:8]
    return str(int(part, 16)) if _is_hex(part) else None


def _is_hex(text: str) -> bool:
    return re.fullmatch(r"[0-9a-fA-F]+", text) is not None


def _sniff(head: bytes) -> float:
    return 0.95 if head.lstrip()[:1] in (b"[", b"{") and b'"_source"' in head and b'"layers"' in head else 0.0


FORMAT = Format("tshark_json", (".json",), "tshark JSON", _sniff, _frames, structured=True)
