"""Configuration of two other products that loads unchanged: SIP4AI's config.json and environment, SIPREC's environment."""

from __future__ import annotations

from collections.abc import Mapping
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

# Names of SIP4AI's environment and of SIPREC's, and the field each sets. A leading "hours:" or "duration:" says what the number is.
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
    "STUN_SERVER": "network.stun_servers", "HTTP_PORT": "http.port",
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
    "AUTH_JWT_SECRET": "auth.jwt.secret", "LOG_LEVEL": "log.level", "LOG_FORMAT": "log.format",
}  # fmt: skip


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


__all__ = ["ENVIRONMENT", "from_sip4ai", "is_sip4ai", "seconds", "without_comments"]
