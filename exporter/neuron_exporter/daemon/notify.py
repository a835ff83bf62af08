"""Notify systemd, or another supervisor with its protocol, that the service is ready."""

from __future__ import annotations

import os
import socket

from neuron_exporter.log import get_logger

_VARIABLE = "NOTIFY_SOCKET"
_TIMEOUT = 1.0

_log = get_logger()


def notify_ready() -> None:
    """Send READY=1 to the supervisor's socket, if there is one; see sd_notify(3).

    The variable is removed, so that no child process can notify in our place.
    """
    path = os.environ.pop(_VARIABLE, "")
    if not path:
        return
    address = f"\0{path[1:]}" if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
            notifier.settimeout(_TIMEOUT)  # a supervisor that does not read must not stop us
            notifier.sendto(b"READY=1", address)
    except OSError as error:
        _log.warning("notify_failed", socket=path, reason=error.strerror or str(error))
