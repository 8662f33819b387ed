"""Session descriptions and multipart bodies, read natively (RFC 8866, RFC 2046)."""

MEDIA_TYPES: tuple[str, ...]
PROTOS: tuple[str, ...]
DIRECTIONS: tuple[str, ...]
SETUPS: tuple[str, ...]

class Format:
    """One payload type of a media line; `codec` is its number in the codec list, 0 when not known."""

    payload_type: int
    codec: int
    name: str
    clock_rate_hz: int
    channels: int
    fmtp: bytes
    flags: int
    def __init__(
        self, payload_type: int, codec: int, name: str, clock_rate_hz: int, channels: int, fmtp: bytes, flags: int
    ) -> None: ...

class Media:
    """One media line with what the session level says folded in. Times are in ms, bandwidth in kbit/s."""

    address: str
    address_kind: int
    bandwidth_kbps: int
    candidate_count: int
    candidates: int
    codecs: int
    crypto_count: int
    crypto_suites: int
    direction: str
    family: int
    flags: int
    format_total: int
    formats: list[Format]
    label: bytes
    maxptime_ms: int
    media: str
    mid: bytes
    port: int
    port_count: int
    proto: str
    ptime_ms: int
    rtcp_port: int
    section: bytes
    setup: str
    traits: int
    def codec_names(self) -> list[str]:
        """Encoding names in order, as written or as RFC 3551 assigns them."""

class Description:
    """One session description; `version` is -1 when o= has none."""

    address: str
    address_kind: int
    body_hash: int
    flags: int
    line_count: int
    media: list[Media]
    media_total: int
    origin: bytes
    origin_address: int
    session_id: bytes
    session_name: bytes
    version: int

def codec_name(codec: int) -> str:
    """Encoding name of a codec number."""

def codec_clock_hz(codec: int) -> int:
    """The codec's only legal RTP clock rate, 0 when it has several."""

def scan(body: bytes | bytearray | memoryview) -> Description | None:
    """The description in `body`; None when it holds no SDP line. Lenient: faults are flags (enum sdp_flag)."""

def of_message(text: bytes) -> Description | None:
    """The description that a SIP message carries, alone or in a multipart body."""

def split_multipart(content_type: bytes, body: bytes) -> tuple[list[tuple[bytes, bytes]], int]:
    """([(content type, body)], flags) of a multipart body; flags are enum mime_flag."""

def content_kind(content_type: bytes) -> int:
    """enum content_kind of a Content-Type value."""
