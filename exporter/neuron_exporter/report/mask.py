"""Masking of identifying text in reports, so that they can be shared."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

_UNMASKED_KEYS = frozenset(
    (
        "instance_type",
        "instance_availability_zone",
        "instance_availability_zone_id",
        "instance_region",
        "neuron_device_type",
        "neuron_device_version",
        "neuroncore_version",
    )
)
"""Keys whose text describes the type of machine. All other text is masked."""

_FORMATS = {
    "instance_id": "i-{:017x}",
    "ami_id": "ami-{:017x}",
    "subnet_id": "subnet-{:017x}",
    "uuid": "{:032x}",
    "neuron_runtime_tag": "runtime-{}",
}
"""Replacement by key, in which `{}` is a number. Elsewhere it is the key and a number."""


class Masker:
    """Replacement of names, ids, tags and paths in the reports of one recording.

    Equal texts get equal replacements, so that a replay has the same number of series.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str | int, int]] = defaultdict(dict)

    def mask_line(self, line: bytes) -> bytes:
        """Return a masked line of JSON, without a newline.

        Raises:
            ValueError: the line is not JSON.
        """
        document = json.loads(line.decode("utf-8", "replace"))
        return json.dumps(self._mask(document, ""), separators=(",", ":")).encode()

    def _mask(self, value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {name: self._mask(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self._mask(item, key) for item in value]
        if isinstance(value, str) and value and key not in _UNMASKED_KEYS:
            if key == "error":
                return " ".join(_mask_word(word) for word in value.split()) or "*"
            return _FORMATS.get(key, f"{key}-{{}}").format(self._number(key, value))
        if key == "pid" and isinstance(value, int):
            return self._number(key, value)
        return value

    def _number(self, key: str, value: str | int) -> int:
        numbers = self._numbers[key]
        return numbers.setdefault(value, len(numbers) + 1)


def _mask_word(word: str) -> str:
    """Return `*` for a word that is not only letters: a path, an id or an address."""
    return word if word.strip(".,:;()").isalpha() else "*"
