"""a=crypto lines: which can be used, what is answered, and where media must, may or must not be encrypted."""

from __future__ import annotations

from base64 import b64encode
from random import Random

import pytest

from engine.sdp import sdes
from engine.sdp.errors import NegotiationError

from .descriptions import KEY, OTHER_KEY, lines, negotiation, offer, terms

SUITE = "AES_CM_128_HMAC_SHA1_80"
SAVP = "m=audio 49170 RTP/SAVP 0"
AVP = "m=audio 49170 RTP/AVP 0"


def key_of(length: int) -> str:
    return b64encode(bytes(range(length))).decode()


@pytest.mark.parametrize(("suite", "length"), list(sdes.SUITES.items()))
def test_every_suite_has_its_key_length(suite: str, length: int) -> None:
    """RFC 4568 6.2, RFC 6188 7, RFC 7714 14."""
    found = sdes.read(f"1 {suite} inline:{key_of(length)}")
    assert found is not None
    assert (found.key, found.suite) == (bytes(range(length)), suite)
    assert sdes.read(found.value()) == found
    for wrong in (length - 1, length + 1):
        assert sdes.read(f"1 {suite} inline:{key_of(wrong)}") is None
    fresh = sdes.fresh(7, suite, Random(1).randbytes)
    assert sdes.read(fresh.value()) == sdes.Crypto(tag=7, suite=suite, written=suite, key=fresh.key)


@pytest.mark.parametrize(
    ("value", "lifetime", "mki", "mki_bytes"),
    [
        (f"1 {SUITE} inline:{KEY}", 0, 0, 0), (f"1 {SUITE} inline:{KEY}|2^20", 2**20, 0, 0), (f"1 {SUITE} inline:{KEY}|2^20|1:4", 2**20, 1, 4),
        (f"1 {SUITE} inline:{KEY}|1:4", 0, 1, 4), (f"1 {SUITE} inline:{KEY}|1048576", 1048576, 0, 0), (f"1 {SUITE} INLINE:{KEY}|2^48", 2**48, 0, 0),
        (f"999999999 {SUITE.lower()} inline:{KEY} WSH=64", 0, 0, 0), (f"1 {SUITE} inline:{KEY} -SOMETHING", 0, 0, 0),
    ],
)  # fmt: skip
def test_lines_that_can_be_used(value: str, lifetime: int, mki: int, mki_bytes: int) -> None:
    found = sdes.read(value)
    assert found is not None
    assert (found.lifetime, found.mki, found.mki_bytes, found.suite) == (lifetime, mki, mki_bytes, SUITE)


@pytest.mark.parametrize(
    "value",
    [
        "", "1", f"1 {SUITE}", f"x {SUITE} inline:{KEY}", f"-1 {SUITE} inline:{KEY}", f"1234567890 {SUITE} inline:{KEY}", f"1 ROT13 inline:{KEY}",
        f"1 {SUITE} uri:{KEY}", f"1 {SUITE} inline:", f"1 {SUITE} inline:{KEY[:-4]}", f"1 {SUITE} inline:{KEY}AAAA", f"1 {SUITE} inline:{'!' * 40}",
        f"1 {SUITE} inline:{KEY};inline:{OTHER_KEY}", f"1 {SUITE} inline:{KEY}|2^49", f"1 {SUITE} inline:{KEY}|0", f"1 {SUITE} inline:{KEY}|x",
        f"1 {SUITE} inline:{KEY}|1:129", f"1 {SUITE} inline:{KEY}|1:0", f"1 {SUITE} inline:{KEY}|256:1", f"1 {SUITE} inline:{KEY}|1:4|2^20",
        f"1 {SUITE} inline:{KEY}|2^20|1:4|x", f"1 {SUITE} inline:{KEY} UNENCRYPTED_SRTP", f"1 {SUITE} inline:{KEY} KDR=1",
        f"1 {SUITE} inline:{KEY} WSH=x", f"1 {SUITE} inline:{'ä' * 40}",
    ],
)  # fmt: skip
def test_lines_that_cannot_be_used(value: str) -> None:
    """RFC 4568 6.3.1: what we do not know we must not accept, and what weakens it we do not want."""
    assert sdes.read(value) is None


def test_the_old_name_of_a_suite_is_answered_as_it_was_written() -> None:
    value = f"3 AES_CM_256_HMAC_SHA1_80 inline:{key_of(46)}"
    ours = negotiation(srtp="optional", suites=("AES_256_CM_HMAC_SHA1_80",))
    answer = ours.remote_offer(offer(SAVP, f"a=crypto:{value}"))
    assert lines(answer, "a=crypto")[0].startswith("a=crypto:3 AES_CM_256_HMAC_SHA1_80 inline:")
    assert ours.media[0].receive_crypto == sdes.read(value)


