"""S3 and what speaks its protocol, through boto3.

What was sent has its SHA-256 with it, which a store that can verifies; then the store is asked what it has, and where it keeps no checksum everything is read
back. Large files go in parts. An endpoint other than AWS's is part of a location's url, so that a copy is never looked for in the wrong store.

The rights that are needed: s3:PutObject, GetObject, DeleteObject, DeleteObjectVersion, AbortMultipartUpload, ListBucket, ListBucketVersions,
ListBucketMultipartUploads.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from engine.config.document import S3, RecordingStorage
from engine.recordings.record import Location
from engine.recordings.storage.base import (
    PIECE_BYTES,
    Changed,
    Denied,
    Elsewhere,
    Locked,
    Misconfigured,
    NoBucket,
    NoRoom,
    NotStored,
    Overloaded,
    Refused,
    StorageError,
    Unreachable,
    WrongContent,
    checked_key,
)

PART_BYTES: Final = 8 << 20
PARTS_MAX: Final = 10_000
BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
READ_ATTEMPTS: Final = 3
ERRORS: Final[dict[str, type[StorageError]]] = {
    "NoSuchBucket": NoBucket,
    "NoSuchKey": NotStored,
    "NoSuchVersion": NotStored,
    "NoSuchUpload": Unreachable,  # taken away by others while it ran; a new one can be begun
    "BadDigest": WrongContent,
    "XAmzContentSHA256Mismatch": WrongContent,
    "IncompleteBody": WrongContent,
    "ExpiredToken": Denied,
    "InvalidToken": Denied,
    "RequestTimeTooSkewed": Denied,
    "RequestTimeout": Unreachable,
    "SlowDown": Overloaded,
    "QuotaExceeded": NoRoom,
    "XMinioStorageFull": NoRoom,
    "XMinioAdminBucketQuotaExceeded": NoRoom,
    "ObjectLocked": Locked,
    "PermanentRedirect": Misconfigured,
    "AuthorizationHeaderMalformed": Misconfigured,
    "IllegalLocationConstraintException": Misconfigured,
}
STATUSES: Final[dict[int, type[StorageError]]] = {
    301: Misconfigured, 307: Unreachable, 401: Denied, 403: Denied, 404: NotStored, 408: Unreachable, 429: Overloaded, 500: Overloaded, 502: Overloaded,
    503: Overloaded, 504: Overloaded, 507: NoRoom,
}  # fmt: skip
NOT_KNOWN: Final = {"NotImplemented", "InvalidArgument", "InvalidRequest", "MethodNotAllowed"}  # what stores say to what they do not have


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long one request may take, and how often it is tried."""

    connect_s: float = 5.0
    read_s: float = 60.0
    attempts: int = 3


LIMITS: Final = Limits()


class _NotKnown(Refused):
    """The store does not know something that not every store has."""


class _Sent(msgspec.Struct, frozen=True):
    """What went to the store; `checksum` as the store tells it."""

    etag: str
    version: str
    checksum: str


