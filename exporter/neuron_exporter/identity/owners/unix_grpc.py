"""Calls of gRPC methods over a unix socket without TLS."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from google.protobuf.message import Message
from grpclib.client import Channel, Handler, UnaryUnaryMethod
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.protocol import H2Protocol

from neuron_exporter.identity.fields import parse_text

MAX_BYTES = 16 << 20
"""Maximum size of an answer; the kubelet's own clients have the same limit."""

_CLOSED = "the server closed the connection"

Reply = TypeVar("Reply", bound=Message)


class CallError(Exception):
    """A failed call; the message contains the path and the reason."""


def call(
    path: str, method: str, request: Message, reply_type: type[Reply], timeout: float
) -> Reply:
    """Call a method of the server at this socket, and return its answer.

    Each call has its own connection, so that it finds the socket of a restarted server, and its own
    asyncio loop, which ends with it. `timeout` in seconds covers both.

    Raises:
        CallError: the server did not answer, or answered with an error.
    """
    try:
        return asyncio.run(_call(path, method, request, reply_type, timeout))
    except GRPCError as error:
        raise CallError(f"{path}: {error.status.name}: {parse_text(error.message)}") from None
    except TimeoutError:
        raise CallError(f"{path}: no answer within {timeout:.2g} s") from None
    except FileNotFoundError:
        raise CallError(f"{path} does not exist: is its folder mounted?") from None
    except OSError as error:
        raise CallError(f"{path}: {error.strerror or error}") from None
    except AttributeError:  # grpclib deletes the transport when the connection ends
        raise CallError(f"{path}: {_CLOSED}") from None
    except StreamTerminatedError as error:
        raise CallError(f"{path}: {parse_text(str(error))}") from None
    except Exception as error:  # noqa: BLE001 (grpclib has no type for what other servers send)
        raise CallError(f"{path}: the answer is not gRPC: {parse_text(repr(error))}") from None


async def _call(
    path: str, method: str, request: Message, reply_type: type[Reply], timeout: float
) -> Reply:
    async with _BoundedChannel(path=path) as channel:
        unary = UnaryUnaryMethod(channel, method, type(request), reply_type)
        return await unary(request, timeout=timeout)


class _BoundedProtocol(H2Protocol):
    """HTTP/2 of a connection that is closed when it receives more than `MAX_BYTES`."""

    _received = 0
    _end = _CLOSED

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > MAX_BYTES:
            self._end = f"the answer is larger than {MAX_BYTES >> 20} MiB"
            self.connection.close()
        else:
            super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.processor.close(self._end)


class _BoundedChannel(Channel):
    def _protocol_factory(self) -> H2Protocol:
        return _BoundedProtocol(Handler(), self._config, self._h2_config)
