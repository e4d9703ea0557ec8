"""Turns what training code has at hand (numpy, torch, paths, enums) into plain JSON values."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from datetime import date, datetime
from enum import Enum
from typing import Any

from .clock import write_time
from .errors import MetadataError

__all__ = ["MAX_METADATA", "canonical_json", "plain", "plain_lenient"]

MAX_METADATA = 1 << 20  # bytes of JSON; more belongs in a file beside the artifact


_PLAIN = frozenset({int, bool, type(None)})
_LONGEST = 12  # bytes of JSON for one character, such as an emoji
_WEIGHT = 3  # characters' worth of a number with what stands around it
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(value: object) -> str:
    """Write JSON in the one form that is hashed: sorted keys, no spaces, ASCII only.

    Raises:
        ValueError: NaN or infinity.
    """
    return _ENCODER.encode(value)


def plain(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return metadata as JSON values, or say which key cannot be held.

    Takes JSON values, numpy and torch scalars, ``Path``, ``datetime``, ``Enum``, mappings, lists
    and tuples.

    Raises:
        MetadataError: another type, NaN or infinity, a key that is no text, or over 1 MiB.
    """
    result, non_finite = _convert(metadata)
    if non_finite:
        key = non_finite[0]
        raise MetadataError(key, "is NaN or infinite; leave it out or publish None")
    return result


def plain_lenient(
    metadata: Mapping[str, Any] | None, *, other: Callable[[object], str] | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Like ``plain``, for hooks: NaN and infinity become None and their keys are returned.

    A diverged run must still be recorded. ``other`` writes values of unknown types as text; keys
    that are no text are then written as such too.
    """
    return _convert(metadata, other)


def _convert(
    metadata: Mapping[str, Any] | None, other: Callable[[object], str] | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    if metadata is None:
        return {}, ()
    if not isinstance(metadata, Mapping):
        raise MetadataError("metadata", f"is a {type(metadata).__name__}; give a mapping")
    reader = _Reader(other)
    result = {}
    for given, value in metadata.items():
        key = reader.key(given, "")
        try:
            result[key] = reader.value(value, key)
        except RecursionError:
            raise MetadataError(key, "is nested too deeply, or holds itself") from None
    if reader.weight > MAX_METADATA // _LONGEST:  # only then is the exact size worth the time
        size = len(canonical_json(result))
        if size > MAX_METADATA:
            largest = max(result, key=lambda key: len(canonical_json(result[key])))
            message = f"is the largest of {size:,} bytes, over 1 MiB; put it in a file instead"
            raise MetadataError(largest, message)
    return result, tuple(reader.non_finite)


class _Reader:
    """Converts values and notes what was odd about them."""

    def __init__(self, other: Callable[[object], str] | None) -> None:
        self._other = other
        self.non_finite: list[str] = []
        self.weight = 0  # characters of keys and values: times _LONGEST, a bound of the size

    def key(self, key: object, parent: str) -> str:
        if not isinstance(key, str):
            if self._other is None:
                message = f"is keyed by a {type(key).__name__}; use text"
                raise MetadataError(f"{parent}{key!r}", message)
            key = str(key)
        self.weight += len(key)
        return key

    def value(self, value: object, where: str) -> Any:
        self.weight += _WEIGHT
        kind = type(value)
        if kind in _PLAIN or (kind is float and math.isfinite(value)):  # type: ignore[arg-type]
            return value
        if isinstance(value, Enum):
            value = value.value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            self.weight += len(value)
            return str(value)  # a subclass such as numpy.str_ is brought down to its plain form
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return self._float(value, where)
        if isinstance(value, datetime):
            return write_time(value)
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, os.PathLike):
            return self.value(os.fsdecode(value), where)
        if isinstance(value, Mapping):
            return {
                self.key(key, f"{where}."): self.value(item, f"{where}.{key}")
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.value(item, f"{where}[{i}]") for i, item in enumerate(value)]
        return self._foreign(value, where)

    def _float(self, value: float, where: str) -> float | None:
        if math.isfinite(value):
            return float(value)
        self.non_finite.append(where)
        return None

    def _foreign(self, value: object, where: str) -> Any:  # JSON
        """Take a scalar of numpy or torch, without importing either."""
        item, shape = getattr(value, "item", None), getattr(value, "shape", None)
        if callable(item) and shape == ():
            scalar = item()
            if type(scalar) is not type(value):
                return self.value(scalar, where)
            if getattr(getattr(value, "dtype", None), "kind", "") == "f":  # numpy.longdouble
                return self._float(float(value), where)  # type: ignore[arg-type]  # it is a number
        if self._other is not None:
            return self.value(self._other(value), where)
        if shape:
            message = f"is an array of shape {tuple(shape)}; only scalars are held, use .tolist()"
            raise MetadataError(where, message)
        raise MetadataError(where, f"is a {type(value).__name__}, which JSON cannot hold")
