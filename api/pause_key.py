"""Who may pause and resume: whoever has the key of the configuration, or an API key with the scope for it.

`pause_resume.api_key` comes as X-API-Key, or in the address where `http.keys_in_query` allows that. Where `pause_resume.require_auth` is on and there is nothing
that a caller could be known by, nobody gets in.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from litestar import Request

from api.auth import (
    ANONYMOUS,
    Failures,
    Forbidden,
    InvalidCredential,
    Principal,
    TooManyFailures,
    Unauthorized,
    client_address,
)
from api.errors import ApiError
from engine.siprec.service import PausingOff

if TYPE_CHECKING:
    from engine.config import Config

HOLDER = Principal(owner="pause key", kind="anonymous")  # known by its key alone: it has no plan and no budget
WRITE, READ = "sessions.write", "sessions.read"


class NoPauseKey(ApiError):
    """Callers must bring a key and none is set, so that nobody can be let in."""

    status = 503
    code = "siprec.no_pause_key"

    def __init__(self) -> None:
        super().__init__("Pausing takes a key, and none is configured: set pause_resume.api_key")


class PauseKey:
    """The door of the routes that pause. One a process."""

    def __init__(self, config: Callable[[], Config], clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._failures = Failures()

    async def admit(self, request: Request[Any, Any, Any], scope: str) -> Principal:
        """Who asks, who may do what `scope` names. Raises PausingOff, NoPauseKey, Unauthorized and its kinds, Forbidden, TooManyFailures."""
        settings = self._config().pause_resume
        if not settings.enabled:
            raise PausingOff("Pausing sessions is not enabled on this server (pause_resume.enabled)")
        principal = HOLDER if self._has_key(request, settings.api_key) else await self._known(request, scope, settings.require_auth, bool(settings.api_key))
        request.scope["principal"] = principal  # type: ignore[typeddict-unknown-key]
        return principal

    def _has_key(self, request: Request[Any, Any, Any], key: str) -> bool:
        """Whether the key came. The comparison takes as long whatever came."""
        wanted = key.encode()
        return bool(wanted) and any(hmac.compare_digest(given, wanted) for given in self._given(request))

    def _given(self, request: Request[Any, Any, Any]) -> list[bytes]:
        found = [value.strip() for name, value in request.scope["headers"] if name == b"x-api-key"]
        if self._config().http.keys_in_query:
            for pair in request.scope["query_string"].split(b"&"):
                name, _, value = pair.partition(b"=")
                if name == b"api_key":
                    found.append(unquote_to_bytes(value.replace(b"+", b" ")))
        return [given for given in found if given]

    async def _known(self, request: Request[Any, Any, Any], scope: str, required: bool, is_set: bool) -> Principal:
        """A caller without the key."""
        services = request.app.state.services
        if services.authenticator is not None:
            principal: Principal = await services.authenticator.identify(
                request.scope["headers"], request.scope["query_string"], client=lambda: client_address(request.scope, self._config().http.trusted_proxies)
            )
            services.plans.admit(principal)
            principal.demand(frozenset({scope}))
            return principal
        if required:
            raise self._refusal(request) if is_set else NoPauseKey()
        local: Principal = await request.app.state.identify.whoever(request.scope)
        if local.kind == ANONYMOUS.kind:
            raise Forbidden("This server asks for no key, so it only answers to its local names")
        return local

    def _refusal(self, request: Request[Any, Any, Any]) -> ApiError:
        """Of a caller who brought the wrong key, or none."""
        if not self._given(request):
            if b"api_key=" in request.scope["query_string"]:
                return Unauthorized("Keys in the address are not taken; send the key in the X-API-Key header")
            return Unauthorized("The key of pause_resume is required, as X-API-Key: <key>")
        address, now = client_address(request.scope, self._config().http.trusted_proxies), self._clock()
        if wait_s := self._failures.wait_s(address, now):
            return TooManyFailures("Too many wrong keys came from this address; try again later", {"Retry-After": str(wait_s)})
        self._failures.add(address, now)
        return InvalidCredential("The key is not valid")


__all__ = ["HOLDER", "READ", "WRITE", "NoPauseKey", "PauseKey"]
