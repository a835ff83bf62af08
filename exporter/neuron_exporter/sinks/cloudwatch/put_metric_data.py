"""PutMetricData with botocore: one attempt per request, classified by its outcome."""

from __future__ import annotations

import gc
from typing import Any

from botocore.exceptions import (
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from neuron_exporter.sinks.cloudwatch.datums import encode
from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest
from neuron_exporter.sinks.cloudwatch.response import verify_responses
from neuron_exporter.sinks.delivery import aws_errors
from neuron_exporter.sinks.delivery.aws_session import make_session
from neuron_exporter.sinks.delivery.deadline import Attempts, DeadlineExceeded, TooManyStuckCalls
from neuron_exporter.sinks.delivery.transport import (
    ATTEMPT_SECONDS,
    Outcome,
    UnexpectedAnswer,
    Verdict,
)
from neuron_exporter.text import mask_credentials

_SERVICE = "cloudwatch"
_OPERATION = "PutMetricData"

_AFTER_CONNECTING = (HTTPClientError, ResponseParserError, UnexpectedAnswer)
"""Errors of an established connection. A failure to connect is a ConnectionError."""

_AMBIGUOUS_STATUSES = (500, 502, 504)
"""Statuses of a service or gateway that may have processed the request. A service that answers 503
has not started to."""

# Error codes that the request itself cannot cause. Denied access is not among them: the permission
# to publish depends on the namespace.
_NOT_OF_REQUEST = aws_errors.CREDENTIALS - aws_errors.DENIED | aws_errors.TRANSIENT

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

    def send(self, request: PutMetricDataRequest) -> Outcome:
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
            code, message = aws_errors.NO_CREDENTIALS, aws_errors.NO_CREDENTIALS_MESSAGE
            return Outcome(Verdict.RETRY, code, message, of_request=False)
        except ParamValidationError as error:
            return Outcome(Verdict.REJECTED, "ParamValidation", str(error))
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "Unknown"))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in aws_errors.CREDENTIALS:
                self.close()
            # The request cannot be the cause of an error of the credentials service.
            if client.sending and (code in _REJECTED or status == 413):
                return Outcome(Verdict.REJECTED, code, str(error))
            ambiguous = client.sending and status in _AMBIGUOUS_STATUSES
            of_request = client.sending and status < 500 and code not in _NOT_OF_REQUEST
            return Outcome(
                Verdict.RETRY, code, str(error), ambiguous=ambiguous, of_request=of_request
            )
        except Exception as error:  # noqa: BLE001 (botocore raises anything for odd responses)
            # After connecting, the request can be the cause: its size may lead to a timeout.
            of_request = client.sending and isinstance(error, _AFTER_CONNECTING)
            code = type(error).__name__
            message = mask_credentials(str(error))  # it may contain the endpoint's URL
            return Outcome(
                Verdict.RETRY, code, message, ambiguous=of_request, of_request=of_request
            )
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

    def put(self, request: PutMetricDataRequest) -> None:
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
    session = make_session({_SERVICE: _OPERATION})
    return session.create_client(_SERVICE, region_name=region, endpoint_url=endpoint_url)
