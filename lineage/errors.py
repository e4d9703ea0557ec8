"""Every error of this library: one tree, one sentence each, and the next thing to do.

::

    LineageError
    ├── URIError (ValueError)                 a reference or a source that breaks the grammar
    ├── ArtifactNotFoundError (KeyError)      no such artifact, source, run or journal entry
    │   └── ArtifactVersionNotFoundError     the artifact is there, that version is not
    ├── ArtifactGone (FileNotFoundError)      the version was deleted or replaced
    ├── PathNotFoundError (FileNotFoundError) a path to publish or read does not exist
    ├── ContentChanged                        what lies there is not, or no longer, what it was
    ├── PublishRefused (ValueError)           a publish, alias, ... that would make no sense
    │   └── MetadataError                     metadata that JSON cannot hold, with the key
    ├── Conflict                              compare-and-set lost: somebody was there before
    ├── PinsFailed                            another rank could not resolve the job's references
    ├── MirrorUnready                         a mirror cannot be used from here: no login, no SDK
    ├── PayloadRedacted (PermissionError)     the payload asked for was blanked
    └── StoreError
        ├── StoreNotFoundError (FileNotFoundError)
        ├── StoreUnsuitable (ValueError)      this journal cannot live in that place
        ├── StoreBusy (TimeoutError)          the gate did not open in time
        ├── StoreUnreachable (ConnectionError) the server or bucket does not answer
        ├── StoreReadOnly (PermissionError)
        ├── StoreFull (OSError)               no space left: nothing was written
        ├── StoreTooNew                       written by a newer release; this one only reads
        ├── StoreDamaged                      the chain or a payload does not verify
        └── StoreClosed (ValueError)

A message says what happened, to which subject, and what to do next. The facts of the message
also stand in attributes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # as typing's, which `lineage resolve` has no need to import
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "ArtifactGone",
    "ArtifactNotFoundError",
    "ArtifactVersionNotFoundError",
    "Conflict",
    "ContentChanged",
    "LineageError",
    "MetadataError",
    "MirrorUnready",
    "PathNotFoundError",
    "PayloadRedacted",
    "PinsFailed",
    "PublishRefused",
    "StoreBusy",
    "StoreClosed",
    "StoreDamaged",
    "StoreError",
    "StoreFull",
    "StoreNotFoundError",
    "StoreReadOnly",
    "StoreTooNew",
    "StoreUnreachable",
    "StoreUnsuitable",
    "URIError",
]


class LineageError(Exception):
    """The root of every error that this library raises on purpose."""

    def __str__(self) -> str:
        """Return the sentence itself; KeyError's own form would put it in quotes."""
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Callable[..., LineageError], tuple[object, ...]]:
        """Travel from one process to another as it is; the sentence is not made a second time."""
        return _again, (type(self), self.args, vars(self))


def _again(kind: type[LineageError], args: tuple[object, ...], facts: dict[str, object]) -> Any:
    error = kind.__new__(kind)
    error.args = args
    vars(error).update(facts)
    return error


class URIError(LineageError, ValueError):
    """A text that is no artifact reference or no source.

    Attributes:
        text: what was given.
        position: index of the first character that breaks the rule, 0-based.
        category: which part is wrong: empty, length, charset, scheme, name, variant, selector,
            version, digest, path, or credentials (sources only).
    """

    def __init__(self, text: str, position: int, category: str, rule: str) -> None:
        self.text, self.position, self.category, self.rule = text, position, category, rule
        shown = text if len(text) <= 80 else text[:77] + "..."
        where = f" at character {position}" if text else ""
        super().__init__(f"{shown!r} is not a valid reference: {rule} ({category}{where})")


class ArtifactNotFoundError(LineageError, KeyError):
    """Nothing of this name is in the store.

    Attributes:
        name: the name that was looked up.
        near: names in the store that look like it, nearest first.
    """

    def __init__(
        self, name: str, message: str | None = None, *, near: tuple[str, ...] = ()
    ) -> None:
        self.name, self.near = name, near
        if message is None:
            hint = f"; did you mean {near[0]}?" if near else ". Try: lineage find"
            message = f"there is no artifact {name!r} in this store{hint}"
        super().__init__(message)


