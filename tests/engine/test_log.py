"""The log of a process: one line an event, no secret, no second line."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import log


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()


def lines(shape: str, *calls: tuple[str, dict[str, object]]) -> list[str]:
    out = io.StringIO()
    log.configure("debug", shape, out)
    for text, extra in calls:
        logging.getLogger("trunkline.test").info(text, extra=extra)
    return out.getvalue().splitlines()


def test_a_line_of_json_has_time_level_name_and_fields() -> None:
    log.bind(request_id="r-1", call_id="c@x")
    (line,) = lines("json", ("stored 3 calls", {"owner": "dana"}))
    told = json.loads(line)
    assert told["event"] == "stored 3 calls"
    assert (told["level"], told["logger"], told["owner"]) == ("info", "trunkline.test", "dana")
    assert (told["request_id"], told["call_id"]) == ("r-1", "c@x")
    assert told["timestamp"].endswith("Z")


@pytest.mark.parametrize("shape", ["json", "text"])
@pytest.mark.parametrize(
    "text",
    [
        "key sips_0123456789abcdef0123456789abcdef0123 refused",
        "Authorization: Bearer abcdefgh.ijklmnop.qrstuvwx",
        "cannot reach postgresql://user:abcdefgh1234@db/x",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abcdefghijklmnopqrstuvwx",
        "password=abcdefgh1234 given",
    ],
)
def test_secrets_in_texts_are_hidden(shape: str, text: str) -> None:
    (line,) = lines(shape, (text, {}))
    assert "***" in line
    for secret in ("0123456789abcdef", "abcdefgh"):
        assert secret not in line


@pytest.mark.parametrize("shape", ["json", "text"])
def test_secrets_in_fields_are_hidden(shape: str) -> None:
    (line,) = lines(shape, ("x", {"api_key": "canary", "authorization": "canary", "jwt_secret": "canary", "owner": "dana"}))
    assert "canary" not in line
    assert "dana" in line


@pytest.mark.parametrize("shape", ["json", "text"])
@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=80), field=st.text(max_size=40))
def test_whatever_is_logged_stays_on_one_line(shape: str, text: str, field: str) -> None:
    told = lines(shape, (text.replace("%", "%%"), {"peer": field}))
    assert len(told) == 1
    assert "\x1b" not in told[0]


def test_an_exception_is_told_on_its_line_without_secrets() -> None:
    out = io.StringIO()
    log.configure("info", "json", out)
    try:
        raise RuntimeError("postgresql://u:hunter22hunter@db failed")
    except RuntimeError:
        logging.getLogger("trunkline.test").exception("lost the store")
    (line,) = out.getvalue().splitlines()
    told = json.loads(line)
    assert any("RuntimeError" in part for part in told["exception"])
    assert "hunter22" not in line


def test_the_level_changes_at_run_time() -> None:
    out = io.StringIO()
    log.configure("error", "text", out)
    logging.getLogger("trunkline.test").info("unheard")
    log.set_level("debug")
    logging.getLogger("trunkline.test").debug("heard")
    assert "unheard" not in out.getvalue()
    assert "heard" in out.getvalue()
    with pytest.raises(ValueError, match="loud"):
        log.set_level("loud")
