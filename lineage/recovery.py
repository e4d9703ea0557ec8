"""Finds records that nobody took, wherever they lie, and brings them in, each once.

Readers look into the store's own intake and into the folders that running runs declared. What lies
elsewhere is found here: beside checkpoints whose run was killed before anyone heard of it, in a
copy of them, in folders of runs that ended long ago, in the intake of a store that was moved.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import Conflict, PathNotFoundError
from .events import RunStarted
from .journal.kinds import open_journal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .intake import Waiting
    from .journal.base import Journal
    from .registry import Lineage

__all__ = ["Recovery", "find_intakes", "recover"]

INTAKE = ".lineage"  # the folder beside checkpoints


@dataclass(slots=True)
class Recovery:
    """What ``recover`` did.

    Attributes:
        folders: where it looked besides the store's own intake.
        found: the records that waited, by their writers.
        taken: how many of them the journal has now that it had not.
        left: what was left alone, with the obstacle.
    """

    folders: list[str] = field(default_factory=list)
    found: list[Waiting] = field(default_factory=list)
    taken: int = 0
    left: list[Waiting] = field(default_factory=list)


def recover(store: Lineage, paths: Iterable[str] = (), *, dry: bool = False) -> Recovery:
    """Bring in all records that no commit has taken. Doing it twice, or on two hosts, is harmless.

    Args:
        store: an open store.
        paths: folders below which checkpoints may lie, and stores that ended and go on as this
            one; the folders that any run ever declared are looked into anyway.
        dry: only look.

    Raises:
        PathNotFoundError: there is no such folder.
        Conflict: a store that does not go on as this one.
    """
    folders = dict.fromkeys(_declared(store))
    with ExitStack() as stack:
        intakes = []
        for path in paths:
            if _is_store(path):
                ended = stack.enter_context(closing(open_journal(path, create=False)))
                _must_go_on_as(store, ended)
                intakes.append(ended.intakes)
            else:
                folders |= dict.fromkeys(find_intakes(path))
        result = Recovery(list(folders), store.waiting(folders, intakes))
        if not dry:
            result.taken = store.combine(folders, intakes)
            result.left = store.waiting(folders, intakes)
        return result


def _is_store(path: str) -> bool:
    """Tell whether a path is the address of a store rather than a folder with checkpoints."""
    return (
        "://" in path or os.path.isfile(path) or os.path.isfile(os.path.join(path, "journal.json"))
    )


def _must_go_on_as(store: Lineage, ended: Journal) -> None:
    successor = ended.successor()
    if successor is None or not store.journal.is_ours(successor.journal):
        raise Conflict(
            f"{ended.address} does not go on as {store.journal.address}, and keeps its records; "
            "to bring in what it holds use: lineage merge"
        )


def find_intakes(path: str) -> Iterator[str]:
    """Yield the intakes at or below a folder, links not followed.

    Raises:
        PathNotFoundError: there is no such folder.
    """
    root = os.path.abspath(path)
    if not os.path.isdir(root):
        message = f"there is no folder {root} on this host; recover on the host that sees it"
        raise PathNotFoundError(root, message)
    for folder, names, files in os.walk(root):
        if os.path.basename(folder) == INTAKE or (
            folder == root and any(name.endswith(".jsonl") for name in files)
        ):
            names.clear()
            yield folder


def _declared(store: Lineage) -> Iterator[str]:
    """Yield the folders that runs declared, those that ended long ago too."""
    with store.reading(combine=False) as db:
        rows = db.execute(
            "SELECT commit_number, position FROM fact WHERE kind=? ORDER BY commit_number",
            (RunStarted.kind,),
        ).fetchall()
    for number, position in rows:
        (commit,) = store.journal.read(number - 1, number)
        event = commit.entries[position].event
        if isinstance(event, RunStarted) and event.intake is not None:
            yield event.intake
