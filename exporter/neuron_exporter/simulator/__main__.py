"""Entry point of the simulator: write each report when it is due."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import NoReturn

from neuron_exporter.simulator.context import NextAction
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import Options, parse
from neuron_exporter.simulator.sysfs import Tree, TreeError

_FOREVER = 3600.0


def main(arguments: list[str] | None = None) -> int:
    """Run until all reports are written, the reader is gone, or a signal arrives."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        tree = Tree(options.sysfs, options.sysfs_layout) if options.sysfs else None
        return _run(options, tree)
    except TreeError as error:
        sys.stderr.write(f"neuron-exporter simulate: error: argument --sysfs: {error}\n")
        return 2
    except (BrokenPipeError, KeyboardInterrupt):
        return 0
    except OSError as error:
        target = error.filename or "the reports"
        sys.stderr.write(f"cannot write {target}: {error.strerror or error}\n")
        return 1


def _run(options: Options, tree: Tree | None) -> int:
    machine = Machine(options)
    started = time.monotonic()
    for number in range(options.reports if options.reports is not None else sys.maxsize):
        if machine.next_at is None:
            _hang()  # like neuron-monitor, which prints nothing for periods in milliseconds
        elif options.speed:
            due = started + machine.next_at / options.speed
            while (left := due - time.monotonic()) > 0:
                time.sleep(min(left, _FOREVER))
        output = machine.output(number)
        with suppress(OSError):  # a closed standard error must not end the run
            _write(2, output.stderr)
        _write(1, output.stdout)
        if tree and machine.driver:  # reports need not wait for it: many files take a second
            tree.write(machine.driver.files())
        match output.next_action:
            case NextAction.EXIT:
                return 1
            case NextAction.HANG:
                _hang()
    return 0


def _hang() -> NoReturn:
    while True:
        time.sleep(_FOREVER)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    sys.exit(main())
