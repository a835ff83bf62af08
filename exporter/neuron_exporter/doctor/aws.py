"""AWS as the exporter would meet it: its endpoint, the credentials, and, if asked, one datum."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    SSLError,
)
from botocore.httpsession import URLLib3Session
from botocore.session import Session
from botocore.utils import get_environ_proxies

from neuron_exporter.config.schema import CloudWatch
from neuron_exporter.doctor.finding import Finding, failed, ok, warning
from neuron_exporter.facts.prices import HOURS_OF_A_MONTH, METRIC
from neuron_exporter.sinks.cloudwatch.put_metric_data import CONNECT_TIMEOUT, READ_TIMEOUT, Api
from neuron_exporter.sinks.cloudwatch.transport import Verdict
from neuron_exporter.sinks.delivery.deadline import Attempts, Overdue

SUBJECT = "cloudwatch"

TEST_METRIC = "DoctorTest"
"""A name of its own: what alarms watch is not touched. It has no dimensions, so that it is one
metric, however many machines send it."""

SECONDS = 5.0
"""Of each step: the endpoint, looking for credentials, and STS."""

_LARGEST_SKEW, _NOTABLE_SKEW = 300.0, 60.0
"""Seconds. AWS refuses a signature whose time is more than five minutes from its own."""

_SECRETS_ARE_WRONG = {
    "InvalidClientTokenId": "AWS does not know the access key: it was deleted, or is another "
    "partition's; give the role or the user a new one",
    "UnrecognizedClientException": "AWS does not know the access key: it was deleted, or is "
    "another partition's; give the role or the user a new one",
    "SignatureDoesNotMatch": "the secret does not belong to the access key, or the clock is wrong",
    "ExpiredToken": "the credentials have expired: who renews them (role, agent, file) has not",
    "ExpiredTokenException": "the credentials have expired: who renews them has not",
    "RequestExpired": "the clock is wrong: see the time service of the host",
    "AccessDenied": "the trust policy of the role does not let this machine or pod assume it",
}

_PROVIDERS = {
    "env": "the environment (AWS_ACCESS_KEY_ID)",
    "explicit": "the session",
    "shared-credentials-file": "the shared credentials file",
    "config-file": "the shared configuration file",
    "assume-role": "a role, assumed by the shared configuration",
    "assume-role-with-web-identity": "a role, assumed with a web identity token (IRSA)",
    "sso": "single sign-on",
    "custom-process": "a process of the shared configuration (credential_process)",
    "container-role": "the role of the task or pod (container credentials)",
    "iam-role": "the role of the instance (its metadata service)",
}


class Reached(NamedTuple):
    """What asking the endpoint gave; `skew` is how far our clock is ahead of its (s)."""

    finding: Finding
    skew: float | None = None


def endpoint(region: str, configured: str | None) -> str:
    """The address that requests go to, by the configuration, the environment, or the region.

    Raises:
        BotoCoreError, ValueError: there is none.
    """
    client = _session().create_client("cloudwatch", region_name=region, endpoint_url=configured)
    return str(client.meta.endpoint_url)


def reach(url: str) -> Reached:
    """Ask the endpoint for anything, unsigned and through the proxy that is configured: whatever it
    answers, it is there, and tells the time."""
    place = _shown(url)
    try:
        response = _within(lambda: _get(url))
    except SSLError as error:
        why = f"{place}: no trusted connection: {_first(error)}"
        return Reached(
            failed(SUBJECT, why, "a proxy between? give its authority with AWS_CA_BUNDLE")
        )
    except (ConnectionError, HTTPClientError, Overdue, OSError, ValueError) as error:
        return Reached(
            failed(
                SUBJECT,
                f"{place} cannot be reached: {_first(error)}",
                "route, security group, NAT or a VPC endpoint for `monitoring`, name server, or "
                "HTTPS_PROXY; transport: emf needs no network",
            )
        )
    skew = _skew(response.headers.get("Date"))
    return Reached(ok(SUBJECT, f"{place} answers"), skew)


def clock(skew: float | None) -> Iterator[Finding]:
    """Whether AWS would take our signatures for those of today."""
    if skew is None:
        return
    seen = f"is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} CloudWatch's"
    fix = "set the clock of the host: is chrony or another time service running?"
    if abs(skew) > _LARGEST_SKEW:
        yield failed("clock", f"{seen}: over {_LARGEST_SKEW:.0f} s signatures are refused", fix)
    elif abs(skew) > _NOTABLE_SKEW:
        yield warning("clock", seen, fix)
    else:
        yield ok("clock", "agrees with CloudWatch's")


def caller(region: str) -> Iterator[Finding]:
    """Which credentials there are, and whose they are by STS. Keys are never shown."""
    session = _session()
    try:
        credentials = _within(session.get_credentials)
    except (BotoCoreError, ClientError, Overdue, OSError) as error:
        code = _code(error)
        fix = _SECRETS_ARE_WRONG.get(code, "the shared files, or the role, are not as they should")
        yield failed(SUBJECT, f"credentials cannot be had: {code}", fix)
        return
    if credentials is None:
        yield failed(
            SUBJECT,
            "no credentials: not in the environment, the shared files, the container's or the "
            "instance's role",
            "give the task (taskRoleArn), the pod (Pod Identity, IRSA) or the instance a role; "
            "where the hop limit is 1, a pod cannot use the instance's",
        )
        return
    found = f"credentials of {_PROVIDERS.get(credentials.method, credentials.method)}"
    expiry = getattr(credentials, "_expiry_time", None)
    if expiry is not None:
        found += f", until {expiry.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    try:
        answer = _within(lambda: _sts(session, region).get_caller_identity())
    except ClientError as error:
        code = _code(error)
        fix = _SECRETS_ARE_WRONG.get(code, "see this code in the documentation of AWS STS")
        yield failed(SUBJECT, f"{found}: refused by STS ({code})", fix)
    except (BotoCoreError, Overdue, OSError, ValueError) as error:
        yield warning(
            SUBJECT,
            f"{found}; whose they are was not found out: STS cannot be asked ({_code(error)})",
            "publishing needs no STS; without it only --send shows whether they are good",
        )
    else:
        yield ok(SUBJECT, f"{found}: {answer.get('Arn', 'without a name')}")


def send_one(config: CloudWatch, region: str) -> Finding:
    """Send one datum of a metric of its own to the configured namespace, as the sink sends."""
    api = Api(region, config.endpoint_url)
    now = datetime.now(UTC)
    try:
        outcome = api.send(
            config.namespace,
            [
                {
                    "MetricName": TEST_METRIC,
                    "Dimensions": [],
                    "Timestamp": now,
                    "Unit": "Count",
                    "Value": 1.0,
                }
            ],
        )
    finally:
        api.close()
    what = f"{TEST_METRIC} in namespace {config.namespace}"
    if outcome.verdict is Verdict.DELIVERED:
        hour = METRIC.tiers[0].usd / HOURS_OF_A_MONTH
        return ok(
            SUBJECT,
            f"sent: {what}, one metric for this hour ({hour:.4f} USD at the first tier)",
        )
    if outcome.code in ("AccessDenied", "AccessDeniedException", "NotAuthorized"):
        fix = (
            "allow cloudwatch:PutMetricData with the condition cloudwatch:namespace = "
            f"{config.namespace} (README, CloudWatch, has the policy); a VPC endpoint has a policy "
            "of its own"
        )
    else:
        fix = _SECRETS_ARE_WRONG.get(outcome.code, "see the endpoint and the credentials above")
    return failed(SUBJECT, f"{what} was not taken: {outcome.code}", fix)


def _session() -> Session:
    """Looks for credentials as the sink does, and tries everything once."""
    session = Session()
    session.set_config_variable("metadata_service_timeout", 1)
    session.set_config_variable("metadata_service_num_attempts", 1)
    session.set_default_client_config(
        Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"total_max_attempts": 1, "mode": "standard"},
        )
    )
    return session


def _sts(session: Session, region: str) -> Any:
    return session.create_client("sts", region_name=region)


def _get(url: str) -> Any:
    bundle = _session().get_config_variable("ca_bundle")
    session = URLLib3Session(
        verify=bundle or True,
        proxies=get_environ_proxies(url),
        timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
    )
    try:
        return session.send(AWSRequest("GET", url, stream_output=True).prepare())
    finally:
        session.close()


def _within(call: Any) -> Any:
    return Attempts[Any]().make(call, SECONDS)


def _skew(date: str | None) -> float | None:
    """Seconds that our clock is ahead of the one that wrote this header."""
    try:
        return time.time() - parsedate_to_datetime(date or "").timestamp()
    except (ValueError, TypeError):
        return None


def _code(error: BaseException) -> str:
    """A name for what went wrong. Messages of AWS repeat the request, and are not shown."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    return type(error).__name__


def _first(error: BaseException) -> str:
    """What went wrong at the bottom of it, without the address, which may hold a password."""
    cause = error
    while True:
        inner = getattr(cause, "kwargs", {}).get("error") or cause.__cause__ or cause.__context__
        if not isinstance(inner, BaseException):
            return getattr(cause, "strerror", None) or type(cause).__name__
        cause = inner


def _shown(url: str) -> str:
    """An address without the name and password that may be in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
