"""What the bus promises, over every transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from engine.bus import (
    BadPayload,
    BusError,
    Busy,
    Disconnected,
    Message,
    NameTaken,
    RemoteError,
    RequestTimeout,
    TargetGone,
    TooLarge,
    UnknownSubject,
    UnknownTarget,
    open_bus,
)
from engine.errors import EngineError
from tests.engine.bus.stations import WAIT_S, Station, until

Play = Callable[[Callable[[Station], Any]], None]


class Point(msgspec.Struct):
    x: int
    y: int


async def echo(message: Message) -> Any:
    return message.read()


class Gate:
    """A handler that waits until it is told to go on."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.entered = 0
        self.left = 0

    async def __call__(self, message: Message) -> Any:
        self.entered += 1
        await self.open.wait()
        self.left += 1
        return message.read()


# ---- requests ----


def test_a_request_gets_the_answer_of_its_target(play: Play) -> None:
    async def scenario(station: Station) -> None:
        asker, first, second = [await station.open(name) for name in ("api.0", "worker.0", "worker.1")]

        def naming(name: str) -> Any:
            async def handler(message: Message) -> Any:
                return [name, message.source, message.subject, message.read()]

            return handler

        first.serve("who.are.you", naming("first"))
        second.serve("who.are.you", naming("second"))
        payload = {"text": "héllo", "bytes": b"\x00\xff", "list": [1, -2, 3.5, None, True]}
        assert await asker.request("worker.0", "who.are.you", payload) == ["first", "api.0", "who.are.you", payload]
        assert await asker.request("worker.1", "who.are.you") == ["second", "api.0", "who.are.you", None]
        assert (await first.request("worker.0", "who.are.you", 1))[1] == "worker.0"

    play(scenario)


def test_payloads_are_read_in_the_shape_that_is_asked_for(play: Play) -> None:
    async def scenario(station: Station) -> None:
        asker, target = await station.open("api.0"), await station.open("worker.0")

        async def mirror(message: Message) -> Point:
            point = message.read(Point)
            return Point(point.y, point.x)

        target.serve("mirror", mirror)
        assert await asker.request("worker.0", "mirror", Point(1, 2), shape=Point) == Point(2, 1)
        with pytest.raises(RemoteError) as error:
            await asker.request("worker.0", "mirror", {"x": "one"})
        assert error.value.code == BadPayload.code
        with pytest.raises(BadPayload, match="mirror"):
            await asker.request("worker.0", "mirror", Point(1, 2), shape=list)
        with pytest.raises(BadPayload, match="cannot be sent"):
            await asker.request("worker.0", "mirror", object())

    play(scenario)


class OutOfPorts(EngineError):
    code = "rtp.no_port"


