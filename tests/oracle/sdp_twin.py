"""Session descriptions in plain Python, written from the RFCs and from c/sdp.h, not from the kernel: whole lines,
whole words, one section after the other. Tests hold the kernel's answers against it, field by field."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from engine._native import sdp, sip
from engine._native.sdp import (
    Candidate,
    CryptoSuite,
    Direction,
    Flag,
    FormatFlag,
    MediaType,
    Proto,
    Setup,
    Trait,
)

WORD = re.compile(rb"[^ \t]+")
INT64_MAX = 2**63 - 1
WORD_MASK = 2**64 - 1
SINGLE = b"vosiuk"
SESSION_RANK = {
    ord(letter): rank
    for rank, letters in enumerate(("v", "o", "s", "i", "u", "e", "p", "c", "b", "trz", "k", "a", "m"), 1)
    for letter in letters
}
MEDIA_RANK = {ord(letter): rank for rank, letter in enumerate("micbka", 1)}
MEDIA_TYPES = {
    b"audio": MediaType.AUDIO, b"video": MediaType.VIDEO, b"image": MediaType.IMAGE,
    b"application": MediaType.APPLICATION, b"text": MediaType.TEXT, b"message": MediaType.MESSAGE,
}  # fmt: skip
PROTOS = {
    b"rtp/avp": Proto.RTP_AVP, b"rtp/savp": Proto.RTP_SAVP, b"rtp/avpf": Proto.RTP_AVPF,
    b"rtp/savpf": Proto.RTP_SAVPF, b"udp/tls/rtp/savp": Proto.UDP_TLS_RTP_SAVP,
    b"udp/tls/rtp/savpf": Proto.UDP_TLS_RTP_SAVPF, b"udptl": Proto.UDPTL, b"udp": Proto.UDP, b"tcp": Proto.TCP,
    b"tcp/msrp": Proto.TCP_MSRP, b"tcp/tls/msrp": Proto.TCP_MSRP, b"udp/dtls/sctp": Proto.DTLS_SCTP,
    b"tcp/dtls/sctp": Proto.DTLS_SCTP, b"dtls/sctp": Proto.DTLS_SCTP, b"udp/tls/udptl": Proto.TLS_UDPTL,
}  # fmt: skip
# payload type: codec, clock, channels (RFC 3551 tables 4 and 5)
STATIC = {
    0: ("PCMU", 8000, 1), 2: ("G721", 8000, 1), 3: ("GSM", 8000, 1), 4: ("G723", 8000, 1), 5: ("DVI4", 8000, 1),
    6: ("DVI4", 16000, 1), 7: ("LPC", 8000, 1), 8: ("PCMA", 8000, 1), 9: ("G722", 8000, 1), 10: ("L16", 44100, 2),
    11: ("L16", 44100, 1), 12: ("QCELP", 8000, 1), 13: ("CN", 8000, 1), 14: ("MPA", 90000, 1), 15: ("G728", 8000, 1),
    16: ("DVI4", 11025, 1), 17: ("DVI4", 22050, 1), 18: ("G729", 8000, 1), 19: ("CN", 8000, 1), 25: ("", 90000, 1),
    26: ("", 90000, 1), 28: ("", 90000, 1), 31: ("H261", 90000, 1), 32: ("", 90000, 1), 33: ("", 90000, 1),
    34: ("H263", 90000, 1),
}  # fmt: skip
CODECS = {name.lower().encode(): number for number, name in enumerate(sdp.CODECS) if name}
CODECS |= dict.fromkeys((b"g729a", b"g729b", b"g729ab"), CODECS[b"g729"])
SUITES = {
    b"aes_cm_128_hmac_sha1_80": (CryptoSuite.AES_CM_128_SHA1_80, 40),
    b"aes_cm_128_hmac_sha1_32": (CryptoSuite.AES_CM_128_SHA1_32, 40),
    b"f8_128_hmac_sha1_80": (CryptoSuite.F8_128_SHA1_80, 40),
    b"aes_192_cm_hmac_sha1_80": (CryptoSuite.AES_192_CM_SHA1_80, 51),
    b"aes_192_cm_hmac_sha1_32": (CryptoSuite.AES_192_CM_SHA1_32, 51),
    b"aes_256_cm_hmac_sha1_80": (CryptoSuite.AES_256_CM_SHA1_80, 62),
    b"aes_256_cm_hmac_sha1_32": (CryptoSuite.AES_256_CM_SHA1_32, 62),
    b"aes_cm_256_hmac_sha1_80": (CryptoSuite.AES_256_CM_SHA1_80, 62),
    b"aes_cm_256_hmac_sha1_32": (CryptoSuite.AES_256_CM_SHA1_32, 62),
    b"aead_aes_128_gcm": (CryptoSuite.AEAD_AES_128_GCM, 38),
    b"aead_aes_256_gcm": (CryptoSuite.AEAD_AES_256_GCM, 59),
    b"null_hmac_sha1_80": (CryptoSuite.NULL_SHA1_80, 40),
}
DIRECTIONS = {
    b"sendrecv": Direction.SENDRECV, b"sendonly": Direction.SENDONLY, b"recvonly": Direction.RECVONLY,
    b"inactive": Direction.INACTIVE,
}  # fmt: skip
SETUPS = {
    b"active": Setup.ACTIVE, b"passive": Setup.PASSIVE, b"actpass": Setup.ACTPASS, b"holdconn": Setup.HOLDCONN,
}  # fmt: skip
PLAIN_TRAITS = {
    b"rtcp-mux": Trait.RTCP_MUX, b"rtcp-mux-only": Trait.RTCP_MUX | Trait.RTCP_MUX_ONLY, b"rtcp-rsize": Trait.RTCP_RSIZE,
    b"ice-lite": Trait.ICE_LITE, b"ice-ufrag": Trait.ICE, b"ice-mismatch": Trait.ICE_MISMATCH,
    b"record": Trait.RECORD, b"altc": Trait.ALTC,
}  # fmt: skip
KINDS = {b"host": Candidate.HOST, b"srflx": Candidate.SRFLX, b"prflx": Candidate.PRFLX, b"relay": Candidate.RELAY}
INHERITED = Trait.ICE | Trait.ICE_LITE | Trait.ICE_MISMATCH | Trait.FINGERPRINT | Trait.RECORD
NOWHERE = sip.parse_address_literal(b"")


# ---- words, numbers, hashes ----


def words(text: bytes) -> list[bytes]:
    return WORD.findall(text)


def number(word: bytes) -> int:
    """Decimal that is the whole word, saturating as an int64 does; -1 when it is none."""
    if not word or word.strip(b"0123456789"):
        return -1
    digits = word.lstrip(b"0") or b"0"
    return INT64_MAX if len(digits) > 19 else min(int(digits), INT64_MAX)


def mixed(a: int, b: int) -> int:
    product = a * b
    return (product ^ product >> 64) & WORD_MASK


def hashed(text: bytes, seed: int = 0, folded: bool = False) -> int:
    """sip_hash and sip_hash_folded of c/sip.h."""
    a_key, b_key, c_key = 0x9E3779B97F4A7C15, 0xD1342543DE82EF95, 0xAF251AF3B0F025B5
    text = text.lower() if folded else text
    total, state = len(text), mixed(seed ^ a_key, b_key)

    def load(at: int) -> int:
        return int.from_bytes(text[at : at + 8], "little")

    at = 0
    while total - at > 16:
        state = mixed(load(at) ^ c_key ^ state, load(at + 8) ^ b_key)
        at += 16
    first = load(at)
    last = load(total - 8) if total - at >= 8 else 0
    return mixed(mixed(first ^ c_key ^ state, last ^ b_key) ^ a_key, total ^ c_key)


# ---- one level ----


@dataclass
class Level:
    """What a section (or the session) says for itself."""

    flags: Flag = field(default_factory=lambda: Flag(0))
    traits: Trait = field(default_factory=lambda: Trait(0))
    direction: Direction = Direction.NONE
    setup: Setup = Setup.NONE
    fingerprint: int = 0
    hosts: list[bytes] = field(default_factory=list)
    address: sip.Literal = NOWHERE
    start: int = 0
    line: bytes = b""
    times: dict[bytes, int] = field(default_factory=dict)
    bandwidths: dict[bytes, int] = field(default_factory=dict)
    names: dict[bytes, bytes] = field(default_factory=dict)
    rtcp_port: int = 0
    crypto_count: int = 0
    suites: CryptoSuite = field(default_factory=lambda: CryptoSuite(0))
    key_hash: int = 0
    candidate_count: int = 0
    candidates: Candidate = field(default_factory=lambda: Candidate(0))
    mappings: list[tuple[int, bytes, int, int]] = field(default_factory=list)
    parameters: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Reader:
    """The whole description; `levels[0]` is the session's."""

    levels: list[Level] = field(default_factory=lambda: [Level()])
    once: dict[int, tuple[int, int, bytes]] = field(default_factory=dict)
    bundle: list[bytes] = field(default_factory=list)
    rank: int = 0
    lines: int = 0
    valid: int = 0

    @property
    def level(self) -> Level:
        return self.levels[-1]

    @property
    def in_media(self) -> bool:
        return len(self.levels) > 1


