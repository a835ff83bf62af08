"""Prints the reports at their period, with the faults that were asked for."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from typing import Any, NoReturn

from exporter.simulator.machine import Machine
from exporter.simulator.options import Options, parse

_CHANCE_OF_GARBAGE = 0.2
_FOREVER = 3600.0


def main(arguments: list[str] | None = None) -> int:
    """Run until all reports are printed, nobody reads any more, or a signal."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(options)
    except (BrokenPipeError, KeyboardInterrupt):
        return 0
    except OSError as error:
        sys.stderr.write(f"the reports cannot be written: {error.strerror}\n")
        return 1


def _run(options: Options) -> int:
    machine = Machine(options)
    rng = random.Random(f"{options.seed}:faults")  # noqa: S311 (a simulation)
    faults = {
        (fault.name, fault.at if fault.at is not None else rng.randrange(5, 16))
        for fault in options.faults
    }
    often = {fault.name for fault in options.faults if fault.at is None}
    started = time.monotonic()
    for number in range(options.reports if options.reports is not None else sys.maxsize):
        if machine.next_at is None:
            _hang()  # as neuron-monitor, which prints nothing at all for periods in milliseconds
        elif options.speed:
            due = started + machine.next_at / options.speed
            while (left := due - time.monotonic()) > 0:
                time.sleep(min(left, _FOREVER))
        line = _line(machine.report(number))
        if ("crash", number + 1) in faults:
            sys.stderr.write("simulated crash\n")
            return 1
        if ("stall", number + 1) in faults:
            _hang()
        if ("garbage", number + 1) in faults or (
            "garbage" in often and rng.random() < _CHANCE_OF_GARBAGE
        ):
            _write(_garbage(line, rng))
        _write(line)
    return 0


def _hang() -> NoReturn:
    while True:
        time.sleep(_FOREVER)


def _line(report: dict[str, Any]) -> bytes:
    return json.dumps(report, separators=(",", ":")).encode() + b"\n"


def _garbage(line: bytes, rng: random.Random) -> bytes:
    """Lines that are no reports: text, half a report, other JSON, bytes."""
    noise = bytes(byte for byte in rng.randbytes(64) if byte != 0x0A)
    half = line[: rng.randrange(1, len(line) - 1)]
    return b"\n".join((b"time=now level=warn msg=simulated", half, b"[]", b"{}", noise, b""))


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    sys.exit(main())
