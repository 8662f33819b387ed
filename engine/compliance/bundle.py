"""What is kept of a call, as its people may have it: a document of JSON, and an archive of the sound and of everything else as it is."""

from __future__ import annotations

import contextlib
import hashlib
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from engine.clock import iso, iso_or_none
from engine.compliance.errors import ExportFailed
from engine.compliance.requests import Exported
from engine.errors import EngineError
from engine.recordings.replacing import remove, replacing

if TYPE_CHECKING:
    from engine.recordings.catalogue import Catalogue
    from engine.recordings.record import KeptFile, Record
    from engine.siprec.document import SessionDocument
    from engine.store import Store

DOCUMENT_MAX_BYTES: Final = 64 << 20
NAME_MAX_CHARS: Final = 80
NAMES_MAX: Final = 1000
CALLS_MAX: Final = 200
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
# Credentials and media keys (RFC 3261 22.4, RFC 4568 6.1) are nobody's personal data.
_SECRETS: Final = re.compile(r"(?im)^((?:proxy-)?authorization[ \t]*:[ \t]*)([^\r\n]+)|(inline:)([\w+/=]{16,})")


class ExportHead(msgspec.Struct, frozen=True):
    """What an export says of itself."""

    call_id: str
    exported_at: str
    archive: str = ""


def without_secrets(text: str) -> str:
    """A message or description without credentials and keys: [REDACTED-<length>] instead."""
    return _SECRETS.sub(lambda found: f"{found[1] or found[3]}[REDACTED-{len(found[2] or found[4])}]", text)


def plain_name(call_id: str) -> str:
    """What of a Call-ID may be part of a file's name."""
    return _UNSAFE.sub("", call_id)[:NAME_MAX_CHARS] or "call"


class Stored(msgspec.Struct, frozen=True):
    """What the store has of a call: rows as plain values."""

    calls: tuple[dict[str, Any], ...] = ()
    numbers: tuple[int, ...] = ()
    trace_ids: tuple[str, ...] = ()
    call_ids: tuple[str, ...] = ()


async def stored_of(store: Store | None, call_id: str) -> Stored:
    """Everything that the store has under a Call-ID. Raises StoreError."""
    if store is None:
        return Stored()
    from engine.store import CallFilter

    rows, _ = await store.calls.list(CallFilter(call_id=call_id), limit=CALLS_MAX)
    calls = []
    for row in rows:
        told: dict[str, Any] = msgspec.to_builtins(row)
        told["messages"] = [
            {"at_ns": message.at_ns, "from": message.source, "to": message.target, "text": without_secrets(message.text.decode("utf-8", "replace"))}
            for message in await store.calls.messages(row.number)
        ]
        told["findings"] = msgspec.to_builtins(await store.calls.findings(row.number))
        told["streams"] = msgspec.to_builtins(await store.calls.streams(row.number))
        for name, table in (("recordings", store.recordings), ("transcripts", store.transcripts), ("summaries", store.summaries)):
            told[name] = [msgspec.to_builtins(each) for each in await table.of_call(row.number)]
        calls.append(told)
    return Stored(
        tuple(calls), tuple(row.number for row in rows), tuple(dict.fromkeys(row.trace_id for row in rows if row.trace_id)),
        tuple(dict.fromkeys(call_id for row in rows for call_id in row.call_ids)),
    )  # fmt: skip


def bundle_of(
    catalogue: Catalogue, call_id: str, records: Sequence[Record], stored: Stored, *, at: float, by: str
) -> dict[str, Any]:
    """The document. Waits for the disk, and for storage elsewhere."""
    documents = [(record, catalogue.document(record)) for record in records]
    facts = [document.session for _, document in documents if document is not None]
    newest = facts[-1] if facts else None
    return {
        "call_id": call_id,
        "session": msgspec.to_builtins(newest) if newest is not None else {},
        "sessions": [msgspec.to_builtins(each) for each in facts],
        "participants": [msgspec.to_builtins(party) for each in facts for party in each.participants],
        "streams": [msgspec.to_builtins(channel) for each in facts for channel in each.channels],
        "transcriptions": [*_transcripts(catalogue, records), *(each for call in stored.calls for each in call["transcripts"])],
        "cdr": _cdr(records, stored),
        "recordings": [_recording(record, document) for record, document in documents],
        "calls": list(stored.calls),
        "exported_at": iso(at),
        "exported_by": by,
    }


