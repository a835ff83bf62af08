"""OTLP over HTTP: one attempt per request, classified by its outcome."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

from urllib3.exceptions import ProtocolError, ReadTimeoutError

from neuron_exporter import __version__
from neuron_exporter.compression import SMALL, compress
from neuron_exporter.sinks.delivery import aws_errors
from neuron_exporter.sinks.delivery.deadline import Attempts, DeadlineExceeded, TooManyStuckCalls
from neuron_exporter.sinks.delivery.transport import (
    ATTEMPT_SECONDS,
    Outcome,
    UnexpectedAnswer,
    Verdict,
)
from neuron_exporter.sinks.otlp.connection import (
    Connection,
    Response,
    TlsFileError,
    TlsFiles,
)
from neuron_exporter.sinks.otlp.headers import HeaderError, mask_values, read_headers
from neuron_exporter.sinks.otlp.request import ExportRequest
from neuron_exporter.sinks.otlp.response import Mask, classify, has_same_time, unexpected
from neuron_exporter.sinks.otlp.settings import TransportSettings, metrics_url
from neuron_exporter.text import safe_message

_SERVICE, _DATA_NAME = "monitoring", "cloudwatch"
"""Names of CloudWatch in signatures and in botocore's data."""

_AFTER_CONNECTING = (ReadTimeoutError, ProtocolError)
"""Errors of an established connection."""

_CREDENTIAL_STATUSES = (401, 403)


class OtlpTransport:
    """Transport by OTLP over HTTP with protobuf, for one thread.

    The first request makes the connection and looks up credentials, in files and over the network.
    Both are replaced when the credentials are missing or rejected, and after an attempt that
    exceeded its deadline, because the attempt may still use them.
    """

    def __init__(
        self,
        region: str,
        settings: TransportSettings,
        on_rejected: Callable[[int], None] = lambda points: None,
    ) -> None:
        """`on_rejected` is called with the number of data points that the receiver has rejected of
        a request that it has accepted."""
        self._region = region
        self._settings = settings
        self._on_rejected = on_rejected
        self._client = _LazyClient(region, settings)
        self._attempts: Attempts[Response] = Attempts("otlp-attempt")

    def send(self, request: ExportRequest) -> Outcome:
        """Try once to deliver the request, in at most `ATTEMPT_SECONDS`."""
        client = self._client

        def mask(text: str) -> str:
            return mask_values(text, client.secrets)

        return self._send(client, request, mask)

    def close(self) -> None:
        """Close the kept connection."""
        self._client.close()
        self._client = _LazyClient(self._region, self._settings)

    def _send(self, client: _LazyClient, request: ExportRequest, mask: Mask) -> Outcome:
        try:
            response = self._attempts.run(lambda: client.post(request), ATTEMPT_SECONDS)
        except TooManyStuckCalls as error:
            return Outcome(Verdict.RETRY, "TooManyHang", str(error), of_request=False)
        except DeadlineExceeded as error:
            self._client = _LazyClient(self._region, self._settings)
            return Outcome(Verdict.RETRY, "Overdue", str(error), ambiguous=client.sending)
        except HeaderError as error:
            return Outcome(Verdict.RETRY, "HeaderUnusable", str(error), of_request=False)
        except TlsFileError as error:
            return Outcome(Verdict.RETRY, "TlsFileUnusable", str(error), of_request=False)
        except aws_errors.CredentialsError as error:
            self.close()
            message = safe_message(mask(str(error)))
            return Outcome(Verdict.RETRY, error.code, message, of_request=False)
        except UnexpectedAnswer as error:
            return unexpected(mask(str(error))).outcome
        except Exception as error:  # noqa: BLE001 (an attempt's bug must not cost the request)
            # After connecting, the request can be the cause: its size may lead to a timeout.
            of_request = client.sending and isinstance(error, _AFTER_CONNECTING)
            code, message = type(error).__name__, safe_message(mask(str(error)))
            return Outcome(
                Verdict.RETRY, code, message, ambiguous=of_request, of_request=of_request
            )
        outcome, rejected = classify(response, mask)
        if rejected:
            self._on_rejected(rejected)
        if self._settings.sigv4 and (
            response.status in _CREDENTIAL_STATUSES or outcome.code in aws_errors.CREDENTIALS
        ):
            self.close()
        agrees = self._settings.sigv4 or has_same_time(response)
        return outcome._replace(clock_agrees=agrees)


class _LazyClient:
    """A connection and credentials that are looked up on first use.

    `sending` is whether its last request may have left this machine. It is so once the request was
    passed to urllib3, which does not report whether it has connected or sent. `secrets` are the
    values of the additional headers of its last request.
    """

    def __init__(self, region: str, settings: TransportSettings) -> None:
        self.sending = False
        self.secrets: Sequence[str] = ()
        self._region = region
        self._settings = settings
        self._connection: Connection | None = None
        self._url = ""
        self._sign: Callable[[str, dict[str, str], bytes], dict[str, str]] | None = None
        self._ca_file = settings.ca_file

    def post(self, request: ExportRequest) -> Response:
        """Send a request. Raises the exceptions of `connection`, `headers` and `signing`."""
        self.sending = False
        headers = read_headers(self._settings.headers)
        self.secrets = tuple(headers.values())
        headers["Content-Type"] = "application/x-protobuf"
        headers["User-Agent"] = f"neuron-exporter/{__version__}"
        body = request.body
        if self._settings.gzip:
            headers["Content-Encoding"] = "gzip"
            body = compress([body], SMALL)
        if not self._url:
            self._prepare()
        if self._sign is not None:
            headers = self._sign(self._url, headers, body)
        connection = self._connect()
        self.sending = True
        return connection.post(headers, body)

    def close(self) -> None:
        """Close the kept connection."""
        if self._connection is not None:
            self._connection.close()

    def _prepare(self) -> None:
        """Set the URL, and the signer with its authorities."""
        settings = self._settings
        endpoint = settings.endpoint or ""
        if settings.sigv4:
            gc.collect()  # the previous session consists of cycles, and the collector runs rarely
            # Imported only for signatures: botocore costs memory.
            from neuron_exporter.sinks.delivery.signing import Signer

            signer = Signer(_SERVICE, self._region)
            endpoint = endpoint or signer.endpoint(_DATA_NAME)
            self._ca_file = settings.ca_file or signer.ca_file
            self._sign = lambda url, headers, body: signer.sign("POST", url, headers, body)
        self._url = metrics_url(endpoint)

    def _connect(self) -> Connection:
        if self._connection is not None and self._connection.is_outdated:
            self.close()
            self._connection = None
        if self._connection is None:
            settings = self._settings
            files = TlsFiles(self._ca_file, settings.cert_file, settings.key_file)
            self._connection = Connection(self._url, files)
        return self._connection
