"""pylibsrtp: libsrtp from Python, one packet a call, bytes in and bytes out."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pylibsrtp  # type: ignore[import-untyped,unused-ignore]

NAME = "pylibsrtp"
PROFILES = {"cm": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80, "gcm": pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM}


def run(kind: str, key: bytes, packets: Sequence[bytes]) -> tuple[list[bytes], float, float]:
    """The packets as they are sent, and seconds of protecting and of unprotecting all of them. They came out as they went in."""
    sides = [
        pylibsrtp.Session(pylibsrtp.Policy(key=key, ssrc_type=which, srtp_profile=PROFILES[kind]))
        for which in (pylibsrtp.Policy.SSRC_ANY_OUTBOUND, pylibsrtp.Policy.SSRC_ANY_INBOUND)
    ]
    begin = time.thread_time()
    sealed = [sides[0].protect(packet) for packet in packets]
    middle = time.thread_time()
    opened = [sides[1].unprotect(packet) for packet in sealed]
    end = time.thread_time()
    if opened != list(packets):
        raise AssertionError("pylibsrtp did not give back what it was given")
    return sealed, middle - begin, end - middle
