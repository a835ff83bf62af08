"""Signatures of AWS (SigV4) for requests that no client of botocore makes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from botocore import loaders
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import (
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)
from botocore.httpsession import get_cert_path

from neuron_exporter.sinks.delivery.aws_errors import (
    NO_CREDENTIALS,
    NO_CREDENTIALS_MESSAGE,
    CredentialsError,
)
from neuron_exporter.sinks.delivery.aws_session import make_session


class Signer:
    """Signer of requests to a service in a region, with the credentials that botocore finds.

    It keeps the credentials, and renews those that expire. Those of the environment or a file do
    not expire: after a rejection, a new signer is needed.
    """

    def __init__(self, service: str, region: str) -> None:
        """`service` is the name in signatures.

        Raises:
            NoRegionError: the region is empty.
        """
        if not region:
            raise NoRegionError()
        self._service = service
        self._region = region
        self._session = make_session({})

    @property
    def ca_file(self) -> str:
        """The authorities that clients of botocore trust: those of AWS_CA_BUNDLE, or its own."""
        configured = self._session.get_config_variable("ca_bundle")
        path: str = configured or os.environ.get("REQUESTS_CA_BUNDLE") or get_cert_path(True)
        return path

    def endpoint(self, data_name: str) -> str:
        """Return the endpoint of the service in the region, by botocore's rules for the partitions
        of AWS, FIPS and dual stack. `data_name` is the service's name in botocore's data.

        Raises:
            BotoCoreError: the region has none.
        """
        loader = loaders.create_loader()  # not the session's, which would keep the rules
        rules = loader.load_service_model(data_name, "endpoint-rule-set-1")
        provider = EndpointProvider(rules, loader.load_data("partitions"))
        endpoint = provider.resolve_endpoint(
            Region=self._region,
            UseFIPS=bool(self._session.get_config_variable("use_fips_endpoint")),
            UseDualStack=bool(self._session.get_config_variable("use_dualstack_endpoint")),
        )
        return str(endpoint.url)

    def sign(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> dict[str, str]:
        """Return the headers with those of the signature.

        Raises:
            CredentialsError: there are no credentials, or they cannot be loaded.
        """
        request = AWSRequest(method, url, headers=dict(headers), data=body)
        SigV4Auth(self._credentials(), self._service, self._region).add_auth(request)
        return dict(request.headers.items())

    def _credentials(self) -> Any:
        try:
            credentials = self._session.get_credentials()
            if credentials is None:
                raise NoCredentialsError()
            return credentials.get_frozen_credentials()
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise CredentialsError(NO_CREDENTIALS, NO_CREDENTIALS_MESSAGE) from error
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "Unknown"))
            raise CredentialsError(code, str(error)) from error
        except Exception as error:  # botocore raises anything for odd files and responses
            raise CredentialsError(type(error).__name__, str(error)) from error
