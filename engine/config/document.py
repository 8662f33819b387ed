"""The configuration document: one struct a section, with every default.

Fields marked SECRET are never shown; fields marked FIXED take a restart, all others can be reloaded. Names of sections that
later parts of the engine read are those of the products whose configuration loads unchanged (`legacy.py`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

SECRET = {"secret": True}
FIXED = {"fixed": True}

Secret = Annotated[str, msgspec.Meta(extra=SECRET)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535, extra=FIXED)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Fixed = Annotated[str, msgspec.Meta(extra=FIXED)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: nothing unknown is taken, nothing changes once it is loaded."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"  # what a traceback or a log line shows must hold no secret


class Http(Section, frozen=True, kw_only=True):
    """The HTTP server. Sizes in bytes; `workers` are processes that share the port."""

    host: Fixed = "127.0.0.1"
    port: Port = 8080
    workers: Annotated[int, msgspec.Meta(ge=1, le=256, extra=FIXED)] = 1
    health_status_word: Literal["healthy", "ok"] = "healthy"
    upload_max_bytes: Annotated[int, msgspec.Meta(ge=1, extra=FIXED)] = 2 << 30
    header_max_bytes: Annotated[int, msgspec.Meta(ge=1024, le=400_000)] = 32_768
    header_timeout_ms: Annotated[int, msgspec.Meta(ge=100, le=600_000, extra=FIXED)] = 15_000
    connections_max: Annotated[int, msgspec.Meta(ge=1, extra=FIXED)] = 4096
    analysis_threads: Annotated[int, msgspec.Meta(ge=1, le=256, extra=FIXED)] = 4
    keys_in_query: Annotated[bool, msgspec.Meta(extra=FIXED)] = False
    docs: bool = True
    metrics_public: bool = True
    enable_metrics: bool = True
    drain_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 10.0
    trusted_proxies: Annotated[list[str], msgspec.Meta(extra=FIXED)] = []
    hosts: Annotated[list[str], msgspec.Meta(extra=FIXED)] = []


class Jwt(Section, frozen=True, kw_only=True):
    """Tokens that are taken: HS256 where there is a `secret` and no `algorithm`, none at all without either."""

    algorithm: Annotated[
        Literal["", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384"],
        msgspec.Meta(extra=FIXED),
    ] = ""
    secret: Annotated[str, msgspec.Meta(extra={**SECRET, **FIXED})] = ""
    public_key_file: Fixed = ""
    issuer: Fixed = ""
    audience: Fixed = ""
    leeway_s: Annotated[float, msgspec.Meta(ge=0, le=300, extra=FIXED)] = 30.0
    max_age_s: Annotated[float, msgspec.Meta(gt=0, extra=FIXED)] = 86_400.0


class Auth(Section, frozen=True, kw_only=True):
    """Who may call. "auto": keys are asked for when others than this machine can connect."""

    enabled: Annotated[Literal["auto", "on", "off"], msgspec.Meta(extra=FIXED)] = "auto"
    admin_key: Annotated[str, msgspec.Meta(extra={**SECRET, **FIXED})] = ""
    jwt: Jwt = Jwt()
    roles: Annotated[dict[str, list[str]], msgspec.Meta(extra=FIXED)] = {}


class Plan(Section, frozen=True, kw_only=True):
    """Analyses a day, for each user and for a whole team where that has a limit of its own."""

    calls_per_day: Count = 100
    calls_per_day_team: Count | None = None
    api_access: bool = True


class Store(Section, frozen=True, kw_only=True):
    """The store. Without `url` an SQLite file in the data directory; else postgresql://user:password@host/name."""

    url: Annotated[str, msgspec.Meta(extra={**FIXED, "url": True})] = ""
    synchronous: Annotated[Literal["full", "normal"], msgspec.Meta(extra=FIXED)] = "full"
    pool_size: Annotated[int, msgspec.Meta(ge=1, le=200, extra=FIXED)] = 4


class Bus(Section, frozen=True, kw_only=True):
    """The bus between machines: amqp://user:password@host/vhost. Without `url` only this machine's own."""

    url: Annotated[str, msgspec.Meta(extra={**FIXED, "url": True})] = ""


