"""PutMetricData with botocore: one attempt per request, classified by its outcome."""

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
from neuron_exporter.sinks.cloudwatch.datums import encode
from neuron_exporter.sinks.cloudwatch.response import UnexpectedAnswer, verify_responses
from neuron_exporter.sinks.delivery.deadline import Attempts, DeadlineExceeded, TooManyStuckCalls
from neuron_exporter.sinks.delivery.transport import ATTEMPT_SECONDS, Outcome, Request, Verdict
from neuron_exporter.text import mask_credentials

CONNECT_TIMEOUT = 2
READ_TIMEOUT = 5

_SERVICE = "cloudwatch"
_OPERATION = "PutMetricData"
_ENDPOINT_PREFIXES = ("monitoring", "sts")

_AFTER_CONNECTING = (HTTPClientError, ResponseParserError, UnexpectedAnswer)
"""Errors of an established connection. A failure to connect is a ConnectionError."""

_AMBIGUOUS_STATUSES = (500, 502, 504)
"""Statuses of a service or gateway that may have processed the request. A service that answers 503
has not started to."""

# Error codes of rejected credentials, which may have been replaced in the meantime.
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

# Error codes that the request itself cannot cause. Denied access is not among them: the permission
# to publish depends on the namespace.
_NOT_OF_REQUEST = _CREDENTIALS - {"AccessDenied", "AccessDeniedException"} | {
    "RequestExpired",
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}

# Error codes of a request that would be rejected again.
_REJECTED = frozenset(
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


class PutMetricDataTransport:
    """Transport by PutMetricData, for one thread.

    The first request creates the client, since this looks up credentials in files and over the
    network. A client that found none, or found them in the environment or a file, does not look
    again. It is therefore replaced when credentials are missing or rejected. It is also replaced
    after an attempt that exceeded its deadline, because the attempt may still use it.
    """

    def __init__(self, region: str, endpoint_url: str | None) -> None:
        self._region = region
        self._endpoint_url = endpoint_url
        self._client = _LazyClient(region, endpoint_url)
        self._attempts: Attempts[None] = Attempts("cloudwatch-attempt")

    def send(self, request: Request) -> Outcome:
        """Try once to deliver the request, in at most `ATTEMPT_SECONDS`."""
        client = self._client
        try:
            self._attempts.run(lambda: client.put(request), ATTEMPT_SECONDS)
        except TooManyStuckCalls as error:
            return Outcome(Verdict.RETRY, "TooManyHang", str(error), of_request=False)
        except DeadlineExceeded as error:
            self._client = _LazyClient(self._region, self._endpoint_url)
            return Outcome(Verdict.RETRY, "Overdue", str(error), ambiguous=client.sending)
        except (NoCredentialsError, PartialCredentialsError):
            self.close()
            message = (
                "no AWS credentials found in the environment, the shared files, or the role of "
                "the container or instance"
            )
            return Outcome(Verdict.RETRY, "NoCredentials", message, of_request=False)
        except ParamValidationError as error:
            return Outcome(Verdict.REJECTED, "ParamValidation", str(error))
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "Unknown"))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in _CREDENTIALS:
                self.close()
            # The request cannot be the cause of an error of the credentials service.
            if client.sending and (code in _REJECTED or status == 413):
                return Outcome(Verdict.REJECTED, code, str(error))
            ambiguous = client.sending and status in _AMBIGUOUS_STATUSES
            own = client.sending and status < 500 and code not in _NOT_OF_REQUEST
            return Outcome(Verdict.RETRY, code, str(error), ambiguous=ambiguous, of_request=own)
        except Exception as error:  # noqa: BLE001 (botocore raises anything for odd responses)
            # After connecting, the request can be the cause: its size may lead to a timeout.
            own = client.sending and isinstance(error, _AFTER_CONNECTING)
            code = type(error).__name__
            message = mask_credentials(str(error))  # it may contain the endpoint's URL
            return Outcome(Verdict.RETRY, code, message, ambiguous=own, of_request=own)
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        """Close kept connections."""
        self._client.close()
        self._client = _LazyClient(self._region, self._endpoint_url)


class _LazyClient:
    """A client that is created on first use.

    `sending` is whether its last request may have left this machine. It is so once the request was
    signed and passed to urllib3, which does not report whether it has connected or sent. The lookup
    of credentials, with requests of its own, ends before that.
    """

    def __init__(self, region: str, endpoint_url: str | None) -> None:
        self.sending = False
        self._region = region
        self._endpoint_url = endpoint_url
        self._client: Any = None
        self._body = b""

    def put(self, request: Request) -> None:
        """Send a request. Raises botocore's exceptions and `UnexpectedAnswer`."""
        self.sending = False
        if self._client is None:
            gc.collect()  # the previous client consists of cycles, and the collector runs rarely
            self._client = _client(self._region, self._endpoint_url)
            verify_responses(self._client, _OPERATION, self._on_send)
            self._client.meta.events.register(f"before-call.cloudwatch.{_OPERATION}", self._fill)
        items = request.items
        if self._client.meta.service_model.resolved_protocol == "json":
            self._body, items = encode(request.namespace, items), []
        self._client.put_metric_data(Namespace=request.namespace, MetricData=items)

    def _fill(self, params: dict[str, Any], **_: object) -> None:
        """Fill in the body: botocore would take ten times as long to serialize the datums."""
        params["body"] = self._body or params["body"]

    def _on_send(self) -> None:
        self.sending = True

    def close(self) -> None:
        """Close kept connections."""
        if self._client is not None:
            self._client.close()


def _client(region: str, endpoint_url: str | None) -> Any:
    session = Session()
    # The metadata service supplies the credentials of an instance role, if there is one.
    session.set_config_variable("metadata_service_timeout", 1)
    session.set_config_variable("metadata_service_num_attempts", 1)
    # Also for the client that exchanges a token for credentials.
    session.set_default_client_config(
        Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            # Retries are left to the spool.
            retries={"total_max_attempts": 1, "mode": "standard"},
            parameter_validation=False,  # datums are within the limits
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
    """Loader of only the data that PutMetricData needs: 2 MiB of memory instead of 10.

    Data in an unexpected form is left to botocore's own loader.
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
    """Decode a JSON object without its values."""
    return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])


def _lean_service(raw: bytes) -> dict[str, Any]:
    """Return the service with one operation and the shapes that it needs."""
    service = _parts(raw)
    service.pop("documentation", None)
    shapes = _parts(service.pop("shapes"))
    operation = msgspec.json.decode(_parts(service.pop("operations"))[_OPERATION])
    kept: dict[str, Any] = {}
    waiting = [operation[end]["shape"] for end in ("input", "output") if end in operation]
    waiting += [error["shape"] for error in operation.get("errors", ())]
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
    lean = {key: msgspec.json.decode(value) for key, value in service.items()}
    return {**lean, "operations": {_OPERATION: operation}, "shapes": kept}


def _lean_endpoints(raw: bytes) -> dict[str, Any]:
    """Return the partitions with the endpoints of the services that the client calls."""
    document = _parts(raw)
    partitions = []
    for partition in msgspec.json.decode(document["partitions"], type=list[dict[str, msgspec.Raw]]):
        services = _parts(partition.pop("services"))
        lean = {key: msgspec.json.decode(value) for key, value in partition.items()}
        lean["services"] = {
            name: msgspec.json.decode(services[name])
            for name in _ENDPOINT_PREFIXES
            if name in services
        }
        partitions.append(lean)
    return {"partitions": partitions, "version": msgspec.json.decode(document["version"])}
