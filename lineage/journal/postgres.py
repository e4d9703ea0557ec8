"""A journal in a PostgreSQL database, for teams that have one.

The commit point is one statement: it moves the row of the head from the number and hash that the
writer knows to its own, and inserts the commit. So a writer whose cache is current needs one round
trip; one who was overtaken is told in the same answer what was written since, and needs two. No
lock is held between statements. Records of writers in a crowd lie in a table; those of training
loops in files of the host or beside the checkpoints, since no hook may wait for a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..clock import Clock, new_id
from ..commits import Commit, Head
from ..errors import StoreNotFoundError, StoreReadOnly, StoreTooNew, StoreUnsuitable
from ..filesystems import cache_folder
from ..lines import write_line
from ..metadata import canonical_json
from ..process import PerProcess
from .base import HeadMoved, absent, in_batches
from .database import Database, read_address
from .far import FarIntakes
from .rowshelf import RowShelf
from .shared import SharedJournal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..commits import Entry, Mark
    from ..intake import Pending
    from .database import Rows
    from .far import Row
    from .ledger import Ledger

__all__ = ["PostgresJournal", "statements"]

FORMAT = 1

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.journal(
    one boolean PRIMARY KEY DEFAULT true CHECK (one), id text NOT NULL, format integer NOT NULL,
    number bigint NOT NULL, hash text NOT NULL, recorded text NOT NULL) WITH (fillfactor=10);
CREATE TABLE IF NOT EXISTS {schema}.commits(
    number bigint PRIMARY KEY, hash text NOT NULL, text text NOT NULL);
CREATE TABLE IF NOT EXISTS {schema}.intake(
    writer text NOT NULL, sequence bigint NOT NULL, about text NOT NULL, line text NOT NULL,
    PRIMARY KEY (writer, sequence));
CREATE TABLE IF NOT EXISTS {schema}.shelf(
    name text NOT NULL, part integer NOT NULL, data bytea NOT NULL, PRIMARY KEY (name, part));
"""
_RIGHTS = """
SELECT has_table_privilege('{schema}.commits', 'INSERT')
    AND current_setting('transaction_read_only')='off'"""
_HEAD = """
SELECT number, hash, recorded, EXISTS(SELECT FROM {schema}.intake) FROM {schema}.journal"""
# the head and, in the same look, what was written since and what waits
_NEWS = """
SELECT 'head', number, hash, recorded FROM {schema}.journal
UNION ALL SELECT 'commit', c.* FROM (SELECT number, hash, text FROM {schema}.commits
    WHERE number>%(before)s AND hash<>%(hash)s ORDER BY number LIMIT 500) c
UNION ALL SELECT 'record', r.* FROM (SELECT sequence, writer, line FROM {schema}.intake
    ORDER BY writer, sequence LIMIT 10000) r"""
_APPEND = """
WITH moved AS (
    UPDATE {schema}.journal SET number=%(number)s, hash=%(hash)s, recorded=%(recorded)s
    WHERE number=%(before)s AND hash=%(previous)s
        AND (%(looked)s OR NOT EXISTS(SELECT FROM {schema}.intake))
    RETURNING number),
written AS (
    INSERT INTO {schema}.commits SELECT number, %(hash)s, %(text)s FROM moved),
taken AS (
    DELETE FROM {schema}.intake i
    USING moved, unnest(%(writers)s::text[], %(sequences)s::bigint[]) AS t(writer, sequence)
    WHERE i.writer=t.writer AND i.sequence<=t.sequence)
SELECT number FROM moved"""


_ADOPT = """
WITH moved AS (
    UPDATE {schema}.journal SET number=%(number)s, hash=%(hash)s, recorded=%(recorded)s
    WHERE number=%(before)s AND hash=%(previous)s RETURNING number),
written AS (
    INSERT INTO {schema}.commits SELECT c.* FROM moved,
        unnest(%(numbers)s::bigint[], %(hashes)s::text[], %(texts)s::text[]) AS c)
SELECT number FROM moved"""


