"""PutMetricData by botocore: one attempt a request, and a verdict on how it ended."""

from __future__ import annotations

import gc
import gzip
import os
from typing import Any

import msgspec
from botocore import loaders
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError
from botocore.session import Session

from neuron_exporter import __version__
from neuron_exporter.sinks.cloudwatch.datums import Datum
from neuron_exporter.sinks.cloudwatch.response import UnexpectedAnswer, watch
from neuron_exporter.sinks.cloudwatch.transport import ATTEMPT_SECONDS, Outcome, Verdict
from neuron_exporter.sinks.delivery.deadline import Attempts, Overdue, TooManyHang
from neuron_exporter.text import hide_users

CONNECT_TIMEOUT = 2
READ_TIMEOUT = 5

_SERVICE = "cloudwatch"
_OPERATION = "PutMetricData"
_ENDPOINT_PREFIXES = ("monitoring", "sts")

_AFTER_SENDING = (HTTPClientError, ResponseParserError, UnexpectedAnswer)
"""Errors of a connection that stood. What cannot connect is another kind (ConnectionError)."""

_UNCERTAIN = (500, 502, 504)
"""Statuses of a service or a gateway that failed on the way; 503 refuses before it begins."""

# What AWS says of credentials, which others in the same place may replace.
_CREDENTIALS = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "NotAuthorized",
        "SignatureDoesNotMatch",
        "UnrecognizedClient",
        "UnrecognizedClientException",
    }
)

# What AWS says of a request that has nothing to do with it. That access is denied may have: the
# right to publish is given by the namespace.
_OF_NOW = _CREDENTIALS - {"AccessDenied", "AccessDeniedException"} | {
    "RequestExpired",
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}

# What AWS says of a request that would be refused again.
_NEVER = frozenset(
    {
        "InvalidFormat",
        "InvalidParameterCombination",
        "InvalidParameterCombinationException",
        "InvalidParameterValue",
        "InvalidParameterValueException",
        "MissingParameter",
        "MissingRequiredParameter",
        "MissingRequiredParameterException",
        "MalformedInput",
        "RequestEntityTooLarge",
        "SerializationException",
        "ValidationError",
        "ValidationException",
    }
)


class Api:
    """PutMetricData, for one thread.

    The client is made by the first request, since making it looks for credentials, in files and
    over the network. One that found none would never look again, nor one that found some in the
    environment or in a file: where there were none, and where AWS refused them, the next request
    makes another. So it does after an attempt that took too long, which may still hold the one
    before.
    """

    def __init__(self, region: str, endpoint_url: str | None) -> None:
        self._region = region
        self._endpoint_url = endpoint_url
        self._client = _Lazy(region, endpoint_url)
        self._attempts: Attempts[None] = Attempts()

    def send(self, namespace: str, datums: list[Datum]) -> Outcome:
        """Try once to deliver the datums, in at most `ATTEMPT_SECONDS`."""
        client = self._client
        try:
            self._attempts.make(lambda: client.put(namespace, datums), ATTEMPT_SECONDS)
        except TooManyHang as error:
            return Outcome(Verdict.RETRY, "TooManyHang", str(error), of_request=False)
        except Overdue as error:
            self._client = _Lazy(self._region, self._endpoint_url)
            return Outcome(Verdict.RETRY, "Overdue", str(error), ambiguous=client.begun)
        except (NoCredentialsError, PartialCredentialsError):
            self.close()
            return Outcome(
                Verdict.RETRY,
                "NoCredentials",
                "no AWS credentials found in the environment, the shared files, the container's "
                "or the instance's role",
                of_request=False,
            )
        except ParamValidationError as error:
            return Outcome(Verdict.NEVER, "ParamValidation", str(error))
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "Unknown"))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in _CREDENTIALS:
                self.close()
            # The service that gives credentials knows nothing of what was to be sent.
            if client.begun and (code in _NEVER or status == 413):
                return Outcome(Verdict.NEVER, code, str(error))
            uncertain = client.begun and status in _UNCERTAIN
            own = client.begun and status < 500 and code not in _OF_NOW
            return Outcome(Verdict.RETRY, code, str(error), ambiguous=uncertain, of_request=own)
        except Exception as error:  # noqa: BLE001 (odd answers raise anything out of botocore)
            # Who cannot connect says nothing of the request; a time-out may be for its size.
            own = client.begun and isinstance(error, _AFTER_SENDING)
            code, said = type(error).__name__, hide_users(str(error))  # it may name the endpoint
            return Outcome(Verdict.RETRY, code, said, ambiguous=own, of_request=own)
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        """Close kept connections."""
        self._client.close()
        self._client = _Lazy(self._region, self._endpoint_url)


