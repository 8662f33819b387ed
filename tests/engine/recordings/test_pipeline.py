"""From sealed to done: what each step makes, what a kill anywhere leaves, and what waits for a bucket that is away."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]

from engine.media import manifest as manifests
from engine.media.manifest import Interval
from engine.media.wav import WavFile
from engine.recordings.pipeline import Pipeline, sha256_of
from engine.recordings.record import KeptFile, Record
from tests import s3
from tests.engine.recordings.rig import BEGAN, Rig, met, record, rig

ENCRYPTED = {"encryption": {"enable_recording_encryption": True}}
EVERYTHING: dict[str, Any] = {
    "recording": {"format": "flac", "storage": {"enabled": True, "keep_local": False, "folder": "elsewhere"}},
    "encryption": {"enable_recording_encryption": True, "enable_metadata_encryption": True},
}


@pytest.fixture(autouse=True)
def quick_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: os.fstat(fd) and None)


@pytest.mark.parametrize(
    ("content", "digest"),
    [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ],
)
def test_checksums_are_those_of_fips_180(tmp_path: Path, content: bytes, digest: str) -> None:
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == (digest, len(content))


def samples(path: Path) -> Any:
    with WavFile(path) as file:
        return file.read(0, 10**8)


def test_without_any_wish_a_recording_is_done_as_it_is(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        record(made.folder)
        before = {name: (made.folder / name).read_bytes() for name in made.names()}
        made.work()
        done = made.of()
        assert made.names() == {*before, "r1.record"}
        assert {name: (made.folder / name).read_bytes() for name in before} == before
        assert (done.stage, done.problems, done.policy) == ("done", (), "cleanup_days")
        assert done.expires_at == pytest.approx(done.started_at + 0.25 + 30 * 86_400)
        assert [(file.name, file.role, file.tracks) for file in done.files] == [
            ("r1-leg0.wav", "leg", (0,)), ("r1-leg1.wav", "leg", (1,)), ("r1.wav", "merged", (0, 1)), ("r1.siprec.json", "signalling", ()),
        ]  # fmt: skip
        for file in done.files:
            assert file.sha256 == hashlib.sha256((made.folder / file.path).read_bytes()).hexdigest()
        assert (done.vendor, done.correlation, done.participants) == ("oracle", ("ucid:00fa",), ("sip:alice@example.com", "sip:bob@example.net;user=phone"))
        assert made.catalogue.verify(done) == []


def test_everything_at_once_is_flac_encrypted_and_elsewhere_only(tmp_path: Path) -> None:
    with rig(tmp_path, EVERYTHING) as made:
        record(made.folder, capture=True)
        merged = samples(made.folder / "r1.wav")
        made.work()
        done = made.of()
        assert done.stage == "done"
        assert made.names() == {"r1.json", "r1.record", "r1.locations", "r1.siprec.json.enc"}
        sound = [file for file in done.files if file.role in ("leg", "merged", "capture")]
        assert len(sound) == 4
        for file in sound:
            assert (file.path, len(file.locations), file.sealed is not None) == ("", 1, True)
            assert file.sealed is not None and file.locations[0].sha256 == file.sealed.sha256
        flac = made.content("r1", "r1.wav")
        assert hashlib.sha256(flac).hexdigest() == next(file.sha256 for file in done.files if file.name == "r1.wav")
        (tmp_path / "back.flac").write_bytes(flac)
        assert np.array_equal(soundfile.read(tmp_path / "back.flac", dtype="int16")[0], merged)
        assert made.catalogue.verify(done) == []
        document = made.catalogue.document(done)
        assert document is not None and document.session.participants[0].aor == "sip:alice@example.com"
        stored = b"".join(path.read_bytes() for path in (tmp_path / "elsewhere").rglob("*") if path.is_file())
        assert b"fLaC" not in stored and b"alice" not in stored


def test_a_form_that_cannot_hold_it_leaves_wav_and_says_so(tmp_path: Path) -> None:
    with rig(tmp_path, {"recording": {"format": "mp3"}}) as made:
        record(made.folder, legs=3)
        made.work()
        done = made.of()
        formats = {file.name: file.format for file in done.files}
        assert formats == {"r1-leg0.wav": "mp3", "r1-leg1.wav": "mp3", "r1-leg2.wav": "mp3", "r1.wav": "wav", "r1.siprec.json": "json"}
        assert done.stage == "done" and done.warnings[0].startswith("r1.wav: stays WAV")
        assert {"r1-leg0.mp3", "r1.wav"} <= made.names() and "r1-leg0.wav" not in made.names()


def test_a_file_that_was_changed_is_never_replaced(tmp_path: Path) -> None:
    with rig(tmp_path, ENCRYPTED) as made:
        record(made.folder)
        record(made.folder, "r2", "call-2@host")
        with (made.folder / "r1-leg0.wav").open("r+b") as file:
            file.seek(100)
            file.write(b"\x55\x55")
        changed = (made.folder / "r1-leg0.wav").read_bytes()
        made.work(lambda: bool(made.folder.joinpath("r1.record").exists() and made.of().problems) and made.of("r2").stage == "done")
        assert "not what it was" in made.of().problems[0]
        assert (made.folder / "r1-leg0.wav").read_bytes() == changed
        assert "r1-leg0.wav: its content was changed" in made.catalogue.verify(made.of())


def test_manifests_that_cannot_be_read_keep_no_other(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        record(made.folder)
        (made.folder / "broken.json").write_bytes(b'{"recording_id": "broken", ')
        (made.folder / "outside.json").write_bytes(
            (made.folder / "r1.json").read_bytes().replace(b'"r1-leg0.wav"', b'"../secret.wav"').replace(b'"recording_id": "r1"', b'"recording_id": "outside"')
        )
        os.symlink("/etc/passwd", made.folder / "linked.json")
        for name in ("broken", "outside", "linked"):
            os.utime(made.folder / f"{name}.json", (BEGAN, BEGAN), follow_symlinks=False)

        async def scenario() -> None:
            pipeline = made.pipeline()
            await pipeline.start()
            await met(lambda: made.folder.joinpath("r1.record").exists() and made.of().stage == "done")
            await met(lambda: len(made.catalogue.unreadable) == 3)
            assert pipeline.checks()["recordings"].status == "degraded"
            await pipeline.close()

        asyncio.run(scenario())
        assert set(made.catalogue.unreadable) == {"broken.json", "outside.json", "linked.json"}
        assert "outside.record" not in made.names()


# ---- redaction ----


class Redactor:
    """Silences what it is told, once it may."""

    def __init__(self, intervals: Sequence[Interval]) -> None:
        self.told: Sequence[Interval] | None = None
        self.final, self.asked = intervals, 0

    async def intervals(self, record: Record) -> Sequence[Interval] | None:
        self.asked += 1
        return self.told

    def silence(self, source: Path, target: Path, file: KeptFile, intervals: Sequence[Interval]) -> None:
        content = bytearray(source.read_bytes())
        width = 2 * max(len(file.tracks), 1)
        begin = len(content) - len(samples(source)) * width
        for each in intervals:
            first, last = (begin + at * 8 * width for at in (each.start_ms, each.end_ms))
            content[first:last] = bytes(last - first)
        target.write_bytes(content)


def test_what_must_not_be_heard_is_gone_before_anything_else_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.recordings.pipeline.WAIT_S", 0.02)
    with rig(tmp_path, EVERYTHING) as made:
        record(made.folder, capture=True)
        whole = samples(made.folder / "r1.wav")
        redactor = Redactor([Interval("pii", 50, 100, "card")])
        made.keeping.redactor = redactor

        async def scenario() -> None:
            pipeline = made.pipeline()
            await pipeline.start()
            await met(lambda: redactor.asked > 2)
            assert made.of().stage == "sealed" and "r1.wav" in made.names()
            redactor.told = redactor.final
            await met(made.is_done)
            await pipeline.close()

        asyncio.run(scenario())
        done = made.of()
        assert [(each.start_ms, each.end_ms) for each in done.redactions] == [(50, 100)]
        assert all(file.role != "capture" for file in done.files)  # packets cannot be silenced
        (tmp_path / "back.flac").write_bytes(made.content("r1", "r1.wav"))
        heard = soundfile.read(tmp_path / "back.flac", dtype="int16")[0]
        assert not heard[400:800].any()
        assert np.array_equal(heard[:400], whole[:400]) and np.array_equal(heard[800:], whole[800:])
        assert made.catalogue.verify(done) == []


# ---- kill -9 ----

COUNTED = ("open", "rename", "unlink", "link", "fsync", "ftruncate")


def _run_and_die(data: Path, changes: dict[str, Any], at: int) -> bool:
    """Works in a process that is killed at its so-many-th operation on files; whether it lived."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    done = 0
    for name in COUNTED:
        real = getattr(os, name)

        def counted(*arguments: Any, _real: Any = real, **more: Any) -> Any:
            nonlocal done
            done += 1
            if done == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return _real(*arguments, **more)

        setattr(os, name, counted)
    try:
        made = Rig(data, changes)
        made.work()
    except BaseException:
        os._exit(3)
    os._exit(0)


