"""From a document, the environment and the command line to a checked configuration that knows where each value came from."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect as shapes

from engine.config import legacy, pci, recorder, yaml_document
from engine.config.document import PLANS, Config, Plan
from engine.config.fields import HIDDEN, Field, fields, value_at, wanted
from engine.errors import EngineError

DOCUMENT_MAX_BYTES = 1 << 20
PROBLEMS_MAX = 50
PREFIX = "TRUNKLINE_"
# Names for people, beside the one that every field has by its path.
SHORT = {
    "TRUNKLINE_ADMIN_KEY": "auth.admin_key",
    "TRUNKLINE_UPLOAD_MAX_BYTES": "http.upload_max_bytes",
    "TRUNKLINE_ANALYSIS_THREADS": "http.analysis_threads",
}
CALLS_PER_DAY = "TRUNKLINE_CALLS_PER_DAY"  # of the default plan
YAML_SUFFIXES = (".yaml", ".yml")
DOCUMENT_NAMES = ("TRUNKLINE_CONFIG", "CONFIG_FILE")
# What processes of ours tell one another, and what builds and tests use.
NOT_SETTINGS = frozenset(
    {
        "TRUNKLINE_CONFIG",
        "TRUNKLINE_CHILD",
        "TRUNKLINE_SOCKETS",
        "TRUNKLINE_HUB",
        "TRUNKLINE_SANITIZE",
        "TRUNKLINE_KEY",
        "TRUNKLINE_URL",
    }
)
_WHERE = re.compile(r"(.*) - at `\$(.*)`\Z", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`\Z", re.DOTALL)


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong: the path of the field, what, and where it was said."""

    path: str
    text: str
    source: str = ""

    def __str__(self) -> str:
        said = f" ({self.source})" if self.source else ""
        return f"{self.path}: {self.text}{said}" if self.path else f"{self.text}{said}"


class ConfigError(EngineError):
    """A configuration that cannot be used. `problems` has all of it."""

    code = "config.invalid"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(map(str, self.problems[:PROBLEMS_MAX])))


class Loaded(msgspec.Struct, frozen=True):
    """A configuration, and where it came from.

    `sources` tells of every field that is not a default: "file", "environment NAME" or "command line". `environment` hands the
    command line's values on to other processes, which load the rest for themselves.
    """

    config: Config
    sources: dict[str, str]
    path: Path | None
    warnings: list[Problem]
    environment: dict[str, str]

    @property
    def data_dir(self) -> Path:
        """The data directory, absolute."""
        return Path(self.config.data.dir).expanduser().absolute()

    @property
    def store_url(self) -> str:
        """The store's URL: what is configured, or the file in the data directory."""
        return self.config.store.url or f"sqlite:///{self.data_dir / 'trunkline.db'}"


class Change(msgspec.Struct, frozen=True):
    """A field that differs between two configurations, secrets hidden. One that is not `live` takes a restart."""

    path: str
    old: Any
    new: Any
    live: bool


def environment_name(path: str) -> str:
    """TRUNKLINE_HTTP_PORT for "http.port"."""
    return PREFIX + path.replace(".", "_").replace("-", "_").upper()


