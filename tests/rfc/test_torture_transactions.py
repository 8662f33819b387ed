"""RFC 4475 and RFC 5118 at the transaction layer: what is refused there and how, what the user is given, and over real sockets too."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.sip.station import Station
from tests.engine.sip.test_transaction_layer import Bench, FakeFlow
from tests.engine.sip.test_transport import WAIT_S, answers, options, play
from tests.rfc import torture

# RFC 4475 3.1.2, 3.3.1, 3.3.8 and 3.3.9. What needs an understanding of the method (scalarlg's like, 416, 420, 483) is the user's.
REFUSED = {
    "badinv01": 400, "clerr": 400, "ncl": 400, "scalar02": 400, "quotbal": 400, "ltgtruri": 400, "lwsruri": 400, "lwsstart": 400,
    "trws": 400, "badaspec": 400, "baddn": 400, "badvers": 505, "mismatch01": 400, "mismatch02": 400, "multi01": 400, "mcl01": 400,
}  # fmt: skip
# Answers that cannot be used (3.1.2.4, 3.1.2.19), and a request that cannot be answered (3.3.1); "test" is no SIP.
DROPPED = {"scalarlg", "bigcode", "insuf", "test"}
RESPONSES = {"unreason": 200, "noreason": 100, "bcast": 200}
ALL = [(name, title) for name in ("rfc4475", "rfc5118") for title in torture.sections(name)]


@pytest.mark.parametrize(("name", "title"), ALL)
def test_each_message_ends_as_the_rfc_says(name: str, title: str) -> None:
    bench, flow = Bench(), FakeFlow()
    bench.layer.received(torture.wire(name, title), flow)
    statuses = [answer.status for answer in flow.answers]
    if title in REFUSED and name == "rfc4475":
        assert (statuses, bench.requests, bench.told) == ([REFUSED[title]], [], [])
    elif title in DROPPED:
        assert (statuses, bench.requests, bench.told) == ([], [], [])
    elif title in RESPONSES:
        assert (statuses, bench.requests, bench.told) == ([], [], [("stray", RESPONSES[title])])
    else:
        assert (statuses, len(bench.requests)) == ([], 1)
        bench.layer.respond(bench.requests[0], 486, to_tag="us")
        assert [answer.status for answer in flow.answers] == [486]
    bench.layer.close()
    assert bench.layer.counters.transactions == 0
    assert bench.clock.waiting == 0


def test_over_tcp_each_is_refused_or_answered_and_nothing_else_suffers() -> None:
    async def scenario(made: Station) -> None:
        good, good_writer = await asyncio.open_connection(*made.tcp.address)
        for at, (name, title) in enumerate(ALL):
            reader, writer = await asyncio.open_connection(*made.tcp.address)
            writer.write(torture.wire(name, title))
            writer.write_eof()
            async with asyncio.timeout(WAIT_S):
                told = await reader.read(12)
            if title in REFUSED and name == "rfc4475" and title not in ("clerr", "baddn"):  # those two wait for more
                assert told.decode() == f"SIP/2.0 {REFUSED[title]} ", title
            elif title in DROPPED or title in RESPONSES:
                assert told == b"", title
            writer.close()
            good_writer.write(options(at))
            assert (await answers(good, 1))[0].status == 200
        good_writer.close()

    play(scenario)
