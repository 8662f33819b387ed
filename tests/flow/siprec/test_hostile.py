"""A recording server among enemies: bodies that are bombs, Call-IDs that are paths, streams cut into bytes, requests without tags, and more calls than it takes. Good
calls go on all the while, and are recorded to the sample. Afterwards nothing is left: no session, no port, no descriptor, no file half done."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.flow.siprec.calls import Recorder, Ringing, recorder, wait_until
from tests.flow.siprec.kill_rounds import TRUNK, children
from tests.flow.siprec.raw import Dialog, Peer, peer, plain_body
from tests.flow.siprec.recorded import Recorded, documents, recorded
from tests.flow.siprec.scenario import (
    PCMU,
    RFC,
    SDP,
    Body,
    Client,
    description,
    line,
    metadata_part,
    multipart,
    session_part,
)
from tests.flow.siprec.shapes.shape import Person, Shape, metadata
from tests.flow.siprec.speaking import Say
from tests.flow.siprec.wire import Noted

pytestmark = pytest.mark.slow
LIMIT: Final = 40
GOOD: Final = 4
GOES_ON_MS: Final = 44_000  # SIPp gives up after 50 s
TIMER_H_S: Final = 32.0  # 64 T1 (RFC 3261 13.3.1.4)
LINGER_S: Final = 6.0
PEOPLE: Final = [Person(id="one", aor="sip:one@example.com", name="One", sends=("s1",)), Person(id="two", aor="sip:two@example.com", name="Two", sends=("s2",))]
XML: Final = metadata("hostile", PEOPLE, [("s1", "1"), ("s2", "2")])


def offer(first: str = "1", second: str = "2") -> str:
    return description(line(20_000, first, PCMU), line(20_002, second, PCMU))


def two_parts(xml: str, sdp: str = "") -> Body:
    return multipart("hostile", session_part(sdp or offer()), metadata_part(xml))


class Server(Recorder):
    """One under attack, with what it had when nothing had happened."""

    pid: int = 0
    files: int = 0
    began_at: float = 0.0

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def ports(self) -> list[int]:
        """RTP ports that the worker has bound; other tests bind some of the same range."""
        mine = set()
        for each in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                mine.add(os.readlink(each))
        rows = [text.split() for text in Path("/proc/net/udp").read_text().splitlines()[1:]]
        bound = [int(row[1].rpartition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in mine]
        return sorted(port for port in bound if port in self.rtp)

    def sessions(self) -> list[dict[str, Any]]:
        with self.running.client() as client:
            found: list[dict[str, Any]] = client.get("/api/sessions").json()["sessions"]
            return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("server") / "data"
    settings = {
        "TRUNKLINE_SIP_TRUNKS": TRUNK, "TRUNKLINE_RESOURCES_MAX_CONCURRENT_CALLS": str(LIMIT), "TRUNKLINE_SIPREC_PAUSE_OFFERS": "true",
        "TRUNKLINE_PAUSE_RESUME_ENABLED": "true", "TRUNKLINE_PAUSE_RESUME_REQUIRE_AUTH": "false",
    }  # fmt: skip
    with recorder(data, **settings) as running:
        made = Server(running.running, running.port, running.recordings, running.rtp)
        made.pid = children(made)["worker.0"][0]
        with peer(made.port) as first:  # so that what is made once is there
            call = first.dialog("first")
            assert call.invite(plain_body()).status == 200
            call.bye()
        recorded(made.recordings, ["first"])
        wait_until(lambda: not made.ports(), "the ports of the first call are free")
        made.files = made.open_files()
        yield made


class Background:
    """Good calls that go on while all this happens, and one whose 200 is never acknowledged."""

    def __init__(self, server: Server, folder: Path) -> None:
        def script(ports: Any) -> Client:
            return Client(headers=["Require: siprec"]).invite(two_parts(XML, description(*(line(port, label, PCMU) for port, label in zip(ports, "12", strict=True))))).waits(GOES_ON_MS).bye()

        shape = Shape(script=script, says=(Say(line=0, packets=0), Say(line=1, packets=0, delay_ms=40)))
        self.server = server
        self.ringing = Ringing(folder, server.address, {f"good{number}": shape for number in range(GOOD)})
        self.thread = threading.Thread(target=self.ringing.speak, args=(GOES_ON_MS / 1000 + 40,))
        self.thread.start()
        wait_until(lambda: all(mouth.answers for mouth in self.ringing.mouths.values()), "the good calls stand")
        self.lost = Peer(("127.0.0.1", server.port))
        self.unacknowledged = self.lost.dialog("never-acknowledged")
        self.lost.send(self.unacknowledged.request("INVITE", plain_body()))
        self.began_at = time.monotonic()

    def close(self) -> None:
        self.thread.join()
        self.ringing.close()
        self.lost.close()


@pytest.fixture(scope="module", autouse=True)
def background(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    made = Background(server, tmp_path_factory.mktemp("good"))
    yield made
    made.close()


@pytest.fixture(params=["UDP", "TCP"])
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[Peer]:
    with peer(server.port, request.param) as made:
        yield made


@pytest.fixture
def udp(server: Server) -> Iterator[Peer]:
    with peer(server.port) as made:
        yield made


@pytest.fixture
def tcp(server: Server) -> Iterator[Peer]:
    with peer(server.port, "TCP") as made:
        yield made


def ended(server: Server, call: Dialog) -> Recorded:
    """Says BYE; what was recorded."""
    assert call.bye().status == 200
    return recorded(server.recordings, [call.call_id])[call.call_id]


def is_alive(server: Server) -> bool:
    return children(server)["worker.0"][0] == server.pid


# ---- bodies ----


BOMB: Final = (
    '<?xml version="1.0"?><!DOCTYPE recording [<!ENTITY a "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa">'
    + "".join(f'<!ENTITY {after} "{f"&{name};" * 10}">' for name, after in zip("abcdefgh", "bcdefghi", strict=True))
    + f']><recording xmlns="{RFC}"><datamode>complete</datamode><participant participant_id="one"><nameID aor="sip:x@y"><name>&i;</name></nameID></participant></recording>'
)
OUTSIDE: Final = (
    '<?xml version="1.0"?><!DOCTYPE recording [<!ENTITY secret SYSTEM "file:///etc/passwd"><!ENTITY % more SYSTEM "http://127.0.0.1:1/x.dtd">]>'
    f'<recording xmlns="{RFC}"><datamode>complete</datamode><participant participant_id="one"><nameID aor="sip:x@y"><name>&secret;</name></nameID></participant></recording>'
)
DEEP: Final = f'<recording xmlns="{RFC}">' + "<a>" * 20_000 + "</a>" * 20_000 + "</recording>"
MANY: Final = metadata("many", [Person(id=f"p{at}", aor=f"sip:{at}@example.com", sends=("s1",)) for at in range(300)], [("s1", "1"), ("s2", "2")])


@pytest.mark.parametrize("xml", [BOMB, OUTSIDE, "<recording", "\0\1\2", XML.replace("</recording>", ""), ""], ids=["bomb", "outside", "cut", "junk", "unclosed", "empty"])
def test_metadata_that_cannot_be_read_are_warned_of_and_the_call_is_recorded(server: Server, udp: Peer, xml: str) -> None:
    """What an entity stands for is nowhere: neither in names, nor in the memory of the worker."""
    before = resident(server)
    call = udp.dialog()
    answer = call.invite(two_parts(xml))
    assert (answer.status, len(answer.lines)) == (200, 2)
    told = ended(server, call)
    assert told.facts.warnings
    assert not any("root:" in party.name or len(party.name) > 1000 for party in told.facts.participants)
    assert resident(server) - before < 32 << 20
    assert is_alive(server)


@pytest.mark.parametrize("xml", [DEEP, MANY], ids=["deep", "many"])
def test_metadata_without_end_have_one(server: Server, tcp: Peer, xml: str) -> None:
    call = tcp.dialog()
    assert call.invite(two_parts(xml)).status == 200
    told = ended(server, call)
    assert told.facts.warnings and is_alive(server)


def resident(server: Server) -> int:
    return int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_megabyte_of_metadata_is_taken_or_refused(server: Server, tcp: Peer) -> None:
    """Up to the size of a body it is read or warned of; what is larger is no message to us, and other connections do not notice."""
    call = tcp.dialog()
    assert call.invite(two_parts(XML.replace("</recording>", f"<!--{'x' * 1_000_000}--></recording>"))).status == 200
    assert ended(server, call).facts.session_ids
    with peer(server.port, "TCP") as other:
        large = other.dialog()
        other.send(large.request("INVITE", two_parts(XML.replace("</recording>", f"<!--{'x' * 1_100_000}--></recording>"))))
        answers = other.listen(1.0)
        assert all(one.status in (400, 413, 513) for one in answers if one.status >= 200), answers
    again = tcp.dialog()
    assert again.invite(two_parts(XML)).status == 200
    assert not ended(server, again).facts.warnings


def nested(depth: int, kind: str = "multipart/mixed") -> Body:
    body = multipart("b0", session_part(offer()), metadata_part(XML))
    for level in range(1, depth):
        body = multipart(f"b{level}", (body[0], "", body[1]))
    return body[0].replace("multipart/mixed", kind), body[1]


UNTERMINATED: Final = two_parts(XML)[0], two_parts(XML)[1].replace("--hostile--\n", "")
READABLE: Final[dict[str, Body]] = {
    "nested": nested(2), "unterminated": UNTERMINATED, "alternative": nested(1, "multipart/alternative"), "line-feeds": two_parts(XML), "quoted": ('Multipart/Mixed; Boundary = "hostile"', two_parts(XML)[1]),
    "other-boundary": ("multipart/mixed;boundary=another", two_parts(XML)[1]), "no-boundary": ("multipart/mixed", two_parts(XML)[1]),
    "required-part": multipart("hostile", ("application/x-unknown", "session;handling=required", "what"), session_part(offer()), metadata_part(XML)),
    "twice": multipart("hostile", session_part(offer()), session_part(offer()), metadata_part(XML), metadata_part(XML)),
}  # fmt: skip


@pytest.mark.parametrize("name", READABLE)
def test_bodies_that_can_be_read_are(server: Server, client: Peer, name: str) -> None:
    call = client.dialog()
    answer = call.invite(READABLE[name])
    assert (answer.status, len(answer.lines)) == (200, 2), answer
    assert [party.name for party in ended(server, call).facts.participants] == ["One", "Two"]


def test_lines_that_end_in_line_feeds(server: Server, udp: Peer) -> None:
    """The whole message, as some send it (RFC 3261 has CR LF)."""
    call = udp.dialog()
    udp.send(call.request("INVITE", two_parts(XML)).replace(b"\r\n", b"\n").replace(f"Content-Length: {len(two_parts(XML)[1].encode()) + two_parts(XML)[1].count(chr(10))}".encode(), b"Content-Length: %d" % len(two_parts(XML)[1].encode())))  # fmt: skip
    answer = call.answered(call.final("INVITE"))
    udp.send(call.request("ACK", number=1))
    assert (answer.status, len(answer.lines)) == (200, 2)
    assert [party.name for party in ended(server, call).facts.participants] == ["One", "Two"]


@pytest.mark.parametrize(
    "body",
    [nested(60), (SDP, "v=0\nthis is no description\n"), multipart("hostile", ("text/plain", "", "hello")), (SDP, description()), two_parts(XML, description("m=audio 20000 RTP/AVP 77"))],
    ids=["nested-without-end", "no-description", "no-parts-of-ours", "no-lines", "no-codec"],
)
def test_what_cannot_be_answered_is_refused_or_answered_as_it_can_be(server: Server, client: Peer, body: Body) -> None:
    call = client.dialog()
    answer = call.invite(body)
    assert answer.status in (200, 400, 415, 488), answer.first
    if answer.status == 200:
        call.bye()
    assert is_alive(server)


# ---- names ----


NAMES: Final = [
    "../../../../etc/x", "/etc/cron.d/x", "..", ".", "a" * 4096, "\u2603\u2603snow@host", "%2e%2e%2fx", "x;rm$(y)|`z`", "CON", '"quoted"', 
    "{0.__class__}", "<script>alert(1)</script>", "%s%n%x", "-rf",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=[str(at) for at in range(len(NAMES))])
def test_a_call_id_is_never_a_path(server: Server, udp: Peer, name: str) -> None:
    """Files stay in their folder, under plain names; the Call-ID is kept as it was where it is told of."""
    data = server.recordings.parent
    outside = set(data.parent.iterdir())
    call = udp.dialog(name)
    answer = call.invite(plain_body())
    if answer.status == 400:
        return
    assert answer.status == 200
    wanted = name.encode().decode("latin-1") if not name.isascii() else name
    assert call.bye().status == 200
    wait_until(lambda: {name, wanted} & documents(server.recordings).keys(), f"the document of {name[:40]!r}")
    assert set(data.parent.iterdir()) == outside
    for path in server.recordings.iterdir():
        assert path.parent == server.recordings and path.name.isascii() and len(path.name) < 160
        assert not any(character in path.name for character in '/\\;|$`<>"%{}')


@pytest.mark.parametrize("label", ["../../x", "a" * 3000, "<b>", "1%092"], ids=["path", "long", "markup", "escaped"])
def test_a_label_is_never_a_path(server: Server, udp: Peer, label: str) -> None:
    call = udp.dialog()
    answer = call.invite(multipart("hostile", session_part(offer(label, "2")), metadata_part(XML)))
    assert answer.status in (200, 400, 488)
    if answer.status == 200:
        told = ended(server, call)
        assert all(Path(file.path).name == file.path and len(file.path) < 160 for file in told.manifest.files)
        assert len(told.channels()) == 2


def test_names_write_no_lines_into_the_log(server: Server, udp: Peer) -> None:
    call = udp.dialog("a%0d%0aERROR_forged")
    assert call.invite(two_parts(XML.replace("One", "One&#10;2026-01-01 ERROR forged&#13;line"))).status == 200
    told = ended(server, call)
    assert not any(character in party.name for party in told.facts.participants for character in "\r\n")


# ---- messages ----


def test_the_same_invite_again_is_one_session(server: Server, udp: Peer) -> None:
    """Repeats get the same answer, whether they come before it, behind it or behind the ACK; so does a BYE."""
    call = udp.dialog()
    invite = call.request("INVITE", plain_body())
    for _ in range(5):
        udp.send(invite)
    first = call.answered(call.final("INVITE"))
    udp.send(invite)
    again = call.final("INVITE")
    assert again.body == first.body and again.header("to") == first.header("to")
    for _ in range(3):
        call.acknowledge(first, invite)
    assert len([one for one in server.sessions() if one["call_id"] == call.call_id]) == 1
    bye = call.request("BYE")
    for _ in range(3):
        udp.send(bye)
    assert {call.final("BYE").status for _ in range(3)} == {200}
    assert len(recorded(server.recordings, [call.call_id])) == 1
    assert len([path for path in server.recordings.glob("*.siprec.json") if call.call_id.encode() in path.read_bytes()]) == 1


@pytest.mark.parametrize("pieces", [(1,), (7, 1, 1, 90), (3000,)], ids=["bytes", "uneven", "large"])
def test_a_stream_in_pieces_is_the_same_stream(server: Server, tcp: Peer, pieces: tuple[int, ...]) -> None:
    call = tcp.dialog()
    invite = call.request("INVITE", plain_body())
    tcp.send(invite, pieces)
    answer = call.answered(call.final("INVITE"))
    assert answer.status == 200
    tcp.send(call.request("ACK", number=1) + b"\r\n\r\n" + call.request("BYE"), pieces)
    assert call.final("BYE").status == 200
    assert [party.name for party in recorded(server.recordings, [call.call_id])[call.call_id].facts.participants] == ["Person 0", "Person 1"]


def test_several_messages_in_one_segment(server: Server, tcp: Peer) -> None:
    calls = [tcp.dialog() for _ in range(5)]
    tcp.send(b"".join(call.request("INVITE", plain_body()) for call in calls))
    for call in calls:
        assert call.answered(call.final("INVITE")).status == 200
    tcp.send(b"".join(call.request("ACK", number=1) + call.request("BYE") for call in calls))
    assert {call.final("BYE").status for call in calls} == {200}
    recorded(server.recordings, [call.call_id for call in calls])


def test_a_datagram_of_many_fragments(server: Server, udp: Peer) -> None:
    """60 KB in one datagram, which IP cuts into forty."""
    call = udp.dialog()
    assert call.invite(two_parts(XML.replace("</recording>", f"<!--{'y' * 58_000}--></recording>"))).status == 200
    assert ended(server, call).facts.session_ids


def test_a_bye_without_tags_ends_nothing(server: Server, client: Peer) -> None:
    call = client.dialog()
    assert call.invite(plain_body()).status == 200
    client.send(call.request("BYE", tags=False))
    assert call.final("BYE").status in (400, 481)
    stranger = client.dialog(call.call_id)
    stranger.to_tag = "of-nobody"
    client.send(stranger.request("BYE"))
    assert stranger.final("BYE").status == 481
    assert any(one["call_id"] == call.call_id for one in server.sessions())
    ended(server, call)


def test_a_cancel_takes_the_call_back(server: Server, tcp: Peer) -> None:
    """In the same segment as its INVITE. Nothing of it stays."""
    before = {path.name for path in server.recordings.iterdir()}
    call = tcp.dialog("taken-back")
    invite = call.request("INVITE", plain_body(), branch="cancelled")
    tcp.send(invite + call.request("CANCEL", number=1, branch="cancelled"))
    assert call.final("CANCEL").status == 200
    answer = call.answered(call.final("INVITE"))
    call.acknowledge(answer, invite)
    assert answer.status in (200, 487)
    if answer.status == 200:
        call.bye()
        return
    wait_until(lambda: not [path for path in server.recordings.iterdir() if "taken-back" in path.name], "nothing is left of a call that was taken back")
    assert {path.name for path in server.recordings.iterdir() if not path.name.startswith(".")} >= {name for name in before if not name.startswith(".")}
    assert "taken-back" not in documents(server.recordings)


def test_offers_over_one_another(server: Server, tcp: Peer) -> None:
    """A second offer before the first one's ACK is refused or answered, never lost; the session goes on (RFC 3261 14.2)."""
    call = tcp.dialog()
    assert call.invite(plain_body()).status == 200
    first, second = (call.request("INVITE", (SDP, description(line(21_000 + at, "1", PCMU), line(21_100 + at, "2", PCMU), origin=f"- 1 {3 + at}"))) for at in range(2))
    tcp.send(first + second)
    answers = [call.final("INVITE") for _ in range(2)]
    statuses = {int(one.header("cseq").split()[0]): one.status for one in answers}
    assert statuses[2] == 200 and statuses[3] in (200, 491, 500), statuses
    for one in answers:
        call.acknowledge(one, first if one.header("cseq").startswith("2 ") else second)
    assert len(ended(server, call).channels()) == 2


