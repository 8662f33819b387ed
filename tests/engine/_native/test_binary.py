"""What the compiled kernels are as files and as guests of an interpreter: hardened, and well behaved when it ends, forks or is stopped.

Rows N05 and N08 of the hostile-input catalogue.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import engine._native
from engine.errors import TraceError
from engine.trace import read
from tests.data.scene import Scene
from tests.running import ROOT

BINARIES = sorted(Path(engine._native.__path__[0]).glob("*.so"))
SANITIZED = any(b"__asan_report" in binary.read_bytes() for binary in BINARIES)


def told(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("binary", BINARIES, ids=lambda path: path.name.partition(".")[0])
@pytest.mark.skipif(SANITIZED, reason="the checked build is not the one that is shipped")
def test_binaries_are_hardened(binary: Path) -> None:
    """N08: no executable stack, nothing writable and executable, relocations read-only before any code runs, no text relocations."""
    segments = told("readelf", "-lW", str(binary)).splitlines()
    [stack] = [line for line in segments if "GNU_STACK" in line]
    assert "RWE" not in stack
    assert any("GNU_RELRO" in line for line in segments)
    assert not any(line.split()[0] == "LOAD" and "RWE" in line for line in segments if line.strip())
    dynamic = told("readelf", "-dW", str(binary))
    assert "BIND_NOW" in dynamic or "NOW" in dynamic
    assert "TEXTREL" not in dynamic
    assert "DYN" in told("readelf", "-hW", str(binary))


@pytest.mark.skipif(SANITIZED, reason="the checked build is not the one that is shipped")
def test_buffers_on_the_stack_are_guarded_and_copies_checked() -> None:
    """N08: the stack protector and _FORTIFY_SOURCE were on when the kernels were compiled."""
    symbols = {binary.name.partition(".")[0]: told("nm", "-D", str(binary)) for binary in BINARIES}
    assert all("__stack_chk_fail" in names for names in symbols.values())
    assert "_chk@" in symbols["trace"].replace("__stack_chk_fail@", "")


def test_kernels_export_only_their_module() -> None:
    """N08: a name of ours can neither hide nor be hidden by one of another library."""
    for binary in BINARIES:
        defined = {line.split()[-1] for line in told("nm", "-D", "--defined-only", str(binary)).splitlines()}
        ours = {name for name in defined if not name.startswith(("PyInit_", "__asan", "__odr_asan", "_init", "_fini", "__lsan", "__ubsan"))}
        assert not ours, binary.name


# ---- N05 ----


def capture(calls: int = 300) -> bytes:
    scene = Scene()
    for at in range(calls):
        scene.call(at=at * 0.1, call_id=f"n{at}@x").basic(talk_s=0.2)
    return scene.pcap()


class Stop(Exception):
    pass


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, SystemExit, MemoryError])
def test_an_exception_in_a_callback_comes_out_as_it_is(error: type[BaseException]) -> None:
    """N05: thrown by `progress`, between two steps of the native pass; the next reading is whole."""
    data = capture(60)

    def progress(done: int, total: int, name: str) -> None:
        raise error

    with pytest.raises(error):
        read(data, progress=progress)
    assert len(read(data).calls) == 60


def run(program: str, *, code: int = 0) -> str:
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr[-2000:]
    return done.stdout


HEAD = "from tests.engine._native.test_binary import capture\nfrom engine.trace import read\nimport os, sys, threading, time, signal\n"


@pytest.mark.slow
def test_an_interpreter_that_ends_while_threads_read_ends_cleanly() -> None:
    """N05: daemon threads are in the native pass, without the lock, when the interpreter goes away."""
    program = HEAD + (
        "data = capture(200)\n"
        "def forever():\n    while True: read(data)\n"
        "for _ in range(3): threading.Thread(target=forever, daemon=True).start()\n"
        "read(data)\nprint('ended')\n"
    )
    for _ in range(3):
        assert run(program) == "ended\n"


def test_tables_that_outlive_everything_are_no_harm() -> None:
    """N05: columns are alive in module globals and in reference cycles when the interpreter is taken down."""
    program = HEAD + (
        "import gc\nkept = read(capture(20)); columns = [kept.messages.time_ns, kept.calls.kind]\n"
        "kept.self = kept; cycle = [kept]; cycle.append(cycle); del kept; print(len(columns[0]))\n"
    )
    assert int(run(program)) == 140


@pytest.mark.skipif(SANITIZED, reason="the address checks' own allocator keeps its locks over a fork")
def test_a_child_forked_beside_reading_threads_reads_for_itself() -> None:
    """N05: fork after threads: no lock of the parent's other threads is held for ever in the child."""
    program = HEAD + (
        "data = capture(50)\nread(data)\nstop = threading.Event()\n"
        "def forever():\n    while not stop.is_set(): read(data)\n"
        "threads = [threading.Thread(target=forever) for _ in range(2)]\n"
        "for thread in threads: thread.start()\n"
        "ended = []\n"
        "for _ in range(10):\n"
        "    pid = os.fork()\n"
        "    if pid == 0: os._exit(0 if len(read(data).calls) == 50 else 1)\n"
        "    ended.append(os.waitpid(pid, 0)[1])\n"
        "stop.set()\nfor thread in threads: thread.join()\nprint(ended)\n"
    )
    assert run(program) == f"{[0] * 10}\n"


@pytest.mark.slow
def test_a_signal_during_the_pass_is_handled_behind_it() -> None:
    """N05: handlers run in Python, between steps; the tables are as without the signal."""
    program = HEAD + (
        "data = capture(300)\nseen = []\n"
        "signal.signal(signal.SIGALRM, lambda *_: seen.append(1))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\n"
        "counts = {len(read(data).calls) for _ in range(20)}\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\nprint(counts, bool(seen))\n"
    )
    assert run(program) == "{300} True\n"


@pytest.mark.slow
def test_ctrl_c_during_a_long_reading_ends_it() -> None:
    """N05: KeyboardInterrupt comes out at the next step."""
    program = HEAD + (
        "data = capture(300)\n"
        "try:\n    print('ready', flush=True)\n    while True: read(data)\nexcept KeyboardInterrupt: print('stopped')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "stopped\n"
    assert process.returncode == 0


def test_a_second_interpreter_in_the_process_is_refused_or_served() -> None:
    """N05: sub-interpreters share the C globals of a module: an import there must be an ImportError or work, never a crash."""
    program = HEAD + (
        "import importlib\n"
        "try:\n    interpreters = importlib.import_module('_xxsubinterpreters')\n"
        "except ImportError:\n    interpreters = importlib.import_module('_interpreters')\n"
        "made = interpreters.create()\n"
        "try:\n    told = interpreters.run_string(made, 'import sys; sys.path.insert(0, \".\"); import engine._native.sip')\n"
        "except Exception as error:\n    told = error\n"
        "print('alive', len(read(capture(3)).calls))\n"
    )
    assert run(program) == "alive 3\n"


def test_errors_of_every_kernel_leave_the_module_usable() -> None:
    """N05: what is thrown at the doors (wrong types, closed buffers) changes nothing behind them."""
    from engine._native import sdp, sip

    doors: list[Callable[[object], object]] = [sip.scan, sip.parse_uri, sip.parse_via, sip.split_list, sdp.of_message, read]
    released = memoryview(b"INVITE")
    released.release()
    for door in doors:
        for wrong in (None, 5, object(), [], released, memoryview(b"abcdef")[::2]):
            with pytest.raises((TypeError, ValueError, BufferError, TraceError)):
                door(wrong)
    assert len(read(capture(2)).calls) == 2