class Data(Section, frozen=True, kw_only=True):
    """Where everything lies that is kept."""

    dir: Fixed = "trunkline-data"


class Engine(Section, frozen=True, kw_only=True):
    """Engine workers: 0 is one a core."""

    workers: Annotated[int, msgspec.Meta(ge=0, le=1024, extra=FIXED)] = 0
    pin: Annotated[bool, msgspec.Meta(extra=FIXED)] = False


class Log(Section, frozen=True, kw_only=True):
    """The process log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Annotated[Literal["json", "text"], msgspec.Meta(extra=FIXED)] = "text"


class Telemetry(Section, frozen=True, kw_only=True):
    """OpenTelemetry, when an endpoint is named."""

    otlp_endpoint: Fixed = ""
    service_name: Fixed = "trunkline"


class SipTrunk(Section, frozen=True, kw_only=True):
    """A carrier or PBX that may call: the networks it sends from, and its limits in each engine worker."""

    name: str
    sources: list[str] = []
    calls_max: Annotated[int, msgspec.Meta(ge=0)] = 1000
    calls_per_s: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    calls_burst: Count = 60


class SipUser(Section, frozen=True, kw_only=True):
    """Somebody who may register here."""

    username: str
    password: Secret


class Sip(Section, frozen=True, kw_only=True):
    """The SIP endpoint and its account.

    `listen` names sockets such as udp://0.0.0.0:5060, tls://[::]:5061 or ws://127.0.0.1:8088; without it they are UDP and TCP on `host`
    and `port`, and none at all where `port` is 0. Only `allow`, trunks and users may begin anything. `answer` says what becomes of calls: they are
    refused ("nobody"), answered without media ("everybody"), hear themselves ("echo"), or are recorded into `recording.directory` ("record").
    """

    host: Fixed = "0.0.0.0"
    port: Port = 5060
    username: Fixed = ""
    password: Annotated[str, msgspec.Meta(extra={**SECRET, **FIXED})] = ""
    domain: Fixed = ""
    server: Fixed = ""
    auth_id: Fixed = ""
    outbound_proxy: Fixed = ""
    transport: Annotated[Literal["udp", "tcp", "tls"], msgspec.Meta(extra=FIXED)] = "udp"
    rtp_port: Port = 0
    audio_file: Fixed = ""
    listen: Annotated[list[str], msgspec.Meta(extra=FIXED)] = []
    advertised: Fixed = ""
    tls_cert_file: Fixed = ""
    tls_key_file: Fixed = ""
    tls_client_ca_file: Fixed = ""
    tls_verify: Annotated[bool, msgspec.Meta(extra=FIXED)] = True
    tls_ca_file: Fixed = ""
    dns_servers: Annotated[list[str], msgspec.Meta(extra=FIXED)] = []
    answer: Annotated[Literal["nobody", "everybody", "echo", "record"], msgspec.Meta(extra=FIXED)] = "nobody"
    allow: list[str] = msgspec.field(default_factory=lambda: ["127.0.0.0/8", "::1/128"])
    deny: list[str] = []
    strangers_may: list[str] = []
    trunks: list[SipTrunk] = []
    users: list[SipUser] = []
    realm: str = "trunkline"
    session_expires_s: Annotated[int, msgspec.Meta(ge=0, le=86_400, extra=FIXED)] = 1800
    min_se_s: Annotated[int, msgspec.Meta(ge=90, le=86_400, extra=FIXED)] = 90
    calls_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000, extra=FIXED)] = 50_000


class Function(Section, frozen=True, kw_only=True):
    """A function that a model may call."""

    name: str
    description: str = ""
    webhook: str = ""
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    parameters: dict[str, Any] = {}
    headers: dict[str, Secret] = {}


class Outbound(Section, frozen=True, kw_only=True):
    """The task of an outbound call."""

    target_number: str = ""
    caller_id: str = ""
    task_description: str = ""
    result_webhook: str = ""
    hangup_on_task_complete: bool = True


class OpenAI(Section, frozen=True, kw_only=True):
    """OpenAI's realtime voice."""

    api_key: Secret = ""
    instructions: str = ""
    voice: str = "alloy"
    greeting: str = ""


