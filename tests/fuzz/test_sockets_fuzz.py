"""What strangers send to the sockets of live calls: any text, any query, any origin. It is understood or refused, and nothing else happens."""

from __future__ import annotations

import json
import random
from urllib.parse import quote_plus

from api.sockets.connection import (
    ID_MAX_CHARS,
    INBOUND_MAX_BYTES,
    Asked,
    Malformed,
    asked_of,
    is_own_origin,
    query_of,
)

WORDS = [
    '{"type":', '"subscribe"', '"ping"', ',"call_id":', '"a"', "null", "}", "{", "[", "]", '"', "\\u0000", "\\ud800", "\x00", "\u2028", "é", "😀", "1e999", "-", ",",
    '"type":"ping"', "\\", "NaN", " " * 50, "[" * 60, "x" * 120,
]  # fmt: skip
QUERY_WORDS = ["call_id=", "call_uuid=", "session_id=", "token=", "&", "=", ";", "%00", "%ff", "%", "%zz", "+", "a", "x" * 70, "%0d%0a", "é", "#", "?", "%20"]
ORIGIN_WORDS = ["http", "https", "://", ":", "/", "@", "[", "]", "::1", "localhost", "127.0.0.1", "evil.example", ":80", ":443", ":8080", "null", "\x00", " ", "%", "."]


def made(chance: random.Random, words: list[str]) -> str:
    return "".join(chance.choice(words) for _ in range(chance.randrange(1, 14)))


def test_any_message_is_understood_or_malformed() -> None:
    chance = random.Random(20)
    understood = 0
    for turn in range(40_000):
        text = made(chance, WORDS)
        if turn % 4 == 0:
            whole = list('{"type": "subscribe", "call_id": "B2B.160@h", "more": [1, {"a": null}]}')
            for _ in range(chance.randrange(1, 4)):
                whole[chance.randrange(len(whole))] = chance.choice(WORDS)
            text = "".join(whole)
        try:
            asked = asked_of({"text": text})
        except Malformed:
            continue
        understood += 1
        assert isinstance(asked, Asked)
        assert json.loads(text)["type"] == asked.type
        assert len(text.encode()) <= INBOUND_MAX_BYTES
    assert understood > 1000


def test_any_query_gives_ids_that_can_be_shown_or_is_malformed() -> None:
    chance = random.Random(21)
    understood = 0
    for _ in range(40_000):
        query = made(chance, QUERY_WORDS)
        try:
            ids = query_of(query.encode())
        except Malformed:
            continue
        understood += 1
        for one in ids:
            assert len(one) <= ID_MAX_CHARS
            assert one.isprintable()
            assert " " not in one
    assert understood > 1000
    for call_id in ("B2B.160.1762863004.937031301", "a@[2001:db8::1]", "+/=", "ünï"):
        assert query_of(f"call_id={quote_plus(call_id)}&token=x".encode()) == (call_id, "")


def test_no_origin_but_our_own_and_those_of_the_configuration_passes() -> None:
    chance = random.Random(22)
    for _ in range(40_000):
        origin = made(chance, ORIGIN_WORDS)
        headers = [(b"host", b"voice.example:8080"), (b"origin", origin.encode())]
        assert not is_own_origin(headers, []), origin
    passing = [
        ("http://voice.example:8080", "voice.example:8080"), ("https://voice.example", "voice.example"), ("https://voice.example", "voice.example:443"),
        ("http://voice.example:80", "voice.example"), ("http://VOICE.example:8080", "voice.EXAMPLE:8080"), ("http://[::1]:8080", "[::1]:8080"),
    ]  # fmt: skip
    for origin, host in passing:
        assert is_own_origin([(b"host", host.encode()), (b"origin", origin.encode())], []), origin
    assert is_own_origin([(b"host", b"a")], [])
    assert is_own_origin([(b"host", b"a"), (b"origin", b"https://Console.example:8443")], ["console.EXAMPLE"])
    for origin in ("http://voice.example", "https://voice.example:8080@evil", "http://voice.example:8080.evil", "http://voice.example:80800"):
        assert not is_own_origin([(b"host", b"voice.example:8080"), (b"origin", origin.encode())], []), origin
