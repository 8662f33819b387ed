"""The messages of a call as SIPp noted them, read while it still runs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

_HEAD: Final = re.compile(rb"-{40,} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.(\d{6})\n\w+ message (sent|received) [(\[](\d+)(?:\) :| bytes\):|\] bytes :)\n\n")


class Noted(msgspec.Struct, frozen=True):
    """A message; `at` is in seconds since 1970, names of headers are small."""

    at: float
    sent: bool
    first: str
    headers: tuple[tuple[str, str], ...]
    body: str

    def header(self, name: str) -> str:
        """The first value of a header; empty where it has none."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def status(self) -> int:
        """Of an answer; 0 of a request."""
        return int(self.first.split()[1]) if self.first.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        """Of a request, or of the one that is answered."""
        return self.header("cseq").split()[-1]

    @property
    def lines(self) -> list[list[str]]:
        """The m= lines of its description, each with what belongs to it."""
        found: list[list[str]] = []
        for text in self.body.splitlines():
            if text.startswith("m="):
                found.append([])
            if found:
                found[-1].append(text)
        return found

    @property
    def ports(self) -> list[int]:
        """Of its m= lines."""
        return [int(one[0].split()[1]) for one in self.lines]


class Log:
    """A log that grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self.noted: list[Noted] = []

    def more(self) -> list[Noted]:
        """What was noted since it was asked before."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return []
        made = list(self._whole(data))
        self.noted += made
        return made

    def _whole(self, data: bytes) -> Iterator[Noted]:
        """Of TCP it notes more than messages, between them."""
        at = 0
        while (head := _HEAD.search(data, at)) is not None:
            size = int(head[4])
            if len(data) < head.end() + size + 1:
                break
            seconds = time.mktime(time.strptime(head[1].decode(), "%Y-%m-%d %H:%M:%S")) + int(head[2]) / 1e6
            yield parsed(seconds, head[3] == b"sent", data[head.end() : head.end() + size].decode("latin-1"))
            at = head.end() + size + 1
        self._at += at


def parsed(at: float, sent: bool, text: str) -> Noted:
    """A message out of its text."""
    head, _, body = text.partition("\r\n\r\n")
    first, *rest = head.split("\r\n")
    headers = tuple((name.strip().lower(), value.strip()) for name, _, value in (one.partition(":") for one in rest))
    return Noted(at, sent, first, headers, body)


__all__ = ["Log", "Noted", "parsed"]
