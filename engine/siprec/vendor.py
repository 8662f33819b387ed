"""Who sent a recording session, and by which names others know the call: read from headers and extensions of the metadata, by tables.

A vendor is a row of `VENDORS` and its headers and elements rows of `HEADERS` and `ELEMENTS`: there is no code for one vendor alone. Headers of every vendor are read whoever
sent them, because what a contact centre put into the call comes through the session border controller of another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from engine._native.sip import parameter
from engine.sip.credentials import proves
from engine.sip.message import Message, text
from engine.siprec.elements import clean, duration_s, plain
from engine.siprec.facts import Vendor
from engine.siprec.identities import hex_uuid, same_party, ucid_of, user_to_user
from engine.siprec.metadata import Extension, Metadata, Participant, ParticipantStream, Stream

VALUE_MAX: Final = 256
CORRELATION_MAX: Final = 64
HEADERS_MAX: Final = 64
NUMBERS_MAX: Final = 16  # of callers and callees in extensions


class Signs(msgspec.Struct, frozen=True):
    """How a vendor is known. `agents` is searched in User-Agent and Server; then any of `headers` begins the name of a header; then `namespaces` is searched in namespaces
    and names of extensions; last `traces` in Organization, Content-Type, Contact, From, the origin of the description and addresses of participants."""

    type: str
    agents: str = ""
    headers: tuple[str, ...] = ()
    namespaces: str = ""
    traces: str = ""


VENDORS: Final = (
    Signs("oracle", r"oracle|ocsbc|oesbc|ocom|acme ?packet", ("x-oracle-", "x-ocsbc-", "p-ocsbc-"), r"acmepacket", r"^acmesrc$"),
    Signs("cisco", r"cisco|cube\b|unified cm|cucm", ("x-cisco-", "cisco-guid"), "", r"ciscosystemssip|x-farendrefci"),
    Signs("audiocodes", r"audiocodes|mediant|^device /", ("x-ac-", "x-audiocodes-"), r"audiocodes", r"audiocodesgw"),
    Signs("avaya", r"avaya|ip office|\baura\b|session manager|\bsbce\b", ("x-avaya-", "sigma-uui-a"), r"avaya", r"\+av\.sip\.iptolerance|\basbce@"),
    Signs("ribbon", r"ribbon|sonus|genband|sbc (edge|core)|swe lite", ("x-ribbon-", "x-sonus-", "x-genband-"), r"ns:calldata", r"sonus"),
    Signs("metaswitch", r"metaswitch|perimeta", ("x-metaswitch-",), r"metaswitchrecordingmetadata", r"metaswitch"),
    Signs("webex", r"webex", (), "", r"@[^@]*\bwebex\."),
    Signs("broadworks", r"broadworks|broadsoft", ("x-broadworks-",), r"broadsoft|broadworksrecordingmetadata", r"broadworks"),
    Signs("genesys", r"genesys", ("x-genesys-",), r"genesys", ""),
    Signs("nice", r"\bnice\b", ("x-nice-",), r"\bnice\b", ""),
    Signs("microsoft", r"microsoft|\bteams\b", ("x-ms-", "ms-conversation-id"), r"microsoft", ""),
    Signs("netsapiens", r"netsapiens|crexendo", ("x-ns-", "x-netsapiens-"), r"netsapiens|crexendo", ""),
    Signs("freeswitch", r"freeswitch", ("x-freeswitch-", "x-fs-"), r"freeswitch", r"^freeswitch"),
    Signs("opensips", r"opensips", ("x-opensips-",), r"opensips", r"oss-unique-boundary"),
    Signs("asterisk", r"asterisk|freepbx", ("x-asterisk-",), r"asterisk", ""),
    Signs("kamailio", r"kamailio", ("x-kamailio-",), "", ""),
    Signs("jambonz", r"jambonz|drachtio", ("x-jambonz-",), "", ""),
    Signs("sems", r"\bsems\b|frafos", (), "", ""),
    Signs("sansay", r"sansay", ("x-sansay-",), "", ""),
    Signs("huawei", r"huawei", ("x-huawei-",), "", ""),
)

# A header, in lower case, and the identifier that its value is.
HEADERS: Final[Mapping[str, str]] = {
    "session-id": "session_id", "user-to-user": "uui", "x-ucid": "ucid", "p-charging-vector": "icid", "x-correlation-id": "correlation_id", "x-call-id": "call_id",
    "x-oracle-ucid": "oracle_ucid", "x-ocsbc-ucid": "oracle_ucid", "p-ocsbc-ucid": "oracle_ucid",
    "x-oracle-conversation-id": "oracle_conversation_id", "x-ocsbc-conversation-id": "oracle_conversation_id",
    "x-cisco-session-id": "cisco_session_id", "cisco-guid": "cisco_guid", "x-cisco-guid": "cisco_guid", "x-cisco-call-id": "cisco_call_id",
    "x-cisco-cluster-id": "cisco_cluster_id", "x-cisco-device-name": "cisco_device_name",
    "x-avaya-ucid": "avaya_ucid", "x-avaya-conversation-id": "avaya_conversation_id", "x-avaya-conf-id": "avaya_conf_id", "x-avaya-station-id": "avaya_station_id",
    "x-avaya-agent-id": "avaya_agent_id", "x-avaya-vdn": "avaya_vdn", "x-avaya-skill": "avaya_skill", "x-avaya-skill-group": "avaya_skill_group",
    "x-avaya-cm-call-id": "avaya_call_id", "x-avaya-sm-session-id": "avaya_session_id", "x-avaya-queue-name": "avaya_queue_name",
    "x-avaya-interaction-id": "avaya_interaction_id", "sigma-uui-a": "uui",
    "x-ac-action": "audiocodes_ac_action", "x-ac-session-id": "audiocodes_session_id", "x-audiocodes-session-id": "audiocodes_session_id",
    "x-ac-call-id": "audiocodes_call_id", "x-ac-source-ip-group": "audiocodes_source_ip_group", "x-ac-dest-ip-group": "audiocodes_dest_ip_group",
    "x-ac-recording-ip-group": "audiocodes_recording_ip_group", "x-ac-avaya-ucid": "ucid",
    **{f"x-{brand}-{name}": f"ribbon_{name.replace('-', '_')}" for brand in ("ribbon", "sonus", "genband")
       for name in ("session-id", "call-id", "gw-id", "trunk-group", "recording-id", "billing-id")},
    "x-broadworks-correlation-info": "broadworks_correlation_info",
    **{f"x-nice-{name}-id": f"nice_{name}_id" for name in ("interaction", "session", "recording", "contact", "agent", "call")},
    "x-genesys-calluuid": "genesys_uuid", "x-genesys-call-uuid": "genesys_uuid", "x-genesys-campaign": "genesys_campaign",
    "x-genesys-queue": "genesys_queue", "x-genesys-agent": "genesys_agent_id",
    **{f"x-genesys-{name}-id": f"genesys_{name}_id" for name in ("interaction", "conversation", "session", "queue", "agent", "campaign")},
    "ms-conversation-id": "microsoft_conversation_id", "x-ms-conversation-id": "microsoft_conversation_id", "x-ms-correlation-id": "microsoft_correlation_id",
    "x-asterisk-uniqueid": "asterisk_unique_id", "x-asterisk-unique-id": "asterisk_unique_id", "x-asterisk-linkedid": "asterisk_linked_id",
    "x-asterisk-linked-id": "asterisk_linked_id", "x-asterisk-channel-id": "asterisk_channel_id", "x-asterisk-account-code": "asterisk_account_code",
    "x-freeswitch-uuid": "freeswitch_uuid", "x-fs-uuid": "freeswitch_uuid", "x-freeswitch-core-uuid": "freeswitch_core_uuid", "x-freeswitch-profile": "freeswitch_profile",
    "x-opensips-dialog-id": "opensips_dialog_id", "x-opensips-transaction-id": "opensips_transaction_id", "x-jambonz-call-sid": "jambonz_call_sid",
    **{f"x-sansay-{name}": f"sansay_{name.replace('-', '_')}" for name in ("session-id", "call-id", "trunk-id", "ani", "dnis")},
    **{f"x-huawei-{name}": f"huawei_{name.replace('-', '_')}" for name in ("session-id", "call-id", "trunk-id")},
}  # fmt: skip

# An element of an extension, its name or its name and that of the one around it, without "_", "-" and case; and the identifier that its text is.
ELEMENTS: Final[Mapping[str, str]] = {
    "ucid": "oracle_ucid", "calldata/callid": "call_id", "gcid": "gcid", "avayaucid": "ucid", "genesysuuid": "genesys_uuid", "xferfrom": "transferred_from",
    "exttrackingid": "tracking_id", "broadworksrecordingmetadata/callid": "broadworks_call_id", "serviceproviderid": "broadworks_service_provider_id",
    "broadworksrecordingmetadata/groupid": "broadworks_group_id", "broadworksrecordingmetadata/userid": "broadworks_user_id", "recordingtype": "broadworks_recording_type",
    "acduserid": "broadworks_acd_user_id", "acdname": "broadworks_acd_name", "acdnumber": "broadworks_acd_number",
    "metaswitchrecordingmetadata/calltype": "metaswitch_call_type", "recordedparty": "metaswitch_recorded_party", "businessgroup": "metaswitch_business_group",
    "metaswitchrecordingmetadata/username": "metaswitch_user_name", "systemname": "metaswitch_system_name",
    "interactionid": "nice_interaction_id", "conversationid": "conversation_id",
}  # fmt: skip

# Parameters of the address in From, as Cisco Unified CM fills them for a phone that records itself.
_BUILT_IN_BRIDGE: Final = {
    b"x-refci": "cisco_refci", b"x-farendrefci": "cisco_farend_refci", b"x-nearenddevice": "cisco_device_name", b"x-nearendclusterid": "cisco_cluster_id",
    b"x-sessionid": "cisco_session_id", b"x-nearendguid": "cisco_guid", b"x-farendguid": "cisco_farend_guid",
}  # fmt: skip

# An identifier, and what it is called where other sessions of the same call are looked for.
_KINDS: Final = {
    "call_id": "call-id", "cisco_call_id": "call-id", "avaya_call_id": "call-id", "audiocodes_call_id": "call-id", "ribbon_call_id": "call-id", "nice_call_id": "call-id",
    "sansay_call_id": "call-id", "huawei_call_id": "call-id", "transferred_from": "leg", "gcid": "gcid", "icid": "icid", "tracking_id": "tracking",
    "broadworks_correlation_info": "tracking", "genesys_uuid": "genesys-uuid", "genesys_interaction_id": "interaction", "nice_interaction_id": "interaction",
    "avaya_interaction_id": "interaction", "oracle_conversation_id": "conversation", "avaya_conversation_id": "conversation", "genesys_conversation_id": "conversation",
    "microsoft_conversation_id": "conversation", "conversation_id": "conversation", "microsoft_correlation_id": "correlation", "correlation_id": "correlation",
    "cisco_refci": "refci", "cisco_farend_refci": "refci", "asterisk_linked_id": "linked", "freeswitch_uuid": "freeswitch-uuid",
    "audiocodes_session_id": "session-key", "ribbon_session_id": "session-key", "avaya_session_id": "session-key", "broadworks_call_id": "callhalf",
}  # fmt: skip
_LEGS_ARE_PARTICIPANTS: Final = frozenset({"netsapiens"})  # their participant_id is the Call-ID of a leg


# ---- what is said, wherever it stands ----


def _header_values(message: Message, document: Metadata | None) -> Iterator[tuple[str, str]]:
    """Headers, in lower case, with their values: of the message, then those of the call that Oracle copies into the metadata."""
    for name, value, _, _ in message.tokens.headers:
        yield name.decode("latin-1").lower(), text(value)
    extensions = document.extensions if document else ()
    for extension in extensions:
        if extension.inside >= 0 and extension.name == "value":
            around = extensions[extension.inside]
            if around.name == "header":
                yield around.attributes.get("label", "").lower(), extension.text


def _element(extension: Extension, table: Mapping[str, str]) -> str:
    _, _, rest = extension.path.rpartition("/")
    name = plain(rest)
    around = plain(extension.path[: -len(rest) - 1].rpartition("/")[2]) if extension.inside >= 0 else ""
    return table.get(f"{around}/{name}") or table.get(name, "")


def _identifiers(message: Message, document: Metadata | None, mapping: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for extension in document.extensions if document else ():
        name = mapping.get(extension.name) or _element(extension, ELEMENTS)
        if name and extension.text:
            found.setdefault(name, clean(extension.text, VALUE_MAX))
    for header, value in _header_values(message, document):
        name = mapping.get(header) or HEADERS.get(header, "")
        if not name or not (value := clean(value, VALUE_MAX)):
            continue
        if name == "icid":
            value = text(parameter(b";" + value.encode("utf-8", "surrogateescape"), b"icid-value") or b"")
        if value:
            found.setdefault(name, value)
    sender = message.sender
    if sender is not None and sender.parsed.parameters:
        for key, name in _BUILT_IN_BRIDGE.items():
            if value := text(parameter(sender.parsed.parameters, key) or b""):
                found.setdefault(name, clean(value, VALUE_MAX))
    return found


def _with_ucid(found: dict[str, str], kind: str) -> None:
    """Puts in what follows from others: the UCID, whoever has it, in its one form, and what is packed into User-to-User."""
    if packed := found.get("uui"):
        ucid, conversation = user_to_user(packed)
        if ucid:
            found.setdefault("ucid", ucid)
            if kind == "avaya":
                found.setdefault("avaya_ucid", ucid)
        if conversation:
            found.setdefault("avaya_conversation_id", conversation)
    for name in ("oracle_ucid", "avaya_ucid"):
        if name in found:
            found[name] = found[name].partition(";")[0].strip()
            found.setdefault("ucid", found[name])
    if "ucid" in found:
        found["ucid"] = ucid_of(found["ucid"]) or found["ucid"].partition(";")[0].strip()
    if kind == "oracle" and "icid" in found:
        found.setdefault("oracle_ucid", found["icid"])
    if kind == "cisco" and "session_id" in found:
        found.setdefault("cisco_session_id", found["session_id"])


# ---- who it is ----


def _compiled(expression: str) -> re.Pattern[str] | None:
    return re.compile(expression, re.IGNORECASE) if expression else None


_AGENTS: Final = [(signs.type, pattern) for signs in VENDORS if (pattern := _compiled(signs.agents))]
_PREFIXES: Final = [(signs.type, signs.headers) for signs in VENDORS if signs.headers]
_SPACES: Final = [(signs.type, pattern) for signs in VENDORS if (pattern := _compiled(signs.namespaces))]
_TRACES: Final = [(signs.type, pattern) for signs in VENDORS if (pattern := _compiled(signs.traces))]
_ORIGIN: Final = re.compile(rb"^o=([^\s]{1,64})", re.MULTILINE)


def _searched(patterns: list[tuple[str, re.Pattern[str]]], texts: Iterable[str]) -> str:
    texts = list(texts)
    return next((kind for kind, pattern in patterns if any(map(pattern.search, texts))), "")


def _traces(message: Message, document: Metadata | None) -> list[str]:
    origin = _ORIGIN.search(message.body[:65_536])
    sender = message.sender
    return [
        message.value("Organization")[:VALUE_MAX], message.value("Content-Type")[:VALUE_MAX], message.value("Contact")[:VALUE_MAX],
        text(sender.user)[:VALUE_MAX] if sender else "", text(sender.uri)[:1024] if sender else "", origin[1].decode("latin-1") if origin else "",
        *(aor for participant in (document.participants[:8] if document else ()) for aor in participant.aors),
    ]  # fmt: skip


def _type(message: Message, document: Metadata | None, agent: str) -> str:
    if agent and (found := _searched(_AGENTS, [agent])):
        return found
    traces = _traces(message, document)
    if (found := _searched(_TRACES, traces)) == "webex":  # BroadWorks too, as far as the rest goes
        return found
    names = [name.decode("latin-1").lower() for name, _, _, _ in message.tokens.headers]
    for kind, prefixes in _PREFIXES:
        if any(name.startswith(prefixes) for name in names):
            return kind
    spaces = {part for extension in (document.extensions[:64] if document else ()) for part in (extension.namespace, extension.name)}
    return _searched(_SPACES, spaces) or found or "generic"


def vendor_of(message: Message, document: Metadata | None, mapping: Mapping[str, str] | None = None) -> Vendor:
    """Who sent a recording session, with every identifier that its headers and metadata have. `mapping` adds to the tables, and goes before them: a header in lower
    case, or an element, and the name of the identifier."""
    agent = clean(message.value("User-Agent") or message.value("Server"), VALUE_MAX)
    kind = _type(message, document, agent)
    found = _identifiers(message, document, mapping or {})
    if kind == "generic" and user_to_user(found.get("uui", ""))[0]:
        kind = "avaya"  # its session border controller does not say its name
    _with_ucid(found, kind)
    return Vendor(type=kind, user_agent=agent, identifiers=found)


# ---- which other sessions are of the same call ----


def _session_keys(value: str) -> Iterator[str]:
    """Keys of a Session-ID (RFC 7989 5): both halves, but the nil one. What is no UUID is the Call-ID of the call, as OpenSIPS has it."""
    local, _, rest = value.partition(";")
    for half in (local, rest.partition("remote=")[2].partition(";")[0]):
        half = half.strip()
        number = hex_uuid(half)
        if number:
            yield f"session-id:{number}"
        elif half and not re.fullmatch(r"[0-]*", half):
            yield f"call-id:{half}"


def _keys(document: Metadata | None, vendor: Vendor) -> Iterator[str]:
    for name, value in vendor.identifiers.items():
        if name in ("session_id", "cisco_session_id"):
            yield from _session_keys(value)
        elif name.endswith("ucid"):
            if value != vendor.identifiers.get("icid"):  # which stands in for one, where there is none
                yield f"ucid:{ucid_of(value) or value}"
        elif name in ("cisco_guid", "cisco_farend_guid"):
            yield f"cisco-guid:{hex_uuid(value) or value}"
        elif name in _KINDS:
            yield f"{_KINDS[name]}:{value}"
    if document is None:
        return
    for extension in document.extensions:  # there may be one a session, one a participant
        name = _element(extension, ELEMENTS)
        if name.endswith("ucid") and extension.text:
            yield f"ucid:{ucid_of(extension.text) or extension.text}"
        elif name in _KINDS and extension.text:
            yield f"{_KINDS[name]}:{extension.text}"
    if vendor.type in _LEGS_ARE_PARTICIPANTS:
        yield from (f"leg:{participant.participant_id}" for participant in document.participants)
    for group in document.groups:
        yield f"group-id:{group.group_id}"
    for session in document.sessions:
        yield f"rs-session-id:{session.session_id}"
        if ucid := ucid_of(session.session_id, bare=False):
            yield f"ucid:{ucid}"
        for value in session.sip_session_ids:
            yield from _session_keys(value)
        for identifier in session.group_ids:
            yield f"group-id:{identifier}"


def correlation_of(message: Message, document: Metadata | None, vendor: Vendor) -> tuple[str, ...]:
    """Keys that other recording sessions of the same call have too: "kind:value", values in one form whatever way they were written.

    Kinds: call-id (of the communication session), session-id (RFC 7989), ucid, cisco-guid, gcid, refci, icid, tracking, genesys-uuid, interaction, conversation, correlation,
    linked, freeswitch-uuid, session-key, callhalf, leg, group-id, rs-session-id.
    """
    keys: dict[str, None] = {}
    for key in _keys(document, vendor):
        value = key.partition(":")[2]
        if len(value) > 2 and value.strip("0-") and len(keys) < CORRELATION_MAX:
            keys.setdefault(key[:VALUE_MAX])
    return tuple(keys)


# ---- who called whom ----

_CALLERS: Final = {"fromhdr": "caller", "callingpartynumber": "caller", "caller": "caller", "callingnumber": "caller", "ani": "caller"}
_CALLEES: Final = {"tohdr": "callee", "calledpartynumber": "callee", "callee": "callee", "callednumber": "callee", "dnis": "callee", "dialeddigits": "callee"}
_NUMBERS: Final = _CALLERS | _CALLEES
_PARTY_NUMBERS: Final = {"callingpartynumber": "caller", "calledpartynumber": "callee"}
_RECORDED: Final = frozenset({"userid", "recordedparty"})
_CALL_TYPES: Final = {"origcall": "caller", "originating": "caller", "termcall": "callee", "terminating": "callee"}
_ROLES: Final = {"caller": "caller", "calling": "caller", "originator": "caller", "callee": "callee", "called": "callee", "agent": "agent", "customer": "customer"}
_OTHER: Final = {"caller": "callee", "callee": "caller", "agent": "customer", "customer": "agent"}


def roles_of(document: Metadata) -> dict[str, str]:
    """Roles (caller, callee, agent, customer) by participant_id, as far as the document tells them: in a role of its own, by a flag of a participant, or by numbers and
    addresses in extensions that are those of a participant. Of two, the other has the other role."""
    roles = {one.participant_id: _ROLES[one.role] for one in document.participants if one.role in _ROLES}
    said: list[tuple[str, str]] = []  # (address, role)
    recorded, call_type = [], ""
    for extension in document.extensions:
        name, value = plain(extension.name), extension.text
        if name == "callingparty" and extension.owner_kind == "participant":
            roles.setdefault(extension.owner, "caller" if value.lower() in ("true", "1", "yes") else "callee")
        elif name in _NUMBERS and value:
            said.append((value, _NUMBERS[name]))
        elif name in _RECORDED and value:
            recorded.append(value)
        call_type = call_type or _CALL_TYPES.get(name, "") or (_CALL_TYPES.get(value.lower(), "") if name == "calltype" else "")
    said = [(address, call_type) for address in recorded if call_type] + said
    for address, role in said[:NUMBERS_MAX]:
        for one in document.participants:
            if role not in roles.values() and one.participant_id not in roles and any(same_party(address, aor) for aor in one.aors):
                roles[one.participant_id] = role
    if len(document.participants) == 2 and len(roles) == 1:
        (known, role), *_ = roles.items()
        first, second = (one.participant_id for one in document.participants)
        if first != second and known in (first, second):
            roles[second if known == first else first] = _OTHER[role]
    return roles


def numbers_of(document: Metadata, roles: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Numbers of participants whose address does not tell them, by participant_id: Webex writes a user's name there, and the number into an extension."""
    numbers = [
        (role, extension.text) for extension in document.extensions if extension.text and (role := _PARTY_NUMBERS.get(plain(extension.name)))
    ][:NUMBERS_MAX]  # fmt: skip
    if not roles or not numbers:
        return {}
    known = [aor for participant in document.participants for aor in participant.aors]
    found: dict[str, tuple[str, ...]] = {}
    for said, number in dict.fromkeys(numbers):
        owner = next((identifier for identifier, role in roles.items() if role == said), None)
        if owner is not None and not any(same_party(number, aor) for aor in known):
            found[owner] = (*found.get(owner, ()), clean(number))
    return found


