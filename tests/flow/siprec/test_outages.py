"""A recording server that others let down: its broker, database and bucket are all gone for a while, or its own keeper hangs. Calls go on, nothing that is finished is
lost or changed, /health tells of each, and once they are back everything is where it belongs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import aio_pika
import httpx
import pytest

from tests import postgres, rabbitmq, s3
from tests.engine.siprec.source import Leg, Session, Source, metadata, run, voice
from tests.flow.audio_quality import place_of
from tests.flow.siprec.calls import Recorder, recorder
from tests.flow.siprec.kill_rounds import children
from tests.flow.siprec.recorded import channels_of

pytestmark = pytest.mark.slow
BUCKET: Final = "finished-calls"
QUEUE: Final = "outages"
WITHIN_S: Final = 240.0
SOCKET: Final = f".s.PGSQL.{postgres.PORT}"
CHECKS: Final = ("amqp", "database", "recordings")  # in /health, of what is cut off here


class Database:
    """A database whose socket is reached by a link, which can be taken away."""

    def __init__(self, folder: Path, socket: str, url: str) -> None:
        self._socket, self._folder = socket, folder
        self._name = urlsplit(url).path[1:]
        self.url = f"postgresql://trunkline@/{self._name}?host={folder}&port={postgres.PORT}"
        self.mend()

    def cut(self) -> None:
        (self._folder / SOCKET).unlink()
        self._ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self._name}'", "postgres")

    def mend(self) -> None:
        (self._folder / SOCKET).symlink_to(Path(self._socket) / SOCKET)

    def call_ids(self) -> list[str]:
        """Call-IDs that the store has rows of."""
        return self._ask("SELECT call_id FROM call_ids", self._name).split()

    def _ask(self, statement: str, database: str) -> str:
        asked = [postgres.binaries() / "psql", "-qXAt", "-h", self._socket, "-p", str(postgres.PORT), "-U", "trunkline", "-d", database, "-c", statement]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout


class Around:
    """What the server needs of others."""

    def __init__(self, broker: s3.Line, broker_url: str, database: Database, bucket: s3.Store) -> None:
        self.broker, self.database, self.bucket = broker, database, bucket
        self.broker_url = broker_url

    def cut(self) -> None:
        self.broker.cut()
        self.database.cut()
        self.bucket.line.cut()

    def mend(self) -> None:
        self.broker.mend()
        self.database.mend()
        self.bucket.line.mend()

    def objects(self) -> dict[str, str]:
        """What is in the bucket, and the SHA-256 of each."""
        client = self.bucket.client()
        try:
            there = [one["Key"] for one in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
            return {key: hashlib.sha256(client.get_object(Bucket=BUCKET, Key=key)["Body"].read()).hexdigest() for key in there}
        finally:
            client.close()


@pytest.fixture
def around(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Around]:
    base = tmp_path_factory.getbasetemp()
    with ExitStack() as stack:
        broker_url = stack.enter_context(rabbitmq.broker(rabbitmq.directory_of_run(base)))
        socket = stack.enter_context(postgres.cluster(postgres.directory_of_run(base)))
        folder = tmp_path / "pg"
        folder.mkdir()
        database = Database(folder, socket, stack.enter_context(postgres.database(socket)))
        bucket = stack.enter_context(s3.store(tmp_path / "moto.log"))
        client = bucket.client()
        client.create_bucket(Bucket=BUCKET)
        client.close()
        line = s3.Line(urlsplit(broker_url).port or 0)
        stack.callback(line.cut)
        yield Around(line, broker_url, database, bucket)


@contextmanager
def server(around: Around, data: Path) -> Iterator[Recorder]:
    parts = urlsplit(around.broker_url)
    through = urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{around.broker.port}"))
    bucket = {"ENABLED": "true", "BUCKET": BUCKET, "ENDPOINT": around.bucket.url, "ACCESS_KEY": s3.ACCESS_KEY, "SECRET_KEY": s3.SECRET_KEY, "PATH_STYLE": "true"}
    settings = {
        "TRUNKLINE_STORE_URL": around.database.url, "ANALYTICS_ENABLED": "true", "ENABLE_REALTIME_AMQP": "true", "TRUNKLINE_REALTIME_URL": through,
        "TRUNKLINE_REALTIME_QUEUE": QUEUE, "TRUNKLINE_REALTIME_BATCH_SIZE": "1", "TRUNKLINE_RECORDING_STORAGE_ENABLED": "true",
        "TRUNKLINE_RECORDING_STORAGE_KEEP_LOCAL": "false", **{f"TRUNKLINE_RECORDING_STORAGE_S3_{name}": value for name, value in bucket.items()},
    }  # fmt: skip
    with recorder(data, **settings) as made:
        yield made


async def until(what: str, true: Callable[[], Any]) -> Any:
    """Until something holds, asked in a thread. Raises AssertionError when it does not in time."""
    deadline = time.monotonic() + WITHIN_S
    while not (found := await asyncio.to_thread(true)):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.1)
    return found


class Client:
    """A recording client with a call of its own."""

    def __init__(self, port: int, call_id: str) -> None:
        self._port = port
        self.call_id = call_id
        self._legs = [Leg("1"), Leg("2")]
        self._session: Session
        self._transport: asyncio.DatagramTransport

    async def begin(self) -> None:
        self._transport, source = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Source(self._port), local_addr=("127.0.0.1", 0))
        self._session = Session(source, self._legs, call_id=self.call_id)
        assert (await self._session.invite(metadata())).status == 200

    async def say(self) -> None:
        await self._session.say({0: voice(1, 20), 1: voice(2, 20)})

    async def end(self) -> None:
        assert (await self._session.bye()).status == 200
        self._transport.close()
        for leg in self._legs:
            leg.close()


def checksums(folder: Path, call_id: str) -> dict[str, str]:
    """The files of a call that is sealed, and what its manifest says they are; nothing before it is."""
    for path in folder.glob("*.json"):
        if path.name.endswith(".siprec.json") or call_id not in path.name:
            continue
        manifest = json.loads(path.read_bytes())
        return {one["path"]: one["sha256"] for one in manifest["files"]}
    return {}


def checks(made: Recorder) -> dict[str, str]:
    """What /health tells of each, and of all under "all"."""
    told = httpx.get(f"{made.running.url}/health", timeout=30).json()
    return {name: check["status"] for name, check in told["checks"].items()} | {"all": told["status"]}


async def published(url: str) -> list[dict[str, Any]]:
    """What lies in the queue."""
    found = []
    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).declare_queue(QUEUE, passive=True)
        while (message := await queue.get(fail=False, no_ack=True)) is not None:
            found.append(json.loads(message.body))
    return found


def test_nothing_that_is_finished_is_lost_while_broker_database_and_bucket_are_gone(tmp_path: Path, around: Around) -> None:
    data = tmp_path / "data"

    async def work(made: Recorder) -> None:
        def healthy() -> bool:
            told = checks(made)
            return all(told.get(name) == "healthy" for name in CHECKS)

        await until("all is well at first", healthy)
        before, across, during = (Client(made.port, f"{name}-outage") for name in ("before", "across", "during"))
        for client in (before, across):
            await client.begin()
            await client.say()
        await before.end()
        at_first = await until("the first is in the bucket", lambda: {key: sha for key, sha in around.objects().items() if "before-outage" in key})
        await asyncio.to_thread(around.cut)
        try:
            await across.say()
            await across.end()
            await during.begin()
            await during.say()
            await during.end()
            sealed = {}
            for client in (across, during):
                sealed |= await until("what ended meanwhile is sealed", lambda client=client: checksums(made.recordings, client.call_id))
            assert len(sealed) == 6

            def is_told() -> bool:
                told = checks(made)
                return told["all"] == "unhealthy" and all(told[name] in ("degraded", "unhealthy") for name in CHECKS)

            await until("each that is gone is told of", is_told)
            assert {name: hashlib.sha256((made.recordings / name).read_bytes()).hexdigest() for name in sealed} == sealed
        finally:
            await asyncio.to_thread(around.mend)
        await until("all is well again", healthy)
        everybody = {client.call_id for client in (before, across, during)}
        await until("the store has all calls", lambda: everybody <= set(around.database.call_ids()))
        objects = await until("all are in the bucket", lambda: (there := around.objects()) and set(sealed.values()) <= set(there.values()) and there)
        assert at_first.items() <= objects.items()
        told: list[dict[str, Any]] = []
        deadline = time.monotonic() + WITHIN_S
        while {(one.get("event_type"), one.get("call_id")) for one in told} < {(kind, call_id) for kind in ("session_start", "session_end") for call_id in everybody}:
            assert time.monotonic() < deadline, told
            told += await published(around.broker_url)
            await asyncio.sleep(0.1)
        await until("no copy stays here", lambda: not [name for name in sealed if (made.recordings / name).exists()])
        assert [around.database.call_ids().count(call_id) for call_id in sorted(everybody)] == [1, 1, 1]

    with server(around, data) as made:
        run(lambda: work(made))


def test_a_keeper_that_stands_still_holds_no_recording_up(tmp_path: Path) -> None:
    """Whatever listens to, transcribes, indexes or uploads a call is another process: where that hangs, a call is recorded to the sample as it is without it."""

    async def work(made: Recorder) -> None:
        keeper = children(made)["keeper"][0]
        os.kill(keeper, signal.SIGSTOP)
        client = Client(made.port, "nobody-listens")
        try:
            await client.begin()
            await client.say()
            await client.end()
            sealed = await until("it is sealed", lambda: checksums(made.recordings, client.call_id))
        finally:
            with contextlib.suppress(ProcessLookupError):  # where another took its place by now
                os.kill(keeper, signal.SIGCONT)
        (merged,) = [name for name in sealed if "-leg" not in name]
        for channel, seed in enumerate((1, 2)):
            assert place_of(voice(seed, 20), channels_of(made.recordings / merged)[channel]) >= 0

        def is_known() -> bool:
            with made.running.client() as api:
                rows = api.get("/api/v1/recordings").json()["recordings"]
            return [row["stage"] for row in rows] == ["done"]

        await until("it is known once somebody listens", is_known)

    with recorder(tmp_path / "data", ANALYTICS_ENABLED="true") as made:
        run(lambda: work(made))