def _cdr(records: Sequence[Record], stored: Stored) -> dict[str, Any]:
    call = {name: value for name, value in (stored.calls[0] if stored.calls else {}).items() if not isinstance(value, list | dict)}
    begun = min((record.started_at for record in records), default=call.get("started_at"))
    ended = max((record.started_at + record.duration_ms / 1000 for record in records), default=call.get("ended_at"))
    return {
        "started_at": iso_or_none(begun), "ended_at": iso_or_none(ended), "duration_ms": sum(record.duration_ms for record in records) if records else call.get("duration_ms"),
        "recordings": len(records), "vendor": records[-1].vendor if records else "", "participants": sorted({each for record in records for each in record.participants}),
        "correlation": sorted({each for record in records for each in record.correlation}), "call": call,
    }  # fmt: skip


def _recording(record: Record, document: SessionDocument | None) -> dict[str, Any]:
    return {
        "recording_id": record.recording_id, "started_at": iso_or_none(record.started_at), "duration_ms": record.duration_ms, "manifest_sha256": record.manifest_sha256,
        "files": [
            {"name": _member(record, file), "role": file.role, "format": file.format, "bytes": file.bytes, "sha256": file.sha256, "tracks": list(file.tracks)}
            for file in record.files
        ],
        "redactions": msgspec.to_builtins(record.redactions), "policy": record.policy, "expires_at": iso_or_none(record.expires_at),
        "metadata": [] if document is None else [msgspec.to_builtins(body) | {"content": without_secrets(body.content)} for body in document.bodies],
        "headers": [] if document is None else [list(header) for header in document.headers],
    }  # fmt: skip


def _transcripts(catalogue: Catalogue, records: Sequence[Record]) -> Iterator[Any]:
    for record in records:
        for file in record.files:
            if file.role == "transcript" and file.bytes <= DOCUMENT_MAX_BYTES:
                yield msgspec.json.decode(b"".join(catalogue.read_audio(record, file)))


def _member(record: Record, file: KeptFile) -> str:
    """A file's name in the archive."""
    return f"{record.recording_id}/{file.name}"


def write(catalogue: Catalogue, folder: Path, document: dict[str, Any], records: Sequence[Record], *, at: float) -> Exported:
    """Writes an export into a folder, all of it or nothing. Blocks. Raises ExportFailed."""
    target = archive = None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = _free(folder, f"{plain_name(document['call_id'])}-{int(at)}")
        archive = target.with_suffix(".zip") if records else None
        document["archive"] = archive.name if archive is not None else ""
        content = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
        if archive is not None:
            _write_archive(catalogue, archive, target.name, content, records)
        with replacing(target) as file:
            file.write(content)
    except (OSError, EngineError, msgspec.MsgspecError, ValueError) as error:
        for path in (target, archive):
            if path is not None:
                with contextlib.suppress(OSError):
                    remove(path)
        raise ExportFailed(f"nothing was exported: {error.strerror if isinstance(error, OSError) and error.strerror else error}") from error
    return Exported(str(target), str(archive or ""), _sha256(target), _sha256(archive) if archive is not None else "", len(records))


def _free(folder: Path, stem: str) -> Path:
    """A name that no export has."""
    for turn in range(1, NAMES_MAX):
        path = folder / (f"{stem}.json" if turn == 1 else f"{stem}-{turn}.json")
        if not path.exists() and not path.with_suffix(".zip").exists():
            return path
    raise ExportFailed(f"{NAMES_MAX} exports of this second have the name {stem} already")


def _write_archive(catalogue: Catalogue, path: Path, name: str, content: bytes, records: Sequence[Record]) -> None:
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr(name, content)
        for record in records:
            for kept in record.files:
                with archive.open(_member(record, kept), "w", force_zip64=True) as member:
                    for piece in catalogue.read_audio(record, kept):
                        member.write(piece)
            archive.writestr(f"{record.recording_id}/{record.manifest}", (catalogue.folder.path / record.manifest).read_bytes())


def _sha256(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def exports_of(folder: Path, call_ids: frozenset[str]) -> list[Path]:
    """The files of all exports of these calls."""
    found: list[Path] = []
    if not folder.is_dir():
        return found
    starts = tuple(f"{plain_name(call_id)}-" for call_id in call_ids)
    for path in folder.iterdir():
        if not path.name.startswith(starts) or path.suffix != ".json":
            continue
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            if msgspec.json.decode(path.read_bytes(), type=ExportHead).call_id in call_ids:
                found += [each for each in (path.with_suffix(".zip"), path) if each.exists()]
    return found


__all__ = ["ExportHead", "Stored", "bundle_of", "exports_of", "plain_name", "stored_of", "without_secrets", "write"]
