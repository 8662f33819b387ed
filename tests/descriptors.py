"""Which files of a folder this process has open. How many descriptors there are in all says little: what other tests left is let go at any time."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def open_in(folder: Path) -> list[str]:
    """Files in a folder that this process has open, and the folder itself, as often as they are open."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return sorted(name for name in found if name == str(folder) or name.startswith(f"{folder}/"))