def test_errors_of_the_far_handler_come_back_with_their_code(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(station: Station) -> None:
        asker, target = await station.open("api.0"), await station.open("worker.0")

        async def known(message: Message) -> None:
            raise OutOfPorts("all 100 RTP ports are taken")

        async def surprise(message: Message) -> None:
            raise KeyError("secret")

        async def unsendable(message: Message) -> Any:
            return object()

        async def nested(message: Message) -> Any:
            return await target.request("nobody", "x")

        for subject, handler in {
            "known": known, "surprise": surprise, "unsendable": unsendable, "nested": nested,
        }.items():  # fmt: skip
            target.serve(subject, handler)
        for subject, code, text in [
            ("known", "rtp.no_port", "all 100 RTP ports are taken"),
            ("surprise", "bus.handler_failed", "surprise failed at worker.0: KeyError"),
            ("unsendable", "bus.bad_payload", "cannot be sent"),
            ("nested", "bus.unknown_target", "nobody"),
        ]:
            with pytest.raises(RemoteError, match=text) as error:
                await asker.request("worker.0", subject)
            assert error.value.code == code
            assert "secret" not in str(error.value)

    play(scenario)
    assert "KeyError: 'secret'" in caplog.text


def test_no_target_no_subject_and_no_answer_are_told_apart(play: Play) -> None:
    async def scenario(station: Station) -> None:
        asker, target = await station.open("api.0"), await station.open("worker.0")
        gate = Gate()
        target.serve("wait", gate)
        target.serve("echo", echo)
        with pytest.raises(UnknownTarget, match=r"worker\.9"):
            await asker.request("worker.9", "wait")
        with pytest.raises(UnknownSubject, match=r"worker\.0 does not serve dance"):
            await asker.request("worker.0", "dance")
        with pytest.raises(RequestTimeout, match=r"worker\.0 did not answer wait within 0\.2 s"):
            await asker.request("worker.0", "wait", "late", 0.2)
        assert gate.entered == 1
        gate.open.set()
        await until(lambda: gate.left == 1)
        assert [await asker.request("worker.0", "echo", number) for number in range(5)] == list(range(5))

    play(scenario)


def test_a_target_that_leaves_is_told_to_those_who_wait_for_it(play: Play) -> None:
    async def scenario(station: Station) -> None:
        asker, target = await station.open("api.0"), await station.open("worker.0")
        gate = Gate()
        target.serve("wait", gate)
        waiting = [asyncio.create_task(asker.request("worker.0", "wait", None, WAIT_S)) for _ in range(3)]
        await until(lambda: gate.entered == 3)
        await target.close()
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, TargetGone), error
            assert "worker.0" in str(error)

    play(scenario)


def test_a_target_that_is_replaced_does_not_inherit_requests(play: Play) -> None:
    async def scenario(station: Station) -> None:
        asker, target = await station.open("api.0"), await station.open("worker.0")
        gate = Gate()
        target.serve("wait", gate)
        waiting = asyncio.create_task(asker.request("worker.0", "wait", None, WAIT_S))
        await until(lambda: gate.entered == 1)
        await target.close()
        successor = await station.open("worker.0")
        successor.serve("echo", echo)
        with pytest.raises(TargetGone):
            await waiting
        assert await asker.request("worker.0", "echo", "new", WAIT_S) == "new"

    play(scenario)


def test_many_requests_at_once_each_get_their_own_answer(play: Play) -> None:
    async def scenario(station: Station) -> None:
        target = await station.open("worker.0")
        askers = [await station.open(f"api.{number}") for number in range(4)]

        async def slower_for_small(message: Message) -> Any:
            number = message.read(int)
            await asyncio.sleep((500 - number % 500) / 50_000)
            return number * 2

        target.serve("double", slower_for_small)
        numbers = range(1000)
        answers = await asyncio.gather(
            *(askers[number % 4].request("worker.0", "double", number, WAIT_S) for number in numbers)
        )
        assert answers == [number * 2 for number in numbers]

    play(scenario)


def test_a_megabyte_goes_through_and_what_passes_the_limit_does_not(play: Play) -> None:
    async def scenario(station: Station) -> None:
        asker = await station.open("api.0", payload_bytes=2 << 20)
        target = await station.open("worker.0", payload_bytes=2 << 20)
        heard: list[bytes] = []

        async def inflate(message: Message) -> Any:
            return bytes(message.read(int))

        async def listen(message: Message) -> None:
            heard.append(message.read())

        target.serve("echo", echo)
        target.serve("inflate", inflate)
        await target.subscribe("audio", listen)
        megabyte = bytes(range(256)) * 4096
        answers = await asyncio.gather(*(asker.request("worker.0", "echo", megabyte, WAIT_S) for _ in range(8)))
        assert answers == [megabyte] * 8
        await asker.publish("audio", megabyte)
        await until(lambda: heard == [megabyte])
        with pytest.raises(TooLarge, match="3145733 bytes"):
            await asker.request("worker.0", "echo", bytes(3 << 20))
        with pytest.raises(TooLarge):
            await asker.publish("audio", bytes(3 << 20))
        with pytest.raises(RemoteError) as error:
            await asker.request("worker.0", "inflate", 3 << 20)
        assert error.value.code == TooLarge.code
        assert await asker.request("worker.0", "echo", "still here") == "still here"

    play(scenario)


