"""The archive of kept calls over HTTP: what is stored is found again under each of its names, by whom it concerns."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from api.routes.calls import masked
from engine.trace import read
from tests.data.scene import Scene
from tests.running import Running, server

pytestmark = pytest.mark.slow

CALL_ID = "kept-1@pbx"
SECRET_ANSWER = b"6629fae49393a05397450978507c4ef1"


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with server(TRUNKLINE_AUTH_ENABLED="on") as started:
        yield started


def key(running: Running, owner: str, team: str | None = None, *scopes: str) -> str:
    wish: dict[str, Any] = {"name": owner, "owner": owner, "team": team}
    if scopes:
        wish["scopes"] = scopes
    with running.client() as admin:
        made = admin.post("/v1/keys/generate", json=wish)
    assert made.status_code == 201, made.text
    told: str = made.json()["key"]
    return told


def capture(call_id: str = CALL_ID) -> bytes:
    scene = Scene()
    scene.call(call_id=call_id).basic(talk_s=1.0)
    return scene.pcap()


def keep(client: httpx.Client, body: bytes, **query: str) -> dict[str, Any]:
    answer = client.post(
        "/v1/analyze", params={"store": "true", **query}, content=body,
        headers={"Content-Type": "application/vnd.tcpdump.pcap"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()["stored"]
    return told


@pytest.fixture(scope="module")
def stored(running: Running) -> dict[str, Any]:
    with running.client() as admin:
        return keep(admin, capture())


@pytest.fixture(scope="module")
def admin(running: Running, stored: dict[str, Any]) -> Iterator[httpx.Client]:
    with running.client() as client:
        yield client


def test_a_kept_call_is_found_under_each_of_its_names(admin: httpx.Client, stored: dict[str, Any]) -> None:
    [call] = stored["calls"]
    assert call["call_ids"] == [CALL_ID]
    views = [admin.get(f"/api/v1/calls/{quote(str(name))}") for name in (call["number"], call["uuid"], CALL_ID)]
    assert [view.status_code for view in views] == [200] * 3
    assert views[0].json() == views[1].json() == views[2].json()
    view = views[0].json()
    assert (view["kind"], view["outcome"], view["status"]) == ("call", "answered", 200)
    assert view["trace_id"] == stored["trace_id"]
    assert view["stream_count"] == 2
    assert view["duration_ms"] >= 1000
    assert view["worst_mos"] > 3


def test_its_messages_findings_and_streams_are_kept(admin: httpx.Client, stored: dict[str, Any]) -> None:
    path = f"/api/v1/calls/{stored['calls'][0]['number']}"
    call = admin.get(path).json()
    messages = admin.get(f"{path}/messages").json()["messages"]
    assert len(messages) == call["message_count"]
    assert messages[0]["method"] == "INVITE"
    assert messages[0]["text"].startswith("INVITE sip:")
    assert messages[0]["sdp"]
    assert messages[0]["time"] <= messages[-1]["time"]
    findings = admin.get(f"{path}/findings").json()
    assert sum(findings["severity_counts"].values()) == len(findings["findings"]) > 0
    ranks = ["critical", "high", "medium", "low", "info"]
    severities = [finding["severity"] for finding in findings["findings"]]
    assert severities == sorted(severities, key=ranks.index)
    streams = admin.get(f"{path}/streams").json()["streams"]
    assert len(streams) == 2
    assert all(stream["packets"] > 40 and stream["mos"] > 3 for stream in streams)


def test_the_ladder_is_the_documented_document_and_is_drawn(admin: httpx.Client, stored: dict[str, Any]) -> None:
    path = f"/api/v1/calls/{stored['calls'][0]['number']}/sipLadder"
    told = admin.get(path)
    assert told.headers["content-type"].startswith("application/json")
    ladder = told.json()
    assert list(ladder) == ["diagnosticInfo", "nodes", "messages"]
    assert len(ladder["nodes"]) == 2
    assert len(ladder["messages"]) == 7
    text = admin.get(path, params={"format": "text"})
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert "INVITE" in text.text and "200 OK" in text.text
    svg = admin.get(path, params={"format": "svg"})
    assert svg.headers["content-type"] == "image/svg+xml"
    assert ElementTree.fromstring(svg.text).tag == "{http://www.w3.org/2000/svg}svg"
    wrong = admin.get(path, params={"format": "png"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "request.invalid_parameter")


def test_a_call_leaves_as_a_capture_that_reads_the_same(admin: httpx.Client, stored: dict[str, Any]) -> None:
    path = f"/api/v1/calls/{stored['calls'][0]['number']}"
    told = admin.get(f"{path}/export.pcap")
    assert told.headers["content-type"] == "application/vnd.tcpdump.pcap"
    assert 'filename="call-' in told.headers["content-disposition"]
    again, before = read(told.content), read(capture())
    assert [again.text(row) for row in range(len(again.messages))] == [
        before.text(row) for row in range(len(before.messages))
    ]


def test_pages_walk_every_call_once(running: Running) -> None:
    with running.client(key(running, "walker", None, "traces.analyze", "calls.read", "calls.write")) as client:
        for number in range(7):
            keep(client, capture(f"walk-{number}@pbx"))
        seen, cursor = [], None
        while True:
            page = client.get("/api/v1/calls", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
            seen += [call["call_ids"][0] for call in page["calls"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == [f"walk-{number}@pbx" for number in reversed(range(7))]
        only = client.get("/api/v1/calls", params={"call_id": "walk-3@pbx"}).json()["calls"]
        assert [call["call_ids"] for call in only] == [["walk-3@pbx"]]
        assert client.get("/api/v1/calls", params={"outcome": "busy"}).json()["calls"] == []
        for wrong in ({"cursor": "bm9uZQ"}, {"limit": 0}, {"limit": 501}, {"min_severity": "awful"}, {"since": "soon"}):
            refused = client.get("/api/v1/calls", params=wrong)
            assert (refused.status_code, refused.json()["code"]) == (400, "request.invalid_parameter"), wrong


def test_a_call_is_seen_by_its_owner_and_team_only(running: Running) -> None:
    mine, theirs = key(running, "ann", "red"), key(running, "ben", "red")
    stranger = key(running, "eve", "blue")
    with running.client(mine) as client:
        stored = keep(client, capture("private@pbx"))
    number = stored["calls"][0]["number"]
    for who, status in ((mine, 200), (theirs, 200), (running.key, 200), (stranger, 404)):
        with running.client(who) as client:
            for path in ("", "/messages", "/findings", "/streams", "/sipLadder", "/export.pcap"):
                assert client.get(f"/api/v1/calls/{number}{path}").status_code == status, (who, path)
            for name in (stored["calls"][0]["uuid"], "private@pbx"):
                assert client.get(f"/api/v1/calls/{name}").status_code == status
            listed = client.get("/api/v1/calls", params={"call_id": "private@pbx"}).json()["calls"]
            assert len(listed) == (status == 200)
    with running.client(stranger) as client:
        assert client.delete(f"/api/v1/calls/{number}").status_code == 404
    with running.client(mine) as client:
        assert client.delete(f"/api/v1/calls/{number}").json() == {"number": number, "deleted": True}
        assert client.get(f"/api/v1/calls/{number}").status_code == 404
        assert client.get("/api/v1/calls/private@pbx").json()["code"] == "request.not_found"


def test_each_route_needs_its_scope(running: Running) -> None:
    with running.client(key(running, "reader", None, "calls.read")) as client:
        refused = client.post("/v1/analyze", json={"trace": "INVITE sip:a@b SIP/2.0\r\n\r\n"})
        assert (refused.status_code, refused.json()["code"]) == (403, "auth.forbidden")
        assert "insufficient_scope" in refused.headers["WWW-Authenticate"]
        assert client.get("/api/v1/calls").status_code == 200
        assert client.get("/api/config").status_code == 403
    with running.client(key(running, "teller", None, "traces.analyze")) as client:
        refused = client.post("/v1/analyze?store=true", content=capture(), headers={"Content-Type": "application/octet-stream"})
        assert (refused.status_code, refused.json()["code"]) == (403, "auth.forbidden")
        assert int(refused.headers["X-RateLimit-Remaining"]) == int(refused.headers["X-RateLimit-Limit"])


def test_secrets_of_a_message_are_masked_without_the_scope_for_them(running: Running) -> None:
    text = (
        b"REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:bob@example.com>;tag=1\r\n"
        b"To: <sip:bob@example.com>\r\nCall-ID: secret-1\r\nCSeq: 2 REGISTER\r\nMax-Forwards: 70\r\n"
        b'Authorization: Digest username="bob", realm="r", nonce="n", uri="sip:example.com", response="' + SECRET_ANSWER + b'"\r\n'
        b"Content-Length: 0\r\n\r\n"
    )
    assert SECRET_ANSWER not in masked(text)
    with running.client(key(running, "careful", None, "traces.analyze", "calls.read", "calls.write")) as client:
        answer = client.post("/v1/analyze", json={"trace": text.decode(), "store": True}).json()
        number = answer["stored"]["calls"][0]["number"]
        [message] = client.get(f"/api/v1/calls/{number}/messages").json()["messages"]
        assert SECRET_ANSWER.decode() not in message["text"]
        assert 'username="bob"' in message["text"]
        assert SECRET_ANSWER.decode() not in client.get(f"/api/v1/calls/{number}/sipLadder").text
        assert client.get(f"/api/v1/calls/{number}/export.pcap").status_code == 403
    with running.client() as admin:
        [message] = admin.get(f"/api/v1/calls/{number}/messages").json()["messages"]
        assert SECRET_ANSWER.decode() in message["text"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"Authorization: Bearer abc.def.ghi\r\n", b"Authorization: Bearer ***\r\n"),
        (b"Proxy-Authorization: Basic Ym9iOnB3\r\n", b"Proxy-Authorization: Basic ***\r\n"),
        (b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7|2^20\r\n",
         b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:***|2^20\r\n"),
        (b'Authorization: Digest cnonce="x", response=abc, nc=1\r\n', b'Authorization: Digest cnonce="***", response=***, nc=1\r\n'),
        (b"Subject: no secret\r\n", b"Subject: no secret\r\n"),
    ],
)  # fmt: skip
def test_what_lets_in_or_decrypts_is_masked(text: bytes, told: bytes) -> None:
    assert masked(text) == told


@pytest.mark.parametrize("name", ["999999999", "0", "-1", "99999999999999999999999", "nobody@nowhere", "%00", "a" * 2000])
def test_a_name_of_no_call_is_404(admin: httpx.Client, name: str) -> None:
    told = admin.get(f"/api/v1/calls/{name}")
    assert (told.status_code, told.json()["code"]) == (404, "request.not_found")


def test_a_trace_in_a_form_and_in_json_is_kept_too(admin: httpx.Client) -> None:
    form = admin.post("/v1/analyze", files={"file": ("one.pcap", capture("form@pbx"))}, data={"store": "true"})
    assert form.json()["stored"]["calls"][0]["call_ids"] == ["form@pbx"]
    view = admin.get("/api/v1/calls/form@pbx").json()
    assert view["source"] == "upload"
    wrong = admin.post("/v1/analyze", json={"trace": "x", "store": "yes"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "request.invalid_parameter")
