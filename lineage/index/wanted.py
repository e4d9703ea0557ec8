"""Says in SQL that the metadata of a version has a wanted value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..metadata import canonical_json, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["conditions"]

_TYPES = {bool: "'true','false'", int: "'integer','real'", float: "'integer','real'",
          str: "'text'", dict: "'object'", list: "'array'"}  # fmt: skip


def conditions(metadata: Mapping[str, Any]) -> Iterator[tuple[str, list[object]]]:
    """Yield a condition on ``v.metadata`` and its parameters for each wanted value.

    Args:
        metadata: keys and the values that they must have, of any type that metadata may hold.
            ``optim.lr`` is ``lr`` inside of ``optim``, or a key that is called so. None means that
            there is no such key, too.

    Raises:
        MetadataError: a value that no metadata can have.
    """
    for key, wanted in plain(metadata).items():
        spelt = canonical_json(key)[1:-1]  # as the index writes keys that are not ASCII
        inside = "".join(f'."{part}"' for part in spelt.split("."))
        places = sorted({f"${inside}", f'$."{spelt}"'})
        if wanted is None:
            clause = " AND ".join(["json_extract(v.metadata, ?) IS NULL"] * len(places))
            yield clause, list(places)
        else:
            condition, value = _is(wanted)
            parameters = [each for place in places for each in (place, place, value)]
            yield f"({' OR '.join([condition] * len(places))})", parameters


def _is(wanted: object) -> tuple[str, object]:
    """Return the condition that a place has a value and is of its type: true is not 1."""
    marker, value = "?", wanted
    if isinstance(wanted, (dict, list)):
        value = canonical_json(wanted)  # as the index writes them
    elif isinstance(wanted, int) and wanted.bit_length() > 63:
        marker, value = "CAST(? AS REAL)", str(wanted)  # as SQLite reads it
    types = _TYPES[type(wanted)]
    return f"json_type(v.metadata, ?) IN ({types}) AND json_extract(v.metadata, ?)={marker}", value
