"""The configuration document of the SIPREC server whose names we honour: as its files have it, and as its documentation names it (`PauseResumeConfig.RequireAuth`).

A document is that server's when it has a section that only that server has, a name in capitals, or a field that only that server has. What of it means nothing here is
told as a warning: it never keeps the server from starting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from msgspec import inspect as shapes

from engine.config.fields import Field, fields
from engine.config.legacy import seconds

SHOWN_MAX_CHARS: Final = 100
NANOSECONDS: Final = 1_000_000  # durations of JSON documents are nanoseconds: no smaller number of them makes sense

# Sections that only that server has.
SECTIONS: Final = frozenset(
    {
        "logging", "messaging", "redundancy", "async_stt", "hot_reload", "performance", "circuit_breaker", "database", "alerting", "rate_limit", "cluster",
        "tracing", "audio_processing", "speaker_diarization", "lawful_intercept",
    }
)  # fmt: skip
# Its sections by other names.
NAMED: Final = {"resource": "resources"}
# Its fields, and ours.
FIELDS: Final[Mapping[str, str]] = {
    "network.host": "sip.host", "network.rtp_timeout": "network.rtp_timeout_s",
    "recording.max_duration": "recording.max_duration_s", "recording.audio_format": "recording.format",
    "logging.level": "log.level", "logging.format": "log.format",
    "messaging.amqp_url": "bus.url", "messaging.url": "bus.url", "messaging.enable_realtime_amqp": "realtime.enabled",
    "messaging.realtime_queue_name": "realtime.queue", "messaging.realtime_exchange_name": "realtime.exchange",
    "messaging.realtime_routing_key": "realtime.routing_key", "messaging.realtime_batch_size": "realtime.batch_size",
    "messaging.realtime_batch_timeout": "realtime.batch_timeout_s", "messaging.amqp.publish_timeout": "realtime.confirm_timeout_s",
    "messaging.publish_partial_transcripts": "realtime.partial_transcripts", "messaging.publish_partial": "realtime.partial_transcripts",
    "messaging.publish_final_transcripts": "realtime.final_transcripts", "messaging.publish_final": "realtime.final_transcripts",
    "messaging.publish_sentiment_updates": "realtime.sentiment_updates", "messaging.publish_keyword_detections": "realtime.keyword_detections",
    "messaging.publish_speaker_changes": "realtime.speaker_changes",
    "encryption.key_rotation_interval": "encryption.key_rotation_interval_s", "encryption.recording_encryption": "encryption.enable_recording_encryption",
    "encryption.metadata_encryption": "encryption.enable_metadata_encryption",
    "async_stt.enabled": "stt.async_enabled", "stt.google.api_key": "stt.google_api_key", "stt.google.credentials_file": "stt.google_credentials_file",
    "stt.deepgram.api_key": "stt.deepgram_api_key", "stt.azure.subscription_key": "stt.azure_speech_key",
    "pause_resume.max_pause_duration": "pause_resume.max_pause_s",
    "pii.types": "pii.enabled_types", "pii.redact_audio": "pii.apply_to_recordings", "pii.redact_transcript": "pii.apply_to_transcriptions",
    "analytics.elasticsearch.addresses": "analytics.elasticsearch_addresses", "analytics.elasticsearch.index": "analytics.elasticsearch_index",
    "compliance.pci.enabled": "compliance.pci_enabled", "compliance.gdpr.enabled": "compliance.gdpr_enabled",
    "compliance.gdpr.export_dir": "compliance.gdpr_export_dir", "compliance.audit.tamper_proof": "compliance.audit_tamper_proof",
    "compliance.audit.log_path": "compliance.audit_log_path",
    "auth.jwt_secret": "auth.jwt.secret", "auth.jwt_issuer": "auth.jwt.issuer", "auth.sip.realm": "sip.realm",
    "auth.sip.ip_access.blocked_ips": "sip.deny", "auth.sip.ip_access.blocked_networks": "sip.deny",
    "auth.sip.ip_access.allowed_ips": "sip.allow", "auth.sip.ip_access.allowed_networks": "sip.allow",
    "tracing.endpoint": "telemetry.otlp_endpoint", "tracing.otlp_endpoint": "telemetry.otlp_endpoint", "tracing.service_name": "telemetry.service_name",
}  # fmt: skip
# Its settings that load, and that nothing here goes by: why is told to whoever sets one.
IDLE: Final[Mapping[str, str]] = {
    "network.internal_ip": "network.rtp_bind_ip and sip.listen say where it listens",
    "network.behind_nat": "network.external_ip says the address that others see",
    "network.stun_servers": "network.external_ip says the address that others see",
    "network.rtp_timeout_s": "silence ends no recording; sip.session_expires_s and recording.max_duration_s do",
    "pause_resume.send_notifications": "pauses are told in the audit log",
    "stt.supported_codecs": "siprec.codecs says which codecs are taken",
    "analytics.elasticsearch_addresses": "nothing goes to Elasticsearch",
    "analytics.elasticsearch_index": "nothing goes to Elasticsearch",
}
LEVELS: Final = {"warn": "warning", "fatal": "error", "panic": "error", "trace": "debug"}


def snake(name: str) -> str:
    """ "require_auth" of "RequireAuth", "max_rtp_streams" of "MaxRTPStreams"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _section(name: str) -> str:
    told = snake(name).removesuffix("_config")
    return NAMED.get(told, told)


