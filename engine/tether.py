"""Starts a program tied to its parent: `python -I -S tether.py PARENT_PID CORES PROGRAM ARGUMENT...`.

The program gets SIGTERM when the thread that started it ends, however it ends, and runs on CORES only ("0,2", or "-"
for all). Runs before anything else is imported, so that a process costs a few milliseconds more and no fork of a
process with threads runs Python code.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2); it outlives execve(2)


def main(arguments: list[str]) -> None:
    """Replaces this process by the program; ends it with status 126 when that cannot be."""
    parent_pid, cores, *command = arguments
    try:
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
        if os.getppid() != int(parent_pid):
            sys.exit("the supervisor ended before its child began")
        if cores != "-":
            os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
        os.execvp(command[0], command)
    except (OSError, ValueError) as error:
        print(f"cannot start {' '.join(command)} on cores {cores}: {error}", file=sys.stderr)
        sys.exit(126)


if __name__ == "__main__":
    main(sys.argv[1:])


__all__ = ["main"]
