"""Sections of the configuration and their keys, as the schema declares them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class ConfigSection(BaseModel):
    """A mapping in the file. Unknown keys are errors; the values are immutable.

    Numbers are not accepted as text: YAML reads 1.10 as 1.1 and 0123 as 83.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


def declare(default: Any, description: str, *, reloadable: bool = False) -> Any:
    """Declare a key. A reloadable key takes effect without a restart (`daemon/reload.py`)."""
    extra: dict[str, Any] = {"x-reloadable": True} if reloadable else {}
    return Field(default, description=description, json_schema_extra=extra or None)


def is_reloadable(field: FieldInfo) -> bool:
    """Return whether a change of the key takes effect without a restart."""
    return bool(field.json_schema_extra)


def section_of(field: FieldInfo) -> type[ConfigSection] | None:
    """Return the class of the section that the field is; None for a key."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, ConfigSection) else None


def keys(section: type[ConfigSection], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every key below a section with its dotted name."""
    for name, field in section.model_fields.items():
        below = section_of(field)
        if below is None:
            yield prefix + name, field
        else:
            yield from keys(below, f"{prefix}{name}.")
