"""The trunkline command: analyze, calls, streams, ladder, rules, formats, completion; serve, keys, config, db (commands.py);
sessions, stats, pause, resume, mute, unmute, hang-up (session_commands.py); recordings (recordings_commands.py), decrypt (recordings_tools.py).

Exit codes: 0 done, 1 a finding reached --fail-on or a server refused, 2 wrong usage or an input that cannot be read, 130 interrupted.
Kernels and numpy are loaded by the subcommands that need them, so that --version and --help answer at once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from api.commands import add_commands
from api.recordings_commands import add_recordings_command
from api.recordings_tools import add_commands as add_recordings_tools
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.trace.reading import Options
    from engine.trace.tables import Tables

SEVERITIES = ("critical", "high", "medium", "low", "info")
PROGRESS_AFTER_S, PROGRESS_EVERY_S, BAR = 0.5, 0.1, 24
THREADS_MAX = 4  # parts are joined by one thread, which has its hands full with as many
ENDPOINT_HELP = "labels for the hosts in order of appearance, by comma"


class Usage(Exception):
    """Wrong usage that only the input shows: told in one sentence, exit code 2."""


# ---- output ----


class Output:
    """Where results go: standard output or --output FILE. A reader that stops early is no error."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.stream: TextIO = sys.stdout

    def __enter__(self) -> Output:
        if self.path:
            self.stream = open(self.path, "w", encoding="utf-8", newline="\n")
        elif sys.stdout is None:
            raise Usage("standard output is closed")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> bool:
        try:
            if self.path:
                self.stream.close()
            else:
                self.stream.flush()
        except BrokenPipeError:
            kind = BrokenPipeError
        if kind is not None and issubclass(kind, BrokenPipeError):
            # the interpreter flushes standard output once more at its end, and must find it open
            with open(os.devnull, "w") as devnull:
                os.dup2(devnull.fileno(), sys.stdout.fileno())
            return True
        return False

    def line(self, text: str) -> None:
        """One line of text."""
        self.stream.write(text + "\n")

    def text(self, text: str) -> None:
        """Text as it is."""
        self.stream.write(text)

    def json(self, value: Any, *, pretty: bool = True) -> None:
        """One JSON value and a line end; nothing in it can steer a terminal."""
        import msgspec

        from engine.trace.report_text import harmless_json

        encoded = msgspec.json.encode(value)
        told = msgspec.json.format(encoded, indent=2) if pretty else encoded
        self.line(harmless_json(told).decode())

    @property
    def terminal(self) -> bool:
        """Whether a person reads along."""
        return not self.path and self.stream.isatty()

    def color(self, args: argparse.Namespace) -> bool:
        """Colour on a terminal, unless NO_COLOR or --no-color say otherwise."""
        if args.no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return False
        return self.terminal

    @property
    def width(self) -> int:
        """Columns to fill: the terminal's, else 100."""
        return _columns(100) if self.terminal else 100

    @property
    def ascii_only(self) -> bool:
        """Whether the output's encoding lacks line-drawing characters."""
        encoding = (self.stream.encoding or "ascii").lower().replace("-", "")
        return not encoding.startswith("utf")


def _columns(otherwise: int) -> int:
    import shutil

    return shutil.get_terminal_size((otherwise, 24)).columns


