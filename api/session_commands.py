"""The commands for the recording sessions of a running server: sessions, stats, pause, resume, mute, unmute, hang-up. They speak HTTP to it.

Exit codes: 0 done, 1 the server refused (no such session, not allowed, not enabled), 2 wrong usage or no server.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from api.session_client import Server

URL: Final = "http://127.0.0.1:8080"
REFUSED: Final = 1
COLUMNS: Final = (
    ("call_id", "call", False), ("state", "state", False), ("created_at", "since", False), ("participants", "participants", False), ("mos", "MOS", True),
    ("recording_path", "recording", False),
)  # fmt: skip


# ---- what is shown ----


def _show(told: Any, as_json: bool) -> None:
    import msgspec

    from engine.trace.report_text import harmless_json, printable

    if as_json:
        print(harmless_json(msgspec.json.format(msgspec.json.encode(told), indent=2)).decode())
        return
    for name, value in _lines(told):
        print(printable(f"{name}: {value}"))


def _lines(told: Mapping[str, Any], ahead: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in told.items():
        if isinstance(value, dict):
            found += _lines(value, f"{ahead}{name}.")
        elif isinstance(value, list):
            found.append((f"{ahead}{name}", ", ".join(str(each) for each in value if not isinstance(each, dict)) or len(value)))
        else:
            found.append((f"{ahead}{name}", {None: "-", True: "yes", False: "no"}.get(value, value) if value is None or isinstance(value, bool) else value))
    return found


def _table(sessions: list[dict[str, Any]]) -> None:
    from engine.trace.report_text import table_text

    rows = [
        {**{name: one[name] for name in ("call_id", "state", "created_at", "recording_path")}, "participants": " ".join(one["participants"]),
         "mos": "-" if one["analytics"]["mos"] is None else f"{one['analytics']['mos']:.1f}"}
        for one in sessions
    ]  # fmt: skip
    for line in table_text(rows, COLUMNS):
        print(line)


def _done(work: Callable[[Server], Any], args: argparse.Namespace, show: Callable[[Any], None] | None = None) -> int:
    """Asks, shows what came, and says what the exit code is."""
    from api.session_client import RefusedByServer, Server
    from engine.trace.report_text import printable

    try:
        told = work(Server(args.url or os.environ.get("TRUNKLINE_URL") or URL, args.key or os.environ.get("TRUNKLINE_KEY", "")))
    except RefusedByServer as error:
        print(f"trunkline: {printable(str(error))}", file=sys.stderr)
        return REFUSED
    if show is not None and not args.json:
        show(told)
    else:
        _show(told, args.json)
    return 0


# ---- the commands ----


def sessions(args: argparse.Namespace) -> int:
    """The sessions that go on, or one."""
    if args.session:
        return _done(lambda server: server.ask("GET", f"?id={quote(args.session, safe='')}"), args)

    def show(told: Any) -> None:
        _table(told["sessions"])
        if told["silent_workers"]:
            print(f"trunkline: {told['silent_workers']} workers did not answer; their sessions are not shown", file=sys.stderr)

    return _done(lambda server: server.ask("GET", ""), args, show)


def stats(args: argparse.Namespace) -> int:
    """Figures of all sessions."""
    return _done(lambda server: server.ask("GET", "/stats"), args)


def _all_told(told: Any) -> None:
    print(told["message"])


def pause(args: argparse.Namespace) -> int:
    """Pauses a session, or all."""
    body: dict[str, Any] = {"reason": args.reason} if args.reason else {}
    if args.only:
        body |= {"pause_recording": args.only == "recording", "pause_transcription": args.only == "transcription"}
    if args.all:
        return _done(lambda server: server.ask("POST", "/pause-all", body), args, _all_told)
    if args.arm:
        body["arm"] = True
    return _done(lambda server: server.ask("POST", f"/{quote(args.session, safe='') if args.arm else server.name_of(args.session)}/pause", body), args)


def resume(args: argparse.Namespace) -> int:
    """Resumes a session, or all."""
    body: dict[str, Any] = {"reason": args.reason} if args.reason else {}
    if args.only:
        body[f"resume_{args.only}"] = True
    if args.all:
        return _done(lambda server: server.ask("POST", "/resume-all", body), args, _all_told)
    return _done(lambda server: server.ask("POST", f"/{server.name_of(args.session)}/resume", body), args)


def mute(args: argparse.Namespace) -> int:
    """Mutes sides of a session."""
    return _side(args, "mute")


def unmute(args: argparse.Namespace) -> int:
    """Lets sides of a session be heard."""
    return _side(args, "unmute")


def _side(args: argparse.Namespace, verb: str) -> int:
    body = {f"{verb}_{args.side}": True} if args.side else {}
    return _done(lambda server: server.ask("POST", f"/{server.name_of(args.session)}/{verb}", body), args)


def hang_up(args: argparse.Namespace) -> int:
    """Ends a session."""
    return _done(lambda server: server.ask("DELETE", f"/{server.name_of(args.session)}"), args)


def add_session_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the commands to the command line."""

    def made(name: str, run: Callable[[argparse.Namespace], int], told: str) -> argparse.ArgumentParser:
        one = command(name, run, told)
        one.add_argument("--url", metavar="URL", help=f"the server (TRUNKLINE_URL, or {URL})")
        one.add_argument("--key", metavar="KEY", help="an API key, or the key of the pause routes (better: TRUNKLINE_KEY)")
        one.add_argument("--json", action="store_true", help="as JSON")
        return one

    one = made("sessions", sessions, "recording sessions of a running server")
    one.add_argument("session", nargs="?", metavar="ID", help="one session, by its Call-ID or its recording's id")
    made("stats", stats, "figures of the recording sessions of a running server")
    for name, run, told in (("pause", pause, "pause a recording session, or all"), ("resume", resume, "resume a recording session, or all")):
        one = made(name, run, told)
        which = one.add_mutually_exclusive_group(required=True)
        which.add_argument("session", nargs="?", metavar="ID", help="the session, by its Call-ID or its recording's id")
        which.add_argument("--all", action="store_true", help="all sessions")
        one.add_argument("--only", choices=("recording", "transcription"), help="only this")
        one.add_argument("--reason", default="", help="why, for the record")
        if name == "pause":
            one.add_argument("--arm", action="store_true", help="also when there is no such session yet: it begins paused")
    for name, run, told in (("mute", mute, "silence a side of a recording session"), ("unmute", unmute, "let a side of a recording session be heard")):
        one = made(name, run, told)
        one.add_argument("session", metavar="ID", help="the session, by its Call-ID or its recording's id")
        one.add_argument("--side", choices=("inbound", "outbound"), help="only this: inbound is the first channel")
    one = made("hang-up", hang_up, "end a recording session")
    one.add_argument("session", metavar="ID", help="the session, by its Call-ID or its recording's id")


__all__ = ["add_session_commands"]
