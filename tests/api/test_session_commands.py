"""The commands for recording sessions: what they ask a server, what they make of its answers, and what never leaves them."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from api.cli import main, parser
from api.completion import script
from tests.ports import free_ports

PAUSED = {
    "session_id": "a@x", "is_paused": True, "recording_paused": True, "transcription_paused": False, "paused_at": "2025-11-11T12:15:55.000Z",
    "pause_duration": 1.5, "auto_resume_at": None,
}  # fmt: skip
SESSION = {
    "call_id": "a\x1b[31m@x", "state": "connected", "created_at": "2025-11-11T12:10:04.493Z", "participants": ["sip:agent@pbx"], "recording_path": "/r/a.wav",
    "analytics": {"sentiment": None, "mos": 4.2}, "recording_id": "rec-1", "channels": [{"index": 0}],
}  # fmt: skip
KEY = "a-key-that-stays-here"


class Stub(http.server.BaseHTTPRequestHandler):
    """Answers as it is told, and notes what was asked."""

    asked: ClassVar[list[tuple[str, str, Any, str | None]]] = []
    answer: ClassVar[tuple[int, dict[str, str], bytes]] = (200, {}, b"{}")

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append((self.command, self.path, json.loads(body) if body else None, self.headers.get("X-API-Key")))
        status, headers, content = self.answer
        if self.path.startswith("/api/sessions?id="):
            content = json.dumps(SESSION).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_DELETE = do_GET

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Stub]]:
    """A server that answers as it is told."""
    Stub.asked, Stub.answer = [], (200, {}, json.dumps(PAUSED).encode())
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("TRUNKLINE_URL", f"http://127.0.0.1:{running.server_port}")
    monkeypatch.setenv("TRUNKLINE_KEY", KEY)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    yield Stub
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ("pause a@x", ("POST", "/api/sessions/a%40x/pause", {})),
        ("pause a@x --only recording --reason card", ("POST", "/api/sessions/a%40x/pause", {"reason": "card", "pause_recording": True, "pause_transcription": False})),
        ("pause a@x --only transcription", ("POST", "/api/sessions/a%40x/pause", {"pause_recording": False, "pause_transcription": True})),
        ("pause a@x --arm", ("POST", "/api/sessions/a%40x/pause", {"arm": True})),
        ("resume a@x", ("POST", "/api/sessions/a%40x/resume", {})),
        ("resume a@x --only recording", ("POST", "/api/sessions/a%40x/resume", {"resume_recording": True})),
        ("mute a@x", ("POST", "/api/sessions/a%40x/mute", {})),
        ("mute a@x --side inbound", ("POST", "/api/sessions/a%40x/mute", {"mute_inbound": True})),
        ("unmute a@x --side outbound", ("POST", "/api/sessions/a%40x/unmute", {"unmute_outbound": True})),
        ("hang-up a@x", ("DELETE", "/api/sessions/a%40x", None)),
        ("stats", ("GET", "/api/sessions/stats", None)),
        ("sessions a?b&c", ("GET", "/api/sessions?id=a%3Fb%26c", None)),
        ("pause ../../v1/keys", ("POST", "/api/sessions/rec-1/pause", {})),
        ("hang-up a/b@x", ("DELETE", "/api/sessions/rec-1", None)),
    ],
)  # fmt: skip
def test_each_command_asks_for_one_thing(stub: type[Stub], arguments: str, asked: tuple[Any, ...]) -> None:
    assert main(arguments.split(" ")) == 0
    assert stub.asked[-1] == (*asked, KEY)
    assert all(path.startswith("/api/sessions") for _, path, _, _ in stub.asked)


def test_all_sessions_are_paused_by_one_request(stub: type[Stub], capsys: pytest.CaptureFixture[str]) -> None:
    stub.answer = (200, {}, json.dumps({"message": "2 sessions paused", "statuses": {}}).encode())
    assert main(["pause", "--all"]) == main(["resume", "--all", "--only", "recording"]) == 0
    assert [asked[1:3] for asked in stub.asked] == [("/api/sessions/pause-all", {}), ("/api/sessions/resume-all", {"resume_recording": True})]
    assert capsys.readouterr().out == "2 sessions paused\n" * 2


def test_what_is_told_is_shown_for_people_and_for_programs(stub: type[Stub], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pause", "a@x"]) == 0
    assert capsys.readouterr().out.splitlines()[:5] == [
        "session_id: a@x", "is_paused: yes", "recording_paused: yes", "transcription_paused: no", "paused_at: 2025-11-11T12:15:55.000Z",
    ]
    assert main(["pause", "a@x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == PAUSED


def test_names_of_strangers_do_not_steer_the_terminal(stub: type[Stub], capsys: pytest.CaptureFixture[str]) -> None:
    stub.answer = (200, {}, json.dumps({"count": 1, "sessions": [SESSION], "silent_workers": 1}).encode())
    for arguments in (["sessions"], ["sessions", "--json"], ["sessions", "a@x"]):
        assert main(arguments) == 0
        told = capsys.readouterr()
        assert "\x1b" not in told.out + told.err
        assert "[31m@x" in told.out
    assert main(["sessions"]) == 0
    assert "1 workers did not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        ((404, {}, b'{"error": "there is no such recording session", "code": "siprec.unknown_session"}'), 1, "no such recording session"),
        ((401, {}, b'{"error": "The key is not valid\\u001b[2J", "code": "auth.invalid"}'), 1, "The key is not valid"),
        ((500, {}, b"<html>"), 2, "is no JSON"), ((404, {}, b'{"detail": "x"}'), 2, "is no server of this kind"), ((200, {}, b"<html>"), 2, "is no JSON"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b"{}"), 2, "is no server of this kind"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_in_a_sentence(
    stub: type[Stub], capsys: pytest.CaptureFixture[str], answer: tuple[int, dict[str, str], bytes], code: int, told: str
) -> None:
    stub.answer = answer
    assert main(["pause", "a@x"]) == code
    seen = capsys.readouterr()
    assert seen.out == ""
    assert told in seen.err
    assert len(seen.err.splitlines()) == 1
    assert "\x1b" not in seen.err
    assert KEY not in seen.err
    assert len(stub.asked) == 1


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8080", "file:///etc/passwd", "http://", "http://127.0.0.1:99999"])
def test_what_is_no_server_is_told(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--url", url]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert main(["stats", "--url", f"http://127.0.0.1:{free_ports()}"]) == 2
    assert "does not answer" in capsys.readouterr().err


def test_a_pause_names_one_session_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["pause"], ["resume"], ["pause", "a@x", "--all"], ["mute"], ["hang-up"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    capsys.readouterr()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_them(shell: str) -> None:
    told = script(shell, parser())
    assert all(word in told for word in ("sessions", "stats", "pause", "resume", "unmute", "hang-up", "transcription", "outbound"))
