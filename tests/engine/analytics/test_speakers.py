"""Who says what is heard in a channel."""

from __future__ import annotations

from typing import Any

import pytest

from engine.analytics.speakers import (
    CHANGES_MAX,
    DIARISED_MAX,
    NOBODY,
    SEVERAL,
    Key,
    Roster,
    agents_of,
    is_stand_in,
    user_of,
)
from engine.siprec.facts import ChannelFacts, Party, SessionFacts, Vendor
from tests.engine.analytics.calls import AGENT, CUSTOMER, said, session


def party(place: int, aor: str = "", **changes: Any) -> Party:
    return Party(place=place, participant_id=f"p-{place}", aor=aor, **changes)


def channels(*parties: tuple[int, ...], labels: tuple[str, ...] = ("1", "2")) -> tuple[ChannelFacts, ...]:
    return tuple(ChannelFacts(index=index, label=labels[index], parties=each) for index, each in enumerate(parties))


def roster(*known: SessionFacts) -> Roster:
    made = Roster()
    for at, facts in enumerate(known):
        made.update(facts, at * 10.0)
    return made


def names(made: Roster, *, at: float = 0.0, **changes: Any) -> list[str]:
    return [made.named(made.key_of(said("x", at, channel=channel, **changes))).label for channel in (0, 1)]


def test_roles_name_them() -> None:
    made = roster(session())
    assert names(made) == ["customer", "agent"]
    speaker = made.named(Key(1, 1))
    assert (speaker.id, speaker.name, speaker.role, speaker.stream_label, speaker.is_agent) == ("p-1", "Bob", "agent", "12", True)


@pytest.mark.parametrize(
    ("facts", "agents"),
    [
        (session(), {1}),
        (session(participants=(party(0, "sip:a@x"), party(1, "sip:b@x")), channels=channels((0,), (1,), labels=("agent_leg", "2"))), {0}),
        (session(participants=(party(0, "sip:4711@x"), party(1, "tel:99")), vendor=Vendor(type="avaya", identifiers={"avaya_agent_id": "4711"})), {0}),
        (session(participants=(party(0, "sip:a@x"), party(1, "sip:b@x", name="Desk 7")), vendor=Vendor(identifiers={"avaya_station_id": "DESK 7"})), {1}),
        (session(participants=(party(0, "sip:a@x"), party(1, "sip:b@x"))), set()),
    ],
)
def test_role_label_or_the_vendor_say_who_is_the_agent(facts: SessionFacts, agents: set[int]) -> None:
    assert agents_of(facts) == agents


def test_the_other_one_of_an_agent_is_the_customer() -> None:
    assert names(roster(session(participants=(party(0, "sip:a@x"), AGENT)))) == ["customer", "agent"]


def test_without_an_agent_who_was_called_stands_for_one() -> None:
    made = roster(session(participants=(party(0, "sip:a@x", role="callee"), party(1, "sip:b@x", role="caller"))))
    assert names(made) == ["callee", "caller"]
    assert made.named(Key(0, 0)).is_agent and not made.named(Key(1, 1)).is_agent
    plain = roster(session(participants=(party(0, "sip:anne@x"), party(1, "tel:+1555;phone-context=x"))))
    assert names(plain) == ["anne", "+1555"] and plain.named(Key(1, 1)).is_agent


def test_of_a_session_of_which_nothing_is_known_channels_are_named() -> None:
    made = Roster()
    assert names(made) == ["speaker-1", "speaker-2"]
    assert names(made, speaker="agent") == ["agent", "agent"]
    assert made.key_of(said("x")) == Key(0, NOBODY)


def test_several_in_one_channel_are_told_apart_by_diarisation() -> None:
    made = roster(session(channels=channels((0, 1))))
    assert made.key_of(said("x", speaker="S1")) == Key(0, SEVERAL, "S1")
    assert made.named(Key(0, SEVERAL, "S1")).label == "S1"
    keys = {made.key_of(said("x", speaker=f"S{number}")) for number in range(200)}
    assert len(keys) <= DIARISED_MAX + 1


def test_what_was_put_down_to_a_stand_in_goes_to_who_took_its_place() -> None:
    stand_in = party(1, "sip:ASBCE@asbce.com")
    made = roster(session(participants=(CUSTOMER, stand_in)))
    early = made.key_of(said("x", 2.0, channel=1))
    real = party(2, "sip:bob@x", name="Bob", role="agent")
    renamed = made.update(session(participants=(CUSTOMER, stand_in, real), channels=channels((0,), (2,))), 30.0)
    assert (Key(1, 1), Key(1, 2)) in renamed
    assert made.named(early).name == "Bob"
    assert made.named(made.key_of(said("x", 2.0, channel=1))).name == "Bob"


def test_a_stand_in_that_the_metadata_forgets_first_is_followed_too() -> None:
    made = roster(session(participants=(CUSTOMER, party(1, "ASBCE@avaya.com"))))
    early = made.key_of(said("x", 2.0, channel=1))
    made.update(session(participants=(CUSTOMER,), channels=channels((0,), ())), 10.0)
    made.update(session(participants=(CUSTOMER, party(2, "sip:bob@x", name="Bob")), channels=channels((0,), (2,))), 20.0)
    assert made.named(early).name == "Bob"


def test_what_was_said_before_anybody_was_named_goes_to_the_first() -> None:
    made = roster(session(participants=(), channels=channels((), ())))
    early = made.key_of(said("x", 2.0))
    renamed = made.update(session(), 5.0)
    assert (Key(0, NOBODY), Key(0, 0)) in renamed and made.named(early).name == "Alice"


def test_what_was_said_before_a_transfer_stays_with_who_said_it() -> None:
    third = party(2, "sip:carol@x", name="Carol", role="agent")
    made = roster(session())
    renamed = made.update(session(participants=(CUSTOMER, AGENT, third), channels=channels((0,), (2,))), 60.0)
    assert renamed == []
    assert [made.named(made.key_of(said("x", at, channel=1))).name for at in (10.0, 70.0)] == ["Bob", "Carol"]


def test_of_the_parties_of_a_channel_the_one_counts_who_is_there() -> None:
    gone = party(1, "sip:b@x", name="Bob", left="2026-01-01T00:00:00Z")
    made = roster(session(participants=(CUSTOMER, gone, party(2, "sip:c@x", name="Carol")), channels=channels((0,), (1, 2))))
    assert made.named(made.key_of(said("x", channel=1))).name == "Carol"


def test_memory_of_changes_is_bounded() -> None:
    made = Roster()
    for number in range(1000):
        made.update(session(participants=(party(number, f"sip:u{number}@x"),), channels=channels((number,))), number * 1.0)
    assert len(made._channels[0]) == CHANGES_MAX
    assert len(made._parties) < 300
    assert made.named(made.key_of(said("x", 2000.0))).label == "u999"


@pytest.mark.parametrize(
    ("aor", "user"),
    [("sip:Alice@example.com;x=y", "alice"), ("tel:+1555;phone-context=x", "+1555"), ("4711", "4711"), ("bob@x", "bob"), ("sips:b;noa=international@x", "b"), ("", "")],
)
def test_users_of_addresses(aor: str, user: str) -> None:
    assert user_of(aor) == user


def test_stand_ins() -> None:
    assert is_stand_in(party(1, "ASBCE@asbce.com")) and is_stand_in(party(1))
    assert not is_stand_in(party(1, "sip:asbcenter@x")) and not is_stand_in(party(1, name="Bob"))