def test_requests_are_pushed_back_when_the_target_is_full(play: Play) -> None:
    async def scenario(station: Station) -> None:
        asker = await station.open("api.0")
        target = await station.open("worker.0", handlers=2, queue_messages=3)
        gate = Gate()
        target.serve("wait", gate)
        waiting = [asyncio.create_task(asker.request("worker.0", "wait", number, WAIT_S)) for number in range(40)]
        await until(lambda: sum(task.done() for task in waiting) >= 20 and gate.entered == 2)
        gate.open.set()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        answered = [number for number, end in enumerate(ends) if end == number]
        refused = [end for end in ends if isinstance(end, Busy)]
        assert len(answered) >= 2
        assert len(answered) + len(refused) == 40
        assert gate.left == len(answered)
        assert await asker.request("worker.0", "wait", "again", WAIT_S) == "again"

    play(scenario)


def test_a_requester_with_too_many_requests_waits_for_a_place(play: Play) -> None:
    async def scenario(station: Station) -> None:
        asker, target = await station.open("api.0", requests=2), await station.open("worker.0")
        gate = Gate()
        target.serve("wait", gate)
        first = [asyncio.create_task(asker.request("worker.0", "wait", number, WAIT_S)) for number in range(2)]
        await until(lambda: gate.entered == 2)
        with pytest.raises(Busy, match="awaits 2 answers"):
            await asker.request("worker.0", "wait", None, 0.1)
        third = asyncio.create_task(asker.request("worker.0", "wait", 2, WAIT_S))
        gate.open.set()
        assert await asyncio.gather(*first, third) == [0, 1, 2]
        assert gate.entered == 3

    play(scenario)


