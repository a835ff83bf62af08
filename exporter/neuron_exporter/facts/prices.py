"""What CloudWatch costs in us-east-1, and how many metrics other set-ups make.

Prices change, and other Regions differ: each row says where it was read, and when. What nobody
states, as what Container Insights takes for an observation, is left out and never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

from neuron_exporter.facts.instance_types import Source

REGION = "us-east-1"
HOURS_OF_A_MONTH = 730

_PRICE_LIST = Source(
    "varapul/TechSolutions, Amazon CloudWatch, after the AWS Price List of us-east-1", "2026-10"
)
_FREE_TIER = Source("aws.amazon.com/cloudwatch/pricing, a stored copy: free tier", "read 2026-11")
_SIGNOZ = Source("signoz.io/guides/cloudwatch-pricing: the first tier", "2026-02-15")


@dataclass(frozen=True, slots=True)
class Tier:
    """What each unit costs (USD), up to so many of them in all; None is without end."""

    up_to: int | None
    usd: float


@dataclass(frozen=True, slots=True)
class Price:
    """One item of the bill. The account's whole use of a month runs through the tiers."""

    unit: str
    tiers: tuple[Tier, ...]
    sources: tuple[Source, ...]


METRIC = Price(
    "custom metric (name and dimensions) for a month, by the hour",
    (Tier(10_000, 0.30), Tier(250_000, 0.10), Tier(1_000_000, 0.05), Tier(None, 0.02)),
    (_SIGNOZ, _PRICE_LIST),
)
"""Ten metrics of an account are free. They are not taken off: one machine would use them up."""

REQUEST = Price(
    "PutMetricData request",
    (Tier(1_000_000, 0.0), Tier(None, 0.01 / 1000)),
    (_FREE_TIER, _PRICE_LIST),
)
ALARM = Price("metric of a standard alarm for a month", (Tier(None, 0.10),), (_PRICE_LIST,))
ALARM_HIGH_RESOLUTION = Price(
    "metric of an alarm with a period below a minute, for a month",
    (Tier(None, 0.30),),
    (_PRICE_LIST,),
)
ALARM_COMPOSITE = Price("composite alarm for a month", (Tier(None, 0.50),), (_PRICE_LIST,))
LOG_GIGABYTE = Price("GB of logs ingested, standard class", (Tier(None, 0.50),), (_PRICE_LIST,))
OTLP_GIGABYTE = Price(
    "GB of OpenTelemetry metrics ingested, 15 months of storage included",
    (Tier(None, 0.50),),
    (_PRICE_LIST,),
)

PRICES = {
    "metric": METRIC,
    "request": REQUEST,
    "alarm": ALARM,
    "alarm_high_resolution": ALARM_HIGH_RESOLUTION,
    "alarm_composite": ALARM_COMPOSITE,
    "log_gigabyte": LOG_GIGABYTE,
    "otlp_gigabyte": OTLP_GIGABYTE,
}


@dataclass(frozen=True, slots=True)
class SetUp:
    """How many metrics another way makes of one machine. None is of any type."""

    name: str
    metrics: int
    instance_type: str | None
    source: Source


_ARTICLE = Source("a user's article, counted on an inf1.xlarge", "2022-12")
_DECLARATIONS = Source(
    "computed from the declarations of amazon-cloudwatch-agent ab55b8d, one pod with one container",
    "read 2026-11",
)

SET_UPS = (
    SetUp("the usual sidecar (neuron-monitor-cloudwatch.py)", 27, None, _ARTICLE),
    SetUp("Container Insights", 806, "trn1.32xlarge", _DECLARATIONS),
    SetUp("Container Insights", 1478, "trn2.48xlarge", _DECLARATIONS),
)
"""Container Insights is priced here as custom metrics; with enhanced observability AWS bills
observations instead."""