class Bar:
    """Progress on standard error, once reading takes longer than a moment."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.began = self.shown = time.monotonic()
        self.drawn = False

    def __call__(self, done: int, total: int, label: str) -> None:
        now = time.monotonic()
        if now - self.began < PROGRESS_AFTER_S or now - self.shown < PROGRESS_EVERY_S:
            return
        from engine.trace.report_text import clipped, printable, size_of

        self.shown, self.drawn = now, True
        share = min(1.0, done / total) if total else 0.0
        bar = ("#" * int(BAR * share)).ljust(BAR, ".")
        rate = size_of(int(done / max(1e-9, now - self.began)))
        line = f"[{bar}] {share:4.0%} {rate}/s {printable(os.path.basename(label))}"
        self.stream.write(f"\r\x1b[K{clipped(line, _columns(80) - 1)}")
        self.stream.flush()

    def clear(self) -> None:
        """Takes the bar off the screen."""
        if self.drawn:
            self.stream.write("\r\x1b[K")
            self.stream.flush()


@contextlib.contextmanager
def progress(args: argparse.Namespace) -> Iterator[Bar | None]:
    """A bar where a person looks at standard error, else None."""
    bar = Bar(sys.stderr) if sys.stderr.isatty() and not args.quiet else None
    try:
        yield bar
    finally:
        if bar is not None:
            bar.clear()


# ---- reading ----


def _options(args: argparse.Namespace) -> Options:
    from engine.trace.reading import Options

    return Options(tz_offset_s=args.tz)


def _tables(args: argparse.Namespace) -> Tables:
    from engine.trace import read

    with progress(args) as bar:
        tables: Tables = read(args.paths, progress=bar, options=_options(args))
    if getattr(args, "endpoints", None):
        from engine.trace.analysis import label_endpoints

        label_endpoints(tables, args.endpoints)
    return tables


# ---- subcommands ----


def analyze(args: argparse.Namespace) -> int:
    """Findings of all inputs together."""
    from engine.trace import analyze as explain
    from engine.trace.report_text import report_text

    with progress(args) as bar:
        report = explain(
            args.paths, issue=args.issue, endpoints=args.endpoints, min_severity=args.min_severity, progress=bar,
            options=_options(args), workers=args.workers,
        )  # fmt: skip
    with Output(args.output) as out:
        if args.format == "json":
            out.json(report)
        elif args.format == "ndjson":
            for finding in report.findings:
                out.json(finding, pretty=False)
        else:
            out.text(report_text(report, width=out.width, color=out.color(args), quiet=args.quiet))
    if args.fail_on:
        reached = SEVERITIES[: SEVERITIES.index(args.fail_on) + 1]
        return int(any(finding.severity in reached for finding in report.findings))
    return 0


def calls(args: argparse.Namespace) -> int:
    """One row a Call-ID."""
    from engine.trace.report_text import CALL_COLUMNS, call_row, calls_chosen

    tables = _tables(args)
    with _words(), Output(args.output) as out:
        chosen = calls_chosen(tables, number=args.number, status=args.status, kind=args.kind)
        _rows(out, args, (call_row(tables, call) for call in chosen), CALL_COLUMNS)
    return 0


def streams(args: argparse.Namespace) -> int:
    """One row an RTP stream."""
    from engine.trace.report_text import STREAM_COLUMNS, calls_chosen, stream_row

    tables = _tables(args)
    owners: Any = tables.streams.call
    with _words(), Output(args.output) as out:
        rows: Iterable[int] = range(len(tables.streams))
        if args.number or args.status or args.kind:
            kept = set(calls_chosen(tables, number=args.number, status=args.status, kind=args.kind))
            rows = (row for row in rows if int(owners[row]) in kept)
        _rows(out, args, (stream_row(tables, row) for row in rows), STREAM_COLUMNS)
    return 0


@contextlib.contextmanager
def _words() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise Usage(str(error)) from error


def _rows(
    out: Output, args: argparse.Namespace, rows: Iterable[dict[str, Any]], columns: Sequence[tuple[str, str, bool]]
) -> None:
    from engine.trace.report_text import printable, table_text

    if args.format == "text":
        for line in table_text(rows, columns, color=out.color(args)):
            out.line(line)
    elif args.format == "ndjson":
        for row in rows:
            out.json(row, pretty=False)
    elif args.format == "json":
        out.json(list(rows))
    else:
        import csv

        writer = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(out.stream, fieldnames=list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow({key: printable(value) if isinstance(value, str) else value for key, value in row.items()})


def ladder(args: argparse.Namespace) -> int:
    """One call's ladder."""
    from engine.trace.ladder import as_json
    from engine.trace.ladder import ladder as draw

    tables = _tables(args)
    call = find_call(tables, args.call, told=not args.quiet)
    with _words():
        drawn = draw(tables, call, media=not args.no_media, system=args.system)
    with Output(args.output) as out:
        if args.format == "json":
            out.json(as_json(drawn, iso=args.iso, full=args.full))
            return 0
        if args.format == "svg":
            from engine.trace.ladder_svg import ladder_svg

            lines = ladder_svg(drawn)
        elif args.format == "mermaid":
            from engine.trace.ladder_mermaid import ladder_mermaid

            lines = ladder_mermaid(drawn)
        else:
            from engine.trace.ladder_text import ladder_text

            lines = ladder_text(drawn, width=out.width, color=out.color(args), ascii_only=out.ascii_only)
        for line in lines:
            out.line(line)
    return 0