# ---- calls without metadata ----


def nbr_participants(message: Message) -> tuple[Participant, ...]:
    """Who is in a call that Cisco's network-based recording sends: X-Cisco-Recording-Participant, with the m= line of each in `sends`."""
    found: dict[str, Participant] = {}
    for address in message.addresses("X-Cisco-Recording-Participant")[:HEADERS_MAX]:
        aor = clean(text(address.uri).partition(";media-index")[0])
        index = re.search(rb'media-index\s*=\s*"?(\d{1,3})', address.parameters)
        if aor:
            name = clean(text(address.display))
            found.setdefault(aor, Participant(
                participant_id=aor, aors=(aor,), names=(name,) if name else (), sends=(f"media-index-{int(index[1]) if index else 0}",),
            ))  # fmt: skip
    return tuple(found.values())


def _bridged(message: Message) -> Metadata | None:
    """The two ends of a call that a phone records itself: each dialog has the voice of one."""
    sender = message.sender
    if sender is None or not sender.parsed.parameters:
        return None
    parameters, host = sender.parsed.parameters, text(sender.host)
    near = parameter(parameters, b"x-nearend") is not None
    if not near and parameter(parameters, b"x-farend") is None:
        return None
    ends = []
    for end, reference in (("nearend", b"x-refci"), ("farend", b"x-farendrefci")):
        user = text(parameter(parameters, f"x-{end}addr".encode()) or b"") or (text(sender.user) if end == "nearend" else "")
        identifier = text(parameter(parameters, reference) or b"") or end
        ends.append(Participant(participant_id=clean(identifier), aors=(clean(f"sip:{user}@{host}"),) if user else ()))
    voice = ends[0 if near else 1].participant_id
    return Metadata(
        participants=tuple(ends), streams=(Stream(stream_id="media-index-0", media_index=0),),
        participant_streams=(ParticipantStream(participant_id=voice, sends=("media-index-0",)),),
    )  # fmt: skip


