"""What a legal configuration is. Names of metrics and dimensions are checked by their own parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic.fields import FieldInfo

from neuron_exporter.units import format_duration, parse_duration, parse_size

_HOST = re.compile(
    r"(?:[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*)?|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]"
)
_REGION = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)?")
_SWITCH = TypeAdapter(bool)

T = TypeVar("T", bound=Iterable[Any])


def _duration(value: Any) -> float:
    if not isinstance(value, str):
        raise ValueError('must be a duration with its unit, such as "5s" or "1m"')
    return parse_duration(value)


def _size(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise ValueError('must be a size such as "16MiB"')
    return parse_size(value)


def _between(low: float, high: float) -> Callable[[float], float]:
    def check(seconds: float) -> float:
        if not low <= seconds <= high:
            raise ValueError(f"must be between {format_duration(low)} and {format_duration(high)}")
        return seconds

    return check


def _whole(seconds: float) -> float:
    if seconds != int(seconds):
        raise ValueError("must be whole seconds: neuron-monitor takes no others")
    return seconds


def _at_least(low: int) -> Callable[[int], int]:
    def check(count: int) -> int:
        if count < low:
            raise ValueError(f"must be at least {low} bytes")
        return count

    return check


def _switch_or_auto(value: Any) -> bool | str:
    if value == "auto":
        return "auto"
    try:
        return _SWITCH.validate_python(value)
    except ValidationError:
        raise ValueError("must be true, false or auto") from None


def _listen(value: Any) -> str:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if host.count(":") > 1 and "[" not in host:
        raise ValueError('an IPv6 address stands in brackets, as in "[::]:9415"')
    if not (colon and _HOST.fullmatch(host) and re.fullmatch("[0-9]{1,5}", port)):
        raise ValueError('must be HOST:PORT, as in "0.0.0.0:9415" or "[::]:9415"')
    if int(port) > 65535:
        raise ValueError("must have a port from 0 to 65535")
    return str(value)


def _one_or_several(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _program(words: list[str]) -> list[str]:
    if not words[0].strip():
        raise ValueError("must begin with the name of a program")
    return words


def _region(value: str) -> str:
    if not _REGION.fullmatch(value):
        raise ValueError('must be a region such as "us-east-1"')
    return value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be text without control characters")
    return value


def _distinct(same: Callable[[Any], Hashable], what: str) -> Callable[[T], T]:
    def check(items: T) -> T:
        known = [same(item) for item in items]
        if len(set(known)) < len(known):
            raise ValueError(f"must not name {what} twice")
        return items

    return check


def is_duration(field: FieldInfo) -> bool:
    """Whether a key's value is in seconds, and written with its unit."""
    return any(getattr(each, "func", None) is _duration for each in field.metadata)


Duration = Annotated[float, Field(allow_inf_nan=True), BeforeValidator(_duration)]
Size = Annotated[int, BeforeValidator(_size)]
Patterns = list[str]
Name = Annotated[str, AfterValidator(_printable)]
Region = Annotated[str, AfterValidator(_region)]
Dimension = Annotated[str, Field(min_length=1, max_length=255)]


class Section(BaseModel):
    """A mapping of the file: unknown keys are errors, and nothing changes after the start.

    Numbers are no text: YAML reads 1.10 as 1.1 and 0123 as 83, and nobody meant that.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


class Replay(Section):
    """How a file is replayed: speed 0 is as fast as possible."""

    speed: Annotated[float, Field(ge=0, le=1000)] = 1
    at_end: Literal["exit", "repeat"] = "exit"


class Source(Section):
    """Where reports come from."""

    kind: Literal["neuron-monitor", "stdin", "file", "simulator"] = "neuron-monitor"
    command: Annotated[list[str], Field(min_length=1), AfterValidator(_program)] = [
        "neuron-monitor"
    ]
    path: str | None = None
    period: Annotated[Duration, AfterValidator(_between(1, 3600)), AfterValidator(_whole)] = "5s"  # type: ignore[assignment]
    max_line: Annotated[Size, AfterValidator(_at_least(1024))] = "16MiB"  # type: ignore[assignment]
    replay: Replay = Replay()


class Counters(Section):
    """How ambiguous readings are counted."""

    ecc: Literal["reset_aware", "tally", "level"] = "reset_aware"
    generic: Literal["ignore", "level"] = "ignore"


class Prometheus(Section):
    """The Prometheus endpoint, and the address of all that is served."""

    enabled: bool = True
    listen: Annotated[
        list[Annotated[str, BeforeValidator(_listen)]],
        Field(min_length=1),
        AfterValidator(_distinct(str, "an address")),
        BeforeValidator(_one_or_several),
    ] = "0.0.0.0:9415"  # type: ignore[assignment]
    web_config_file: str | None = None
    layout: Literal["core", "aws"] = "core"
    preset: Literal["minimal", "standard", "full"] = "full"
    include: Patterns = []
    exclude: Patterns = []
    runtime_labels: Annotated[
        list[Literal["runtime_tag", "pid"]],
        Field(min_length=1),
        AfterValidator(_distinct(str, "a label")),
    ] = ["runtime_tag"]


class Budget(Section):
    """What CloudWatch may cost: for one machine, at the first price tier."""

    max_metrics: Annotated[int, Field(ge=1)] | None = 100
    max_monthly_usd: Annotated[float, Field(gt=0)] | None = None
    keep: Patterns = []


class Spool(Section):
    """Where requests wait out an outage."""

    path: str | None = "/var/lib/neuron-exporter/spool.db"
    max_bytes: Annotated[Size, AfterValidator(_at_least(64 * 1024))] = "256MiB"  # type: ignore[assignment]
    max_age: Annotated[Duration, AfterValidator(_between(60, 14 * 86400))] = "14d"  # type: ignore[assignment]


class CloudWatch(Section):
    """What goes to CloudWatch, and how."""

    enabled: bool = False
    transport: Literal["api", "emf"] = "api"
    namespace: str = "NeuronExporter"
    region: Region | None = None
    endpoint_url: str | None = None
    scope: Literal["machine", "task"] = "machine"
    preset: Literal["minimal", "standard", "full"] = "standard"
    include: Patterns = []
    exclude: Patterns = []
    flush_interval: Annotated[
        Duration, AfterValidator(_between(1, 3600)), AfterValidator(_whole)
    ] = "60s"  # type: ignore[assignment]
    dimension_sets: Annotated[
        list[list[Dimension]],
        Field(min_length=1),
        AfterValidator(_distinct(frozenset, "a set of dimensions")),
    ] = [["InstanceId", "InstanceType"]]
    extra_dimensions: dict[str, str] = {}
    budget: Budget = Budget()
    spool: Spool = Spool()


class Identity(Section):
    """Who this machine is, where it cannot or should not be found out."""

    instance_id: Name | None = None
    instance_type: Name | None = None
    region: Region | None = None
    cluster: Name | None = None
    auto_scaling_group: Name | None = None
    imds: bool = True
    ecs: bool = True
    ecs_services: bool = False
    kubernetes: Annotated[bool | str, BeforeValidator(_switch_or_auto)] = "auto"
    pod_labels: Patterns = []


class Web(Section):
    """The exporter's own page."""

    page: bool = True


class Log(Section):
    """What is logged, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Config(Section):
    """The whole configuration; every key has a default."""

    source: Source = Source()
    counters: Counters = Counters()
    prometheus: Prometheus = Prometheus()
    cloudwatch: CloudWatch = CloudWatch()
    identity: Identity = Identity()
    web: Web = Web()
    log: Log = Log()