def find_call(tables: Tables, wanted: str, *, told: bool) -> int:
    """The calls row that is meant: a Call-ID, its number in `trunkline calls`, or a number dialled or calling.

    Without a wish it is the first call (or the first dialog when no INVITE is there). Raises Usage when none matches.
    """
    from engine.trace.report_text import has_number, printable

    count = len(tables.calls)
    if not count:
        raise Usage("the trace holds no SIP message, so there is no ladder to draw")
    if not wanted:
        kinds: Any = tables.calls.kind
        first = next((call for call in range(count) if kinds[call] == 1), 0)
        groups = len(set(tables.calls.group.tolist()))
        if told and groups > 1:
            print(
                f"trunkline: {groups:,} calls and dialogs; this is number {first + 1}. Choose with --call "
                "(trunkline calls lists them).",
                file=sys.stderr,
            )
        return first
    for call in range(count):
        if tables.call_id(call) == wanted:
            return call
    if wanted.isdecimal() and wanted.isascii() and len(wanted) < 12 and 1 <= int(wanted) <= count:
        return int(wanted) - 1
    found = [call for call in range(count) if has_number(tables, call, wanted)]
    if not found:
        raise Usage(f"no call has the Call-ID, position or number {printable(wanted)!r}; trunkline calls lists them")
    if told and len({int(tables.calls.group[call]) for call in found}) > 1:
        print(
            f"trunkline: {len(found):,} calls have {printable(wanted)}; this is number {found[0] + 1}.",
            file=sys.stderr,
        )
    return found[0]


def rules(args: argparse.Namespace) -> int:
    """Every diagnostic rule."""
    from engine.trace.analysis import rules as all_rules
    from engine.trace.report_text import table_text

    rows = [
        {"id": r.id, "severity": r.severity, "category": r.category, "rfc": r.rfc, "title": r.title,
         "confidence": r.confidence, "symptoms": list(r.symptoms), "recommendation": r.recommendation}
        for r in sorted(all_rules(), key=lambda rule: (rule.category, SEVERITIES.index(rule.severity), rule.id))
    ]  # fmt: skip
    with Output(None) as out:
        if args.json:
            out.json(rows)
            return 0
        columns = [(key, key, False) for key in ("id", "severity", "category", "rfc", "title")]
        for line in table_text(rows, columns, color=out.color(args)):
            out.line(line)
        out.line(f"{len(rows)} rules")
    return 0


def formats(args: argparse.Namespace) -> int:
    """Every input format."""
    from engine.trace.report_text import table_text
    from engine.trace.sources import base

    rows = [{"name": format.name, "title": format.title} for format in base.members().values()]
    with Output(None) as out:
        if args.json:
            out.json(rows)
            return 0
        for line in table_text(rows, [("name", "name", False), ("title", "input", False)], color=out.color(args)):
            out.line(line)
    return 0


def completion(args: argparse.Namespace) -> int:
    """A script that completes subcommands, options and their values."""
    from api.completion import script

    with Output(None) as out:
        out.text(script(args.shell, parser()))
    return 0


# ---- arguments ----


def _zone(text: str) -> int:
    """Seconds east of UTC of "+02:00", "-0330" or "Z"."""
    if text.upper() in ("Z", "UTC"):
        return 0
    match = re.fullmatch(r"([+-])(\d{1,2}):?(\d{2})?", text)
    if not match or int(match[2]) > 14 or int(match[3] or 0) > 59:
        raise argparse.ArgumentTypeError(f"{text!r} is no offset such as +02:00")
    seconds = int(match[2]) * 3600 + int(match[3] or 0) * 60
    return seconds if match[1] == "+" else -seconds


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def threads() -> int:
    """How many threads read one input unless told otherwise: one a core, and no more than have something to do."""
    return min(THREADS_MAX, len(os.sched_getaffinity(0)))


