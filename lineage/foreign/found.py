"""What another registry says of one version, in our words."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..clock import read_time, write_time
from ..metadata import canonical_json
from .folders import Damaged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..model import Input, VersionId
    from .folders import Notes
    from .references import Reference

__all__ = ["Found", "content_of", "metadata_of", "time_of"]

_OURS = ("state", "lineage")  # what our export adds to a manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One version as another registry describes it.

    Attributes:
        version: its name and number.
        file: where that stands, below the root.
        type: model, dataset, ...
        path: where its bytes lie, as written there.
        metadata: JSON values.
        content: what is equal as long as nobody changes the description.
        created: time in our form, or None.
        references: what it was made from.
        detail: more of its origin: producer, keys that were NaN.
        digest: digest of all bytes, if that registry knows one.
        gone: what became of it there, when it is not live.
        reason: why it is gone, where that is known better than from the other registry.
        own: this very store exported it.
        inputs: what it was made from, where that is certain and needs no reading of texts.
        run: id of the run that made it.
    """

    version: VersionId
    file: str
    type: str
    path: str
    metadata: Mapping[str, Any]
    content: str
    created: str | None = None
    references: Sequence[Reference] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)
    digest: str | None = None
    gone: str | None = None
    own: bool = False
    inputs: Sequence[Input] = ()
    run: str | None = None
    reason: str | None = None


def content_of(values: Mapping[str, Any]) -> str:
    """Return what is equal for equal descriptions of a version, whatever our export added."""
    kept = {key: value for key, value in values.items() if key not in _OURS}
    return hashlib.sha256(canonical_json(kept).encode()).hexdigest()[:32]


def metadata_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a version as its description holds it.

    Raises:
        Damaged: it is something else.
    """
    metadata = values.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise Damaged("has metadata that is no JSON object; correct it and import again")
    return metadata


def time_of(value: object, where: str, notes: Notes) -> str | None:
    """Return a time in our form; None where there is none, or none that can be read."""
    if value is None:
        return None
    try:
        return write_time(read_time(str(value)))
    except (ValueError, OverflowError):
        notes.odd(where, f"created_at is {value!r}, no ISO time; imported without it")
        return None
