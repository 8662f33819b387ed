"""Where packets go: RTCP and its port, ICE as a lite agent, DTLS-SRTP, BUNDLE, labels and mids."""

from __future__ import annotations

from random import Random

import pytest

from engine.sdp import ice
from engine.sdp.errors import NegotiationError
from engine.sdp.offer_answer import Negotiation
from engine.sdp.terms import Terms, Transport

from .descriptions import HOST, lines, negotiation, offer, read, terms

AUDIO = "m=audio 49170 RTP/AVP 0"
UFRAG, PWD = "a=ice-ufrag:8hhY", "a=ice-pwd:asd88fgpdd777uzjYhagZg"
RTP, RTCP = "a=candidate:1 1 UDP 2130706431 198.51.100.7 49170 typ host", "a=candidate:1 2 UDP 2130706430 198.51.100.7 49171 typ host"
FINGERPRINT = "sha-256 " + ":".join(["AB"] * 32)
THEIRS = "sha-256 " + ":".join(["0c"] * 32)


# ---- RTCP ----


@pytest.mark.parametrize(
    ("attributes", "mux", "where"),
    [
        ((), False, ("198.51.100.7", 49171)), (("a=rtcp:50000",), False, ("198.51.100.7", 50000)), (("a=rtcp-mux",), True, ("198.51.100.7", 49170)),
        (("a=rtcp:50000 IN IP4 198.51.100.8",), False, ("198.51.100.8", 50000)), (("a=rtcp:70000",), False, ("198.51.100.7", 49171)),
        (("a=rtcp:0",), False, ("198.51.100.7", 0)), (("a=rtcp-mux", "a=rtcp:50000"), True, ("198.51.100.7", 49170)),
    ],
)  # fmt: skip
def test_where_rtcp_goes(attributes: tuple[str, ...], mux: bool, where: tuple[str, int]) -> None:
    """RFC 3550 11, 3605, 5761 5.1.1."""
    ours = negotiation()
    answer = ours.remote_offer(offer(AUDIO, *attributes))
    media = ours.media[0]
    assert (media.rtcp_mux, (media.remote_rtcp_host, media.remote_rtcp_port)) == (mux, where)
    assert bool(lines(answer, "a=rtcp-mux")) == mux


def test_rtcp_on_one_port_is_taken_only_where_we_do_that() -> None:
    ours = negotiation(rtcp_mux=False)
    assert not lines(ours.remote_offer(offer(AUDIO, "a=rtcp-mux")), "a=rtcp-mux")
    with pytest.raises(NegotiationError, match="one port"):
        negotiation(rtcp_mux=False).remote_offer(offer(AUDIO, "a=rtcp-mux-only", "a=rtcp-mux"))
    with pytest.raises(NegotiationError, match="codecs"):  # RFC 5761 4: 72 would look like a sender report
        negotiation().remote_offer(offer("m=audio 1 RTP/AVP 72", "a=rtpmap:72 PCMU/8000", "a=rtcp-mux"))
    negotiation().remote_offer(offer("m=audio 1 RTP/AVP 72", "a=rtpmap:72 PCMU/8000"))


def test_an_offered_port_for_both_is_kept_once_agreed() -> None:
    for theirs_muxes in (True, False):
        ours, theirs = negotiation(rtcp_mux_offered=True), negotiation(seed=2, rtcp_mux=theirs_muxes)
        ours.remote_answer(theirs.remote_offer(ours.local_offer()))
        assert ours.media[0].rtcp_mux == theirs.media[0].rtcp_mux == theirs_muxes
        ours.remote_answer(theirs.remote_offer(ours.local_offer()))
        assert bool(lines(theirs.local_offer(), "a=rtcp-mux")) == theirs_muxes


def test_an_rtcp_port_that_is_not_the_next_is_told() -> None:
    ours = Negotiation(terms(), lambda index, version: Transport(host=HOST, port=4000, rtcp_port=5001), random=Random(1).randbytes)
    assert lines(ours.remote_offer(offer(AUDIO)), "a=rtcp:") == ["a=rtcp:5001"]
    assert not lines(ours.remote_offer(offer(AUDIO, "a=rtcp-mux")), "a=rtcp:")


# ---- ICE ----