def _number_between(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {low} to {high}")
        return int(text)

    return number


class _Version(argparse.Action):
    """Prints the version: looked up only when asked for, because package metadata costs time."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            told = version("trunkline")
        except PackageNotFoundError:
            told = _version_of_tree()
        print(f"trunkline {told}")
        parser.exit(0)


def _version_of_tree() -> str:
    """The version when the package was built in place and never installed."""
    import tomllib
    from pathlib import Path

    try:
        told: str = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["version"]
    except (OSError, KeyError, ValueError):
        return "unknown"
    return told


def _inputs(command: argparse.ArgumentParser, formats: tuple[str, ...]) -> None:
    command.add_argument("paths", nargs="+", metavar="PATH", help="file, folder (with all in it), or - for standard input")
    command.add_argument("--format", choices=formats, default=formats[0], help=f"output, {formats[0]} by default")
    command.add_argument("--output", metavar="FILE", help="write there instead of standard output")
    command.add_argument("--tz", type=_zone, default=0, metavar="+HH:MM", help="zone of logs that name none (UTC)")
    command.add_argument("--quiet", action="store_true", help="no progress, no remarks")
    _color(command)


def _color(command: argparse.ArgumentParser) -> None:
    command.add_argument("--no-color", action="store_true", help="no colour, as with NO_COLOR set")


def _filters(command: argparse.ArgumentParser) -> None:
    command.add_argument("--number", default="", help="only calls from or to a number that holds this")
    command.add_argument("--status", type=_split, default=[], help="only these: 486, 4xx, answered, no-response")
    command.add_argument("--kind", type=_split, default=[], help="only these: call, registration, options, ...")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="trunkline", description="Explains SIP and RTP traces, and serves that over HTTP.")
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], told: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=told, description=told[0].upper() + told[1:] + ".")
        made.set_defaults(run=run)
        return made

    one = command("analyze", analyze, "what is wrong in traces, and what to do")
    _inputs(one, ("text", "json", "ndjson"))
    one.add_argument("--issue", default="", help='the symptom, for example "one-way-audio"')
    one.add_argument("--endpoints", type=_split, default=[], metavar="A,B", help=ENDPOINT_HELP)
    one.add_argument("--min-severity", choices=SEVERITIES, default="info", help="leave out what is less")
    one.add_argument("--fail-on", choices=SEVERITIES, help="exit code 1 when a finding is at least this severe")
    one.add_argument("--workers", type=_number_between(1, 256), default=threads(), metavar="N", help="threads that read and expand (one a core, at most 4)")

    one = command("calls", calls, "a table of the calls and other dialogs")
    _inputs(one, ("text", "json", "ndjson", "csv"))
    _filters(one)
    one.add_argument("--endpoints", type=_split, default=[], metavar="A,B", help=ENDPOINT_HELP)

    one = command("streams", streams, "a table of the RTP streams and their quality")
    _inputs(one, ("text", "json", "ndjson", "csv"))
    _filters(one)
    one.add_argument("--endpoints", type=_split, default=[], metavar="A,B", help=ENDPOINT_HELP)

    one = command("ladder", ladder, "who sent what to whom in one call")
    _inputs(one, ("text", "json", "svg", "mermaid"))
    one.add_argument("--call", default="", metavar="CALL", help="Call-ID, number in trunkline calls, or phone number")
    one.add_argument("--endpoints", type=_split, default=[], metavar="A,B", help=ENDPOINT_HELP)
    one.add_argument("--system", metavar="NODE", help="the node that direction is seen from (label, host or ip:port)")
    one.add_argument("--iso", action="store_true", help="json: ISO 8601 times")
    one.add_argument("--full", action="store_true", help="json: also legs, media, findings, labels")
    one.add_argument("--no-media", action="store_true", help="signalling only")

    for name, run, told in (("rules", rules, "every diagnostic rule"), ("formats", formats, "every input format")):
        one = command(name, run, told)
        one.add_argument("--json", action="store_true", help="as JSON")
        _color(one)

    add_commands(command, _number_between)
    add_recordings_command(command)
    add_recordings_tools(command)

    one = command("completion", completion, "a shell script that completes this command")
    one.add_argument("shell", choices=("bash", "zsh", "fish"))
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit code."""
    args = parser().parse_args(arguments)
    # numpy starts a thread a core for linear algebra, of which there is none here
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        return run(args)
    except (EngineError, Usage) as error:
        _complain(str(error))
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except MemoryError as error:
        _complain(str(error) or "out of memory")
    except KeyboardInterrupt:
        return 130
    return 2


def _complain(text: str) -> None:
    from engine.trace.report_text import printable

    print(f"trunkline: {printable(text)}", file=sys.stderr)


__all__ = ["main", "parser"]
