"""List the files of the Neuron driver below a folder, and read some of them.

    python sysfs_probe.py ROOT SKIPPED NAME [NAME ...]

This is a separate program, because a read may hang while a device is being reset, and a hanging
thread cannot be ended. Before it reads a file it prints `r PATH`, and afterwards `v PATH VALUE` or
`e PATH ERRNO`. Every file is printed as `f PATH`. The first SKIPPED files to be read are not read.
Files are opened for reading only: a write clears a counter of the driver or resets a device.
"""

import os
import sys

MAX_FILES = 200_000
MAX_DEPTH = 10
MAX_VALUE = 200


def main(root: str, skipped: int, names: list[str]) -> None:
    """Print the files below a folder in a stable order, then the values of those with a name."""
    to_read = []
    for number, path in enumerate(files(root, "", MAX_DEPTH)):
        if number == MAX_FILES:
            break
        print("f", path)
        if path.rpartition("/")[2] in names:
            to_read.append(path)
    for path in to_read[skipped:]:
        print("r", path, flush=True)
        try:
            with open(os.path.join(root, path), "rb") as file:
                value = file.read(MAX_VALUE).decode("utf-8", "replace")
            print("v", path, " ".join(value.split()), flush=True)
        except OSError as error:
            print("e", path, error.errno, flush=True)


def files(root: str, folder: str, depth: int):  # type: ignore[no-untyped-def]
    """Yield the files below a folder, without following symbolic links."""
    try:
        with os.scandir(os.path.join(root, folder)) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        path = os.path.join(folder, entry.name)
        if entry.is_symlink() or "\n" in path or " " in path:
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth:
                yield from files(root, path, depth - 1)
        else:
            yield path


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
