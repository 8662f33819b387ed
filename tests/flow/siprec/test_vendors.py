"""Recording clients of every maker against the real program, all at once: what each is answered, and what is on the disk of its call, by comparing waveforms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import httpx
import numpy as np
import pytest

from engine.siprec.facts import Party
from tests.flow.siprec import shapes_all
from tests.flow.siprec.calls import Call, Recorder, call, recorder
from tests.flow.siprec.recorded import RATE_HZ
from tests.flow.siprec.scenario import RS_OLD, RS_XML
from tests.flow.siprec.shapes import audiocodes, avaya, broadworks, cisco, general, oracle, others, ribbon
from tests.flow.siprec.wire import Noted

pytestmark = pytest.mark.slow
SHAPES: Final = shapes_all.every()
ALONE: Final = [name for name in SHAPES if not name.startswith("cisco-bib")]
TAIL_S: Final = 0.52  # what may still come behind a BYE
FOLLOWS: Final = {"sendonly": {"recvonly"}, "sendrecv": {"recvonly"}, "": {"recvonly"}, "inactive": {"inactive"}, "held": {"recvonly", "inactive"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    with recorder(tmp_path_factory.mktemp("server") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def calls(server: Recorder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Call]:
    """All calls, over and recorded."""
    return call(SHAPES, tmp_path_factory.mktemp("calls"), server)


# ---- answers ----


def attribute(line: list[str], name: str) -> str:
    """The value of an attribute of an m= line, or its name where it has none; empty where it is not there."""
    found = [text[2:].partition(":") for text in line if text.startswith("a=")]
    return next((value or key for key, _, value in found if key == name), "")


def direction(line: list[str]) -> str:
    said = next((text[2:] for text in line if text in ("a=sendonly", "a=recvonly", "a=sendrecv", "a=inactive")), "")
    return "held" if "c=IN IP4 0.0.0.0" in line else said


def origin(noted: Noted) -> list[str]:
    return next(text for text in noted.body.splitlines() if text.startswith("o=")).split()


def described(one: Call) -> list[tuple[Noted, Noted]]:
    """Requests with a description, and the answers to them."""
    return [(request, answer) for request, answer in one.exchanges if request.lines]


@pytest.mark.parametrize("name", SHAPES)
def test_answers_have_a_line_for_each_line(calls: dict[str, Call], name: str) -> None:
    """The same number in the same order, labels and all, received or not at all; a port that is refused stays so (RFC 3264 6, RFC 7866 7.1.2)."""
    for request, answer in described(calls[name]):
        assert len(answer.lines) == len(request.lines), answer.body
        for offered, answered in zip(request.lines, answer.lines, strict=True):
            assert attribute(answered, "label") == attribute(offered, "label")
            if offered[0].split()[1] == "0":
                assert answered[0].split()[1] == "0"
                continue
            assert direction(answered) in FOLLOWS[direction(offered)], answer.body
            numbers = answered[0].split()[3:]
            assert set(numbers) <= set(offered[0].split()[3:]) and numbers[0] in ("0", "8"), answered
            assert answered[0].split()[2] == offered[0].split()[2]


@pytest.mark.parametrize("name", SHAPES)
def test_answers_are_our_own(calls: dict[str, Call], server: Recorder, name: str) -> None:
    """Plain descriptions with an origin of ours, whose version counts what changed; ports of ours, even ones, that stay; the feature tag in Contact; where we are."""
    one = calls[name]
    before: Noted | None = None
    for request, answer in one.exchanges:
        assert "+sip.srs" in answer.header("contact") and f":{server.port}" in answer.header("contact"), answer.headers
        assert ("transport=tcp" in answer.header("contact").lower()) == (SHAPES[name].transport == "t1")
        if not answer.body:
            assert request.method == "UPDATE" and not request.lines
            continue
        assert answer.header("content-type") == "application/sdp"
        ours, theirs = origin(answer), origin(request) if request.lines else []
        assert ours[:2] != theirs[:2] and ours[-1] == "127.0.0.1"
        assert "BUNDLE" not in answer.body and "candidate" not in answer.body
        ports = [port for port in answer.ports if port]
        assert len(set(ports)) == len(ports) and all(port in server.rtp and port % 2 == 0 for port in ports)
        if before is not None:
            assert ours[1] == origin(before)[1]
            same = [text for text in answer.body.splitlines() if text[:2] != "o="] == [text for text in before.body.splitlines() if text[:2] != "o="]
            assert int(ours[2]) - int(origin(before)[2]) == (0 if same else 1), (before.body, answer.body)
            for was, now in zip(before.ports, answer.ports, strict=False):
                assert now in (was, 0)
        before = answer


def test_what_changes_nothing_is_answered_with_what_holds(calls: dict[str, Call]) -> None:
    """Whether it had no offer, metadata alone, or the description of before: the same answer, with the same version (RFC 3264 8)."""
    first, *again = calls["refreshes"].answers
    assert len(again) == 3 and all(answer.body == first.body for answer in again)


def test_an_offer_of_ours_is_one(calls: dict[str, Call]) -> None:
    """A call without an offer gets one, that wants what there is to hear."""
    for name in ("cisco-bib-near", "cisco-bib-far"):
        (answer,) = calls[name].answers
        assert [direction(line) for line in answer.lines] == ["recvonly"]
        assert {"0", "8"} <= set(answer.lines[0][0].split()[3:])


# ---- sound ----


def channel_of(one: Call, line: int) -> int:
    """The channel that an m= line is recorded in: by its label, where that is of it alone."""
    offers = [request for request in one.requests if len(request.lines) > line]
    labels = [attribute(each, "label") for each in offers[-1].lines] if offers else [""]
    if labels[line] and labels.count(labels[line]) == 1:
        return next(channel.index for channel in one.told.facts.channels if channel.label == labels[line])
    return line


@pytest.mark.parametrize("name", SHAPES)
def test_each_channel_has_what_was_said_where_it_was_said(calls: dict[str, Call], name: str) -> None:
    """Sample for sample; silence everywhere else, as long as it was: in front of who comes later, in holds, behind who is gone."""
    one = calls[name]
    lines = sorted({spoken.say.line for spoken in one.mouth.spoken})
    assert len(one.told.channels()) == len(one.told.facts.channels) == len(lines) == len({channel_of(one, line) for line in lines})
    for line in lines:
        one.told.holds(channel_of(one, line), [spoken for spoken in one.mouth.spoken if spoken.say.line == line], one.mouth.ahead_s)


@pytest.mark.parametrize("name", SHAPES)
def test_a_recording_begins_and_ends_with_its_call(calls: dict[str, Call], name: str) -> None:
    one = calls[name]
    told, mouth = one.told, one.mouth
    assert mouth.bye is not None and -0.05 < one.answers[0].at - told.start < 2.0  # it stands before the answer leaves
    end = told.start - mouth.ahead_s + told.manifest.duration_ms / 1000
    last = max(spoken.last_at for spoken in mouth.spoken) + 0.02
    assert last - 0.02 <= end <= mouth.bye_at + TAIL_S, (last, end, mouth.bye_at)
    assert abs(end - last) <= 0.02 or end >= mouth.bye_at - 0.02
    assert told.manifest.state == "complete", told.manifest.warnings


@pytest.mark.parametrize("name", SHAPES)
def test_nothing_was_lost_on_the_way(calls: dict[str, Call], name: str) -> None:
    one = calls[name]
    for heard in one.told.manifest.channels:
        assert (heard.lost, heard.late, heard.duplicate) == (0, 0, 0), heard
    for channel in one.told.facts.channels:
        said = [spoken.sent for spoken in one.mouth.spoken if channel_of(one, spoken.say.line) == channel.index]
        assert channel.packets == sum(said), (channel, said)


def test_who_comes_500_ms_later_has_500_ms_of_silence(calls: dict[str, Call]) -> None:
    """Two legs are as far apart as they were, whatever the moment at which the recording began."""
    for name in [name for name, shape in SHAPES.items() if len(shape.says) == 2 and shape.says[1].delay_ms == 500]:
        one = calls[name]
        first, second = one.mouth.spoken
        apart = one.told.place(channel_of(one, 1), second) - one.told.place(channel_of(one, 0), first)
        assert abs(apart / RATE_HZ - (second.first_at - first.first_at)) <= 0.02, name


def test_a_hold_is_silence_as_long_as_it_was(calls: dict[str, Call]) -> None:
    """Whether timestamps went on meanwhile or stood still, and each is told of as one."""
    for name, held_ms, before, behind in (
        ("audiocodes", audiocodes.HELD_MS, 0, 2), ("audiocodes-legacy", audiocodes.HELD_MS, 0, 2), ("broadworks-mixed", broadworks.PAUSED_MS, 0, 1),
        ("freeswitch", others.PAUSED_MS, 0, 1),
    ):  # fmt: skip
        one = calls[name]
        first, then = one.mouth.spoken[before], one.mouth.spoken[behind]
        gap = one.told.place(0, then) - one.told.place(0, first) - first.pcm.size
        assert gap >= held_ms * RATE_HZ // 1000, name
        held = [interval for interval in one.told.manifest.intervals if interval.type == "hold"]
        assert held and all(abs(interval.end_ms - interval.start_ms - held_ms) < 100 for interval in held), (name, one.told.manifest.intervals)


# ---- who ----


def person(one: Call, participant_id: str) -> Party:
    (found,) = [party for party in one.told.facts.participants if party.participant_id == participant_id]
    return found


def speakers(one: Call, line: int) -> list[str]:
    """Participants of the channel of an m= line, by id."""
    by_place = {party.place: party.participant_id for party in one.told.facts.participants}
    (channel,) = [channel for channel in one.told.facts.channels if channel.index == channel_of(one, line)]
    return [by_place[place] for place in channel.parties]


def user_of(aor: str) -> str:
    return aor.partition(":")[2].partition("@")[0] if ":" in aor else aor.partition("@")[0]


VENDORS: Final = {
    "cisco-cube": "cisco", "cisco-cube-inactive": "cisco", "cisco-network": "cisco", "cisco-bib-near": "cisco", "cisco-bib-far": "cisco", "oracle": "oracle",
    "audiocodes-legacy": "audiocodes", "audiocodes": "audiocodes", "avaya": "avaya", "ribbon": "ribbon", "broadworks-mixed": "broadworks",
    "broadworks-conference": "broadworks", "webex": "broadworks", "metaswitch": "metaswitch", "genesys": "genesys", "opensips": "opensips", "freeswitch": "freeswitch",
    "laws": "generic",
}  # fmt: skip


@pytest.mark.parametrize("name", VENDORS)
def test_the_maker_is_known(calls: dict[str, Call], name: str) -> None:
    assert calls[name].told.facts.vendor.type == VENDORS[name]


# By scenario: each participant's user, name, and the m= lines it speaks on at the end.
WHO: Final[dict[str, list[tuple[str, str, list[int]]]]] = {
    "cisco-cube": [("", "", [0]), ("5302", "Desk Two", [1])],
    "cisco-cube-inactive": [("", "", [0]), ("5302", "Desk Two", [1])],
    "oracle": [("+15550100", "Ada & Sons", [0]), ("5302", "Desk Two", []), ("5399", "Desk Nine", [1])],
    "audiocodes-legacy": [("+15550101", "", [0]), ("5304", "Agent Four", [1])],
    "audiocodes": [("+15550102", "", [0]), ("5305", "Agent Five", [1])],
    "ribbon": [("+15550104", "", [1]), ("5307", "", [0])],
    "broadworks-mixed": [("5308", "Desk Eight", [0]), ("+15550105", "", [0])],
    "broadworks-conference": [("5308", "", [0]), ("+15550105", "", [1]), ("5310", "", [1])],
    "webex": [("2b1f7c3e9d", "", [0]), ("+15550106", "", [1])],
    "metaswitch": [("5556301", "Sales, North", [0]), ("5556302", "", [0])],
    "genesys": [("agent7", "Agent Seven", [0]), ("+15550107", "", [1])],
    "opensips": [("caller", '"Ada" (mobile)', [0]), ("callee", "Ljósið", [1])],
    "netsapiens": [("5312", "Desk Twelve", [0]), ("+15550108", "Bob", []), ("5313", "Desk Thirteen", [1])],
    "procomm": [("5314", "", [0]), ("anonymous", "", [1])],
    "joins": [("ada", "Ada", [0]), ("bob", "Bob", []), ("eve", "Eve", [2])],
    "laws": [("ada", "Ada", [0]), ("bob", "Bob", [1])],
    "refreshes": [("ada", "Ada", [0]), ("bob", "Bob", [1])],
    "stream-of-two": [("ada", "Ada", [0]), ("bob", "Bob", [0])],
}


@pytest.mark.parametrize("name", WHO)
def test_who_took_part_is_known_and_in_which_channel(calls: dict[str, Call], name: str) -> None:
    one = calls[name]
    facts = one.told.facts
    assert [(user_of(party.aor), party.name.strip()) for party in facts.participants] == [(user, given) for user, given, _ in WHO[name]]
    lines = sorted({spoken.say.line for spoken in one.mouth.spoken})
    for line in lines:
        channel = next(channel for channel in facts.channels if channel.index == channel_of(one, line))
        expected = [place for place, (_, _, spoken) in enumerate(WHO[name]) if line in spoken]
        found = [place for place in channel.parties if not facts.participants[place].left]
        assert found == expected or (not expected and set(found) <= {1}), (line, channel)
    assert [party.place for party in facts.participants] == list(range(len(facts.participants)))
    names = [channel.name for channel in one.told.manifest.channels]
    assert any(any(given in said for said in names) for _, given, spoken in WHO[name] if given and spoken) or not any(given and spoken for _, given, spoken in WHO[name])


def test_a_dummy_becomes_who_it_was(calls: dict[str, Call]) -> None:
    """Avaya's first metadata name somebody who is nobody; the real one takes its place in the channel. The label that comes first is that of who was called."""
    one = calls["avaya"]
    assert speakers(one, 1) == [avaya.CALLER]
    assert speakers(one, 0)[-1] == avaya.CALLED
    assert person(one, avaya.CALLED).name == "Agent Six" and person(one, avaya.CALLER).name == "Grace"


