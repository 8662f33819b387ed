"""Declares the SRTP kernel to cffi, and how `engine._native._srtp` is compiled: with OpenSSL's libcrypto, which no other module needs.

Run by setup.py, with the flags of the other modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cffi  # type: ignore[import-untyped]
from setuptools import Extension  # type: ignore[import-untyped]

KERNELS = Path("engine/_native/c")
SOURCES = ("srtp", "srtp_open", "srtp_packet", "srtp_keys", "srtp_source", "srtp_keystream", "srtp_hmac", "srtp_gcm")

DECLARED = """
enum srtp_suite {
    SRTP_AES_CM_128_HMAC_SHA1_80, SRTP_AES_CM_128_HMAC_SHA1_32, SRTP_AES_192_CM_HMAC_SHA1_80, SRTP_AES_192_CM_HMAC_SHA1_32,
    SRTP_AES_256_CM_HMAC_SHA1_80, SRTP_AES_256_CM_HMAC_SHA1_32, SRTP_AEAD_AES_128_GCM, SRTP_AEAD_AES_256_GCM, ...
};
enum srtp_status {
    SRTP_OK, SRTP_MALFORMED, SRTP_TOO_SMALL, SRTP_BAD_TAG, SRTP_REPLAYED, SRTP_TOO_OLD, SRTP_KEY_EXPIRED, SRTP_UNKNOWN_MKI, SRTP_NO_ROOM, SRTP_CRYPTO
};
enum srtp_operation { SRTP_PROTECT, SRTP_UNPROTECT, SRTCP_PROTECT, SRTCP_UNPROTECT };
#define SRTP_TRAILER_MAX ...
#define SRTP_SOURCES_MAX ...
#define SRTP_KEYS_MAX ...
#define SRTP_MKI_MAX ...

struct srtp;
struct srtp_settings {
    uint8_t suite;
    const uint8_t *key; uint32_t key_length;
    const uint8_t *mki; uint32_t mki_length;
    uint64_t lifetime;
    uint32_t window;
};
struct srtp *srtp_new(const struct srtp_settings *settings);
void srtp_free(struct srtp *context);
int srtp_rekey(struct srtp *context, const struct srtp_settings *settings);
void srtp_forget(struct srtp *context);
void srtp_set_roc(struct srtp *context, uint32_t ssrc, uint32_t roc);
int srtp_get_roc(const struct srtp *context, uint32_t ssrc, uint32_t *roc);
uint32_t srtp_rows(struct srtp *context, enum srtp_operation operation, uint8_t *bytes, uint32_t stride, uint32_t *lengths, int32_t *statuses,
                   uint32_t count);
struct srtp_counts { uint64_t protected_packets, unprotected_packets, bad_tag, replayed, too_old, malformed, expired, unknown_mki; };
void srtp_counts(const struct srtp *context, struct srtp_counts *counts);
uintptr_t srtp_functions_address(void);
"""


def extension(compile_args: Sequence[str], link_args: Sequence[str]) -> Extension:
    """The module, with its C source generated below `build/`."""
    builder = cffi.FFI()
    builder.cdef(DECLARED)
    builder.set_source(
        "engine._native._srtp",
        '#include "srtp.h"',
        sources=[str(KERNELS / f"{name}.c") for name in SOURCES],
        depends=[str(path) for path in sorted(KERNELS.glob("*.h"))],
        include_dirs=[str(KERNELS)],
        libraries=["crypto"],
        extra_compile_args=list(compile_args),
        extra_link_args=list(link_args),
    )
    made = builder.distutils_extension("build/cffi")
    assert isinstance(made, Extension)
    return made
