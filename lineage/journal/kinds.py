"""Picks the kind of journal by the address; each kind is loaded when it is used."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from ..errors import StoreUnsuitable
from ..files import Files
from ..filesystems import data_home, real_file

if TYPE_CHECKING:
    from ..shelf import Shelf
    from .base import Journal

__all__ = ["absolute_address", "folder_beside", "open_journal", "open_shelf"]

_DATABASES = (".db", ".sqlite", ".sqlite3")
_SCHEMES = {
    "postgresql": "postgres", "postgres": "postgres",
    "s3": "objects", "gs": "objects", "az": "objects",
}  # fmt: skip
_FAR = frozenset(_SCHEMES.values())


def open_journal(
    address: str,
    *,
    create: bool = True,
    adopting: bool = False,
    mode: int | None = None,
    group: str | None = None,
) -> Journal:
    """Open or create the journal at an address.

    ``sqlite:///relative.db``, ``sqlite:////absolute.db`` and paths that end in ``.db`` are sqlite
    journals; ``file:///folder`` and other paths are directory journals; ``postgresql://host/name``
    is a PostgreSQL database; ``s3://``, ``gs://`` and ``az://bucket/prefix`` are buckets;
    ``memory:`` is for trying things out.

    Args:
        address: where it is kept.
        create: make it when it is not there.
        adopting: it is to take in the commits of another journal; until that is finished, folders
            and buckets are closed to all others.
        mode: for a new folder, permissions of all its files, e.g. 0o660.
        group: for a new folder, name of the group that all of it belongs to.

    Raises:
        StoreUnsuitable: no such kind of address, or that place cannot hold this kind of journal.
        StoreNotFoundError: nothing is there and ``create`` is false.
        StoreUnreachable: the server or bucket does not answer.
    """
    kind, path = _place(address)
    if kind != "directory" and (mode is not None or group is not None):
        raise StoreUnsuitable(f"{address} is no folder; mode and group are for folders alone")
    if kind == "memory":
        from .memory import MemoryJournal

        return MemoryJournal()
    if kind == "sqlite":
        from .sqlite import SQLiteJournal

        return SQLiteJournal(path, create=create)
    if kind == "postgres":
        from .postgres import PostgresJournal

        return PostgresJournal(path, create=create, waiting=_waiting(address))
    if kind == "objects":
        from .objectstore import ObjectStoreJournal

        return ObjectStoreJournal(path, create=create, adopting=adopting, waiting=_waiting(address))
    from .directory import DirectoryJournal

    return DirectoryJournal(path, create=create, adopting=adopting, mode=mode, group=group)


def folder_beside(address: str, name: str) -> str | None:
    """Return the folder ``name`` beside the journal at an address, without opening it.

    None for a journal that is in no folder; but records wait in a folder of this host for every
    journal that is far away (``intake``).
    """
    kind, path = _place(address)
    if kind in _FAR:
        return _waiting(address) if name == "intake" else None
    if kind == "memory":
        return None
    return os.path.join(_folder(kind, path), name)


def open_shelf(address: str) -> Shelf | None:
    """Open what lies beside the journal at an address, without opening the journal.

    None for a journal in memory.
    """
    kind, path = _place(address)
    if kind == "memory":
        return None
    if kind == "postgres":
        from .database import Database
        from .rowshelf import RowShelf

        return RowShelf(address, Database(address).ask)
    if kind == "objects":
        from .bucket import Bucket

        return Bucket(address.rstrip("/"))
    from ..shelf import FolderShelf

    root = _folder(kind, path)
    files = Files()
    with suppress(OSError, ValueError, KeyError):  # what its maker laid down for all who write
        files.mode = int(json.loads(files.read(os.path.join(root, "journal.json")))["mode"], 8)
    return FolderShelf(root, files)


def _folder(kind: str, path: str) -> str:
    return f"{real_file(path)}.d" if kind == "sqlite" else os.path.abspath(path)


def absolute_address(address: str) -> str:
    """Return an address that means the same store in every working folder."""
    kind, path = _place(address)
    if kind == "memory" or kind in _FAR:
        return address
    path = os.path.abspath(path)
    return f"sqlite:///{path}" if kind == "sqlite" else f"file://{quote(path)}"


def _waiting(address: str) -> str:
    """Return the folder of this host for records of a journal that is far away.

    In the user's data folder, not in a cache: what waits here is nowhere else.
    """
    # however it is spelled: what waits for one store waits in one folder
    scheme, mark, rest = address.rstrip("/").partition("://")
    address = f"{'postgresql' if scheme == 'postgres' else scheme}{mark}{rest}"
    place = hashlib.sha256(address.encode()).hexdigest()[:16]
    return os.path.join(data_home(os.environ), "nemotron-lineage", "waiting", place)


def _place(address: str) -> tuple[str, str]:
    """Return the kind of the journal at an address, and its path."""
    if address == "memory:":
        return "memory", ""
    scheme, mark, rest = address.partition("://")
    if mark and scheme == "sqlite":
        return "sqlite", rest.removeprefix("/")
    if mark and scheme == "file":
        return "directory", unquote(rest)
    if mark and scheme in _SCHEMES:
        return _SCHEMES[scheme], address
    if mark:
        raise StoreUnsuitable(
            f"{scheme}:// is no kind of store; use sqlite:///file.db, file:///folder, "
            "postgresql://host/database, s3://bucket/prefix or a path"
        )
    path = os.path.expanduser(address)
    is_database = os.path.isfile(path) or path.endswith(_DATABASES)
    return ("sqlite" if is_database else "directory"), path