def test_a_transferred_party_is_appended(calls: dict[str, Call]) -> None:
    """Who was transferred away has left, nobody takes its place, and the channel has both voices."""
    for name, first, second in (("oracle", oracle.CALLED, oracle.OTHER), ("netsapiens", "leg-b-0001@ns.example.com", "leg-c-0001@ns.example.com")):
        one = calls[name]
        gone, came = person(one, first), person(one, second)
        assert gone.place < came.place and gone.left and not came.left, name
        assert speakers(one, 1)[-1] == second


def test_who_joins_and_who_leaves(calls: dict[str, Call]) -> None:
    one = calls["joins"]
    assert one.told.facts.participants[1].left and not one.told.facts.participants[0].left and not one.told.facts.participants[2].left
    third = one.told.channels()[channel_of(one, 2)]
    first = next(spoken for spoken in one.mouth.spoken if spoken.say.line == 2)
    assert np.flatnonzero(third)[0] >= (first.first_at + one.mouth.ahead_s - one.told.start - 0.02) * RATE_HZ


def test_the_caller_is_in_the_first_channel(calls: dict[str, Call]) -> None:
    """Where the metadata or the maker's own words say who called (a telephone that recognizes them listens to channel 0 for it)."""
    for name, line in (("oracle", 0), ("ribbon", 1), ("metaswitch", 0)):
        assert channel_of(calls[name], line) == 0, name
    assert person(calls["oracle"], oracle.CALLER).role == "caller"
    (caller,) = [party for party in calls["ribbon"].told.facts.participants if "+15550104" in party.aor]
    assert caller.role == "caller"


