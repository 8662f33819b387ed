"""Clients that keep to RFC 7866, and whose metadata lie: somebody joins and leaves, labels are missing, twice, or of nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.flow.siprec.scenario import (
    PCMA,
    PCMU,
    SDP,
    Client,
    description,
    line,
    metadata_part,
    multipart,
    session_part,
)
from tests.flow.siprec.shapes.shape import ELSEWHERE, Person, Shape, metadata
from tests.flow.siprec.speaking import Say

SESSION: Final = "Z2VuZXJhbC1zZXNzaW9uLTAx"
ADA: Final = Person(id="cGVyc29uLWFkYS0wMDAwMDE=", aor="sip:ada@example.com", name="Ada", sends=("st-ada",), hears=("st-bob", "st-eve"))
BOB: Final = Person(id="cGVyc29uLWJvYi0wMDAwMDI=", aor="sip:bob@example.com", name="Bob", sends=("st-bob",), hears=("st-ada", "st-eve"))
EVE: Final = Person(id="cGVyc29uLWV2ZS0wMDAwMDM=", aor="sip:eve@example.com", name="Eve", sends=("st-eve",), hears=("st-ada", "st-bob"))
GONE: Final = Person(id=BOB.id, aor=BOB.aor, name=BOB.name, sends=("st-bob",), left="2026-03-02T09:30:03Z")


def _client() -> Client:
    return Client(headers=["Require: siprec", "User-Agent: Session Recording Client 1.0", "Supported: timer"])


def _body(sdp: str, xml: str) -> tuple[str, str]:
    return multipart("a-boundary-of-ours", session_part(sdp), metadata_part(xml), quoted=True, preamble="What stands here is read by nobody.\n\n")


def _joins(ports: Sequence[int]) -> Client:
    """Two talk; a third comes with an m= line of its own and metadata of it alone; then the second goes, and its port is 0."""
    first = description(line(ports[0], "1", PCMU), line(ports[1], "2", PCMU))
    then = description(line(ports[0], "1", PCMU), line(ports[1], "2", PCMU), line(ports[2], "3", PCMU), origin="- 7001 2")
    last = description(line(ports[0], "1", PCMU), line(0, "2", PCMU), line(ports[2], "3", PCMU), origin="- 7001 3")
    made = _client().invite(_body(first, metadata(SESSION, [ADA, BOB], [("st-ada", "1"), ("st-bob", "2")]))).waits(1000)
    made.invite(_body(then, metadata(SESSION, [EVE], [("st-eve", "3")], mode="partial"))).waits(1000)
    return made.invite(_body(last, metadata(SESSION, [GONE], [], mode="partial"))).waits(1000).bye()


def _lies(labels: Sequence[str], streams: Sequence[tuple[str, str]], people: Sequence[Person] = (ADA, BOB)) -> Shape:
    """Labels of the description, and streams with labels of the metadata, that do not agree."""

    def script(ports: Sequence[int]) -> Client:
        offer = description(*(line(port, label, PCMU) for port, label in zip(ports, labels, strict=True)))
        return _client().invite(_body(offer, metadata(SESSION, people, streams))).waits(1500).bye()

    return Shape(script=script, ports=len(labels), says=tuple(Say(line=at, packets=0) for at in range(len(labels))))


def _laws(ports: Sequence[int]) -> Client:
    """Each line has a codec of its own; the metadata are complete twice, and change nothing the second time."""
    lines = [line(ports[0], "1", PCMU), line(ports[1], "2", PCMA)]
    xml = metadata(SESSION, [ADA, BOB], [("st-ada", "1"), ("st-bob", "2")])
    return _client().invite(_body(description(*lines), xml)).waits(900).invite(_body(description(*lines), xml)).waits(900).bye()


def _refreshes(ports: Sequence[int]) -> Client:
    """Changes that change nothing: without an offer, with metadata alone, with a description alone. What is offered in return is acknowledged without an answer."""
    sdp = description(line(ports[0], "1", PCMU), line(ports[1], "2", PCMU))
    xml = metadata(SESSION, [ADA, BOB], [("st-ada", "1"), ("st-bob", "2")])
    made = _client().invite(_body(sdp, xml)).waits(500).invite(None).waits(500)
    made.invite(multipart("a-boundary-of-ours", metadata_part(xml))).waits(500)
    return made.invite((SDP, sdp)).waits(500).bye()


def _peer(ports: Sequence[int]) -> Client:
    """Nothing of it says that it is a recording; its address does."""
    made = Client(user="gateway", contact="<sip:{address}>", headers=["User-Agent: Gateway 3"])
    return made.invite((SDP, description(*(line(port, "", PCMU, direction="sendrecv") for port in ports)))).waits(1300).bye()


STREAMS: Final = (("st-ada", "1"), ("st-bob", "2"))
SHAPES: Final = {
    "joins": Shape(
        script=_joins, ports=3,
        says=(Say(line=0, packets=0), Say(line=1, packets=90), Say(line=2, packets=40, after=2, delay_ms=100), Say(line=2, packets=0, after=3, numbers="on")),
    ),
    "laws": Shape(script=_laws, says=(Say(line=0, packets=0), Say(line=1, packets=70, law="alaw"))),
    "refreshes": Shape(script=_refreshes, says=(Say(line=0, packets=0), Say(line=1, packets=0, delay_ms=60))),
    "peer": Shape(script=_peer, says=(Say(line=0, packets=0), Say(line=1, packets=30, delay_ms=200)), host=ELSEWHERE),
    "label-missing": _lies(["1", ""], STREAMS),
    "label-twice": _lies(["1", "1"], STREAMS),
    "label-unknown": _lies(["1", "7"], STREAMS),
    "label-unclaimed": _lies(["1"], STREAMS),
    "one-person": _lies(["1", "2"], STREAMS, [ADA]),
    "stream-of-two": _lies(["1"], [("st-ada", "1")], [ADA, Person(id=BOB.id, aor=BOB.aor, name=BOB.name, sends=("st-ada",))]),
}  # fmt: skip

__all__ = ["ADA", "BOB", "EVE", "SHAPES"]