class ElevenLabs(Section, frozen=True, kw_only=True):
    """ElevenLabs' conversational voice."""

    api_key: Secret = ""
    agent_id: str = ""
    first_message: str = ""
    system_prompt: str = ""


class Gemini(Section, frozen=True, kw_only=True):
    """Google's live voice."""

    api_key: Secret = ""
    model: str = "models/gemini-2.0-flash-exp"
    voice: str = "Puck"
    greeting: str = ""


class Deepgram(Section, frozen=True, kw_only=True):
    """Deepgram's voice agent."""

    api_key: Secret = ""
    model: str = "aura-2-thalia-en"
    listen_model: str = "nova-3"
    think_provider: str = "open_ai"
    think_model: str = "gpt-4o-mini"


class Cartesia(Section, frozen=True, kw_only=True):
    """Cartesia's voice with others' ears and mind."""

    api_key: Secret = ""
    voice_id: str = ""
    stt_provider: str = "deepgram"
    llm_provider: str = "openai"
    llm_model: str = "gpt-4o-mini"


class Agent(Section, frozen=True, kw_only=True):
    """The AI voice on the line."""

    mode: Literal["inbound", "outbound"] = "inbound"
    provider: Literal["openai", "elevenlabs", "gemini", "deepgram", "cartesia"] = "openai"
    openai: OpenAI = OpenAI()
    elevenlabs: ElevenLabs = ElevenLabs()
    gemini: Gemini = Gemini()
    deepgram: Deepgram = Deepgram()
    cartesia: Cartesia = Cartesia()
    outbound: Outbound = Outbound()
    functions: list[Function] = []


class Network(Section, frozen=True, kw_only=True):
    """Addresses and ports, by the names of recording servers. Where `sip.listen` is empty, `ports` are those of SIP over UDP and TCP, `udp_ports` and `tcp_ports` those of one
    of them, and `tls_port` is taken with `enable_tls`; `external_ip` is told to others where `sip.advertised` is empty."""

    external_ip: Fixed = "auto"
    internal_ip: Fixed = "auto"
    ports: Annotated[list[int], msgspec.Meta(extra=FIXED)] = []
    udp_ports: Annotated[list[int], msgspec.Meta(extra=FIXED)] = []
    tcp_ports: Annotated[list[int], msgspec.Meta(extra=FIXED)] = []
    rtp_port_min: Port = 10_000
    rtp_port_max: Port = 20_000
    rtp_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    rtp_bind_ip: Fixed = ""
    enable_srtp: Annotated[bool, msgspec.Meta(extra=FIXED)] = False
    require_srtp: bool = False
    enable_tls: Annotated[bool, msgspec.Meta(extra=FIXED)] = False
    require_tls_only: bool = False
    tls_port: Port = 5062
    tls_cert_file: Fixed = ""
    tls_key_file: Fixed = ""
    behind_nat: Annotated[bool, msgspec.Meta(extra=FIXED)] = False
    stun_servers: Annotated[list[str], msgspec.Meta(extra=FIXED)] = []


class S3(Section, frozen=True, kw_only=True):
    """A bucket of an S3-compatible store. Without `endpoint` it is AWS; without keys, what the environment of the process has."""

    enabled: bool = False
    bucket: str = ""
    region: str = "us-east-1"
    endpoint: str = ""
    access_key: Secret = ""
    secret_key: Secret = ""
    prefix: str = ""
    path_style: bool = False


class RecordingStorage(Section, frozen=True, kw_only=True):
    """Where recordings go when they are over. Without `keep_local` the local copy goes once the remote one was verified. `folder` is one on another volume, used where
    no bucket is."""

    enabled: bool = False
    keep_local: bool = True
    folder: str = ""
    s3: S3 = S3()


class RetentionRule(Section, frozen=True, kw_only=True):
    """Recordings that are kept for other than `recording.cleanup_days`: all that is given must fit. Texts may have * and ?; 0 days is for ever."""

    name: str
    days: Annotated[int, msgspec.Meta(ge=0)] = 0
    group: str = ""
    participant: str = ""
    vendor: str = ""


