"""Digits in INFO bodies, both ways, as vendors write them."""

from __future__ import annotations

import pytest

from engine.rtp.telephone_event import DTMF, DTMF_RELAY, FLASH, InfoDigit, read_info, write_info

DIGITS = "0123456789*#ABCD"


@pytest.mark.parametrize(
    ("body", "event", "duration_ms"),
    [
        (b"Signal=5\r\nDuration=160\r\n", 5, 160),
        (b"Signal=5\r\nDuration=160", 5, 160),
        (b"Signal= 5\r\nDuration= 160\r\n", 5, 160),
        (b"Signal=*\nDuration=250\n", 10, 250),
        (b"Signal=#\r\n", 11, 250),
        (b"Duration=100\r\nSignal=D\r\n", 15, 100),
        (b"signal = a\r\nDURATION = 80\r\n", 12, 80),
        (b"Signal: 7\r\nDuration: 90", 7, 90),
        (b"Signal=10\r\nDuration=100\r\n", 10, 100),
        (b"Signal=11\r\n", 11, 250),
        (b"Signal=16\r\n", FLASH, 250),
        (b"Signal=!\r\n", FLASH, 250),
        (b"Signal=1\r\nDuration=0\r\n", 1, 40),
        (b"Signal=1\r\nDuration=39\r\n", 1, 40),
        (b"Signal=1\r\nDuration=999999999\r\n", 1, 6000),
        (b"\r\nSignal=1\r\n\r\nVolume=10\r\nDuration=50\r\n", 1, 50),
        (b"Signal=1\r\nSignal=2\r\n", 1, 250),
    ],
)
def test_a_relay_body_is_read_as_vendors_write_it(body: bytes, event: int, duration_ms: int) -> None:
    for kind in (DTMF_RELAY, "Application/DTMF-Relay ; charset=utf-8", DTMF):
        assert read_info(kind, body) == InfoDigit(event=event, duration_ms=duration_ms)


@pytest.mark.parametrize(("body", "event"), [(b"5", 5), (b"#", 11), (b" 9\r\n", 9), (b"d", 15), (b"11", 11), (b"16", FLASH), (b"!", FLASH)])
def test_a_bare_body_is_one_digit(body: bytes, event: int) -> None:
    assert read_info("application/dtmf", body) == InfoDigit(event=event)
    with pytest.raises(ValueError, match="no Signal line"):
        read_info(DTMF_RELAY, body)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\r\n", b"Signal=", b"Signal=\r\nDuration=100", b"Signal=E", b"Signal=17", b"Signal=05", b"Signal=12 3", b"Signal=\xff",
        b"Signal=\0", b"Signal=1\r\nDuration=", b"Signal=1\r\nDuration=-5", b"Signal=1\r\nDuration=1.5", b"Signal=1\r\nDuration=1000000000",
        b"Signal=1\r\nDuration=\xb2", b"12345", b"55", b"x", b"S i g n a l=1", b"Signal=1" + b"\r\n" * 130,
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [DTMF, DTMF_RELAY])
def test_bodies_without_a_digit_are_refused(kind: str, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"INFO|duration"):
        read_info(kind, body)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/dtmfx", "application/dtmf-relay2", "application/sdp"])
def test_other_types_carry_no_digits(kind: str) -> None:
    with pytest.raises(ValueError, match="carries no digits"):
        read_info(kind, b"Signal=1\r\n")
    with pytest.raises(ValueError, match="carries no digits"):
        write_info(kind, 1)


def test_a_line_of_spaces_is_read_in_time() -> None:
    with pytest.raises(ValueError, match="no Signal line"):
        read_info(DTMF_RELAY, b"Signal" + b" \t" * 124)


@pytest.mark.parametrize("event", range(17))
def test_what_is_written_is_read_back(event: int) -> None:
    assert read_info(DTMF, write_info(DTMF, event)) == InfoDigit(event=event)
    for duration_ms in (40, 100, 6000):
        read = read_info(DTMF_RELAY, write_info(DTMF_RELAY, event, duration_ms))
        assert read == InfoDigit(event=event, duration_ms=duration_ms)
        assert read.digit == (DIGITS[event] if event < 16 else "")


def test_bodies_are_those_of_other_gateways() -> None:
    assert write_info(DTMF_RELAY, 5, 160) == b"Signal=5\r\nDuration=160\r\n"
    assert write_info(DTMF_RELAY, 10, 160) == b"Signal=*\r\nDuration=160\r\n"
    assert write_info(DTMF, 11) == b"#"


@pytest.mark.parametrize(("event", "duration_ms"), [(-1, 100), (17, 100), (1, 39), (1, 6001)])
def test_what_has_no_body_is_refused(event: int, duration_ms: int) -> None:
    with pytest.raises(ValueError, match=r"is no digit|is not|not 40"):
        write_info(DTMF_RELAY, event, duration_ms)