def answer(request: Noted, status: str, sdp: str = "", contact: str = "") -> bytes:
    """An answer of ours to a request of theirs."""
    copied = [f"{name}: {request.header(name.lower())}" for name in ("Via", "From", "To", "Call-ID", "CSeq")]
    about = ["Content-Type: application/sdp"] if sdp else []
    body = sdp.replace("\n", "\r\n")
    return "\r\n".join([f"SIP/2.0 {status}", *copied, *([f"Contact: {contact}"] if contact else []), *about, f"Content-Length: {len(body)}", "", body]).encode()


def test_an_offer_of_ours_that_meets_one_of_theirs_is_made_again(server: Server, tcp: Peer) -> None:
    """A pause asks them to stop sending. They say 491, since they are about to offer something themselves; it is asked again in a while (RFC 3261 14.1)."""
    call = tcp.dialog()
    assert call.invite(plain_body()).status == 200
    with server.running.client() as api:
        assert api.post(f"/api/sessions/{call.call_id}/pause", json={"pause_recording": True}).status_code == 200
    offers = [tcp.next(lambda one: one.first.startswith("INVITE "), "an offer of theirs", 10)]
    assert [text for text in offers[0].body.splitlines() if text == "a=inactive"] == ["a=inactive"] * 2
    tcp.send(answer(offers[0], "491 Request Pending"))
    offers.append(tcp.next(lambda one: one.first.startswith("INVITE ") and one.header("cseq") != offers[0].header("cseq"), "the offer again", 10))
    lines = [line(20_000 + 2 * at, str(at + 1), PCMU, direction="inactive") for at in range(2)]
    host, port = tcp.address
    tcp.send(answer(offers[1], "200 OK", description(*lines, origin="- 7001 2"), f"<sip:raw@{host}:{port};transport=tcp>;+sip.src"))
    assert tcp.next(lambda one: one.first.startswith("ACK ") and one.header("cseq").split()[0] == offers[1].header("cseq").split()[0], "its ACK", 10)
    with server.running.client() as api:
        assert api.get(f"/api/sessions/{call.call_id}/pause-status").json()["recording_paused"] is True
    told = ended(server, call)
    assert [interval.type for interval in told.manifest.intervals if interval.type == "pause"] == ["pause"]