def test_ice_is_answered_by_a_lite_agent() -> None:
    """RFC 8839 4.2.2, RFC 8445 5.1.2.1."""
    ours = negotiation(ice="lite")
    answer = ours.remote_offer(offer(AUDIO, UFRAG, PWD, RTP, RTCP))
    assert lines(answer, "a=ice-lite")
    assert lines(answer, "a=candidate") == [
        "a=candidate:1 1 UDP 2130706431 192.0.2.1 20000 typ host", "a=candidate:1 2 UDP 2130706430 192.0.2.1 20001 typ host",
    ]  # fmt: skip
    media = ours.media[0]
    assert media.local_ice is not None
    assert media.remote_ice is not None
    assert lines(answer, "a=ice-pwd") == [f"a=ice-pwd:{media.local_ice.credentials.pwd}"]
    assert (media.remote_ice.credentials.pwd, media.remote_ice.is_lite, len(media.remote_ice.candidates)) == ("asd88fgpdd777uzjYhagZg", False, 2)
    assert "asd88" not in repr(media)
    assert media.local_ice.credentials.pwd not in repr(media)
    assert len(lines(negotiation(ice="lite").remote_offer(offer(AUDIO, "a=rtcp-mux", UFRAG, PWD, RTP)), "a=candidate")) == 1


def test_ice_may_stand_at_session_level() -> None:
    ours = negotiation(ice="lite")
    assert lines(ours.remote_offer(offer(AUDIO, RTP, session=(UFRAG, PWD, "a=ice-lite"))), "a=ice-lite")
    assert ours.media[0].remote_ice is not None
    assert ours.media[0].remote_ice.is_lite


@pytest.mark.parametrize(
    ("attributes", "answered"),
    [
        ((UFRAG, PWD, RTP), "lite"), ((UFRAG, PWD, RTP, "c=IN IP4 198.51.100.99"), "mismatch"), ((UFRAG, PWD), "mismatch"), ((UFRAG, PWD, RTCP), "mismatch"),
        ((UFRAG, PWD, RTP, "a=rtcp:50000"), "mismatch"), ((UFRAG, PWD, RTP, RTCP, "a=rtcp:49171"), "lite"), ((UFRAG, RTP), ""), ((PWD, RTP), ""),
        (("a=ice-ufrag:ab", PWD, RTP), ""), ((UFRAG, "a=ice-pwd:short", RTP), ""), ((), ""), ((UFRAG, PWD, "c=IN IP4 host.example.net"), "lite"),
        ((UFRAG, PWD, "a=candidate:1 1 UDP 1 198.51.100.7 99999 typ host"), "mismatch"), ((UFRAG, PWD, "a=candidate:x"), "mismatch"),
    ],
)  # fmt: skip
def test_a_description_that_was_rewritten_on_the_way_is_a_mismatch(attributes: tuple[str, ...], answered: str) -> None:
    """RFC 8839 4.2.5: then there is no ICE, and the stream goes where c= and m= say."""
    ours = negotiation(ice="lite")
    attributes = tuple(sorted(attributes, key=lambda line: not line.startswith("c=")))
    answer = ours.remote_offer(offer(AUDIO, *attributes))
    assert (bool(lines(answer, "a=ice-lite")), bool(lines(answer, "a=ice-mismatch"))) == (answered == "lite", answered == "mismatch")
    assert (ours.media[0].remote_ice is not None) == (answered == "lite")
    off = negotiation().remote_offer(offer(AUDIO, *attributes))
    assert not lines(off, "a=ice")


def test_candidates_that_come_later_are_no_mismatch_and_no_hold() -> None:
    """RFC 8840 4.1.1."""
    ours = negotiation(ice="lite")
    ours.remote_offer(offer("m=audio 9 RTP/AVP 0", "c=IN IP4 0.0.0.0", UFRAG, PWD, "a=ice-options:trickle"))
    assert ours.media[0].direction == "sendrecv"
    without = negotiation()
    without.remote_offer(offer("m=audio 9 RTP/AVP 0", "c=IN IP4 0.0.0.0", UFRAG, PWD, "a=ice-options:trickle"))
    assert without.media[0].direction == "recvonly"  # who does no ICE has nowhere to send to


def test_new_credentials_restart_it() -> None:
    """RFC 8839 4.4.1.1."""
    ours = negotiation(ice="lite")
    told = [
        lines(ours.remote_offer(offer(AUDIO, UFRAG, pwd, RTP, version=version)), "a=ice-pwd")[0]
        for version, pwd in enumerate((PWD, PWD, PWD + "x"), 1)
    ]
    assert told[0] == told[1] != told[2]
    assert lines(ours.local_offer(), "a=ice-pwd") == [told[2]]


