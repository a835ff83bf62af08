"""What a running exporter says of itself at /metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

Labels = Mapping[str, str]


class Exposed:
    """Samples by name.

    Raises:
        ValueError: the text is no exposition, or not an exporter's of ours.
    """

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[tuple[Labels, float]]] = defaultdict(list)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples[sample.name].append((sample.labels, sample.value))
        if "neuron_exporter_build_info" not in self._samples:
            raise ValueError("no metrics of this exporter")

    def value(self, name: str, **labels: str) -> float | None:
        """The value of the first sample that has these labels; None without one."""
        return next(
            (value for has, value in self._samples.get(name, ()) if labels.items() <= has.items()),
            None,
        )

    def by(self, name: str, label: str) -> dict[str, float]:
        """The values of a metric by one of its labels."""
        return {has.get(label, ""): value for has, value in self._samples.get(name, ())}

    def label(self, name: str, label: str) -> str:
        """A label of a metric's first sample; empty without one."""
        return next((has.get(label, "") for has, _ in self._samples.get(name, ())), "")

    def anywhere(self, label: str) -> str:
        """A label's value on the first sample that has it; empty where none does."""
        every = (has for samples in self._samples.values() for has, _ in samples)
        return next((has[label] for has in every if label in has), "")

    @property
    def source_state(self) -> str:
        """What the source is doing, by its name in `neuron_exporter_source_state`."""
        states = self.by("neuron_exporter_source_state", "state")
        return next((state for state, value in states.items() if value == 1), "")
