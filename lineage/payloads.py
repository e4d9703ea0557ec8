"""How a record is written as JSON, without what is at its default, and read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar, Self

from .model import Input, Location, VersionId
from .source import SourceURI

__all__ = [
    "Event",
    "Target",
    "compact",
    "plain",
    "read_by",
    "read_input",
    "read_inputs",
    "read_subject",
    "read_target",
]  # fmt: skip

Target = VersionId | SourceURI | Location


def read_target(value: Any) -> Target:
    """Read what an input is: a location, a version or a source."""
    if isinstance(value, Mapping):
        return Location.read(value)
    return VersionId.read(value) if value.startswith("art://") else SourceURI(value)


def read_subject(value: Any) -> VersionId | Location:
    """Read what an event is about: a location, in an open record, or a version."""
    return Location.read(value) if isinstance(value, Mapping) else VersionId.read(value)


def read_input(payload: Mapping[str, Any]) -> Input:
    """Read one input."""
    return Input(**{**payload, "target": read_target(payload["target"])})


def read_inputs(value: Any) -> tuple[Input, ...]:
    """Read a list of inputs."""
    return tuple(read_input(item) for item in value)


def plain(value: Any) -> Any:
    """Bring a field's value down to JSON."""
    if type(value) is str:  # the most of them
        return value
    writer = _WRITERS.get(type(value))
    if writer is not None:
        return writer(value)
    return [plain(item) for item in value] if isinstance(value, tuple) else value


@cache
def _defaults(cls: type) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (spec.name, spec.default_factory() if spec.default_factory is not MISSING else spec.default)
        for spec in fields(cls)
    )


@cache
def _readers(cls: type) -> Mapping[str, Callable[[Any], Any] | None]:
    return {spec.name: spec.metadata.get("read") for spec in fields(cls)}


def compact(record: Any) -> dict[str, Any]:  # any dataclass
    """Write a dataclass as JSON, leaving out what is at its default."""
    result = {}
    for name, default in _defaults(type(record)):  # type: ignore[arg-type]  # a class is hashable
        value = getattr(record, name)
        if value != default:
            result[name] = plain(value)
    return result


_WRITERS: Mapping[type, Callable[[Any], Any]] = {
    VersionId: str,
    SourceURI: attrgetter("uri"),
    Location: compact,
    Input: compact,
}


def read_by(reader: Callable[[Any], Any], **extra: Any) -> Any:
    """Declare a field of a dataclass that is read from JSON by a function."""
    return field(metadata={"read": reader}, **extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all kinds share."""

    kind: ClassVar[str]
    critical: ClassVar[bool] = False
    form: ClassVar[int] = 1

    def payload(self) -> dict[str, Any]:
        """Return the JSON form, without what is at its default."""
        return compact(self)

    @classmethod
    def read(cls, payload: Mapping[str, Any]) -> Self:
        """Build from the JSON form; fields that a later release added are left out."""
        readers = _readers(cls)  # type: ignore[arg-type]  # a class is hashable
        values = {
            name: reader(value) if (reader := readers[name]) and value is not None else value
            for name, value in payload.items()
            if name in readers
        }
        return cls(**values)

    def skeleton(self) -> dict[str, Any]:
        """Return what stays of this event when its payload is blanked: the bare structure."""
        return self.payload()
