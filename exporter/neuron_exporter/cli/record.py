"""`neuron-exporter record`: record the source's lines to a file for replay."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import suppress
from typing import BinaryIO, cast

from neuron_exporter.cli.common import (
    FAILED,
    OK,
    add_source_arguments,
    configure_log,
    load_config,
    source_overrides,
)
from neuron_exporter.text import whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source_arguments(parser)
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="new file, compressed if its name ends in .gz (default: standard output)",
    )
    parser.add_argument(
        "--reports", metavar="N", type=whole(1, 10**9), help="stop after this number of reports"
    )
    parser.add_argument(
        "--mask",
        action="store_true",
        help="replace names and IDs of the machine, models and processes",
    )


def run(args: argparse.Namespace) -> int:
    """Record until the end of input, the last report, or a signal.

    Raises:
        ConfigError: the configuration is invalid, or the output cannot be opened.
    """
    from neuron_exporter import log
    from neuron_exporter.cli.recorder import Interrupted, OutputError, Recorder
    from neuron_exporter.metrics.catalogue import CATALOGUE
    from neuron_exporter.pipeline.source import make_source
    from neuron_exporter.report import Masker
    from neuron_exporter.source import SourceError

    loaded = load_config(args.config, source_overrides(args))
    output: str | None = args.output
    configure_log(loaded.config.log)
    logger = log.get_logger(command="record")
    source = make_source(loaded, CATALOGUE)
    recorder = Recorder(source, _open(output), args.reports, Masker() if args.mask else None)
    # The reader of standard output may be stuck. A file gets its last line in full.
    stop = recorder.interrupt if output is None else source.stop
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())
    failed = False
    try:
        source.run(recorder)
        recorder.close()
    except Interrupted:
        pass
    except SourceError as error:
        logger.error("source_failed", reason=str(error))
        failed = True
    except OutputError as error:
        if output is None:
            raise cast(OSError, error.__cause__) from None
        print(f"neuron-exporter: --output: {output}: {error}", file=sys.stderr)
        failed = True
    finally:
        recorder.abandon()
    if output is not None and not recorder.lines:
        with suppress(FileNotFoundError):  # it may have been moved
            os.unlink(output)
    target = f" to {output}" if output and recorder.lines else ""
    print(f"recorded {_count(recorder.reports, 'report')}{target}", file=sys.stderr)
    if recorder.lines_dropped:
        dropped = _count(recorder.lines_dropped, "line")
        print(f"left out {dropped} without a report", file=sys.stderr)
    return FAILED if failed or not recorder.reports else OK


def _open(output: str | None) -> BinaryIO:
    import gzip

    from neuron_exporter.config import ConfigError

    if output is None:
        return open(1, "wb", buffering=0, closefd=False)  # nothing is left to write at the exit
    try:
        if output.endswith(".gz"):
            return cast(BinaryIO, gzip.open(output, "xb"))
        return open(output, "xb")
    except FileExistsError as error:
        raise ConfigError([f"--output: {output}: exists already and is not overwritten"]) from error
    except OSError as error:
        raise ConfigError([f"--output: {output}: {error.strerror or error}"]) from error


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