def network_is_sound(network: bytes, kind: bytes, address: sip.Literal) -> bool:
    if network.lower() != b"in" or kind.lower() not in (b"ip4", b"ip6"):
        return False
    return address.kind == sip.AddressClass.NAME or address.family == int(kind[2:])


def connection(level: Level, value: bytes) -> None:
    found = words(value)
    network, kind, whole = (*found, b"", b"", b"")[:3]
    host, slash, behind = whole.partition(b"/")
    address = sip.parse_address_literal(host)
    sound = len(found) == 3 and network_is_sound(network, kind, address)
    if address.kind != sip.AddressClass.MULTICAST:
        sound = sound and not slash
    elif address.family == 6:
        sound = sound and (not slash or number(behind) > 0)
    else:
        ttl, more, count = behind.partition(b"/")
        sound = sound and 0 <= number(ttl) <= 255 and (not more or number(count) > 0)
    if not sound:
        level.flags |= Flag.BAD_CONNECTION
    level.hosts.append(host)
    if len(level.hosts) == 1:
        level.address = address


def crypto_key_is_sound(level: Level, key: bytes, letters: int) -> bool:
    if len(key) < 8 or key[:7].lower() != b"inline:":
        return False
    secret, *more = key[7:].split(b"|")
    if secret and not level.key_hash:
        level.key_hash = hashed(secret) | 1
    bare = secret[:-2] if secret.endswith(b"==") else secret[:-1] if secret.endswith(b"=") else secret
    sound = len(bare) == letters if letters else len(bare) > 0
    for part in more:
        if b":" in part:
            mki, _, length = part.partition(b":")
            sound = sound and number(mki) >= 0 and 1 <= number(length) <= 128
        elif part.startswith(b"2^") and len(part) > 2:
            sound = sound and 0 <= number(part[2:]) <= 48
        else:
            sound = sound and 1 <= number(part) <= 2**48
    return sound and len(more) <= 2