class Recording(Section, frozen=True, kw_only=True):
    """Recordings: where, how long, in what form.

    `format` is what finished recordings are made into; they are written as WAV. `g711` "untouched" writes PCMU and PCMA as they came, in half the space. New
    sessions are refused while less than `free_bytes_min` is free.
    """

    directory: Fixed = "recordings"
    max_duration_s: Annotated[float, msgspec.Meta(ge=60)] = 14_400.0
    cleanup_days: Annotated[int, msgspec.Meta(ge=0)] = 30
    retention: list[RetentionRule] = []
    combine_legs: bool = True
    format: Literal["wav", "mp3", "opus", "ogg", "flac"] = "wav"
    g711: Literal["pcm", "untouched"] = "pcm"
    mp3_bitrate: Annotated[int, msgspec.Meta(ge=8, le=320)] = 128
    opus_bitrate: Annotated[int, msgspec.Meta(ge=6, le=510)] = 64
    quality: Annotated[int, msgspec.Meta(ge=1, le=10)] = 5
    free_bytes_min: Annotated[int, msgspec.Meta(ge=0)] = 256 << 20
    storage: RecordingStorage = RecordingStorage()


class Encryption(Section, frozen=True, kw_only=True):
    """Recordings at rest. `master_key_path` is a folder of keys, beside the data where it is relative; a new one is made every `key_rotation_interval_s`."""

    enable_recording_encryption: bool = False
    enable_metadata_encryption: bool = False
    algorithm: Literal["AES-256-GCM"] = "AES-256-GCM"
    master_key_path: Fixed = "keys"
    key_rotation_interval_s: Annotated[float, msgspec.Meta(ge=0)] = 86_400.0


class Siprec(Section, frozen=True, kw_only=True):
    """The recording server (RFC 7866). A call is a recording session by its Require, its Contact or its body, or because it comes from one of `peers`, whose calls
    are recorded whatever they are; `strict` wants Require and Contact both. `begin_paused` begins with nothing recorded, until a resume. `pause_offers` asks the other side
    to stop sending while a recording is paused. `identifiers` are further headers, in lower case, and elements of extensions, and what they are told as."""

    enabled: Annotated[bool, msgspec.Meta(extra=FIXED)] = True
    strict: bool = False
    peers: list[str] = []
    multipart_response: bool = False
    begin_paused: bool = False
    pause_offers: bool = False
    streams_max: Annotated[int, msgspec.Meta(ge=1, le=32)] = 8
    metadata_max_bytes: Annotated[int, msgspec.Meta(ge=1024, le=1 << 20)] = 1 << 20
    codecs: list[str] = msgspec.field(default_factory=lambda: ["PCMU", "PCMA", "G722", "opus", "L16"])
    identifiers: dict[str, str] = {}


class PauseResume(Section, frozen=True, kw_only=True):
    """Pausing and resuming over HTTP. What a request does not say is as here. 0 seconds are no limit; a limit is only kept with `auto_resume`."""

    enabled: bool = False
    pause_recording: bool = True
    pause_transcription: bool = True
    send_notifications: bool = True
    max_pause_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    auto_resume: bool = False
    per_session: bool = True
    require_auth: bool = True
    api_key: Secret = ""


class Stt(Section, frozen=True, kw_only=True):
    """Speech to text. `cost_per_minute` is by vendor, in whatever money."""

    supported_vendors: list[str] = msgspec.field(default_factory=lambda: ["google", "openai"])
    default_vendor: str = "google"
    supported_codecs: list[str] = msgspec.field(default_factory=lambda: ["PCMU", "PCMA", "G722", "G729"])
    enable_fallback: bool = True
    async_enabled: bool = True
    cost_per_minute: dict[str, float] = {}
    queue_purge_token: Secret = ""
    google_api_key: Secret = ""
    google_credentials_file: str = ""
    deepgram_api_key: Secret = ""
    azure_speech_key: Secret = ""


