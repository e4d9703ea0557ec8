"""What W&B is told of a version or a source: its files, metadata, aliases, tags and description.

``lineage.json`` holds what never changes of a version, byte for byte the same whoever writes it: so
W&B itself recognises a version that is logged twice. What may change (digest, state, described
metadata) is in the metadata, which can be updated.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..clock import write_time
from ..events import Imported
from ..metadata import canonical_json
from ..model import Input, Location, State, VersionId
from ..source import SourceURI
from .names import encode, source_name, type_name, version_alias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..events import Published
    from ..model import Version

__all__ = ["FILE", "KEY", "Draft", "metadata_of", "of_source", "of_version", "tombstone"]

FILE = "lineage.json"
KEY = "lineage"  # of our part of the metadata
_REFERENCE = "output"  # what the earlier kit called the folder of an artifact
_MAX_KEYS = 98  # W&B takes 100


@dataclass(frozen=True, slots=True)
class Draft:
    """An artifact as it is to be logged.

    Attributes:
        name: of its collection.
        type: its type there.
        metadata: JSON values.
        aliases: beside ``latest``, which W&B adds.
        lineage: the bytes of ``lineage.json``.
        references: name inside -> (address, what stands for its content).
        files: name inside -> path of a small file to upload.
    """

    name: str
    type: str
    metadata: Mapping[str, Any]
    aliases: tuple[str, ...]
    lineage: bytes
    references: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def of_version(
    version: Version,
    event: Published | Imported,
    inputs: Iterable[Input],
    *,
    store: str,
    aliases: Iterable[str],
) -> Draft:
    """Describe a version.

    Args:
        version: as it stands now.
        event: as it was published.
        inputs: what it was made from.
        store: id of the journal.
        aliases: those that point to it, and others for W&B alone.
    """
    place = event.location
    said = {
        "format": 1, "uri": str(version.id), "type": event.type, "store": store,
        "run": event.run, "path": place.path, "host": place.host, "digest": event.digest,
        "fingerprint": event.fingerprint, "inputs": [_edge(each) for each in inputs],
    }  # fmt: skip
    content = event.digest or event.fingerprint or str(version.id)
    references = {_REFERENCE: (_address(place), content)} if place.path else {}
    attached = {} if isinstance(event, Imported) else event.attached
    files = {}
    for name, where in attached.items():
        inside = f"attached/{name}" if name in (FILE, _REFERENCE) else name  # these are taken
        if "://" in where:
            references[inside] = (where, content)
        else:
            files[inside] = where
    return Draft(
        name=encode(version.name), type=type_name(event.type),
        metadata=metadata_of(version, inputs, store=store),
        aliases=(version_alias(version.number), *aliases), lineage=_lines(said),
        references=references, files=files,
    )  # fmt: skip


def metadata_of(version: Version, inputs: Iterable[Input], *, store: str) -> dict[str, Any]:
    """Return the metadata of a version as they are now, with our own part."""
    values = dict(version.metadata)
    if len(values) > _MAX_KEYS:
        values = {"metadata": values}
    if version.location.path and not version.location.is_address:
        values.setdefault("absolute_path", version.location.path)
    ours = {
        "uri": str(version.id), "store": store, "run": version.run, "state": str(version.state),
        "path": version.location.path, "digest": version.digest,
        "fingerprint": version.fingerprint, "published": write_time(version.occurred),
        "inputs": [_edge(each) for each in inputs],
    }  # fmt: skip
    return {**values, KEY: {key: value for key, value in ours.items() if value is not None}}


def of_source(used: Input) -> Draft:
    """Describe an outside source; whoever uses it describes it alike."""
    assert isinstance(used.target, SourceURI)  # the caller looked
    uri = used.target.uri
    said = {
        "format": 1, "source": uri, "revision": used.revision, "digest": used.digest,
        "size": used.size,
    }  # fmt: skip
    content = used.digest or str(SourceURI(uri, used.revision))
    lines = _lines(said)
    return Draft(
        name=source_name(uri), type="source",
        metadata={KEY: {key: value for key, value in said.items() if value is not None}},
        aliases=(source_alias(used),), lineage=lines,
        references={"source": (_web(uri), content)},
    )  # fmt: skip


def source_alias(used: Input) -> str:
    """Return the alias by which a state of a source is found."""
    import hashlib  # of nothing else here

    said = canonical_json([str(used.target), used.revision, used.digest])
    return f"lineage-{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def tombstone(version: Version, reason: str | None) -> str | None:
    """Return what is said of a version whose bytes are gone, or None."""
    if version.state not in (State.DELETED, State.REPLACED):
        return None
    why = f": {reason}" if reason else ""
    return f"{version.id} was {version.state}{why}. Its lineage stays."


def _edge(used: Input) -> dict[str, Any]:
    target = used.target
    facts = {
        "uri": str(target) if isinstance(target, VersionId) else getattr(target, "uri", ""),
        "role": used.role, "weight": used.weight, "split": used.split, "tokens": used.tokens,
        "revision": used.revision, "digest": used.digest, "size": used.size,
    }  # fmt: skip
    return {key: value for key, value in facts.items() if value is not None}


def _address(place: Location) -> str:
    return place.path if place.is_address else SourceURI.local(place.path).uri


def _web(uri: str) -> str:
    """Return an address that a browser or the SDK understands."""
    rest = uri.removeprefix("hf://")
    if rest == uri:
        return uri
    kinds = ("datasets/", "models/", "spaces/")
    path = rest.removeprefix("models/") if rest.startswith(kinds) else f"datasets/{rest}"
    return f"https://huggingface.co/{path}"


def _lines(said: Mapping[str, Any]) -> bytes:
    known = {key: value for key, value in said.items() if value is not None}
    return json.dumps(known, indent=1, sort_keys=True).encode() + b"\n"