class _Lazy:
    """A client that is made when it is first used.

    `begun` is whether its last request may have left: it was signed and handed to urllib3, which
    looks up the name, connects and sends, and tells nobody how far it came. The look-up of
    credentials is before that, with requests of its own.
    """

    def __init__(self, region: str, endpoint_url: str | None) -> None:
        self.begun = False
        self._region = region
        self._endpoint_url = endpoint_url
        self._made: Any = None

    def put(self, namespace: str, datums: list[Datum]) -> None:
        """Make one request; raises whatever botocore does, and `UnexpectedAnswer`."""
        self.begun = False
        if self._made is None:
            gc.collect()  # the client before is made of cycles, and the collector comes rarely
            self._made = _client(self._region, self._endpoint_url)
            watch(self._made, _OPERATION, self._begin)
        self._made.put_metric_data(Namespace=namespace, MetricData=datums)

    def _begin(self) -> None:
        self.begun = True

    def close(self) -> None:
        """Close kept connections."""
        if self._made is not None:
            self._made.close()


def _client(region: str, endpoint_url: str | None) -> Any:
    session = Session()
    # Credentials of an instance role come from its metadata service, where there is one.
    session.set_config_variable("metadata_service_timeout", 1)
    session.set_config_variable("metadata_service_num_attempts", 1)
    # For every client of the session: the one that exchanges a token for credentials, too.
    session.set_default_client_config(
        Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            # The queue is the only one that retries.
            retries={"total_max_attempts": 1, "mode": "standard"},
            parameter_validation=False,  # the limits are kept before this
            disable_request_compression=True,
            max_pool_connections=1,
            user_agent_extra=f"neuron-exporter/{__version__}",
        )
    )
    loader = loaders.create_loader()
    loader.file_loader = _LeanLoader()
    session.register_component("data_loader", loader)
    return session.create_client(_SERVICE, region_name=region, endpoint_url=endpoint_url)


class _LeanLoader(loaders.JSONFileLoader):  # type: ignore[misc]
    """Reads of botocore's data only what PutMetricData needs: 2 MiB of memory instead of 10.

    Anything unexpected in the data leads back to botocore's own way of reading it.
    """

    def load_file(self, file_path: str) -> Any:
        name = os.path.basename(file_path)
        folder = os.path.basename(os.path.dirname(os.path.dirname(file_path)))
        try:
            if name == "service-2" and folder == _SERVICE:
                return _lean_service(_read(file_path))
            if name == "endpoints":
                return _lean_endpoints(_read(file_path))
        except (OSError, KeyError, TypeError, msgspec.MsgspecError):
            pass
        return super().load_file(file_path)


def _read(file_path: str) -> bytes:
    compressed = f"{file_path}.json.gz"
    if os.path.exists(compressed):
        with gzip.open(compressed) as file:
            return file.read()
    with open(f"{file_path}.json", "rb") as file:
        return file.read()


def _parts(raw: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """A JSON object whose values stay unread."""
    return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])


def _lean_service(raw: bytes) -> dict[str, Any]:
    """The service with one operation, and the shapes that this operation reaches."""
    service = _parts(raw)
    shapes = _parts(service["shapes"])
    operation = msgspec.json.decode(_parts(service["operations"])[_OPERATION])
    kept: dict[str, Any] = {}
    waiting = [operation[end]["shape"] for end in ("input", "output") if end in operation] + [
        error["shape"] for error in operation.get("errors", ())
    ]
    while waiting:
        name = waiting.pop()
        if name in kept:
            continue
        kept[name] = shape = msgspec.json.decode(shapes[name])
        shape.pop("documentation", None)
        members = list(shape.get("members", {}).values())
        members += [shape[part] for part in ("member", "key", "value") if part in shape]
        for member in members:
            member.pop("documentation", None)
            waiting.append(member["shape"])
    lean = {
        key: msgspec.json.decode(value)
        for key, value in service.items()
        if key not in ("shapes", "operations", "documentation")
    }
    return {**lean, "operations": {_OPERATION: operation}, "shapes": kept}


def _lean_endpoints(raw: bytes) -> dict[str, Any]:
    """The partitions with the endpoints of the services that are called."""
    document = _parts(raw)
    partitions = []
    for partition in msgspec.json.decode(document["partitions"], type=list[dict[str, msgspec.Raw]]):
        services = _parts(partition["services"])
        lean = {
            key: msgspec.json.decode(value) for key, value in partition.items() if key != "services"
        }
        lean["services"] = {
            name: msgspec.json.decode(services[name])
            for name in _ENDPOINT_PREFIXES
            if name in services
        }
        partitions.append(lean)
    return {"partitions": partitions, "version": msgspec.json.decode(document["version"])}
