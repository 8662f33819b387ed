"""tshark `-T ek`: lines in pairs, an index line and a packet; keys are `layer_layer_field`."""

from __future__ import annotations

from collections.abc import Iterator

from engine.trace import rows
from engine.trace.sources.base import Format, Frame, Options
from engine.trace.sources.tshark_json import dissected


def _frames(data: bytes, options: Options) -> Iterator[Frame]:
    for offset, value in rows.objects(data, options):
        layers = value.get("layers")
        if not isinstance(layers, dict):
            continue
        moment = rows.of_number(str(value.get("timestamp", "")))
        for frame in dissected(layers, offset, options, "%s_"):
            if frame.time_ns is None:
                frame.time_ns = moment
            yield frame


def _sniff(head: bytes) -> float:
    return 0.95 if head.lstrip()[:1] == b"{" and b'"layers"' in head and b'"timestamp"' in head else 0.0


FORMAT = Format(
    "tshark_ek", (".json", ".ndjson"), "tshark JSON for Elasticsearch", _sniff, _frames, structured=True
)
