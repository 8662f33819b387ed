"""Configuration of two other products that loads unchanged: SIP4AI's config.json and environment, SIPREC's environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

SIP4AI_KEYS = frozenset(
    {
        "mode",
        "api_port",
        "provider",
        "openai",
        "elevenlabs",
        "gemini",
        "deepgram",
        "cartesia",
        "outbound",
        "functions",
    }
)

# Names of SIP4AI's environment and of SIPREC's, and the field each sets. A leading word says what kind of value it is: see CONVERSIONS.
ENVIRONMENT: Mapping[str, str] = {
    "SIP_USERNAME": "sip.username", "SIP_PASSWORD": "sip.password", "SIP_DOMAIN": "sip.domain", "SIP_SERVER": "sip.server",
    "SIP_AUTH_ID": "sip.auth_id", "SIP_OUTBOUND_PROXY": "sip.outbound_proxy", "SIP_TRANSPORT": "sip.transport",
    "DEBUG_FORCE_PORT": "sip.rtp_port", "AUDIO_FILE": "sip.audio_file",
    "OPENAI_API_KEY": "agent.openai.api_key", "ELEVEN_LABS_API_KEY": "agent.elevenlabs.api_key",
    "GOOGLE_API_KEY": "agent.gemini.api_key", "GEMINI_API_KEY": "agent.gemini.api_key",
    "DEEPGRAM_API_KEY": "agent.deepgram.api_key", "CARTESIA_KEY": "agent.cartesia.api_key",
    "CARTESIA_API_KEY": "agent.cartesia.api_key", "API_PORT": "http.port",
    "SIP_HOST": "sip.host", "EXTERNAL_IP": "network.external_ip", "INTERNAL_IP": "network.internal_ip", "PORTS": "network.ports",
    "UDP_PORTS": "network.udp_ports", "TCP_PORTS": "network.tcp_ports", "ENABLE_SRTP": "network.enable_srtp",
    "RTP_PORT_MIN": "network.rtp_port_min", "RTP_PORT_MAX": "network.rtp_port_max", "RTP_TIMEOUT": "duration:network.rtp_timeout_s",
    "RTP_BIND_IP": "network.rtp_bind_ip", "TLS_CERT_PATH": "network.tls_cert_file", "TLS_KEY_PATH": "network.tls_key_file",
    "TLS_PORT": "network.tls_port", "ENABLE_TLS": "network.enable_tls", "BEHIND_NAT": "network.behind_nat",
    "SIP_REQUIRE_TLS": "network.require_tls_only", "SIP_REQUIRE_SRTP": "network.require_srtp",
    "STUN_SERVER": "network.stun_servers", "HTTP_PORT": "http.port", "HTTP_ENABLE_METRICS": "http.enable_metrics",
    "RECORDING_DIR": "recording.directory", "RECORDING_MAX_DURATION_HOURS": "hours:recording.max_duration_s",
    "RECORDING_MAX_DURATION": "duration:recording.max_duration_s", "RECORDING_CLEANUP_DAYS": "recording.cleanup_days",
    "RECORDING_COMBINE_LEGS": "recording.combine_legs", "RECORDING_FORMAT": "recording.format",
    "RECORDING_QUALITY": "recording.quality", "SUPPORTED_VENDORS": "stt.supported_vendors",
    "SUPPORTED_CODECS": "stt.supported_codecs", "DEFAULT_SPEECH_VENDOR": "stt.default_vendor",
    "STT_DEFAULT_VENDOR": "stt.default_vendor", "STT_ENABLE_FALLBACK": "stt.enable_fallback",
    "STT_ASYNC_ENABLED": "stt.async_enabled", "STT_QUEUE_PURGE_TOKEN": "stt.queue_purge_token",
    "GOOGLE_STT_API_KEY": "stt.google_api_key", "GOOGLE_APPLICATION_CREDENTIALS": "stt.google_credentials_file",
    "DEEPGRAM_STT_API_KEY": "stt.deepgram_api_key", "AZURE_SPEECH_KEY": "stt.azure_speech_key",
    "MAX_CONCURRENT_CALLS": "resources.max_concurrent_calls", "PAUSE_RESUME_ENABLED": "pause_resume.enabled",
    "PAUSE_RESUME_API_KEY": "pause_resume.api_key", "MAX_PAUSE_DURATION": "duration:pause_resume.max_pause_s",
    "PAUSE_AUTO_RESUME": "pause_resume.auto_resume", "PII_DETECTION_ENABLED": "pii.enabled",
    "PII_ENABLED_TYPES": "pii.enabled_types", "ANALYTICS_ENABLED": "analytics.enabled",
    "ELASTICSEARCH_ADDRESSES": "analytics.elasticsearch_addresses", "ELASTICSEARCH_INDEX": "analytics.elasticsearch_index",
    "ENABLE_REALTIME_AMQP": "realtime.enabled", "PUBLISH_PARTIAL_TRANSCRIPTS": "realtime.partial_transcripts",
    "PUBLISH_FINAL_TRANSCRIPTS": "realtime.final_transcripts", "PUBLISH_SENTIMENT_UPDATES": "realtime.sentiment_updates",
    "PUBLISH_KEYWORD_DETECTIONS": "realtime.keyword_detections", "PUBLISH_SPEAKER_CHANGES": "realtime.speaker_changes",
    "AMQP_URL": "bus.url", "COMPLIANCE_PCI_ENABLED": "compliance.pci_enabled",
    "COMPLIANCE_GDPR_ENABLED": "compliance.gdpr_enabled", "COMPLIANCE_AUDIT_TAMPER_PROOF": "compliance.audit_tamper_proof",
    "AUTH_JWT_SECRET": "auth.jwt.secret", "LOG_LEVEL": "level:log.level", "LOG_FORMAT": "log.format",
    "RECORDING_MP3_BITRATE": "recording.mp3_bitrate", "RECORDING_OPUS_BITRATE": "recording.opus_bitrate",
    "RECORDING_STORAGE_ENABLED": "recording.storage.enabled", "RECORDING_STORAGE_KEEP_LOCAL": "recording.storage.keep_local",
    "RECORDING_STORAGE_S3_ENABLED": "recording.storage.s3.enabled", "RECORDING_STORAGE_S3_BUCKET": "recording.storage.s3.bucket",
    "RECORDING_STORAGE_S3_REGION": "recording.storage.s3.region", "RECORDING_STORAGE_S3_ENDPOINT": "recording.storage.s3.endpoint",
    "RECORDING_STORAGE_S3_ACCESS_KEY": "recording.storage.s3.access_key", "RECORDING_STORAGE_S3_SECRET_KEY": "recording.storage.s3.secret_key",
    "RECORDING_STORAGE_S3_PREFIX": "recording.storage.s3.prefix",
    "ENABLE_RECORDING_ENCRYPTION": "encryption.enable_recording_encryption", "ENABLE_METADATA_ENCRYPTION": "encryption.enable_metadata_encryption",
    "ENCRYPTION_ALGORITHM": "encryption.algorithm", "MASTER_KEY_PATH": "encryption.master_key_path",
    "KEY_ROTATION_INTERVAL": "duration:encryption.key_rotation_interval_s", "MAX_RTP_STREAMS": "resources.max_rtp_streams",
    "MULTIPART_RESPONSE": "siprec.multipart_response", "PAUSE_RECORDING": "pause_resume.pause_recording",
    "PAUSE_TRANSCRIPTION": "pause_resume.pause_transcription", "PAUSE_RESUME_NOTIFICATIONS": "pause_resume.send_notifications",
    "PAUSE_RESUME_PER_SESSION": "pause_resume.per_session", "PAUSE_RESUME_REQUIRE_AUTH": "pause_resume.require_auth",
    "PII_REDACTION_CHAR": "pii.redaction_char", "PII_PRESERVE_FORMAT": "pii.preserve_format", "PII_CONTEXT_LENGTH": "pii.context_length",
    "PII_APPLY_TO_TRANSCRIPTIONS": "pii.apply_to_transcriptions", "PII_APPLY_TO_RECORDINGS": "pii.apply_to_recordings",
    "COMPLIANCE_GDPR_EXPORT_DIR": "compliance.gdpr_export_dir", "COMPLIANCE_AUDIT_LOG_PATH": "compliance.audit_log_path",
    "ANALYTICS_ELASTICSEARCH_ADDRESSES": "analytics.elasticsearch_addresses", "ANALYTICS_ELASTICSEARCH_INDEX": "analytics.elasticsearch_index",
    "REALTIME_QUEUE_NAME": "realtime.queue", "REALTIME_EXCHANGE_NAME": "realtime.exchange", "REALTIME_ROUTING_KEY": "realtime.routing_key",
    "REALTIME_BATCH_SIZE": "realtime.batch_size", "REALTIME_BATCH_TIMEOUT": "duration:realtime.batch_timeout_s",
    "AMQP_PUBLISH_TIMEOUT": "duration:realtime.confirm_timeout_s", "AUTH_ENABLED": "switch:auth.enabled", "AUTH_JWT_ISSUER": "auth.jwt.issuer",
    "SIP_AUTH_REALM": "sip.realm",
}  # fmt: skip
# Beginnings of names that are SIPREC's alone: what is none of the names above is told, so that nobody relies on it.
SIPREC_PREFIXES = ("RECORDING_STORAGE_", "PAUSE_RESUME_", "PII_", "COMPLIANCE_", "PUBLISH_", "REALTIME_")


def _hours(text: str) -> float:
    return float(text) * 3600


def _level(text: str) -> str:
    return {"warn": "warning", "fatal": "error", "panic": "error", "trace": "debug"}.get(text.strip().lower(), text.strip().lower())


def _switch(text: str) -> str:
    """Keys are asked for, or where others than this machine can connect."""
    if text.strip().lower() not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
        raise ValueError("must be true or false")
    return "on" if text.strip().lower() in ("true", "1", "yes", "on") else "auto"


def is_sip4ai(document: Mapping[str, Any]) -> bool:
    """Whether a document is SIP4AI's config.json: nothing but its keys, and one that only it has at the top."""
    return bool(document) and set(document) <= SIP4AI_KEYS


