"""Documents in YAML 1.1, as recording servers are configured with: plain values alone, names as they are written, each once.

Anchors and aliases are refused, since a few lines of them stand for billions of values; so are tags and more than one document.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

DEPTH_MAX: Final = 32
NUMBER_MAX_CHARS: Final = 100  # longer ones take time that grows with its square
LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null"))
_DATE: Final = "tag:yaml.org,2002:timestamp"


def read(text: str) -> Any:
    """The values of a document; None where it is empty. Raises ValueError."""
    try:
        _check(text)
        loader = LOADER(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _value(node, loader)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        where = f" (line {error.problem_mark.line + 1})" if error.problem_mark is not None else ""
        raise ValueError(f"{error.problem or 'it cannot be read'}{where}") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _check(text: str) -> None:
    """Looks at what comes, one by one, before any of it is kept. Raises ValueError, and YAMLError."""
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(f"anchors and aliases are not taken (line {event.start_mark.line + 1})")
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"tags are not taken (line {event.start_mark.line + 1})")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEPTH_MAX:
                raise ValueError("nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _value(node: Any, loader: Any) -> Any:
    if isinstance(node, yaml.MappingNode):
        made: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ValueError(f"a key must be a name (line {key.start_mark.line + 1})")
            if key.value in made:
                raise ValueError(f"the key {key.value!r} stands there twice")
            made[key.value] = _value(value, loader)
        return made
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, loader) for item in node.value]
    if node.tag == _DATE or len(node.value) > NUMBER_MAX_CHARS:
        return node.value
    if node.tag not in _PLAIN:
        raise ValueError(f"{node.value!r} must be in quotes (line {node.start_mark.line + 1})")
    return loader.construct_object(node)


__all__ = ["DEPTH_MAX", "read"]