def _is_whole(made: Rig, first: Any) -> bool:
    """Nothing that was recorded is lost: what the record says is there, or else all that the manifest says."""
    if not (made.folder / "r1.record").exists():
        return not manifests.problems(made.folder / "r1.json")
    told = made.of()
    for file in told.files:
        content = b"".join(made.catalogue.read_audio(told, file))
        if hashlib.sha256(content).hexdigest() != file.sha256:
            return False
        if file.role == "merged" and file.format == "wav" and content != first:
            return False
    return len([file for file in told.files if file.role in ("leg", "merged", "capture")]) == 4


@pytest.mark.slow
def test_a_kill_at_any_operation_loses_nothing_and_leaves_nothing_twice(tmp_path: Path) -> None:
    source = tmp_path / "source"
    record(source / "recordings", seconds=0.1, capture=True)
    content = (source / "recordings" / "r1.wav").read_bytes()
    killed, at = 0, 1
    while True:
        data = tmp_path / f"run{at}"
        (data / "recordings").mkdir(parents=True)
        for path in (source / "recordings").iterdir():
            (data / "recordings" / path.name).write_bytes(path.read_bytes())
        lived = _run_and_die(data, EVERYTHING, at)
        with rig(data, EVERYTHING) as made:
            assert _is_whole(made, content), f"killed at operation {at}"
            made.work()
            done = made.of()
            assert done.stage == "done" and made.catalogue.verify(done) == []
            assert made.names() == {"r1.json", "r1.record", "r1.locations", "r1.siprec.json.enc"}, f"killed at operation {at}"
            stored = [path for path in (data / "elsewhere").rglob("*") if path.is_file() and not path.name.startswith(".")]
            assert len(stored) == 5 and made.catalogue.lookup.count() == 1
        if lived:
            break
        killed += 1
        at += 1 + at // 12  # every one at first, then further apart
    assert killed > 30


