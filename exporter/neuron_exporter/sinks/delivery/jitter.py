"""When a machine of a fleet sends, so that not all of them send at once.

A fleet shares its account's quota: PutMetricData takes 500 requests a second in a region
(CloudWatch's service quotas). Nobody coordinates the machines; each has its place by a hash of its
id, the same on every day.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable

from neuron_exporter.model import Machine

STOP_SECONDS = 6.0
"""Over which a fleet that is stopped at once sends what is left: a thousand machines have up to two
requests each. `docker stop` gives ten seconds."""

_SHARE = 0.9
_STOP_SHARE = 0.3


class Turn:
    """A machine's turn to send. `interval` is that of the windows, in seconds; whoever is `alone`
    need not wait. Tasks of one machine have turns of their own; where nothing else is known, the
    name of the host tells machines apart, or containers."""

    def __init__(
        self, identity: Callable[[], Machine], interval: float, *, alone: bool = False
    ) -> None:
        self._identity = identity
        self._interval = interval
        self._alone = alone

    def after_window(self) -> float:
        """Seconds from the end of a window until it is sent. The longer, the flatter; the rest of
        the interval lets a slow request end before the next window does."""
        return self._place() * self._interval * _SHARE

    def at_stop(self, patience: float) -> float:
        """Seconds until what is left is sent, of the `patience` that a stop has."""
        return self._place() * min(self._interval, STOP_SECONDS, patience * _STOP_SHARE)

    def _place(self) -> float:
        """From 0 to below 1."""
        if self._alone:
            return 0.0
        known = self._identity()
        names = (known.instance_id, known.task_id, known.pod_uid)
        name = "".join(names) or known.node_name or socket.gethostname()
        return zlib.crc32(name.encode()) / 2**32