def test_participants_of_headers(calls: dict[str, Call]) -> None:
    """A network-based recording has no metadata: who takes part is in headers, before and behind a transfer."""
    users = [user_of(party.aor) for party in calls["cisco-network"].told.facts.participants]
    assert users == ["5301", "5302", "5399"]
    assert [bool(party.left) for party in calls["cisco-network"].told.facts.participants] == [False, True, False]


# ---- identifiers and keys ----


def has_key(one: Call, value: str) -> bool:
    """A UCID is known by its last eight bytes: what is in front of them is left off by some."""
    return any(key.partition(":")[2].lower() in (value.lower(), value[-16:].lower()) for key in one.told.facts.correlation)


KEYS: Final = {
    "cisco-cube": [cisco.LOCAL_ID], "oracle": [oracle.UCID], "audiocodes-legacy": [audiocodes.GENESYS], "avaya": [avaya.UCID_HEX], "ribbon": [ribbon.GCID],
    "broadworks-mixed": [broadworks.TRACKING], "webex": [broadworks.CORRELATION], "genesys": [others.GENESYS], "opensips": ["a84b4c76e66710@pc33.example.com"],
    "netsapiens": ["ns-group-20260302"],
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_keys_that_other_recordings_of_the_call_have(calls: dict[str, Call], name: str) -> None:
    for value in KEYS[name]:
        assert has_key(calls[name], value), calls[name].told.facts.correlation


def test_a_ucid_is_the_same_with_and_without_its_beginning(calls: dict[str, Call]) -> None:
    """AudioCodes leaves the 00 off that Avaya's has in front, in metadata and in a header."""
    old, new = calls["audiocodes-legacy"].told.facts, calls["audiocodes"].told.facts
    assert {key for key in old.correlation if "ucid" in key.partition(":")[0]} & {key for key in new.correlation if "ucid" in key.partition(":")[0]}


def test_identifiers_have_the_names_of_the_contract(calls: dict[str, Call]) -> None:
    def identifiers(name: str) -> dict[str, str]:
        return calls[name].told.facts.vendor.identifiers

    assert identifiers("oracle")["oracle_ucid"][-16:] == oracle.UCID[-16:]
    assert cisco.LOCAL_ID in identifiers("cisco-cube")["cisco_session_id"]
    assert identifiers("avaya")["ucid"][-16:] == avaya.UCID_HEX[-16:] and avaya.UCID_HEX in identifiers("avaya")["uui"]


def test_both_halves_of_a_bridge_are_known_as_one_call(calls: dict[str, Call]) -> None:
    near, far = (calls[name].told.facts for name in ("cisco-bib-near", "cisco-bib-far"))
    assert set(near.correlation) & set(far.correlation), (near.correlation, far.correlation)


# ---- warnings, and what is kept ----


@pytest.mark.parametrize("name", ["label-missing", "label-twice", "label-unknown", "label-unclaimed", "one-person"])
def test_metadata_that_lie_are_warned_of(calls: dict[str, Call], name: str) -> None:
    """And everything is recorded all the same."""
    assert calls[name].told.facts.warnings


@pytest.mark.parametrize("name", ["laws", "refreshes", "joins", "genesys", "audiocodes"])
def test_metadata_that_agree_are_not(calls: dict[str, Call], name: str) -> None:
    assert not calls[name].told.facts.warnings


@pytest.mark.parametrize("name", SHAPES)
def test_every_body_is_kept_as_it_was(calls: dict[str, Call], name: str) -> None:
    """Descriptions and metadata, theirs and ours, byte for byte; but no keys."""
    one = calls[name]
    kept = one.told.document.bodies
    for request, answer in one.exchanges:
        for content in parts_of(request):
            assert any(body.direction == "in" and body.content.strip() == content.strip() for body in kept), content
        if answer.body:
            assert any(body.direction == "out" and without_keys(body.content) == without_keys(answer.body) for body in kept)
        for key in re.findall(r"inline:[A-Za-z0-9+/=]+", answer.body):
            assert not any(key in body.content for body in kept)


def without_keys(text: str) -> list[str]:
    """Its lines; those with keys of SRTP, which are kept nowhere, as far as the key."""
    return [line.partition("inline:")[0] for line in text.splitlines()]


def parts_of(noted: Noted) -> list[str]:
    """What is to be kept of a body: the descriptions and metadata in it."""
    kind = noted.header("content-type")
    if not kind.startswith("multipart/"):
        return [noted.body] if noted.body else []
    boundary = kind.partition("boundary=")[2].strip('"')
    found = []
    for piece in noted.body.split(f"--{boundary}")[1:-1]:
        head, _, content = piece.partition("\r\n\r\n")
        if any(f"Content-Type: {each}" in head for each in ("application/sdp", RS_XML, RS_OLD)):
            found.append(content)
    return found


@pytest.mark.parametrize("name", ALONE)
def test_sessions_and_groups_have_their_ids(calls: dict[str, Call], name: str) -> None:
    facts = calls[name].told.facts
    assert bool(facts.session_ids) == (name not in ("cisco-network", "freeswitch", "peer"))
    assert (facts.state, facts.local_tag != "", facts.remote_tag != "") == ("ended", True, True)
    assert facts.transport.upper() == ("TCP" if SHAPES[name].transport == "t1" else "UDP")


def test_one_who_never_had_metadata_is_one_of_ours(calls: dict[str, Call]) -> None:
    """Whoever calls from a configured address is recorded, whatever it says of itself."""
    assert calls["peer"].told.facts.remote_addr.startswith("127.0.0.9")


def test_nothing_is_left(calls: dict[str, Call], server: Recorder) -> None:
    """No session, no staged file, no port."""
    assert calls
    with server.running.client() as client:
        answer: httpx.Response = client.get("/api/sessions")
        assert answer.json()["count"] == 0
    assert not [path.name for path in server.recordings.iterdir() if path.name.endswith((".part", ".recording", ".new"))]
    assert general.SHAPES
