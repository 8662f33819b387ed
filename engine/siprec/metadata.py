"""Recording metadata (RFC 7865), as recording clients send it: RFC form, the drafts before it, and what vendors make of them.

Names of elements and attributes are compared without prefix, case, "_" and "-", so that `datamode` and `dataMode`, `session_id` and `session` are one. What is no element of
RFC 7865 is kept as an extension. A document with a DTD is refused; of one that is broken in the middle all that stands before is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from engine.siprec.elements import (
    TEXT_MAX,
    Element,
    MetadataError,
    clean,
    duration_s,
    instant,
    plain,
    root_of,
)

OBJECTS_MAX: Final = 256  # of each kind
NAMES_MAX: Final = 16  # of one participant, addresses likewise
EXTENSIONS_MAX: Final = 1024
EXTENSION_TEXT_MAX: Final = 8192
WARNINGS_MAX: Final = 32

DataMode = Literal["complete", "partial"]


class Extension(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An element that RFC 7865 does not have. `path` are the names around it and its own, joined by "/"; `inside` is the place of the one around it in
    `Metadata.extensions`, or -1. `owner` is the identifier of the object it belongs to, "" where that is the whole document."""

    namespace: str
    name: str
    path: str
    text: str = ""
    attributes: dict[str, str] = {}
    owner_kind: str = "recording"
    owner: str = ""
    inside: int = -1


