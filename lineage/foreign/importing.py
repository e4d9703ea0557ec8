"""Brings versions of another registry into a store, each under the number that it has there.

Both readers of earlier layouts end here: they say what they found, this says what becomes of it.
A name is one sequence of numbers, so it is taken from one registry only: a name that is published
here, or that came from elsewhere, is refused as a whole.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .. import grammar
from ..errors import Conflict, PublishRefused
from ..events import AliasMoved, Deleted, Imported
from ..launch import user
from ..model import Input, Location, State, VersionId
from .folders import Notes, Skipped
from .references import Reference, Unclear, place_of, read_reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..model import Version
    from ..registry import Lineage
    from .found import Found

__all__ = ["ImportReport", "bring_in"]

_FINAL = (State.DELETED, State.REPLACED)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of everything that was found.

    Attributes:
        imported: the versions that are new in the store.
        there: the versions that it holds already.
        skipped: what was left out: versions, and aliases by their name.
        oddities: a sentence for each thing that was inconsistent: where, what, and what to do.
    """

    imported: tuple[VersionId, ...] = ()
    there: tuple[VersionId, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    oddities: tuple[str, ...] = ()


def bring_in(
    store: Lineage,
    system: str,
    root: str,
    found: Iterable[Found],
    notes: Notes,
    *,
    aliases: Mapping[str, Mapping[str, int]] | None = None,
) -> ImportReport:
    """Import what was found; what was imported before is left as it is.

    Inputs go before what was made from them. Each version is one commit: an import that was cut
    off goes on when it is run again.

    Args:
        store: where to.
        system: kind of the other registry, for the origin.
        root: its root, links resolved.
        found: its versions, by name and number.
        notes: what was odd so far.
        aliases: by name, the aliases that are there and the numbers they point to.

    Raises:
        StoreBusy, StoreFull, StoreReadOnly: the store cannot be written; run it again later.
    """
    work = _Import(store, system, root, notes)
    for one in found:
        work.consider(one)
    work.take()
    for name, named in sorted((aliases or {}).items()):
        work.name_versions(name, named)
    return ImportReport(
        tuple(work.imported), tuple(sorted(work.there)), tuple(notes.skipped),
        tuple(store.redactor.text(sentence) for sentence in notes.oddities),
    )  # fmt: skip


class _Import:
    """One import under way."""

    def __init__(self, store: Lineage, system: str, root: str, notes: Notes) -> None:
        self._store, self._system, self._notes = store, system, notes
        self._root = store.redactor.text(root)  # as the origin of an earlier import holds it
        self._known: dict[str, Mapping[int, Version] | None] = {}  # None: published here
        self._found: dict[VersionId, Found] = {}
        self._own: set[VersionId] = set()
        self.imported: list[VersionId] = []
        self.there: list[VersionId] = []

    def _where(self, one: Found) -> str:
        return os.path.join(self._root, one.file)

    # --------------------------------------------------------------- considering

    def consider(self, one: Found) -> None:
        """Take one version into the plan."""
        if one.own:
            self._own.add(one.version)
            self.there.append(one.version)
        elif one.version in self._found:
            other = self._found[one.version].file
            self._notes.odd(
                self._where(one), f"is {one.version} a second time; {other} was imported"
            )
        else:
            self._found[one.version] = one

    def take(self) -> None:
        """Import all that was considered, as far as it can be."""
        by_name: dict[str, list[Found]] = defaultdict(list)
        for one in self._found.values():
            by_name[one.version.name].append(one)
        for name, versions in by_name.items():
            why = self._refusal(name, versions)
            if why is not None:
                self._notes.odd(f"art://{name}", why)
                for one in versions:
                    self._notes.skipped.append(Skipped(name, f"v{one.version.number}"))
                    del self._found[one.version]
        places = self._places()
        drafts = {one.version: self._draft(one, places) for one in self._found.values()}
        for version in _inputs_first(drafts):
            self._settle(self._found[version], drafts[version])

    def _refusal(self, name: str, versions: Iterable[Found]) -> str | None:
        """Say why a whole name cannot be taken, or None when it can."""
        known = self._versions(name)
        if known is None:
            return (
                "holds versions published here, so its numbers mean those; left out. Copy its "
                "folder to another name and import again"
            )
        origins = {number: each.origin or {} for number, each in known.items()}
        roots = {str(origin["root"]) for origin in origins.values() if origin.get("root")}
        if roots <= {self._root} or any(  # the same registry, seen under another path
            one.content == origins.get(one.version.number, {}).get("content") for one in versions
        ):
            return None
        return (
            f"was imported from {', '.join(sorted(roots))}, so its numbers mean those; left out. "
            "Copy its folder to another name and import again"
        )

    def _versions(self, name: str) -> Mapping[int, Version] | None:
        """Return the imported versions of a name; None when it is published here."""
        if name not in self._known:
            with self._store.reading(), self._store.journal.peek() as ledger:
                artifact = ledger.artifact(name)
            if artifact is None:
                self._known[name] = {}
            elif artifact.origin is None:
                self._known[name] = None
            else:
                self._known[name] = {each.number: each for each in self._store.log(name)}
        return self._known[name]

    def _places(self) -> dict[VersionId, Location]:
        """Find where everything lies, leave out what lies nowhere, note what is not there."""
        places: dict[VersionId, Location] = {}
        same: dict[str, list[Found]] = defaultdict(list)
        for version, one in list(self._found.items()):
            try:
                places[version] = place = place_of(self._store, one.path)
            except Unclear as error:
                why = f"the path {one.path!r} {error}; left out. Correct it and import again"
                self._notes.leave_out(version.name, f"v{version.number}", self._where(one), why)
                del self._found[version]
                continue
            if one.gone is not None or self._was_moved_here(one, place):
                continue
            same[place.key].append(one)
            if place.external and not place.is_address:
                self._notes.odd(self._where(one), (
                    f"{one.path} is not there on this host; imported as declared. If it was "
                    f"moved: lineage relocate {version} PATH"
                ))  # fmt: skip
        for group in same.values():
            if len(group) > 1:
                names = ", ".join(str(one.version) for one in group)
                self._notes.odd(self._where(group[-1]), (
                    f"{names} have one path, {group[0].path}: at most one of them can still be "
                    "there. Retire those that were overwritten: lineage retire"
                ))  # fmt: skip
        return places

    def _was_moved_here(self, one: Found, place: Location) -> bool:
        """Tell whether this store knows better where a version lies, or that it is gone."""
        known = (self._versions(one.version.name) or {}).get(one.version.number)
        return known is not None and (known.state in _FINAL or known.address != place.path)

    def _draft(self, one: Found, places: Mapping[VersionId, Location]) -> Imported:
        inputs: dict[tuple[object, str, str | None], Input] = {
            (each.target, each.role, each.split): each for each in one.inputs
        }
        unclear: list[str] = []
        for reference in one.references:
            try:
                used = self._input(one, reference, places)
            except Unclear as error:
                unclear.append(reference.text)
                self._notes.odd(self._where(one), (
                    f"the input {reference.text!r} {error}; it is kept in the origin of "
                    f"{one.version} as text, and is no edge"
                ))  # fmt: skip
            else:
                inputs.setdefault((used.target, used.role, used.split), used)
        origin = {"system": self._system, "root": self._root, "file": one.file, **one.detail}
        if unclear:
            origin["inputs"] = unclear
        redactor = self._store.redactor
        return Imported(
            name=one.version.name, number=one.version.number, type=one.type,
            origin={**redactor.value(origin), "content": one.content},
            location=places[one.version], metadata=redactor.value(dict(one.metadata)),
            inputs=tuple(inputs.values()), created=one.created, digest=one.digest, run=one.run,
        )  # fmt: skip

    def _input(
        self, one: Found, reference: Reference, places: Mapping[VersionId, Location]
    ) -> Input:
        used = read_reference(self._store, reference, self._is_known)
        if isinstance(used.target, Location):
            key = used.target.key
            at = [v for v, place in places.items() if place.key == key and v != one.version]
            if at:
                used = replace(used, target=at[-1])
        if used.target in (one.version, places[one.version]):
            raise Unclear("is the version itself")
        return used

    def _is_known(self, version: VersionId) -> bool:
        if version in self._found or version in self._own:
            return True
        return version.number in (self._versions(version.name) or {})

    # ------------------------------------------------------------------ writing

    def _settle(self, one: Found, draft: Imported) -> None:
        known = (self._versions(one.version.name) or {}).get(one.version.number)
        if known is None:
            try:
                outcome = self._store.commit(draft)
            except (Conflict, PublishRefused) as error:  # somebody was faster
                what = f"v{one.version.number}"
                self._notes.leave_out(
                    one.version.name, what, self._where(one), f"left out: {error}"
                )
                return
            (self.imported if outcome.entries else self.there).append(one.version)
        else:
            self.there.append(one.version)
            if (known.origin or {}).get("content", one.content) != one.content:
                why = f"changed since {one.version} was imported; the store keeps what it was then"
                self._notes.odd(self._where(one), why)
        if one.gone is not None and (known is None or known.state not in _FINAL):
            self._retire(one, one.gone)

    def _retire(self, one: Found, state: str) -> None:
        reason = one.reason or f"{state} in the registry that it was imported from"
        try:
            self._store.commit(Deleted(version=one.version, reason=reason, by=user()))
        except PublishRefused as error:
            self._notes.odd(self._where(one), f"is {state} there, but {error}")

    # ------------------------------------------------------------------ aliases

    def name_versions(self, name: str, aliases: Mapping[str, int]) -> None:
        """Set the aliases that the store never had; one that was moved here stays."""
        if self._versions(name) is None:
            return  # said already
        numbers = {v.number for v in (*self.imported, *self.there) if v.name == name}
        with self._store.reading(), self._store.journal.peek() as ledger:
            before = {alias: ledger.alias(name, alias) for alias in aliases}
        for alias, number in sorted(aliases.items()):
            where, (now, revision) = f"art://{name}", before[alias]
            fault = grammar.alias_fault(alias)
            if fault is None and number not in numbers:
                fault = f"it points to v{number}, which is not there"
            if fault is not None:
                why = f"the alias {alias!r} is left out: {fault}"
                self._notes.leave_out(name, alias, where, why)
            elif revision and now != number:
                here = "was removed" if now is None else f"points to v{now}"
                self._notes.odd(where, (
                    f"the alias {alias!r} points to v{number} there and {here} here; it stays. To "
                    f"follow: lineage alias art://{name}:v{number} {alias}"
                ))  # fmt: skip
            elif not revision:
                self._alias(name, alias, number)

    def _alias(self, name: str, alias: str, number: int) -> None:
        try:
            self._store.commit(
                AliasMoved(name=name, alias=alias, to=number, by=user()), expect=None
            )
        except (Conflict, PublishRefused) as error:
            self._notes.leave_out(name, alias, f"art://{name}", f"left out: {error}")


def _inputs_first(drafts: Mapping[VersionId, Imported]) -> Iterator[VersionId]:
    """Yield every version after those that it was made from; a ring is cut somewhere."""
    needs = {
        version: [
            used.target
            for used in draft.inputs
            if isinstance(used.target, VersionId) and used.target in drafts
        ]
        for version, draft in drafts.items()
    }
    seen: set[VersionId] = set()
    for first in sorted(drafts, key=lambda version: (drafts[version].created or "", version)):
        path = [first]  # a chain of checkpoints is longer than Python's stack
        while path:
            version = path[-1]
            if version not in seen:
                seen.add(version)
                path += [each for each in needs[version] if each not in seen]
            else:
                path.pop()
                if version in needs:
                    del needs[version]
                    yield version
