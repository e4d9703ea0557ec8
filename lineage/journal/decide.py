"""Closes an open record: gives it its number, finds the version at a place, adds what follows.

This is the only place where anything is decided. What comes out are outcomes; whoever replays
them reaches the same ledger. A record from an intake cannot be refused, because its writer is no
longer there to hear it: what a direct caller is refused is recorded there in the nearest true form.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import ArtifactVersionNotFoundError, Conflict, PublishRefused
from ..events import (
    AliasMoved,
    Deleted,
    Described,
    Event,
    Found,
    Held,
    Imported,
    JobPinned,
    Missing,
    Published,
    Relocated,
    Replaced,
    RunEnded,
    RunStarted,
    Sealed,
    Used,
    from_payload,
)
from ..metadata import canonical_json
from ..model import Input, Location, RunStatus, State, VersionId
from ..source import SourceURI
from .chain import Chain

if TYPE_CHECKING:
    from ..commits import Entry, Head
    from .ledger import ArtifactState, Ledger, Occupant

__all__ = ["ANY", "Outcome", "decide", "refuse"]

_log = logging.getLogger(__name__)

ANY = -1  # an alias may be moved whatever it points to now
_WORSE = (RunStatus.OK, RunStatus.ABORTED, RunStatus.FAILED)
AboutVersion = Described | Sealed | Replaced | Missing | Found | Deleted | Relocated | Held


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a record came to: the events for the journal, and the version it speaks of.

    Attributes:
        entries: closed events; empty when the journal knows all of it already.
        version: the version that was published, found again or imported.
        head: the commit that holds them; None when there was nothing to commit.
    """

    entries: tuple[Entry, ...]
    version: VersionId | None = None
    head: Head | None = None


def decide(ledger: Ledger, entry: Entry, *, direct: bool, expect: int | None = ANY) -> Outcome:
    """Close one record against the ledger, and apply what came out to it.

    Args:
        ledger: the state after all records before this one; it is moved on.
        entry: the record.
        direct: the writer waits for the answer and can be refused.
        expect: for alias moves, the number that the alias must point to now; None means that
            there must be no such alias.

    Raises:
        PublishRefused: the write makes no sense (only when direct).
        Conflict: the alias does not point to what was expected.
        ArtifactVersionNotFoundError: it speaks of a version that never was (only when direct).
    """
    match entry.event:
        case Published():
            outcome = _publish(ledger, entry, entry.event, direct=direct)
        case Imported():
            outcome = _import(ledger, entry, entry.event)
        case AliasMoved():
            outcome = _move(ledger, entry, entry.event, expect)
        case Used():
            (used,) = _closed(ledger, (entry.event.input,), direct=direct)
            closed = replace(entry.event, input=used)
            outcome = Outcome((replace(entry, event=closed),))
        case RunStarted():
            outcome = Outcome(() if _is_known(ledger, entry.event) else (entry,))
        case RunEnded():
            outcome = _end(ledger, entry, entry.event)
        case JobPinned():
            known = ledger.pins(entry.event.job) is not None
            outcome = Outcome(() if known else (entry,))
        case (
            Described() | Sealed() | Replaced() | Missing() | Found() | Deleted() | Relocated()
            | Held()
        ):  # fmt: skip
            outcome = _about_version(ledger, entry, entry.event, direct=direct)
        case _:
            outcome = Outcome((entry,))
    if not isinstance(entry.event, (Published, Imported)):  # these applied theirs on the way
        for closed_entry in outcome.entries:
            ledger.apply(closed_entry)
    return outcome


def refuse(ledger: Ledger, event: Event) -> None:
    """Refuse a publish that makes no sense, before anything of it is written.

    Raises:
        PublishRefused: another type than the artifact has, or a name of imported versions.
    """
    if isinstance(event, Published):
        _refuse(ledger.artifact(event.name), event)


def _refuse(artifact: ArtifactState | None, event: Published) -> None:
    if artifact is not None and artifact.origin is not None:
        raise PublishRefused(
            f"art://{event.name} holds versions imported from {artifact.origin}, whose numbers "
            "must keep their meaning; publish under another name"
        )
    if artifact is not None and artifact.type != event.type:
        raise PublishRefused(
            f"art://{event.name} is of type {artifact.type!r}, not {event.type!r}; "
            f"publish with type={artifact.type!r} or under another name"
        )


