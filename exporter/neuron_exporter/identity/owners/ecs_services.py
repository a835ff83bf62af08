"""The services of ECS tasks, by DescribeTasks: no endpoint of the agent names those of others.

It takes `ecs:DescribeTasks`, and is asked once for each task.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from neuron_exporter.identity.fields import text

MOST_TASKS = 100
"""Tasks of one request (ECS API reference, DescribeTasks)."""

_SECONDS = 60.0  # before it is tried again
_GROUP = "service:"


class DescribedServices:
    """Asks ECS, and remembers: a task's service does not change."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, str] = {}
        self._why = ""
        self._not_before = 0.0

    def of(self, tasks: Iterable[str]) -> tuple[Mapping[str, str], str]:
        """The services by the tasks' ARNs, empty for a task of none; and why some are not known."""
        tasks = list(tasks)
        self._known = {arn: self._known[arn] for arn in tasks if arn in self._known}
        missing = [arn for arn in tasks if arn not in self._known]
        if missing and self._clock() >= self._not_before:
            try:
                self._describe(missing)
                self._why = ""
            except (BotoCoreError, ClientError) as error:
                self._why = f"ecs:DescribeTasks: {text(str(error))}"
                self._not_before = self._clock() + _SECONDS
        return self._known, self._why

    def _describe(self, tasks: list[str]) -> None:
        region, cluster = _place(tasks[0])
        settings = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
        client = Session().create_client("ecs", region_name=region, config=settings)
        try:
            for at in range(0, len(tasks), MOST_TASKS):
                asked = tasks[at : at + MOST_TASKS]
                answer = client.describe_tasks(cluster=cluster, tasks=asked)
                found = {
                    text(task.get("taskArn")): text(task.get("group")) for task in answer["tasks"]
                }
                for arn in asked:  # a task that has gone has none
                    group = found.get(arn, "")
                    self._known[arn] = (
                        group.removeprefix(_GROUP) if group.startswith(_GROUP) else ""
                    )
        finally:
            client.close()


def _place(arn: str) -> tuple[str, str]:
    """Region and cluster of a task's ARN; it names the cluster since 2018
    (arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID)."""
    _, _, _, region, _, resource = arn.split(":", 5)
    parts = resource.split("/")
    return region, parts[1] if len(parts) == 3 else "default"
