"""A shelf in a table: contents in parts, the first of which is written last and read first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import StoreUnreachable
from ..shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from .database import Rows

    Ask = Callable[..., list[Rows]]

__all__ = ["RowShelf"]

_PART = 1 << 20  # bytes a row

_NAMES = """
SELECT name FROM {schema}.shelf WHERE (part=0 OR NOT %(whole)s) AND name COLLATE "C" > %(after)s
    AND name COLLATE "C" < %(until)s GROUP BY name ORDER BY name COLLATE "C" """
_READ = """
SELECT data FROM {schema}.shelf WHERE name=%(name)s AND part BETWEEN %(first)s AND %(last)s
    AND EXISTS(SELECT FROM {schema}.shelf WHERE name=%(name)s AND part=0) ORDER BY part"""
_NEW = """
INSERT INTO {schema}.shelf VALUES(%(name)s, 0, %(data)s) ON CONFLICT DO NOTHING RETURNING part"""
_PUT = """
INSERT INTO {schema}.shelf VALUES(%(name)s, %(part)s, %(data)s)
    ON CONFLICT (name, part) DO UPDATE SET data=excluded.data"""
# one statement: who reads meanwhile sees what was there before, or this
_OVER = """
WITH gone AS (DELETE FROM {schema}.shelf WHERE name=%(name)s AND part>=%(parts)s)
INSERT INTO {schema}.shelf SELECT %(name)s, n - 1, data
    FROM unnest(%(data)s::bytea[]) WITH ORDINALITY AS given(data, n)
    ON CONFLICT (name, part) DO UPDATE SET data=excluded.data"""
_REMOVE = "DELETE FROM {schema}.shelf WHERE name=ANY(%(names)s)"


class RowShelf(Shelf):
    """The shelf of a PostgreSQL store.

    Args:
        address: how errors name the store.
        ask: asks the server.
    """

    def __init__(self, address: str, ask: Ask) -> None:
        self._address, self._ask = address, ask

    def where(self, name: str) -> str:
        """Say where a name lies."""
        return f"{name} on the shelf of {self._address}"

    def names(self, folder: str, *, after: str = "", whole: bool = True) -> list[str]:
        """List the names in a folder."""
        between = {"after": f"{folder}/{after}", "until": f"{folder}0", "whole": whole}
        (rows,) = self._ask((_NAMES, between))
        return [row[0].removeprefix(f"{folder}/") for row in rows]

    def ages(self, folder: str) -> Mapping[str, float]:
        """Nobody asks how old rows are: nothing is packed here."""
        return dict.fromkeys(self.names(folder), 0.0)

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """Read some or all of a content."""
        first = offset // _PART
        data = b"".join(self._parts(name, first, None if size is None else offset + size))
        start = offset - first * _PART
        return data[start : None if size is None else start + size]

    def _parts(self, name: str, first: int, end: int | None) -> Iterator[bytes]:
        """Yield the parts of a content, a few at a time."""
        last = first + 7 if end is None else max(first, (end - 1) // _PART)
        while True:
            (rows,) = self._ask((_READ, {"name": name, "first": first, "last": last}))
            if not rows and first == 0:
                raise FileNotFoundError(self.where(name))
            for row in rows:
                yield bytes(row[0])
            if end is not None or not rows:
                return
            first, last = last + 1, last + 8

    def read_many(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """Yield contents."""
        for name in names:
            try:
                yield self.read(name)
            except FileNotFoundError:
                yield None

    def put_new(self, name: str, data: bytes) -> None:
        """Put a content of up to one part under a new name."""
        values: dict[str, Any] = {"name": name, "data": data}
        try:
            (rows,) = self._ask((_NEW, values), again=False)
        except StoreUnreachable:  # it may be there: ask again, and look whose it is
            (rows,) = self._ask((_NEW, values))
        (there,) = [data] if rows else self.read_many([name])
        if there != data:  # None: it was there, and is removed by now
            raise FileExistsError(self.where(name))

    def put_over(self, name: str, data: bytes) -> None:
        """Put a content under a name, in place of what may be there."""
        parts = [data[at : at + _PART] for at in range(0, len(data), _PART)] or [b""]
        self._ask((_OVER, {"name": name, "parts": len(parts), "data": parts}))

    def remove(self, names: Iterable[str]) -> None:
        """Remove contents."""
        self._ask((_REMOVE, {"names": list(names)}))

    def send(self, path: str, name: str) -> None:
        """Put a file, part by part."""
        self.remove([name])
        with open(path, "rb") as file:
            first = file.read(_PART)
            part = 0
            while data := file.read(_PART):
                part += 1
                self._ask((_PUT, {"name": name, "part": part, "data": data}))
        self._ask((_PUT, {"name": name, "part": 0, "data": first}))

    def fetch(self, name: str, path: str) -> None:
        """Copy a content to a file."""
        with open(path, "wb") as file:
            file.writelines(self._parts(name, 0, None))