def test_the_first_line_of_a_suite_of_ours_is_taken_with_its_tag() -> None:
    """RFC 4568 5.1.2: with a key of our own."""
    ours = negotiation(srtp="optional", suites=(SUITE, "AES_CM_128_HMAC_SHA1_32"))
    answer = ours.remote_offer(offer(
        SAVP, f"a=crypto:1 AEAD_AES_256_GCM inline:{key_of(44)}", f"a=crypto:2 {SUITE} inline:{KEY} UNENCRYPTED_SRTP",
        f"a=crypto:4 AES_CM_128_HMAC_SHA1_32 inline:{KEY}", f"a=crypto:5 {SUITE} inline:{KEY}",
    ))  # fmt: skip
    (line,) = lines(answer, "a=crypto")
    assert line.startswith("a=crypto:4 AES_CM_128_HMAC_SHA1_32 inline:")
    media = ours.media[0]
    assert media.send_crypto is not None
    assert media.receive_crypto is not None
    assert media.send_crypto.key != media.receive_crypto.key
    assert media.send_crypto.value() == line.partition(":")[2]
    assert lines(answer, "m=") == ["m=audio 20000 RTP/SAVP 0"]


def test_our_key_stays_until_the_suite_changes() -> None:
    ours = negotiation(srtp="required")
    first = ours.remote_offer(offer(SAVP, f"a=crypto:1 {SUITE} inline:{KEY}"))
    again = ours.remote_offer(offer(SAVP, f"a=crypto:1 {SUITE} inline:{OTHER_KEY}", version=2))
    other = ours.remote_offer(offer(SAVP, f"a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}", version=3))
    assert lines(first, "a=crypto") == lines(again, "a=crypto") != lines(other, "a=crypto")
    assert lines(ours.local_offer(), "a=crypto") == lines(other, "a=crypto")


def test_a_key_of_ours_that_comes_back_is_used_no_more() -> None:
    """Two ends with one key would be one key stream used twice."""
    ours = negotiation(srtp="required")
    (line,) = lines(ours.remote_offer(offer(SAVP, f"a=crypto:1 {SUITE} inline:{KEY}")), "a=crypto")
    assert lines(ours.remote_offer(offer(SAVP, line, version=2)), "a=crypto") != [line]


def test_a_kept_key_is_told_in_their_words() -> None:
    ours = negotiation(srtp="required", suites=("AES_256_CM_HMAC_SHA1_80",))
    for tag, suite in ((1, "AES_CM_256_HMAC_SHA1_80"), (2, "AES_256_CM_HMAC_SHA1_80")):
        (line,) = lines(ours.remote_offer(offer(SAVP, f"a=crypto:{tag} {suite} inline:{key_of(46)}", version=tag)), "a=crypto")
        assert line.startswith(f"a=crypto:{tag} {suite} inline:")


def test_lines_beyond_the_bound_are_not_looked_at() -> None:
    others = ["a=crypto:1 X inline:y"] * 64
    for count, taken in ((63, True), (64, False)):
        ours = negotiation(srtp="optional", streams_max=2)
        ours.remote_offer(offer(SAVP, *others[:count], f"a=crypto:2 {SUITE} inline:{KEY}", AVP))
        assert ours.media[0].accepted == taken


@pytest.mark.parametrize(
    ("srtp", "best_effort", "media", "outcome"),
    [
        ("off", False, (AVP,), "plain"), ("off", False, (SAVP, "key"), "refused"), ("off", True, (AVP, "key"), "plain"),
        ("optional", False, (AVP,), "plain"), ("optional", False, (SAVP, "key"), "secure"), ("optional", False, (SAVP,), "refused"),
        ("optional", False, (AVP, "key"), "plain"), ("optional", True, (AVP, "key"), "secure"), ("optional", True, (AVP,), "plain"),
        ("required", False, (AVP,), "refused"), ("required", False, (AVP, "key"), "refused"), ("required", True, (AVP, "key"), "secure"),
        ("required", False, (SAVP, "key"), "secure"), ("required", False, ("m=audio 49170 RTP/SAVPF 0", "key"), "secure"),
        ("optional", False, ("m=audio 49170 RTP/AVPF 0",), "plain"), ("optional", False, ("m=audio 49170 rtp/savp 0", "key"), "secure"),
    ],
)  # fmt: skip
def test_where_media_is_encrypted(srtp: str, best_effort: bool, media: tuple[str, ...], outcome: str) -> None:
    ours = negotiation(srtp=srtp, best_effort=best_effort)
    body = offer(*(f"a=crypto:1 {SUITE} inline:{KEY}" if line == "key" else line for line in media))
    if outcome == "refused":
        with pytest.raises(NegotiationError) as caught:
            ours.remote_offer(body)
        assert (caught.value.status, caught.value.warning) == (488, 302)
        assert KEY not in str(caught.value)
        return
    answer = ours.remote_offer(body)
    assert lines(answer, "m=")[0].split()[2] == media[0].split()[2]  # the transport is the offered one
    assert bool(lines(answer, "a=crypto")) == (ours.media[0].send_crypto is not None) == (outcome == "secure")


