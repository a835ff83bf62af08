"""Distribution of a fleet's requests over time.

The machines share the quota of their account: CloudWatch accepts 500 PutMetricData requests per
second and region (CloudWatch service quotas). The machines do not coordinate. Each one sends at a
moment of the interval that follows from a hash of its id.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable

from neuron_exporter.model import Machine

STOP_SECONDS = 6.0
"""Time over which a fleet that is stopped at once sends its last requests, at most two per machine:
enough for a thousand machines. `docker stop` allows ten seconds."""

_SHARE = 0.9
_STOP_SHARE = 0.3


class SendSlot:
    """The moment in each interval (seconds) at which this machine sends; without `spread`, at once.

    Tasks of one machine have different moments. If no id is known, the host name is hashed.
    """

    def __init__(
        self, identity: Callable[[], Machine], interval: float, *, spread: bool = True
    ) -> None:
        self._identity = identity
        self._interval = interval
        self._spread = spread

    def after_window(self) -> float:
        """Return the seconds from the end of a window until it is sent. The end of the interval is
        left for slow requests, which should end before the next window."""
        return self._position() * self._interval * _SHARE

    def at_stop(self, timeout: float) -> float:
        """Return the seconds to wait before the last flush, if the stop must end in `timeout`."""
        return self._position() * min(self._interval, STOP_SECONDS, timeout * _STOP_SHARE)

    def _position(self) -> float:
        """Return the position in the interval, from 0 to below 1."""
        if not self._spread:
            return 0.0
        machine = self._identity()
        ids = (machine.instance_id, machine.task_id, machine.pod_uid)
        name = "".join(ids) or machine.node_name or socket.gethostname()
        return zlib.crc32(name.encode()) / 2**32