def test_our_offer_of_ice_may_be_declined() -> None:
    for their_ice, agreed in (("lite", True), ("off", False)):
        ours, theirs = negotiation(ice="lite"), negotiation(seed=2, ice=their_ice)
        body = ours.local_offer()
        assert lines(body, "a=ice-lite")
        ours.remote_answer(theirs.remote_offer(body))
        assert (ours.media[0].remote_ice is not None) == (ours.media[0].local_ice is not None) == agreed
        assert bool(lines(ours.local_offer(), "a=ice-ufrag")) == agreed
    ours = negotiation(ice="lite")
    ours.local_offer()
    ours.remote_answer(offer(AUDIO, "a=ice-mismatch", UFRAG, PWD, RTP))
    assert ours.media[0].remote_ice is None


def test_candidates_are_bounded() -> None:
    found = ice.read("abcd", "p" * 22, [RTP.partition(":")[2]] * 1000, is_lite=False)
    assert found is not None
    assert len(found.candidates) == ice.CANDIDATES_MAX
    assert ice.read_candidate(found.candidates[0].value()) == found.candidates[0]


@pytest.mark.parametrize(
    "value",
    [
        "", "1 1 UDP 1 h 1 typ", "1 0 UDP 1 h 1 typ host", "1 1 UDP 0 h 1 typ host", "1 1 UDP 1 h 0 typ host", "1 1 UDP 1 h 1 type host",
        "+!? 1 UDP 1 h 1 typ host", "1 1 UDP ² h 1 typ host",
    ],
)  # fmt: skip
def test_malformed_candidates_are_none(value: str) -> None:
    assert ice.read_candidate(value) is None


# ---- DTLS ----


@pytest.mark.parametrize(("setup", "role"), [("actpass", "active"), ("active", "passive"), ("passive", "active"), ("", "passive")])
@pytest.mark.parametrize("at_session", [True, False])
def test_dtls_is_taken_with_a_fingerprint_of_ours(setup: str, role: str, at_session: bool) -> None:
    """RFC 5763 5, RFC 4145 4."""
    attributes = (f"a=fingerprint:{THEIRS}", *([f"a=setup:{setup}"] if setup else []))
    media = ("m=audio 49170 UDP/TLS/RTP/SAVPF 0",)
    body = offer(*media, session=attributes) if at_session else offer(*media, *attributes)
    ours = negotiation(srtp="optional", fingerprint=FINGERPRINT)
    answer = ours.remote_offer(body)
    assert (lines(answer, "a=setup"), lines(answer, "a=fingerprint")) == ([f"a=setup:{role}"], [f"a=fingerprint:{FINGERPRINT}"])
    dtls = ours.media[0].dtls
    assert dtls is not None
    assert (dtls.role, dtls.fingerprints) == (role, ("sha-256 " + ":".join(["0C"] * 32),))
    assert ours.remote_offer(body) == answer  # and the association stands
    for more in ({"srtp": "optional"}, {"srtp": "off", "fingerprint": FINGERPRINT}):
        with pytest.raises(NegotiationError) as caught:
            negotiation(**more).remote_offer(body)  # type: ignore[arg-type]
        assert caught.value.warning == 302


def test_a_role_does_not_change_while_the_association_stands() -> None:
    """RFC 8842 5.5."""
    ours = negotiation(srtp="optional", fingerprint=FINGERPRINT)
    media = "m=audio 49170 UDP/TLS/RTP/SAVPF 0"
    assert lines(ours.remote_offer(offer(media, f"a=fingerprint:{THEIRS}", "a=setup:active")), "a=setup") == ["a=setup:passive"]
    assert lines(ours.remote_offer(offer(media, f"a=fingerprint:{THEIRS}", "a=setup:actpass")), "a=setup") == ["a=setup:passive"]
    assert lines(ours.remote_offer(offer(media, f"a=fingerprint:{THEIRS[:-2]}FF", "a=setup:actpass")), "a=setup") == ["a=setup:active"]
    for attributes in (("a=setup:actpass",), (f"a=fingerprint:{THEIRS}", "a=setup:holdconn"), ("a=fingerprint:sha-256 XY",)):
        with pytest.raises(NegotiationError):
            ours.remote_offer(offer(media, *attributes))


