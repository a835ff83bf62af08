"""Check AWS as the exporter uses it: endpoint, clock, credentials, and one datum with --send."""

from __future__ import annotations

import os
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

from neuron_exporter.config.schema import CloudWatchConfig
from neuron_exporter.doctor.finding import Finding, Subject, describe
from neuron_exporter.facts.prices import HOURS_PER_MONTH, METRIC
from neuron_exporter.sinks.cloudwatch.put_metric_data import PutMetricDataTransport
from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest
from neuron_exporter.sinks.delivery.aws_errors import DENIED
from neuron_exporter.sinks.delivery.deadline import (
    CONNECT_TIMEOUT,
    READ_TIMEOUT,
    Attempts,
    DeadlineExceeded,
)
from neuron_exporter.sinks.delivery.transport import Verdict

SUBJECT, _CLOCK = Subject("cloudwatch"), Subject("clock")

TEST_METRIC = "DoctorTest"
"""A metric that no alarm watches. It has no dimensions, so that it stays one metric however many
machines send it."""

TIMEOUT = 5.0
"""Seconds for each step: the endpoint, loading credentials, and STS."""

_MAX_SKEW, _WARN_SKEW = 300.0, 60.0
"""Seconds. AWS rejects a signature whose time differs from its own by more than five minutes."""

_UNKNOWN_KEY = (
    "AWS does not know the access key (deleted, or of another partition): create a new one"
)
_EXPIRED = "the credentials have expired: check what renews them (role, agent or file)"
_FIX_ROUTE = (
    "check the route, security group, NAT or VPC endpoint for `monitoring`, and the name server; "
    "transport: emf needs no network"
)
_FIX_PROXY = (
    "check that the proxy runs and allows this address, or add the address to NO_PROXY if it can "
    "be reached directly"
)
_FIX_FILE = (
    "mount or create the file so that this user can read it, or correct the variable that names it"
)
_FIX_BY_CODE = {
    "InvalidClientTokenId": _UNKNOWN_KEY,
    "UnrecognizedClientException": _UNKNOWN_KEY,
    "SignatureDoesNotMatch": "the secret does not belong to the access key, or the clock is wrong",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "RequestExpired": "the clock is wrong: check the time service of the host",
    "AccessDenied": "the trust policy of the role does not let this machine or pod assume it",
}

_PROVIDERS = {
    "env": "the environment (AWS_ACCESS_KEY_ID)",
    "explicit": "the session",
    "shared-credentials-file": "the shared credentials file",
    "config-file": "the shared configuration file",
    "assume-role": "a role, assumed through the shared configuration",
    "assume-role-with-web-identity": "a role, assumed with a web identity token (IRSA)",
    "sso": "single sign-on",
    "custom-process": "a process of the shared configuration (credential_process)",
    "container-role": "the role of the task or pod (container credentials)",
    "iam-role": "the role of the instance (instance metadata)",
}

_SHARED_FILES = ("credentials_file", "config_file")
"""botocore's names of the settings with their paths. It treats an unreadable file as empty."""


class EndpointResponse(NamedTuple):
    """Result of a request to the endpoint; `skew` is how far our clock is ahead (s)."""

    finding: Finding
    skew: float | None = None


def endpoint(region: str, configured: str | None) -> str:
    """Return the URL of CloudWatch from the configuration, the environment, or the region.

    Raises:
        BotoCoreError, ValueError: the region has no endpoint, or a setting is invalid.
    """
    client = _session().create_client("cloudwatch", region_name=region, endpoint_url=configured)
    return str(client.meta.endpoint_url)