# ---- a bucket that is away ----


class Away:
    """A backend that fails until it is told otherwise."""

    def __init__(self, real: Any) -> None:
        self.real, self.is_there, self.tried = real, False, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def put(self, path: Path, key: str, *, sha256: str) -> Any:
        self.tried += 1
        if not self.is_there:
            raise OSError(113, "No route to host")
        return self.real.put(path, key, sha256=sha256)


def test_recordings_wait_for_a_bucket_and_one_at_a_time_tries_it(tmp_path: Path) -> None:
    changes = {"recording": {"storage": {"enabled": True, "keep_local": False, "folder": "elsewhere"}}}
    with rig(tmp_path, changes) as made:
        for number in range(12):
            record(made.folder, f"r{number}", f"call-{number}@host", seconds=0.02)
        storage = made.places.storage()
        away, clock = Away(storage), [0.0]

        async def scenario() -> None:
            pipeline = Pipeline(made.keeping, storage=lambda: away, vault=made.places.vault, monotonic=lambda: clock[0])
            await pipeline.start()
            await met(lambda: len([path for path in made.folder.glob("*.record") if made.of(path.stem).stage == "encrypted"]) >= 3)
            await met(lambda: away.tried >= 3 and "fail" in pipeline.checks()["recordings"].message)
            told = pipeline.checks()["recordings"]
            assert told.status == "degraded" and "No route to host" in told.message
            tried = away.tried
            assert tried <= 6  # the others were held back
            assert all((made.folder / f"r{number}.wav").exists() for number in range(12))
            away.is_there = True
            while not made.is_done():
                clock[0] += 1.0
                await pipeline.add([])
                await asyncio.sleep(0.01)
            assert pipeline.checks()["recordings"].status == "healthy"
            await pipeline.close()

        asyncio.run(scenario())
        assert all(not (made.folder / f"r{number}.wav").exists() for number in range(12))
        assert all(made.of(f"r{number}").problems == () for number in range(12))
        assert made.catalogue.verify(made.of("r3")) == []


