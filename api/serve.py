"""`trunkline serve`: prepares the data directory, the store and the first key, and runs the supervisor.

The supervisor's children are the engine workers and the API workers; each reads the configuration for itself, from the
document and the environment that they inherit.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import sys
import time
from collections.abc import Callable

import uvloop

from api.keys import new_key, row_of
from api.scopes import ADMIN
from engine import log as process_log
from engine import metrics
from engine.bus import Hub
from engine.config import Loaded, auth_required
from engine.ports import must_be_free
from engine.sip.resolver import SECURE
from engine.sip_worker import check_free as check_sip
from engine.sip_worker import guard_settings, listeners_of, prepare, tls_of
from engine.store import Store
from engine.supervisor import Child, Supervisor

ADMIN_OWNER = "admin"
EXAMPLE = (
    r'{"trace": "INVITE sip:bob@biloxi.com SIP/2.0\nVia: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776\n...", '
    '"context": {"issue": "one-way-audio", "endpoints": ["Softphone", "Carrier"]}}'
)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there. Raises ValueError for what is no address."""
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]")).is_loopback
    except ValueError:
        raise ValueError(f"http.host: {host} is no IP address; use 127.0.0.1, ::1, 0.0.0.0 or another") from None


def check_free(host: str, port: int) -> None:
    """Raises ValueError when nothing may listen there."""
    try:
        must_be_free(host.strip("[]"), port)
    except OSError as error:
        why = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
        raise ValueError(f"cannot listen on {host} port {port}: {why}") from error


def url_of(host: str, port: int) -> str:
    """Where the server answers."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


async def first_key(store: Store, chosen: str, clock: Callable[[], float] = time.time) -> str | None:
    """Makes the administrator's key when the store has no key at all; its text when it was made here.

    `chosen` (TRUNKLINE_ADMIN_KEY) sets it instead, and is added whenever the store does not know it. Raises ValueError for a
    malformed one.
    """
    if chosen:
        row = row_of(chosen, name="administrator", owner=ADMIN_OWNER, plan="", scopes=(ADMIN,), now=clock())
        if await store.keys.by_digest(row.digest) is None:
            await store.keys.add(row)
        return None
    if await store.keys.count():
        return None
    key, row = new_key(name="administrator", owner=ADMIN_OWNER, plan="", scopes=(ADMIN,), now=clock())
    await store.keys.add(row)
    return key


def greeting(url: str, key: str | None, asks: bool) -> str:
    """What to try next; the first key is shown here and never again."""
    header = ' \\\n    -H "Authorization: Bearer $TRUNKLINE_KEY"' if asks else ""
    lines = [f"Trunkline answers at {url}", ""]
    if key is not None:
        lines += [
            "The administrator's key, shown this once:",
            f"  {key}",
            "" if asks else "  (not asked for while only this machine can connect)",
            "",
        ]
    lines += [
        "Try, in another terminal:",
        f"  curl {url}/health",
        f"  curl -X POST {url}/v1/analyze{header} \\",
        '    -H "Content-Type: application/json" \\',
        f"    -d '{EXAMPLE}'",
        f"  curl --data-binary @capture.pcap -H 'Content-Type: application/vnd.tcpdump.pcap' '{url}/v1/analyze?store=true'{header}",
        f"  curl {url}/api/v1/calls{header}",
        "  trunkline analyze capture.pcap",
        "  trunkline ladder capture.pcap",
        f"All routes: {url}/docs",
        "",
    ]
    return "\n".join(lines)


def children(loaded: Loaded, bus_url: str) -> list[Child]:
    """The processes of one machine: engine workers, one a core unless told otherwise, API workers, and the keeper."""
    config = loaded.config
    cores = sorted(os.sched_getaffinity(0))
    engines = config.engine.workers or len(cores)
    made = [
        Child(
            f"worker.{at}",
            "engine",
            (sys.executable, "-m", "engine.worker", "--bus", bus_url, "--name", f"worker.{at}", "--of", str(engines)),
            loaded.environment,
            (cores[at % len(cores)],) if config.engine.pin else (),
        )
        for at in range(engines)
    ]
    made += [
        Child(
            f"api.{at}",
            "api",
            (sys.executable, "-m", "api.worker", "--bus", bus_url, "--name", f"api.{at}"),
            loaded.environment,
        )
        for at in range(config.http.workers)
    ]
    made.append(Child("keeper", "keeper", (sys.executable, "-m", "engine.keeper", "--bus", bus_url, "--name", "keeper"), loaded.environment))
    return made


async def _prepare(loaded: Loaded) -> str | None:
    config = loaded.config
    store = await Store.open(loaded.store_url, synchronous=config.store.synchronous, create=True)
    try:
        return await first_key(store, config.auth.admin_key)
    finally:
        await store.close()


async def _run(loaded: Loaded, key: str | None) -> None:
    config = loaded.config
    url = url_of(config.http.host, config.http.port)
    hub = Hub(loaded.data_dir / "bus" / "hub")
    supervisor = Supervisor(
        children(loaded, hub.url),
        hub,
        on_ready=lambda: print(greeting(url, key, auth_required(config)), flush=True),
    )
    await supervisor.run()


def serve(loaded: Loaded) -> int:
    """Serves until a signal ends it. Raises ValueError and engine errors when it may not or cannot start."""
    config = loaded.config
    if not is_loopback(config.http.host) and not auth_required(config):
        raise ValueError(
            f"listening on {config.http.host} without keys is refused: set auth.enabled = \"on\", or listen on 127.0.0.1"
        )
    check_free(config.http.host, config.http.port)
    loaded.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    listeners = listeners_of(config)
    check_sip(listeners)
    tls_of(config, listening=any(one.transport in SECURE for one in listeners))
    guard_settings(config.sip)
    prepare(loaded.data_dir)
    process_log.configure(config.log.level, config.log.format)
    metrics.prepare(loaded.data_dir / "metrics")
    key = uvloop.run(_prepare(loaded))
    uvloop.run(_run(loaded, key))
    return 0


__all__ = ["check_free", "children", "first_key", "greeting", "is_loopback", "serve", "url_of"]