def test_a_cancelled_request_leaves_its_place(play: Play) -> None:
    async def scenario(station: Station) -> None:
        asker, target = await station.open("api.0", requests=1), await station.open("worker.0")
        gate = Gate()
        target.serve("wait", gate)
        target.serve("echo", echo)
        waiting = asyncio.create_task(asker.request("worker.0", "wait", None, WAIT_S))
        await until(lambda: gate.entered == 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await asker.request("worker.0", "echo", 7) == 7
        gate.open.set()
        await until(lambda: gate.left == 1)
        assert await asker.request("worker.0", "echo", 8) == 8

    play(scenario)


def test_a_draining_target_finishes_and_takes_nothing_new(play: Play) -> None:
    async def scenario(station: Station) -> None:
        asker, target = await station.open("api.0"), await station.open("worker.0")
        gate = Gate()
        target.serve("wait", gate)
        waiting = asyncio.create_task(asker.request("worker.0", "wait", "done", WAIT_S))
        await until(lambda: gate.entered == 1)
        assert not await target.drain(0.01)
        with pytest.raises(Busy, match="shutting down"):
            await asker.request("worker.0", "wait")
        gate.open.set()
        assert await target.drain(WAIT_S)
        assert await waiting == "done"

    play(scenario)


# ---- events ----


def test_events_reach_those_whose_pattern_selects_them(play: Play) -> None:
    async def scenario(station: Station) -> None:
        publisher, listener = await station.open("worker.0"), await station.open("api.0")
        heard: dict[str, list[str]] = {"call.*": [], "call.#": [], "call.started": [], "#": []}
        subscriptions = {}
        for pattern, topics in heard.items():

            async def listen(message: Message, topics: list[str] = topics) -> None:
                assert message.source == "worker.0"
                topics.append(f"{message.subject} {message.read()}")

            subscriptions[pattern] = await listener.subscribe(pattern, listen)
        await publisher.publish("call.started", 1)
        await publisher.publish("call.media.dtmf", 2)
        await publisher.publish("config.reload", 3)
        await until(lambda: len(heard["#"]) == 3)
        await until(lambda: len(heard["call.#"]) == 2)
        assert heard["call.*"] == heard["call.started"] == ["call.started 1"]
        assert heard["call.#"] == ["call.started 1", "call.media.dtmf 2"]
        await subscriptions["call.#"].close()
        await publisher.publish("call.ended", 4)
        await until(lambda: len(heard["#"]) == 4 and len(heard["call.*"]) == 2)
        assert len(heard["call.#"]) == 2

    play(scenario)


def test_two_listeners_of_one_pattern_are_independent(play: Play) -> None:
    async def scenario(station: Station) -> None:
        publisher, listener = await station.open("worker.0"), await station.open("api.0")
        first: list[int] = []
        second: list[int] = []

        async def fail_on_one(message: Message) -> None:
            if message.read() == 1:
                raise RuntimeError("a listener failed")
            first.append(message.read())

        async def listen(message: Message) -> None:
            second.append(message.read())

        subscription = await listener.subscribe("tick", fail_on_one)
        await listener.subscribe("tick", listen)
        for number in range(3):
            await publisher.publish("tick", number)
        await until(lambda: first == [0, 2] and second == [0, 1, 2])
        await subscription.close()
        await publisher.publish("tick", 3)
        await until(lambda: second == [0, 1, 2, 3])
        assert first == [0, 2]

    play(scenario)


def test_events_of_one_publisher_keep_their_order(play: Play) -> None:
    async def scenario(station: Station) -> None:
        listener = await station.open("api.0")
        publishers = [await station.open(f"worker.{number}") for number in range(3)]
        heard: dict[str, list[int]] = {publisher.name: [] for publisher in publishers}

        async def listen(message: Message) -> None:
            heard[message.source].append(message.read())
            await asyncio.sleep(0)

        await listener.subscribe("count", listen)

        async def count(publisher: Any) -> None:
            for number in range(300):
                await publisher.publish("count", number)

        await asyncio.gather(*map(count, publishers))
        await until(lambda: sum(map(len, heard.values())) == 900)
        assert all(numbers == list(range(300)) for numbers in heard.values())
        assert listener.dropped == 0

    play(scenario)


def test_a_slow_listener_loses_the_oldest_events_and_holds_up_nobody(play: Play) -> None:
    async def scenario(station: Station) -> None:
        publisher = await station.open("worker.0")
        slow = await station.open("api.0", queue_messages=20, queue_bytes=100_000)
        gate = asyncio.Event()
        heard: list[int] = []
        quick: list[int] = []

        async def wait_first(message: Message) -> None:
            await gate.wait()
            heard.append(message.read()[0])

        async def listen(message: Message) -> None:
            quick.append(message.read()[0])

        other = await station.open("api.1")
        await other.subscribe("tick", listen)
        subscription = await slow.subscribe("tick", wait_first)
        slow.serve("echo", echo)
        padding = bytes(10_000)
        for number in range(200):
            await publisher.publish("tick", (number, padding))
        await until(lambda: len(quick) == 200)
        await until(lambda: subscription.dropped + subscription.waiting == 199)
        assert subscription.waiting <= 10
        assert subscription.waiting_bytes <= 100_000
        assert await publisher.request("api.0", "echo", "alive", WAIT_S) == "alive"
        gate.set()
        await until(lambda: len(heard) + subscription.dropped == 200)
        # All but the one that it was busy with are the newest.
        assert heard[1:] == list(range(200 - len(heard) + 1, 200))
        assert slow.dropped == subscription.dropped == 200 - len(heard)
        await subscription.close()
        assert slow.dropped == 200 - len(heard)

    play(scenario)


# ---- connections ----


def test_an_outage_fails_requests_at_once_and_subscriptions_come_back(play: Play) -> None:
    async def scenario(station: Station) -> None:
        asker, target = await station.open("api.0"), await station.open("worker.0")
        gate = Gate()
        heard: list[int] = []

        async def listen(message: Message) -> None:
            heard.append(message.read())

        target.serve("wait", gate)
        target.serve("echo", echo)
        await target.subscribe("tick.*", listen)
        waiting = [asyncio.create_task(asker.request("worker.0", "wait", None, 10 * WAIT_S)) for _ in range(3)]
        await until(lambda: gate.entered == 3)
        assert asker.lost_for_s == 0
        await station.break_off()
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, Disconnected), error
        await until(lambda: not asker.connected and not target.connected)
        with pytest.raises(Disconnected, match=r"api\.0"):
            await asker.request("worker.0", "echo")
        with pytest.raises(Disconnected):
            await asker.publish("tick.0", 0)
        late = await target.subscribe("late", listen)
        await until(lambda: asker.lost_for_s > 0)
        await station.mend()
        await until(lambda: asker.connected and target.connected)
        assert asker.lost_for_s == 0
        gate.open.set()
        assert await asker.request("worker.0", "echo", "again", WAIT_S) == "again"
        await asker.publish("tick.1", 1)
        await asker.publish("late", 2)
        await until(lambda: sorted(heard) == [1, 2])
        await late.close()

    play(scenario)