def _based(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _md5(content: bytes) -> str:
    return _based(hashlib.md5(content, usedforsecurity=False).digest())


def _told(error: Exception, what: str) -> StorageError:
    """What an error of boto3 is to us. The store's own text is left out: it is a stranger's, and can quote what was signed."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        answer = error.response
        code = re.sub(r"[^A-Za-z0-9.]", "", str(answer.get("Error", {}).get("Code", "")))[:64]
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        kind = ERRORS.get(code) or (_NotKnown if code in NOT_KNOWN or status in (405, 501) else STATUSES.get(status, Refused))
        return kind(f"{what}: the store answers {status} {code}")
    name = type(error).__name__
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError | exceptions.CredentialRetrievalError):
        return Denied(f"{what}: there are no credentials for it ({name})")
    if isinstance(error, exceptions.ParamValidationError | exceptions.ValidationError):
        return Misconfigured(f"{what}: its settings cannot be used ({name})")
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError | exceptions.IncompleteReadError | OSError):
        return Unreachable(f"{what}: the store does not answer, or the connection broke ({name})")
    return Refused(f"{what}: {name}")


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Errors of boto3 become ours; their chain ends here, because they can hold what was signed."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise _told(error, what) from None


class S3Backend:
    """A bucket. Credentials are the configured ones, or those of the process's environment."""

    name = scheme = "s3"

    def __init__(self, settings: S3, *, now: Callable[[], float], limits: Limits = LIMITS, part_bytes: int = PART_BYTES) -> None:
        """Raises Misconfigured."""
        if not BUCKET.fullmatch(settings.bucket):
            raise Misconfigured("recording.storage.s3.bucket is no name of a bucket")
        if bool(settings.access_key) != bool(settings.secret_key):
            raise Misconfigured("recording.storage.s3 has one half of its credentials: access_key and secret_key go together")
        self._settings = settings
        self._endpoint = _endpoint(settings.endpoint)
        self._prefix = _prefix(settings.prefix)
        self._now = now
        self._limits = limits
        self._part_bytes = part_bytes
        self._has_checksums = True
        self._made: Any = None
        self._guard = threading.Lock()

    @classmethod
    def is_chosen(cls, storage: RecordingStorage) -> bool:
        """Whether the bucket is switched on."""
        return storage.s3.enabled

    @classmethod
    def of_config(cls, storage: RecordingStorage, data_dir: Path, now: Callable[[], float]) -> S3Backend:
        """Of its section. Raises Misconfigured."""
        return cls(storage.s3, now=now)

    def __repr__(self) -> str:
        return f"S3Backend({self._settings.bucket!r})"

    def owns(self, url: str) -> bool:
        """Whether a url is of this store: any bucket of this endpoint."""
        parts = urlsplit(url)
        return parts.scheme == self.scheme and parse_qs(parts.query).get("endpoint", [""])[0] == _place(self._endpoint)

    def put(self, path: Path, key: str, *, sha256: str) -> Location:
        """As `Backend.put`. A store that does not know checksums gets MD5 digests (RFC 1864), and is read back."""
        full = f"{self._prefix}{checked_key(key)}"
        try:
            return self._put(path, full, sha256)
        except _NotKnown:
            if not self._has_checksums:
                raise
            self._has_checksums = False
            return self._put(path, full, sha256)

    def get(self, location: Location) -> Iterator[bytes]:
        """As `Backend.get`. A connection that breaks is made again, from where it broke on."""
        bucket, key = self._place_of(location)
        digest, done, failures = hashlib.sha256(), 0, 0
        while done < location.bytes or not failures:
            try:
                for piece in self._pieces(bucket, key, location, done):
                    digest.update(piece)
                    done, failures = done + len(piece), 0
                    yield piece
                break
            except Unreachable:
                failures += 1
                if failures == READ_ATTEMPTS:
                    raise
        if done != location.bytes or digest.hexdigest() != location.sha256:
            raise WrongContent(f"{location.url}: what the store has is not what was stored")

    def delete(self, location: Location) -> bool:
        """As `Backend.delete`: all versions, their markers, and uploads that were never completed. Raises Locked where the store keeps a version."""
        bucket, key = self._place_of(location)
        abandoned = self._abandon(bucket, key)
        try:
            versions = list(self._versions(bucket, key))
        except _NotKnown:
            return self._delete_plainly(bucket, key, location) or abandoned
        problems = [problem for version in versions if (problem := self._delete_version(bucket, key, version))]
        if problems:
            raise type(problems[0])(f"{len(problems)} of {len(versions)} versions are left: {problems[0]}")
        if versions and next(self._versions(bucket, key), None) is not None:
            raise Refused(f"{location.url}: the store still has it")
        return bool(versions) or abandoned

    def exists(self, location: Location) -> bool:
        """As `Backend.exists`."""
        bucket, key = self._place_of(location)
        try:
            with _telling(location.url):
                self._client().head_object(Bucket=bucket, Key=key, **_versioned(location.version))
        except NotStored:
            self._check(bucket)  # a bucket that is away answers the same
            return False
        return True

    def check(self) -> None:
        """As `Backend.check`: whether the bucket is there and lets us in."""
        self._check(self._settings.bucket)

    def close(self) -> None:
        """As `Backend.close`."""
        with self._guard:
            if self._made is not None:
                self._made.close()
                self._made = None

    # ---- the store ----

    def _client(self) -> Any:
        """boto3's, made when it is first wanted: it is slow to load, and looks for credentials."""
        with self._guard:
            if self._made is None:
                self._made = self._new_client()
            return self._made

    def _new_client(self) -> Any:
        import boto3
        from botocore.config import Config

        for name in ("boto3", "botocore", "urllib3"):
            logging.getLogger(name).setLevel(logging.INFO)  # below that it logs what it signs
        settings, limits = self._settings, self._limits
        config = Config(
            connect_timeout=limits.connect_s, read_timeout=limits.read_s, retries={"mode": "standard", "total_max_attempts": limits.attempts},
            s3={"addressing_style": "path" if settings.path_style else "auto"}, max_pool_connections=8, request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )  # fmt: skip
        with _telling("recording.storage.s3"):
            try:
                return boto3.session.Session().client(
                    "s3", region_name=settings.region or None, endpoint_url=self._endpoint or None, config=config,
                    aws_access_key_id=settings.access_key or None, aws_secret_access_key=settings.secret_key or None,
                )  # fmt: skip
            except ValueError:
                raise Misconfigured("recording.storage.s3: its endpoint or region cannot be used") from None

    def _check(self, bucket: str) -> None:
        try:
            with _telling(f"the bucket {bucket}"):
                self._client().head_bucket(Bucket=bucket)
        except NotStored as error:
            raise NoBucket(str(error)) from None

    def _place_of(self, location: Location) -> tuple[str, str]:
        """Bucket and key. Raises Elsewhere."""
        if not self.owns(location.url):
            raise Elsewhere(f"{location.url} is not in the store that is configured, {_place(self._endpoint) or 'AWS'}")
        parts = urlsplit(location.url)
        return parts.netloc, checked_key(parts.path.removeprefix("/"))

    def _put(self, path: Path, key: str, sha256: str) -> Location:
        bucket = self._settings.bucket
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            put = self._put_whole if size <= self._part_bytes else self._put_parts
            with _telling(f"the bucket {bucket}"):
                sent = put(file, key, size, sha256)
        query = f"?endpoint={_place(self._endpoint)}" if self._endpoint else ""
        location = Location(
            url=f"s3://{bucket}/{key}{query}", bytes=size, sha256=sha256, etag=sent.etag, version=sent.version, at=self._now()
        )
        try:
            self._verify(location, key, sent.checksum)
        except WrongContent:
            with suppress(StorageError):
                self._delete_version(bucket, key, sent.version)
            raise
        return location

    def _put_whole(self, file: BufferedReader, key: str, size: int, sha256: str) -> _Sent:
        content = file.read(size + 1)
        digest = hashlib.sha256(content)
        if len(content) != size or digest.hexdigest() != sha256:
            raise Changed(f"{Path(file.name).name} is not the file that its checksum was made of")
        checksum = _based(digest.digest())
        answer = self._client().put_object(
            Bucket=self._settings.bucket, Key=key, Body=content, Metadata={"sha256": sha256}, **self._checked(checksum, content)
        )
        return _sent(answer, checksum)

    def _put_parts(self, file: BufferedReader, key: str, size: int, sha256: str) -> _Sent:
        where = {"Bucket": self._settings.bucket, "Key": key}
        algorithm = {"ChecksumAlgorithm": "SHA256"} if self._has_checksums else {}
        with suppress(StorageError):  # it is no more than tidy here
            self._abandon(where["Bucket"], key)
        upload = self._client().create_multipart_upload(**where, Metadata={"sha256": sha256}, **algorithm)["UploadId"]
        try:
            parts, digests = self._upload_parts(file, where | {"UploadId": upload}, size, sha256)
            answer = self._client().complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
        except BaseException:
            with suppress(Exception):
                self._client().abort_multipart_upload(**where, UploadId=upload)
            raise
        return _sent(answer, f"{_based(hashlib.sha256(digests).digest())}-{len(parts)}")

    def _upload_parts(self, file: BufferedReader, where: dict[str, str], size: int, sha256: str) -> tuple[list[dict[str, Any]], bytes]:
        """What completes the upload, and the digests of its parts, joined."""
        part_bytes = max(self._part_bytes, -(-size // PARTS_MAX))
        whole, digests, parts = hashlib.sha256(), b"", []
        for number in range(1, -(-size // part_bytes) + 1):
            content = file.read(min(part_bytes, size - (number - 1) * part_bytes))
            whole.update(content)
            digest = hashlib.sha256(content).digest()
            checked = self._checked(_based(digest), content)
            answer = self._client().upload_part(**where, PartNumber=number, Body=content, **checked)
            parts.append({"PartNumber": number, "ETag": answer["ETag"]} | {name: text for name, text in checked.items() if name == "ChecksumSHA256"})
            digests += digest
        if file.read(1) or whole.hexdigest() != sha256:
            raise Changed(f"{Path(file.name).name} is not the file that its checksum was made of")
        return parts, digests

    def _checked(self, checksum: str, content: bytes) -> dict[str, str]:
        if self._has_checksums:
            return {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": checksum}
        return {"ContentMD5": _md5(content)}

    def _verify(self, location: Location, key: str, checksum: str) -> None:
        """Raises WrongContent unless the store has what was sent."""
        mode = {"ChecksumMode": "ENABLED"} if self._has_checksums else {}
        with _telling(location.url):
            answer = self._client().head_object(Bucket=self._settings.bucket, Key=key, **_versioned(location.version), **mode)
        if answer.get("ContentLength") != location.bytes:
            raise WrongContent(f"{location.url}: the store has {answer.get('ContentLength')} bytes, not {location.bytes}")
        kept = answer.get("ChecksumSHA256", "")
        if not kept:
            for _ in self.get(location):
                pass
        elif kept.partition("-")[0] != checksum.partition("-")[0]:  # not all stores tell the number of parts
            raise WrongContent(f"{location.url}: the store's checksum is of other bytes")

    def _pieces(self, bucket: str, key: str, location: Location, offset: int) -> Iterator[bytes]:
        wanted = {"Range": f"bytes={offset}-"} if offset else {}
        with _telling(location.url):
            body = self._client().get_object(Bucket=bucket, Key=key, **_versioned(location.version), **wanted)["Body"]
            with body:
                yield from iter(lambda: body.read(PIECE_BYTES), b"")

    # ---- deletion ----

    def _versions(self, bucket: str, key: str) -> Iterator[str]:
        """Ids of all versions of a key, and of the markers of their deletion."""
        after: dict[str, str] = {}
        while True:
            with _telling(f"versions in the bucket {bucket}"):
                page = self._client().list_object_versions(Bucket=bucket, Prefix=key, **after)
            found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            yield from (each["VersionId"] for each in found if each["Key"] == key)
            # in the order of their names: the key itself comes before all that only begin with it
            if not page.get("IsTruncated") or page.get("NextKeyMarker") != key:
                return
            after = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page.get("NextVersionIdMarker", "")}

    def _delete_version(self, bucket: str, key: str, version: str) -> StorageError | None:
        """Deletes one version; what kept that from happening."""
        try:
            with _telling(f"s3://{bucket}/{key}"):
                self._client().delete_object(Bucket=bucket, Key=key, **_versioned(version))
        except NotStored:
            return None
        except StorageError as error:
            return self._lock_of(bucket, key, version) or error
        return None

    def _lock_of(self, bucket: str, key: str, version: str) -> Locked | None:
        try:
            with _telling(f"s3://{bucket}/{key}"):
                answer = self._client().head_object(Bucket=bucket, Key=key, **_versioned(version))
        except StorageError:
            return None
        if answer.get("ObjectLockLegalHoldStatus") == "ON":
            return Locked(f"s3://{bucket}/{key}: the store has a legal hold on it")
        if until := answer.get("ObjectLockRetainUntilDate"):
            return Locked(f"s3://{bucket}/{key}: the store keeps it until {until:%Y-%m-%dT%H:%M:%SZ}")
        return None

    def _delete_plainly(self, bucket: str, key: str, location: Location) -> bool:
        """Of a store without versions."""
        if not self.exists(location):
            return False
        if problem := self._delete_version(bucket, key, location.version):
            raise problem
        if self.exists(location):
            raise Refused(f"{location.url}: the store still has it")
        return True

    def _abandon(self, bucket: str, key: str) -> bool:
        """Takes away the parts of uploads that were never completed; whether there were some."""
        try:
            with _telling(f"uploads to the bucket {bucket}"):
                page = self._client().list_multipart_uploads(Bucket=bucket, Prefix=key)
                uploads = [each["UploadId"] for each in page.get("Uploads", ()) if each["Key"] == key]
                for upload in uploads:
                    self._client().abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
        except _NotKnown:
            return False
        return bool(uploads)


def _sent(answer: dict[str, Any], checksum: str) -> _Sent:
    version = answer.get("VersionId", "")
    return _Sent(answer.get("ETag", "").strip('"'), "" if version == "null" else version, checksum)  # null: of a bucket without versions


def _versioned(version: str) -> dict[str, str]:
    return {"VersionId": version} if version else {}


def _endpoint(endpoint: str) -> str:
    """The url as it was configured, without a slash at its end. Raises Misconfigured."""
    endpoint = endpoint.strip().rstrip("/")
    if not endpoint:
        return ""
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        is_good = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc and not (parts.path or parts.query or parts.fragment)
        port = parts.port
    except ValueError:
        is_good, port = False, None
    if not is_good:
        raise Misconfigured("recording.storage.s3.endpoint is https://host or http://host:port, without credentials or a path")
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}"


def _place(endpoint: str) -> str:
    """Host and port of an endpoint: what tells stores apart, over TLS or not."""
    return endpoint.partition("://")[2]


def _prefix(prefix: str) -> str:
    prefix = prefix.strip("/")
    if not prefix:
        return ""
    try:
        return f"{checked_key(prefix)}/"
    except StorageError as error:
        raise Misconfigured(f"recording.storage.s3.prefix: {error}") from None


__all__ = ["Limits", "S3Backend"]
