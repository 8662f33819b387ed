"""Processes that run a coroutine over one store, all let go at the same moment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from tests.running import ROOT

WAIT_S: Final = 120
_AROUND: Final = """
import asyncio, sys
from engine.store import Store
{body}
async def opened_and_run():
    store = await Store.open(sys.argv[1], create=False)
    print("ready", flush=True)
    sys.stdin.readline()
    await run(store, *sys.argv[2:])
    await store.close()
asyncio.run(opened_and_run())
"""


@contextmanager
def process(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program with its input and output in pipes; killed and reaped at the end."""
    started = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with started:
        try:
            yield started
        finally:
            started.kill()


def over_store(body: str) -> str:
    """The program that opens the store at its first argument, says "ready", waits for a line and runs the body's `run(store, ...)`."""
    return _AROUND.format(body=body)


def race(program: str, arguments: Sequence[Sequence[str]]) -> list[list[str]]:
    """The lines that a program prints under each of the arguments, begun together once every process has said a first line."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, *told], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for told in arguments
    ]
    try:
        for one in running:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        for one in running:
            assert one.stdin is not None
            one.stdin.write("\n")
            one.stdin.flush()
        lines = [one.communicate(timeout=WAIT_S)[0].splitlines() for one in running]
    finally:
        for one in running:
            one.kill()
            one.wait()
    assert [one.returncode for one in running] == [0] * len(running)
    return lines


__all__ = ["over_store", "process", "race"]
