"""What the routes of one API worker work with: configuration, store, keys, budget, analyses, health, metrics, bus."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from api import checks as checks_of
from api.auth import Authenticator, JwtKey, JwtSettings
from api.engines import Engines, Figures
from api.machine_metrics import Processors
from api.pause_key import PauseKey
from api.plans import Budget, Plan, Plans
from api.routes.analyze import Analyses
from api.scopes import Roles
from api.sockets.hub import Hub as Sockets
from engine import log as process_log
from engine.bus import Bus, BusError
from engine.bus.machines import announce, machines_of, place_of
from engine.config import (
    Config,
    ConfigError,
    Loaded,
    auth_required,
    difference,
    jwt_algorithm,
    load_environment,
)
from engine.health import Check, Health, Result, disk_check
from engine.keeping import HEALTH_SUBJECT as KEEPER_HEALTH
from engine.keeping import KEEPER
from engine.metrics import Metrics
from engine.speech.jobs import KIND
from engine.store import Store
from engine.supervisor import RELOAD_TOPIC, STATUS_SUBJECT, Status
from engine.telemetry import Telemetry

if TYPE_CHECKING:
    from engine.store.store import Store as StoreType

SUPERVISOR = "supervisor"
KEY_FRESH_S = 0.8  # a revoked key is good for no longer
log = logging.getLogger("trunkline.api")


class ReloadEvent(msgspec.Struct, frozen=True):
    """One reload, as the configuration routes tell it. `reload_time` in seconds."""

    timestamp: float
    config_path: str
    success: bool
    changes: list[dict[str, Any]]
    errors: list[str]
    warnings: list[str]
    reload_time: float
    trigger_type: str


def running_version() -> str:
    """The version of this server; "0" when it runs from a tree that was never installed."""
    try:
        return version("trunkline")
    except PackageNotFoundError:
        import tomllib

        try:
            with open(Path(__file__).parents[1] / "pyproject.toml", "rb") as file:
                told: str = tomllib.load(file)["project"]["version"]
                return told
        except (OSError, KeyError, ValueError):
            return "0"


class Services:
    """Opened once a worker; closed when it ends."""

    def __init__(self, loaded: Loaded, store: StoreType, bus: Bus | None, clock: Callable[[], float] = time.time) -> None:
        self.loaded = loaded
        self.store = store
        self.bus = bus
        self.clock = clock
        self.started_at = clock()
        self.version = running_version()
        self.metrics = Metrics()
        self.metrics.uptime.set(self.started_at)
        self.analyses = Analyses(loaded.config.http.analysis_threads)
        self.authenticator = self._authenticator() if auth_required(loaded.config) else None
        self.machines = machines_of(loaded.config.bus.url, bus.name if bus is not None else "api")
        self.telemetry = self._telemetry()
        self.sockets = Sockets(
            bus=bus, machines=self.machines, machine=place_of(socket.gethostname(), 0, "").partition(".")[0], recheck=self.authenticator,
            registry=self.metrics.registry, clock=clock,
            clients_max=max(1, loaded.config.http.connections_max // 2),  # the other half is for requests
        )  # fmt: skip
        self.processors = Processors()
        self.engines = Engines(lambda: self.bus, self.processes)
        self.pause_key = PauseKey(lambda: self.config, clock)
        self.last_reload: ReloadEvent | None = None
        self.plans, self.budget = self._budget(loaded.config)
        self.health = Health(self._checks())
        self.health.add(Check("event_loop", self.health.loop_check))
        self.health.add_group(KEEPER, self._ask_keeper)
        self.health.add_group("stt_queue", self._check_transcription)

    @classmethod
    async def open(cls, loaded: Loaded, bus: Bus | None) -> Services:
        """Opens the store. Raises store errors, and ValueError for keys of tokens that do not fit."""
        store = await Store.open(loaded.store_url, synchronous=loaded.config.store.synchronous, create=False)
        try:
            services = cls(loaded, store, bus)
            if services.machines is not None:
                services.machines.start()
            await services.sockets.start()
            return services
        except BaseException:
            await store.close()
            raise

    async def close(self) -> None:
        """Writes what is not written yet, and closes everything."""
        self.analyses.close()
        try:
            await self.sockets.close()
            if self.machines is not None:
                await self.machines.close()
            if self.telemetry is not None:
                await asyncio.to_thread(self.telemetry.close)
            if self.authenticator is not None:
                await self.authenticator.close()
        finally:
            await self.store.close()

    async def flush(self) -> None:
        """Writes when keys were last used."""
        if self.authenticator is not None:
            await self.authenticator.flush()

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return self.loaded.config

    # ---- made of the configuration ----

    def _authenticator(self) -> Authenticator:
        auth = self.config.auth
        jwt = None
        if algorithm := jwt_algorithm(self.config):
            key = auth.jwt.secret or Path(auth.jwt.public_key_file).read_text()
            jwt = JwtSettings(
                keys=(JwtKey(algorithm, key),), issuer=auth.jwt.issuer or None, audience=auth.jwt.audience or None,
                leeway_s=auth.jwt.leeway_s, max_age_s=auth.jwt.max_age_s,
            )  # fmt: skip
        return Authenticator(
            self.store.keys, jwt=jwt, roles=Roles(auth.roles), clock=self.clock, query_keys=self.config.http.keys_in_query,
            fresh_s=KEY_FRESH_S
        )

    def _budget(self, config: Config) -> tuple[Plans, Budget]:
        plans = Plans(
            {
                name: Plan(name, plan.calls_per_day, plan.calls_per_day_team, plan.api_access)
                for name, plan in config.plans.items()
            },
            default=config.default_plan,
        )
        return plans, Budget(self.store.quotas, plans, self.clock)

    def _telemetry(self) -> Telemetry | None:
        told = self.config.telemetry
        if not told.otlp_endpoint:
            return None
        instance = f"{socket.gethostname()}.{os.getpid()}"
        return Telemetry(told.otlp_endpoint, service=told.service_name, version=self.version, instance=instance)

    # ---- events ----

    async def announce(self, topic: str, payload: Any) -> None:
        """Tells the processes of this machine, and of the others where there is a bus between them. A bus that is away is logged."""
        await announce(self.bus, self.machines, topic, payload)

    # ---- reload ----

    def reload(self, trigger: str) -> ReloadEvent:
        """Reads the configuration again and takes over what can change; all of it or nothing."""
        began = time.perf_counter()
        errors: list[str] = []
        warnings: list[str] = []
        changes: list[dict[str, Any]] = []
        try:
            loaded = load_environment(os.environ)
            plans, budget = self._budget(loaded.config)
        except (ConfigError, ValueError) as error:
            errors = [str(problem) for problem in error.problems] if isinstance(error, ConfigError) else [str(error)]
        else:
            warnings = [str(problem) for problem in loaded.warnings]
            for change in difference(self.config, loaded.config):
                changes.append(
                    {"field": change.path, "old_value": change.old, "new_value": change.new, "type": "modified"}
                )
                if not change.live:
                    warnings.append(f"{change.path}: takes a restart; the running value stays")
            self.loaded, self.plans, self.budget = loaded, plans, budget
            process_log.set_level(loaded.config.log.level)
        path = str(self.loaded.path) if self.loaded.path else ""
        event = ReloadEvent(
            self.clock(), path, not errors, changes, errors, warnings, time.perf_counter() - began, trigger
        )
        if changes or errors or trigger == "api" or self.last_reload is None:
            self.last_reload = event
        return event

    async def announce_reload(self) -> None:
        """Has every process read its configuration again."""
        if self.bus is not None:
            try:
                await self.bus.publish(RELOAD_TOPIC)
            except BusError as error:
                log.error("the reload was not announced: %s", error)

    # ---- health ----

    def _checks(self) -> list[Check]:
        checks = [
            Check("database", self._check_store, critical=True),
            Check("disk", disk_check(self.loaded.data_dir if self.loaded.data_dir.exists() else Path("/")), critical=True),
            Check("config_system", self._check_config),
        ]
        if self.bus is not None:
            checks += [Check("bus", self._check_bus), Check("processes", self._check_processes), Check("websocket", self.sockets.check)]
        checks += [
            Check("sip", self._check_sip, critical=True), Check("sessions", self._check_sessions), Check("rtp_ports", self._check_ports),
            Check("amqp", self._check_machines), Check("redis", checks_of.none), Check("encryption", checks_of.none),
        ]  # fmt: skip
        return checks

    async def _check_store(self) -> Result:
        await self.store.ping()
        return Result("healthy", self.loaded.store_url.partition(":")[0])

    async def _check_bus(self) -> Result:
        if self.bus is None or not self.bus.connected:
            return Result("unhealthy", "not connected")
        return Result("healthy")

    async def _check_machines(self) -> Result:
        if self.machines is None:
            return Result("not_configured")
        if not self.machines.connected:
            return Result("unhealthy", self.machines.why)
        return Result("healthy", f"{self.machines.dropped} events dropped" if self.machines.dropped else "")

    async def _check_config(self) -> Result:
        if self.last_reload is not None and not self.last_reload.success:
            return Result("degraded", "the last reload failed; the configuration before it is in force")
        return Result("healthy")

    async def _check_processes(self) -> Result:
        status = await self.processes()
        if status is None:
            return Result("unhealthy", "the supervisor does not answer")
        bad = [child.name for child in status.children if child.state != "ready"]
        if bad:
            return Result("degraded", f"not ready: {', '.join(bad)}")
        return Result("healthy", f"{len(status.children)} processes")

    async def _check_sip(self) -> Result:
        return checks_of.sip(self.config, await self.figures()) if self.bus is not None else Result("not_configured")

    async def _check_sessions(self) -> Result:
        return checks_of.sessions(self.config, await self.figures()) if self.bus is not None else Result("not_configured")

    async def _check_ports(self) -> Result:
        return checks_of.rtp_ports(await self.figures())

    async def _check_transcription(self) -> dict[str, Result]:
        return checks_of.transcription(self.config, await self.store.jobs.figures(KIND))

    async def _ask_keeper(self) -> dict[str, Result]:
        return await self.engines.ask_keeper(KEEPER_HEALTH, None, dict[str, Result], timeout_s=1.5) or {}

    async def figures(self) -> Figures | None:
        """What the engine workers counted, at most a moment ago; None where nobody can be asked."""
        return await self.engines.latest()

    async def processes(self) -> Status | None:
        """What the supervisor says of all processes; None when nobody answers."""
        if self.bus is None:
            return None
        try:
            status = await self.bus.request(SUPERVISOR, STATUS_SUBJECT, timeout_s=1.0, shape=Status)
        except BusError:
            return None
        self.started_at = min(self.started_at, status.started_at)  # the server is older than a worker that took the place of another
        return status


__all__ = ["ReloadEvent", "Services", "running_version"]
