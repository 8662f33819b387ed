"""The HTTP application, and starting it on granian.

Its settings come from the environment, so that worker processes see the same: TRUNKLINE_CALLS_PER_DAY (analyses a day
and process), TRUNKLINE_UPLOAD_MAX_BYTES, TRUNKLINE_ANALYSIS_THREADS.
"""

from __future__ import annotations

import errno
import http.client
import ipaddress
import os
import socket
import sys
import threading
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Litestar
from litestar.datastructures import MutableScopeHeaders, State
from litestar.exceptions import HTTPException
from litestar.types import Message, Scope

from api.errors import ApiError, on_any_error, on_api_error, on_http_error
from api.quota import Quota
from api.routes.analyze import Analyses, analyze
from api.routes.health import health

READY_STEP_S, READY_STEPS = 0.05, 600
WORKER_STOP_S = 10
EXAMPLE = (
    r'{"trace": "INVITE sip:bob@biloxi.com SIP/2.0\nVia: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776\n...", '
    '"context": {"issue": "one-way-audio", "endpoints": ["Softphone", "Carrier"]}}'
)


class Settings(msgspec.Struct, frozen=True):
    """What an operator may change. Sizes in bytes."""

    calls_per_day: int = 100_000
    upload_max_bytes: int = 2 << 30
    analysis_threads: int = 4

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Settings that the environment names, defaults for the rest. Raises ValueError for what is no number."""
        told = {}
        for name in cls.__struct_fields__:
            key = f"TRUNKLINE_{name.upper()}"
            text = environment.get(key, "").strip()
            if not text:
                continue
            if not text.isdecimal() or int(text) < 1:
                raise ValueError(f"{key} must be a whole number above 0, not {text!r}")
            told[name] = int(text)
        return cls(**told)


async def _limit_headers(message: Message, scope: Scope) -> None:
    """Rate limit headers on every response, errors included."""
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    for name, value in scope["litestar_app"].state.quota.headers().items():
        headers[name] = value


def create(settings: Settings | None = None) -> Litestar:
    """The application."""
    settings = settings or Settings.from_environment()
    analyses = Analyses(settings.analysis_threads)

    def warm() -> None:
        from engine.trace.analysis import rules

        rules()

    return Litestar(
        route_handlers=[analyze, health],
        state=State({"quota": Quota(settings.calls_per_day), "analyses": analyses}),
        exception_handlers={ApiError: on_api_error, HTTPException: on_http_error, Exception: on_any_error},
        before_send=[_limit_headers],
        on_startup=[warm],
        on_shutdown=[analyses.close],
        request_max_body_size=settings.upload_max_bytes,
        multipart_form_part_limit=32,
        openapi_config=None,
    )


# ---- serving ----


def check_loopback(host: str) -> str:
    """The address to bind. Raises ValueError for one that others could reach: this server asks for no key."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError:
        raise ValueError(f"{host} is no IP address; use 127.0.0.1, ::1 or localhost") from None
    if not address.is_loopback:
        raise ValueError(
            f"listening on {host} is refused: this server asks for no key, so it only takes loopback addresses "
            "(127.0.0.1, ::1); put an authenticating proxy in front to open it to others"
        )
    return str(address)


def _check_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            why = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
            raise ValueError(f"cannot listen on {host} port {port}: {why}") from error


def greeting(url: str) -> str:
    """What to try next."""
    return (
        f"Trunkline answers at {url}\n\n"
        "Try, in another terminal:\n"
        f"  curl {url}/health\n"
        f"  curl -X POST {url}/v1/analyze \\\n"
        '    -H "Content-Type: application/json" \\\n'
        f"    -d '{EXAMPLE}'\n"
        f"  curl --data-binary @capture.pcap -H 'Content-Type: application/vnd.tcpdump.pcap' {url}/v1/analyze\n"
        "  trunkline analyze capture.pcap\n"
        "  trunkline ladder capture.pcap\n"
    )


def _greet_when_ready(host: str, port: int, url: str) -> None:
    waiting = threading.Event()
    for _ in range(READY_STEPS):
        connection = http.client.HTTPConnection(host, port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                print(greeting(url), flush=True)
                return
        except OSError:
            waiting.wait(READY_STEP_S)
        finally:
            connection.close()
    print(f"trunkline: no answer at {url} yet", file=sys.stderr, flush=True)


def serve(host: str = "127.0.0.1", port: int = 8080, workers: int = 1) -> int:
    """Serves until a signal ends it. Raises ValueError when it may not or cannot listen there."""
    from granian import Granian
    from granian.constants import Interfaces, Loops
    from granian.log import LogLevels

    host = check_loopback(host)
    Settings.from_environment()
    _check_free(host, port)
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    options: dict[str, Any] = {
        "address": host,
        "port": port,
        "interface": Interfaces.ASGI,
        "workers": workers,
        "loop": Loops.auto,
        "factory": True,
        "log_level": LogLevels.warning,
        "workers_kill_timeout": WORKER_STOP_S,
    }
    server = Granian("api.app:create", **options)
    server.on_startup(
        lambda: threading.Thread(target=_greet_when_ready, args=(host, port, url), daemon=True).start()
    )
    server.serve()
    return 0


__all__ = ["Settings", "check_loopback", "create", "greeting", "serve"]
