"""Reads the registry that keeps full copies, and one index of all of them in ``.art_index.json``.

::

    {root}/.art_index.json    {name: {name, versions: [{version, path, created_at, metadata}],
                                      aliases: {alias: number}}}
    {root}/{name}/v{N}/       a copy of the artifact, with its metadata.json if it had one

The index names no type, no producer and no inputs; where the copy's own ``metadata.json`` does,
they are taken from there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..errors import LineageError, MetadataError, StoreNotFoundError
from ..metadata import plain_lenient
from ..model import VersionId
from ..uri import ArtifactURI
from .folders import (
    INDEX,
    LATEST,
    MANIFEST,
    METADATA,
    Damaged,
    Notes,
    Skipped,
    read_json,
    root_of,
    scan,
)
from .found import Found, content_of, metadata_of, time_of
from .importing import ImportReport, bring_in
from .references import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..registry import Lineage

__all__ = ["import_art_index"]

_TEMPORARY = ".art_index.tmp"
_TYPE = "artifact"  # what that release called everything that had no type of its own


def import_art_index(store: Lineage, root: str | os.PathLike[str]) -> ImportReport:
    """Import a root with an ``.art_index.json``; importing again adds only what is new there.

    The copies stay where they are, and the index decides which number means which. A name that
    holds imported versions refuses local publishing, so that ``:v3`` never changes its meaning.

    Args:
        store: where to.
        root: the folder that holds the index.

    Raises:
        StoreNotFoundError: there is no such folder, or no index in it.
        LineageError: the index is damaged.
        StoreUnsuitable: the root is an address.
        StoreBusy, StoreFull, StoreReadOnly: the store cannot be written; run it again later.
    """
    place = root_of(root)
    try:
        index = read_json(os.path.join(place, INDEX))
    except Damaged:
        left = os.path.join(place, _TEMPORARY)
        advice = f"{left} is what was to replace it" if os.path.exists(left) else "restore it"
        raise LineageError(f"{os.path.join(root, INDEX)} is damaged; {advice}") from None
    if index is None:
        raise StoreNotFoundError(
            f"there is no {INDEX} in {root}; give the root that kit.init had, or try: "
            f"lineage import manifest {root}"
        )
    reader = _Reader(place, index)
    return bring_in(store, "registry", place, reader.read(), reader.notes, aliases=reader.aliases)


class _Reader:
    """Reads one root."""

    def __init__(self, root: str, index: Mapping[str, Any]) -> None:
        self._root, self._index = root, index
        self.notes = Notes()
        self._file = os.path.join(root, INDEX)
        self.aliases: dict[str, dict[str, int]] = {}

    def read(self) -> list[Found]:
        """Return all versions of the index, and note what is in the folders alone."""
        left = os.path.join(self._root, _TEMPORARY)
        if os.path.exists(left):
            self.notes.odd(left, "is left over from a write; delete it when nothing writes there")
        folders = {each.folder: each for each in scan(self._root, self.notes)}
        found = []
        for name, entry in self._index.items():
            folder = folders.pop(name, None)
            there = dict(folder.versions) if folder is not None else {}
            found += list(self._name(name, entry, there))
            self._check_folders(name, there)
        for folder in folders.values():
            self._check_folders(folder.folder, folder.versions)
        return found

    def _name(self, name: str, entry: object, there: dict[int, str]) -> Iterator[Found]:
        """Yield the versions of one name, and take their folders out of ``there``."""
        try:
            uri = ArtifactURI.parse(name)
            rule = "it names a version" if uri.identity != name else None
        except ValueError as error:
            rule = getattr(error, "rule", str(error))
        listed = entry.get("versions") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(listed, list):
            why = "is no entry with versions; correct it and import again"
            self.notes.leave_out(name, "", self._where(name), why)
            return
        if rule is not None:
            why = f"is no name here ({rule}); rename it in the index and import again"
            self.notes.odd(self._where(name), why)
            for version in listed:
                number = version.get("version") if isinstance(version, dict) else None
                self.notes.skipped.append(Skipped(name, f"v{number}"))
                if isinstance(number, int):
                    there.pop(number, None)
            return
        if entry.get("name") != name:
            why = f"says name {entry.get('name')!r}; imported under the name it stands under"
            self.notes.odd(self._where(name), why)
        seen: set[int] = set()
        for version in listed:
            found = self._version(name, version, seen, there)
            if found is not None:
                yield found
        self.notes.check_gaps(self._where(name), seen)
        self._take_aliases(name, entry.get("aliases"), seen)

    def _where(self, name: str) -> str:
        return f"{self._file}: {name}"

    def _version(
        self, name: str, entry: object, seen: set[int], there: dict[int, str]
    ) -> Found | None:
        number = entry.get("version") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or type(number) is not int or not 0 <= number < 2**63:
            why = f"has a version with the number {number!r}; correct it and import again"
            self.notes.leave_out(name, str(number), self._where(name), why)
            return None
        what, where = f"v{number}", f"{self._where(name)}:v{number}"
        folder = there.pop(number, None)
        if number in seen:
            why = "stands twice in the index; the first one was imported, as it was resolved"
            self.notes.odd(where, why)
            return None
        try:
            values, non_finite = plain_lenient(entry)
            metadata = metadata_of(values)
            place = self._place(f"{name}/{what}", values.get("path"), folder, where)
        except (Damaged, MetadataError) as error:
            self.notes.leave_out(name, what, where, f"{error}; left out")
            return None
        seen.add(number)
        beside = self._beside(folder)
        kind, producer = beside.get("type"), beside.get("producer")
        detail: dict[str, Any] = {"producer": producer} if isinstance(producer, str) else {}
        if non_finite:
            detail["non_finite"] = list(non_finite)
            listed = ", ".join(non_finite)
            why = f"NaN or infinity in {listed}; imported as null, noted as origin"
            self.notes.odd(where, why)
        return Found(
            version=VersionId(name, number), file=f"{INDEX}: {name}:{what}",
            type=kind if isinstance(kind, str) and kind else _TYPE, path=place,
            metadata=metadata, content=content_of(values),
            created=time_of(values.get("created_at"), where, self.notes),
            references=tuple(_references(beside)), detail=detail,
        )  # fmt: skip

    def _place(self, copy: str, path: object, folder: str | None, where: str) -> str:
        """Return where the copy lies: below this root if it is there, else as written."""
        written = path if isinstance(path, str) and os.path.isabs(path) and "\0" not in path else ""
        if folder is not None:
            moved = written.endswith(f"/{copy}")  # the root as a whole
            if written and not moved and os.path.realpath(written) != os.path.realpath(folder):
                why = f"the index says {written}; the copy in {folder} was imported"
                self.notes.odd(where, why)
            return folder
        return written or os.path.join(self._root, copy)

    def _beside(self, folder: str | None) -> dict[str, Any]:
        """Return what the copy's own metadata.json says, if it has one."""
        if folder is None:
            return {}
        file = os.path.join(folder, METADATA)
        try:
            return plain_lenient(read_json(file))[0]
        except (Damaged, MetadataError) as error:
            self.notes.odd(file, f"{error}; imported without it, as type {_TYPE!r}")
            return {}

    def _take_aliases(self, name: str, aliases: object, numbers: set[int]) -> None:
        if not aliases:
            return
        if not isinstance(aliases, dict):
            why = f"has aliases {aliases!r}, which are none; imported without them"
            self.notes.leave_out(name, "aliases", self._where(name), why)
            return
        named = dict(aliases)
        latest, highest = named.pop(LATEST, None), max(numbers, default=None)
        if latest is not None and latest != highest:
            self.notes.odd(self._where(name), (
                f"latest is {latest!r}, the highest version {highest}; latest is computed and "
                f"means v{highest} here"
            ))  # fmt: skip
        for alias, number in list(named.items()):
            if type(number) is not int:
                why = f"the alias {alias!r} points to {number!r}, which is no version; left out"
                self.notes.leave_out(name, alias, self._where(name), why)
                del named[alias]
        self.aliases[name] = named

    def _check_folders(self, name: str, versions: Mapping[int, str]) -> None:
        for number, path in versions.items():
            if self._is_manifest(path):
                why = "is of the manifest layout. Try: lineage import manifest"
            else:
                why = (
                    "is not in the index: a write was cut off, or lost to another one. If it is "
                    f"whole: lineage import dir {path} --name NAME --type TYPE"
                )
            self.notes.leave_out(name, f"v{number}", path, why)

    @staticmethod
    def _is_manifest(path: str) -> bool:
        try:
            return "used_artifacts" in (read_json(os.path.join(path, MANIFEST)) or {})
        except Damaged:
            return False


def _references(beside: Mapping[str, Any]) -> Iterator[Reference]:
    tracking = beside.get("tracking")
    used = tracking.get("used_artifacts") if isinstance(tracking, dict) else None
    for item in used if isinstance(used, list) else []:
        reference = Reference.read(item)
        if reference is not None:
            yield reference