def test_what_one_uploaded_is_not_sent_again(tmp_path: Path) -> None:
    changes = {"recording": {"storage": {"enabled": True, "folder": "elsewhere"}}}
    with rig(tmp_path, changes) as made:
        record(made.folder)
        away = Away(made.places.storage())
        away.is_there = True
        kept: list[str] = []
        real = away.real.put

        def put(path: Path, key: str, *, sha256: str) -> Any:
            if len(kept) == 2 and "failed" not in kept:
                kept.append("failed")
                raise OSError(5, "Input/output error")
            kept.append(key)
            return real(path, key, sha256=sha256)

        away.put = put  # type: ignore[method-assign]
        clock = [0.0]

        async def scenario() -> None:
            pipeline = Pipeline(made.keeping, storage=lambda: away, vault=made.places.vault, monotonic=lambda: clock[0])
            await pipeline.start()
            while not (made.folder.joinpath("r1.record").exists() and made.is_done()):
                clock[0] += 1.0
                await pipeline.add([])
                await asyncio.sleep(0.01)
            await pipeline.close()

        asyncio.run(scenario())
        keys = [key for key in kept if key != "failed"]
        assert len(keys) == len(set(keys)) == 4
        assert (made.folder / "r1.wav").exists()
        urls = made.catalogue.locations(made.of())
        assert len(urls) == 4 and all(url.startswith("file:") for url in urls)


@pytest.mark.slow
def test_an_s3_store_that_is_cut_off_is_waited_for_and_nothing_goes_before_it_has_all(tmp_path: Path) -> None:
    with s3.store(tmp_path / "moto.log") as running:
        client = running.client()
        client.create_bucket(Bucket="calls")
        settings = msgspec.to_builtins(running.settings("calls"))
        changes = {"recording": {"storage": {"enabled": True, "keep_local": False, "s3": settings}}, **ENCRYPTED}
        with rig(tmp_path, changes) as made:
            for number in range(4):
                record(made.folder, f"r{number}", f"call-{number}@host", seconds=2.0, correlation=())
            storage = made.places.storage()
            storage._limits = msgspec.structs.replace(storage._limits, connect_s=0.5, read_s=2.0, attempts=1)  # type: ignore[union-attr]
            clock = [0.0]

            async def scenario() -> None:
                pipeline = Pipeline(made.keeping, storage=made.places.storage, vault=made.places.vault, monotonic=lambda: clock[0])
                await pipeline.start()
                with running.away():
                    await met(lambda: "fail" in pipeline.checks()["recordings"].message)
                    assert all((made.folder / f"r{number}.wav.enc").exists() or (made.folder / f"r{number}.wav").exists() for number in range(4))
                while not made.is_done():
                    clock[0] += 1.0
                    await pipeline.add([])
                    await asyncio.sleep(0.05)
                await pipeline.close()

            asyncio.run(scenario())
            keys = {each["Key"] for each in client.list_objects_v2(Bucket="calls")["Contents"]}
            assert len(keys) == 16 and all("/r" in key for key in keys)
            assert not [name for name in made.names() if name.endswith((".wav", ".enc"))]
            for number in range(4):
                assert made.catalogue.verify(made.of(f"r{number}")) == []
            body = client.get_object(Bucket="calls", Key=next(key for key in keys if key.endswith("r0.wav.enc")))["Body"].read()
            assert body.startswith(b"TLKVAULT")
            assert asyncio.run(made.catalogue.erase(made.of("r0"), by="ada")) == ()
            assert len(client.list_objects_v2(Bucket="calls")["Contents"]) == 12
            made.places.close()
        client.close()
