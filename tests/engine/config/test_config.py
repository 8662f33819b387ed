"""The configuration: precedence, faults told all at once, other products' files and names, secrets, changes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect as shapes

from engine.config import (
    Config,
    ConfigError,
    auth_required,
    difference,
    environment_name,
    fields,
    jwt_algorithm,
    load,
    parse,
    redacted,
)
from engine.config.legacy import ENVIRONMENT, seconds, without_comments

MARKER = "canary-7f3a"
SIP4AI = """{
  "mode": "inbound",              // "inbound" or "outbound"
  "api_port": 8081,               // HTTP API port (0 to disable)
  "provider": "openai",           // AI provider to use
  "openai": {"instructions": "You are a helpful assistant // really...", "voice": "alloy", "greeting": "Hello!"},
  "elevenlabs": {"agent_id": "your-agent-id", "first_message": "Hello!", "system_prompt": "You are..."},
  "gemini": {"model": "models/gemini-2.0-flash-exp", "voice": "Puck", "greeting": "Hello!"},
  "deepgram": {"model": "aura-2-thalia-en", "listen_model": "nova-3", "think_provider": "open_ai", "think_model": "gpt-4o-mini"},
  "cartesia": {"voice_id": "your-voice-id", "stt_provider": "deepgram", "llm_provider": "openai", "llm_model": "gpt-4o-mini"},
  "outbound": {"target_number": "+1234567890", "caller_id": "+1987654321", "task_description": "Call to confirm appointment...",
    "result_webhook": "https://example.com/webhook", "hangup_on_task_complete": true},
  "functions": [{"name": "get_customer_info", "description": "Look up customer by phone", "webhook": "https://api.example.com/customer",
    "method": "POST", "parameters": {"type": "object", "properties": {"phone": {"type": "string"}}}}]
}"""


def written(folder: Path, text: str, name: str = "trunkline.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(path: Path | None = None, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environment or {})
    assert caught.value.code == "config.invalid"
    return [str(problem) for problem in caught.value.problems]


def test_each_source_is_stronger_than_the_one_before(tmp_path: Path) -> None:
    path = written(tmp_path, "[http]\nport = 8001\nworkers = 2\nanalysis_threads = 3\n")
    loaded = load(path, {"HTTP_PORT": "8002", "TRUNKLINE_HTTP_WORKERS": "4"}, {"http.workers": 5})
    assert loaded.config.http.port == 8002
    assert loaded.config.http.workers == 5
    assert loaded.config.http.analysis_threads == 3
    assert loaded.config.http.host == "127.0.0.1"
    assert loaded.sources["http.port"] == "environment HTTP_PORT"
    assert loaded.sources["http.workers"] == "command line"
    assert loaded.sources["http.analysis_threads"] == "file"
    assert "http.host" not in loaded.sources
    assert load(path, {"HTTP_PORT": "8002", "TRUNKLINE_HTTP_PORT": "8003"}).config.http.port == 8003


def test_other_processes_load_the_same(tmp_path: Path) -> None:
    path = written(tmp_path, "[http]\nport = 8001\n")
    loaded = load(path, {}, {"data.dir": str(tmp_path / "d"), "sip.port": 5070, "engine.pin": True})
    again = load(None, loaded.environment)
    assert again.config == loaded.config
    assert again.path == path


def test_a_json_document_loads_as_the_toml_one(tmp_path: Path) -> None:
    document = {"http": {"port": 9000}, "plans": {"gold": {"calls_per_day": 7}}, "default_plan": "gold"}
    loaded = load(written(tmp_path, json.dumps(document), "c.json"), {})
    assert loaded.config.http.port == 9000
    assert loaded.config.plans["gold"].calls_per_day == 7
    assert set(loaded.config.plans) == {"free", "pro", "teams", "self-hosted", "gold"}


def test_a_plan_that_is_changed_keeps_its_other_fields(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, "[plans.teams]\ncalls_per_day = 50\n"), {})
    assert loaded.config.plans["teams"].calls_per_day == 50
    assert loaded.config.plans["teams"].calls_per_day_team == 300


def test_all_faults_are_told_at_once_with_their_paths(tmp_path: Path) -> None:
    told = problems(
        written(
            tmp_path,
            '[http]\nprot = 1\nport = "x"\nworkers = 0\n[sotre]\nurl = ""\n[plans.pro]\ncall_per_day = 2\n[log]\nlevel = "loud"\n',
        ),
        {"TRUNKLINE_SIP_PORT": "many"},
    )
    assert "http.prot: unknown key; did you mean port? (file)" in told
    assert any(text.startswith("http.port: must be a whole number") for text in told)
    assert any(text.startswith("http.workers: must be a whole number: expected `int` >= 1") for text in told)
    assert "sotre: unknown key; did you mean store? (file)" in told
    assert "plans.pro.call_per_day: unknown key; did you mean calls_per_day? (file)" in told
    assert any(text.startswith("log.level: must be one of debug, error, info, warning") for text in told)
    assert "sip.port: must be a whole number, not 'many' (environment TRUNKLINE_SIP_PORT)" in told


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[http", "trunkline.toml: "),
        (b'{"http": {"port": 1}, "http": {}}', "the key 'http' stands there twice"),
        (b"\xff\xfe\x00", "can't decode"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, ""),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested too deeply"),
        (b"#" + b"x" * (1 << 20), "larger than 1,048,576 bytes"),
    ],
)
def test_a_document_that_cannot_be_read_is_one_clear_error(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "trunkline.toml"
    path.write_bytes(content)
    assert any(told in text for text in problems(path))


def test_a_missing_document_is_named(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.toml") == [f"{tmp_path / 'none.toml'}: No such file or directory"]


def test_an_unknown_name_of_ours_in_the_environment_is_refused_with_the_nearest() -> None:
    assert problems(None, {"TRUNKLINE_HTTP_PROT": "1"}) == [
        "TRUNKLINE_HTTP_PROT is no setting; did you mean TRUNKLINE_HTTP_PORT? (environment)"
    ]


def test_every_field_has_a_name_of_its_own_in_the_environment() -> None:
    names = [environment_name(path) for path in fields()]
    assert len(set(names)) == len(names)
    assert (
        load(None, {"TRUNKLINE_PLANS_SELF_HOSTED_CALLS_PER_DAY": "5"})
        .config.plans["self-hosted"]
        .calls_per_day
        == 5
    )
    assert load(None, {"TRUNKLINE_CALLS_PER_DAY": "6"}).config.plans["self-hosted"].calls_per_day == 6
    assert (
        load(None, {"TRUNKLINE_PLANS_PRO_CALLS_PER_DAY_TEAM": "none"}).config.plans["pro"].calls_per_day_team
        is None
    )
    assert load(
        None, {"TRUNKLINE_STT_SUPPORTED_VENDORS": "google, whisper"}
    ).config.stt.supported_vendors == ["google", "whisper"]


def test_a_secret_can_come_from_a_file(tmp_path: Path) -> None:
    path = written(tmp_path, "sips_" + "a" * 40 + "\n", "key")
    assert load(None, {"TRUNKLINE_ADMIN_KEY_FILE": str(path)}).config.auth.admin_key == "sips_" + "a" * 40


def test_the_documented_sip4ai_document_loads_unchanged(tmp_path: Path) -> None:
    loaded = load(
        written(tmp_path, SIP4AI, "config.json"), {"SIP_USERNAME": "u", "SIP_DOMAIN": "pbx.example.com"}
    )
    config = loaded.config
    assert config.http.port == 8081
    assert config.http.health_status_word == "ok"
    assert config.agent.openai.instructions.endswith("// really...")
    assert config.agent.outbound.target_number == "+1234567890"
    assert config.agent.functions[0].name == "get_customer_info"
    assert config.sip.username == "u"
    assert (
        load(None, {"CONFIG_FILE": str(tmp_path / "config.json")}).config
        == load(tmp_path / "config.json", {}).config
    )


def test_the_names_of_the_recorder_are_honoured() -> None:
    known = fields()
    assert all(path.rpartition(":")[2] in known for path in ENVIRONMENT.values())
    loaded = load(
        None,
        {"RTP_TIMEOUT": "1m30s", "RECORDING_MAX_DURATION_HOURS": "2", "PORTS": "5060,5062", "ENABLE_SRTP": "true",
         "RTP_PORT_MIN": "20000", "RTP_PORT_MAX": "30000", "SUPPORTED_VENDORS": "google,deepgram", "ANALYTICS_ENABLED": "false"},
    )  # fmt: skip
    assert loaded.config.network.rtp_timeout_s == 90.0
    assert loaded.config.recording.max_duration_s == 7200.0
    assert loaded.config.network.ports == [5060, 5062]
    assert loaded.config.network.enable_srtp
    assert problems(None, {"RTP_TIMEOUT": "soon"}) == [
        "network.rtp_timeout_s: 'soon' is no duration such as 30s, 5m or 1h30m (environment RTP_TIMEOUT)"
    ]


def test_a_secret_for_tokens_needs_no_algorithm() -> None:
    assert jwt_algorithm(Config()) == ""
    assert jwt_algorithm(load(None, {"AUTH_JWT_SECRET": "x" * 32}).config) == "HS256"
    named = {"AUTH_JWT_SECRET": "x" * 64, "TRUNKLINE_AUTH_JWT_ALGORITHM": "HS512"}
    assert jwt_algorithm(load(None, named).config) == "HS512"


def test_fields_that_do_not_fit_together_are_refused() -> None:
    open_door = {"TRUNKLINE_HTTP_HOST": "0.0.0.0", "TRUNKLINE_AUTH_ENABLED": "off"}
    assert problems(None, open_door)[0].startswith(
        "auth.enabled: listening on 0.0.0.0 without keys is refused"
    )
    assert problems(None, {"TRUNKLINE_AUTH_JWT_ALGORITHM": "HS256"}) == [
        "auth.jwt.secret: HS256 needs a secret"
    ]
    assert problems(None, {"AUTH_JWT_SECRET": "short"}) == ["auth.jwt.secret: HS256 needs a secret of 32 bytes at least (RFC 7518 3.2)"]
    assert problems(None, {"TRUNKLINE_AUTH_JWT_ALGORITHM": "HS512", "AUTH_JWT_SECRET": "x" * 63})
    assert problems(None, {"TRUNKLINE_DEFAULT_PLAN": "gold"})[0].startswith("default_plan: ")
    assert problems(None, {"TRUNKLINE_STORE_URL": "mysql://x"}) == [
        "store.url: must begin with sqlite:/// or postgresql://"
    ]
    assert not auth_required(load(None, {}).config)
    assert auth_required(load(None, {"TRUNKLINE_HTTP_HOST": "0.0.0.0"}).config)


def marked(kind: shapes.Type, extra: dict[str, Any]) -> Any:
    """A document with every secret set to the marker."""
    while isinstance(kind, shapes.Metadata):
        extra, kind = {**extra, **(kind.extra or {})}, kind.type
    if extra.get("secret"):
        return MARKER
    if extra.get("url"):
        return f"postgresql://user:{MARKER}@db/x"
    if isinstance(kind, shapes.StructType):
        made = {field.name: marked(field.type, {}) for field in kind.fields}
        return {name: value for name, value in made.items() if value is not None}
    if isinstance(kind, shapes.ListType) and isinstance(kind.item_type, shapes.StructType):
        needed = {field.encode_name: "f" for field in kind.item_type.fields if field.required}
        return [{**needed, **marked(kind.item_type, {})}]
    if isinstance(kind, shapes.DictType):
        inner = marked(kind.value_type, {})
        return {"x": inner} if inner else None
    return None


def test_no_secret_is_ever_shown() -> None:
    document = marked(shapes.type_info(Config), {})
    config = msgspec.convert(document, Config)
    assert json.dumps(document).count(MARKER) >= 12
    assert MARKER in json.dumps(msgspec.to_builtins(config))
    assert MARKER not in json.dumps(redacted(config))
    assert "***" in json.dumps(redacted(config))
    assert MARKER not in repr(config)
    assert MARKER not in repr(config.auth)
    assert MARKER not in repr(difference(Config(), config))


def test_a_wrong_secret_is_not_shown_in_its_error() -> None:
    assert MARKER not in "".join(
        problems(None, {"TRUNKLINE_AUTH_ADMIN_KEY_FILE": "/none", "TRUNKLINE_HTTP_PORT": "x"})
    )


def test_what_a_reload_can_change_is_told_from_what_it_cannot() -> None:
    before = load(None, {}).config
    after = load(
        None, {"TRUNKLINE_HTTP_PORT": "9999", "TRUNKLINE_LOG_LEVEL": "debug", "TRUNKLINE_CALLS_PER_DAY": "7"}
    ).config
    changes = {change.path: change for change in difference(before, after)}
    assert set(changes) == {"http.port", "log.level", "plans.self-hosted.calls_per_day"}
    assert not changes["http.port"].live
    assert changes["log.level"].live
    assert (
        changes["plans.self-hosted.calls_per_day"].old,
        changes["plans.self-hosted.calls_per_day"].new,
    ) == (100_000, 7)
    assert difference(before, before) == []


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_document_or_one_kind_of_error(content: bytes) -> None:
    try:
        assert isinstance(parse(content, "x"), dict)
    except ConfigError as error:
        assert error.problems


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["http", "log", "plans", "x"]),
        st.recursive(
            st.none() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
            max_leaves=8,
        ),
    )
)
def test_any_document_is_a_configuration_or_one_kind_of_error(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("c") / "c.json"
    path.write_text(json.dumps(document))
    try:
        load(path, {})
    except ConfigError as error:
        assert all(isinstance(problem.path, str) for problem in error.problems)


@pytest.mark.parametrize(
    ("text", "expected"), [("30s", 30), ("5m", 300), ("1h30m", 5400), ("250ms", 0.25), ("12", 12)]
)
def test_durations_are_read(text: str, expected: float) -> None:
    assert seconds(text) == expected


def test_comments_are_taken_out_of_json_but_not_of_its_strings() -> None:
    text = '{"a": "http://x", // why\n "b": 1 /* two\nlines */}'
    assert json.loads(without_comments(text)) == {"a": "http://x", "b": 1}
    assert without_comments(text).count("\n") == text.count("\n")
    assert re.search("why|two", without_comments(text)) is None
