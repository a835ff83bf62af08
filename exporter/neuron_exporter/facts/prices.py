"""CloudWatch prices in us-east-1, and the number of metrics of other setups.

Prices change and differ between Regions: each row has its source and date. A price without a public
source, such as that of an observation in Container Insights, is left out, never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

from neuron_exporter.facts.instance_types import Citation

REGION = "us-east-1"
HOURS_PER_MONTH = 730

_PRICE_LIST = Citation(
    "varapul/TechSolutions, Amazon CloudWatch, after the AWS Price List of us-east-1", "2026-10"
)
_FREE_TIER = Citation("aws.amazon.com/cloudwatch/pricing, a stored copy: free tier", "read 2026-11")
_SIGNOZ = Citation("signoz.io/guides/cloudwatch-pricing: the first tier", "2026-02-15")


@dataclass(frozen=True, slots=True)
class Tier:
    """Price of a unit in USD, up to a total number of units. None is unlimited."""

    up_to: int | None
    usd: float


@dataclass(frozen=True, slots=True)
class Price:
    """An item of the bill. The tiers apply to an account's whole use in a month."""

    unit: str
    tiers: tuple[Tier, ...]
    sources: tuple[Citation, ...]


METRIC = Price(
    "custom metric (name and dimensions) for a month, by the hour",
    (Tier(10_000, 0.30), Tier(250_000, 0.10), Tier(1_000_000, 0.05), Tier(None, 0.02)),
    (_SIGNOZ, _PRICE_LIST),
)
"""The ten free metrics of an account are not deducted: a single machine uses them up."""

REQUEST = Price(
    "PutMetricData request",
    (Tier(1_000_000, 0.0), Tier(None, 0.01 / 1000)),
    (_FREE_TIER, _PRICE_LIST),
)
ALARM = Price("metric of a standard alarm for a month", (Tier(None, 0.10),), (_PRICE_LIST,))
ALARM_COMPOSITE = Price("composite alarm for a month", (Tier(None, 0.50),), (_PRICE_LIST,))
LOG_GIGABYTE = Price("GB of logs ingested, standard class", (Tier(None, 0.50),), (_PRICE_LIST,))
OTLP_GIGABYTE = Price(
    "GB of OpenTelemetry metrics ingested, 15 months of storage included",
    (Tier(None, 0.50),),
    (_PRICE_LIST,),
)


@dataclass(frozen=True, slots=True)
class OtherSetup:
    """Number of metrics that another setup publishes per machine.

    `instance_type` is None if it applies to every type.
    """

    name: str
    metrics: int
    instance_type: str | None
    source: Citation


_ARTICLE = Citation("a user's article, counted on an inf1.xlarge", "2022-12")
_DECLARATIONS = Citation(
    "computed from the declarations of amazon-cloudwatch-agent ab55b8d, one pod with one container",
    "read 2026-11",
)

OTHER_SETUPS = (
    OtherSetup("the usual sidecar (neuron-monitor-cloudwatch.py)", 27, None, _ARTICLE),
    OtherSetup("Container Insights", 806, "trn1.32xlarge", _DECLARATIONS),
    OtherSetup("Container Insights", 1478, "trn2.48xlarge", _DECLARATIONS),
)
"""Container Insights is priced as custom metrics. With enhanced observability, AWS bills
observations instead."""