class PostgresJournal(SharedJournal, PerProcess):
    """Opens or creates the journal at an address.

    Args:
        address: ``postgresql://[user@]host[:port]/database[?schema=name]``, with what else libpq
            takes; passwords come from ``~/.pgpass`` or ``PGPASSWORD``.
        create: make the tables when they are not there.
        waiting: folder of this host for records that cannot reach the server now.
        cache: local folder for the ledger and the index, by default one that fits; None keeps
            them in memory.
        clock: for records of the intake.

    Raises:
        StoreNotFoundError: no tables, and not to be created.
        StoreUnreachable: nothing answers there.
        StoreUnsuitable: a password in the address, or a server before PostgreSQL 15.
    """

    kind = "postgres"
    tries = 2  # the answer to the first brings all that the second has to know

    def __init__(
        self,
        address: str,
        *,
        create: bool = True,
        waiting: str,
        cache: str | None = "",
        clock: Clock | None = None,
    ) -> None:
        self.address = address
        self._database = Database(address)
        self.shelf = RowShelf(address, self.ask)
        try:
            self.id = self._open(create=create)
        except BaseException:
            self._database.close()
            raise
        self.cache = cache_folder(None, self.id) if cache == "" else cache
        self._rows = _RowIntakes(self, waiting, clock)
        self.intakes = self._rows
        PerProcess.__init__(self)
        self._begin_sharing()

    def _begin(self) -> None:
        self._news: _News | None = None

    # -------------------------------------------------------------- life cycle

    def _open(self, *, create: bool) -> str:
        try:
            (row,), (rights,) = self._identity()
        except (StoreNotFoundError, ValueError):  # no table, or no row in it
            if not create:
                raise StoreNotFoundError(
                    f"there is no store at {self.address}; make one with: lineage init"
                ) from None
            self._create()
            (row,), (rights,) = self._identity()
        journal, form = row
        if form != FORMAT:
            raise StoreTooNew(
                f"{self.address} has journal format {form}; this release reads format {FORMAT}. "
                "Upgrade nemotron-lineage"
            )
        self.read_only = not rights[0]
        return str(journal)

    def _identity(self) -> list[Rows]:
        return self.ask(("SELECT id, format FROM {schema}.journal", {}), (_RIGHTS, {}))

    def _create(self) -> None:
        # one at a time: two that create at once would disturb each other in the catalogue
        self.ask(("SELECT pg_advisory_lock(hashtext('nemotron-lineage {schema}'))", {}))
        try:
            ((schema,),) = self.ask(("SELECT to_regnamespace('{schema}')::text", {}))
            first, *others = SCHEMA.strip().removesuffix(";").split(";\n")
            for statement in others if schema[0] else (first, *others):
                self.ask((statement, {}))
            new = "INSERT INTO {schema}.journal VALUES(true, %(id)s, %(format)s, 0, '', '')"
            self.ask((f"{new} ON CONFLICT DO NOTHING", {"id": new_id(), "format": FORMAT}))
        finally:
            self.ask(("SELECT pg_advisory_unlock(hashtext('nemotron-lineage {schema}'))", {}))

    def ask(self, *statements: tuple[str, dict[str, Any]], again: bool = True) -> list[Rows]:
        """Ask the server, in one round trip."""
        return self._database.ask(*statements, again=again)

    def close(self) -> None:
        """Give the connection and the ledger's cache back."""
        super().close()
        self._database.close()

    # ----------------------------------------------------------------- reading

    def _newest(self, known: int) -> Head:
        del known
        if self._news is not None and self._news.head is not None:
            return self._news.head
        ((row,),) = self.ask((_HEAD, {}))
        self._rows.any_rows = row[3]
        return Head(*row[:3])

    def head(self) -> Head:
        """Return where the journal stands now."""
        self._own()
        self._news = None
        return super().head()

    def texts(self, after: int, upto: int) -> Iterator[tuple[int, str]]:
        """Yield (number, text) of commits, a page at a time."""
        self._own()
        known = self._news.texts if self._news is not None else {}
        while after < upto and after + 1 in known:
            after += 1
            yield after, known[after]
        page = (
            "SELECT number, text FROM {schema}.commits WHERE number>%(after)s AND number<=%(upto)s"
            " ORDER BY number LIMIT 500"
        )
        while after < upto:
            (rows,) = self.ask((page, {"after": after, "upto": upto}))
            for number, text in rows:
                if number != after + 1:
                    raise absent(after + 1)
                yield number, text
                after = number
            if not rows:
                raise absent(after + 1)

    # ----------------------------------------------------------------- writing

    def _look(self, *, must: bool) -> bool:
        self._own()
        if self._news is not None and not self._news.used:  # a refused append brought them
            self._news.used = True
            return True
        if not (must or self._behind):
            self._news = None
            return False
        (rows,) = self.ask((_NEWS, {"before": self._known.number, "hash": ""}))
        self._news = _News(rows, used=True)
        return True

    def pending(self, ledger: Ledger, folders: Iterable[str]) -> list[Pending]:
        """Return the records that wait, as this turn's look found them."""
        waiting = [] if self._news is None else self._news.waiting
        return self._rows.merged(waiting, ledger.mark, folders)

    def _write(self, commit: Commit, *, looked: bool) -> None:
        marks = {**self._rows.stale, **commit.writers}
        values = {
            "number": commit.number, "hash": commit.hash, "recorded": commit.recorded,
            "before": commit.number - 1, "previous": commit.previous, "text": commit.text,
            "looked": looked, "writers": list(marks),
            "sequences": [mark.sequence for mark in marks.values()],
        }  # fmt: skip
        self._news = None
        moved, news = self.ask((_APPEND, values), (_NEWS, values), again=False)
        if not moved:
            self._news = _News(news)
            raise HeadMoved(f"somebody else wrote commit {commit.number}, or has records waiting")
        self._rows.stale.clear()

    def adopt(self, commits: Iterable[Commit]) -> None:
        """Append commits of another journal as they are, many in a transaction."""
        self._own()
        for some in in_batches(commits):
            first, last = some[0], some[-1]
            values = {
                "number": last.number, "hash": last.hash, "recorded": last.recorded,
                "before": first.number - 1, "previous": first.previous,
                "numbers": [each.number for each in some], "hashes": [each.hash for each in some],
                "texts": [each.text for each in some],
            }  # fmt: skip
            (moved,) = self.ask((_ADOPT, values), again=False)
            if not moved:
                raise HeadMoved(f"commit {first.number} does not follow what is in the store")
        self._news, self._behind = None, True

    def forget_news(self) -> None:
        """Have the next turn look for itself: it has to find what was written just now."""
        self._news = None

    def check_blank(self) -> None:
        """Raise when payloads cannot be blanked from here: only the owner of the tables may."""
        ((row,),) = self.ask(("SELECT has_table_privilege('{schema}.commits', 'UPDATE')", {}))
        if not row[0]:
            raise StoreReadOnly(
                f"{self.address}: this role may append and change nothing; ask the store's owner"
            )

    def blank(self, number: int, event: str, kept: Mapping[str, Any]) -> None:
        """Blank one payload of a commit."""
        ((_, text),) = self.texts(number - 1, number)
        blanked = Commit.read(text, number=number).blank(event, kept)
        self.ask((
            "UPDATE {schema}.commits SET text=%(text)s WHERE number=%(number)s",
            {"text": blanked.text, "number": number},
        ))  # fmt: skip
        self.intakes.blank(event)