def document_of(message: Message) -> Metadata | None:
    """What headers tell of who is in a call without metadata, as if it were a complete document: Cisco's network-based recording, and phones that record themselves.

    None where they tell nothing.
    """
    participants = nbr_participants(message)
    if not participants:
        return _bridged(message)
    used = sorted({stream for one in participants for stream in one.sends})
    return Metadata(
        participants=participants, streams=tuple(Stream(stream_id=stream, media_index=int(stream.rpartition("-")[2])) for stream in used),
    )  # fmt: skip


# ---- what a call asks for ----


class CallPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What a call asks for itself, None where it does not: seconds without RTP until it is suspended, most seconds of it, days that its recording is kept.
    `source` is header, metadata or global."""

    timeout_s: float | None = None
    max_duration_s: float | None = None
    retention_days: int | None = None
    source: str = "global"


def policy_of(message: Message, document: Metadata | None) -> CallPolicy:
    """What headers ask for, over what the metadata does. Values that are no durations are passed over; a retention is rounded up to days."""
    asked = {
        name: duration_s(clean(message.value(header), 64), bare)
        for name, header, bare in (
            ("timeout_s", "X-Recording-Timeout", "s"), ("max_duration_s", "X-Recording-Max-Duration", "s"), ("retention_s", "X-Recording-Retention", "d"),
        )
    }  # fmt: skip
    source = "header" if any(value is not None for value in asked.values()) else "global"
    for name, value in asked.items():
        if value is None and document is not None and (of_document := getattr(document, name)) is not None:
            asked[name] = of_document
            source = "metadata" if source == "global" else source
    retention = asked["retention_s"]
    return CallPolicy(
        timeout_s=asked["timeout_s"], max_duration_s=asked["max_duration_s"], retention_days=None if retention is None else math.ceil(retention / 86_400), source=source,
    )  # fmt: skip


# ---- what is kept of the headers ----

_KEPT: Final = frozenset({
    "from", "to", "contact", "user-agent", "server", "organization", "session-id", "user-to-user", "cisco-guid", "diversion", "history-info", "p-asserted-identity",
    "p-preferred-identity", "remote-party-id", "p-charging-vector", "p-called-party-id", "subject", "priority", "call-info", "referred-by", "replaces", "require",
    "supported", "accept", "date", "ms-conversation-id", "sigma-uui-a",
})  # fmt: skip


def headers_of(message: Message) -> tuple[tuple[str, str], ...]:
    """Headers that say something of the call, for the file beside the recording: those of the RFCs that do and all that begin with X- or P-. Never what proves who one is."""
    kept = []
    for name, value, _, _ in message.tokens.headers:
        lowered = name.decode("latin-1").lower()
        if (lowered in _KEPT or lowered.startswith(("x-", "p-"))) and not proves(lowered):
            kept.append((clean(name.decode("latin-1"), 64), clean(text(value), 1024)))
    return tuple(kept[:HEADERS_MAX])


__all__ = [
    "ELEMENTS", "HEADERS", "VENDORS", "CallPolicy", "Signs", "correlation_of", "document_of", "headers_of", "nbr_participants", "numbers_of", "policy_of", "roles_of", "vendor_of",
]  # fmt: skip