class Pii(Section, frozen=True, kw_only=True):
    """Detection of personal data: ssn, credit_card, phone, email. `context_length` is in characters."""

    enabled: bool = False
    enabled_types: list[str] = msgspec.field(default_factory=lambda: ["ssn", "credit_card"])
    redaction_char: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = "*"
    preserve_format: bool = True
    context_length: Annotated[int, msgspec.Meta(ge=0, le=200)] = 20
    apply_to_transcriptions: bool = True
    apply_to_recordings: bool = False


class Keyword(Section, frozen=True, kw_only=True):
    """A word or phrase to listen for."""

    pattern: str
    severity: Literal["low", "medium", "high", "critical"] = "medium"


class ComplianceRule(Section, frozen=True, kw_only=True):
    """What must be said in a call (`contains`), and what must not (`missing`)."""

    id: str
    description: str = ""
    severity: Literal["low", "medium", "high", "critical"] = "high"
    contains: list[str] = []
    missing: list[str] = []


class Analytics(Section, frozen=True, kw_only=True):
    """Live analytics. Keywords are by category."""

    enabled: bool = False
    custom_keywords: dict[str, list[Keyword]] = {}
    compliance_rules: list[ComplianceRule] = msgspec.field(
        default_factory=lambda: [
            ComplianceRule(id="recording_disclosure", description="The caller is told that the call is recorded", contains=["recorded"])
        ]
    )
    elasticsearch_addresses: list[str] = []
    elasticsearch_index: str = "call-analytics"


class Realtime(Section, frozen=True, kw_only=True):
    """What is published to RabbitMQ while a call goes on. `url` is the broker's, that of the bus where it is empty. Without `exchange` messages go to `queue`.

    A `batch_size` of 1 publishes each message by itself. What the broker does not take waits on disk, up to `spool_max_bytes`.
    """

    enabled: bool = False
    partial_transcripts: bool = True
    final_transcripts: bool = True
    sentiment_updates: bool = True
    keyword_detections: bool = True
    speaker_changes: bool = True
    url: Annotated[str, msgspec.Meta(extra={"url": True})] = ""
    queue: str = "siprec_realtime"
    exchange: str = ""
    routing_key: str = "siprec.realtime"
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    batch_timeout_s: Annotated[float, msgspec.Meta(ge=0.01, le=60)] = 1.0
    confirm_timeout_s: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 5.0
    spool_max_bytes: Annotated[int, msgspec.Meta(ge=1 << 16)] = 1 << 30


class Compliance(Section, frozen=True, kw_only=True):
    """Rules of law that recordings keep to. `pci_enabled` has card numbers looked for and taken out of transcripts and recordings, and encrypts these, whatever `pii` and
    `encryption` say."""

    pci_enabled: bool = False
    gdpr_enabled: bool = False
    gdpr_export_dir: str = "exports"
    audit_tamper_proof: bool = False
    audit_log_path: str = ""


class Resources(Section, frozen=True, kw_only=True):
    """Limits of one machine: recording sessions, and their streams."""

    max_concurrent_calls: Count = 500
    max_rtp_streams: Count = 1500


PLANS = {
    "free": Plan(api_access=False),
    "pro": Plan(),
    "teams": Plan(calls_per_day=100, calls_per_day_team=300),
    "self-hosted": Plan(calls_per_day=100_000),
}


class Config(Section, frozen=True, kw_only=True):
    """The whole document."""

    http: Http = Http()
    auth: Auth = Auth()
    plans: dict[str, Plan] = msgspec.field(default_factory=lambda: dict(PLANS))
    default_plan: str = "self-hosted"
    store: Store = Store()
    bus: Bus = Bus()
    data: Data = Data()
    engine: Engine = Engine()
    log: Log = Log()
    telemetry: Telemetry = Telemetry()
    sip: Sip = Sip()
    agent: Agent = Agent()
    network: Network = Network()
    recording: Recording = Recording()
    encryption: Encryption = Encryption()
    siprec: Siprec = Siprec()
    pause_resume: PauseResume = PauseResume()
    stt: Stt = Stt()
    pii: Pii = Pii()
    analytics: Analytics = Analytics()
    realtime: Realtime = Realtime()
    compliance: Compliance = Compliance()
    resources: Resources = Resources()


__all__ = ["PLANS", "Config", "Plan", "Section"]