def test_outages_one_after_the_other_leave_nothing_behind(play: Play) -> None:
    async def scenario(station: Station) -> None:
        asker, target = await station.open("api.0"), await station.open("worker.0")
        target.serve("echo", echo)
        tasks = 0
        for _ in range(4):
            await station.break_off()
            await until(lambda: not asker.connected and not target.connected)
            await station.mend()
            await until(lambda: asker.connected and target.connected)
            assert await asker.request("worker.0", "echo", 5, WAIT_S) == 5
            tasks = tasks or len(asyncio.all_tasks())
        await until(lambda: len(asyncio.all_tasks()) <= tasks)

    play(scenario)


def test_a_name_is_given_once(play: Play) -> None:
    async def scenario(station: Station) -> None:
        await station.open("worker.0")
        with pytest.raises(NameTaken, match=r"worker\.0"):
            await station.open("worker.0", connect_s=0.1)

    play(scenario)


def test_a_closed_bus_says_so_and_frees_its_name(play: Play) -> None:
    async def scenario(station: Station) -> None:
        bus = await station.open("worker.0")
        await bus.close()
        with pytest.raises(Disconnected, match="it was closed"):
            await bus.request("worker.0", "echo")
        again = await station.open("worker.0")
        again.serve("echo", echo)
        assert await again.request("worker.0", "echo", 1, WAIT_S) == 1

    play(scenario)


def test_names_and_subjects_are_checked_before_anything_is_sent(play: Play) -> None:
    async def scenario(station: Station) -> None:
        bus = await station.open("worker.0")
        bus.serve("echo", echo)
        with pytest.raises(ValueError, match="served already"):
            bus.serve("echo", Gate())
        for bad in ("", ".", "a..b", "a b", "call.*", "x" * 201, "a\r\nb", "ü"):
            with pytest.raises(ValueError, match="is no name"):
                await bus.request(bad, "echo")
            with pytest.raises(ValueError, match="is no name"):
                await bus.request("worker.0", bad)
            with pytest.raises(ValueError, match="is no name"):
                await bus.publish(bad)
        with pytest.raises(ValueError, match="is no topic pattern"):
            await bus.subscribe("a.**", echo)

    play(scenario)


@pytest.mark.parametrize("url", ["http://localhost", "unix://host/path", "bus.sock", ""])
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="a bus url starts with"):
        asyncio.run(open_bus(url, "api.0"))


@pytest.mark.parametrize("url", ["unix:///nowhere/bus.sock", "amqp://user:hidden@127.0.0.1:1/"])
def test_opening_without_a_hub_fails_in_time_and_tells_no_password(url: str) -> None:
    from tests.engine.bus.stations import QUICK

    limits = msgspec.structs.replace(QUICK, connect_s=0.1)
    with pytest.raises(Disconnected) as error:
        asyncio.run(open_bus(url, "api.0", limits))
    assert isinstance(error.value, BusError)
    assert "hidden" not in str(error.value)
