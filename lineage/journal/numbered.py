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
import logging
import math
import os
import time
from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..background import start
from ..clock import new_id
from ..commits import Commit
from ..errors import StoreDamaged, StoreNotFoundError, StoreTooNew, StoreUnsuitable
from ..metadata import canonical_json
from .base import BATCH, HeadMoved, absent, in_batches, must_follow
from .packs import Packs, verified
from .shared import SharedJournal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..shelf import Shelf
    from .packs import Pack

__all__ = ["IDENTITY", "NumberedJournal", "now", "numbers"]

_log = logging.getLogger(__name__)

FORMAT = 1
_TOGETHER = 256  # commits read at a time
_PAUSES = (0.0, 0.05, 0.2)  # seconds between looks for a name that has to be there
GRACE = 3600.0  # seconds that packed commits also lie alone, see packs.py
_STALE = 600.0  # seconds after which a writer looks again before it believes what it knows
_BETWEEN = 30.0  # seconds between processes that a writer starts to tidy
IDENTITY = "journal.json"


class NumberedJournal(SharedJournal):
    """A journal on a shelf. Subclasses name commits, find the head and know what the shelf needs.

    Attributes:
        shelf: where it all lies.
        settings: what its maker laid down for all who write to it.
    """

    shelf: Shelf  # never None
    settings: Mapping[str, Any]
    _tidied = -math.inf  # when a process was last started for it
    _learned = 0.0  # when it was last known what the head is
    _seen = 0  # the highest number that an append found taken; a listing may be older

    # -------------------------------------------------------------- life cycle

    def _open(self, *, create: bool, adopting: bool) -> str:
        """Read what the journal is, and make it when it is not there; return its id."""
        self._packs = Packs(self.shelf, self._name)
        try:
            data = self.shelf.read(IDENTITY)
        except (FileNotFoundError, NotADirectoryError):
            if not create:
                raise StoreNotFoundError(
                    f"there is no store at {self.address}; check the address"
                ) from None
            settings = {"format": FORMAT, "id": new_id(), "kind": self.kind, **self._prepare()}
            if adopting:
                settings["unfinished"] = True
            with suppress(FileExistsError):  # another process was first: its id counts
                self.shelf.put_new(IDENTITY, canonical_json(settings).encode() + b"\n")
            data = self.shelf.read(IDENTITY)
        try:
            self.settings = json.loads(data)
            known = self.settings["format"] == FORMAT
            journal = str(self.settings["id"])
        except (ValueError, TypeError, KeyError):
            message = f"{IDENTITY} of {self.address} is damaged; restore it from a copy"
            raise StoreDamaged(message) from None
        if not known:
            raise StoreTooNew(
                f"{self.address} has journal format {self.settings['format']}; this release reads "
                f"format {FORMAT}. Upgrade nemotron-lineage"
            )
        if self.is_unfinished and not adopting:
            raise StoreUnsuitable(
                f"{self.address} is being made as a copy of another store; wait until that is "
                "done, or finish it with: lineage copy"
            )
        return journal

    @property
    def is_unfinished(self) -> bool:
        """Whether it waits for the rest of what it adopts."""
        return bool(self.settings.get("unfinished"))

    def finish(self) -> None:
        """Open it to all others: what was to be adopted is here."""
        if self.is_unfinished:
            self.settings = {k: v for k, v in self.settings.items() if k != "unfinished"}
            data = canonical_json(self.settings).encode() + b"\n"
            self.shelf.put_over(IDENTITY, data)

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
        """Yield (number, text) of commits, packed or alone."""
        while after < upto:
            pack = self._packs.find(after + 1)
            some = self._alone(after, upto) if pack is None else self._packed(pack, after, upto)
            for number, text in some:
                yield number, text
                after = number

    def _packed(self, pack: Pack, after: int, upto: int) -> Iterator[tuple[int, str]]:
        lines = self._packs.lines(pack)
        for number in range(after + 1, min(pack.last, upto) + 1):
            if number - pack.first >= len(lines):
                raise absent(number)
            yield number, _text(lines[number - pack.first])

    def _alone(self, after: int, upto: int) -> Iterator[tuple[int, str]]:
        upto = min(upto, after + _TOGETHER, self._packs.following(after) - 1)
        numbers = range(after + 1, upto + 1)
        found = self.shelf.read_many([self._name(number) for number in numbers])
        for number, data in zip(numbers, found, strict=True):
            if data is None:
                self._packs.look()
                if self._packs.find(number) is not None:  # just now
                    return
                data = self._read_again(number)  # noqa: PLW2901 - the same, found later
            yield number, _text(data)

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

    def _look(self, *, must: bool) -> bool:
        del must
        if now() - self._learned > _STALE:
            self._behind = True
        return True

    def _write(self, commit: Commit, *, looked: bool) -> None:
        del looked  # every turn looks
        name, learned = self._name(commit.number), now()
        try:
            self.shelf.put_new(name, commit.text.encode("ascii") + b"\n")
        except FileExistsError:
            self._seen = max(self._seen, commit.number)
            raise HeadMoved(f"somebody else wrote commit {commit.number}") from None
        if now() - self._learned > _STALE:
            self._check_not_packed(commit, name)
        self._learned = learned

    def _check_not_packed(self, commit: Commit, name: str) -> None:
        """Take an append back whose number was given out, packed and freed long ago."""
        self._packs.look()
        if self._packs.find(commit.number) is not None:
            self.shelf.remove([name])
            self._seen = max(self._seen, self._packs.last())
            raise HeadMoved(f"somebody else wrote commit {commit.number}, long ago")

    def adopt(self, commits: Iterable[Commit]) -> None:
        """Append commits of another journal as they are, by packs where nobody else can write."""
        if not self.is_unfinished:
            super().adopt(commits)
            return
        head = self.head()
        for some in in_batches(commits):
            for commit in some:
                head = must_follow(commit, head)
            if len(some) == BATCH:
                self._packs.make(some)
            else:
                for commit in some:
                    self._write(commit, looked=True)
            self._known = head  # a look from what was known before may end at a pack
        self._behind = True

    def blank(self, number: int, event: str, kept: Mapping[str, Any]) -> None:
        """Blank one payload of a commit, wherever it lies."""
        self._packs.forget()  # another process may have blanked more since they were read
        ((_, text),) = self.texts(number - 1, number)
        blanked = Commit.read(text, number=number).blank(event, kept).text.encode("ascii")
        if self._packs.find(number) is None:
            self.shelf.put_over(self._name(number), blanked + b"\n")
        self._packs.look()
        pack = self._packs.find(number)
        if pack is not None:
            self._packs.change(pack, {number: blanked})
            self._packs.unload(pack, [number])
        self.intakes.blank(event)

    # ------------------------------------------------------------------ tidying

    def put(self, commit: Commit, *, looked: bool) -> None:
        """Write a commit, for a turn; notice whether old ones are to be packed."""
        super().put(commit, looked=looked)
        if commit.number % BATCH == 0:
            self._tidy_soon()

    def tidy(self, most: int | None = None, *, age: float = GRACE) -> int:
        """Pack old commits, all but the newest one or two thousand; return how many packs.

        Nobody waits for it, and who is killed in the middle leaves nothing that matters.

        Args:
            most: how many packs to make at the most.
            age: seconds after which commits that were packed no longer have to lie alone too.

        Raises:
            StoreDamaged: a commit does not verify; from there on nothing is packed.
        """
        head = self._newest(self._known.number).number
        made = 0
        try:
            self._packs.look()
            while most is None or made < most:
                first = self._packs.last() + 1
                if head < first + 2 * BATCH - 1:
                    break
                texts = self.texts(first - 1, first + BATCH - 1)
                pack = self._packs.make(next(in_batches(verified(texts))))
                self._packs.correct(pack, range(pack.first, pack.last + 1))
                made += 1
        finally:
            self._unload(self._packs.old(age))
        return made

    @abstractmethod
    def _unload(self, packs: Sequence[Pack]) -> None:
        """Remove the commits of old packs that still lie alone."""

    def _tidy_soon(self) -> None:
        """Have another process tidy, unless one was started just now."""
        if now() - self._tidied > _BETWEEN:
            self._tidied = now()
            try:
                start("upkeep", self.address)
            except OSError as error:
                _log.warning("old commits of %s are not packed: %s", self.address, error)


def numbers(names: Iterable[str]) -> list[int]:
    """Return the numbers of the commits among some names.

    Others may lie there: NFS gives one to what is removed while somebody reads it, ``.nfs...``.
    """
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return [int(stem) for stem in stems if stem.isascii() and stem.isdigit()]


def now() -> float:
    """Return seconds that also count while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _text(data: bytes) -> str:
    return data.decode("ascii", "replace").rstrip("\n")
