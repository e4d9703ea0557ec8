"""Writes the versions that were published here in the manifest layout, again and again.

The layout is a projection: it can be thrown away and written anew. A folder tells by a mark in its
manifest whose it is; a folder without our mark is never touched.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..clock import new_id, write_time
from ..events import Receipt
from ..files import Files
from ..model import Input, State, VersionId
from ..source import SourceURI
from .folders import LATEST, MANIFEST, METADATA, Damaged, Notes, Skipped, folder_of, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..model import Version
    from ..registry import Lineage

__all__ = ["Export", "ExportReport"]

_PASSES = 10  # an export that others keep outrunning leaves the rest to the next one
_STALE = 3600.0  # seconds after which a temporary belongs to nobody
_LONGEST_NAME = 255  # bytes of one folder's name


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        written: the versions whose files are new or changed.
        unchanged: the versions whose files were right already.
        foreign: the versions that were imported here; their own registry has them.
        skipped: the versions that are not written, because of what else holds their folder.
        oddities: a sentence for each name that is left out: why, and what to do.
    """

    written: tuple[VersionId, ...] = ()
    unchanged: tuple[VersionId, ...] = ()
    foreign: tuple[VersionId, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    oddities: tuple[str, ...] = ()


class Export:
    """One export under way.

    Args:
        store: whose versions.
        root: where to, links resolved.

    Attributes:
        written: the versions that were written so far, and their folders.
    """

    def __init__(self, store: Lineage, root: str) -> None:
        self._store, self._root = store, root
        self._disk = Files()
        self._head = store.journal.head()
        self.written: dict[VersionId, str] = {}
        self.unchanged: set[VersionId] = set()
        self.foreign: list[VersionId] = []
        self.notes = Notes()

    def run(self) -> None:
        """Write until nothing was recorded meanwhile.

        Another export may have written newer files, and this one older ones over them: whoever
        sees that the journal moved looks again, so the last one to end leaves what is right.
        """
        self._disk.make_folder(self._root)
        for _ in range(_PASSES):
            with self._store.reading():
                self._head = self._store.journal.head()
            self.notes, self.unchanged, self.foreign = Notes(), set(), []
            for artifact in self._store.artifacts():
                self._name(artifact.name, artifact.latest)
            if self._store.journal.head() == self._head:
                return

    def report(self) -> ExportReport:
        """Say what became of every version."""
        return ExportReport(
            tuple(self.written), tuple(sorted(self.unchanged - self.written.keys())),
            tuple(self.foreign), tuple(self.notes.skipped), tuple(self.notes.oddities),
        )  # fmt: skip

    def give_receipt(self) -> None:
        """Note in the journal what was written, if anything was."""
        if self.written:
            delivered = {str(version): folder for version, folder in self.written.items()}
            mirror = self._store.redactor.text(f"manifest:{self._root}")
            self._store.commit(Receipt(mirror=mirror, delivered=delivered, head=self._head.hash))

    def _name(self, name: str, latest: int | None) -> None:
        versions = sorted(self._store.log(name), key=lambda version: version.number)
        if self._is_imported(name):
            self.foreign += [version.id for version in versions]
            return
        folder = os.path.join(self._root, folder_of(name))
        if max(map(len, folder_of(name).split("/"))) > _LONGEST_NAME:
            there: set[int] = set()
            why: str | None = f"it is longer than a folder's name may be ({_LONGEST_NAME})"
        else:
            there = self._numbers(folder)
            why = self._others(name, folder, there)
        if why is not None:
            self.notes.odd(f"art://{name}", f"{why}; not exported")
            self.notes.skipped += [Skipped(name, f"v{version.number}") for version in versions]
            return
        for version in versions:
            path = os.path.join(folder, f"v{version.number}")
            files = {MANIFEST: self._manifest(version), METADATA: _metadata(version)}
            changed = {
                file: text for file, text in files.items() if _read(f"{path}/{file}") != text
            }
            if changed and self._put(path, changed, is_new=version.number not in there):
                self.written[version.id] = f"{folder_of(name)}/v{version.number}"
            else:
                self.unchanged.add(version.id)
        self._put_latest(os.path.join(folder, LATEST), latest)

    # ----------------------------------------------------------------- refusing

    def _numbers(self, folder: str) -> set[int]:
        """Return the version folders that are there; delete temporaries of dead exports."""
        numbers = set()
        for name in _names(folder):
            if re.fullmatch("v[0-9]+", name):
                numbers.add(int(name[1:]))
            elif name.startswith(".new-"):
                path = os.path.join(folder, name)
                with suppress(OSError):
                    if time.time() - os.stat(path).st_mtime > _STALE:
                        _remove(path)
        return numbers

    def _is_imported(self, name: str) -> bool:
        with self._store.journal.peek() as ledger:
            artifact = ledger.artifact(name)
        return artifact is not None and artifact.origin is not None

    def _others(self, name: str, folder: str, there: set[int]) -> str | None:
        """Say who else writes in the folder of a name, or None when nobody does."""
        for number in sorted(there):
            if not self._is_ours(VersionId(name, number), f"{folder}/v{number}/{MANIFEST}"):
                return (
                    f"somebody else wrote {folder}/v{number}; export to another root, or move "
                    "that folder away"
                )
        return None

    def _is_ours(self, version: VersionId, file: str) -> bool:
        try:
            mark = (read_json(file) or {}).get("lineage")
        except Damaged:
            return False
        ours = {"journal": self._store.journal.id, "uri": str(version)}
        return isinstance(mark, dict) and ours.items() <= mark.items()

    # ------------------------------------------------------------------ writing

    def _put(self, path: str, files: Mapping[str, bytes], *, is_new: bool) -> bool:
        """Write files of one version; a new folder appears with all of them at once.

        Returns:
            False when another export made the folder first; whether it is right is seen later.
        """
        folder = os.path.dirname(path)
        self._disk.make_folder(folder)
        temporary = os.path.join(folder, f".new-{new_id()}")
        os.mkdir(temporary)
        try:
            for name, data in files.items():
                self._disk.put_over(os.path.join(temporary, name), data)
            if is_new:
                os.rename(temporary, path)
            else:
                for name in files:
                    os.replace(os.path.join(temporary, name), os.path.join(path, name))
                self._disk.sync_folder(path)
        except OSError as error:
            if is_new and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        finally:
            _remove(temporary)
        self._disk.sync_folder(folder)
        return True

    def _put_latest(self, path: str, latest: int | None) -> None:
        if latest is None:
            with suppress(FileNotFoundError):
                os.unlink(path)
        elif _read(path) != (text := f"v{latest}".encode()):
            self._disk.put_over(path, text)

    def _manifest(self, version: Version) -> bytes:
        inputs = self._store.inputs(version)
        mark = {
            "journal": self._store.journal.id, "uri": str(version.id),
            "inputs": [_edge(used) for used in inputs],
        }  # fmt: skip
        if version.digest is not None:
            mark["digest"] = version.digest
        manifest = {
            "name": version.name, "version": version.number, "type": version.type,
            "path": version.address, "created_at": write_time(version.occurred),
            "producer": version.run or "local", "metadata": version.metadata,
            "inputs": [_text(used) for used in inputs if not isinstance(used.target, VersionId)],
            "used_artifacts": [
                _text(used) for used in inputs if isinstance(used.target, VersionId)
            ],
        }  # fmt: skip
        if version.state is not State.LIVE:
            manifest["state"] = str(version.state)
        return _json({**manifest, "lineage": mark})


def _metadata(version: Version) -> bytes:
    """Return what programs of that layout load an artifact from: typed fields stand on top."""
    fields = {
        "path": version.address, "type": version.type, "name": version.name,
        "created_at": write_time(version.occurred), "producer": version.run or "local",
        "metadata": version.metadata,
    }  # fmt: skip
    return _json({**version.metadata, **fields})


def _edge(used: Input) -> dict[str, Any]:
    facts = {
        "role": used.role, "weight": used.weight, "split": used.split, "tokens": used.tokens,
        "revision": used.revision, "digest": used.digest, "size": used.size,
    }  # fmt: skip
    target = used.target
    uri = target.uri if isinstance(target, SourceURI) else str(target)
    return {"uri": uri, **{key: value for key, value in facts.items() if value is not None}}


def _text(used: Input) -> str:
    """Write an input as that layout does: ``name:v3``, or the address of a source."""
    if isinstance(used.target, VersionId):
        return f"{used.target.name}:v{used.target.number}"
    assert isinstance(used.target, SourceURI)  # the index knows no places
    if used.target.uri.startswith("file://"):
        return used.target.uri
    return str(SourceURI(used.target.uri, used.revision))


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _remove(path: str) -> None:
    """Remove a temporary, whatever it is; nobody reads it, so what cannot be removed may stay."""
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            os.unlink(path)
