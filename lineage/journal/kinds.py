"""Picks the kind of journal by the address; each kind is loaded when it is used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from ..errors import StoreUnsuitable

if TYPE_CHECKING:
    from .base import Journal

__all__ = ["absolute", "folder_beside", "open_journal"]

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
    kind, path = _place(address)
    if kind == "memory":
        from .memory import MemoryJournal

        return MemoryJournal()
    if kind == "sqlite":
        from .sqlite import SQLiteJournal

        return SQLiteJournal(path, create=create)
    from .directory import DirectoryJournal

    return DirectoryJournal(path, create=create)


def folder_beside(address: str, name: str) -> str | None:
    """Return the folder ``name`` beside the journal at an address, without opening it.

    None for a journal in memory.
    """
    kind, path = _place(address)
    if kind == "memory":
        return None
    return os.path.join(os.path.abspath(f"{path}.d" if kind == "sqlite" else path), name)


def absolute(address: str) -> str:
    """Return an address that means the same store in every working folder."""
    kind, path = _place(address)
    if kind == "memory":
        return address
    path = os.path.abspath(path)
    return f"sqlite:///{path}" if kind == "sqlite" else f"file://{quote(path)}"


def _place(address: str) -> tuple[str, str]:
    """Return the kind of the journal at an address, and its path."""
    if address == "memory:":
        return "memory", ""
    scheme, mark, rest = address.partition("://")
    if mark and scheme == "sqlite":
        return "sqlite", rest.removeprefix("/")
    if mark and scheme == "file":
        return "directory", unquote(rest)
    if mark:
        raise StoreUnsuitable(
            f"{scheme}:// is no kind of store; use sqlite:///file.db, file:///folder or a path"
        )
    path = os.path.expanduser(address)
    is_database = os.path.isfile(path) or path.endswith(_DATABASES)
    return ("sqlite" if is_database else "directory"), path
