"""The command for the recordings of a running server: list, show, verify, hold, release, holds, erase, sweep, rewrap. It speaks HTTP to it.

Exit codes: 0 done, 1 the server refused, something is not as it was, or something could not be erased yet; 2 wrong usage or no server.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from engine.errors import EngineError

if TYPE_CHECKING:
    from api.session_client import Server

URL: Final = "http://127.0.0.1:8080"
REFUSED: Final = 1
BASE: Final = "/api/v1/recordings"
FILTERS: Final = ("call_id", "correlation", "participant", "since", "until", "cursor", "limit")
COLUMNS: Final = (
    ("id", "id", False), ("session", "session", False), ("started_at", "began", False), ("duration_ms", "ms", True), ("stage", "stage", False), ("holds", "holds", True),
    ("expires_at", "until", False),
)  # fmt: skip


class Unnamed(EngineError):
    """A command that does not say of which recording, or which hold."""

    code = "command.refused"


def _path(args: argparse.Namespace, rest: str = "") -> str:
    if not args.id:
        raise Unnamed(f"recordings {args.action}: which recording?")
    return f"/{quote(args.id, safe='')}{rest}"


def _hold(args: argparse.Namespace) -> str:
    if not args.hold:
        raise Unnamed(f"recordings {args.action}: --hold names the hold")
    return _path(args, f"/holds/{quote(args.hold, safe='')}")


def _ask(server: Server, args: argparse.Namespace) -> tuple[Any, bool]:
    """What the server says, and whether all is well."""
    if args.action == "list":
        query = {name: value for name in FILTERS if (value := getattr(args, name)) is not None}
        return server.ask("GET", f"?{urlencode(query)}" if query else ""), True
    if args.action == "holds":
        return server.ask("GET", "/holds"), True
    if args.action == "show":
        return server.ask("GET", _path(args)), True
    if args.action == "verify":
        told = server.ask("GET", _path(args, "/verify"))
        return told, told["whole"]
    if args.action == "hold":
        return server.ask("PUT", _hold(args), {"reason": args.reason}), True
    if args.action == "release":
        return server.ask("DELETE", _hold(args)), True
    if args.action == "erase":
        told = server.ask("DELETE", _path(args))
        return told, told["erased"]
    if args.action == "rewrap":
        return server.ask("POST", "/rewrap"), True
    told = server.ask("POST", "/sweep?dry_run=true" if args.dry_run else "/sweep")
    return told, not told["left"]


def recordings(args: argparse.Namespace) -> int:
    """The recordings of a running server."""
    import msgspec

    from api.session_client import RefusedByServer, Server
    from engine.trace.report_text import harmless_json, printable, table_text

    server = Server(args.url or os.environ.get("TRUNKLINE_URL") or URL, args.key or os.environ.get("TRUNKLINE_KEY", ""), BASE)
    try:
        told, is_well = _ask(server, args)
    except RefusedByServer as error:
        print(f"trunkline: {printable(str(error))}", file=sys.stderr)
        return REFUSED
    if args.action == "list" and not args.json:
        rows = [{name: "-" if row[name] is None else row[name] for name, _, _ in COLUMNS} for row in told["recordings"]]
        for line in table_text(rows, COLUMNS):
            print(line)
        if told["next_cursor"]:
            print(f"more: --cursor {told['next_cursor']}", file=sys.stderr)
    else:
        print(harmless_json(msgspec.json.format(msgspec.json.encode(told), indent=2)).decode())
    return 0 if is_well else REFUSED


def add_recordings_command(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command to the command line."""
    one = command("recordings", recordings, "recordings of a running server: find, check, hold and erase them")
    one.add_argument("action", choices=("list", "show", "verify", "hold", "release", "holds", "erase", "sweep", "rewrap"))
    one.add_argument("id", nargs="?", default="", metavar="ID", help="the recording")
    one.add_argument("--hold", default="", metavar="HOLD", help="hold, release: the name of the legal hold")
    one.add_argument("--reason", default="", help="hold: why")
    one.add_argument("--dry-run", action="store_true", help="sweep: only tell what would go")
    for name, told in (
        ("call-id", "a Call-ID of the session or the call"), ("correlation", "a key of another system, its value or kind:value"), ("participant", "part of an address or a name"),
        ("since", "began then or later, in seconds since 1970"), ("until", "began before"), ("cursor", "the page behind another"), ("limit", "rows of a page"),
    ):  # fmt: skip
        one.add_argument(f"--{name}", metavar=name.upper(), help=f"list: {told}")
    one.add_argument("--url", metavar="URL", help=f"the server (TRUNKLINE_URL, or {URL})")
    one.add_argument("--key", metavar="KEY", help="an API key (better: TRUNKLINE_KEY)")
    one.add_argument("--json", action="store_true", help="list: as JSON")


__all__ = ["add_recordings_command"]
