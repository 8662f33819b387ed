"""The audit log: its lines, its chain, what becomes of it when a process is killed, and how personal data leaves it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine.compliance import audit_log
from engine.compliance.audit_log import AuditEvent, AuditLog, files_of, heads_of, reference_of, verify
from engine.compliance.errors import AuditLogInUse

NOW = 1_700_000_000.0
HEADERS = (("From", "<sip:alice@example.com>"), ("Authorization", 'Digest username="alice", response="0123"'), ("Via", "a"), ("Via", "b"))


def event(name: str, call_id: str = "c1", **more: Any) -> AuditEvent:
    return AuditEvent(event=name, at=NOW, call_id=call_id, **more)


def opened(path: Path, *, tamper_proof: bool = True, rotate_bytes: int = 1 << 20) -> AuditLog:
    return AuditLog(path, tamper_proof=tamper_proof, clock=lambda: NOW, rotate_bytes=rotate_bytes)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def written(path: Path, count: int = 10, rotate_bytes: int = 1 << 20) -> None:
    log = opened(path, rotate_bytes=rotate_bytes)
    for number in range(count):
        log.add(event("recording.started", f"c{number}", session_id=f"s{number}"))
    log.close()


def test_lines_have_the_documented_fields(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = opened(path)
    log.add(event("sip.invite.failure", outcome="failure", session_id="s", tenant="t", headers=HEADERS, detail={"status": 503, "audit": False}))
    log.add(event("sip.bye.received"))
    log.close()
    first, second = lines_of(path)
    payload = first["payload"]
    assert {name: payload[name] for name in ("audit", "audit_category", "audit_action", "audit_outcome", "event", "call_id", "session_id", "tenant", "timestamp")} == {
        "audit": True, "audit_category": "sip", "audit_action": "invite", "audit_outcome": "failure", "event": "sip.invite.failure", "call_id": "c1", "session_id": "s",
        "tenant": "t", "timestamp": "2023-11-14T22:13:20.000Z",
    }  # fmt: skip
    assert payload["status"] == 503
    assert payload["sip_headers"] == {"From": ["<sip:alice@example.com>"], "Authorization": [f"[REDACTED-{len(HEADERS[1][1])}]"], "Via": ["a", "b"]}
    assert first["timestamp"] == payload["timestamp"] and first["prev_hash"] == "" and second["prev_hash"] == first["hash"]
    assert second["payload"]["audit_action"] == "bye"
    assert "0123" not in path.read_text()
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    assert verify(path) == []


def test_without_a_chain_lines_are_the_payloads(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = opened(path, tamper_proof=False)
    log.add(event("recording.paused", actor="admin"))
    log.close()
    (only,) = lines_of(path)
    assert (only["event"], only["actor"], only["call_id"]) == ("recording.paused", "admin", "c1")
    assert not path.with_name("audit.log.heads").exists()


def test_strangers_text_stays_in_its_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = opened(path)
    log.add(event("recording.started", 'x"}\n{"audit":true\r\u2028\ud800', detail={"name": "\n\0"}, headers=tuple((f"h{n}", "v" * 9000) for n in range(500))))
    log.close()
    assert len(path.read_bytes().split(b"\n")) == 2
    assert path.stat().st_size < 100_000
    assert verify(path) == []


@pytest.mark.parametrize("change", ["payload", "timestamp", "hash", "drop", "swap", "insert", "number"])
def test_what_was_changed_is_found(tmp_path: Path, change: str) -> None:
    path = tmp_path / "audit.log"
    written(path)
    lines = lines_of(path)
    if change == "payload":
        lines[4]["payload"]["call_id"] = "other"
    elif change == "timestamp":
        lines[4]["timestamp"] = "2023-11-14T22:13:21.000Z"
    elif change in ("hash", "number"):
        lines[4][change] = lines[5][change]
    elif change == "drop":
        del lines[4]
    elif change == "swap":
        lines[4], lines[5] = lines[5], lines[4]
    else:
        lines.insert(4, lines[4])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    problems = verify(path)
    assert problems and any("line 5" in problem or "line 6" in problem for problem in problems)


def test_lines_that_were_cut_off_are_found_by_the_heads(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    written(path)
    kept = tmp_path / "elsewhere"
    kept.write_bytes(path.with_name("audit.log.heads").read_bytes())
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:6]))
    path.with_name("audit.log.heads").unlink()
    assert verify(path) == []
    assert "had line 10 once" in verify(path, kept)[0]


def test_a_log_that_was_made_anew_is_found_by_the_heads(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    written(path)
    path.unlink()
    log = opened(path)
    for _ in range(12):
        log.add(event("recording.started", "forged"))
    log.close()
    assert "line 10" in verify(path)[0]


def test_the_chain_goes_on_over_starts_and_rotation(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    for _ in range(5):
        written(path, 10, rotate_bytes=4000)
    files = files_of(path)
    assert len(files) > 3 and files[-1] == path
    numbers = [line["number"] for file in files for line in lines_of(file)]
    assert numbers == list(range(1, 51))
    assert verify(path) == []
    files[1].unlink()
    assert any("missing" in problem for problem in verify(path))


def test_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "HEAD_EVERY", 5)
    path = tmp_path / "audit.log"
    log = opened(path)
    for number in range(12):
        log.add(event("recording.started", f"c{number}"))
        log.sync()
    assert log.head().number == 12
    log.close()
    heads = list(heads_of(path.with_name("audit.log.heads")))
    assert [head.number for head in heads] == [5, 10, 12]
    assert heads[-1].hash == lines_of(path)[-1]["hash"]


def test_one_process_writes(tmp_path: Path) -> None:
    log = opened(tmp_path / "audit.log")
    with pytest.raises(AuditLogInUse):
        opened(tmp_path / "audit.log")
    log.close()
    opened(tmp_path / "audit.log").close()


def test_a_line_that_was_cut_is_set_aside_and_told(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    written(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"number":11,"pay')
    assert any("cut off" in problem for problem in verify(path))
    log = opened(path)
    log.add(event("recording.stopped"))
    log.close()
    assert path.read_bytes().startswith(whole)
    repaired = lines_of(path)[10]["payload"]
    assert repaired["event"] == "audit.repaired"
    assert (tmp_path / repaired["set_aside"]).read_bytes() == b'{"number":11,"pay'
    assert [line["number"] for line in lines_of(path)] == list(range(1, 13))
    assert verify(path) == []


def test_personal_data_leaves_and_the_chain_holds(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = opened(path, rotate_bytes=3000)
    for number in range(12):
        log.add(event("sip.invite.success", f"secret-{number % 3}@host", session_id=f"session-{number % 3}", headers=(("From", f"<sip:+4930{number % 3}00000@x>"),)))
    assert log.erase(["secret-1@host"]) == 4
    assert log.erase(["secret-1@host"]) == 0
    log.add(event("gdpr.erase", reference_of("secret-1@host"), actor="admin"))
    log.close()
    content = b"".join(file.read_bytes() for file in files_of(path))
    assert b"secret-1" not in content and b"session-1" not in content and b"+4930100000" not in content
    assert content.count(b"secret-2@host") == 4
    assert verify(path) == []
    erased = [line for file in files_of(path) for line in lines_of(file) if "personal_hash" in line]
    assert len(erased) == 4
    assert {line["payload"]["event"] for line in erased} == {"sip.invite.success"}
    assert all("salt" not in line for line in erased)


def test_an_erased_line_cannot_be_given_another_event(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = opened(path)
    log.add(event("recording.paused", "gone"))
    log.add(event("recording.stopped", "kept"))
    log.erase(["gone"])
    log.close()
    lines = lines_of(path)
    lines[0]["payload"]["event"] = "recording.resumed"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert verify(path) == ["audit.log: line 1: it was changed"]


def test_a_plain_log_forgets_too(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = opened(path, tamper_proof=False)
    log.add(event("recording.paused", "gone", detail={"participants": ["sip:alice@x"]}))
    log.add(event("recording.paused", "kept"))
    assert log.erase(["gone"]) == 1
    log.close()
    assert "gone" not in path.read_text() and "alice" not in path.read_text()
    assert lines_of(path)[0]["erased"] is True and lines_of(path)[1]["call_id"] == "kept"


def test_a_disk_that_takes_nothing_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.log"
    log = opened(path)
    log.add(event("recording.started"))
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, content: whole(fd, content[: len(content) // 2]))
    with pytest.raises(OSError, match="full"):
        log.add(event("recording.stopped"))
    monkeypatch.undo()
    log.add(event("recording.stopped"))
    log.close()
    assert len(lines_of(path)) == 2 and verify(path) == []


WRITER = """
import sys
from pathlib import Path
from engine.compliance.audit_log import AuditEvent, AuditLog
log = AuditLog(Path(sys.argv[1]), tamper_proof=True, clock=lambda: 1.0, rotate_bytes=20_000)
number = 0
while True:
    log.add(AuditEvent(event="recording.started", at=1.0, call_id=f"c{number}", detail={"text": "x" * 300}))
    number += 1
    print(number, flush=True)
"""


@pytest.mark.slow
def test_what_was_added_outlives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    told = 0
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        count, deadline = 0, time.monotonic() + 30
        while count < 60 and time.monotonic() < deadline:
            count = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")
        count = max([count, *(int(line) for line in rest[:-1] if line)])
        process.wait()
        process.stdout.close()
        told += count
    opened(path).close()
    events = [line["payload"]["event"] for file in files_of(path) for line in lines_of(file)]
    assert told <= events.count("recording.started") <= told + 5
    assert verify(path) == []