def _publish(ledger: Ledger, entry: Entry, event: Published, *, direct: bool) -> Outcome:
    artifact = ledger.artifact(event.name)
    if direct:
        _refuse(artifact, event)
    while artifact is not None and (mark := _clash(artifact, event)) is not None:
        event = replace(event, name=f"{event.name}{'&' if '?' in event.name else '?'}{mark}")
        artifact = ledger.artifact(event.name)
    chain = Chain(ledger, entry)
    occupants = ledger.at(event.location)
    known = ledger.once(event.key) if event.key is not None else None
    if known is None:
        known = next((o.version for o in occupants if _is_same(o, event)), None)
    if known is not None:
        if direct and ledger.state(known) in (State.DELETED, State.REPLACED):
            return Outcome((), known)  # the caller is told that it is gone; no alias goes there
        _repeat(chain, known, event, direct=direct)
        return Outcome(tuple(chain.entries), known)

    number = artifact.next if artifact is not None else 1
    # Late: it waited in an intake while somebody published a newer one. The order of one writer's
    # own records needs no clock, and who waits for the answer is never late.
    late = (
        not direct
        and artifact is not None
        and entry.occurred < artifact.newest
        and entry.writer != artifact.newest_writer
    )
    inputs = event.inputs and _closed(ledger, event.inputs, direct=direct)
    closed = replace(event, number=number, late=late, inputs=inputs)
    version = VersionId(event.name, number)
    others = [old.version for old in occupants if _is_other(old, event)]
    chain.lead(closed)
    if late and others:
        chain.follow(Replaced(version=version, by=others[-1], run=event.run))
    elif others:
        for old in others:
            chain.follow(Replaced(version=old, by=version, run=event.run))
    chain.aliases(version, event.aliases, event.run)
    for kind, payload in ledger.orphans(event.location, entry.occurred):
        chain.follow(from_payload(kind, {**payload, "version": str(version)}))
    return Outcome(tuple(chain.entries), version)


def _is_same(old: Occupant, event: Published) -> bool:
    """The same content published again by the same run is the same version."""
    if old.version.name != event.name or old.run is None or old.run != event.run:
        return False
    if old.digest is not None and event.digest is not None:
        return old.digest == event.digest
    return old.fingerprint is not None and old.fingerprint == event.fingerprint


def _is_other(old: Occupant, event: Published) -> bool:
    """Other content under the same path: what lay there is gone."""
    if old.digest is not None and event.digest is not None:
        return old.digest != event.digest
    if old.fingerprint is None or event.fingerprint is None:
        return False  # nobody looked, so nobody can say
    return old.fingerprint != event.fingerprint


def _repeat(chain: Chain, version: VersionId, event: Published, *, direct: bool) -> None:
    """Note what a repeated publish adds to a version: metadata, a digest, aliases.

    A record of an intake always leaves an event: by it the writer finds its version.
    """
    if event.metadata or not direct:
        described = Described(
            version=version, metadata=event.metadata, non_finite=event.non_finite, run=event.run
        )
        chain.lead(described)
    if event.digest is not None:
        chain.follow(Sealed(version=version, digest=event.digest, run=event.run))
    chain.aliases(version, event.aliases, event.run)


def _closed(ledger: Ledger, inputs: tuple[Input, ...], *, direct: bool) -> tuple[Input, ...]:
    """Find the versions at places; a direct caller must not name versions that never were."""
    if direct:
        named = [used.target for used in inputs if isinstance(used.target, VersionId)]
        absent = ledger.absent(named)
        if absent is not None:
            raise ArtifactVersionNotFoundError(*absent)
    return tuple(
        replace(used, target=_find(ledger, used.target))
        if isinstance(used.target, Location)
        else used
        for used in inputs
    )


def _import(ledger: Ledger, entry: Entry, event: Imported) -> Outcome:
    version = VersionId(event.name, event.number)
    origin = ledger.imported(version)
    if origin is not None:
        if origin != canonical_json(dict(event.origin)):
            raise Conflict(
                f"{version} was imported before, from {origin}; import under another name"
            )
        return Outcome((), version)
    artifact = ledger.artifact(event.name)
    if artifact is not None and artifact.origin is None:
        raise PublishRefused(
            f"art://{event.name} holds versions published here; import under another name"
        )
    chain = Chain(ledger, entry)
    found = _closed(ledger, event.inputs, direct=False)
    chain.lead(replace(event, inputs=found))
    chain.aliases(version, event.aliases, event.run)
    return Outcome(tuple(chain.entries), version)


def _move(ledger: Ledger, entry: Entry, event: AliasMoved, expect: int | None) -> Outcome:
    was, revision = ledger.alias(event.name, event.alias)
    if expect not in (ANY, was):
        raise Conflict(
            f"alias {event.alias!r} of art://{event.name} points to {_shown(was)}, not to "
            f"{_shown(expect)}; read it again and decide anew"
        )
    if event.to == was:
        return Outcome(())
    if event.to is not None:
        _must_live(ledger, VersionId(event.name, event.to))
    return Outcome((replace(entry, event=replace(event, was=was, revision=revision + 1)),))


