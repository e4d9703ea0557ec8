"""A journal in a bucket: S3, GCS, Azure, with no server of ours.

::

    <prefix>/commits/000000001.json
    <prefix>/intake/<writer>-000000001.jsonl    one object a record

The commit point is a PUT on the condition that the name is free. The client may ask twice when a
reply is lost; then the second answer says that the name is taken, and the content says by whom. One
listing tells of new commits and waiting records alike.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..clock import Clock, new_id
from ..commits import Head
from ..errors import StoreError, StoreNotFoundError, StoreUnsuitable
from ..filesystems import cache_folder
from ..lines import write_line
from .bucket import Bucket
from .far import FarIntakes
from .numbered import NumberedJournal, now, numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..commits import Commit, Entry, Mark
    from ..intake import Pending
    from .far import Row
    from .ledger import Ledger
    from .packs import Pack

__all__ = ["ObjectStoreJournal"]

_AFTER_INTAKE = "intake0"  # what follows every name that begins with "intake/"
_DIGITS = 9


class ObjectStoreJournal(NumberedJournal):
    """Opens or creates the journal below a prefix of a bucket.

    Args:
        address: ``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://container/prefix``.
        create: make it when it is not there.
        adopting: it is to take in the commits of another journal, and closed to others meanwhile.
        waiting: folder of this host for records that cannot reach the bucket now.
        cache: local folder for the ledger and the index, by default one that fits; None keeps
            them in memory.
        bucket: what stands between this and the provider.
        clock: for records of the intake.

    Raises:
        StoreNotFoundError: not there, and not to be created.
        StoreUnreachable: nothing answers there.
        StoreUnsuitable: the endpoint does not honour the condition, or a login in the address.
    """

    kind = "objects"

    def __init__(
        self,
        address: str,
        *,
        create: bool = True,
        adopting: bool = False,
        waiting: str,
        cache: str | None = "",
        bucket: Bucket | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.address = address.rstrip("/")
        self.shelf = self._bucket = bucket or Bucket(self.address)
        self.id = self._open(create=create, adopting=adopting)
        self.cache = cache_folder(None, self.id) if cache == "" else cache
        self._objects = _ObjectIntakes(self._bucket, waiting, clock, self.is_ours)
        self.intakes = self._objects
        self._begin_sharing()

    def _prepare(self) -> dict[str, Any]:
        probe = f"probe-{new_id()}"
        try:
            self._bucket.put_new(probe, b"1")
            with suppress(FileExistsError):
                self._bucket.put_new(probe, b"2")
                raise StoreUnsuitable(
                    f"{self.address} does not honour If-None-Match: two writers could both write "
                    "one commit; use another endpoint, or another kind of store"
                )
        except FileNotFoundError:
            raise StoreNotFoundError(
                f"there is no bucket for {self.address}; make it, or check the address"
            ) from None
        finally:
            with suppress(StoreError, OSError):
                self._bucket.remove([probe])
        return {}

    def close(self) -> None:
        """Give the bucket and the ledger's cache back."""
        super().close()
        self._bucket.close()

    # ----------------------------------------------------------------- reading

    def _newest(self, known: int) -> Head:
        """Find the head and what waits, by one listing from what is known on."""
        self._learned = now()
        known = known or self._packs.last()
        commits: list[str] = []
        waiting: list[str] = []
        for name in self._bucket.between(self._name(known), _AFTER_INTAKE):
            folder, _, rest = name.partition("/")
            if folder in ("commits", "intake"):
                (waiting if folder == "intake" else commits).append(rest)
        self._objects.found(waiting)
        last = max(numbers(commits), default=known)
        return Head(max(last, self._seen), "", "")

    def _name(self, number: int) -> str:
        return f"commits/{number:0{_DIGITS}d}.json"

    # ----------------------------------------------------------------- writing

    def _look(self, *, must: bool) -> bool:
        del must
        head = self._newest(self._known.number)
        if head.number > self._known.number:
            self._behind = True
        return True

    def pending(self, ledger: Ledger, folders: Iterable[str]) -> list[Pending]:
        """Return the records that wait, as this turn's look found them."""
        return self._objects.merged(self._objects.read(ledger.mark), ledger.mark, folders)

    def _unload(self, packs: Sequence[Pack]) -> None:
        for pack in packs:
            names = self._bucket.between(
                self._name(pack.first - 1), self._name(pack.last + 1), "commits"
            )
            alone = numbers(name.removeprefix("commits/") for name in names)
            if alone:
                self._packs.unload(pack, alone)

    def _write(self, commit: Commit, *, looked: bool) -> None:
        super()._write(commit, looked=looked)
        with suppress(StoreError, OSError):  # the commit stands; the next writer removes them too
            self._objects.remove_taken({**self._objects.stale, **commit.writers})


class _ObjectIntakes(FarIntakes):
    """Waiting records as objects, which whoever took them removes."""

    def __init__(
        self, bucket: Bucket, folder: str, clock: Clock | None, ours: Callable[[str], bool]
    ) -> None:
        self._bucket = bucket
        self._names: list[tuple[str, int]] = []  # (writer, sequence), as last listed
        super().__init__(folder, clock, ours=ours)

    def found(self, names: Iterable[str]) -> None:
        """Note what a listing showed."""
        parts = (name.removesuffix(".jsonl").partition("-") for name in names)
        self._names = [(writer, int(number)) for writer, _, number in parts if number.isdigit()]

    def look(self, mark: Callable[[str], Mark]) -> Iterable[Row]:
        self.found(self._bucket.names("intake"))
        return self.read(mark)

    def read(self, mark: Callable[[str], Mark]) -> Iterable[Row]:
        """Read what the last listing showed, but for what was taken."""
        behind = []
        for writer, sequence in self._names:
            taken = mark(writer)
            if sequence <= taken.sequence:
                self.stale[writer] = taken
            else:
                behind.append((writer, sequence))
        found = self._bucket.read_many([_object(*each) for each in behind])
        return [
            (sequence, writer, line)
            for (writer, sequence), line in zip(behind, found, strict=True)
            if line is not None  # another writer took it just now
        ]

    def put(self, entry: Entry, about: Mapping[str, Any]) -> None:
        del about
        with suppress(FileExistsError):
            self._bucket.put_new(_object(entry.writer, entry.sequence), write_line(entry))

    def drop(self, writer: str, sequence: int) -> None:
        self._bucket.remove([_object(writer, sequence)])

    def remove_taken(self, marks: Mapping[str, Mark]) -> None:
        """Remove what commits hold."""
        gone = {
            each for each in self._names if each[0] in marks and each[1] <= marks[each[0]].sequence
        }
        self._bucket.remove([_object(*each) for each in gone])
        self._names = [each for each in self._names if each not in gone]
        self.stale.clear()

    def has_pending(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> bool:
        behind = any(sequence > mark(writer).sequence for writer, sequence in self._names)
        return behind or super().has_pending(mark, folders)


def _object(writer: str, sequence: int) -> str:
    return f"intake/{writer}-{sequence:0{_DIGITS}d}.jsonl"
