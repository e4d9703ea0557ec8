"""The manifest layout, read and written: a small JSON file for each version, beside no data.

::

    {root}/{name}/v{N}/manifest.json    {name, version, type, path, created_at, producer, metadata,
                                         inputs, used_artifacts}
    {root}/{name}/v{N}/metadata.json    the same for programs that load the artifact
    {root}/{name}/latest                the text "vN"

What we write bears a mark, ``"lineage": {"journal": ..., "uri": ...}``: by it an export knows its
own folders, and an import the exact inputs.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ..errors import LineageError, MetadataError, StoreNotFoundError, StoreUnsuitable, URIError
from ..metadata import plain_lenient
from ..model import State, VersionId
from .exporting import Export, ExportReport
from .folders import (
    INDEX,
    LATEST,
    MANIFEST,
    METADATA,
    Damaged,
    NameFolder,
    Notes,
    Skipped,
    name_of,
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

__all__ = ["import_manifests", "write_manifests"]

_DIGEST = re.compile(r"(blake3|sha256):[0-9a-f]{64}")
_LONGEST_LATEST = 255  # characters read of it


def import_manifests(store: Lineage, root: str | os.PathLike[str]) -> ImportReport:
    """Import a root of the manifest layout; importing again adds only what is new there.

    The folder decides about name and number, as it did for those who resolved it. A name that
    holds imported versions refuses local publishing, so that ``:v3`` never changes its meaning.

    Args:
        store: where to.
        root: the folder that holds the folders of names.

    Raises:
        StoreNotFoundError: there is no such folder, or no manifest in it.
        StoreUnsuitable: the root is an address.
        StoreBusy, StoreFull, StoreReadOnly: the store cannot be written; run it again later.
    """
    place = root_of(root)
    reader = _Reader(store, place)
    found = [one for folder in scan(place, reader.notes) for one in reader.name(folder)]
    if not found and not reader.notes.skipped:
        advice = "give the folder that holds NAME/v1/manifest.json"
        if os.path.exists(os.path.join(place, INDEX)):
            advice = f"it holds {INDEX}. Try: lineage import registry {root}"
        raise StoreNotFoundError(f"there is no manifest under {root}; {advice}")
    return bring_in(store, "manifest", place, found, reader.notes)


def write_manifests(store: Lineage, root: str | os.PathLike[str]) -> ExportReport:
    """Write all versions that were published here in the manifest layout, for tools that read it.

    Only what is new or changed is written; a deleted version keeps its folder, its manifest says
    ``"state": "deleted"``, and ``latest`` names the one that is latest in the store. A name that
    holds imported versions is left out, and so is one whose folder holds a version that somebody
    else wrote. The journal stays the truth: nothing is ever read back.

    Each version appears as a whole. Two exports at once, and one that is killed, leave a root that
    the next export makes right. What was written is noted in the journal as a receipt.

    Args:
        store: whose versions.
        root: a folder; it is made when it is not there.

    Raises:
        StoreUnsuitable: the root is an address.
        LineageError: the root cannot be written (its cause is the OSError). What was written is
            whole, and the next export goes on.
        StoreBusy, StoreFull, StoreReadOnly: the receipt cannot be written.
    """
    text = os.fspath(root)
    if "://" in text:
        raise StoreUnsuitable(f"{text} is no local folder; write to one, and copy it from there")
    export = Export(store, os.path.realpath(text))
    try:
        export.run()
    except LineageError:
        raise  # some are OSErrors too; they speak of the store
    except OSError as error:
        raise LineageError(
            f"{error.filename or text} cannot be written: {error.strerror}; the "
            f"{len(export.written)} versions written so far are whole, and the next export goes on"
        ) from error
    finally:
        export.give_receipt()
    return export.report()


class _Reader:
    """Reads one root."""

    def __init__(self, store: Lineage, root: str) -> None:
        self._journal, self._root = store.journal.id, root
        self.notes = Notes()
        try:
            self._index = read_json(os.path.join(root, INDEX)) or {}
        except Damaged:
            self._index = {}  # the other reader's business

    def name(self, folder: NameFolder) -> Iterator[Found]:
        """Yield the versions of one name."""
        try:
            name = name_of(folder.folder)
        except URIError as error:
            self.notes.odd(
                folder.path,
                f"is the folder of no name ({error.rule}); rename it and import again",
            )
            for number in folder.versions:
                self.notes.skipped.append(Skipped(folder.folder, f"v{number}"))
            return
        live = []
        for number, path in folder.versions.items():
            found = self._version(VersionId(name, number), path)
            if found is not None:
                yield found
                if found.gone is None:
                    live.append(number)
        self.notes.check_gaps(folder.path, folder.versions)
        self._check_latest(folder, max(live, default=None))

    def _version(self, version: VersionId, path: str) -> Found | None:
        if self._is_in_index(version):
            return None  # the other reader's business
        file = os.path.join(path, MANIFEST)
        try:
            values, non_finite = plain_lenient(_read_manifest(file))
            kind, place = _needed(values, "type"), _needed(values, "path")
            metadata = metadata_of(values)
        except (Damaged, MetadataError) as error:
            self.notes.leave_out(version.name, f"v{version.number}", file, f"{error}; left out")
            return None
        self._check(version, file, values, non_finite)
        self._check_metadata(path, values)
        mark = values.get("lineage")
        mark = mark if isinstance(mark, dict) and mark.get("uri") == str(version) else {}
        state = values.get("state")
        digest = mark.get("digest")
        return Found(
            version=version, file=os.path.relpath(file, self._root), type=kind, path=place,
            metadata=metadata, content=content_of(values),
            created=time_of(values.get("created_at"), file, self.notes),
            references=tuple(self._references(file, values, mark)),
            detail=_detail(values, non_finite),
            digest=digest if isinstance(digest, str) and _DIGEST.fullmatch(digest) else None,
            gone=state if state in (State.DELETED, State.REPLACED) else None,
            own=mark.get("journal") == self._journal,
        )  # fmt: skip

    def _is_in_index(self, version: VersionId) -> bool:
        """Tell whether a folder belongs to a registry that was there before, under this root."""
        entry = self._index.get(version.name)
        versions = entry.get("versions") if isinstance(entry, dict) else None
        return isinstance(versions, list) and any(
            isinstance(each, dict) and each.get("version") == version.number for each in versions
        )

    def _references(
        self, file: str, values: Mapping[str, Any], mark: Mapping[str, Any]
    ) -> Iterator[Reference]:
        if isinstance(mark.get("inputs"), list):  # our own: nothing of the edges is lost
            listed = mark["inputs"]
        else:
            listed = []
            for key in ("inputs", "used_artifacts"):
                value = values.get(key) or []
                listed += value if isinstance(value, list) else [value]
        for item in listed:
            reference = Reference.read(item)
            if reference is not None:
                yield reference
            else:
                self.notes.odd(file, f"the input {item!r} is no text; imported without this edge")

    # ----------------------------------------------------------------- oddities

    def _check(
        self, version: VersionId, file: str, values: Mapping[str, Any], non_finite: tuple[str, ...]
    ) -> None:
        if values.get("version") != version.number:
            self.notes.odd(file, (
                f"says version {values.get('version')!r} in the folder of v{version.number}; "
                "imported by its folder"
            ))  # fmt: skip
        if values.get("name") != version.name:
            self.notes.odd(file, (
                f"says name {values.get('name')!r} in the folder of {version.name}; "
                "imported by its folder"
            ))  # fmt: skip
        if non_finite:
            listed = ", ".join(non_finite)
            self.notes.odd(file, f"NaN or infinity in {listed}; imported as null, noted as origin")

    def _check_metadata(self, path: str, values: Mapping[str, Any]) -> None:
        file = os.path.join(path, METADATA)
        try:
            metadata = read_json(file)
        except Damaged as error:
            self.notes.odd(file, f"{error}; {MANIFEST} was imported")
            return
        if metadata is None:
            self.notes.odd(file, f"is missing: the write was cut off; {MANIFEST} was imported")
            return
        for key in ("type", "path"):
            other = metadata.get(key)
            if isinstance(other, str) and not _agree(key, other, str(values[key])):
                self.notes.odd(file, (
                    f"says {key} {other!r}, {MANIFEST} says {values[key]!r}; the latter was "
                    "imported. Look which is right"
                ))  # fmt: skip

    def _check_latest(self, folder: NameFolder, highest: int | None) -> None:
        file = os.path.join(folder.path, LATEST)
        try:
            with open(file, encoding="utf-8") as opened:
                latest = opened.read(_LONGEST_LATEST).strip()
        except FileNotFoundError:
            if highest is not None and not self._index:
                why = f"is missing: the write was cut off; latest means v{highest} here"
                self.notes.odd(file, why)
            return
        except (OSError, ValueError):
            self.notes.odd(file, f"cannot be read; latest means {_shown(highest)} here")
            return
        if latest == _shown(highest):
            return
        digits = latest.removeprefix("v")
        if not digits.isdecimal() or int(digits) not in folder.versions:
            what = f"says {latest!r}, which is not there"
        else:
            what = f"says {latest!r}, the highest that is whole and not gone is {_shown(highest)}"
        self.notes.odd(file, f"{what}; latest is computed and means {_shown(highest)} here")


def _read_manifest(file: str) -> dict[str, Any]:
    manifest = read_json(file)
    if manifest is None:
        raise Damaged("is missing: the write was cut off. Delete the folder, or restore it")
    return manifest


def _needed(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise Damaged(f"has no {key}; add it and import again")
    return value


def _shown(number: int | None) -> str:
    return "no version" if number is None else f"v{number}"


def _agree(key: str, one: str, other: str) -> bool:
    """Tell whether two files say the same, also when one holds a path before links are resolved."""
    if one == other or (key == "path" and "://" not in one and not os.path.isabs(one)):
        return True
    return key == "path" and "\0" not in one + other and (
        os.path.realpath(one) == os.path.realpath(other)
    )  # fmt: skip


def _detail(values: Mapping[str, Any], non_finite: tuple[str, ...]) -> dict[str, Any]:
    detail: dict[str, Any] = {}
    if isinstance(values.get("producer"), str):
        detail["producer"] = values["producer"]
    if non_finite:
        detail["non_finite"] = list(non_finite)
    return detail
