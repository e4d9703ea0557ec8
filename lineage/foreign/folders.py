"""Which folder holds which version: ``{root}/{name}/vN``, in both of the earlier layouts.

A name is its folder. Where a name holds what a folder of this layout cannot be called, it is
percent-encoded, and only there, so that every folder that we write leads back to its name::

    nano3/sft/data?sample=100  ->  nano3/sft/data%3Fsample%3D100
    data/v2                    ->  data/%762        (v2 would be a version of data)
    data/latest                ->  data/%6Catest    (a file of data)
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

from .. import grammar
from ..errors import StoreNotFoundError, StoreUnsuitable, URIError
from ..uri import ArtifactURI

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "INDEX", "LATEST", "MANIFEST", "METADATA", "Damaged", "NameFolder", "Notes", "Skipped",
    "folder_of", "name_of", "read_json", "root_of", "scan",
]  # fmt: skip

MANIFEST, METADATA, LATEST, INDEX = "manifest.json", "metadata.json", "latest", ".art_index.json"
_VERSION = re.compile(r"v([0-9]+)")
# names of temporary files, of every program that writes these layouts
_LEFTOVER = re.compile(
    r"(manifest|metadata)\.json\.tmp\.\d+|\.latest_tmp_\d+|\.metadata\.json\.tmp|\.new-[a-z2-7]+"
)


class Skipped(NamedTuple):
    """What was left out: of which name, and which version or alias."""

    name: str
    what: str


class Damaged(ValueError):
    """A file of JSON that cannot be read; the text says why and what to do."""


@dataclass(slots=True)
class Notes:
    """What was odd, and what was left out for it; collected on the way."""

    skipped: list[Skipped] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)

    def odd(self, where: str, what: str) -> None:
        """Note something odd that did not keep anything out."""
        self.oddities.append(f"{where}: {what}")

    def leave_out(self, name: str, what: str, where: str, why: str) -> None:
        """Note something that was left out."""
        self.skipped.append(Skipped(name, what))
        self.odd(where, why)

    def check_gaps(self, where: str, numbers: Iterable[int]) -> None:
        """Note the numbers that are missing below the highest one."""
        shown, expected = [], 1
        for number in sorted(numbers):
            if number > expected:
                last = number - 1
                shown.append(f"v{expected}" if last == expected else f"v{expected} to v{last}")
            expected = number + 1
        if shown:
            self.odd(where, (
                f"there is no {', '.join(shown)}: deleted, or lost by a crash or by two writers; "
                "the other numbers stay as they are"
            ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class NameFolder:
    """The folder of one name.

    Attributes:
        folder: its path below the root.
        path: its path.
        versions: the numbers of the version folders in it, with their paths.
    """

    folder: str
    path: str
    versions: Mapping[int, str]


def folder_of(name: str) -> str:
    """Return the folder of an artifact's name, below the root; ``/`` makes folders in folders.

    >>> folder_of("nano3/sft/data?sample=100")
    'nano3/sft/data%3Fsample%3D100'
    """
    return "/".join(map(_encoded, name.split("/")))


def _encoded(segment: str) -> str:
    if segment == LATEST or _VERSION.fullmatch(segment):
        return f"%{ord(segment[0]):02X}{segment[1:]}"
    return quote(segment, safe="")


def name_of(folder: str) -> str:
    """Return the name whose folder this is; a name is never bent to fit.

    >>> name_of("nano3/sft/data%3Fsample%3D100")
    'nano3/sft/data?sample=100'

    Raises:
        URIError: it is the folder of no name that there can be.
    """
    name = unquote(folder)
    if folder_of(name) != folder:
        name = folder
    uri = ArtifactURI.parse(name)
    if uri.identity != name:
        raise URIError(name, 0, "name", "a folder is a name with its variant in order, no more")
    return name


def root_of(root: str | os.PathLike[str]) -> str:
    """Return a root to read from, links resolved.

    Raises:
        StoreUnsuitable: it is an address rather than a folder.
        StoreNotFoundError: there is no such folder.
    """
    text = os.fspath(root)
    if "://" in text:
        raise StoreUnsuitable(f"{text} is no local folder; mount or download it, and give its path")
    if not os.path.isdir(text):
        raise StoreNotFoundError(f"there is no folder {text}; give the root of the earlier layout")
    return os.path.realpath(text)


def scan(root: str, notes: Notes) -> Iterator[NameFolder]:
    """Yield the folders of names below a root, sorted; version folders are not searched.

    Hidden folders are passed over. Links are not followed: what a name is must not depend on the
    way to it.
    """
    todo = [""]
    while todo:
        folder = todo.pop()
        path = os.path.join(root, folder) if folder else root
        deeper, versions, leftovers = [], {}, []
        try:
            with os.scandir(path) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            notes.leave_out(folder, "", path, f"cannot be read ({error.strerror}); ask its owner")
            continue
        for entry in entries:
            below = f"{folder}/{entry.name}" if folder else entry.name
            version = _VERSION.fullmatch(entry.name) if folder else None
            if _LEFTOVER.fullmatch(entry.name):
                leftovers.append(entry.path)
            elif entry.is_symlink() and entry.is_dir():
                why = "is a link to a folder and was not followed; import what it points to"
                notes.leave_out(folder or below, entry.name if version else "", entry.path, why)
            elif not entry.is_dir() or entry.name.startswith("."):
                continue
            elif version is None:
                deeper.append(below)
            elif version[1] != str(int(version[1])) or int(version[1]) > grammar.MAX_VERSION:
                why = "is no version number (v1, v2, ...); rename the folder and import again"
                notes.leave_out(folder, entry.name, entry.path, why)
            else:
                versions[int(version[1])] = entry.path
        todo += reversed(deeper)
        if versions:
            for leftover in [*leftovers, *_leftovers(versions)]:
                notes.odd(
                    leftover, "is left over from a write; delete it when nothing writes there"
                )
            yield NameFolder(folder, path, dict(sorted(versions.items())))


def _leftovers(versions: Mapping[int, str]) -> Iterator[str]:
    for path in versions.values():
        with suppress(OSError):  # what cannot be listed is reported when it is read
            yield from (
                os.path.join(path, name)
                for name in sorted(os.listdir(path))
                if _LEFTOVER.fullmatch(name)
            )


def read_json(path: str) -> dict[str, Any] | None:
    """Read a JSON object, or None when there is no such file.

    Raises:
        Damaged: it cannot be read, is no JSON, or no object.
    """
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Damaged(f"cannot be read ({error.strerror}); ask its owner") from None
    except (ValueError, RecursionError):
        raise Damaged("is damaged: no JSON; restore it or delete its folder") from None
    if not isinstance(value, dict):
        raise Damaged("is damaged: no JSON object; restore it or delete its folder")
    return value