def check_endpoint(url: str) -> EndpointResponse:
    """Send an unsigned request through the configured proxy. Any answer proves that the endpoint is
    reachable, and has the time."""
    parts = urlsplit(url)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"  # without user and password
    through = _through_proxy(url)
    try:
        response = _with_timeout(lambda: _get(url))
    except SSLError as error:
        seen = f"{address}: the TLS certificate{through} is not trusted: {_root_cause(error)}"
        fix = "if a proxy intercepts TLS, set AWS_CA_BUNDLE to its certificate authority"
        return EndpointResponse(SUBJECT.failed(seen, fix))
    except (ConnectionError, HTTPClientError, DeadlineExceeded, OSError, ValueError) as error:
        seen = f"{address} cannot be reached{through}: {_root_cause(error)}"
        return EndpointResponse(SUBJECT.failed(seen, _FIX_PROXY if through else _FIX_ROUTE))
    skew = _skew(response.headers.get("Date"))
    return EndpointResponse(SUBJECT.ok(f"{address} answers{through}"), skew)


def check_clock(skew: float | None) -> Iterator[Finding]:
    """Check that AWS accepts signatures with the time of our clock."""
    if skew is None:
        return
    seen = f"the clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} CloudWatch's"
    fix = "set the clock of the host, and check that chrony or another time service runs"
    if abs(skew) > _MAX_SKEW:
        yield _CLOCK.failed(f"{seen}; AWS rejects signatures over {_MAX_SKEW:.0f} s", fix)
    elif abs(skew) > _WARN_SKEW:
        yield _CLOCK.warning(seen, fix)
    else:
        yield _CLOCK.ok("the clock agrees with CloudWatch's")


def check_credentials(region: str) -> Iterator[Finding]:
    """Report where the credentials come from, and their identity by STS. Never shows a key."""
    session = _session()
    for name in _SHARED_FILES:
        path = os.path.expanduser(session.get_config_variable(name))
        if os.path.exists(path) and not os.access(path, os.R_OK):
            yield SUBJECT.warning(f"{path} cannot be read (user {os.geteuid()})", _FIX_FILE)
    try:
        credentials = _with_timeout(lambda: _load_credentials(session))
    except Exception as error:  # noqa: BLE001 (botocore raises anything for odd files and responses)
        yield _not_loaded(error)
        return
    if credentials is None:
        yield SUBJECT.failed(
            "no credentials: not in the environment, the shared files, the container's role or the "
            "instance's role",
            "assign a role to the task (taskRoleArn), the pod (Pod Identity, IRSA) or the "
            "instance; with a hop limit of 1, a pod cannot use the instance's role",
        )
        return
    found = f"credentials of {_PROVIDERS.get(credentials.method, credentials.method)}"
    expiry = getattr(credentials, "_expiry_time", None)
    if expiry is not None:
        found += f", until {expiry.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    url = ""
    try:
        client = session.create_client("sts", region_name=region)
        url = client.meta.endpoint_url
        answer = _with_timeout(client.get_caller_identity)
    except ClientError as error:
        code = _code(error)
        fix = _FIX_BY_CODE.get(code, "look up this code in the AWS STS documentation")
        yield SUBJECT.failed(f"{found}: rejected by STS ({code})", fix)
    except (BotoCoreError, DeadlineExceeded, OSError, ValueError) as error:
        through = _through_proxy(url)
        yield SUBJECT.warning(
            f"{found}; their identity is unknown: STS cannot be reached{through} ({_code(error)})",
            "publishing does not need STS; to test the credentials without it, use --send",
        )
    else:
        yield SUBJECT.ok(f"{found}: {answer.get('Arn', 'no ARN')}")


def _load_credentials(session: Session) -> Any:
    """Return the credentials, or None without any. Those that a token is exchanged for are loaded
    when they are first used."""
    credentials = session.get_credentials()
    if credentials is not None:
        credentials.get_frozen_credentials()
    return credentials


def _not_loaded(error: Exception) -> Finding:
    reason = _code(error)
    fix = _FIX_BY_CODE.get(reason, "check the shared credentials file and the role's trust policy")
    if isinstance(error, ConnectionError):
        # An unreachable proxy is reported without the endpoint.
        through = _through_proxy(error.kwargs.get("endpoint_url", "https://sts.amazonaws.com"))
        reason = f"STS cannot be reached{through} ({reason})"
        fix = _FIX_PROXY if through else _FIX_ROUTE
    elif isinstance(error, OSError) and error.filename:  # a token, mostly
        reason, fix = describe(error), _FIX_FILE
    return SUBJECT.failed(f"loading credentials failed: {reason}", fix)


