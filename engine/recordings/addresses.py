"""Addresses of those who took part, as metadata has them."""

from __future__ import annotations


def address_of(aor: str) -> tuple[str, str]:
    """User and host of an address of record: sip:user@host;parameters, tel:number, or whatever else was written."""
    text = aor.strip().strip("<>")
    scheme, colon, rest = text.partition(":")
    if colon and scheme.lower() in ("sip", "sips", "tel"):
        text = rest
    text = text.partition(";")[0].partition("?")[0]
    user, at, host = text.rpartition("@")
    if at:
        return user, host
    return (text, "") if text.lstrip("+").isdigit() or scheme.lower() == "tel" else ("", text)


__all__ = ["address_of"]