def crypto(level: Level, value: bytes) -> None:
    found = words(value)
    level.crypto_count += 1
    if len(found) < 3:
        level.flags |= Flag.CRYPTO_BAD
        return
    suite, letters = SUITES.get(found[1].lower(), (CryptoSuite.UNKNOWN, 0))
    level.suites |= suite
    sound = [crypto_key_is_sound(level, key, letters) for key in found[2].split(b";")]
    if not all(sound) or not 0 <= number(found[0]) <= 999_999_999:
        level.flags |= Flag.CRYPTO_BAD
    if any(len(word) > 12 and word.lower().startswith(b"unencrypted_") for word in found[3:]):
        level.suites |= CryptoSuite.UNENCRYPTED


def candidate(level: Level, value: bytes) -> None:
    level.candidate_count += 1
    level.traits |= Trait.ICE
    found = words(value)
    if (
        len(found) < 8
        or len(found[0]) > 32
        or not 1 <= number(found[1]) <= 256
        or not 1 <= number(found[3]) < 2**31
        or not 1 <= number(found[5]) <= 65535
        or found[6].lower() != b"typ"
    ):
        level.flags |= Flag.CANDIDATE_BAD
        return
    if number(found[1]) != 1 or found[2].lower() != b"udp":
        return
    address = sip.parse_address_literal(found[4])
    if address.kind == sip.AddressClass.INVALID:
        level.flags |= Flag.CANDIDATE_BAD
        return
    kind = KINDS.get(found[7].lower(), Candidate(0))
    level.candidates |= kind
    if kind == Candidate.HOST and address.kind == sip.AddressClass.PUBLIC:
        level.candidates |= Candidate.HOST_PUBLIC
    if sip.AddressClass.PRIVATE <= address.kind <= sip.AddressClass.LOOPBACK:
        level.candidates |= Candidate.PRIVATE
    if address.kind == sip.AddressClass.NAME and len(found[4]) > 6 and found[4].lower().endswith(b".local"):
        level.candidates |= Candidate.MDNS


