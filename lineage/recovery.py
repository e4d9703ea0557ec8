"""Finds records that nobody took, wherever they lie, and brings them in, each once.

Readers look into the store's own intake and into the folders that running runs declared. What lies
elsewhere is found here: beside checkpoints whose run was killed before anyone heard of it, in a
copy of them, in folders of runs that ended long ago.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import PathNotFoundError
from .events import RunStarted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .intake import Waiting
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
        paths: folders below which checkpoints may lie; the folders that any run ever declared are
            looked into anyway.
        dry: only look.

    Raises:
        PathNotFoundError: there is no such folder.
    """
    folders = dict.fromkeys(_declared(store))
    for path in paths:
        folders |= dict.fromkeys(find_intakes(path))
    result = Recovery(list(folders), store.waiting(folders))
    if not dry:
        result.taken = store.combine(folders)
        result.left = store.waiting(folders)
    return result


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