def test_an_older_request_is_refused(server: Server, tcp: Peer) -> None:
    call = tcp.dialog()
    assert call.invite(plain_body()).status == 200
    call.cseq = 10
    assert call.invite((SDP, offer())).status == 200
    tcp.send(call.request("INVITE", (SDP, offer()), number=5))
    answer = call.final("INVITE")
    assert answer.status == 500
    ended(server, call)


def test_an_ack_without_an_answer_leaves_a_first_offer_of_ours_alone(server: Server, udp: Peer) -> None:
    """A call without an offer whose ACK has no answer has no media: it may go on or be ended, but not break anything."""
    call = udp.dialog()
    answer = call.invite(None)
    assert answer.status == 200 and answer.lines
    time.sleep(0.2)
    udp.send(call.request("BYE"))
    assert call.final("BYE").status in (200, 481)
    wait_until(lambda: not [one for one in server.sessions() if one["call_id"] == call.call_id], "it is over")


# ---- too many ----


def test_more_calls_than_there_are_places(server: Server, udp: Peer, background: Background) -> None:
    """Twice as many at once: exactly as many as there is room for are taken, the others are told when to come again."""
    wait_until(lambda: len(list(server.recordings.glob(".*.recording"))) == len(server.sessions()), "the sessions before are sealed")
    room = LIMIT - len(server.sessions())
    calls = {f"flood-{number}": udp.dialog(f"flood-{number}") for number in range(2 * LIMIT)}
    invites = {name: call.request("INVITE", plain_body()) for name, call in calls.items()}
    for data in invites.values():
        udp.send(data)
    answers: dict[str, Noted] = {}
    deadline = time.monotonic() + 20
    while len(answers) < len(calls):
        assert time.monotonic() < deadline, f"{len(answers)} of {len(calls)} were answered"
        one = udp.next(lambda one: one.status >= 200 and one.method == "INVITE", "an answer of the flood", 10)
        name = one.header("call-id")
        if name not in answers:
            answers[name] = calls[name].answered(one)
        calls[name].acknowledge(one, invites[name])
    taken = [name for name, one in answers.items() if one.status == 200]
    refused = [one for one in answers.values() if one.status != 200]
    assert len(taken) == room and len(server.sessions()) == LIMIT
    assert {one.status for one in refused} == {503} and all(int(one.header("retry-after").split()[0]) > 0 for one in refused)
    for name in taken:
        udp.send(calls[name].request("BYE"))
    for name in taken:
        assert calls[name].final("BYE").status == 200
    recorded(server.recordings, taken)
    assert len([one for one in server.sessions() if one["call_id"].startswith("good")]) == GOOD
    assert not [name for name in documents(server.recordings) if name in answers and name not in taken]
    again = udp.dialog()
    assert again.invite(plain_body()).status == 200
    ended(server, again)