def time(level: Level, name: bytes, value: bytes) -> None:
    word = (*words(value), b"")[0]
    whole, point, fraction = word.partition(b".")
    value_ms = number(whole)
    if not 1 <= value_ms <= 65535 or (point and number(fraction) < 0):
        level.flags |= Flag.PTIME_BAD
    value_ms = max(0, min(value_ms, 65535))
    if level.times.setdefault(name, value_ms) != value_ms:
        level.flags |= Flag.PTIME_REPEATED


def rtpmap(level: Level, value: bytes) -> None:
    found = words(value)
    payload_type = number(found[0]) if found else -1
    encoding = found[1] if len(found) > 1 else b""
    name, slash, rest = encoding.partition(b"/")
    clock_text, second, channel_text = rest.partition(b"/")
    clock = number(clock_text)
    clock = clock if 0 < clock < 2**32 else 0
    channels = number(channel_text) if second else 1
    if not name or not slash or not clock or not 1 <= channels <= 255:
        level.flags |= Flag.RTPMAP_BAD
    if len(found) > 2 or not 0 <= payload_type <= 127:
        level.flags |= Flag.RTPMAP_BAD
    if name and 0 <= payload_type <= 127:
        level.mappings.append((payload_type, name, clock, channels if 1 <= channels <= 255 else 1))


def attribute(reader: Reader, text: bytes) -> None:
    level = reader.level
    name, _, value = text.rstrip(b" \t").partition(b":")
    value = value.lstrip(b" \t")
    if name in DIRECTIONS:
        if level.direction and level.direction != DIRECTIONS[name]:
            level.flags |= Flag.DIRECTION_REPEATED
        level.direction = level.direction or DIRECTIONS[name]
    elif name in PLAIN_TRAITS:
        level.traits |= PLAIN_TRAITS[name]
    elif name == b"setup":
        level.setup = level.setup or SETUPS.get(value.lower(), Setup.NONE)
    elif name == b"fingerprint" and value and Trait.FINGERPRINT not in level.traits:
        level.traits |= Trait.FINGERPRINT
        level.fingerprint = hashed(value, folded=True) | 1
    elif name == b"group" and not reader.in_media:
        kind, *mids = words(value) or [b""]
        reader.bundle += mids if kind.lower() == b"bundle" else []
    elif name == b"crypto" and not reader.in_media:
        level.flags |= Flag.CRYPTO_BAD
    elif reader.in_media:
        media_attribute(level, name, value)


def media_attribute(level: Level, name: bytes, value: bytes) -> None:
    if name == b"rtpmap":
        rtpmap(level, value)
    elif name == b"fmtp":
        fmtp(level, value)
    elif name in (b"ptime", b"maxptime"):
        time(level, name, value)
    elif name == b"rtcp":
        port = number((*words(value), b"")[0])
        if not 0 <= port <= 65535:
            level.flags |= Flag.PORT_BAD
        elif Trait.RTCP not in level.traits:
            level.rtcp_port = port
        level.traits |= Trait.RTCP
    elif name == b"crypto":
        crypto(level, value)
    elif name == b"candidate":
        candidate(level, value)
    elif name in (b"mid", b"label"):
        level.traits |= Trait.MID if name == b"mid" else Trait.LABEL
        level.names.setdefault(name, value)


