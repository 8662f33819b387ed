"""Finds the members of a plug-in folder: reading the folder is reading the registry."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

Member = TypeVar("Member")


def load(package: str, constant: str, contract: type[Member]) -> Mapping[str, Member]:
    """Members of `package` by their `name`, in the order of their files.

    Every module but `base` holds one member under `constant`. Raises TypeError for a missing or wrongly typed
    member and ValueError for two of one name.
    """
    members: dict[str, Member] = {}
    for module in sorted(
        found.name for found in pkgutil.iter_modules(importlib.import_module(package).__path__)
    ):
        if module == "base":
            continue
        member: Any = getattr(importlib.import_module(f"{package}.{module}"), constant, None)
        if not isinstance(member, contract):
            raise TypeError(f"{package}.{module}.{constant} is no {contract.__name__}")
        name: str = getattr(member, "name", module)
        if name in members:
            raise ValueError(f"{package}.{module}.{constant}: {name!r} is taken")
        members[name] = member
    return MappingProxyType(members)