def send_one(config: CloudWatchConfig, region: str) -> Finding:
    """Send one datum of the test metric to the configured namespace, as the sink does."""
    api = PutMetricDataTransport(region, config.endpoint_url)
    now = datetime.now(UTC)
    datum = {"MetricName": TEST_METRIC, "Dimensions": [], "Timestamp": now, "Unit": "Count"}
    try:
        request = PutMetricDataRequest(
            config.namespace, region, now.timestamp(), [{**datum, "Value": 1.0}]
        )
        outcome = api.send(request)
    finally:
        api.close()
    metric = f"{TEST_METRIC} in namespace {config.namespace}"
    if outcome.verdict is Verdict.DELIVERED:
        price = f"{METRIC.tiers[0].usd / HOURS_PER_MONTH:.4f} USD at the first tier"
        return SUBJECT.ok(f"sent {metric}, billed as one metric for this hour ({price})")
    if outcome.code in DENIED | {"NotAuthorized"}:
        fix = (
            "allow cloudwatch:PutMetricData with the condition cloudwatch:namespace = "
            f"{config.namespace} (the policy is in docs/cloudwatch.md); a VPC endpoint has its own "
            "policy"
        )
    else:
        fix = _FIX_BY_CODE.get(outcome.code, "check the endpoint and credentials lines above")
    return SUBJECT.failed(f"{metric} was rejected: {outcome.code}", fix)


def _session() -> Session:
    """Return a session that finds credentials as the sink does, with one attempt each."""
    session = Session()
    session.set_config_variable("metadata_service_timeout", 1)
    session.set_config_variable("metadata_service_num_attempts", 1)
    once = {"total_max_attempts": 1, "mode": "standard"}
    config = Config(connect_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT, retries=once)
    session.set_default_client_config(config)
    return session


def _get(url: str) -> Any:
    verify = _session().get_config_variable("ca_bundle") or True
    timeout = (CONNECT_TIMEOUT, READ_TIMEOUT)
    session = URLLib3Session(verify, get_environ_proxies(url), timeout)
    try:
        return session.send(AWSRequest("GET", url, stream_output=True).prepare())
    finally:
        session.close()


def _with_timeout(call: Any) -> Any:
    return Attempts[Any]().run(call, TIMEOUT)


def _through_proxy(url: str) -> str:
    """Return which proxy is between us and a URL, and the variable that names it; empty for none.
    The proxy's user and password are left out."""
    scheme = urlsplit(url).scheme
    proxy = get_environ_proxies(url).get(scheme)
    if not proxy:
        return ""
    lower = f"{scheme}_proxy"
    variable = lower if os.environ.get(lower) else lower.upper()
    host = proxy.rpartition("@")[2].rpartition("//")[2].rstrip("/")
    return f" through the proxy {host} ({variable})"


def _skew(date: str | None) -> float | None:
    """Return how far our clock is ahead of a Date header (s)."""
    try:
        return time.time() - parsedate_to_datetime(date or "").timestamp()
    except (ValueError, TypeError):
        return None


def _code(error: BaseException) -> str:
    """Return a name of the error. AWS's messages repeat the request, so they are not shown."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    return type(error).__name__


def _root_cause(error: BaseException) -> str:
    """Return the innermost error without the URL, which may contain a password."""
    cause = error
    while True:
        inner = getattr(cause, "kwargs", {}).get("error") or cause.__cause__ or cause.__context__
        if not isinstance(inner, BaseException):
            named = str(cause) if isinstance(cause, OSError) else ""  # a proxy's answer
            return getattr(cause, "strerror", None) or named or type(cause).__name__
        cause = inner