def formats_of(level: Level) -> tuple[list[bytes], bool]:
    """Words behind the proto, and whether they are payload types."""
    found = words(level.line)
    proto = found[2].lower() if len(found) > 2 else b""
    kind = PROTOS.get(proto, Proto.OTHER)
    rtp = Proto.RTP_AVP <= kind <= Proto.UDP_TLS_RTP_SAVPF
    if kind == Proto.OTHER and b"/" in proto:
        rtp = proto.rpartition(b"/")[2] in (b"avp", b"savp", b"avpf", b"savpf")
    return found[3:], rtp


def fmtp(level: Level, value: bytes) -> None:
    formats, rtp = formats_of(level)
    if not rtp:
        return
    first = WORD.search(value)
    payload_type = number(first[0]) if first else -1
    parameters = value[first.end() :].strip(b" \t") if first else b""
    if payload_type not in {number(word) for word in formats} - {-1} or payload_type > 127 or not parameters:
        level.flags |= Flag.FMTP_BAD
    if b"\0" in parameters:
        level.flags |= Flag.FMTP_BAD
    if parameters:
        level.parameters[payload_type] = parameters


# ---- formats ----


def mapping_of(level: Level, payload_type: int, mappings: list[tuple[int, bytes, int, int]]) -> sdp.Format:
    name, clock, channels = STATIC.get(payload_type, ("", 0, 1))
    fixed = CODECS.get(name.lower().encode(), 0)
    codec, flags, written = fixed, FormatFlag(0), b""
    for position, (_, text, rate, count) in enumerate(mappings):
        mapped = CODECS.get(text.lower(), 0)
        if position:
            if mapped != codec or (rate and rate != clock) or (not codec and text.lower() != written.lower()):
                level.flags |= Flag.PT_REPEATED
            continue
        packed = (CODECS[b"g726-32"], CODECS[b"aal2-g726-32"]) if payload_type == 2 else ()
        if payload_type in STATIC and mapped != fixed and mapped not in packed:
            level.flags |= Flag.STATIC_REDEFINED
        legal = sdp.codec_clock_hz(mapped)
        flags |= FormatFlag.RTPMAP
        if rate:
            clock = rate
            flags |= FormatFlag.CLOCK_BAD if legal and legal != rate else FormatFlag(0)
        elif legal or mapped != codec:
            clock = legal
        codec, channels, written = mapped, count, text
    parameters = level.parameters.get(payload_type, b"")
    shown = written.decode("utf-8", "replace") or sdp.CODECS[codec]
    return sdp.Format(payload_type, codec, shown, clock, channels, parameters, flags)


def formats_read(level: Level, texts: list[bytes]) -> list[sdp.Format]:
    """The first 32 different payload types, with their mappings."""
    listed: list[int] = []
    for text in texts:
        payload_type = number(text)
        if not 0 <= payload_type <= 127:
            level.flags |= Flag.PT_RANGE
        elif payload_type not in listed:
            listed.append(payload_type)
    mappings: dict[int, list[tuple[int, bytes, int, int]]] = {}
    for mapping in level.mappings:
        mappings.setdefault(mapping[0], []).append(mapping)
    return [mapping_of(level, number, mappings.get(number, [])) for number in listed[: sdp.FORMATS_MAX]]


def codecs_of(level: Level, formats: list[sdp.Format], refused: bool) -> tuple[int, int]:
    codecs = state = 0
    for f in formats:
        if f.clock_rate_hz or f.flags & FormatFlag.RTPMAP:
            codecs |= 1 << f.codec
        elif not refused:
            level.flags |= Flag.PT_UNMAPPED
        state ^= f.payload_type << 40 | f.codec << 32 | f.clock_rate_hz
        state = state * 0x9E3779B97F4A7C15 & WORD_MASK
        state ^= state >> 32
    return codecs, state


# ---- a section ----


def port_of(level: Level, text: bytes) -> tuple[int, int]:
    port_text, slash, count_text = text.partition(b"/")
    port, count = number(port_text), number(count_text) if slash else 1
    if not 0 <= port <= 65535 or not 1 <= count <= 65535:
        level.flags |= Flag.PORT_BAD
    return port if 0 <= port <= 65535 else 0, count if 1 <= count <= 65535 else 1


