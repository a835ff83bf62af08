"""What a running exporter says of itself in its snapshot: reasons, which metrics do not tell."""

from __future__ import annotations

import msgspec


class Source(msgspec.Struct):
    """Its source."""

    why: str = ""


class CloudWatch(msgspec.Struct):
    """Its sink; the state is empty where there is none."""

    state: str = ""


class Sinks(msgspec.Struct):
    """Its sinks."""

    cloudwatch: CloudWatch = msgspec.field(default_factory=CloudWatch)


class Snapshot(msgspec.Struct):
    """Of the document what is read here."""

    source: Source = msgspec.field(default_factory=Source)
    sinks: Sinks = msgspec.field(default_factory=Sinks)


def read(document: bytes) -> Snapshot:
    """What the document says; what is not there, or is another program's, says nothing."""
    try:
        return msgspec.json.decode(document, type=Snapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Snapshot()
