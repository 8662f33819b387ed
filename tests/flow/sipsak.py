"""sipsak in tests: a sign of life by OPTIONS, a registration, a flood, and requests that are mutilated more and more.

Debian's 0.9.8.1 crashes where it would call or write to the user it registered (-I, -M), cuts ports of five digits to four in the Request-URI,
and reads no answer over TLS 1.3: whoever is asked over TLS must agree on 1.2.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final, Literal

import msgspec

from tests.flow.program import path_of
from tests.running import ENVIRONMENT

WITHIN_S: Final = 60.0
Transport = Literal["udp", "tcp", "tls"]


class Told(msgspec.Struct, frozen=True):
    """How it ended, 0 where all was well, and what it wrote."""

    status: int
    output: str


def run(*arguments: str, within_s: float = WITHIN_S) -> Told:
    """Runs it to its end. Raises subprocess.TimeoutExpired."""
    done = subprocess.run(
        # told who it is, it does not wait for a name server to say so
        [path_of("sipsak"), "-H", "127.0.0.1", *arguments], env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=within_s, check=False,
    )  # fmt: skip
    return Told(done.returncode, done.stdout.decode(errors="replace"))


def ping(uri: str, *, transport: Transport = "udp", authority: Path | None = None) -> Told:
    """One OPTIONS; `output` has the answer. The URI may have no parameters. Over TLS the `authority` is what it trusts."""
    trust = [f"--tls-ca-cert={authority}"] if authority is not None else []
    return run("-vv", "-E", transport, *trust, "-s", uri)


def register(uri: str, *, password: str = "") -> Told:
    """Registers a user at a registrar, and asks what is bound there."""
    secret = ["-a", password] if password else []
    return run("-U", "-x", "30", *secret, "-vv", "-s", uri)


def flood(uri: str, *, requests: int) -> Told:
    """OPTIONS as fast as it can, without a look at the answers."""
    return run("-F", "-e", str(requests), "-s", uri)


def random_trash(uri: str, *, characters: int) -> Told:
    """OPTIONS in which one character, then two, up to `characters` of them are replaced at random. It ends with 3 at the first that is not
    answered, which none need be that is no SIP any more."""
    return run("-R", "-t", str(characters), "-s", uri)


__all__ = ["Told", "Transport", "flood", "ping", "random_trash", "register", "run"]
