"""Becomes another program that does not outlive the thread that started it.

    python launch.py PARENT_PID STATUS_FD PROGRAM [ARGUMENT ...]

Asks the kernel to kill this process when its parent's thread ends (`PR_SET_PDEATHSIG`, kept
across exec), makes it the first to go when memory runs out, and executes PROGRAM. STATUS_FD is
closed by a successful exec; otherwise the reason is written to it. It is a program of its own
because nothing but exec is safe between fork and exec in a process with threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_OOM_SCORE_ADJ = 500


def main(arguments: list[str]) -> None:
    """Become the program, or write why that failed."""
    parent, status, program = int(arguments[0]), int(arguments[1]), arguments[2]
    os.set_inheritable(status, False)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return  # the parent ended before the request was made
    try:
        with open("/proc/self/oom_score_adj", "r+") as file:
            adjusted = min(1000, int(file.read()) + _OOM_SCORE_ADJ)
            file.seek(0)
            file.write(str(adjusted))
    except (OSError, ValueError):
        pass  # a hardened container may forbid it; nothing depends on it
    # Python ignores SIGPIPE; the program must have it as every program does.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execv(program, arguments[2:])  # noqa: S606 (no shell is the point)
    except OSError as error:
        os.write(status, (error.strerror or str(error)).encode())
        sys.exit(126)


if __name__ == "__main__":
    main(sys.argv[1:])
