"""What is to be said about env.toml: the place, the fact, and what to do, in one sentence."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nemotron.lineage import LineageError

from .masking import dotted, word

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .masking import Path

__all__ = ["Place", "Remark", "SettingsError", "nearest"]


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that is off in env.toml. It prints as one sentence.

    Attributes:
        fact: what is off.
        advice: what to do about it.
        file: path of the file; None for a word of the command line.
        table: name of the section or profile.
        key: the key, dotted where it stands in a table of its own.
    """

    fact: str
    advice: str
    file: str | None = None
    table: str | None = None
    key: str | None = None

    def __str__(self) -> str:
        table = None if self.table is None else f"[{self.table}]"
        place = " ".join(part for part in (self.file, table, self.key) if part)
        return f"{place}{': ' if place else ''}{self.fact}; {self.advice}"


class SettingsError(LineageError, ValueError):
    """What env.toml says makes no sense. No secret is in its sentence.

    Attributes:
        file: path of the file; None for a word of the command line.
        table: name of the section or profile, or None.
        key: the key, or None.
        fact: what is off.
        advice: what to do about it.

    >>> print(SettingsError(Remark("must be a whole number", "write nodes = 4", key="nodes")))
    nodes: must be a whole number; write nodes = 4
    """

    def __init__(self, remark: Remark) -> None:
        super().__init__(str(remark))
        self.remark = remark
        self.file, self.table, self.key = remark.file, remark.table, remark.key
        self.fact, self.advice = remark.fact, remark.advice

    def __reduce__(self) -> tuple[type, tuple[Remark]]:
        return type(self), (self.remark,)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a file, a table in it, a path of keys in that."""

    file: str | None = None
    table: str | None = None
    path: Path = ()

    def below(self, *keys: str) -> Place:
        """Return the place of a key."""
        return replace(self, path=(*self.path, *keys))

    def remark(self, fact: str, advice: str) -> Remark:
        """Say something about this place; names of the user's own are shown as ``word`` does."""
        table = None if self.table is None else word(self.table)
        return Remark(fact, advice, self.file, table, dotted(self.path) or None)

    def error(self, fact: str, advice: str) -> SettingsError:
        """Return the error that says so."""
        return SettingsError(self.remark(fact, advice))


def nearest(name: str, names: Iterable[str], otherwise: str) -> str:
    """Advise the name that is nearest to the one given; where none is near, otherwise."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {word(near[0])}?" if near else otherwise