def test_two_ends_agree_on_dtls() -> None:
    ours = negotiation(srtp="required", keying="dtls", fingerprint=FINGERPRINT)
    theirs = negotiation(seed=2, srtp="optional", fingerprint=THEIRS)
    body = ours.local_offer()
    assert (lines(body, "a=setup"), lines(body, "m=")[0].split()[2]) == (["a=setup:actpass"], "UDP/TLS/RTP/SAVPF")
    ours.remote_answer(theirs.remote_offer(body))
    assert ours.media[0].dtls is not None
    assert theirs.media[0].dtls is not None
    assert (ours.media[0].dtls.role, theirs.media[0].dtls.role) == ("passive", "active")
    ours.remote_answer(theirs.remote_offer(ours.hold()))
    assert (ours.media[0].dtls.role, theirs.media[0].dtls.role) == ("passive", "active")


# ---- groups and names ----

GROUP = ("a=group:BUNDLE 0 1",)
BUNDLED = ("m=audio 49170 RTP/AVP 0", "a=mid:0", "a=rtcp-mux", "m=video 49170 RTP/AVP 96", "a=rtpmap:96 VP8/90000", "a=mid:1", "a=rtcp-mux")


def test_a_group_has_only_what_is_taken() -> None:
    """RFC 9143 7.3.2."""
    answer = negotiation(bundle=True).remote_offer(offer(*BUNDLED, session=GROUP))
    assert lines(answer, "a=group") == ["a=group:BUNDLE 0"]
    assert lines(answer, "a=mid") == ["a=mid:0", "a=mid:1"]
    assert not lines(negotiation().remote_offer(offer(*BUNDLED, session=GROUP)), "a=group")
    assert not lines(negotiation(bundle=True).remote_offer(offer(*BUNDLED)), "a=group")
    assert not lines(negotiation(bundle=True, rtcp_mux=False).remote_offer(offer(*BUNDLED, session=GROUP)), "a=group")


def test_streams_that_are_recorded_keep_their_labels() -> None:
    """RFC 7866: a line a party, sendonly, answered recvonly with the label."""
    ours = negotiation(streams_max=2, direction="recvonly")
    answer = ours.remote_offer(offer(
        "m=audio 6000 RTP/AVP 0", "a=label:a_leg", "a=sendonly", "m=audio 6002 RTP/AVP 8", "a=label:16777227", "a=sendonly",
    ))  # fmt: skip
    assert lines(answer, "a=label") == ["a=label:a_leg", "a=label:16777227"]
    assert [line.direction for line in read(answer).media] == ["recvonly", "recvonly"]
    assert [(one.label, one.send[0].name) for one in ours.media] == [("a_leg", "PCMU"), ("16777227", "PCMA")]
    assert [one.local.port for one in ours.media if one.local is not None] == [20000, 20002]


def test_a_label_that_could_break_a_line_is_not_repeated() -> None:
    answer = negotiation().remote_offer(offer("m=audio 6000 RTP/AVP 0", "a=label:a b", "a=mid:\xe4"))
    assert not lines(answer, "a=label") + lines(answer, "a=mid")


def test_our_streams_have_the_labels_of_the_terms() -> None:
    ours = negotiation(streams=2, labels=("1", "2"), direction="sendonly")
    assert lines(ours.local_offer(), "a=label") == ["a=label:1", "a=label:2"]


def test_a_label_may_come_with_their_answer() -> None:
    """Who is called without an offer learns it then, and says it from then on."""
    ours = negotiation(direction="recvonly")
    ours.local_offer()
    ours.remote_answer(offer(AUDIO, "a=label:7", "a=sendonly"))
    assert ours.media[0].label == "7"
    assert lines(ours.local_offer(), "a=label") == ["a=label:7"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "a b"}, {"codecs": ()}, {"suites": ("ROT13",)}, {"labels": ("a\r\nb",)}, {"fingerprint": "x"}, {"srtp": "required", "keying": "dtls"},
        {"streams_max": 0}, {"streams": -1}, {"answered_codecs": 0}, {"ptime_max_ms": 0},
    ],
)  # fmt: skip
def test_terms_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Terms(**{"host": HOST, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize(("host", "port", "rtcp_port"), [("", 1, 2), ("a\r\n", 1, 2), ("h", 0, 1), ("h", 65536, 1), ("h", 1, 0)])
def test_a_transport_that_cannot_be_is_refused(host: str, port: int, rtcp_port: int) -> None:
    with pytest.raises(ValueError, match="transport"):
        Transport(host=host, port=port, rtcp_port=rtcp_port)
