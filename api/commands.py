"""The commands that run and keep a server: serve, keys, config, db; those for its sessions are in session_commands.py. They read the configuration as the server does."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.session_commands import add_session_commands
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.config import Loaded

DAY_S = 86_400


class Refused(EngineError):
    """A wish that cannot be met as it was stated."""

    code = "command.refused"


def settings(command: argparse.ArgumentParser) -> None:
    """Where the configuration is, and what stands above it."""
    command.add_argument("--config", metavar="FILE", help="configuration document, TOML or JSON (or TRUNKLINE_CONFIG)")
    command.add_argument("--data", metavar="DIR", help="data directory")


def loaded(args: argparse.Namespace) -> Loaded:
    """The configuration, with the command line's values on top. Raises ConfigError."""
    from engine.config import load

    named = {
        "data.dir": args.data,
        "http.host": getattr(args, "host", None),
        "http.port": getattr(args, "http_port", None),
        "sip.port": getattr(args, "sip_port", None),
        "http.workers": getattr(args, "workers", None),
    }
    overrides = {path: value for path, value in named.items() if value is not None}
    return load(Path(args.config) if args.config else None, os.environ, overrides)


def serve(args: argparse.Namespace) -> int:
    """The server: supervisor, engine workers, API workers."""
    from api.serve import serve as start

    told = loaded(args)
    for warning in told.warnings:
        print(f"trunkline: {warning}", file=sys.stderr)
    try:
        return start(told)
    except ValueError as error:
        raise Refused(str(error)) from error


def config(args: argparse.Namespace) -> int:
    """Checks the configuration, or shows it with where each value came from."""
    from engine.config import redacted

    told = loaded(args)
    for warning in told.warnings:
        print(f"trunkline: {warning}", file=sys.stderr)
    if args.action == "check":
        print(f"{told.path or 'the defaults'}: good")
        return 0
    shown = redacted(told.config)
    if args.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode({"config": shown, "sources": told.sources}), indent=2).decode())
        return 0
    for path, value in _leaves(shown):
        print(f"{path} = {_toml(value)}  # {told.sources.get(path, 'default')}")
    return 0


def _leaves(shown: dict[str, Any], ahead: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in shown.items():
        path = f"{ahead}.{name}" if ahead else name
        found += _leaves(value, path) if isinstance(value, dict) and value else [(path, value)]
    return found


def _toml(value: Any) -> str:
    import json

    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def _with_store(told: Loaded, work: Callable[[Any], Any], *, create: bool = True) -> Any:
    import asyncio

    from engine.store import Store

    async def run() -> Any:
        told.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = await Store.open(told.store_url, synchronous=told.config.store.synchronous, create=create)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def keys(args: argparse.Namespace) -> int:
    """Makes, lists and revokes API keys, next to a running server or without one."""
    import time

    from api.keys import new_key
    from api.routes.keys import view

    told = loaded(args)
    if args.action == "create":
        scopes = [scope.strip() for scope in args.scopes.split(",") if scope.strip()]
        if args.plan and args.plan not in told.config.plans:
            raise Refused(f"there is no plan {args.plan}; plans are {', '.join(told.config.plans)}")
        now = time.time()
        expires_at = now + args.expires_in_days * DAY_S if args.expires_in_days else None
        try:
            key, row = new_key(
                name=args.name, owner=args.owner, team=args.team, plan=args.plan, scopes=scopes, now=now, expires_at=expires_at
            )
        except ValueError as error:
            raise Refused(str(error)) from error
        _with_store(told, lambda store: store.keys.add(row))
        _print({"id": row.id, "key": key, "name": row.name, "owner": row.owner, "scopes": list(row.scopes)}, args.json)
        if not args.json:
            print("The key is shown this once.", file=sys.stderr)
        return 0
    if args.action == "revoke":
        if not args.key:
            raise Refused("which key: --key ID (trunkline keys list shows them)")
        if not _with_store(told, lambda store: store.keys.revoke(args.key, time.time())):
            raise Refused(f"there is no key {args.key} that is not revoked")
        _print({"id": args.key, "revoked": True}, args.json)
        return 0
    shown = [view(each) for each in _with_store(told, lambda store: store.keys.all())]
    if args.json:
        _print(shown, True)
        return 0
    for each in shown:
        state = "revoked" if each.revoked_at else f"expires {each.expires_at}" if each.expires_at else "valid"
        used = f"used {each.last_used_at}" if each.last_used_at else "never used"
        print(f"{each.id}  {each.prefix}...  {each.owner}  {each.plan or told.config.default_plan}  {state}  {used}  {each.name}")
    return 0


def db(args: argparse.Namespace) -> int:
    """Migrates the store to the version this program needs."""
    import asyncio

    from engine.store import Store

    told = loaded(args)

    async def upgrade() -> tuple[str | None, str]:
        told.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = await Store.open(told.store_url, create=False, check=False, make_file=True)
        try:
            return await store.upgrade()
        finally:
            await store.close()

    before, after = asyncio.run(upgrade())
    if before is None:
        print(f"the store was made, at revision {after}")
    else:
        print(f"the store is at revision {after} already" if before == after else f"the store went from revision {before} to {after}")
    return 0


def _print(value: Any, as_json: bool) -> None:
    import msgspec

    if as_json:
        print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
        return
    for name, told in value.items():
        print(f"{name}: {', '.join(told) if isinstance(told, list) else told}")


def add_commands(command: Callable[..., argparse.ArgumentParser], number_between: Callable[[int, int], Callable[[str], int]]) -> None:
    """Adds the commands to the command line."""
    one = command("serve", serve, "answer over HTTP; takes keys where others than this machine can connect")
    settings(one)
    one.add_argument("--host", help="address to listen on (127.0.0.1)")
    one.add_argument("--http-port", type=number_between(1, 65535), metavar="PORT", help="port to listen on (8080)")
    one.add_argument("--sip-port", type=number_between(1, 65535), metavar="PORT", help="SIP port (5060)")
    one.add_argument("--workers", type=number_between(1, 256), metavar="N", help="API processes (1)")

    one = command("keys", keys, "API keys: make, list, revoke")
    one.add_argument("action", choices=("create", "list", "revoke"))
    settings(one)
    one.add_argument("--name", default="command line", help="create: what the key is for")
    one.add_argument("--owner", default="admin", help="create: whose it is")
    one.add_argument("--team", help="create: whose budget it shares")
    one.add_argument("--plan", default="", help="create: the plan; the server's default plan without it")
    one.add_argument("--scopes", default="traces.analyze,calls.read,calls.write,keys.read", help="create: by comma; admin is everything")
    one.add_argument("--expires-in-days", type=number_between(1, 3650), metavar="DAYS", help="create: when it ends")
    one.add_argument("--key", default="", metavar="ID", help="revoke: which")
    one.add_argument("--json", action="store_true", help="as JSON")

    one = command("config", config, "the configuration: check it, show it without its secrets")
    one.add_argument("action", choices=("check", "show"))
    settings(one)
    one.add_argument("--json", action="store_true", help="show: as JSON")

    one = command("db", db, "the store: bring its tables up to date")
    one.add_argument("action", choices=("upgrade",))
    settings(one)

    add_session_commands(command)


__all__ = ["add_commands", "config", "db", "keys", "serve"]
