"""Configuration in YAML: what recording servers have in their files, and nothing that grows or surprises."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import ConfigError, load
from engine.config.yaml_document import DEPTH_MAX, read

DOCUMENT = """
# as the recorder has it
network:
  host: 127.0.0.1
  ports: [5080, 5081]
  rtp_port_min: 20000
  rtp_port_max: 30000
recording:
  max_duration: 6h
  combine_legs: off
messaging:
  amqp_url: "amqp://mq/"
  enable_realtime_amqp: true
  publish_partial_transcripts: no
pause_resume:
  enabled: yes
  max_pause_duration: 5m
  api_key: ~
"""


@pytest.mark.parametrize("name", ["config.yaml", "config.YML"])
def test_a_document_of_the_recorder_loads(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(DOCUMENT)
    config = load(None, {"CONFIG_FILE": str(path)}).config
    assert (config.sip.host, config.network.ports, config.network.rtp_port_min) == ("127.0.0.1", [5080, 5081], 20000)
    assert (config.recording.max_duration_s, config.recording.combine_legs) == (21_600.0, False)
    assert (config.realtime.enabled, config.realtime.partial_transcripts, config.bus.url) == (True, False, "amqp://mq/")
    assert (config.pause_resume.enabled, config.pause_resume.max_pause_s, config.pause_resume.api_key) == (True, 300.0, "")


def test_a_document_of_ours_loads(tmp_path: Path) -> None:
    path = tmp_path / "trunkline.yaml"
    path.write_text("http:\n  port: 9000\nsiprec:\n  strict: true\n")
    assert (load(path, {}).config.http.port, load(path, {}).config.siprec.strict) == (9000, True)
    path.write_text("http:\n  prot: 9000\n")
    with pytest.raises(ConfigError, match="did you mean"):
        load(path, {})
    path.write_text("")
    with pytest.raises(ConfigError, match="must be a table"):
        load(path, {})


@pytest.mark.parametrize(
    ("text", "value"),
    [("on: 1\nyes: off", {"on": 1, "yes": False}), ("day: 2026-01-02", {"day": "2026-01-02"}), ("a: 1.5\nb: '5'\nc:", {"a": 1.5, "b": "5", "c": None}), ("1: x", {"1": "x"}), ("", None),
     ("a: 1" + ":59" * 100_000, {"a": "1" + ":59" * 100_000})],
)  # fmt: skip
def test_names_are_as_they_are_written(text: str, value: Any) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &x [1]\nb: *x", "anchors and aliases"), ("a: 1\na: 2", "stands there twice"), ("a: !!python/object/apply:os.system [x]", "tags are not taken"), ("a: !!binary aGk=", "tags are not taken"),
        ("? [a]\n: 1", "must be a name"), ("a: 1\n---\nb: 2", "another document"), ("a: =", "must be in quotes"), ("a: [", "line"), ("a: \t- x\n b", "not allowed in this context"), ("[" * (DEPTH_MAX + 1), "nested too deeply"),
        ("[" * 500_000, "nested too deeply"), ("a: \0", "unacceptable character"),
    ],
)  # fmt: skip
def test_what_is_not_taken(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        read(text)


@given(st.text(max_size=200))
def test_any_text_is_values_or_one_kind_of_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        read(text)
