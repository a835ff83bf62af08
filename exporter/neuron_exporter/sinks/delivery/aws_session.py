"""botocore's sessions: short time limits, no retries, and little of botocore's data in memory."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from typing import Any

import msgspec
from botocore import loaders
from botocore.config import Config
from botocore.session import Session

from neuron_exporter import __version__
from neuron_exporter.sinks.delivery.deadline import CONNECT_TIMEOUT, READ_TIMEOUT

USER_AGENT = f"neuron-exporter/{__version__}"

_ENDPOINT_PREFIXES = ("monitoring", "sts")


def make_session(operations: Mapping[str, str]) -> Session:
    """Return a session. Clients of the services in `operations` can call only the named operation,
    clients of other services any.

    Credentials are looked up when they are first used, in files and over the network.
    """
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
            parameter_validation=False,  # requests are within the limits
            disable_request_compression=True,
            max_pool_connections=1,
            user_agent_extra=USER_AGENT,
        )
    )
    loader = loaders.create_loader()
    loader.file_loader = _LeanLoader(operations)
    session.register_component("data_loader", loader)
    return session


class _LeanLoader(loaders.JSONFileLoader):  # type: ignore[misc]
    """Loader of only the data that the session needs: 2 MiB of memory instead of 10.

    Data in an unexpected form is left to botocore's own loader.
    """

    def __init__(self, operations: Mapping[str, str]) -> None:
        self._operations = operations

    def load_file(self, file_path: str) -> Any:
        name = os.path.basename(file_path)
        service = os.path.basename(os.path.dirname(os.path.dirname(file_path)))
        try:
            if name == "service-2" and service in self._operations:
                return _lean_service(_read(file_path), self._operations[service])
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


def _lean_service(raw: bytes, name: str) -> dict[str, Any]:
    """Return the service with one operation and the shapes that it needs."""
    service = _parts(raw)
    service.pop("documentation", None)
    shapes = _parts(service.pop("shapes"))
    operation = msgspec.json.decode(_parts(service.pop("operations"))[name])
    kept: dict[str, Any] = {}
    waiting = [operation[end]["shape"] for end in ("input", "output") if end in operation]
    waiting += [error["shape"] for error in operation.get("errors", ())]
    while waiting:
        shape_name = waiting.pop()
        if shape_name in kept:
            continue
        kept[shape_name] = shape = msgspec.json.decode(shapes[shape_name])
        shape.pop("documentation", None)
        members = list(shape.get("members", {}).values())
        members += [shape[part] for part in ("member", "key", "value") if part in shape]
        for member in members:
            member.pop("documentation", None)
            waiting.append(member["shape"])
    lean = {key: msgspec.json.decode(value) for key, value in service.items()}
    return {**lean, "operations": {name: operation}, "shapes": kept}


def _lean_endpoints(raw: bytes) -> dict[str, Any]:
    """Return the partitions with the endpoints of the services that the clients call."""
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