class _News:
    """What one look showed: the head, the commits since, the records that wait."""

    def __init__(self, rows: Rows, *, used: bool = False) -> None:
        self.used = used
        self.head: Head | None = None
        self.texts: dict[int, str] = {}
        self.waiting: list[Row] = []
        for kind, number, name, text in rows:
            if kind == "head":
                self.head = Head(number, name, text)
            elif kind == "commit":
                self.texts[number] = text
            else:
                self.waiting.append((number, name, text.encode("ascii", "replace")))


class _RowIntakes(FarIntakes):
    """Waiting records as rows, which the commit that holds them removes."""

    def __init__(self, journal: PostgresJournal, folder: str, clock: Clock | None) -> None:
        self._journal = journal
        self.any_rows = True  # as the last look at the head showed
        super().__init__(folder, clock, ours=journal.is_ours)

    def look(self, mark: Callable[[str], Mark]) -> Iterable[Row]:
        del mark
        (rows,) = self._journal.ask(
            ("SELECT sequence, writer, line FROM {schema}.intake ORDER BY writer, sequence", {})
        )
        return [(number, writer, line.encode("ascii", "replace")) for number, writer, line in rows]

    def put(self, entry: Entry, about: Mapping[str, Any]) -> None:
        insert = (
            "INSERT INTO {schema}.intake VALUES(%(writer)s, %(sequence)s, %(about)s, %(line)s)"
            " ON CONFLICT DO NOTHING"
        )
        row = {
            "writer": entry.writer, "sequence": entry.sequence,
            "about": canonical_json(dict(about)), "line": write_line(entry).decode("ascii"),
        }  # fmt: skip
        self._journal.ask((insert, row))
        self._journal.forget_news()

    def drop(self, writer: str, sequence: int) -> None:
        row = {"writer": writer, "sequence": sequence}
        delete = "DELETE FROM {schema}.intake WHERE writer=%(writer)s AND sequence=%(sequence)s"
        self._journal.ask((delete, row))

    def has_pending(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> bool:
        return self.any_rows or super().has_pending(mark, folders)


def statements(address: str, *, writer: str, reader: str) -> list[str]:
    """Return what the owner of a store runs to make it, so that two roles may append and read.

    A writer can add commits and move the head; it can change or remove nothing that was written.

    Raises:
        StoreUnsuitable: no PostgreSQL address, or one with a password.
    """
    if not address.startswith(("postgresql://", "postgres://")):
        raise StoreUnsuitable(f"{address} is no PostgreSQL store; name postgresql://host/database")
    _, schema = read_address(address)
    tables = SCHEMA.format(schema=schema).strip().removesuffix(";").split(";\n")
    row = f"(true, '{new_id()}', {FORMAT}, 0, '', '')"
    return [
        *tables,
        f"INSERT INTO {schema}.journal VALUES {row} ON CONFLICT DO NOTHING",
        f"GRANT USAGE ON SCHEMA {schema} TO {writer}, {reader}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {writer}, {reader}",
        f"GRANT INSERT ON {schema}.commits TO {writer}",
        f"GRANT UPDATE (number, hash, recorded) ON {schema}.journal TO {writer}",
        f"GRANT INSERT, DELETE ON {schema}.intake, {schema}.shelf TO {writer}",
        f"GRANT UPDATE ON {schema}.shelf TO {writer}",
    ]
