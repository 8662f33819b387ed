"""A call that is recorded by a server as it is run, from its INVITE to what is played, and to nothing being left of it."""

from __future__ import annotations

import asyncio
import io
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]

from tests.engine.siprec.source import Leg, Session, Source, metadata, voice
from tests.ports import free_ports
from tests.running import server

pytestmark = pytest.mark.slow

WAIT_S = 30.0
CALL_ID = "wholeway-1@src"
VOICES = {0: voice(1, 60), 1: voice(2, 60)}


async def call(port: int) -> None:
    """A recording session of a second or so."""
    loop = asyncio.get_running_loop()
    transport, source = await loop.create_datagram_endpoint(lambda: Source(port), local_addr=("127.0.0.1", 0))
    legs = [Leg("1"), Leg("2")]
    session = Session(source, legs, call_id=CALL_ID)
    try:
        assert (await session.invite(metadata())).status == 200
        await session.say(VOICES)
        await asyncio.sleep(0.2)
        assert (await session.bye()).status == 200
    finally:
        transport.close()
        for leg in legs:
            leg.close()


def lag_of(heard: np.ndarray, said: np.ndarray) -> int:
    """Where in a recording something that was said begins; it must be there to the sample."""
    piece = said[2000:4000].astype(float)
    scores = np.correlate(heard.astype(float), piece, "valid")
    at = int(np.argmax(scores))
    assert np.array_equal(heard[at : at + 2000], said[2000:4000])
    return at - 2000


def test_a_call_is_found_played_and_erased(tmp_path: Path) -> None:
    media = free_ports(42)
    port = media + 41
    with server(
        data=tmp_path, TRUNKLINE_AUTH_ENABLED="on", TRUNKLINE_SIP_LISTEN=f'["udp://127.0.0.1:{port}"]', TRUNKLINE_NETWORK_RTP_BIND_IP="127.0.0.1",
        TRUNKLINE_NETWORK_RTP_PORT_MIN=str(media), TRUNKLINE_NETWORK_RTP_PORT_MAX=str(media + 40), TRUNKLINE_ENCRYPTION_ENABLE_RECORDING_ENCRYPTION="true",
        TRUNKLINE_RECORDING_FORMAT="flac",
    ) as running, running.client() as client:  # fmt: skip
        asyncio.run(call(port))

        def rows() -> list[dict[str, object]]:
            found: list[dict[str, object]] = client.get("/api/v1/recordings", params={"call_id": CALL_ID}).json()["recordings"]
            return found

        deadline = time.monotonic() + WAIT_S
        while not rows() or rows()[0]["stage"] != "done":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (row,) = rows()
        assert [[party["name"] for party in channel["parties"]] for channel in row["channels"]] == [["Alice"], ["Bob"]]  # type: ignore[attr-defined]
        detail = client.get(f"/api/v1/recordings/{row['id']}").json()
        assert all(file["path"].endswith(".flac.enc") for file in detail["record"]["files"] if file["role"] in ("leg", "merged"))
        for key in ("Z3JvdXAtMQ==", "47755a9de7794ba387653f2099600ef2"):
            assert [each["id"] for each in client.get("/api/v1/recordings", params={"correlation": key}).json()["recordings"]] == [row["id"]], key
        whole = client.get(f"/api/v1/recordings/{row['id']}/audio")
        assert whole.headers["content-type"] == "audio/flac"
        heard = soundfile.read(io.BytesIO(whole.content), dtype="int16")[0]
        lags = [lag_of(heard[:, channel], said) for channel, said in VOICES.items()]
        assert abs(lags[0] - lags[1]) <= 8 * 20  # both began to speak at once
        assert client.get(f"/api/v1/recordings/{row['id']}/verify").json()["whole"] is True
        deadline = time.monotonic() + WAIT_S
        while not client.get(f"/api/v1/calls/{CALL_ID}").json()["message_count"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        told = client.get(f"/api/v1/calls/{CALL_ID}").json()
        assert (told["kind"], told["caller"], told["callee"], told["stream_count"]) == ("siprec", "alice@example.com", "bob@example.com", 2)
        ladder = client.get(f"/api/v1/calls/{CALL_ID}/sipLadder?format=text").text
        assert "INVITE" in ladder and "BYE" in ladder
        assert client.delete(f"/api/v1/recordings/{row['id']}").json() == {"id": row["id"], "erased": True, "left": []}
        assert rows() == [] and client.get(f"/api/v1/calls/{CALL_ID}").status_code == 404
        left = b"".join(path.name.encode() + path.read_bytes() for path in (tmp_path / "recordings").rglob("*") if path.is_file())
        assert b"wholeway" not in left and b"Alice" not in left