def _leaves(told: Mapping[str, Any], ahead: str = "") -> Iterator[tuple[str, Any]]:
    """Every value by its path in small letters. A table that one of our fields is stays whole, with its own names."""
    for name, value in told.items():
        path = f"{ahead}.{snake(name)}" if ahead else _section(name)
        if isinstance(value, Mapping) and path not in fields() and not path.startswith("plans"):
            yield from _leaves(value, path)
        else:
            yield path, value


def is_recorders(document: Mapping[str, Any]) -> bool:
    """Whether a document is that server's."""
    if any(name in SECTIONS or name != snake(name) for name in document):
        return True
    return any(path in FIELDS and path not in fields() for path, _ in _leaves(document))


def from_recorder(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(the same settings as our document has them, paths of those that mean nothing here). Values that cannot be are left to be found as ours are."""
    made: dict[str, Any] = {}
    strange: list[str] = []
    for path, value in _leaves(document):
        target = FIELDS.get(path, path)
        field = fields().get(target)
        if value is None:
            continue  # a key of a document that says nothing
        if target == "auth.enabled":
            _put(made, target, {True: "on", False: "auto"}.get(value, value) if isinstance(value, bool) else value)
        elif target.partition(".")[0] == "plans":
            _put(made, target, value)
        elif field is None:
            strange.append(path[:SHOWN_MAX_CHARS])
        else:
            _put(made, target, _value(field, value))
    return made, strange


def _put(into: dict[str, Any], path: str, value: Any) -> None:
    *sections, last = path.split(".")
    for name in sections:
        into = into.setdefault(name, {})
    before = into.get(last)
    into[last] = [*before, *value] if isinstance(before, list) and isinstance(value, list) else value


def _value(field: Field, value: Any) -> Any:
    """A value as our field has it: durations in seconds, lists of what is joined by commas, words as we spell them."""
    kind = field.type
    while isinstance(kind, shapes.Metadata):
        kind = kind.type
    convert: Callable[[Any], Any] | None = None
    if field.path.endswith("_s") and isinstance(kind, shapes.FloatType):
        convert = _duration
    elif isinstance(kind, shapes.ListType) and isinstance(value, str):
        convert = _parts
    elif isinstance(kind, shapes.LiteralType) and isinstance(value, str):
        word = LEVELS.get(value.lower(), value) if field.path == "log.level" else value
        return next((known for known in kind.values if str(known).lower() == word.lower()), word)
    try:
        return value if convert is None else convert(value)
    except ValueError:
        return value


def _duration(value: Any) -> Any:
    if isinstance(value, str):
        return seconds(value)
    return value / 1e9 if isinstance(value, int) and not isinstance(value, bool) and value >= NANOSECONDS else value


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


__all__ = ["FIELDS", "IDLE", "SECTIONS", "from_recorder", "is_recorders", "snake"]
