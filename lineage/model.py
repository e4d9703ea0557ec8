"""The values that people hold in their hands: versions, uses, runs and what happened to them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from .errors import LineageError, PayloadRedacted, PublishRefused
from .uri import ArtifactURI

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from .source import SourceURI

__all__ = [
    "AliasMove",
    "Artifact",
    "Fact",
    "Input",
    "Location",
    "Receipt",
    "Role",
    "RunInfo",
    "RunStatus",
    "Source",
    "State",
    "Version",
    "VersionId",
]


_NUMBERS = ("weight", "tokens", "size")  # of an input
_TEXTS = ("split", "revision", "digest")
_PLAIN = frozenset({int, float})
_TOO_LARGE = 2**63  # the index holds no such integer


class Role(StrEnum):
    """What an input was used for."""

    DATA = "data"
    INIT = "init"
    RESUME = "resume"
    TOKENIZER = "tokenizer"
    TEACHER = "teacher"
    REWARD = "reward"
    REFERENCE = "reference"
    MERGE = "merge"
    EVAL = "eval"


class State(StrEnum):
    """What became of a version's bytes.

    ``missing`` is an observation that can be withdrawn; ``deleted`` and ``replaced`` are final.
    """

    LIVE = "live"
    MISSING = "missing"
    REPLACED = "replaced"
    DELETED = "deleted"


class RunStatus(StrEnum):
    """How a run ended; ``lost`` is inferred when nothing ended it and its process is gone."""

    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    ABORTED = "aborted"
    LOST = "lost"

    @classmethod
    def of(cls, error: BaseException | None) -> RunStatus:
        """Say how a block ended that raised this, or nothing."""
        if error is None or (isinstance(error, SystemExit) and not error.code):
            return cls.OK
        is_abort = isinstance(error, (KeyboardInterrupt, GeneratorExit))
        return cls.ABORTED if is_abort else cls.FAILED


class VersionId(NamedTuple):
    """What names a version for ever: the artifact's identity (name with variant) and a number."""

    name: str
    number: int

    @classmethod
    def read(cls, text: str) -> Self:
        """Read ``art://name:vN``, the form that events hold; not for texts that people type."""
        name, _, number = text.removeprefix("art://").rpartition(":v")
        return cls(name, int(number))

    @property
    def uri(self) -> ArtifactURI:
        """The pinned reference."""
        return ArtifactURI.pinned(self.name, self.number)

    def __str__(self) -> str:
        """Return ``art://name:vN``."""
        return f"art://{self.name}:v{self.number}"


