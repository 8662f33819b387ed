"""The decrypt command, as a program."""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path

import pytest

from api.commands import Refused
from api.recordings_tools import add_commands
from engine.recordings.keys import KeyMissing, MasterKeys
from engine.recordings.vault import Damaged, Vault

CONTENT = bytes(range(256)) * 600


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    keys = MasterKeys(tmp_path / "data" / "keys", rotation_s=0, now=lambda: 1e9, random=secrets.token_bytes)
    (tmp_path / "call.wav").write_bytes(CONTENT)
    Vault(keys, random=secrets.token_bytes, chunk_bytes=65_536).seal(tmp_path / "call.wav", tmp_path / "call.wav.enc")
    (tmp_path / "call.wav").unlink()
    return tmp_path / "call.wav.enc"


def run(*arguments: object) -> int:
    top = argparse.ArgumentParser()
    commands = top.add_subparsers()

    def command(name: str, function: object, told: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=told)
        made.set_defaults(run=function)
        return made

    add_commands(command)
    args = top.parse_args(["decrypt", *map(str, arguments)])
    code: int = args.run(args)
    return code


def test_with_the_folder_of_keys_alone(sealed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(sealed, "--keys", tmp_path / "data" / "keys") == 0
    assert (tmp_path / "call.wav").read_bytes() == CONTENT
    assert capsys.readouterr().out == f"{tmp_path}/call.wav: {len(CONTENT)} bytes\n"


def test_with_the_configured_keys(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRUNKLINE_CONFIG", raising=False)
    assert run(sealed, "--data", tmp_path / "data", "--output", tmp_path / "out") == 0
    assert (tmp_path / "out").read_bytes() == CONTENT


def test_nothing_is_written_over_or_made_up(sealed: Path, tmp_path: Path) -> None:
    (tmp_path / "call.wav").write_bytes(b"mine")
    with pytest.raises(Refused, match="is there already"):
        run(sealed, "--keys", tmp_path / "data" / "keys")
    assert (tmp_path / "call.wav").read_bytes() == b"mine"
    with pytest.raises(Refused, match="--output"):
        run(sealed.rename(tmp_path / "other"), "--keys", tmp_path / "data" / "keys")


def test_a_wrong_folder_of_keys_is_not_made(sealed: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyMissing):
        run(sealed, "--keys", tmp_path / "typo")
    assert not (tmp_path / "typo").exists()
    assert not (tmp_path / "call.wav").exists()


def test_what_is_whole_of_a_cut_file_is_recovered_and_said_to_be_cut(sealed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = sealed.read_bytes()
    sealed.write_bytes(raw[:-100])
    with pytest.raises(Damaged):
        run(sealed, "--keys", tmp_path / "data" / "keys")
    assert not (tmp_path / "call.wav").exists()
    assert run(sealed, "--keys", tmp_path / "data" / "keys", "--recover") == 1
    assert (tmp_path / "call.wav").read_bytes() == CONTENT[: 2 * 65_536]
    assert "or the file was cut" in capsys.readouterr().err
    sealed.write_bytes(raw)
    assert run(sealed, "--keys", tmp_path / "data" / "keys", "--recover", "--output", tmp_path / "all") == 0
    assert (tmp_path / "all").read_bytes() == CONTENT
