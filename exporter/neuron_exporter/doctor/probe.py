"""Open device files; print `open` before each, and then the system's answer.

    python probe.py PATH [PATH ...]

This is a separate program because an open may hang in a broken driver, where a thread could not be
ended.

The files are opened for writing only. Neuron's driver treats that as a query (`ncdev_open` in
neuron_cdev.c of aws-neuronx-dkms): it does not attach the process, which would use one of the
device's 16 slots, and does not wait for a reset. Nothing is written.
"""

import os
import stat
import sys

NO_DEVICE = -1
BEGUN = "open"


def main(paths: list[str]) -> None:
    """Print a line before each open, and an errno after it: 0 for a path that can be opened."""
    for path in paths:
        print(BEGUN, flush=True)
        try:
            if stat.S_ISCHR(os.stat(path).st_mode):
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
                answer = 0
            else:
                answer = NO_DEVICE
        except OSError as error:
            answer = error.errno or 0
        print(answer, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
