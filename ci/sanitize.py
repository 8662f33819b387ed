"""Runs the tests that reach native code over kernels built with address and undefined-behaviour checks.

The build is made in a copy of the tree, `.sanitize/`, so that the one in use stays optimised. Leaks are not
looked for: the kernels allocate nothing, and the interpreter does not free everything at its end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / ".sanitize"
PARTS = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "engine", "api", "bench", "tests")
KEPT = {"", ".py", ".pyi", ".pyx", ".pxd", ".c", ".h", ".toml", ".md", ".dat", ".txt", ".json", ".html", ".typed"}
TESTS = ("tests/engine/_native", "tests/engine/srtp", "tests/engine/codecs", "tests/engine/media", "tests/engine/trace", "tests/rfc", "tests/fuzz", "tests/oracle", "tests/contract")


def wanted(path: Path) -> bool:
    """Whether a file belongs in the copy: neither built nor a corpus. Test data come in every format there is."""
    if path.parts[0] == "tests":
        return "__pycache__" not in path.parts
    return path.suffix in KEPT and "__pycache__" not in path.parts and path.parts[:2] != ("bench", "data")


def copy_tree() -> None:
    """Brings the copy up to date. Times are kept and what is built there stays, so that only changes compile."""
    listed = [ROOT / part for part in PARTS]
    files = [path for part in listed for path in ([part] if part.is_file() else sorted(part.rglob("*")))]
    names = {path.relative_to(ROOT) for path in files if path.is_file() and wanted(path.relative_to(ROOT))}
    for stale in COPY.rglob("*"):
        name = stale.relative_to(COPY)
        if stale.is_file() and name.parts[0] in PARTS and stale.suffix != ".so" and name not in names:
            stale.unlink()
    for name in sorted(names):
        source, target = ROOT / name, COPY / name
        if not target.exists() or target.stat().st_mtime_ns != source.stat().st_mtime_ns:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def library(name: str) -> str:
    """Path of a library of the compiler."""
    return subprocess.run(["cc", f"-print-file-name={name}"], check=True, capture_output=True, text=True).stdout.strip()


def environment() -> dict[str, str]:
    """What the interpreter needs for checked modules: the check library first, and the plain allocator.

    The C++ library is named too, or the address checks would miss its exceptions' entry points in packages
    that are loaded later.
    """
    return {
        **os.environ,
        "LD_PRELOAD": f"{library('libasan.so')} {library('libstdc++.so')}",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(COPY),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }


def run(command: list[str], env: dict[str, str]) -> int:
    """Prints and runs a command inside the copy."""
    print("+", " ".join(command), flush=True)
    return subprocess.run(command, cwd=COPY, env=env, check=False).returncode


def main() -> int:
    """Builds, makes sure that the checked modules are the ones loaded, and runs the tests given or all."""
    copy_tree()
    checks = {**os.environ, "TRUNKLINE_SANITIZE": "address,undefined"}
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--parallel", "2"]
    if run(build, checks):
        return 1
    modules = sorted((COPY / "engine" / "_native").glob("*.so"))
    if not modules or any(b"__asan_report" not in module.read_bytes() for module in modules):
        print("the native modules are missing or not built with checks", file=sys.stderr)
        return 1
    tests = sys.argv[1:] or [path for path in TESTS if (COPY / path).exists()]
    return run([sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *tests], environment())


if __name__ == "__main__":
    sys.exit(main())
