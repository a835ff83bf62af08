"""Launcher that replaces itself with a program that cannot outlive the thread that started it.

    python launch.py PARENT_PID STATUS_FD PROGRAM [ARGUMENT ...]

It asks the kernel to kill this process when the parent's thread ends (`PR_SET_PDEATHSIG`, kept
across exec), marks it, raises its OOM score, and executes PROGRAM. A successful exec closes
STATUS_FD; otherwise the reason is written to it. This is a program of its own because only exec is
safe between fork and exec in a process with threads.
"""

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_OOM_SCORE_ADJ = 500


def mark(pid: int) -> int:
    """Return the limit of real-time CPU (µs, over 35 years) that marks a child's descendants.

    They inherit it, and keep it if they change their session, parent and environment. It holds for
    real-time scheduling alone, where no program comes near it. A descendant that leaves the session
    and lowers the limit is not found.
    """
    return 2**50 + pid


def main(arguments: list[str]) -> None:
    """Execute the program, or write the reason why that failed."""
    parent, status, program = int(arguments[0]), int(arguments[1]), arguments[2]
    os.set_inheritable(status, False)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return  # the parent ended before prctl was called
    with suppress(OSError, ValueError):  # there is a lower limit already
        resource.setrlimit(resource.RLIMIT_RTTIME, (mark(os.getpid()),) * 2)
    try:
        with open("/proc/self/oom_score_adj", "r+") as file:
            adjusted = min(1000, int(file.read()) + _OOM_SCORE_ADJ)
            file.seek(0)
            file.write(str(adjusted))
    except (OSError, ValueError):
        pass  # not allowed in a hardened container, and not required
    # Python ignores SIGPIPE, and exec keeps that; restore the default for the program.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execv(program, arguments[2:])  # noqa: S606 # no shell is intended
    except OSError as error:
        os.write(status, (error.strerror or str(error)).encode())
        sys.exit(126)


if __name__ == "__main__":
    main(sys.argv[1:])