class ArtifactVersionNotFoundError(ArtifactNotFoundError):
    """The artifact exists, the version or alias asked for does not.

    Attributes:
        version: the number or alias that was asked for.
    """

    def __init__(
        self,
        name: str,
        version: int | str,
        message: str | None = None,
        *,
        near: tuple[str, ...] = (),
    ) -> None:
        self.version = version
        if message is None:
            shown = f"v{version}" if isinstance(version, int) else version
            message = f"art://{name}:{shown} does not exist. Try: lineage log {name}"
        super().__init__(name, message, near=near)


class ArtifactGone(LineageError, FileNotFoundError):
    """The version is known, but its bytes were deleted or replaced.

    Attributes:
        uri: the version, as text.
        state: ``deleted`` or ``replaced``.
        when: the time of the record, ISO 8601 in UTC.
        by: the run or user that did it, if known.
        nearest: live versions to take instead, best first.
    """

    def __init__(  # these are the facts of one event
        self,
        uri: str,
        state: str,
        *,
        when: str,
        by: str | None,
        reason: str | None = None,
        nearest: tuple[str, ...] = (),
    ) -> None:
        self.uri, self.state, self.when, self.by = uri, state, when, by
        self.reason, self.nearest = reason, nearest
        who = f" by {by}" if by else ""
        why = f" ({reason})" if reason else ""
        hint = f"nearest live: {', '.join(nearest)}" if nearest else "no version of it is live"
        name = uri.removeprefix("art://").rpartition(":")[0]
        shown = f"{when[:10]} {when[11:19]} UTC"
        super().__init__(f"{uri} was {state} on {shown}{who}{why}; {hint}. Try: lineage log {name}")


class PathNotFoundError(LineageError, FileNotFoundError):
    """A path that is to be published or read does not exist on this host.

    Attributes:
        path: the path or address.
    """

    def __init__(self, path: str, message: str | None = None) -> None:
        self.path = path
        super().__init__(
            message
            or f"{path} does not exist on this host, so it cannot be published; "
            "write it first, or pass external=True if another host holds it"
        )


class ContentChanged(LineageError):
    """What lies at a path is not what was published or sealed, or changes while it is read.

    Attributes:
        path: the file or folder.
    """

    def __init__(self, path: str, message: str) -> None:
        self.path = path
        super().__init__(message)


class PublishRefused(LineageError, ValueError):
    """A write that would make no sense: a reserved alias, another type, a held version."""


class MetadataError(PublishRefused):
    """Metadata that JSON cannot hold or that is too large.

    Attributes:
        key: the dotted path of the value, e.g. ``optimizer.betas[1]``.
    """

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        super().__init__(f"metadata {key!r} {message}")


class Conflict(LineageError):
    """Somebody else wrote first: the head, the alias or the pins are not what was expected."""


class PinsFailed(LineageError):
    """Another rank could not resolve a reference of this job; its sentence is repeated here."""


class MirrorUnready(LineageError):
    """A mirror cannot be used from here: its SDK, its login or its settings are missing.

    Nothing is lost: what is to be delivered waits.
    """


class PayloadRedacted(LineageError, PermissionError):
    """The payload asked for was blanked by ``lineage redact``."""


class StoreError(LineageError):
    """Something about the store itself rather than about an artifact in it."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """No store at that place, and it was not to be created."""


class StoreUnsuitable(StoreError, ValueError):
    """A journal of this kind cannot keep its promises in that place."""


class StoreBusy(StoreError, TimeoutError):
    """The store did not take it in time: its gate did not open, or nothing answered.

    Attributes:
        record: id of the record that waits in the intake, or None when nothing was written.
    """

    def __init__(self, message: str, *, record: str | None = None) -> None:
        self.record = record
        super().__init__(message)


class StoreUnreachable(StoreError, ConnectionError):
    """The place where the store is kept does not answer: a server, a bucket, the way there."""


class StoreReadOnly(StoreError, PermissionError):
    """The store can be read but not written from here."""


class StoreFull(StoreError, OSError):
    """No space was left (or the quota ran out); nothing was written."""


class StoreTooNew(StoreError):
    """The store holds what only a newer release understands; nothing was written."""


class StoreDamaged(StoreError):
    """The chain, a number or a payload does not verify.

    Attributes:
        commit: number of the first commit that does not verify, if one can be named.
    """

    def __init__(self, message: str, *, commit: int | None = None) -> None:
        self.commit = commit
        super().__init__(message)


class StoreClosed(StoreError, ValueError):
    """The store was closed before this call."""
