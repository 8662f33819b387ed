"""The SRTP kernel through cffi. What each function does is in `c/srtp.h`; callers use `engine.srtp`."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from typing_extensions import Buffer

class _Pointer:
    """A C pointer or array."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Any: ...
    def __setitem__(self, index: int, value: int) -> None: ...

class _Ffi:
    NULL: Final[_Pointer]
    def from_buffer(self, ctype: str, buffer: Buffer, require_writable: bool = ...) -> _Pointer: ...
    def new(self, ctype: str, initializer: Mapping[str, Any] = ...) -> _Pointer: ...
    def gc(self, pointer: _Pointer, destructor: Callable[[_Pointer], None] | None) -> _Pointer: ...
    def release(self, pointer: _Pointer) -> None: ...
    def cast(self, ctype: str, pointer: _Pointer) -> Any: ...

class _Lib:
    SRTP_PROTECT: Final[int]
    SRTP_UNPROTECT: Final[int]
    SRTCP_PROTECT: Final[int]
    SRTCP_UNPROTECT: Final[int]
    SRTP_OK: Final[int]
    SRTP_MALFORMED: Final[int]
    SRTP_TOO_SMALL: Final[int]
    SRTP_BAD_TAG: Final[int]
    SRTP_REPLAYED: Final[int]
    SRTP_TOO_OLD: Final[int]
    SRTP_KEY_EXPIRED: Final[int]
    SRTP_UNKNOWN_MKI: Final[int]
    SRTP_NO_ROOM: Final[int]
    SRTP_CRYPTO: Final[int]
    SRTP_AES_CM_128_HMAC_SHA1_80: Final[int]
    SRTP_AES_CM_128_HMAC_SHA1_32: Final[int]
    SRTP_AES_192_CM_HMAC_SHA1_80: Final[int]
    SRTP_AES_192_CM_HMAC_SHA1_32: Final[int]
    SRTP_AES_256_CM_HMAC_SHA1_80: Final[int]
    SRTP_AES_256_CM_HMAC_SHA1_32: Final[int]
    SRTP_AEAD_AES_128_GCM: Final[int]
    SRTP_AEAD_AES_256_GCM: Final[int]
    SRTP_TRAILER_MAX: Final[int]
    SRTP_SOURCES_MAX: Final[int]
    SRTP_KEYS_MAX: Final[int]
    SRTP_MKI_MAX: Final[int]
    def srtp_new(self, settings: _Pointer) -> _Pointer: ...
    def srtp_free(self, context: _Pointer) -> None: ...
    def srtp_rekey(self, context: _Pointer, settings: _Pointer) -> int: ...
    def srtp_forget(self, context: _Pointer) -> None: ...
    def srtp_set_roc(self, context: _Pointer, ssrc: int, roc: int) -> None: ...
    def srtp_get_roc(self, context: _Pointer, ssrc: int, roc: _Pointer) -> int: ...
    def srtp_rows(
        self, context: _Pointer, operation: int, packets: _Pointer, stride: int, lengths: _Pointer, statuses: _Pointer, count: int
    ) -> int: ...
    def srtp_counts(self, context: _Pointer, counts: _Pointer) -> None: ...
    def srtp_functions_address(self) -> int: ...

ffi: Final[_Ffi]
lib: Final[_Lib]
