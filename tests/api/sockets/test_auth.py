"""Who may follow calls: the same keys and tokens as everywhere, each way they may come, and open connections that lose their key."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.api.sockets.conftest import JWT_SECRET, Play
from tests.api.sockets.rig import Rig, read
from tests.api.sockets.test_follow import PATHS, greeted, number, refused, tell

pytestmark = pytest.mark.slow


def token(**claims: Any) -> str:
    return jwt.encode({"sub": "tess", "exp": int(time.time()) + 600, "scope": "realtime.read", **claims}, JWT_SECRET, "HS256")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("way", ["bearer", "x-api-key", "query", "subprotocol"])
@pytest.mark.parametrize("kind", ["key", "token"])
def test_each_way_lets_in(locked: Play, path: str, way: str, kind: str) -> None:
    async def scenario(running: Rig) -> None:
        credential = (await running.key("realtime.read"))[0] if kind == "key" else token()
        options: dict[str, Any] = {
            "bearer": {"additional_headers": {"Authorization": f"Bearer {credential}"}},
            "x-api-key": {"additional_headers": {"X-API-Key": credential}},
            "query": {},
            "subprotocol": {"subprotocols": [Subprotocol(credential), Subprotocol("other")]},
        }[way]
        query = f"&token={credential}" if way == "query" else ""
        async with running.connect(f"{path}?call_id=a{query}", **options) as client:
            assert client.subprotocol == (credential if way == "subprotocol" else None)
            await greeted(client, path)
            await tell(running, path, "a", 1)
            assert number(await read(client)) == 1

    locked(scenario)


@pytest.mark.parametrize("path", PATHS)
def test_nobody_else_is_let_in_and_all_are_told_why(locked: Play, path: str) -> None:
    async def scenario(running: Rig) -> None:
        poor, _ = await running.key("calls.read", "analytics.read")
        gone, gone_id = await running.key("realtime.read")
        await running.revoke(gone_id)
        cases: list[tuple[str, dict[str, Any], str, int]] = [
            ("", {}, "auth.required", 4401),
            ("?token=", {}, "auth.required", 4401),
            ("?token=sips_" + "0" * 40, {}, "auth.invalid", 4401),
            ("?api_key=" + poor, {}, "auth.required", 4401),
            ("", {"subprotocols": [Subprotocol("sips_" + "0" * 40)]}, "auth.invalid", 4401),
            ("?token=" + token(exp=int(time.time()) - 600), {}, "auth.expired", 4401),
            ("?token=" + token()[:-4] + "AAAA", {}, "auth.invalid", 4401),
            ("?token=" + jwt.encode({"sub": "x", "exp": 9e9}, "", algorithm="none"), {}, "auth.invalid", 4401),
            ("?token=" + gone, {}, "auth.revoked", 4401),
            ("?token=" + poor, {}, "auth.forbidden", 4403),
            ("?token=" + token(scope="sessions.read"), {}, "auth.forbidden", 4403),
            (f"?token={poor}", {"additional_headers": {"X-API-Key": gone}}, "auth.invalid", 4401),
        ]
        for query, options, code, closed in cases:
            told, end = await refused(running, path + query, **options)
            assert [(one["type"], one["code"]) for one in told] == [("error", code)], (query, told)
            assert told[0]["message"], query
            assert end == closed, query
            assert not any(credential in str(told) for credential in (poor, gone, JWT_SECRET))

    locked(scenario)


def test_a_revoked_key_and_a_token_that_ran_out_end_their_open_connections(locked: Play) -> None:
    async def scenario(running: Rig) -> None:
        key, key_id = await running.key("realtime.read")
        other, _ = await running.key("realtime.read")
        # the server grants 30 s of leeway
        short = token(exp=int(time.time()) - 28)
        async with (
            running.connect(f"/ws/transcriptions?token={key}") as hers,
            running.connect(f"/ws/transcriptions?token={short}") as shortly,
            running.connect(f"/ws/transcriptions?token={other}") as his,
        ):
            await running.revoke(key_id)
            for client, code in ((hers, "auth.revoked"), (shortly, "auth.expired")):
                told = await read(client)
                assert (told["type"], told["code"]) == ("error", code)
                with pytest.raises(ConnectionClosed) as end:
                    await client.recv()
                assert end.value.rcvd is not None and end.value.rcvd.code == 4401
            await running.transcription("a", n=1)
            assert number(await read(his)) == 1

    locked(scenario)


def test_the_page_needs_no_key_and_its_neighbours_do(locked: Play) -> None:
    async def scenario(running: Rig) -> None:
        assert (await running.get("/websocket-client")).status_code == 200
        assert (await running.get("/websocket-client/more")).status_code == 404
        assert (await running.get("/status")).status_code == 401

    locked(scenario)
