"""Projections to begin with, of whoever left them: a host with an empty cache need not read all.

::

    snapshots/<tables>-<commit>-<id>.json    the note: commit, hash, size and digest, sealed
    snapshots/<tables>-<commit>-<id>.db      the content, put there before its note

A snapshot is never trusted ahead of its journal: the journal has to hold that commit with that
hash, and the content has to be what the note tells of. One that fails is passed over, and the
commits tell all of it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..clock import new_id
from ..commits import Head
from ..errors import StoreDamaged, StoreError
from ..metadata import canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .base import Journal

__all__ = ["Note", "Snapshots"]

_log = logging.getLogger(__name__)

_FOLDER = "snapshots"
_KEPT = 2  # of each kind: one may be on its way to a reader
_PIECE = 1 << 20  # bytes hashed at a time


@dataclass(frozen=True, slots=True)
class Note:
    """What a snapshot says of itself.

    Attributes:
        tables: name and form of what it holds, e.g. ``index-2``.
        head: the commit that it stands at.
        content: its name on the shelf.
        size: bytes of the content.
        digest: of the content, ``sha256:...``.
        detail: what else a reader has to know, as JSON.
    """

    tables: str
    head: Head
    content: str
    size: int
    digest: str
    detail: Mapping[str, Any]

    def write(self) -> bytes:
        """Return the note as it lies on the shelf."""
        body = canonical_json({
            "content": self.content, "detail": self.detail, "digest": self.digest,
            "head": list(self.head), "size": self.size, "tables": self.tables,
        })  # fmt: skip
        return f"{_sha256(body.encode('ascii'))} {body}\n".encode("ascii")

    @classmethod
    def read(cls, data: bytes) -> Note:
        """Read a note.

        Raises:
            ValueError: it is not what somebody wrote.
        """
        seal, _, body = data.rstrip(b"\n").partition(b" ")
        if seal.decode("ascii", "replace") != _sha256(body):
            raise ValueError("its note does not verify")
        note = json.loads(body)
        return cls(
            note["tables"], Head(*note["head"]), note["content"], note["size"], note["digest"],
            note["detail"],
        )  # fmt: skip


class Snapshots:
    """The snapshots of one journal.

    Args:
        journal: what they are of; without a shelf it has none.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal, self._shelf = journal, journal.shelf

    def newest(self, tables: str, upto: int) -> Note | None:
        """Return the newest note of some tables that the journal bears out.

        Args:
            tables: name and form, e.g. ``index-2``.
            upto: the commit that the journal is known to stand at.
        """
        if self._shelf is None:
            return None
        try:
            for number, name in reversed(self._notes(tables)):
                if number <= upto and (note := self._note(name, tables)) is not None:
                    return note
        except (StoreError, OSError) as error:
            _log.info("the snapshots of %s cannot be read: %s", self._journal.address, error)
        return None

    def number(self, tables: str) -> int:
        """Return the commit of the newest snapshot of some tables by its name, 0 for none."""
        notes = self._notes(tables) if self._shelf is not None else []
        return notes[-1][0] if notes else 0

    def fetch(self, note: Note, path: str) -> bool:
        """Copy the content of a snapshot to a local file, and tell whether it is to be trusted."""
        assert self._shelf is not None  # there is a note
        try:
            self._shelf.fetch(note.content, path)
            found = _digest(path)
        except FileNotFoundError:  # a newer one took its place
            return False
        if found != note.digest:
            _log.warning("%s is damaged and passed over", self._shelf.where(note.content))
            return False
        return True

    def read(self, note: Note, offset: int, size: int, digest: str) -> bytes | None:
        """Return a piece of a content, or None when it is gone or not what it has to be."""
        assert self._shelf is not None  # there is a note
        try:
            data = self._shelf.read(note.content, offset, size)
        except FileNotFoundError:
            return None
        if _sha256(data) != digest:
            _log.warning("%s is damaged and passed over", self._shelf.where(note.content))
            return None
        return data

    def put(self, tables: str, head: Head, path: str, detail: Mapping[str, Any]) -> Note:
        """Leave a local file as a snapshot, and remove those that nobody needs any more."""
        if self._shelf is None:
            raise StoreError(
                f"{self._journal.address} keeps no snapshots; it has no place for them"
            )
        stem = f"{_FOLDER}/{tables}-{head.number:012d}-{new_id()}"
        with open(path, "rb") as file:
            size = file.seek(0, 2)
        note = Note(tables, head, f"{stem}.db", size, _digest(path), detail)
        self._shelf.send(path, note.content)
        self._shelf.put_new(f"{stem}.json", note.write())
        self._remove_old(tables)
        return note

    def _remove_old(self, tables: str) -> None:
        """Remove those that nobody needs, and contents that somebody died over before the note."""
        assert self._shelf is not None  # the caller looked
        self._remove([name for _, name in self._notes(tables)[:-_KEPT]])
        kept = self._notes(tables)
        if not kept:  # all were removed just now: something was redacted
            return
        noted = {name.removesuffix(".json") for _, name in kept}
        self._shelf.remove([
            name for number, name in self._named(tables, ".db")
            if number < kept[-1][0] and name.removesuffix(".db") not in noted
        ])  # fmt: skip

    def remove_all(self) -> None:
        """Remove every snapshot: something that they hold is to be nowhere any more."""
        if self._shelf is not None:
            names = self._shelf.names(_FOLDER, whole=False)
            notes = [f"{_FOLDER}/{name}" for name in names if name.endswith(".json")]
            self._remove(notes)
            self._shelf.remove([f"{_FOLDER}/{name}" for name in names])

    def _remove(self, notes: list[str]) -> None:
        """Remove snapshots, the notes first: what nobody is told of, nobody begins to read."""
        assert self._shelf is not None  # the caller looked
        self._shelf.remove(notes)
        self._shelf.remove([f"{note.removesuffix('.json')}.db" for note in notes])

    def _notes(self, tables: str) -> list[tuple[int, str]]:
        """Return (commit, name) of the notes there are, oldest first."""
        return self._named(tables, ".json")

    def _named(self, tables: str, suffix: str) -> list[tuple[int, str]]:
        assert self._shelf is not None  # the callers looked
        found = []
        for name in self._shelf.names(_FOLDER, whole=suffix == ".json"):
            if name.startswith(f"{tables}-") and name.endswith(suffix):
                with suppress(ValueError):
                    number = int(name.removeprefix(f"{tables}-").partition("-")[0])
                    found.append((number, f"{_FOLDER}/{name}"))
        return found

    def _note(self, name: str, tables: str) -> Note | None:
        assert self._shelf is not None  # the caller looked
        try:
            note = Note.read(self._shelf.read(name))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            _log.warning("%s is passed over: %s", self._shelf.where(name), error)
            return None
        return note if note.tables == tables and self._is_borne_out(note) else None

    def _is_borne_out(self, note: Note) -> bool:
        """Tell whether the journal holds the very commit that a snapshot stands at."""
        try:
            (commit,) = self._journal.read(note.head.number - 1, note.head.number)
        except StoreDamaged:
            return False
        if commit.head != note.head:
            _log.warning("%s is of another history and passed over", note.content)
            return False
        return True


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest(path: str) -> str:
    found = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    return f"sha256:{found.hexdigest()}"
