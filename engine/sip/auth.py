"""Digest authentication (RFC 3261 22, RFC 7616, RFC 8760), as who answers a challenge and as who makes one.

Neither side keeps a password where its digest will do. A server's nonces are stateless: a time and a tag over it, so that no flood of
strangers fills a table; what was used is remembered only for nonces that came back good, which is what a repeated nonce count is checked
against.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

import msgspec

from engine.sip.message import Message

# RFC 8760 2.3: the strongest first. The names are those of `algorithm`.
ALGORITHMS: Final = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}
NONCE_S: Final = 300.0
USED_MAX: Final = 16_384
STALE_MAX: Final = 3
VALUE_MAX_CHARS: Final = 4096
_PARAMETER: Final = re.compile(r'\s*([A-Za-z0-9!#$%&\'*+.^_`|~-]{1,64})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))\s*(?:,|\Z)')
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
Qop = Literal["", "auth", "auth-int"]


class BadAuthorization(ValueError):
    """A challenge or an answer to one that cannot be read."""


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """A WWW-Authenticate or Proxy-Authenticate value. `algorithm` as it was written, "" for none, which means MD5."""

    realm: str
    nonce: str
    opaque: str | None = None
    algorithm: str = ""
    qop: tuple[str, ...] = ()
    stale: bool = False

    @property
    def supported(self) -> bool:
        """Whether an answer can be computed: a known algorithm, and a quality of protection that we have or none."""
        name = (self.algorithm or "MD5").upper().removesuffix("-SESS")
        return name in ALGORITHMS and (not self.qop or bool({"auth", "auth-int"} & set(self.qop)))


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """An Authorization or Proxy-Authorization value. `nc` is the nonce count, 0 without qop."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str = ""
    cnonce: str = ""
    opaque: str | None = None
    qop: str = ""
    nc: int = 0


