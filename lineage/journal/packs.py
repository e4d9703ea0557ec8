"""Old commits, about a thousand in one file: ``packs/<first>-<last>.jsonl``, a line for each.

Nobody is asked for leave and nobody is waited for; two that pack at once write the same. Only
commits that verify are packed: what is damaged stays as it is, to be named.

Those that lie alone are removed an hour after they were packed. Until then their names are taken,
so that a writer who was stopped in the middle of an append is refused; one who was stopped for
longer finds the pack when it looks, which it does before it believes its own append.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from ..commits import Commit
from ..errors import StoreDamaged
from .base import unlinked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ..shelf import Shelf

__all__ = ["Pack", "Packs", "verified"]

FOLDER = "packs"
_HELD = 2  # packs in memory: reading goes in order


class Pack(NamedTuple):
    """The numbers that one file holds."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """Name on the shelf."""
        return f"{FOLDER}/{self.first:09d}-{self.last:09d}.jsonl"


class Packs:
    """The packs of one journal. Safe in threads.

    Args:
        shelf: where they lie.
        loose: returns the name of a commit that lies alone.
    """

    def __init__(self, shelf: Shelf, loose: Callable[[int], str]) -> None:
        self._shelf, self._loose = shelf, loose
        self._lock = threading.Lock()
        self._packs: list[Pack] | None = None  # by their first numbers; None: not listed yet
        self._held: dict[Pack, list[bytes]] = {}

    def last(self) -> int:
        """Return the highest number that was seen packed, 0 for none."""
        packs = self._packs or self.look()
        return packs[-1].last if packs else 0

    def look(self) -> list[Pack]:
        """See which packs there are now."""
        packs = []
        for name in self._shelf.names(FOLDER):
            first, _, last = name.removesuffix(".jsonl").partition("-")
            with suppress(ValueError):
                packs.append(Pack(int(first), int(last)))
        packs.sort()
        self._packs = packs
        return packs

    def find(self, number: int) -> Pack | None:
        """Return the pack that holds a commit, as far as seen."""
        packs = self._packs if self._packs is not None else self.look()
        at = bisect_right(packs, (number, 1 << 62)) - 1
        if at >= 0 and packs[at].last >= number:
            return packs[at]
        return None

    def following(self, number: int) -> int:
        """Return the first packed number above one that is not packed; a huge one for none."""
        packs = self._packs or []
        at = bisect_right(packs, (number, 1 << 62))
        return packs[at].first if at < len(packs) else 1 << 62

    def lines(self, pack: Pack) -> list[bytes]:
        """Return the texts of a pack's commits.

        Raises:
            FileNotFoundError: it is not there.
        """
        with self._lock:
            found = self._held.pop(pack, None)
            if found is None:
                found = self._shelf.read(pack.name).split(b"\n")[:-1]
            self._held[pack] = found  # the newest last
            while len(self._held) > _HELD:
                del self._held[next(iter(self._held))]
            return found

    def forget(self) -> None:
        """Have packs read anew."""
        with self._lock:
            self._held.clear()

    def make(self, commits: Sequence[Commit]) -> Pack:
        """Put commits that follow each other into a pack."""
        pack = Pack(commits[0].number, commits[-1].number)
        # the same by whoever makes it: then it is no fault that somebody else did
        with suppress(FileExistsError):
            self._shelf.put_new(pack.name, _join(commit.text.encode("ascii") for commit in commits))
        self.look()
        return pack

    def old(self, age: float) -> list[Pack]:
        """Return the packs that were made so many seconds ago, as the place tells the time."""
        ages = self._shelf.ages(FOLDER)
        return [
            pack
            for pack in self.look()
            if ages.get(pack.name.removeprefix(f"{FOLDER}/"), 0.0) >= age
        ]

    def unload(self, pack: Pack, alone: Sequence[int]) -> None:
        """Remove commits of a pack that also lie alone, when the pack holds them as they are."""
        gone = self.correct(pack, alone)
        if gone:
            self._shelf.remove(gone)

    def correct(self, pack: Pack, alone: Sequence[int]) -> list[str]:
        """Put into a pack what was blanked since its commits were read, where they lie alone.

        Who blanks does so where a commit lies alone and then looks for a pack; who packs makes the
        pack and then looks here. So one of them finds the other.

        Returns:
            The names of those that the pack holds.
        """
        lines = self._shelf.read(pack.name).split(b"\n")[:-1]
        gone: list[str] = []
        changes: dict[int, bytes] = {}
        found = self._shelf.read_many([self._loose(number) for number in alone])
        for number, data in zip(alone, found, strict=True):
            at = number - pack.first
            if data is None or at >= len(lines):  # a pack that was cut off: left for fsck to name
                continue
            text = data.rstrip(b"\n")
            if text != lines[at]:
                best = _better(number, text, lines[at])
                if best is None:
                    continue
                if best != lines[at]:
                    changes[number] = best
            gone.append(self._loose(number))
        if changes:
            self.change(pack, changes)
        return gone

    def change(self, pack: Pack, texts: Mapping[int, bytes]) -> None:
        """Put other texts of some commits into a pack: they were blanked.

        The others stay as they lie there now: another process may have blanked them since this one
        read the pack.
        """
        lines = self._shelf.read(pack.name).split(b"\n")[:-1]
        for number, text in texts.items():
            lines[number - pack.first] = text
        self._shelf.put_over(pack.name, _join(lines))
        with self._lock:
            self._held.pop(pack, None)


def verified(texts: Iterable[tuple[int, str]]) -> Iterator[Commit]:
    """Yield commits that follow each other, giving way to other threads between them.

    Raises:
        StoreDamaged: one of them does not verify.
    """
    previous = None
    for number, text in texts:
        commit = Commit.read(text, number=number)
        if previous is not None and commit.previous != previous:
            raise unlinked(number)
        previous = commit.hash
        yield commit
        time.sleep(0)  # a writer in another thread must not wait for this one


def _join(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _better(number: int, alone: bytes, packed: bytes) -> bytes | None:
    """Return which text of one commit is to be kept: the one that verifies, with more blanked.

    None where they are not one commit, or neither verifies.
    """
    kept: list[tuple[int, bytes, str]] = []
    for text in (packed, alone):
        with suppress(StoreDamaged):
            commit = Commit.read(text.decode("ascii", "replace"), number=number)
            blank = sum(commit.is_blank(at) for at in range(len(commit.entries)))
            kept.append((blank, text, commit.hash))
    if not kept or len({each[2] for each in kept}) > 1:
        return None
    return max(kept, key=lambda each: each[0])[1]
