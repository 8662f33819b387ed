"""Digest: the RFCs' own examples, both our sides against each other, hostile values, and SIPp as a client that is challenged."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from random import Random

import pytest

from engine.sip import auth, compose
from engine.sip.auth import (
    BadAuthorization,
    Client,
    Server,
    challenge_of,
    chosen,
    credentials_of,
    response_of,
    secret_of,
)
from engine.sip.flow import Flow
from engine.sip.message import Message, parse
from engine.sip.transaction import InviteServer, NonInviteServer
from tests.engine.sip.station import Station
from tests.engine.sip.test_transport import play, run_sipp

SIPP = Path(__file__).parents[2] / "data" / "sipp"
RFC_7616_NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
RFC_7616_CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
RFC_7616_RESPONSES = {
    "MD5": "8ca523f5e9506fed4657c9700eebdbec", "SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
}  # fmt: skip


@pytest.mark.parametrize("algorithm", RFC_7616_RESPONSES)
def test_the_example_of_rfc_7616(algorithm: str) -> None:
    """3.9.1"""
    told = response_of(
        secret_of("Mufasa", "http-auth@example.org", "Circle of Life", algorithm), algorithm=algorithm, nonce=RFC_7616_NONCE,
        method="GET", uri="/dir/index.html", qop="auth", nc=1, cnonce=RFC_7616_CNONCE,
    )  # fmt: skip
    assert told == RFC_7616_RESPONSES[algorithm]


def test_the_example_of_rfc_2617() -> None:
    """3.5"""
    secret = secret_of("Mufasa", "testrealm@host.com", "Circle Of Life")
    told = response_of(secret, algorithm="", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", method="GET", uri="/dir/index.html", qop="auth", nc=1, cnonce="0a4f113b")
    assert told == "6629fae49393a05397450978507c4ef1"


class Now:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def realm(now: Now, **options: object) -> Server:
    def secret_for(username: str, algorithm: str) -> str | None:
        return secret_of(username, "example.com", "s3cret", algorithm) if username in ("alice", 'a"b\\c') else None

    return Server("example.com", secret_for, now, **options)  # type: ignore[arg-type]


def signed(value: str, method: str = "REGISTER", body: bytes = b"") -> Message:
    headers = [
        ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"), ("From", "<sip:a@x>;tag=1"), ("To", "<sip:a@x>"), ("Call-ID", "c"),
        ("CSeq", f"1 {method}"), ("Authorization", value),
    ]  # fmt: skip
    return parse(compose.request(method, "sip:example.com", headers, body))


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512-256"])
@pytest.mark.parametrize("qop", ["auth,auth-int", "auth-int", ""])
@pytest.mark.parametrize("username", ["alice", 'a"b\\c'])
def test_our_client_and_our_server_agree(algorithm: str, qop: str, username: str) -> None:
    now = Now()
    server, client = realm(now, algorithms=[algorithm]), Client(username, "s3cret")
    [value] = server.challenges()
    value = value.replace('qop="auth,auth-int"', f'qop="{qop}"' if qop else 'x="y"')
    challenge = chosen([value])
    assert challenge is not None
    assert client.take(challenge)
    body = b"v=0\r\n"
    for count in range(1, 4):
        told = client.answer("INVITE", "sip:example.com", body)
        if qop:
            assert credentials_of(told).nc == count
            assert server.check(signed(told, "INVITE", body)) == ("good", username)
        elif count == 1:
            assert server.check(signed(told, "INVITE", body)) == ("good", username)
        assert server.check(signed(told, "INVITE", body)) == ("stale", "")
        client.accepted()
    if qop == "auth-int":
        told = client.answer("INVITE", "sip:example.com", body)
        assert server.check(signed(told, "INVITE", b"v=1\r\n")) == ("bad", "")


def test_what_is_wrong_is_bad_and_what_is_old_is_stale() -> None:
    now = Now()
    server = realm(now)

    def answered(username: str = "alice", password: str = "s3cret", made_by: Server = server) -> str:
        client = Client(username, password)
        challenge = chosen(made_by.challenges())
        assert challenge is not None
        client.take(challenge)
        return client.answer("REGISTER", "sip:example.com")

    good = answered()
    assert server.check(signed(answered(password="wrong"))) == ("bad", "")
    assert server.check(signed(answered(username="nobody"))) == ("bad", "")
    assert server.check(signed(answered(made_by=realm(now)))) == ("bad", "")  # a nonce of another server
    assert server.check(signed(good, "INVITE")) == ("bad", "")
    assert server.check(signed(good.replace("nc=00000001", "nc=00000002"))) == ("bad", "")
    assert server.check(signed(good.replace("nc=00000001", "nc=00000000"))) == ("bad", "")
    assert server.check(signed(good.replace('realm="example.com"', 'realm="other"'))) == ("bad", "")
    assert server.check(signed("Digest nonsense")) == ("malformed", "")
    now.now += auth.NONCE_S + 1
    assert server.check(signed(good)) == ("stale", "")
    assert server.challenges(stale=True)[0].endswith("stale=true")
    shared = [realm(now, key=b"k" * 32) for _ in range(2)]
    assert shared[1].check(signed(answered(made_by=shared[0]))) == ("good", "alice")


def test_a_client_gives_up_where_its_answer_is_refused() -> None:
    client = Client("alice", "s3cret")
    first, second = (auth.Challenge(realm="r", nonce=nonce, qop=("auth",)) for nonce in "ab")
    with pytest.raises(RuntimeError):
        client.answer("REGISTER", "sip:x")
    assert client.take(first)
    client.answer("REGISTER", "sip:x")
    assert not client.take(second)
    assert client.take(second)  # nothing was answered since
    client.answer("REGISTER", "sip:x")
    client.accepted()
    client.answer("REGISTER", "sip:x")
    assert client.take(first)  # its nonce was good before: it is used up, and nothing is refused
    client.accepted("next")
    assert credentials_of(client.answer("REGISTER", "sip:x")).nonce == "next"
    client.accepted()
    assert client.take(auth.Challenge(realm="r", nonce="b", qop=("auth",)))
    client.answer("REGISTER", "sip:x")
    told = []
    for nonce in itertools.islice("cdefgh", 6):
        told.append(client.take(auth.Challenge(realm="r", nonce=nonce, stale=True, qop=("auth",))))
        client.answer("REGISTER", "sip:x")
    assert told == [True] * 3 + [False] * 3


def test_the_first_challenge_that_can_be_answered_is_chosen() -> None:
    """RFC 8760 2.4"""
    values = ['Basic realm="r"', 'Digest realm="r", nonce="1", algorithm=TOKEN', 'Digest realm="r", nonce="2", algorithm=SHA-256, qop="auth"', 'Digest realm="r", nonce="3"']
    found = chosen(values)
    assert found is not None
    assert found.nonce == "2"
    assert chosen(values[:2]) is None


@pytest.mark.parametrize(
    "value",
    ["", "Digest", "Basic x", 'Digest a="', 'Digest username="a" username="b"', "Digest a", "Digest ,,,", 'Digest username="a",username="b"',
     'Digest username="a", realm="r", nonce="n", uri="u"', "Digest " + "a=b," * 2000, "Digest " + 'a="' + "\\" * 3000,
     'Digest username="a", realm="r", nonce="n", uri="u", response="x", qop=auth', 'Digest username="a", realm="r", nonce="n", uri="u", response="x", qop=auth, nc=zz, cnonce="c"',
     'Digest realm="r"'],
)  # fmt: skip
def test_what_is_no_digest_is_one_kind_of_error(value: str) -> None:
    with pytest.raises(BadAuthorization):
        credentials_of(value)
    if "realm" not in value or "nonce" not in value:
        with pytest.raises(BadAuthorization):
            challenge_of(value)


def test_any_value_is_judged() -> None:
    """Seeded mutations of a good answer: never good but unchanged, never an exception."""
    now, random = Now(), Random(7)
    server = realm(now)
    client = Client("alice", "s3cret", random=lambda: "abc")
    challenge = chosen(server.challenges())
    assert challenge is not None
    client.take(challenge)
    good = client.answer("REGISTER", "sip:example.com")
    for _ in range(3000):
        at = random.randrange(len(good))
        changed = good[:at] + random.choice(['"', "\\", ",", "=", " ", "x", "", "é", "0"]) + good[at + random.randrange(3) :]
        verdict, _ = server.check(signed(changed))
        if verdict == "good":
            assert credentials_of(changed).response == credentials_of(good).response


# ---- SIPp ----


@pytest.mark.slow
def test_sipp_is_challenged_and_let_in(tmp_path: Path) -> None:
    """With MD5: SIPp knows no other."""

    async def scenario(made: Station) -> None:
        loop = asyncio.get_running_loop()
        server = Server("trunkline", lambda user, algorithm: secret_of(user, "trunkline", "s3cret", algorithm), loop.time, algorithms=["MD5"])
        verdicts: list[str] = []

        def on_request(transaction: InviteServer | NonInviteServer, flow: Flow) -> None:
            verdict, user = server.check(transaction.request) if transaction.request.values("Authorization") else ("none", "")
            verdicts.append(verdict)
            if verdict == "good":
                assert user == "alice"
                made.layer.respond(transaction, 200, to_tag="t", headers=[("Contact", transaction.request.value("Contact"))])
            else:
                headers = [("WWW-Authenticate", value) for value in server.challenges()]
                made.layer.respond(transaction, 401, to_tag="t", headers=headers)

        made.on_request = on_request  # type: ignore[method-assign]
        assert made.udp is not None
        host, port = made.udp.address
        await run_sipp(tmp_path, f"{host}:{port}", "-sf", str(SIPP / "register.xml"), "-m", "20", "-i", "127.0.0.1", "-nostdin", "-timeout", "30", "-timeout_error")
        assert verdicts.count("good") == 20

    play(scenario)