# ---- afterwards ----


def test_good_calls_were_recorded_to_the_sample(server: Server, background: Background) -> None:
    background.thread.join()
    calls = background.ringing.finish()
    assert {(one.outcome.successful, one.outcome.failed) for one in calls.values()} == {(1, 0)}
    there = recorded(server.recordings, [one.call_id for one in calls.values()])
    for one in calls.values():
        assert one.mouth.bye is not None
        for channel, spoken in enumerate(one.mouth.spoken):
            assert spoken.sent > GOES_ON_MS / 20 - 60
            there[one.call_id].holds(channel, [spoken], one.mouth.ahead_s)
        assert there[one.call_id].manifest.state == "complete"


def test_a_call_that_is_never_acknowledged_is_ended(server: Server, background: Background) -> None:
    """Its 200 is repeated for 32 s, then comes a BYE (RFC 3261 13.3.1.4); what was recorded stays."""
    call, lost = background.unacknowledged, background.lost
    left_s = max(TIMER_H_S + LINGER_S - (time.monotonic() - background.began_at), 1.0)
    bye = lost.next(lambda one: one.first.startswith("BYE "), "a BYE", left_s)
    assert bye.header("call-id") == call.call_id
    repeats = [one for one in lost.heard if one.status == 200 and one.method == "INVITE"]
    assert len(repeats) > 5
    via, sender, to, cseq = (bye.header(name) for name in ("via", "from", "to", "cseq"))
    lost.send(f"SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: {sender}\r\nTo: {to}\r\nCall-ID: {call.call_id}\r\nCSeq: {cseq}\r\nContent-Length: 0\r\n\r\n".encode())
    told = recorded(server.recordings, [call.call_id])[call.call_id]
    assert told.facts.warnings


def test_nothing_is_left(server: Server) -> None:
    """Sessions, ports, descriptors and staged files are as before the first of all this, and it is the same worker."""
    wait_until(lambda: not server.sessions() and not server.ports(), "no session and no port is left", 40)
    wait_until(lambda: not [path for path in server.recordings.iterdir() if path.name.endswith((".part", ".recording", ".new"))], "nothing is half done")
    assert is_alive(server)
    wait_until(lambda: server.open_files() <= server.files + 1, f"descriptors are {server.files} again, of {server.open_files()}", 40)
    with server.running.client() as client:
        assert client.get("/health").json()["status"] in ("healthy", "degraded")