@dataclass(frozen=True, slots=True)
class Location:
    """Where bytes lie: an absolute path or an address, and who can see it.

    Attributes:
        path: absolute path, or an address such as ``s3://bucket/key``.
        host: the only host that sees this path, or None when every host does (a network
            filesystem, an address).
        external: declared by the publisher without a look at it.
    """

    path: str
    host: str | None = None
    external: bool = False

    @classmethod
    def read(cls, payload: Mapping[str, Any]) -> Self:
        """Read the JSON form."""
        return cls(payload["path"], payload.get("host"), payload.get("external", False))

    @property
    def is_address(self) -> bool:
        """Whether this is an address rather than a path of a filesystem."""
        return "://" in self.path

    @property
    def key(self) -> str:
        """What is equal for equal places."""
        return f"{self.host or ''}|{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One edge from what was used to what came of it.

    Attributes:
        target: the version or source that was used. Hooks may give a location; the combiner
            finds the version that lies there.
        role: what it was used for; the field's own roles are in ``Role``.
        weight: share in a data blend, any positive number.
        split: e.g. ``train``, ``validation``.
        tokens: how many tokens of it were seen.
        revision: branch, commit or object version of a source.
        digest: ``blake3:`` or ``sha256:`` of a source, as it was found.
        size: bytes of a source.
    """

    target: VersionId | SourceURI | Location
    role: str = Role.DATA
    weight: float | None = None
    split: str | None = None
    tokens: int | None = None
    revision: str | None = None
    digest: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        """Bring numbers of numpy and torch down to plain ones, as metadata does."""
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is not None and type(value) not in _PLAIN and hasattr(value, "item"):
                object.__setattr__(self, name, value.item())

    def checked(self) -> Self:
        """Return this input, if its facts can be; what was recorded once is not asked.

        Raises:
            PublishRefused: a weight, tokens or size that is no number from 0 to 2^63-1, or a split,
                revision or digest that is no text.
        """
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is None:
                continue
            if type(value) not in _PLAIN or not 0 <= value < _TOO_LARGE:
                message = f"the {name} of a use is a number from 0 to 2^63-1, not {value!r}"
                raise PublishRefused(message)
        for name in _TEXTS:
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                message = f"the {name} of a use is a text, not {value!r}"
                raise PublishRefused(message)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of an artifact, as the journal knows it at one commit.

    Its name, number, location at publish, producer and inputs never change; the state, digest,
    aliases and described metadata are as of the moment of reading.

    Attributes:
        uri: the pinned reference, ``art://name:vN``.
        type: ``model``, ``dataset``, ``tokenizer``, ...
        location: where its bytes lie now.
        metadata: what was published and later described.
        aliases: the aliases that point here, sorted.
        digest: digest of all bytes once sealed, else None.
        fingerprint: names, sizes and digests of small files at publish; None when external.
        state: live, missing, replaced or deleted.
        run: id of the producing run.
        occurred: when the publisher recorded it, by its own clock.
        recorded: when the journal took it; never decreases with the commit number.
        commit: number of the journal entry.
        late: it was recorded after a newer version; ``latest`` never moves back to it.
        origin: where it was imported from, else None.
    """

    uri: ArtifactURI
    type: str
    location: Location
    metadata: Mapping[str, Any]
    aliases: tuple[str, ...]
    digest: str | None
    fingerprint: str | None
    state: State
    run: str | None
    occurred: datetime
    recorded: datetime
    commit: int
    late: bool = False
    origin: Mapping[str, Any] | None = None
    non_finite: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The artifact's identity: its name with the variant."""
        return self.uri.identity

    @property
    def number(self) -> int:
        """The version number, counted from 1."""
        assert self.uri.version is not None  # a version's own reference is pinned
        return self.uri.version

    @property
    def id(self) -> VersionId:
        """Name and number."""
        return VersionId(self.name, self.number)

    def inside(self, path: str) -> Self:
        """Return this version with the path of a file inside it.

        Raises:
            PayloadRedacted: where it lies was blanked.
        """
        self._refuse_blank()
        separator = "" if self.address.endswith("/") else "/"
        location = replace(self.location, path=f"{self.address}{separator}{path}")
        return replace(self, uri=replace(self.uri, path=path), location=location)

    @property
    def address(self) -> str:
        """The path or address as text; empty when ``lineage redact`` blanked it."""
        return self.location.path

    @property
    def path(self) -> Path:
        """The path of its bytes.

        Raises:
            LineageError: it lies at an address that is no local path; use ``address``.
            PayloadRedacted: where it lies was blanked.
        """
        self._refuse_blank()
        if self.location.is_address:
            message = f"{self.uri} lies at {self.address}, which is no local path; use .address"
            raise LineageError(message)
        return Path(self.location.path)

    def _refuse_blank(self) -> None:
        if not self.location.path:  # an empty path would mean the working folder
            raise PayloadRedacted(
                f"where {self.uri} lies was blanked; if you know it: "
                f"lineage relocate {self.uri.pin(self.number)} PATH"
            )


@dataclass(frozen=True, slots=True)
class Artifact:
    """A named sequence of versions."""

    name: str
    type: str
    versions: int
    latest: int | None
    aliases: Mapping[str, int] = field(default_factory=dict)

    @property
    def uri(self) -> ArtifactURI:
        """The reference to its latest version."""
        return ArtifactURI.parse(self.name)


@dataclass(frozen=True, slots=True)
class Source:
    """An outside asset that some run used.

    Attributes:
        uri: its address, with the revision if one is known.
    """

    uri: SourceURI

    @property
    def path(self) -> Path:
        """The path of a ``file://`` source.

        Raises:
            LineageError: it is not on a filesystem; fetch it by its address.
        """
        if not self.uri.uri.startswith("file://"):
            raise LineageError(f"{self.uri} is no local path; fetch it by its address")
        return Path(self.uri.file)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Nothing is known of a source; so that versions and sources can be used alike."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """One attempt of a job, as the journal knows it."""

    id: str
    name: str
    job: str | None
    job_type: str | None
    status: RunStatus
    started: datetime
    ended: datetime | None
    host: str | None
    user: str | None
    config: Mapping[str, Any]
    detail: Mapping[str, Any]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One move of an alias: from which version to which, by whom, when."""

    alias: str
    revision: int
    version: int | None
    was: int | None
    by: str | None
    recorded: datetime
    commit: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a mirror calls a version or a run that arrived there.

    Attributes:
        mirror: which outside system, e.g. ``wandb``.
        name: its name there, pinned; for W&B ``entity/project/name:v2`` or ``entity/project/id``.
        url: where it is shown, or None.
        recorded: when the journal last heard of it.
        commit: number of that journal entry.
        facts: all that was recorded.
    """

    mirror: str
    name: str | None
    url: str | None
    recorded: datetime
    commit: int
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fact:
    """One event that concerns a version, for ``lineage show`` and ``lineage log``."""

    kind: str
    event: str
    recorded: datetime
    commit: int
    payload: Mapping[str, Any]