class Group(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A group of communication sessions (RFC 7865 6.2). Times, here and below, are as they were written: `instant` reads them."""

    group_id: str
    associate_time: str = ""
    disassociate_time: str = ""


class CommunicationSession(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A communication session (6.3). `sip_session_ids` are of RFC 7989, or what the client writes there."""

    session_id: str
    group_ids: tuple[str, ...] = ()
    sip_session_ids: tuple[str, ...] = ()
    start_time: str = ""
    stop_time: str = ""
    associate_time: str = ""
    disassociate_time: str = ""
    reason: str = ""
    state: str = ""


class Participant(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A participant (6.5). `sends` and `receives` are streams that old clients name inside it; `session_ids` likewise."""

    participant_id: str
    aors: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    role: str = ""
    session_ids: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()
    receives: tuple[str, ...] = ()
    associate_time: str = ""
    disassociate_time: str = ""


class Stream(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A media stream (6.6). `media_index` is the place of its m= line where something other than a label says it."""

    stream_id: str
    session_id: str = ""
    label: str = ""
    mode: str = ""
    content_type: str = ""
    participant_ids: tuple[str, ...] = ()
    associate_time: str = ""
    disassociate_time: str = ""
    media_index: int = -1


class SessionRecording(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """That a communication session is recorded in this recording session (6.4)."""

    session_id: str
    associate_time: str = ""
    disassociate_time: str = ""


class ParticipantSession(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """That a participant takes part in a communication session (6.7). `parameters` are its `param` elements: (pname, pval)."""

    participant_id: str
    session_id: str = ""
    associate_time: str = ""
    disassociate_time: str = ""
    parameters: tuple[tuple[str, str], ...] = ()


class ParticipantStream(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Which streams a participant sends and receives (6.8)."""

    participant_id: str
    sends: tuple[str, ...] = ()
    receives: tuple[str, ...] = ()
    associate_time: str = ""
    disassociate_time: str = ""


class Metadata(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A document. `state` and `reason` are of the recording where a client tells them; times are in seconds."""

    data_mode: DataMode = "complete"
    groups: tuple[Group, ...] = ()
    sessions: tuple[CommunicationSession, ...] = ()
    participants: tuple[Participant, ...] = ()
    streams: tuple[Stream, ...] = ()
    session_recordings: tuple[SessionRecording, ...] = ()
    participant_sessions: tuple[ParticipantSession, ...] = ()
    participant_streams: tuple[ParticipantStream, ...] = ()
    extensions: tuple[Extension, ...] = ()
    state: str = ""
    reason: str = ""
    timeout_s: float | None = None
    max_duration_s: float | None = None
    retention_s: float | None = None
    warnings: tuple[str, ...] = ()


# ---- from elements to objects ----

NAMESPACE: Final = "urn:ietf:params:xml:ns:recording:1"
_DRAFTS: Final = ("urn:ietf:params:xml:ns:recording", "urn:ietf:params:xml:ns:siprec")
_XML: Final = "http://www.w3.org/XML/1998/namespace"
_STATES: Final = frozenset({
    "pending", "initializing", "active", "paused", "partial", "inactive", "resuming", "recovering", "completed", "terminated", "error", "unknown",
})  # fmt: skip


class _Scope:
    """Prefixes in force, and for each name what it is of RFC 7865: "" where it is of a vendor."""

    def __init__(self, prefixes: dict[str, str], ours: frozenset[str]) -> None:
        self.prefixes, self.ours = prefixes, ours
        self.known: dict[str, str] = {}

    def inside(self, element: Element) -> _Scope:
        pairs = element.attributes
        if not pairs or not any(name.startswith("xmlns") for name in pairs[::2]):
            return self
        declared = {name[6:]: value for name, value in zip(pairs[::2], pairs[1::2], strict=True) if name.startswith("xmlns")}
        return _Scope(self.prefixes | declared, self.ours)

    def namespace(self, name: str) -> str:
        prefix, colon, _ = name.partition(":")
        return self.prefixes.get(prefix if colon else "", "")

    def kind(self, name: str) -> str:
        kind = self.known.get(name)
        if kind is None:
            kind = self.known[name] = plain(name) if self.namespace(name) in self.ours else ""
        return kind


def _attributes(element: Element) -> dict[str, str]:
    pairs = element.attributes
    return {plain(pairs[at]): clean(pairs[at + 1]) for at in range(0, len(pairs), 2) if not pairs[at].startswith("xmlns")} if pairs else {}


def _identifier(attributes: dict[str, str], kind: str) -> str:
    return attributes.get(kind) or attributes.get("id", "")


class _Reader:
    """One document on its way from elements to objects."""

    def __init__(self, warnings: list[str]) -> None:
        self.warnings = warnings
        self.data_mode = ""
        self.objects: dict[str, list[Any]] = {kind: [] for kind in _READERS}
        self.grouped: list[tuple[str, str]] = []
        self.extensions: list[Extension] = []
        self.facts: dict[str, Any] = {}

    def warn(self, text: str) -> None:
        if len(self.warnings) < WARNINGS_MAX and text not in self.warnings:
            self.warnings.append(text)

    # ---- the document ----

    def container(self, element: Element, scope: _Scope) -> None:
        """The root, or a `recording` in it as BroadWorks has it."""
        for name, value in _attributes(element).items():
            if name == "datamode":
                self.data_mode = value.lower()
            else:
                self.fact(name, value)
        for child in element.children:
            within = scope.inside(child)
            kind = within.kind(child.name)
            if kind in _READERS:
                found = self.objects[kind]
                if len(found) < OBJECTS_MAX:
                    found.append(_READERS[kind](self, child, within))
                else:
                    self.warn(f"too_many: more than {OBJECTS_MAX} {kind} elements")
            elif kind == "datamode":
                self.data_mode = child.text().lower()
            elif kind in ("recording", "recordingmetadata"):
                self.container(child, within)
            elif kind == "sessiongroupassoc":
                attributes = _attributes(child)
                self.grouped.append((attributes.get("sessionid") or attributes.get("session", ""), attributes.get("groupid") or attributes.get("group", "")))
            elif not (kind and self.fact(kind, child.text())):
                self.extension(child, within, "recording", "", -1, "")

    def fact(self, name: str, value: str) -> bool:
        """Takes what is said of the recording itself. False where it is something else."""
        if name in ("state", "reason"):
            value = value.lower()
            if name == "state" and value and value not in _STATES:
                self.warn(f"unknown_state: {value[:64]}")
            self.facts.setdefault(name, value)
            return True
        if name in _POLICIES:
            field, bare = _POLICIES[name]
            seconds = duration_s(value, bare)
            if seconds is None:
                self.warn(f"bad_duration: {name} {value[:64]}")
            else:
                self.facts.setdefault(field, seconds)
            return True
        return False

    def extension(self, element: Element, scope: _Scope, kind: str, owner: str, inside: int, path: str) -> None:
        """Keeps an element that is not of RFC 7865, and those in it."""
        name = clean(element.name.rpartition(":")[2])
        if inside < 0 and element.children and plain(element.name) in ("extensiondata", "extension", "extensions"):
            # only a wrapping, with the object it belongs to as an attribute in the drafts
            parent = _attributes(element).get("parent", "")
            kind, owner = ("", parent) if parent else (kind, owner)
            for child in element.children:
                self.extension(child, scope.inside(child), kind, owner, -1, path)
            return
        if len(self.extensions) >= EXTENSIONS_MAX:
            self.warn(f"too_many: more than {EXTENSIONS_MAX} elements of vendors")
            return
        path = f"{path}/{name}" if path else name
        pairs = element.attributes
        attributes = {clean(pairs[at]): clean(pairs[at + 1]) for at in range(0, len(pairs), 2) if not pairs[at].startswith("xmlns")} if pairs else {}
        place = len(self.extensions)
        self.extensions.append(Extension(
            namespace=clean(scope.namespace(element.name)), name=name, path=path[-TEXT_MAX:], text=element.text(EXTENSION_TEXT_MAX), attributes=attributes,
            owner_kind=kind, owner=owner, inside=inside,
        ))  # fmt: skip
        for child in element.children:
            self.extension(child, scope.inside(child), kind, owner, place, path)

    # ---- objects ----

    def texts(self, element: Element, scope: _Scope, kind: str, owner: str, wanted: dict[str, list[str]]) -> None:
        """Texts of the children that are `wanted`; what stands inside of them counts too (`<send><id>`). The others are extensions."""
        for child in element.children:
            within = scope.inside(child) if child.attributes else scope
            name = within.kind(child.name)
            found = wanted.get(name)
            if found is None:
                if not (name and kind in ("session", "sessionrecordingassoc") and self.fact(name, child.text())):
                    self.extension(child, within, kind, owner, -1, "")
                continue
            text = child.text()
            if text:
                found.append(text)
            elif child.children or child.attributes:
                found.extend(part.text() for part in child.children)
                found.extend(value for key, value in _attributes(child).items() if key in ("id", "streamid", "participantid", "groupid"))

    def group(self, element: Element, scope: _Scope) -> Group:
        identifier = _identifier(_attributes(element), "groupid")
        times = _times()
        self.texts(element, scope, "group", identifier, times)
        return Group(group_id=identifier, associate_time=_first(times, "associatetime"), disassociate_time=_first(times, "disassociatetime"))

    def session(self, element: Element, scope: _Scope) -> CommunicationSession:
        attributes = _attributes(element)
        identifier = _identifier(attributes, "sessionid")
        wanted = {**_times(), "sipsessionid": [], "groupref": [], "starttime": [], "stoptime": [], "reason": [], "state": []}
        self.texts(element, scope, "session", identifier, wanted)
        for name in attributes:
            if name in _POLICIES:
                self.fact(name, attributes[name])
        groups = wanted["groupref"] + [attributes[name] for name in ("group", "groupid", "groupref") if attributes.get(name)]
        return CommunicationSession(
            session_id=identifier, group_ids=tuple(dict.fromkeys(groups))[:NAMES_MAX], sip_session_ids=tuple(dict.fromkeys(wanted["sipsessionid"]))[:NAMES_MAX],
            start_time=_first(wanted, "starttime"), stop_time=_first(wanted, "stoptime"), associate_time=_first(wanted, "associatetime"),
            disassociate_time=_first(wanted, "disassociatetime"), reason=_first(wanted, "reason") or attributes.get("reason", ""),
            state=(_first(wanted, "state") or attributes.get("state", "")).lower(),
        )  # fmt: skip

    def participant(self, element: Element, scope: _Scope) -> Participant:
        attributes = _attributes(element)
        identifier = _identifier(attributes, "participantid")
        aors = [attributes[name] for name in ("aor", "nameid") if attributes.get(name)]
        names = [attributes["name"]] if attributes.get("name") else []
        wanted = {
            **_times(), "aor": aors, "name": names, "role": [], "send": [], "recv": [], "receive": [], "session": [], "sessionref": [], "starttime": [], "stoptime": [],
        }  # fmt: skip
        rest = Element(element.name, [])
        for child in element.children:
            if scope.inside(child).kind(child.name) == "nameid":
                self.name_id(child, scope.inside(child), identifier, aors, names)
            else:
                rest.children.append(child)
        self.texts(rest, scope, "participant", identifier, wanted)
        sessions = wanted["session"] + wanted["sessionref"] + [attributes[name] for name in ("session", "sessionid") if attributes.get(name)]
        return Participant(
            participant_id=identifier, aors=tuple(dict.fromkeys(aors))[:NAMES_MAX], names=tuple(dict.fromkeys(filter(None, map(_name, names))))[:NAMES_MAX],
            role=(_first(wanted, "role") or attributes.get("role", "")).lower(), session_ids=tuple(dict.fromkeys(sessions))[:OBJECTS_MAX], sends=_streams(wanted["send"]),
            receives=_streams(wanted["recv"] + wanted["receive"]), associate_time=_first(wanted, "associatetime") or _first(wanted, "starttime"),
            disassociate_time=_first(wanted, "disassociatetime") or _first(wanted, "stoptime"),
        )  # fmt: skip

    def name_id(self, element: Element, scope: _Scope, owner: str, aors: list[str], names: list[str]) -> None:
        attributes = _attributes(element)
        aors.extend(attributes[name] for name in ("aor", "uri") if attributes.get(name))
        if attributes.get("name"):
            names.append(attributes["name"])
        if text := element.text():
            aors.append(text)
        self.texts(element, scope, "participant", owner, {"aor": aors, "name": names})

    def stream(self, element: Element, scope: _Scope) -> Stream:
        attributes = _attributes(element)
        identifier = _identifier(attributes, "streamid")
        wanted = {**_times(), "label": [], "mode": [], "contenttype": [], "participantref": [], "participant": [], "starttime": [], "stoptime": []}
        self.texts(element, scope, "stream", identifier, wanted)
        people = wanted["participantref"] + wanted["participant"] + [attributes[name] for name in ("participantref", "participantid") if attributes.get(name)]
        return Stream(
            stream_id=identifier, session_id=attributes.get("sessionid") or attributes.get("session", ""), label=_first(wanted, "label") or attributes.get("label", ""),
            mode=(_first(wanted, "mode") or attributes.get("mode", "")).lower(), content_type=_first(wanted, "contenttype") or attributes.get("contenttype", ""),
            participant_ids=_streams(people), associate_time=_first(wanted, "associatetime") or _first(wanted, "starttime"),
            disassociate_time=_first(wanted, "disassociatetime") or _first(wanted, "stoptime"),
        )  # fmt: skip

    def session_recording(self, element: Element, scope: _Scope) -> SessionRecording:
        attributes = _attributes(element)
        identifier = attributes.get("sessionid") or attributes.get("session") or attributes.get("id", "")
        times = _times()
        self.texts(element, scope, "sessionrecordingassoc", identifier, times)
        return SessionRecording(session_id=identifier, associate_time=_first(times, "associatetime"), disassociate_time=_first(times, "disassociatetime"))

    def participant_session(self, element: Element, scope: _Scope) -> ParticipantSession:
        attributes = _attributes(element)
        identifier = _of_participant(attributes)
        wanted, parameters, rest = _times(), [], Element(element.name, [])
        for child in element.children:
            if scope.inside(child).kind(child.name) == "param":
                said = _attributes(child) | {plain(part.name): part.text() for part in child.children}
                parameters.append((said.get("pname", ""), said.get("pval", "")))
            else:
                rest.children.append(child)
        self.texts(rest, scope, "participant", identifier, wanted)
        return ParticipantSession(
            participant_id=identifier, session_id=attributes.get("sessionid") or attributes.get("session", ""), associate_time=_first(wanted, "associatetime"),
            disassociate_time=_first(wanted, "disassociatetime"), parameters=tuple(parameters[:OBJECTS_MAX]),
        )  # fmt: skip

    def participant_stream(self, element: Element, scope: _Scope) -> ParticipantStream:
        attributes = _attributes(element)
        identifier = _of_participant(attributes)
        wanted = {**_times(), "send": [], "recv": [], "receive": []}
        self.texts(element, scope, "participant", identifier, wanted)
        sends = wanted["send"] or [attributes[name] for name in ("streamid", "stream", "send") if attributes.get(name)]
        return ParticipantStream(
            participant_id=identifier, sends=_streams(sends), receives=_streams(wanted["recv"] + wanted["receive"]),
            associate_time=_first(wanted, "associatetime"), disassociate_time=_first(wanted, "disassociatetime"),
        )  # fmt: skip

    # ---- the whole ----

    def metadata(self, whole: bool) -> Metadata:
        found = self.objects
        mode = self.data_mode or "complete"
        if mode not in ("complete", "partial"):
            self.warn(f"unknown_datamode: {mode[:64]}, taken as partial")
        sessions = [_in_groups(session, self.grouped) for session in found["session"]]
        if sessions and (found["participantsessionassoc"] or found["participantstreamassoc"]) and not found["sessionrecordingassoc"]:
            self.warn("no_sessionrecordingassoc: sessions are taken as recorded")
        return Metadata(
            # what a broken document does not say any more must not end what it stopped in front of
            data_mode="complete" if mode == "complete" and whole else "partial",
            groups=tuple(found["group"]), sessions=tuple(sessions), participants=tuple(found["participant"]), streams=tuple(found["stream"]),
            session_recordings=tuple(found["sessionrecordingassoc"]), participant_sessions=tuple(found["participantsessionassoc"]),
            participant_streams=tuple(found["participantstreamassoc"]), extensions=tuple(self.extensions), warnings=tuple(self.warnings), **self.facts,
        )  # fmt: skip


def _times() -> dict[str, list[str]]:
    return {"associatetime": [], "disassociatetime": []}


def _first(wanted: dict[str, list[str]], name: str) -> str:
    found = wanted[name]
    return found[0] if found else ""


def _of_participant(attributes: dict[str, str]) -> str:
    return attributes.get("participantid") or attributes.get("participant") or attributes.get("id", "")


def _streams(texts: list[str]) -> tuple[str, ...]:
    """Identifiers, of which one element may have several."""
    return tuple(dict.fromkeys(part for text in texts for part in text.split()))[:OBJECTS_MAX] if texts else ()


def _name(text: str) -> str:
    """A display name without the quotes around it, and without the parameters that some clients glue to it."""
    text = text.partition(";lang=")[0].strip()
    bare = text[1:-1]
    return bare.strip() if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in bare else text


def _in_groups(session: CommunicationSession, grouped: list[tuple[str, str]]) -> CommunicationSession:
    more = [group for identifier, group in grouped if group and identifier == session.session_id]
    return msgspec.structs.replace(session, group_ids=tuple(dict.fromkeys((*session.group_ids, *more)))) if more else session


_POLICIES: Final = {"siprectimeout": ("timeout_s", "s"), "siprecmaxduration": ("max_duration_s", "s"), "siprecretention": ("retention_s", "d")}
_READERS: Final[dict[str, Callable[[_Reader, Element, _Scope], Any]]] = {
    "group": _Reader.group, "session": _Reader.session, "participant": _Reader.participant, "stream": _Reader.stream,
    "sessionrecordingassoc": _Reader.session_recording, "participantsessionassoc": _Reader.participant_session,
    "participantstreamassoc": _Reader.participant_stream,
}  # fmt: skip


def parse(body: bytes, *, max_bytes: int = 1 << 20) -> Metadata:
    """Reads a document of recording metadata, of at most `max_bytes`. Oddities are in its `warnings`, texts that begin with a word of their own.

    Raises MetadataError where nothing can be read: no XML, a DTD, too long, or XML of something else.
    """
    if len(body) > max_bytes:
        raise MetadataError(f"the metadata has {len(body)} bytes, more than {max_bytes}")
    warnings: list[str] = []
    root, whole = root_of(body, warnings)
    outer = _Scope({"xml": _XML}, frozenset()).inside(root)
    scope = _Scope(outer.prefixes, frozenset({"", NAMESPACE, outer.namespace(root.name), *_DRAFTS}))
    reader = _Reader(warnings)
    reader.container(root, scope)
    metadata = reader.metadata(whole)
    if plain(root.name) not in ("recording", "recordingmetadata"):
        if not any(reader.objects.values()):
            raise MetadataError(f"the metadata is XML of something else: {clean(root.name, 64)}")
        return msgspec.structs.replace(metadata, warnings=(*warnings, f"unknown_root: {clean(root.name, 64)}"))
    return metadata


__all__ = [
    "NAMESPACE", "CommunicationSession", "Extension", "Group", "Metadata", "MetadataError", "Participant", "ParticipantSession", "ParticipantStream", "SessionRecording",
    "Stream", "clean", "duration_s", "instant", "parse",
]  # fmt: skip
