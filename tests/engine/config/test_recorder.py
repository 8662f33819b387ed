"""The documents and the environment of the SIPREC server whose names we honour: what they set here, and what is told to mean nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config import Config, ConfigError, Loaded, check, fields, load
from engine.config.legacy import ENVIRONMENT, SIPREC_PREFIXES
from engine.config.loading import PROBLEMS_MAX, merged
from engine.config.recorder import FIELDS, IDLE, SECTIONS, is_recorders, snake

SECRET = "canary-9b21"
# As its files have it: every section, of each the fields that matter.
WHOLE: dict[str, Any] = {
    "network": {
        "external_ip": "192.0.2.1", "host": "127.0.0.1", "ports": [5080], "rtp_port_min": 20000, "rtp_port_max": 30000, "rtp_timeout": "45s", "behind_nat": True,
        "stun_servers": ["stun.example.com:3478"],
    },
    "http": {"port": 9090, "enabled": True, "enable_api": True, "read_timeout": "10s", "cors_enabled": False},
    "recording": {
        "directory": "/var/lib/siprec", "max_duration": "6h", "cleanup_days": 45, "combine_legs": False, "format": "flac", "mp3_bitrate": 96,
        "storage": {"enabled": True, "keep_local": False, "s3": {"enabled": True, "bucket": "b", "region": "eu-1", "secret_key": SECRET}, "gcs": {"enabled": True}},
    },
    "stt": {"default_vendor": "google", "supported_vendors": ["google", "deepgram"], "deepgram": {"api_key": SECRET, "model": "nova-2"}},
    "resources": {"max_concurrent_calls": 700, "max_rtp_streams": 2000, "worker_pool_size": 4},
    "logging": {"level": "warn", "format": "json", "output_file": ""},
    "messaging": {
        "amqp_url": f"amqp://u:{SECRET}@mq/", "enable_realtime_amqp": True, "realtime_batch_size": 1, "realtime_batch_timeout": 2_000_000_000,
        "realtime_queue_name": "q", "publish_partial_transcripts": False, "amqp": {"publish_timeout": "3s", "hosts": ["mq:5672"]},
    },
    "redundancy": {"enabled": True, "storage_type": "memory"},
    "encryption": {"enable_recording_encryption": True, "algorithm": "aes-256-gcm", "master_key_path": "./keys", "key_rotation_interval": 43_200_000_000_000},
    "pause_resume": {"enabled": True, "max_pause_duration": "5m", "auto_resume": True, "require_auth": True, "api_key": SECRET, "per_session": False},
    "pii": {"enabled": True, "enabled_types": ["ssn"], "apply_to_cdr": True, "redaction_char": "#"},
    "analytics": {"enabled": True, "elasticsearch": {"addresses": ["http://es:9200"], "index": "calls", "username": "x"}},
    "compliance": {"pci": {"enabled": True}, "gdpr": {"enabled": True, "export_dir": "/exports"}, "audit": {"tamper_proof": True, "log_path": "/audit.log"}},
    "auth": {"enabled": True, "jwt_issuer": "me", "admin_username": "admin", "sip": {"realm": "pbx", "ip_access": {"blocked_ips": "192.0.2.7, 192.0.2.8"}}},
    "circuit_breaker": {"enabled": True}, "cluster": {"redis": {"address": "localhost:6379"}},
}  # fmt: skip


def loaded(folder: Path, document: Any, environment: dict[str, str] | None = None) -> Loaded:
    path = folder / "config.json"
    path.write_text(json.dumps(document))
    return load(path, environment or {})


def strange(told: Loaded) -> list[str]:
    return [problem.path for problem in told.warnings if "no meaning" in problem.text]


def test_its_document_loads(tmp_path: Path) -> None:
    told = loaded(tmp_path, WHOLE)
    config = told.config
    assert (config.network.external_ip, config.network.ports, config.network.rtp_timeout_s, config.sip.host) == ("192.0.2.1", [5080], 45.0, "127.0.0.1")
    assert (config.http.port, config.log.level, config.log.format) == (9090, "warning", "json")
    recording = config.recording
    assert (recording.directory, recording.max_duration_s, recording.cleanup_days, recording.combine_legs, recording.format) == (
        "/var/lib/siprec", 21_600.0, 45, False, "flac",
    )  # fmt: skip
    assert (recording.storage.enabled, recording.storage.keep_local, recording.storage.s3.bucket, recording.storage.s3.secret_key) == (True, False, "b", SECRET)
    assert (config.resources.max_concurrent_calls, config.resources.max_rtp_streams) == (700, 2000)
    assert (config.stt.supported_vendors, config.stt.deepgram_api_key) == (["google", "deepgram"], SECRET)
    assert config.bus.url == f"amqp://u:{SECRET}@mq/"
    realtime = config.realtime
    assert (realtime.enabled, realtime.batch_size, realtime.batch_timeout_s, realtime.queue, realtime.partial_transcripts, realtime.confirm_timeout_s) == (
        True, 1, 2.0, "q", False, 3.0,
    )  # fmt: skip
    assert (config.encryption.enable_recording_encryption, config.encryption.algorithm, config.encryption.key_rotation_interval_s) == (True, "AES-256-GCM", 43_200.0)
    pause = config.pause_resume
    assert (pause.enabled, pause.max_pause_s, pause.auto_resume, pause.require_auth, pause.api_key, pause.per_session) == (True, 300.0, True, True, SECRET, False)
    assert (config.pii.enabled, config.pii.enabled_types, config.pii.redaction_char) == (True, ["ssn", "credit_card"], "#")
    assert (config.analytics.elasticsearch_addresses, config.analytics.elasticsearch_index) == (["http://es:9200"], "calls")
    compliance = config.compliance
    assert (compliance.pci_enabled, compliance.gdpr_enabled, compliance.gdpr_export_dir, compliance.audit_tamper_proof, compliance.audit_log_path) == (
        True, True, "/exports", True, "/audit.log",
    )  # fmt: skip
    assert (config.auth.enabled, config.auth.jwt.issuer, config.sip.realm, config.sip.deny) == ("on", "me", "pbx", ["192.0.2.7", "192.0.2.8"])


def test_what_means_nothing_here_is_told_without_its_value(tmp_path: Path) -> None:
    told = loaded(tmp_path, WHOLE)
    assert {"http.enabled", "recording.storage.gcs.enabled", "cluster.redis.address", "redundancy.storage_type", "pii.apply_to_cdr"} <= set(strange(told))
    assert SECRET not in " ".join(map(str, told.warnings))


def test_the_names_of_its_documentation_are_taken(tmp_path: Path) -> None:
    document = {
        "PauseResumeConfig": {"Enabled": True, "RequireAuth": False, "APIKey": SECRET, "PerSession": True, "MaxPauseDuration": "90s"},
        "HTTP": {"Port": 9000, "EnableMetrics": False}, "Compliance": {"GDPR": {"Enabled": True, "ExportDir": "/e"}, "PCI": {"Enabled": True}},
        "Network": {"RTPPortMin": 12000, "RTPPortMax": 13000, "EnableSRTP": True}, "Recording": {"MaxDuration": "2h", "CombineLegs": False, "MP3Bitrate": 64},
        "Resources": {"MaxRTPStreams": 9}, "PII": {"EnabledTypes": ["email"]}, "STT": {"DefaultVendor": "openai"}, "Encryption": {"EnableRecordingEncryption": True},
    }  # fmt: skip
    config = loaded(tmp_path, document).config
    pause = config.pause_resume
    assert (pause.enabled, pause.require_auth, pause.api_key, pause.per_session, pause.max_pause_s) == (True, False, SECRET, True, 90.0)
    assert not config.http.enable_metrics
    assert (config.http.port, config.compliance.gdpr_enabled, config.compliance.gdpr_export_dir, config.compliance.pci_enabled) == (9000, True, "/e", True)
    assert (config.network.rtp_port_min, config.network.rtp_port_max, config.network.enable_srtp) == (12000, 13000, True)
    assert (config.recording.max_duration_s, config.recording.combine_legs, config.recording.mp3_bitrate) == (7200.0, False, 64)
    assert (config.resources.max_rtp_streams, config.pii.enabled_types, config.stt.default_vendor) == (9, ["email", "credit_card"], "openai")
    assert config.encryption.enable_recording_encryption


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("RequireAuth", "require_auth"), ("APIKey", "api_key"), ("GDPR", "gdpr"), ("AsyncSTT", "async_stt"), ("MaxRTPStreams", "max_rtp_streams"), ("S3", "s3"),
        ("STUNServers", "stun_servers"), ("MP3Bitrate", "mp3_bitrate"), ("port", "port"), ("TLSCertFile", "tls_cert_file"), ("", ""),
    ],
)  # fmt: skip
def test_names_in_capitals_are_read(name: str, told: str) -> None:
    assert snake(name) == told


def test_its_document_can_hold_ours_too(tmp_path: Path) -> None:
    told = loaded(tmp_path, {"logging": {"level": "debug"}, "siprec": {"strict": True}, "plans": {"Gold": {"calls_per_day": 5}}, "default_plan": "Gold"})
    assert (told.config.log.level, told.config.siprec.strict, told.config.plans["Gold"].calls_per_day) == ("debug", True, 5)
    assert strange(told) == []


def test_the_environment_is_stronger_than_its_document(tmp_path: Path) -> None:
    told = loaded(tmp_path, WHOLE, {"MAX_PAUSE_DURATION": "10s", "HTTP_PORT": "9191", "TRUNKLINE_LOG_LEVEL": "error"})
    assert (told.config.pause_resume.max_pause_s, told.config.http.port, told.config.log.level) == (10.0, 9191, "error")


def test_a_document_of_ours_is_not_taken_for_it(tmp_path: Path) -> None:
    assert not is_recorders({"network": {"rtp_timeout_s": 5}, "pause_resume": {"enabled": True}, "http": {"enabled": 1}})
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, {"http": {"prot": 9000}})
    assert "did you mean" in str(error.value)


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"logging": {"level": "loud"}}, "log.level"), ({"HTTP": {"Port": "many"}}, "http.port"), ({"recording": {"max_duration": "long"}}, "recording.max_duration_s"),
        ({"messaging": {"amqp_url": ["x"]}}, "bus.url"), ({"Encryption": {"Algorithm": "ChaCha20-Poly1305"}}, "encryption.algorithm"),
        ({"PauseResumeConfig": {"Enabled": "perhaps"}}, "pause_resume.enabled"), ({"logging": {}, "auth": {"enabled": "x"}}, "auth.enabled"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_refused_as_ours_are(tmp_path: Path, document: Any, path: str) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, document)
    assert [problem.path for problem in error.value.problems] == [path]


def test_a_large_or_deep_document_is_bounded(tmp_path: Path) -> None:
    told = loaded(tmp_path, {"logging": {f"x{number}": number for number in range(5000)}, "cluster": {"y" * 5000: 1}})
    assert len(strange(told)) == PROBLEMS_MAX
    assert max(map(len, strange(told))) <= 100
    path = tmp_path / "deep.json"
    path.write_text('{"logging": ' + '{"a": ' * 5000 + "1" + "}" * 5001)
    with pytest.raises(ConfigError) as error:
        load(path, {})
    assert "nested too deeply" in str(error.value)


def test_tables_name_what_there_is() -> None:
    known = fields()
    assert all(path in known for path in FIELDS.values())
    assert not SECTIONS & {path.partition(".")[0] for path in known}
    assert not set(FIELDS) & set(known)


ENVIRONMENT_SETS: dict[str, tuple[str, str, Any]] = {
    "RECORDING_STORAGE_ENABLED": ("true", "recording.storage.enabled", True), "RECORDING_STORAGE_KEEP_LOCAL": ("false", "recording.storage.keep_local", False),
    "RECORDING_STORAGE_S3_ENABLED": ("true", "recording.storage.s3.enabled", True), "RECORDING_STORAGE_S3_BUCKET": ("b", "recording.storage.s3.bucket", "b"),
    "RECORDING_STORAGE_S3_REGION": ("eu-1", "recording.storage.s3.region", "eu-1"), "RECORDING_STORAGE_S3_ACCESS_KEY": ("a", "recording.storage.s3.access_key", "a"),
    "RECORDING_STORAGE_S3_SECRET_KEY": ("s", "recording.storage.s3.secret_key", "s"), "RECORDING_STORAGE_S3_PREFIX": ("p/", "recording.storage.s3.prefix", "p/"),
    "RECORDING_COMBINE_LEGS": ("false", "recording.combine_legs", False), "RECORDING_MP3_BITRATE": ("96", "recording.mp3_bitrate", 96),
    "RECORDING_OPUS_BITRATE": ("32", "recording.opus_bitrate", 32), "ENABLE_RECORDING_ENCRYPTION": ("true", "encryption.enable_recording_encryption", True),
    "ENABLE_METADATA_ENCRYPTION": ("1", "encryption.enable_metadata_encryption", True), "ENCRYPTION_ALGORITHM": ("aes-256-gcm", "encryption.algorithm", "AES-256-GCM"),
    "MASTER_KEY_PATH": ("/k", "encryption.master_key_path", "/k"), "KEY_ROTATION_INTERVAL": ("12h", "encryption.key_rotation_interval_s", 43_200.0),
    "PAUSE_RESUME_ENABLED": ("true", "pause_resume.enabled", True), "PAUSE_RECORDING": ("false", "pause_resume.pause_recording", False),
    "PAUSE_TRANSCRIPTION": ("false", "pause_resume.pause_transcription", False), "PAUSE_RESUME_NOTIFICATIONS": ("no", "pause_resume.send_notifications", False),
    "MAX_PAUSE_DURATION": ("1h", "pause_resume.max_pause_s", 3600.0), "PAUSE_AUTO_RESUME": ("true", "pause_resume.auto_resume", True),
    "PAUSE_RESUME_PER_SESSION": ("false", "pause_resume.per_session", False), "PAUSE_RESUME_REQUIRE_AUTH": ("false", "pause_resume.require_auth", False),
    "PAUSE_RESUME_API_KEY": ("k", "pause_resume.api_key", "k"), "PII_DETECTION_ENABLED": ("true", "pii.enabled", True),
    "PII_ENABLED_TYPES": ("ssn, email", "pii.enabled_types", ["ssn", "email"]), "PII_REDACTION_CHAR": ("#", "pii.redaction_char", "#"),
    "PII_PRESERVE_FORMAT": ("false", "pii.preserve_format", False), "PII_CONTEXT_LENGTH": ("5", "pii.context_length", 5),
    "PII_APPLY_TO_TRANSCRIPTIONS": ("false", "pii.apply_to_transcriptions", False), "PII_APPLY_TO_RECORDINGS": ("true", "pii.apply_to_recordings", True),
    "COMPLIANCE_PCI_ENABLED": ("true", "compliance.pci_enabled", True), "COMPLIANCE_GDPR_ENABLED": ("true", "compliance.gdpr_enabled", True),
    "COMPLIANCE_GDPR_EXPORT_DIR": ("/e", "compliance.gdpr_export_dir", "/e"), "COMPLIANCE_AUDIT_TAMPER_PROOF": ("true", "compliance.audit_tamper_proof", True),
    "COMPLIANCE_AUDIT_LOG_PATH": ("/a", "compliance.audit_log_path", "/a"), "ANALYTICS_ENABLED": ("true", "analytics.enabled", True),
    "ELASTICSEARCH_INDEX": ("i", "analytics.elasticsearch_index", "i"), "ENABLE_REALTIME_AMQP": ("true", "realtime.enabled", True),
    "REALTIME_QUEUE_NAME": ("q", "realtime.queue", "q"), "REALTIME_EXCHANGE_NAME": ("x", "realtime.exchange", "x"),
    "REALTIME_ROUTING_KEY": ("r", "realtime.routing_key", "r"), "REALTIME_BATCH_SIZE": ("1", "realtime.batch_size", 1),
    "REALTIME_BATCH_TIMEOUT": ("500ms", "realtime.batch_timeout_s", 0.5), "AMQP_PUBLISH_TIMEOUT": ("2s", "realtime.confirm_timeout_s", 2.0),
    "PUBLISH_PARTIAL_TRANSCRIPTS": ("false", "realtime.partial_transcripts", False), "PUBLISH_FINAL_TRANSCRIPTS": ("false", "realtime.final_transcripts", False),
    "PUBLISH_SENTIMENT_UPDATES": ("false", "realtime.sentiment_updates", False), "PUBLISH_KEYWORD_DETECTIONS": ("false", "realtime.keyword_detections", False),
    "PUBLISH_SPEAKER_CHANGES": ("false", "realtime.speaker_changes", False), "MULTIPART_RESPONSE": ("true", "siprec.multipart_response", True),
    "MAX_CONCURRENT_CALLS": ("7", "resources.max_concurrent_calls", 7), "MAX_RTP_STREAMS": ("9", "resources.max_rtp_streams", 9),
    "HTTP_ENABLE_METRICS": ("false", "http.enable_metrics", False),
    "LOG_LEVEL": ("WARN", "log.level", "warning"), "AUTH_ENABLED": ("true", "auth.enabled", "on"), "SIP_AUTH_REALM": ("r", "sip.realm", "r"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENVIRONMENT_SETS)
def test_each_name_of_its_environment_sets_its_field(name: str) -> None:
    text, path, wanted = ENVIRONMENT_SETS[name]
    told = load(None, {name: text})
    value: Any = told.config
    for part in path.split("."):
        value = getattr(value, part)
    assert value == wanted
    assert told.sources[path] == f"environment {name}"
    default: Any = Config()
    for part in path.split("."):
        default = getattr(default, part)
    assert default != wanted or name == "ENCRYPTION_ALGORITHM"


def test_names_of_its_environment_that_mean_nothing_here_are_told() -> None:
    told = load(None, {"RECORDING_STORAGE_GCS_ENABLED": "true", "PAUSE_RESUME_FOO": SECRET, "PII_APPLY_TO_CDR": "true", "PATH": "/bin", "REALTIME_QUEUE_SIZE": ""})
    texts = [str(problem) for problem in told.warnings]
    assert [text.partition(" ")[0] for text in texts] == ["PAUSE_RESUME_FOO", "PII_APPLY_TO_CDR", "RECORDING_STORAGE_GCS_ENABLED"]
    assert SECRET not in " ".join(texts)
    assert not any(problem.text.startswith(tuple(ENVIRONMENT)) for problem in load(None, {name: told[0] for name, told in ENVIRONMENT_SETS.items()}).warnings)
    assert all(name.startswith(SIPREC_PREFIXES) or "_" in name for name in ENVIRONMENT_SETS)


def test_card_data_are_protected_whatever_else_is_said(tmp_path: Path) -> None:
    names = {"COMPLIANCE_PCI_ENABLED": "true", "PII_DETECTION_ENABLED": "false", "PII_ENABLED_TYPES": "email", "ENABLE_RECORDING_ENCRYPTION": "false"}
    told = load(None, names)
    pii, encryption = told.config.pii, told.config.encryption
    assert (pii.enabled, pii.enabled_types, pii.apply_to_transcriptions, pii.apply_to_recordings) == (True, ["email", "credit_card"], True, True)
    assert (encryption.enable_recording_encryption, encryption.enable_metadata_encryption) == (True, True)
    assert told.sources["pii.enabled"] == told.sources["encryption.enable_recording_encryption"] == "compliance.pci_enabled"
    assert "pii.apply_to_transcriptions" not in told.sources  # it was so already
    texts = " ".join(map(str, told.warnings))
    assert all(name in texts for name in ("network.require_tls_only", "network.require_srtp", "pause_resume.enabled"))
    assert merged({"compliance": {"pci_enabled": True}}).pii.enabled
    safe = {"network": {"require_tls_only": True, "require_srtp": True}, "pause_resume": {"enabled": True}, "compliance": {"pci_enabled": True}}
    assert not [problem for problem in check(merged(safe))[1] if problem.path == "compliance.pci_enabled"]
    assert not merged({}).pii.enabled and not check(merged({}))[1]


def test_publishing_without_a_broker_is_told() -> None:
    def told(**names: str) -> list[str]:
        return [problem.path for problem in load(None, {"ENABLE_REALTIME_AMQP": "true", **names}).warnings]

    assert told() == ["realtime.enabled"]
    assert told(AMQP_URL="amqp://broker/") == told(TRUNKLINE_REALTIME_URL="amqp://broker/") == []


def test_settings_that_nothing_goes_by_are_told(tmp_path: Path) -> None:
    def idle(told: Loaded) -> set[tuple[str, str]]:
        return {(problem.path, problem.source) for problem in told.warnings if "no effect" in problem.text}

    assert idle(load(None, {"RTP_TIMEOUT": "30s", "STUN_SERVER": "stun.example.com", "RTP_PORT_MIN": "20000", "RTP_PORT_MAX": "30000"})) == {
        ("network.rtp_timeout_s", "environment RTP_TIMEOUT"), ("network.stun_servers", "environment STUN_SERVER"),
    }  # fmt: skip
    path = str(tmp_path / "config.json")
    for document in ({"analytics": {"elasticsearch": {"addresses": ["http://es:9200"]}}}, {"analytics": {"elasticsearch_addresses": ["http://es:9200"]}}):
        assert idle(loaded(tmp_path, document)) == {("analytics.elasticsearch_addresses", path)}
    assert idle(load(None, {})) == set()
    assert set(IDLE) <= set(fields())


def test_what_the_environment_says_wrongly_is_told_with_its_name() -> None:
    with pytest.raises(ConfigError) as error:
        load(None, {"AUTH_ENABLED": "perhaps", "LOG_LEVEL": "loud", "KEY_ROTATION_INTERVAL": "soon"})
    told = str(error.value)
    assert all(f"environment {name}" in told for name in ("AUTH_ENABLED", "LOG_LEVEL", "KEY_ROTATION_INTERVAL"))
