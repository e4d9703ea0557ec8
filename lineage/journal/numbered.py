"""Journals whose commits are numbered contents of a shelf: files of a folder, objects of a bucket.

::

    <root>/journal.json                            id and format
    <root>/commits/...000000001.json               the newest few thousand
    <root>/packs/000000001-000001000.jsonl         older ones, about a thousand together
    <root>/intake/...                              records that wait
    <root>/snapshots/...                           projections to begin with, of whoever left them

The commit point is making the name of commit n, which can be made once.
"""

from __future__ import annotations

import json
import os
import time
from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..clock import new_id
from ..commits import Commit
from ..errors import StoreDamaged, StoreNotFoundError, StoreTooNew, StoreUnsuitable
from ..metadata import canonical_json
from .base import HeadMoved, absent
from .shared import SharedJournal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..shelf import Shelf

__all__ = ["NumberedJournal"]

FORMAT = 1
_TOGETHER = 256  # commits read at a time
_PAUSES = (0.0, 0.05, 0.2)  # seconds between looks for a name that has to be there
_IDENTITY = "journal.json"


class NumberedJournal(SharedJournal):
    """A journal on a shelf. Subclasses name commits, find the head and know what the shelf needs.

    Attributes:
        shelf: where it all lies.
        settings: what its maker laid down for all who write to it.
    """

    shelf: Shelf  # never None
    settings: Mapping[str, Any]
    _seen = 0  # the highest number that an append found taken; a listing may be older

    # -------------------------------------------------------------- life cycle

    def _open(self, *, create: bool, adopting: bool) -> str:
        """Read what the journal is, and make it when it is not there; return its id."""
        try:
            data = self.shelf.read(_IDENTITY)
        except (FileNotFoundError, NotADirectoryError):
            if not create:
                raise StoreNotFoundError(
                    f"there is no store at {self.address}; check the address"
                ) from None
            settings = {"format": FORMAT, "id": new_id(), "kind": self.kind, **self._prepare()}
            if adopting:
                settings["unfinished"] = True
            with suppress(FileExistsError):  # another process was first: its id counts
                self.shelf.put_new(_IDENTITY, canonical_json(settings).encode() + b"\n")
            data = self.shelf.read(_IDENTITY)
        try:
            self.settings = json.loads(data)
            known = self.settings["format"] == FORMAT
            journal = str(self.settings["id"])
        except (ValueError, TypeError, KeyError):
            message = f"{_IDENTITY} of {self.address} is damaged; restore it from a copy"
            raise StoreDamaged(message) from None
        if not known:
            raise StoreTooNew(
                f"{self.address} has journal format {self.settings['format']}; this release reads "
                f"format {FORMAT}. Upgrade nemotron-lineage"
            )
        if self.settings.get("unfinished") and not adopting:
            raise StoreUnsuitable(
                f"{self.address} is being made as a copy of another store; wait until that is "
                "done, or finish it with: lineage copy"
            )
        return journal

    def finish(self) -> None:
        """Open it to all others: what was to be adopted is here."""
        if self.settings.get("unfinished"):
            self.settings = {k: v for k, v in self.settings.items() if k != "unfinished"}
            data = canonical_json(self.settings).encode() + b"\n"
            self.shelf.put_over(_IDENTITY, data)

    @abstractmethod
    def _prepare(self) -> dict[str, Any]:
        """Make the place ready for a new journal; return what all its writers must know.

        Raises:
            StoreUnsuitable: it cannot keep the journal's promises.
        """

    @abstractmethod
    def _name(self, number: int) -> str:
        """Return the name of a commit that is not packed."""

    # ----------------------------------------------------------------- reading

    def texts(self, after: int, upto: int) -> Iterator[tuple[int, str]]:
        """Yield (number, text) of commits."""
        for start in range(after + 1, upto + 1, _TOGETHER):
            numbers = range(start, min(start + _TOGETHER, upto + 1))
            found = self.shelf.read_many([self._name(number) for number in numbers])
            for number, data in zip(numbers, found, strict=True):
                yield number, _text(self._read_again(number) if data is None else data)

    def _read_again(self, number: int) -> bytes:
        """Read a commit that is known to be there and was not seen.

        NFS remembers for a while that a name was not there. Listing the folder has it look anew.
        """
        name = self._name(number)
        for pause in _PAUSES:
            time.sleep(pause)
            if os.path.basename(name) in self.shelf.names(os.path.dirname(name)):
                with suppress(FileNotFoundError):
                    return self.shelf.read(name)
        raise absent(number)

    # ----------------------------------------------------------------- writing

    def _write(self, commit: Commit, *, looked: bool) -> None:
        del looked  # every turn looks
        try:
            self.shelf.put_new(self._name(commit.number), commit.text.encode("ascii") + b"\n")
        except FileExistsError:
            self._seen = max(self._seen, commit.number)
            raise HeadMoved(f"somebody else wrote commit {commit.number}") from None

    def blank(self, number: int, event: str, kept: Mapping[str, Any]) -> None:
        """Blank one payload of a commit, on the disk too."""
        ((_, text),) = self.texts(number - 1, number)
        blanked = Commit.read(text, number=number).blank(event, kept)
        self.shelf.put_over(self._name(number), blanked.text.encode("ascii") + b"\n")
        self.intakes.blank(event)


def _text(data: bytes) -> str:
    return data.decode("ascii", "replace").rstrip("\n")
