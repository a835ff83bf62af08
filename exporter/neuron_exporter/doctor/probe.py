"""Opens device files, and tells for each what the system answered.

    python probe.py PATH [PATH ...]

It is a program of its own since an open may hang in a sick driver, where no thread can be ended.

Neuron's driver takes a file that is opened for writing only as one for questions: it attaches no
process, which would take one of the device's 16 places, and waits for no reset (`ncdev_open` in
neuron_cdev.c of aws-neuronx-dkms). Nothing is written, nor asked.
"""

import os
import stat
import sys

NO_DEVICE = -1


def main(paths: list[str]) -> None:
    """Print an errno for each path, in their order: 0 for one that can be opened."""
    for path in paths:
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
