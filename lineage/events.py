"""The facts that a journal holds, one frozen type each, and their JSON form.

An event states an outcome, never a request: a replay decides nothing. In an intake a record may
still be *open*: its number is not given yet, or it names a location instead of a version. The
combiner closes it (``journal/decide.py``).

The list of kinds is for ever. A kind may get new optional fields; when its meaning changes it gets
a new ``form`` number and an upcaster from the old one. ``critical`` kinds decide what a reference
means: a release that meets an unknown critical kind reads on with a warning and writes only to its
intake. Unknown others are kept and skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .model import Input, Location, VersionId
from .payloads import (
    Event,
    compact,
    plain,
    read_by,
    read_input,
    read_inputs,
    read_subject,
)

__all__ = [
    "KINDS", "AliasMoved", "Deleted", "Described", "Event", "ForkedFrom", "Found", "Held",
    "Imported", "JobPinned", "Missing", "Published", "Receipt", "Redacted", "Relocated",
    "Replaced", "RunEnded", "RunStarted", "Sealed", "SucceededBy", "Unknown", "Used",
    "from_payload",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPinned(Event):
    """All references of a job were resolved, once for all its ranks and attempts."""

    kind = "job-pinned"
    critical = True
    job: str
    pins: Mapping[str, str] = field(default_factory=dict)
    run: str | None = None

    def skeleton(self) -> dict[str, Any]:
        return {"job": self.job}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """One attempt of a job began.

    ``detail`` holds git (commit, branch, dirty), launcher ids, process (pid, boot, started),
    python; ``intake`` is a folder with further records of this run.
    """

    kind = "run-started"
    run: str
    name: str
    job: str | None = None
    job_type: str | None = None
    parent: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    host: str | None = None
    user: str | None = None
    argv: tuple[str, ...] = read_by(tuple, default=())
    detail: Mapping[str, Any] = field(default_factory=dict)
    intake: str | None = None

    def skeleton(self) -> dict[str, Any]:
        return {"run": self.run, "name": self.name, "job": self.job, "job_type": self.job_type}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    """A run came to its end: ok, failed or aborted."""

    kind = "run-ended"
    run: str
    status: str
    error: str | None = None

    def skeleton(self) -> dict[str, Any]:
        return {"run": self.run, "status": self.status}


@dataclass(frozen=True, slots=True, kw_only=True)
class Used(Event):
    """A run used a version or a source. ``asked`` is the reference as it was written."""

    kind = "used"
    critical = True
    run: str
    input: Input = read_by(read_input)
    asked: str | None = None

    def skeleton(self) -> dict[str, Any]:
        kept = Input(target=self.input.target, role=self.input.role)
        return {"run": self.run, "input": plain(kept)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published(Event):
    """A version came into being. ``number`` is None while the record is open.

    ``inputs`` None means: what its run used so far. ``aliases`` are those asked for; each move is
    an event of its own. ``attached`` is for mirrors: name inside -> path of a small file to upload,
    or an address to refer to.
    """

    kind = "published"
    critical = True
    name: str
    type: str
    location: Location = read_by(Location.read)
    number: int | None = None
    run: str | None = None
    fingerprint: str | None = None
    digest: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    non_finite: tuple[str, ...] = read_by(tuple, default=())
    inputs: tuple[Input, ...] | None = read_by(read_inputs, default=None)
    aliases: tuple[str, ...] = read_by(tuple, default=())
    key: str | None = None
    late: bool = False
    origin: Mapping[str, Any] | None = None
    attached: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> VersionId:
        """The version that came into being; only for a closed record."""
        assert self.number is not None  # the combiner closes before anyone asks
        return VersionId(self.name, self.number)

    def skeleton(self) -> dict[str, Any]:
        kept = {
            "name": self.name, "type": self.type, "number": self.number, "run": self.run,
            "digest": self.digest, "key": self.key,
        }  # fmt: skip
        inputs = None if self.inputs is None else [
            plain(Input(target=i.target, role=i.role)) for i in self.inputs
        ]  # fmt: skip
        return {**kept, "late": self.late, "inputs": inputs, "location": {"path": ""}}


@dataclass(frozen=True, slots=True, kw_only=True)
class _AboutVersion(Event):
    """Events about a version; an open record may name the location instead."""

    version: VersionId | Location = read_by(read_subject)
    run: str | None = None

    @property
    def id(self) -> VersionId:
        """The version; only for a closed record."""
        assert isinstance(self.version, VersionId)  # closed by the combiner
        return self.version

    def skeleton(self) -> dict[str, Any]:
        return {"version": plain(self.version), "run": self.run}


@dataclass(frozen=True, slots=True, kw_only=True)
class Described(_AboutVersion):
    """More metadata for a version; keys replace those of before, None removes."""

    kind = "described"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    non_finite: tuple[str, ...] = read_by(tuple, default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed(_AboutVersion):
    """The digest of all bytes of a version."""

    kind = "sealed"
    digest: str
    size: int | None = None
    files: int | None = None

    def skeleton(self) -> dict[str, Any]:
        return {"version": plain(self.version), "digest": self.digest}


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced(_AboutVersion):
    """Other content took the version's place; ``by`` is what lies there now."""

    kind = "replaced"
    critical = True
    by: VersionId | None = read_by(VersionId.read, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing(_AboutVersion):
    """A look at the version's place did not find it. ``found`` withdraws this."""

    kind = "missing"
    host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(_AboutVersion):
    """A version that was missing is there again."""

    kind = "found"
    host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted(_AboutVersion):
    """A version's bytes are gone for good: seen (retention) or declared (retire)."""

    kind = "deleted"
    critical = True
    reason: str | None = None
    by: str | None = None
    seen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasMoved(Event):
    """An alias points to another version (None: it was removed). Revisions count from 1."""

    kind = "alias-moved"
    critical = True
    name: str
    alias: str
    to: int | None = None
    was: int | None = None
    revision: int | None = None
    run: str | None = None
    by: str | None = None

    def skeleton(self) -> dict[str, Any]:
        return {**compact(self), "by": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocated(_AboutVersion):
    """A version's bytes lie elsewhere now."""

    kind = "relocated"
    critical = True
    location: Location = read_by(Location.read, default=Location(""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(_AboutVersion):
    """A version may not be retired (or may again, with ``held`` false)."""

    kind = "held"
    critical = True
    held: bool = True
    reason: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted(Event):
    """The payload of an earlier event was blanked; ``kept`` is what stays of it."""

    kind = "redacted"
    critical = True
    event: str
    kept: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    by: str | None = None

    def skeleton(self) -> dict[str, Any]:
        return {"event": self.event, "kept": dict(self.kept)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt(Event):
    """An event arrived in a mirror, under the name that the mirror gave it."""

    kind = "receipt"
    mirror: str
    delivered: Mapping[str, Any] = field(default_factory=dict)
    head: str | None = None

    def skeleton(self) -> dict[str, Any]:
        return {"mirror": self.mirror, "head": self.head}


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported(Event):
    """A version of another system, under the number that it has there.

    A name that holds imported versions refuses local publishing, so that ``:v3`` never changes
    its meaning.
    """

    kind = "imported"
    critical = True
    name: str
    number: int
    type: str
    origin: Mapping[str, Any]
    location: Location = read_by(Location.read)
    run: str | None = None
    digest: str | None = None
    fingerprint: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Input, ...] = read_by(read_inputs, default=())
    aliases: tuple[str, ...] = read_by(tuple, default=())
    created: str | None = None

    @property
    def version(self) -> VersionId:
        """The version that was imported."""
        return VersionId(self.name, self.number)

    def skeleton(self) -> dict[str, Any]:
        kept = {"name": self.name, "type": self.type, "number": self.number, "run": self.run}
        inputs = [plain(Input(target=i.target, role=i.role)) for i in self.inputs]
        origin = {"system": self.origin.get("system")}
        return {**kept, "inputs": inputs, "location": {"path": ""}, "origin": origin}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkedFrom(Event):
    """This journal goes on from a commit of another one."""

    kind = "forked-from"
    critical = True
    journal: str
    commit: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SucceededBy(Event):
    """This journal ended here; another one goes on."""

    kind = "succeeded-by"
    critical = True
    journal: str
    store: str | None = None

    def skeleton(self) -> dict[str, Any]:
        return {"journal": self.journal}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(Event):
    """An event of a kind or form that this release does not know; kept as it is."""

    kind = "unknown"
    name: str
    vital: bool
    content: Mapping[str, Any]

    def payload(self) -> dict[str, Any]:
        return dict(self.content)


KINDS: Mapping[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        JobPinned, RunStarted, RunEnded, Used, Published, Described, Sealed, Replaced, Missing,
        Found, Deleted, AliasMoved, Relocated, Held, Redacted, Receipt, Imported, ForkedFrom,
        SucceededBy,
    )
}  # fmt: skip

Upcaster = Callable[[Mapping[str, Any]], Mapping[str, Any]]
# (kind, form) -> the payload in the next form. All forms are at 1 so far.
UPCASTERS: Mapping[tuple[str, int], Upcaster] = {}


def from_payload(
    kind: str,
    payload: Mapping[str, Any],
    *,
    form: int = 1,
    critical: bool = False,
    upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS,
) -> Event:
    """Read an event of any form that was ever released; a newer one becomes ``Unknown``."""
    cls = KINDS.get(kind)
    if cls is None or form > cls.form:
        return Unknown(name=kind, vital=critical, content=payload)
    for old in range(form, cls.form):
        payload = upcasters[kind, old](payload)
    return cls.read(payload)
