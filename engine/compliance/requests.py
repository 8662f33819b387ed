"""What is asked of compliance over the bus, and what it answers."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from engine.config import Config

STATUS_SUBJECT: Final = "compliance.status"  # -> ComplianceStatus
EXPORT_SUBJECT: Final = "gdpr.export"  # CallWanted -> Exported
ERASE_SUBJECT: Final = "gdpr.erase"  # CallWanted -> Receipt
VERIFY_SUBJECT: Final = "compliance.verify"  # -> AuditVerified
CALL_ID_MAX_CHARS: Final = 512


class CallWanted(msgspec.Struct, frozen=True):
    """Whose data, who wants it exported or erased, and why."""

    call_id: str
    by: str
    reason: str = ""


class Exported(msgspec.Struct, frozen=True):
    """An export: its document, the archive beside it ("" where there is nothing but the document), and their SHA-256."""

    path: str
    archive: str
    sha256: str
    archive_sha256: str
    recordings: int


class ErasedFile(msgspec.Struct, frozen=True):
    """A file that was erased, without its name."""

    role: str
    bytes: int
    sha256: str


class ErasedRecording(msgspec.Struct, frozen=True):
    """A recording that was erased; `tombstone` is what is left of it, `copies` were elsewhere."""

    tombstone: str
    manifest_sha256: str
    files: tuple[ErasedFile, ...]
    copies: int = 0


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an erasure took away. `reference` is a hash of the Call-ID. `rows` are by table of the store. `residue` is what is left, and is tried again;
    `mentions` is how many files hold a number or name of the call, which other calls may have too; `notes` what cannot be seen from here."""

    reference: str
    status: str
    erased_at: str
    erased_by: str
    reason: str = ""
    recordings: tuple[ErasedRecording, ...] = ()
    rows: dict[str, int] = {}
    exports: int = 0
    live_messages: int = 0
    audit_lines: int = 0
    searched_files: int = 0
    searched_bytes: int = 0
    residue: tuple[str, ...] = ()
    mentions: int = 0
    notes: tuple[str, ...] = ()
    attempts: int = 1


class PciStatus(msgspec.Struct, frozen=True):
    """What protects card data."""

    enabled: bool
    pii_detection_enabled: bool
    pii_apply_to_transcriptions: bool
    pii_apply_to_recordings: bool
    recording_encryption: bool
    tls_enabled: bool
    tls_only: bool
    srtp_enabled: bool
    srtp_required: bool


class GdprStatus(msgspec.Struct, frozen=True):
    """Whether export and erasure are there. `unfinished` erasures are gone on with."""

    enabled: bool
    export_dir: str
    service_available: bool
    unfinished: int = 0


class AuditStatus(msgspec.Struct, frozen=True):
    """The audit log of calls. `head` is its newest line: number, hash and when it was asked for, worth keeping elsewhere."""

    tamper_proof: bool
    log_path: str
    head: dict[str, Any] | None = None


class ComplianceStatus(msgspec.Struct, frozen=True):
    """All of it."""

    pci: PciStatus
    gdpr: GdprStatus
    audit: AuditStatus


class AuditVerified(msgspec.Struct, frozen=True):
    """What the audit log of calls looks like: `problems` is empty where every line is as it was written."""

    enabled: bool
    lines: int
    problems: tuple[str, ...]


def status_of(config: Config, *, service_available: bool = False, unfinished: int = 0, head: dict[str, Any] | None = None) -> ComplianceStatus:
    """What the configuration says."""
    return ComplianceStatus(
        pci=PciStatus(
            enabled=config.compliance.pci_enabled, pii_detection_enabled=config.pii.enabled,
            pii_apply_to_transcriptions=config.pii.enabled and config.pii.apply_to_transcriptions,
            pii_apply_to_recordings=config.pii.enabled and config.pii.apply_to_recordings,
            recording_encryption=config.encryption.enable_recording_encryption, tls_enabled=config.network.enable_tls, tls_only=config.network.require_tls_only,
            srtp_enabled=config.network.enable_srtp, srtp_required=config.network.require_srtp,
        ),
        gdpr=GdprStatus(config.compliance.gdpr_enabled, config.compliance.gdpr_export_dir, service_available, unfinished),
        audit=AuditStatus(config.compliance.audit_tamper_proof, config.compliance.audit_log_path, head),
    )  # fmt: skip


__all__ = [
    "CALL_ID_MAX_CHARS", "ERASE_SUBJECT", "EXPORT_SUBJECT", "STATUS_SUBJECT", "VERIFY_SUBJECT", "AuditStatus", "AuditVerified", "CallWanted", "ComplianceStatus",
    "ErasedFile", "ErasedRecording", "Exported", "GdprStatus", "PciStatus", "Receipt", "status_of",
]  # fmt: skip