def test_one_of_an_encrypted_and_a_plain_line_is_taken() -> None:
    for srtp, taken in (("off", [False, True]), ("optional", [True, False]), ("required", [True, False])):
        ours = negotiation(srtp=srtp)
        ours.remote_offer(offer(SAVP, f"a=crypto:1 {SUITE} inline:{KEY}", AVP))
        assert [one.accepted for one in ours.media] == taken


def test_packets_with_an_mki_may_be_refused() -> None:
    body = offer(SAVP, f"a=crypto:1 {SUITE} inline:{KEY}|2^20|1:4", f"a=crypto:2 {SUITE} inline:{OTHER_KEY}")
    for accepts, tag in ((True, 1), (False, 2)):
        ours = negotiation(srtp="required", accepts_mki=accepts)
        ours.remote_offer(body)
        assert ours.media[0].receive_crypto is not None
        assert ours.media[0].receive_crypto.tag == tag


def test_our_offer_has_a_line_a_suite_and_takes_one_answer() -> None:
    ours, theirs = negotiation(srtp="required"), negotiation(seed=2, srtp="optional", suites=("AES_CM_128_HMAC_SHA1_32",))
    body = ours.local_offer()
    assert lines(body, "m=")[0].startswith("m=audio 20000 RTP/SAVP ")
    keys = [sdes.read(line.partition(":")[2]) for line in lines(body, "a=crypto")]
    assert len({key.key for key in keys if key is not None}) == 2
    ours.remote_answer(theirs.remote_offer(body))
    assert ours.media[0].send_crypto == theirs.media[0].receive_crypto == keys[1]
    assert ours.media[0].receive_crypto == theirs.media[0].send_crypto


@pytest.mark.parametrize(
    "attribute", ["", f"3 {SUITE} inline:{KEY}", f"1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}", f"1 {SUITE} inline:{KEY[:-4]}", "own"]
)
def test_an_answer_to_no_key_of_ours_is_none(attribute: str) -> None:
    """RFC 4568 5.1.3; our own key sent back would be one key stream used twice."""
    ours = negotiation(srtp="required")
    body = ours.local_offer()
    value = lines(body, "a=crypto")[0] if attribute == "own" else f"a=crypto:{attribute}"
    with pytest.raises(NegotiationError) as caught:
        ours.remote_answer(offer(SAVP, *([value] if attribute else [])))
    assert KEY[:-4] not in str(caught.value)


def test_best_effort_falls_back_to_plain() -> None:
    ours = negotiation(srtp="optional", best_effort=True)
    body = ours.local_offer()
    assert lines(body, "m=")[0].startswith("m=audio 20000 RTP/AVP ")
    assert len(lines(body, "a=crypto")) == 2
    fork = ours.fork()
    fork.remote_answer(offer(AVP))
    assert (fork.media[0].accepted, fork.media[0].send_crypto) == (True, None)
    ours.remote_answer(offer(AVP, f"a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:{KEY}"))
    assert ours.media[0].send_crypto is not None


def test_terms_that_change_change_the_next_offer() -> None:
    ours = negotiation(srtp="required")
    ours.remote_offer(offer(SAVP, f"a=crypto:1 {SUITE} inline:{KEY}"))
    ours.terms = terms(srtp="off")
    plain = ours.local_offer()
    assert (lines(plain, "m=")[0].split()[2], lines(plain, "a=crypto")) == ("RTP/AVP", [])
    ours.remote_answer(offer(AVP, version=2))
    ours.terms = terms(srtp="required")
    secure = ours.local_offer()
    assert (lines(secure, "m=")[0].split()[2], len(lines(secure, "a=crypto"))) == ("RTP/SAVP", 2)


def test_no_key_is_in_a_repr() -> None:
    found = sdes.read(f"1 {SUITE} inline:{KEY}|2^20|1:4")
    assert found is not None
    assert repr(found) == f"<Crypto 1 {SUITE}>"