def _shown(number: int | None) -> str:
    return "nothing" if number is None else f"v{number}"


def _must_live(ledger: Ledger, version: VersionId) -> None:
    state = ledger.state(version)
    if state is None:
        raise ArtifactVersionNotFoundError(*version)
    if state in (State.DELETED, State.REPLACED):
        raise PublishRefused(f"{version} is {state}; point the alias to a live version")


def _is_known(ledger: Ledger, event: RunStarted) -> bool:
    """Tell whether a start says nothing new: other ranks may tell of folders with records."""
    if ledger.run(event.run) is None:
        return False
    return event.intake is None or ledger.is_declared(event.run, event.intake)


def _end(ledger: Ledger, entry: Entry, event: RunEnded) -> Outcome:
    """Keep the worst end: rank 0 may end well while rank 3 failed."""
    status = ledger.run(event.run)
    if status in _WORSE and _WORSE.index(RunStatus(status)) >= _WORSE.index(
        RunStatus(event.status)
    ):
        return Outcome(())
    return Outcome((entry,))


def _about_version(ledger: Ledger, entry: Entry, event: AboutVersion, *, direct: bool) -> Outcome:
    if isinstance(event.version, Location):
        return _about_place(ledger, entry, event, event.version)
    state = ledger.state(event.version)
    if state is None:
        if direct:
            raise ArtifactVersionNotFoundError(*event.version)
        _log.warning("record %s speaks of %s, which never was: dropped", entry.id, event.version)
        return Outcome(())
    if direct and isinstance(event, Deleted) and not event.seen:
        reason = ledger.hold(event.version)
        if reason is not None:
            raise PublishRefused(
                f"{event.version} is held ({reason}) and cannot be retired; release it first: "
                f"lineage release {event.version}"
            )
    if _changes_nothing(state, event):
        return Outcome((), event.version)
    if isinstance(event, Sealed):
        return _seal(ledger, entry, event, event.version, direct=direct)
    return Outcome((entry,), event.version)


def _seal(
    ledger: Ledger, entry: Entry, event: Sealed, version: VersionId, *, direct: bool
) -> Outcome:
    """Note a digest once. Equal fingerprints hid that what lay there before is gone."""
    known = ledger.digest(version)
    if known is not None:
        if direct and known != event.digest:
            raise Conflict(
                f"{version} was sealed with {known} before, not with {event.digest}; "
                f"see what lies there. Try: lineage verify {version}"
            )
        return Outcome((), version)
    others: list[VersionId] = []
    if ledger.state(version) in (State.LIVE, State.MISSING):
        kind = event.digest.partition(":")[0]
        others = [
            old.version
            for old in ledger.beside(version)
            if old.digest and old.digest.startswith(kind) and old.digest != event.digest
        ]
    followers = (
        entry.follow(Replaced(version=old, by=version, run=event.run), k)
        for k, old in enumerate(others, 1)
    )
    return Outcome((entry, *followers), version)


def _changes_nothing(state: State, event: Event) -> bool:
    final = state in (State.DELETED, State.REPLACED)
    match event:
        case Deleted() | Replaced() | Relocated():
            return final
        case Missing():
            return state is not State.LIVE
        case Found():
            return state is not State.MISSING
        case _:
            return False


def _about_place(ledger: Ledger, entry: Entry, event: AboutVersion, location: Location) -> Outcome:
    """Speak of all versions at a place; keep it for later when none is known there yet.

    The host that deletes a checkpoint may be heard before the host that saved it.
    """
    versions = [occupant.version for occupant in ledger.at(location)]
    if not versions:
        return Outcome((entry,))
    entries = []
    for k, version in enumerate(versions):
        closed = replace(event, version=version)
        state = ledger.state(version) or State.LIVE
        if not _changes_nothing(state, closed):
            entries.append(entry.follow(closed, k) if k else replace(entry, event=closed))
    return Outcome(tuple(entries), versions[-1])


def _find(ledger: Ledger, place: Location) -> VersionId | SourceURI:
    """Turn a place into the version whose bytes lie there, or into a source when none is known."""
    version = ledger.within(place)
    if version is not None:
        return version
    return SourceURI.parse(place.path) if place.is_address else SourceURI.local(place.path)


def _clash(artifact: ArtifactState, event: Published) -> str | None:
    """Say what tells a hook's record from what has its name: another origin, or another type."""
    if artifact.origin is not None:
        return "origin=local"
    if artifact.type != event.type:
        return f"type={re.sub(r'[^A-Za-z0-9_.-]', '-', event.type)}"
    return None