def from_sip4ai(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings as our document has them. An `api_port` of 0 keeps the default port: this server is the API."""
    made: dict[str, Any] = {"http": {"health_status_word": "ok"}, "agent": {}}
    for name, value in document.items():
        if name == "api_port":
            if value:
                made["http"]["port"] = value
        else:
            made["agent"][name] = value
    return made


def without_comments(text: str) -> str:
    """JSON without // and /* */ comments; what stands in strings stays, and so does every line's number."""
    out: list[str] = []
    at, size = 0, len(text)
    while at < size:
        if text[at] == '"':
            end = at + 1
            while end < size and text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            out.append(text[at : end + 1])
            at = end + 1
        elif text.startswith("//", at):
            end = text.find("\n", at)
            at = size if end < 0 else end
        elif text.startswith("/*", at):
            end = text.find("*/", at + 2)
            end = size if end < 0 else end + 2
            out.append("\n" * text.count("\n", at, end))
            at = end
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


def seconds(text: str) -> float:
    """Seconds of a duration such as "30s", "5m", "1h30m", "250ms" or a bare number. Raises ValueError."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    rest, total = text.strip(), 0.0
    try:
        return float(rest)
    except ValueError:
        pass
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        unit = next((name for name in units if rest.startswith(name, digits)), "")
        if not digits or not unit:
            raise ValueError(f"{text!r} is no duration such as 30s, 5m or 1h30m")
        total += float(rest[:digits]) * units[unit]
        rest = rest[digits + len(unit) :]
    return total


CONVERSIONS: Mapping[str, Callable[[str], Any]] = {"duration": seconds, "hours": _hours, "level": _level, "switch": _switch}

__all__ = ["CONVERSIONS", "ENVIRONMENT", "SIPREC_PREFIXES", "from_sip4ai", "is_sip4ai", "seconds", "without_comments"]
