"""The document's fields by path: what type each has, which are secret, which take a restart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import inspect as shapes

from engine.config.document import Config

HIDDEN = "***"


class Field(msgspec.Struct, frozen=True):
    """One leaf of the document. `path` joins names with dots."""

    path: str
    type: shapes.Type
    extra: Mapping[str, Any]

    @property
    def secret(self) -> bool:
        return bool(self.extra.get("secret"))

    @property
    def fixed(self) -> bool:
        """Whether a change takes a restart."""
        return bool(self.extra.get("fixed"))


@cache
def fields() -> dict[str, Field]:
    """Every leaf by its path. Plans have the paths of the plans that exist by default."""
    return {field.path: field for field in _walk(shapes.type_info(Config), "", {})}


def _walk(kind: shapes.Type, path: str, extra: Mapping[str, Any]) -> Iterator[Field]:
    while isinstance(kind, shapes.Metadata):
        extra, kind = {**extra, **(kind.extra or {})}, kind.type
    if isinstance(kind, shapes.StructType):
        for field in kind.fields:
            yield from _walk(field.type, f"{path}.{field.name}" if path else field.name, {})
    elif path == "plans" and isinstance(kind, shapes.DictType):
        from engine.config.document import PLANS

        for name in PLANS:
            yield from _walk(kind.value_type, f"plans.{name}", {})
    else:
        yield Field(path, kind, extra)


def value_at(config: Any, path: str) -> Any:
    """The value of a field, None where a mapping has no such entry."""
    for name in path.split("."):
        config = config.get(name) if isinstance(config, Mapping) else getattr(config, name)
        if config is None:
            return None
    return config


def redacted(config: Config) -> dict[str, Any]:
    """The document with *** for every secret that is set, and for passwords inside URLs."""
    plain: dict[str, Any] = msgspec.to_builtins(config)
    shown: dict[str, Any] = _redact(plain, shapes.type_info(Config), {})
    return shown


def _redact(value: Any, kind: shapes.Type, extra: Mapping[str, Any]) -> Any:
    while isinstance(kind, shapes.Metadata):
        extra, kind = {**extra, **(kind.extra or {})}, kind.type
    if extra.get("secret"):
        return HIDDEN if value else value
    if extra.get("url"):
        return without_password(value)
    if isinstance(kind, shapes.StructType) and isinstance(value, dict):
        types = {field.encode_name: field.type for field in kind.fields}
        return {name: _redact(item, types[name], {}) for name, item in value.items()}
    if isinstance(kind, shapes.DictType) and isinstance(value, dict):
        return {name: _redact(item, kind.value_type, {}) for name, item in value.items()}
    if isinstance(kind, shapes.ListType) and isinstance(value, list):
        return [_redact(item, kind.item_type, {}) for item in value]
    return value


def without_password(url: str) -> str:
    """A URL with *** for its password."""
    try:
        parts = urlsplit(url)
        if parts.password is None:
            return url
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{HIDDEN}@{host}"))
    except ValueError:
        return HIDDEN


def wanted(kind: shapes.Type) -> str:
    """A type in words: "a whole number", "true or false", "one of on, off"."""
    while isinstance(kind, shapes.Metadata):
        kind = kind.type
    if isinstance(kind, shapes.LiteralType):
        return f"one of {', '.join(map(str, kind.values))}"
    if isinstance(kind, shapes.UnionType):
        return wanted(next(item for item in kind.types if not isinstance(item, shapes.NoneType)))
    names: dict[type, str] = {
        shapes.IntType: "a whole number", shapes.FloatType: "a number", shapes.BoolType: "true or false",
        shapes.StrType: "a text", shapes.ListType: "a list", shapes.DictType: "a table",
    }  # fmt: skip
    return names.get(type(kind), "a value")


__all__ = ["HIDDEN", "Field", "fields", "redacted", "value_at", "wanted", "without_password"]