def load(
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Loaded:
    """The configuration of a document, the environment and the command line, the later ones stronger.

    `overrides` are values by path. Raises ConfigError with everything that is wrong at once.
    """
    environment = {} if environment is None else environment
    problems: list[Problem] = []
    notes = _unknown_names(environment)
    raw: dict[str, Any] = {"plans": msgspec.to_builtins(PLANS)}
    sources: dict[str, str] = {}
    if path is None:
        path = next((Path(environment[name]) for name in DOCUMENT_NAMES if environment.get(name)), None)
    if path is not None:
        told = _document(path, problems, notes)
        _merge(raw, told)
        sources.update(dict.fromkeys(_paths(told), "file"))
    for field, value, name in _from_environment(environment, raw, problems):
        _put(raw, field, value)
        sources[field] = f"environment {name}"
        notes += _idle([field], sources[field])
    for field, value in (overrides or {}).items():
        _put(raw, field, value)
        sources[field] = "command line"
    config = _convert(raw, sources, problems)
    if config is None or problems:
        raise ConfigError(problems)
    config, forced = pci.hardened(config)
    sources.update(dict.fromkeys(forced, pci.SETTING))
    errors, warnings = check(config)
    if errors:
        raise ConfigError(errors)
    handed = {environment_name(field): _text(value) for field, value in (overrides or {}).items()}
    if path is not None:
        handed["TRUNKLINE_CONFIG"] = str(path.absolute())
    return Loaded(config, sources, path, [*notes[:PROBLEMS_MAX], *warnings], handed)


def merged(document: Mapping[str, Any]) -> Config:
    """A document above the defaults, for a look at it alone. Raises ConfigError."""
    raw: dict[str, Any] = {"plans": msgspec.to_builtins(PLANS)}
    _merge(raw, document)
    problems: list[Problem] = []
    config = _convert(raw, {}, problems)
    if config is None or problems:
        raise ConfigError(problems)
    return pci.hardened(config)[0]


def load_environment(environment: Mapping[str, str] = os.environ) -> Loaded:
    """What a process of ours loads: the document and the environment that it inherited."""
    return load(None, environment)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# ---- the document ----


def parse(content: bytes, name: str) -> dict[str, Any]:
    """A document as plain values: YAML by its name, else TOML or JSON by what it looks like. Raises ConfigError."""
    return parse_noted(content, name)[0]


def parse_noted(content: bytes, name: str) -> tuple[dict[str, Any], list[Problem]]:
    """The same, and what of another product's document means nothing here. Raises ConfigError."""
    if len(content) > DOCUMENT_MAX_BYTES:
        raise ConfigError([Problem("", f"{name}: larger than {DOCUMENT_MAX_BYTES:,} bytes")])
    try:
        text = content.decode("utf-8-sig")
        if name.lower().endswith(YAML_SUFFIXES):
            told = yaml_document.read(text)
        elif text.lstrip().startswith("{"):
            told = json.loads(legacy.without_comments(text), object_pairs_hook=_once_each)
        else:
            told = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ConfigError([Problem("", f"{name}: {why}")]) from None
    if not isinstance(told, dict):
        raise ConfigError([Problem("", f"{name}: must be a table of settings")])
    if legacy.is_sip4ai(told):
        return legacy.from_sip4ai(told), []
    strange: list[str] = []
    try:
        if recorder.is_recorders(told):
            told, strange = recorder.from_recorder(told)
        idle = _idle(_paths(told), name)
    except RecursionError:
        raise ConfigError([Problem("", f"{name}: nested too deeply")]) from None
    return told, [*(Problem(path, "has no meaning here and is passed over", name) for path in strange), *idle]


def _idle(paths: Iterable[str], source: str) -> list[Problem]:
    """Settings that nothing goes by."""
    return [Problem(path, f"has no effect here: {recorder.IDLE[path]}", source) for path in paths if path in recorder.IDLE]


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return made


def _document(path: Path, problems: list[Problem], notes: list[Problem]) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            document, strange = parse_noted(file.read(DOCUMENT_MAX_BYTES + 1), str(path))
        notes += strange
        return document
    except OSError as error:
        problems.append(Problem("", f"{path}: {error.strerror or error}"))
    except ConfigError as error:
        problems += error.problems
    return {}


def _merge(into: dict[str, Any], told: Mapping[str, Any]) -> None:
    for name, value in told.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def _paths(told: Mapping[str, Any], ahead: str = "") -> Iterable[str]:
    known = fields()
    for name, value in told.items():
        path = f"{ahead}.{name}" if ahead else name
        if isinstance(value, Mapping) and path not in known:
            yield from _paths(value, path)
        else:
            yield path


def _put(raw: dict[str, Any], path: str, value: Any) -> None:
    *sections, last = path.split(".")
    for name in sections:
        inner = raw.setdefault(name, {})
        if not isinstance(inner, dict):
            raw[name] = inner = {}
        raw = inner
    raw[last] = value


# ---- the environment ----


def _unknown_names(environment: Mapping[str, str]) -> list[Problem]:
    """Names that belong to the recorder whose names we honour, and mean nothing here."""
    strange = (name for name in sorted(environment) if name.startswith(legacy.SIPREC_PREFIXES) and name not in legacy.ENVIRONMENT and environment[name])
    return [Problem("", f"{name} has no meaning here and is passed over", "environment") for name in strange]


def _from_environment(
    environment: Mapping[str, str], raw: Mapping[str, Any], problems: list[Problem]
) -> list[tuple[str, Any, str]]:
    """(path, value, name of the variable), the stronger ones last."""
    found: list[tuple[str, Any, str]] = []
    for name, told in legacy.ENVIRONMENT.items():
        if environment.get(name):
            unit, _, path = told.rpartition(":")
            _take(found, fields()[path], environment[name], name, unit, problems)
    names = {environment_name(path): path for path in fields()} | SHORT
    default_plan = environment.get("TRUNKLINE_DEFAULT_PLAN") or raw.get("default_plan", "self-hosted")
    names[CALLS_PER_DAY] = f"plans.{default_plan}.calls_per_day"
    files = {
        f"{name}_FILE": path for name, path in names.items() if path in fields() and fields()[path].secret
    }
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in NOT_SETTINGS or not environment[name]:
            continue
        if name in names:
            like = fields().get(names[name], fields()["plans.pro.calls_per_day"])
            _take(
                found, msgspec.structs.replace(like, path=names[name]), environment[name], name, "", problems
            )
        elif name in files:
            try:
                found.append((files[name], Path(environment[name]).read_text().strip(), name))
            except (OSError, UnicodeDecodeError) as error:
                problems.append(
                    Problem(
                        files[name], f"{environment[name]} cannot be read: {error}", f"environment {name}"
                    )
                )
        else:
            problems.append(
                Problem("", f"{name} is no setting{_like(name, [*names, *files])}", "environment")
            )
    return found


def _take(
    found: list[tuple[str, Any, str]], field: Field, text: str, name: str, unit: str, problems: list[Problem]
) -> None:
    try:
        if unit:
            value: Any = legacy.CONVERSIONS[unit](text)
        else:
            value = _value(field.type, text.strip())
    except ValueError as error:
        shown = HIDDEN if field.secret else repr(text[:100])
        told = str(error) if unit else f"must be {wanted(field.type)}, not {shown}"
        problems.append(Problem(field.path, told, f"environment {name}"))
        return
    found.append((field.path, value, name))


def _value(kind: shapes.Type, text: str) -> Any:
    while isinstance(kind, shapes.Metadata):
        kind = kind.type
    if isinstance(kind, shapes.UnionType):
        if text.lower() in ("none", "null"):
            return None
        return _value(next(item for item in kind.types if not isinstance(item, shapes.NoneType)), text)
    if isinstance(kind, shapes.BoolType):
        if text.lower() not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
            raise ValueError(text)
        return text.lower() in ("true", "1", "yes", "on")
    if isinstance(kind, shapes.IntType):
        return int(text)
    if isinstance(kind, shapes.FloatType):
        return float(text)
    if isinstance(kind, shapes.LiteralType):
        return next((value for value in kind.values if str(value).lower() == text.lower()), text)
    if isinstance(kind, shapes.ListType):
        if text.startswith("["):
            return json.loads(text)
        return [_value(kind.item_type, part.strip()) for part in text.split(",") if part.strip()]
    if isinstance(kind, shapes.DictType):
        return json.loads(text)
    return text


def _like(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


# ---- checking ----


def _convert(raw: dict[str, Any], sources: Mapping[str, str], problems: list[Problem]) -> Config | None:
    """The typed document; every fault is noted and taken out, so that the next one shows."""
    for _ in range(PROBLEMS_MAX):
        try:
            return msgspec.convert(raw, Config)
        except msgspec.ValidationError as error:
            matched = _WHERE.match(str(error))
            text, where = (matched[1], matched[2].lstrip(".")) if matched else (str(error), "")
            if where.startswith("plans[...]"):
                where = where.replace("plans[...]", f"plans.{_first_bad_plan(raw['plans'])}", 1)
            unknown = _UNKNOWN.match(text)
            if unknown:
                path = f"{where}.{unknown[1]}" if where else unknown[1]
                at = where.count(".") + bool(where)
                within = re.sub(r"^plans\.[^.]+", "plans.pro", where)
                siblings = [known.split(".")[at] for known in fields() if known.startswith(within)]
                text = f"unknown key{_like(unknown[1], dict.fromkeys(siblings))}"
            else:
                path = where
                field = fields().get(path)
                if field is not None:
                    text = f"must be {wanted(field.type)}: {text[:1].lower()}{text[1:]}"
            problems.append(Problem(path, text, sources.get(path, "file")))
            if not _remove(raw, path):
                return None
    return None


def _first_bad_plan(plans: Mapping[str, Any]) -> str:
    for name, plan in plans.items():
        try:
            msgspec.convert(plan, Plan)
        except msgspec.ValidationError:
            return name
    return ""


def _remove(raw: dict[str, Any], path: str) -> bool:
    *sections, last = path.split(".")
    for name in sections:
        inner = raw.get(name)
        if not isinstance(inner, dict):
            return False
        raw = inner
    return raw.pop(last, None) is not None or last in raw


def auth_required(config: Config) -> bool:
    """Whether callers must bring a key: always with "on", and with "auto" where others than this machine can connect."""
    if config.auth.enabled != "auto":
        return config.auth.enabled == "on"
    return config.http.host not in ("localhost", "::1", "[::1]") and not config.http.host.startswith("127.")


def jwt_algorithm(config: Config) -> str:
    """The algorithm of tokens, "" where none are taken. A secret by itself is one for HS256: recording servers have a name for the secret alone."""
    return config.auth.jwt.algorithm or ("HS256" if config.auth.jwt.secret else "")


def check(config: Config) -> tuple[list[Problem], list[Problem]]:
    """(errors, warnings) of fields that do not fit together."""
    errors: list[Problem] = []
    warnings: list[Problem] = []
    if config.default_plan not in config.plans:
        errors.append(Problem("default_plan", f"there is no plan {config.default_plan}"))
    loopback = config.http.host in ("localhost", "::1", "[::1]") or config.http.host.startswith("127.")
    if config.auth.enabled == "off" and not loopback:
        errors.append(
            Problem(
                "auth.enabled",
                f"listening on {config.http.host} without keys is refused: others than this machine can connect",
            )
        )
    jwt, algorithm = config.auth.jwt, jwt_algorithm(config)
    if algorithm.startswith("HS") and not jwt.secret:
        errors.append(Problem("auth.jwt.secret", f"{algorithm} needs a secret"))
    elif algorithm.startswith("HS") and len(jwt.secret.encode()) < int(algorithm[2:]) // 8:
        errors.append(Problem("auth.jwt.secret", f"{algorithm} needs a secret of {int(algorithm[2:]) // 8} bytes at least (RFC 7518 3.2)"))
    if jwt.algorithm[:2] in ("RS", "ES") and not jwt.public_key_file:
        errors.append(Problem("auth.jwt.public_key_file", f"{jwt.algorithm} needs a public key"))
    network = config.network
    if network.rtp_port_min >= network.rtp_port_max:
        errors.append(Problem("network.rtp_port_min", "must be below network.rtp_port_max"))
    if network.enable_tls and not (network.tls_cert_file and network.tls_key_file):
        errors.append(Problem("network.tls_cert_file", "TLS needs a certificate and a key"))
    if config.store.url and not config.store.url.startswith(("sqlite:///", "postgresql://")):
        errors.append(Problem("store.url", "must begin with sqlite:/// or postgresql://"))
    if config.bus.url and not config.bus.url.startswith(("amqp://", "amqps://")):
        errors.append(Problem("bus.url", "must begin with amqp:// or amqps://"))
    if config.realtime.enabled and not (config.realtime.url or config.bus.url):
        warnings.append(Problem("realtime.enabled", "messages wait on the disk: neither realtime.url nor bus.url (AMQP_URL) names a broker"))
    if config.compliance.pci_enabled:
        warnings += [Problem(pci.SETTING, text) for text in pci.wanting(config)]
    if 0 < config.http.port < 1024:
        warnings.append(Problem("http.port", "ports below 1024 take privileges"))
    if config.stt.default_vendor not in config.stt.supported_vendors:
        errors.append(
            Problem("stt.default_vendor", f"{config.stt.default_vendor} is not among stt.supported_vendors")
        )
    if not config.recording.cleanup_days:
        warnings.append(Problem("recording.cleanup_days", "recordings are kept for ever"))
    return errors, warnings


def difference(old: Config, new: Config) -> list[Change]:
    """The fields that differ, in the order of the document."""
    changes = []
    known = dict(fields())
    for name in {*old.plans, *new.plans}:
        for leaf in ("calls_per_day", "calls_per_day_team", "api_access"):
            known.setdefault(f"plans.{name}.{leaf}", fields()[f"plans.pro.{leaf}"])
    for path, field in known.items():
        before, after = value_at(old, path), value_at(new, path)
        if before != after:
            hidden = field.secret or field.extra.get("url")
            changes.append(
                Change(
                    path,
                    HIDDEN if hidden and before else before,
                    HIDDEN if hidden and after else after,
                    not field.fixed,
                )
            )
    return changes


__all__ = [
    "Change", "ConfigError", "Loaded", "Problem", "auth_required", "check", "difference", "environment_name", "jwt_algorithm",
    "load", "load_environment", "merged", "parse",
]  # fmt: skip
