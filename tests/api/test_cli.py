"""The command: its outputs, exit codes and refusals; as a process of its own where pipes and terminals matter."""

from __future__ import annotations

import csv
import io
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pytest

from api.cli import main, parser
from tests.data import b2bua_ladder
from tests.data.scene import Scene

ROOT = Path(__file__).parents[2]
INVITE = (
    b"INVITE sip:bob@biloxi.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.168.1.100:5060;branch=z9hG4bK776\r\n"
    b"From: <sip:alice@atlanta.com>;tag=1\r\nTo: <sip:bob@biloxi.com>\r\nCall-ID: pasted-1\r\nCSeq: 1 INVITE\r\n"
    b"Contact: <sip:alice@192.168.1.100>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


class Done(NamedTuple):
    returncode: int
    stdout: bytes
    stderr: bytes


def run(*arguments: str | Path, given: bytes = b"") -> Done:
    """The command in this process, with streams of its own."""
    streams = [io.TextIOWrapper(io.BytesIO(piece), encoding="utf-8") for piece in (given, b"", b"")]
    kept = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = streams
    try:
        code: Any = main([str(argument) for argument in arguments])
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdin, sys.stdout, sys.stderr = kept
    for stream in streams[1:]:
        stream.flush()
    out, err = (cast("io.BytesIO", stream.buffer).getvalue() for stream in streams[1:])
    return Done(code, out, err)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two captures: an answered call with media, and a busy one."""
    folder = tmp_path_factory.mktemp("captures")
    answered, busy = Scene(), Scene(start=1_700_001_000.0, seed=2)
    answered.call(from_user="+15550100", to_user="2000", call_id="answered@x").basic(talk_s=2.0)
    busy.call(from_user="3000", to_user="4000", call_id="busy@x").invite().response(486).ack()
    (folder / "deeper").mkdir()
    (folder / "answered.pcap").write_bytes(answered.pcap())
    (folder / "deeper" / "busy.pcap").write_bytes(busy.pcap())
    (folder / "b2bua.txt").write_bytes(b2bua_ladder.sngrep_export())
    return folder


def test_version_and_help_answer_without_the_kernels() -> None:
    code = (
        "import sys\nfrom api.cli import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'numpy', 'msgspec', 'litestar', 'engine._native.trace'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.startswith(b"trunkline ")


def test_analyze_explains_a_file_in_text(trace: Path) -> None:
    done = run("analyze", trace / "answered.pcap")
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode()
    assert "1 call" in text.splitlines()[0]
    assert "Findings:" in text
    assert "\x1b" not in text
    assert done.stderr == b""


def test_analyze_reads_folders_with_all_in_them(trace: Path) -> None:
    report = msgspec.json.decode(run("analyze", trace, "--format", "json").stdout)
    assert report["summary"]["files"] == 3
    assert report["summary"]["calls"] == 4
    assert set(report) == {"summary", "severity_counts", "findings", "recommendations"}


def test_analyze_reads_standard_input() -> None:
    done = run("analyze", "-", "--format", "json", given=INVITE)
    assert done.returncode == 0, done.stderr.decode()
    assert msgspec.json.decode(done.stdout)["summary"]["messages"] == 1


def test_analyze_writes_one_finding_a_line(trace: Path) -> None:
    done = run("analyze", trace, "--format", "ndjson")
    findings = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    assert findings
    assert all({"rule", "severity", "title", "detail", "evidence"} <= set(finding) for finding in findings)


def test_fail_on_decides_the_exit_code(trace: Path) -> None:
    findings = msgspec.json.decode(run("analyze", trace, "--format", "json").stdout)["severity_counts"]
    severities = ["critical", "high", "medium", "low", "info"]
    for at, severity in enumerate(severities):
        reached = any(findings[name] for name in severities[: at + 1])
        assert run("analyze", trace, "--fail-on", severity, "--quiet").returncode == int(reached), severity
    assert any(findings.values())


def test_min_severity_leaves_out_what_is_less(trace: Path) -> None:
    report = msgspec.json.decode(run("analyze", trace, "--format", "json", "--min-severity", "medium").stdout)
    assert {finding["severity"] for finding in report["findings"]} <= {"critical", "high", "medium"}


def test_output_goes_to_the_file_named(trace: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    done = run("analyze", trace, "--format", "json", "--output", target)
    assert (done.returncode, done.stdout) == (0, b"")
    assert msgspec.json.decode(target.read_bytes())["findings"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["analyze", "/nowhere/there.pcap"], "/nowhere/there.pcap"),
        (["ladder", "/nowhere/there.pcap"], "No such file"),
        (["analyze"], "PATH"),
        (["analyze", "x", "--fail-on", "awful"], "invalid choice"),
        (["analyze", "x", "--tz", "noon"], "no offset such as"),
        (["serve", "--config", "/nowhere/there.toml"], "No such file"),
        (["serve", "--host", "example.org", "--data", "/nonexistent/x"], "no IP address"),
        (["serve", "--http-port", "70000"], "no whole number"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence_with_code_2(arguments: list[str], told: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert told in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_wrong_filters_and_calls_are_wrong_usage(trace: Path) -> None:
    for arguments in (["calls", "--status", "sometimes"], ["ladder", "--call", "nobody"], ["ladder", "--system", "x"]):
        done = run(arguments[0], trace / "answered.pcap", *arguments[1:])
        assert done.returncode == 2, arguments
        assert done.stderr.startswith(b"trunkline: ")
        assert b"Traceback" not in done.stderr


def test_an_output_that_cannot_be_written_is_told(trace: Path) -> None:
    done = run("calls", trace, "--output", "/nowhere/there.csv")
    assert done.returncode == 2
    assert b"/nowhere/there.csv: No such file or directory" in done.stderr


def test_the_command_is_a_program_with_an_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "api", "analyze", "/nowhere/there.pcap"], capture_output=True, cwd=ROOT, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"trunkline: /nowhere/there.pcap: No such file or directory\n"


def test_a_reader_that_leaves_early_is_no_error(trace: Path) -> None:
    command = f'{sys.executable} -m api calls "$0" --format csv | head -1 >/dev/null; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", command, str(trace)], capture_output=True, cwd=ROOT, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    closed = f'{sys.executable} -m api analyze "$0" --format json >&-; exit "$?"'
    done = subprocess.run(["bash", "-c", closed, str(trace)], capture_output=True, cwd=ROOT, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, b"trunkline: standard output is closed\n")


def test_calls_are_listed_in_every_format(trace: Path) -> None:
    text = run("calls", trace).stdout.decode().splitlines()
    assert text[0].split()[:3] == ["#", "start", "(UTC)"]
    rows = msgspec.json.decode(run("calls", trace, "--format", "json").stdout)
    lines = [msgspec.json.decode(line) for line in run("calls", trace, "--format", "ndjson").stdout.splitlines()]
    table = list(csv.DictReader(io.StringIO(run("calls", trace, "--format", "csv").stdout.decode())))
    assert len(text) - 1 == len(rows) == len(lines) == len(table) == 4
    assert rows == lines
    assert [row["call_id"] for row in rows] == [row["call_id"] for row in table]
    assert {row["outcome"] for row in rows} == {"answered", "busy"}


def test_calls_are_filtered_by_number_status_and_kind(trace: Path) -> None:
    for arguments, count in (
        (["--number", "555"], 1), (["--status", "486"], 1), (["--status", "4xx,answered"], 4), (["--kind", "message"], 0),
    ):  # fmt: skip
        assert len(msgspec.json.decode(run("calls", trace, "--format", "json", *arguments).stdout)) == count, arguments


def test_streams_are_listed_with_labels_and_filters(trace: Path) -> None:
    file = trace / "answered.pcap"
    rows = msgspec.json.decode(run("streams", file, "--format", "json", "--endpoints", "Phone,Gateway").stdout)
    assert {row["codec"] for row in rows} == {"PCMU"}
    assert {row["source"] for row in rows} == {"Phone", "Gateway"}
    assert msgspec.json.decode(run("streams", file, "--format", "json", "--status", "busy").stdout) == []
    assert b"loss %" in run("streams", file).stdout


def test_the_ladder_of_the_documented_call_is_the_documented_one(trace: Path) -> None:
    done = run("ladder", trace / "b2bua.txt", "--format", "json")
    assert done.returncode == 0, done.stderr.decode()
    made, expected = msgspec.json.decode(done.stdout), b2bua_ladder.document()
    assert made["nodes"] == expected["nodes"]
    assert made["messages"] == expected["messages"]


@pytest.mark.parametrize("wanted", ["busy@x", "4000"])
def test_a_ladder_is_found_by_call_id_or_number(trace: Path, wanted: str) -> None:
    done = run("ladder", trace, "--call", wanted)
    assert "486 Busy Here" in done.stdout.decode()


def test_a_ladder_is_found_by_its_place_in_the_table_of_calls(trace: Path) -> None:
    rows = msgspec.json.decode(run("calls", trace, "--format", "json").stdout)
    for row in rows:
        assert row["call_id"] in run("ladder", trace, "--call", str(row["call"])).stdout.decode()


@pytest.mark.parametrize(("format", "begins"), [("svg", b"<svg "), ("mermaid", b"sequenceDiagram\n"), ("text", b"leg 1:")])
def test_ladders_are_drawn_in_every_format(trace: Path, format: str, begins: bytes) -> None:
    done = run("ladder", trace / "answered.pcap", "--format", format)
    assert done.returncode == 0
    assert done.stdout.startswith(begins)


def test_a_ladder_without_a_wish_says_that_there_is_a_choice(trace: Path) -> None:
    assert b"Choose with --call" in run("ladder", trace).stderr
    assert run("ladder", trace, "--quiet").stderr == b""


def test_rules_and_formats_are_listed() -> None:
    rules = msgspec.json.decode(run("rules", "--json").stdout)
    assert {"id", "severity", "category", "rfc", "title"} <= set(rules[0])
    assert run("rules").stdout.decode().splitlines()[-1] == f"{len(rules)} rules"
    names = {row["name"] for row in msgspec.json.decode(run("formats", "--json").stdout)}
    assert {"plain", "sngrep"} <= names
    assert b"sngrep" in run("formats").stdout


def test_nothing_in_a_message_reaches_the_terminal_as_control(tmp_path: Path) -> None:
    evil = INVITE.replace(b"pasted-1", "pasted-\x1b]0;x\x07\x9b2J\u202e".encode())
    (tmp_path / "evil.txt").write_bytes(evil)
    for arguments in (["analyze"], ["calls"], ["ladder"], ["calls", "--format", "csv"], ["analyze", "--format", "json"],
                      ["calls", "--format", "ndjson"], ["ladder", "--format", "json", "--full"]):  # fmt: skip
        shown = run(arguments[0], tmp_path / "evil.txt", *arguments[1:]).stdout.decode()
        assert "pasted" in shown or arguments[0] == "analyze"
        assert not set(shown) & {"\x1b", "\x07", "\x9b", "\u202e"}, arguments


def test_colour_is_for_terminals_and_can_be_refused(trace: Path) -> None:
    def on_terminal(**environment: str) -> bytes:
        near, far = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "api", "calls", str(trace / "answered.pcap")], stdout=far, stderr=far, cwd=ROOT,
            env={**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "TERM": "xterm", **environment},
        ) as process:  # fmt: skip
            os.close(far)
            shown = b""
            try:
                while piece := os.read(near, 4096):
                    shown += piece
            except OSError:
                pass
            assert process.wait(60) == 0
        os.close(near)
        return shown

    assert b"\x1b[1m" in on_terminal()
    assert b"\x1b[" not in on_terminal(NO_COLOR="1")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command_and_option(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("analyze", "calls", "streams", "ladder", "rules", "formats", "serve", "fail-on", "mermaid"):
        assert word in script
    program = shutil.which(shell)
    if program:
        check = subprocess.run([program, "-n", "/dev/stdin"], input=script.encode(), capture_output=True, check=False)
        assert (check.returncode, check.stderr) == (0, b"")


def test_bash_completes_commands_options_and_values(tmp_path: Path) -> None:
    (tmp_path / "trunkline").write_text(run("completion", "bash").stdout.decode())
    for line, wanted in (
        ("trunkline an", {"analyze"}), ("trunkline ladder --format m", {"mermaid"}),
        ("trunkline analyze --fail", {"--fail-on"}), ("trunkline completion z", {"zsh"}),
    ):  # fmt: skip
        words = line.split()
        code = (
            f"source {tmp_path / 'trunkline'}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
            'cd /; _trunkline; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", code], capture_output=True, check=False)
        assert set(done.stdout.decode().split()) == wanted, line


def test_every_subcommand_explains_itself() -> None:
    help_text = parser().format_help()
    for name in ("analyze", "calls", "streams", "ladder", "rules", "formats", "serve", "completion"):
        assert re.search(rf"^ +{name}\s+\S", help_text, re.MULTILINE), name