def parameters(value: str) -> dict[str, str]:
    """Parameters of a Digest value by lower-case name. Raises BadAuthorization for another scheme, a parameter that stands twice or is
    none, and for a value that is too long."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest" or len(value) > VALUE_MAX_CHARS:
        raise BadAuthorization("only Digest is taken, and not at any length")
    found: dict[str, str] = {}
    at = 0
    rest = rest.strip()
    while at < len(rest):
        matched = _PARAMETER.match(rest, at)
        if matched is None:
            raise BadAuthorization("a parameter of Digest is malformed")
        name = matched[1].lower()
        if name in found:
            raise BadAuthorization(f"{name} stands twice")
        found[name] = _ESCAPED.sub(r"\1", matched[2]) if matched[2] is not None else matched[3]
        at = matched.end()
    return found


def challenge_of(value: str) -> Challenge:
    """Reads a challenge. Raises BadAuthorization."""
    told = parameters(value)
    if "realm" not in told or "nonce" not in told:
        raise BadAuthorization("a challenge needs realm and nonce")
    qop = tuple(part.strip().lower() for part in told.get("qop", "").split(",") if part.strip())
    return Challenge(
        realm=told["realm"], nonce=told["nonce"], opaque=told.get("opaque"), algorithm=told.get("algorithm", ""), qop=qop,
        stale=told.get("stale", "").lower() == "true",
    )  # fmt: skip


def credentials_of(value: str) -> Credentials:
    """Reads an answer. Raises BadAuthorization."""
    told = parameters(value)
    if missing := [name for name in ("username", "realm", "nonce", "uri", "response") if name not in told]:
        raise BadAuthorization(f"{missing[0]} is missing")
    qop = told.get("qop", "").lower()
    count = told.get("nc", "")
    if qop and (not re.fullmatch(r"[0-9A-Fa-f]{8}", count) or not told.get("cnonce")):
        raise BadAuthorization("qop needs an nc of eight hexadecimal digits and a cnonce")
    return Credentials(
        username=told["username"], realm=told["realm"], nonce=told["nonce"], uri=told["uri"], response=told["response"].lower(),
        algorithm=told.get("algorithm", ""), cnonce=told.get("cnonce", ""), opaque=told.get("opaque"), qop=qop,
        nc=int(count, 16) if qop else 0,
    )  # fmt: skip


def next_nonce(value: str) -> str:
    """The nextnonce of an Authentication-Info value (RFC 7616 3.5), "" where there is none to be read."""
    try:
        return parameters(f"Digest {value}").get("nextnonce", "")
    except BadAuthorization:
        return ""


# ---- the digest ----


def _hash(algorithm: str, *parts: str | bytes) -> str:
    joined = b":".join(part if isinstance(part, bytes) else part.encode("utf-8", "surrogateescape") for part in parts)
    return hashlib.new(ALGORITHMS[algorithm], joined, usedforsecurity=False).hexdigest()


def secret_of(username: str, realm: str, password: str, algorithm: str = "MD5") -> str:
    """H(username:realm:password), which is kept instead of the password (RFC 7616 3.4.2). Raises KeyError for an unknown algorithm."""
    return _hash(algorithm.upper(), username, realm, password)


def response_of(
    secret: str, *, algorithm: str, nonce: str, method: str, uri: str, qop: Qop = "", nc: int = 0, cnonce: str = "", body: bytes = b""
) -> str:
    """The response of RFC 7616 3.4.1, or of RFC 2069 without qop. Raises KeyError for an unknown algorithm."""
    upper = (algorithm or "MD5").upper()
    name = upper.removesuffix("-SESS")
    first = _hash(name, secret, nonce, cnonce) if upper != name else secret
    second = _hash(name, method, uri, hashlib.new(ALGORITHMS[name], body, usedforsecurity=False).hexdigest()) if qop == "auth-int" else _hash(name, method, uri)
    if qop:
        return _hash(name, first, nonce, f"{nc:08x}", cnonce, qop, second)
    return _hash(name, first, nonce, second)


# ---- who answers ----


def chosen(values: Iterable[str]) -> Challenge | None:
    """The challenge to answer among those of one realm: the first that is supported, since the server sends its favourite first (RFC
    8760 2.4); None when there is none."""
    for value in values:
        try:
            challenge = challenge_of(value)
        except BadAuthorization:
            continue
        if challenge.supported:
            return challenge
    return None


class Client:
    """Who we are to one realm: answers challenges, and counts how often each nonce was used."""

    def __init__(self, username: str, password: str, *, random: Callable[[], str] = lambda: secrets.token_hex(16)) -> None:
        self._username = username
        self._password = password
        self._random = random
        self._challenge: Challenge | None = None
        self._count = 0
        self._unsettled = False  # an answer was given, and not accepted yet
        self._proven = False  # the nonce was good before
        self._stale_in_a_row = 0

    def take(self, challenge: Challenge) -> bool:
        """Takes a challenge over; whether it is worth to answer it. It is not when it refuses an answer that was given (22.1), unless
        that was only stale, and even then not for ever, or its nonce was good before and is used up now."""
        before, self._challenge = self._challenge, challenge
        if before is None or before.nonce != challenge.nonce:
            self._count = 0
        refused, self._unsettled = self._unsettled, False
        proven, self._proven = self._proven, False
        if not refused or proven:
            self._stale_in_a_row = 0
            return True
        self._stale_in_a_row += 1
        return challenge.stale and before is not None and before.nonce != challenge.nonce and self._stale_in_a_row <= STALE_MAX

    def accepted(self, nextnonce: str = "") -> None:
        """The answer was good: a later challenge means that the nonce is used up. `nextnonce` as Authentication-Info tells it."""
        self._unsettled = False
        self._proven = True
        self._stale_in_a_row = 0
        if nextnonce and self._challenge is not None:
            self._challenge = msgspec.structs.replace(self._challenge, nonce=nextnonce)
            self._count = 0

    def answer(self, method: str, uri: str, body: bytes = b"") -> str:
        """The value of Authorization or Proxy-Authorization for a request. Raises RuntimeError before the first challenge."""
        challenge = self._challenge
        if challenge is None:
            raise RuntimeError("there is no challenge to answer")
        self._unsettled = True
        algorithm = challenge.algorithm or "MD5"
        name = algorithm.upper().removesuffix("-SESS")
        secret = secret_of(self._username, challenge.realm, self._password, name)
        qop: Qop = "auth" if "auth" in challenge.qop else "auth-int" if "auth-int" in challenge.qop else ""
        cnonce = self._random() if qop or algorithm.upper().endswith("-SESS") else ""
        self._count += 1
        told = response_of(
            secret, algorithm=algorithm, nonce=challenge.nonce, method=method, uri=uri, qop=qop, nc=self._count, cnonce=cnonce, body=body
        )
        parts = [
            f"username={_quoted(self._username)}", f"realm={_quoted(challenge.realm)}", f"nonce={_quoted(challenge.nonce)}",
            f"uri={_quoted(uri)}", f'response="{told}"',
        ]  # fmt: skip
        if challenge.algorithm:
            parts.append(f"algorithm={challenge.algorithm}")
        if cnonce:
            parts.append(f"cnonce={_quoted(cnonce)}")
        if challenge.opaque is not None:
            parts.append(f"opaque={_quoted(challenge.opaque)}")
        if qop:
            parts += [f"qop={qop}", f"nc={self._count:08x}"]
        return "Digest " + ", ".join(parts)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# ---- who challenges ----

Verdict = Literal["good", "stale", "bad", "malformed"]


class Server:
    """Challenges of one realm. `secret_for(username, algorithm)` gives H(username:realm:password) of a user, None for nobody."""

    def __init__(
        self, realm: str, secret_for: Callable[[str, str], str | None], clock: Callable[[], float], *,
        algorithms: Sequence[str] = ("SHA-256", "MD5"), key: bytes | None = None,
    ) -> None:  # fmt: skip
        """`algorithms`, the favourite first, are all challenged with. `key` signs nonces; workers that share one take each other's."""
        if unknown := [name for name in algorithms if name not in ALGORITHMS]:
            raise ValueError(f"no such digest algorithm: {unknown[0]}")
        self.realm = realm
        self._secret_for = secret_for
        self._clock = clock
        self._algorithms = tuple(algorithms)
        self._key = key or secrets.token_bytes(32)
        self._used: OrderedDict[str, int] = OrderedDict()  # nonce -> highest count

    def challenges(self, *, stale: bool = False) -> list[str]:
        """Values of WWW-Authenticate, one an algorithm, of one nonce."""
        nonce = self._nonce()
        more = ", stale=true" if stale else ""
        return [f'Digest realm={_quoted(self.realm)}, nonce="{nonce}", algorithm={name}, qop="auth,auth-int"{more}' for name in self._algorithms]

    def _nonce(self) -> str:
        stem = f"{int(self._clock() * 1000):011x}{secrets.token_hex(6)}"
        return stem + self._tag(stem)

    def _tag(self, stem: str) -> str:
        return hmac.digest(self._key, stem.encode(), "sha256").hex()[:32]

    def _is_ours(self, nonce: str) -> bool:
        return len(nonce) == 55 and nonce.isascii() and hmac.compare_digest(self._tag(nonce[:23]), nonce[23:])

    def check(self, request: Message, header: str = "Authorization") -> tuple[Verdict, str]:
        """What an answer in a request is worth, and whose it is ("" unless good).

        "stale" is a right answer to a nonce that is too old or whose count was used: the user need not be asked again. Unknown users
        take as long as known ones. The digest's uri is not compared with the Request-URI, which proxies change on the way; each nonce
        and count is good once, so an answer cannot be used for another request.
        """
        verdicts: list[tuple[Verdict, str]] = []
        for value in request.values(header)[:8]:
            try:
                told = credentials_of(value)
            except BadAuthorization:
                verdicts.append(("malformed", ""))
                continue
            if told.realm == self.realm:
                verdicts.append(self._judged(told, request))
        for wanted in ("good", "stale", "malformed"):
            found = next((verdict for verdict in verdicts if verdict[0] == wanted), None)
            if found is not None:
                return found
        return "bad", ""

    def _judged(self, told: Credentials, request: Message) -> tuple[Verdict, str]:
        name = (told.algorithm or "MD5").upper()
        if name not in self._algorithms or told.qop not in ("auth", "auth-int", ""):
            return "bad", ""
        secret = self._secret_for(told.username, name)
        expected = response_of(
            secret if secret is not None else _hash(name, "nobody", self.realm, ""), algorithm=name, nonce=told.nonce, method=request.method,
            uri=told.uri, qop=told.qop, nc=told.nc, cnonce=told.cnonce, body=request.body,  # type: ignore[arg-type]
        )  # fmt: skip
        right = hmac.compare_digest(expected.encode(), told.response.encode("utf-8", "surrogateescape")) and secret is not None
        if not right or not self._is_ours(told.nonce) or (told.qop and not told.nc):
            return "bad", ""
        age_s = self._clock() - int(told.nonce[:11], 16) / 1000
        last = self._used.get(told.nonce)
        if not -1 <= age_s <= NONCE_S or (last is not None and told.nc <= last):
            return "stale", ""
        self._used[told.nonce] = told.nc
        self._used.move_to_end(told.nonce)
        while len(self._used) > USED_MAX:
            self._used.popitem(last=False)
        return "good", told.username


__all__ = [
    "ALGORITHMS", "BadAuthorization", "Challenge", "Client", "Credentials", "Server", "Verdict", "challenge_of", "chosen",
    "credentials_of", "next_nonce", "parameters", "response_of", "secret_of",
]  # fmt: skip
