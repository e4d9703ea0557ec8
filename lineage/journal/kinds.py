"""Picks the kind of journal by the address; each kind is loaded when it is used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ..errors import StoreUnsuitable

if TYPE_CHECKING:
    from .base import Journal

__all__ = ["open_journal"]

_DATABASES = (".db", ".sqlite", ".sqlite3")


def open_journal(address: str, *, create: bool = True) -> Journal:
    """Open or create the journal at an address.

    ``sqlite:///relative.db``, ``sqlite:////absolute.db`` and paths that end in ``.db`` are sqlite
    journals; ``file:///folder`` and other paths are directory journals; ``memory:`` is for trying
    things out.

    Raises:
        StoreUnsuitable: no such kind of address, or that place cannot hold this kind of journal.
        StoreNotFoundError: nothing is there and ``create`` is false.
    """
    if address == "memory:":
        from .memory import MemoryJournal

        return MemoryJournal()
    scheme, mark, rest = address.partition("://")
    if mark and scheme == "sqlite":
        return _sqlite(rest.removeprefix("/"), create=create)
    if mark and scheme == "file":
        return _directory(unquote(rest), create=create)
    if mark:
        raise StoreUnsuitable(
            f"{scheme}:// is no kind of store; use sqlite:///file.db, file:///folder or a path"
        )
    path = os.path.expanduser(address)
    if os.path.isfile(path) or path.endswith(_DATABASES):
        return _sqlite(path, create=create)
    return _directory(path, create=create)


def _sqlite(path: str, *, create: bool) -> Journal:
    from .sqlite import SQLiteJournal

    return SQLiteJournal(path, create=create)


def _directory(path: str, *, create: bool) -> Journal:
    from .directory import DirectoryJournal

    return DirectoryJournal(path, create=create)