def bandwidth_of(level: Level) -> int:
    kbps = level.bandwidths.get(b"as", -1)
    return min(kbps if kbps >= 0 else level.bandwidths.get(b"tias", 0) // 1000, 2**32 - 1)


def section(level: Level, outer: Level, bundle: list[bytes], text: bytes) -> sdp.Media:
    found = words(level.line)
    texts, rtp = formats_of(level)
    if len(found) < 4:
        level.flags |= Flag.BAD_MEDIA
    port, port_count = port_of(level, found[1]) if len(found) > 1 else (0, 1)
    formats = formats_read(level, texts) if rtp else []
    codecs, codecs_hash = codecs_of(level, formats, refused=not port)
    if not rtp and texts:
        codecs = 1 << CODECS[b"t38"] if b"t38" in [word.lower() for word in texts] else 0
        codecs_hash = hashed(level.line[[m.start() for m in WORD.finditer(level.line)][3] :])
    traits, source = level.traits | outer.traits & INHERITED, level
    if not level.hosts and outer.hosts:
        traits, source = traits | Trait.SESSION_CONNECTION, outer
    if not source.hosts and port:
        level.flags |= Flag.NO_CONNECTION
    direction = level.direction or outer.direction or Direction.SENDRECV
    if not level.direction and outer.direction:
        traits |= Trait.SESSION_DIRECTION
    ptime, maxptime = level.times.get(b"ptime", 0), level.times.get(b"maxptime", 0)
    if maxptime and maxptime < ptime:
        level.flags |= Flag.PTIME_BAD
    mid = level.names.get(b"mid", b"")
    if mid in bundle or (bundle and not mid):
        traits |= Trait.BUNDLED
    return sdp.Media(
        section=text,
        connection=source.address._replace(port=port),
        connection_host=source.hosts[0] if source.hosts else b"",
        port_count=port_count,
        media=MEDIA_TYPES.get(found[0].lower(), MediaType.OTHER) if found else MediaType.OTHER,
        proto=PROTOS.get(found[2].lower(), Proto.OTHER) if len(found) > 2 else Proto.OTHER,
        direction=direction,
        setup=level.setup or outer.setup,
        ptime_ms=ptime,
        maxptime_ms=maxptime,
        rtcp_port=level.rtcp_port,
        format_count=len(formats),
        format_total=min(len(texts), 65535),
        crypto_count=min(level.crypto_count, 255),
        crypto_suites=level.suites,
        candidate_count=min(level.candidate_count, 65535),
        candidates=level.candidates,
        traits=traits,
        codecs=codecs,
        codecs_hash=codecs_hash,
        bandwidth_kbps=bandwidth_of(level),
        crypto_key_hash=level.key_hash,
        fingerprint_hash=level.fingerprint or outer.fingerprint,
        label=level.names.get(b"label", b""),
        mid=mid,
        flags=level.flags,
        formats=formats,
    )


# ---- lines ----


def split_lines(body: bytes) -> list[tuple[int, int, bytes, bool]]:
    """(start, next start, line, ends in a bare LF) of every line."""
    lines, at = [], 0
    while at < len(body):
        feed = body.find(b"\n", at)
        stop, behind = (len(body), len(body)) if feed < 0 else (feed, feed + 1)
        text = body[at:stop]
        bare = feed >= 0 and not text.endswith(b"\r")
        lines.append((at, behind, text.removesuffix(b"\r"), bare))
        at = behind
    return lines


def take_line(reader: Reader, start: int, behind: int, text: bytes, bare: bool) -> None:
    kind, value = text[0], text[2:]
    reader.valid += 1
    if kind == ord("m"):
        reader.levels.append(Level(line=value, start=start))
        reader.rank = 1
    else:
        rank = (MEDIA_RANK if reader.in_media else SESSION_RANK).get(kind, 0)
        if rank < reader.rank + (kind in SINGLE):
            reader.level.flags |= Flag.WRONG_ORDER
        else:
            reader.rank = rank
    level = reader.level
    level.flags |= Flag.BARE_LF if bare else Flag(0)
    if kind == ord("a"):
        attribute(reader, value)
    elif kind == ord("c"):
        connection(level, value)
    elif kind == ord("b") and reader.in_media:
        name, colon, amount = value.partition(b":")
        kbps = number(amount.rstrip(b" \t"))
        if colon and kbps >= 0 and name.lower() in (b"as", b"tias"):
            take_bandwidth(level, name.lower(), kbps)
    elif kind in b"vost" and kind not in reader.once and (kind != ord("v") or value == b"0"):
        reader.once[kind] = (start, behind, value)
        if kind == ord("s") and not value:
            level.flags |= Flag.EMPTY_SESSION_NAME
        if kind == ord("o") and not origin_is_sound(value):
            level.flags |= Flag.BAD_ORIGIN


def take_bandwidth(level: Level, name: bytes, amount: int) -> None:
    """The first AS counts; without one the first TIAS that is a whole kbit/s."""
    if name == b"as":
        level.bandwidths.setdefault(name, amount)
    elif not level.bandwidths.get(name, 0) // 1000:
        level.bandwidths[name] = amount


# ---- the session ----


def origin_is_sound(value: bytes) -> bool:
    found = words(value)
    if len(found) != 6:
        return False
    address = sip.parse_address_literal(found[5])
    return number(found[1]) >= 0 and number(found[2]) >= 0 and network_is_sound(found[3], found[4], address)


def origin_of(value: bytes | None) -> tuple[bytes, bytes, bytes, int, int, sip.Literal]:
    if value is None:
        return b"", b"", b"", 0, -1, NOWHERE
    found = list(WORD.finditer(value))
    if len(found) < 5:
        return value, b"", b"", hashed(value), -1, NOWHERE
    session_id, version, network, _, host = found[-5:]
    origin_hash = hashed(value[network.start() : host.end()], hashed(value[: session_id.end()]))
    address = sip.parse_address_literal(host[0])
    if not address.family:
        address = address._replace(text="")
    return value, session_id[0], version[0], origin_hash, number(version[0]), address


def read(body: bytes) -> Reader:
    reader, blank = Reader(), False
    for start, behind, text, bare in split_lines(body):
        if not text:
            blank = True
            reader.level.flags |= Flag.BARE_LF if bare else Flag(0)
            continue
        if blank:
            reader.level.flags |= Flag.BAD_LINE
            blank = False
        reader.lines += 1
        if text[1:2] != b"=" or text[0] not in SESSION_RANK:
            reader.level.flags |= Flag.BAD_LINE | (Flag.BARE_LF if bare else Flag(0))
        else:
            take_line(reader, start, behind, text, bare)
    return reader


def scan(body: bytes) -> sdp.Description | None:
    """What engine._native.sdp.scan must answer."""
    reader = read(body)
    if not reader.valid:
        return None
    outer, *levels = reader.levels
    ends = [*(level.start for level in levels), len(body)][1:]
    media = [
        section(level, outer, reader.bundle[:128], body[level.start : end])
        for level, end in zip(levels, ends, strict=True)
    ]
    flags = outer.flags
    for level in levels:
        flags |= level.flags
    for kind, missing in (
        ("v", Flag.NO_VERSION), ("o", Flag.NO_ORIGIN), ("s", Flag.NO_SESSION_NAME), ("t", Flag.NO_TIME),
    ):  # fmt: skip
        flags |= Flag(0) if ord(kind) in reader.once else missing
    start, behind, value = reader.once.get(ord("o"), (len(body), len(body), None))
    origin, session_id, session_version, origin_hash, version, origin_address = origin_of(value)
    address = outer.address if outer.address.family else outer.address._replace(text="")
    return sdp.Description(
        origin=origin,
        session_id=session_id,
        session_version=session_version,
        origin_hash=origin_hash,
        version=version,
        origin_address=origin_address,
        connection=address,
        session_name=reader.once.get(ord("s"), (0, 0, b""))[2],
        flags=flags,
        media_count=len(media),
        media_total=len(media),
        line_count=min(reader.lines, 65535),
        body_hash=hashed(body[behind:], hashed(body[:start])),
        media=media,
    )
