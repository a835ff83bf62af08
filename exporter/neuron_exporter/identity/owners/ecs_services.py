"""Services of ECS tasks, from the DescribeTasks API.

The agent's endpoints do not name the services of other tasks. Needs the permission
`ecs:DescribeTasks`; each task is described once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from neuron_exporter.identity.ecs_task import service_of_group
from neuron_exporter.identity.fields import parse_text

MAX_TASKS_PER_REQUEST = 100
"""ECS API reference, DescribeTasks."""

_RETRY_SECONDS = 60.0


class EcsServiceProvider:
    """Service names by task. They are cached, since a task's service does not change."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._services: dict[str, str] = {}
        self._error = ""
        self._next_attempt = 0.0

    def lookup(self, task_arns: Iterable[str]) -> tuple[Mapping[str, str], str]:
        """Return services by task ARN, and an error message if some are unknown.

        A task without a service maps to "".
        """
        arns = list(task_arns)
        self._services = {arn: self._services[arn] for arn in arns if arn in self._services}
        missing = [arn for arn in arns if arn not in self._services]
        if missing and self._clock() >= self._next_attempt:
            try:
                self._describe(missing)
                self._error = ""
            except (BotoCoreError, ClientError) as error:
                self._error = f"ecs:DescribeTasks: {parse_text(str(error))}"
                self._next_attempt = self._clock() + _RETRY_SECONDS
        return self._services, self._error

    def _describe(self, arns: list[str]) -> None:
        region, cluster = _region_and_cluster(arns[0])
        config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
        client = Session().create_client("ecs", region_name=region, config=config)
        try:
            for start in range(0, len(arns), MAX_TASKS_PER_REQUEST):
                batch = arns[start : start + MAX_TASKS_PER_REQUEST]
                response = client.describe_tasks(cluster=cluster, tasks=batch)
                groups = {
                    parse_text(task.get("taskArn")): task.get("group") for task in response["tasks"]
                }
                for arn in batch:  # a task that has ended is not in the response
                    self._services[arn] = service_of_group(groups.get(arn))
        finally:
            client.close()


def _region_and_cluster(arn: str) -> tuple[str, str]:
    """Return region and cluster of a task ARN (arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID).

    ARNs from before 2018 do not contain the cluster.
    """
    _, _, _, region, _, resource = arn.split(":", 5)
    parts = resource.split("/")
    return region, parts[1] if len(parts) == 3 else "default"
