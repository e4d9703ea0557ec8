"""What the texts mean by which an earlier layout says what a version was made from.

A text is an edge only when it can mean one thing for ever: an outside source, a place, or a
version by its number, under a name that holds imported versions. ``data:latest`` meant another
version every week, and ``data:v3`` of a name that is published here would mean another artifact.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from ..errors import URIError
from ..model import Input, Location, Role, VersionId
from ..source import SourceURI
from ..uri import ArtifactURI

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..registry import Lineage

__all__ = ["Reference", "Unclear", "place_of", "read_reference"]

_FACTS: Mapping[str, type | tuple[type, ...]] = {
    "role": str, "weight": (int, float), "split": str, "tokens": int, "revision": str,
    "digest": str, "size": int,
}  # fmt: skip


class Unclear(Exception):
    """A text that does not say which thing it means; the text of this says why."""


class Reference(NamedTuple):
    """What was written down of one input: a text, and what else is known of the edge."""

    text: str
    facts: Mapping[str, Any]

    @classmethod
    def read(cls, value: object) -> Reference | None:
        """Read a plain text, or the longer form that our export adds; None when it is neither."""
        if isinstance(value, str) and value:
            return cls(value, {})
        if isinstance(value, dict) and isinstance(value.get("uri"), str):
            facts = {k: v for k, v in value.items() if k in _FACTS and isinstance(v, _FACTS[k])}
            return cls(value["uri"], facts)
        return None


def place_of(store: Lineage, path: str) -> Location:
    """Describe a path that others wrote down: as it lies here, or as declared by them.

    Raises:
        Unclear: a relative path, or an address that holds a user name or password.
    """
    if path.lower().startswith("file:///"):
        path = unquote(path[len("file://") :])
    if "\0" in path or not ("://" in path or path.startswith("/")):
        raise Unclear("is no absolute path or address")
    try:
        return store.locate(path, external=not os.path.exists(path))
    except URIError as error:
        raise Unclear(f"cannot be kept: {error.rule}") from None


def read_reference(
    store: Lineage, reference: Reference, is_known: Callable[[VersionId], bool]
) -> Input:
    """Return the input that a reference means.

    Args:
        store: where it will be kept; secrets are removed from addresses.
        reference: as it was found.
        is_known: tells whether a version is imported, or about to be.

    Raises:
        Unclear: it can mean nothing, or different things.
    """
    text = reference.text
    if text.startswith(("./", "../", "~/")):
        raise Unclear("is a relative path, and nobody knows from where")
    try:
        if text.startswith("/") or text.lower().startswith("file://"):
            used = Input(target=place_of(store, text))
        elif SourceURI.accepts(text):
            source = SourceURI.parse(text)
            address = SourceURI(store.redactor.text(source.uri))
            used = Input(target=address, revision=source.revision)
        else:
            used = Input(target=_version(text, is_known))
    except URIError as error:
        raise Unclear(f"is no reference: {error.rule}") from None
    return replace(used, **{"role": Role.DATA, **reference.facts})


def _version(text: str, is_known: Callable[[VersionId], bool]) -> VersionId:
    uri = ArtifactURI.parse(text)
    if uri.version is None:
        raise Unclear("names no version by its number")
    version = VersionId(uri.identity, uri.version)
    if not is_known(version):
        raise Unclear("is no version that was imported")
    return version
