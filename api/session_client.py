"""A running server, as the commands for its recording sessions speak to it: HTTP, with the standard library alone."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from engine.errors import EngineError

TIMEOUT_S: Final = 15.0
ANSWER_MAX_BYTES: Final = 256 << 20


class NoServer(EngineError):
    """There is no server, or it is none of ours."""

    code = "command.no_server"


class RefusedByServer(Exception):
    """The server's own words."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A server of ours redirects nobody, and keys go nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Server:
    """A running server. `url` without a path; `key` goes with every request. Paths are below `base`."""

    def __init__(self, url: str, key: str, base: str = "/api/sessions") -> None:
        """Raises NoServer for what is no address."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NoServer(f"{url!r} is no address of a server such as http://127.0.0.1:8080")
        self._url = url.rstrip("/")
        self._key = key
        self._base = base
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What it answers. Raises RefusedByServer and NoServer."""
        headers = {"Accept": "application/json"}
        if self._key:
            headers["X-API-Key"] = self._key
        content = msgspec.json.encode(body) if body is not None else None
        if content is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(f"{self._url}{self._base}{path}", content, headers, method=method)
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return _decoded(answer.read(ANSWER_MAX_BYTES), self._url)
        except urllib.error.HTTPError as error:
            with error:
                told = _decoded(error.read(1 << 20), self._url)
            if not isinstance(told, dict) or not isinstance(told.get("error"), str):
                raise NoServer(f"{self._url} answered {error.code}, and is no server of this kind") from None
            raise RefusedByServer(told["error"]) from None
        except (OSError, http.client.HTTPException) as error:
            why = error.reason if isinstance(error, urllib.error.URLError) else error
            raise NoServer(f"{self._url} does not answer: {why}") from None

    def name_of(self, session: str) -> str:
        """A session as it stands in a path: its Call-ID, or its recording's id where a Call-ID has a slash, which no server tells from the path's own."""
        if "/" in session:
            session = self.ask("GET", f"?id={quote(session, safe='')}")["recording_id"]
        return quote(session, safe="")


def _decoded(content: bytes, url: str) -> Any:
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise NoServer(f"{url} is no server of this kind: what it answers is no JSON") from None


__all__ = ["NoServer", "RefusedByServer", "Server"]
