"""What a training loop tells: one durable append a record, no lock, no database.

``Run`` records through an open store, a ``Recorder`` without one.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from . import grammar
from .digests import fingerprint
from .errors import PathNotFoundError, PublishRefused
from .events import Deleted, Described, Event, Published, Receipt, Used
from .metadata import plain_lenient
from .model import Input, Location, Role
from .source import SourceURI
from .uri import ArtifactURI

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .redact import Redactor

__all__ = ["OWN_FOLDER", "Recording", "identity"]

_log = logging.getLogger(__name__)

OWN_FOLDER = ".lineage"  # the intake beside checkpoints


class Recording(ABC):
    """The records of one run; each is durable when its method returns.

    A version's number follows when the record is combined: by ``Lineage.combine``,
    ``lineage where`` or simply the next reader.

    Attributes:
        id: the run's id.
    """

    id: str

    @property
    @abstractmethod
    def redactor(self) -> Redactor:
        """What takes secrets out of records."""

    def record(  # the facts of one version
        self,
        name: str,
        *,
        path: str | os.PathLike[str],
        type: str,
        metadata: Mapping[str, Any] | None = None,
        inputs: Iterable[Input] | None = None,
        aliases: Iterable[str] = (),
        idempotency_key: str | None = None,
        external: bool = False,
    ) -> str:
        """Record a version from inside a training loop: one durable append, and an id at once.

        It takes no lock and opens no database. NaN and infinity become null and their keys are
        listed: a diverged run must still be recorded. So must a folder with a file in it that
        cannot be read: it has no fingerprint then, and a warning says why.

        Args:
            name: the artifact.
            path: a file or folder, or an address.
            type: ``model``, ``dataset``, ... Where what has the name is of another type, it becomes
                ``<name>?type=<type>``: nobody can be refused here.
            metadata: JSON values, numpy or torch scalars, Path, datetime, Enum; at most 1 MiB.
            inputs: exactly what it was made from; None means what the run used so far.
            aliases: names to move to this version.
            idempotency_key: a record with a key that was used before is about that version again,
                whatever lies at the path by then.
            external: the path is seen by another host only; it is not looked at.

        Returns:
            The id of the record.

        Raises:
            PathNotFoundError: there is nothing at the path.
            MetadataError: metadata that JSON cannot hold, with the key.
            PublishRefused: a name, alias or type that cannot be.
            StoreFull, StoreReadOnly: it could not be written.
        """
        values, non_finite = plain_lenient(metadata)
        draft = self._draft(
            name, path, type, self.redactor.value(values), aliases, external=external,
            inputs=None if inputs is None else tuple(map(_checked, inputs)),
            lenient=True,
        )  # fmt: skip
        if non_finite or idempotency_key is not None:
            draft = replace(draft, non_finite=non_finite, key=idempotency_key)
        return self._append(draft)

    def record_use(
        self,
        target: str | os.PathLike[str] | SourceURI,
        role: str = Role.DATA,
        *,
        weight: float | None = None,
        split: str | None = None,
        tokens: int | None = None,
        revision: str | None = None,
    ) -> str:
        """Record a use from inside a training loop, by the path alone: one durable append.

        The version that lies there, or in whose folder the path is, is found when the record is
        combined; without one, the path is an outside source.

        Args:
            target: a path, or an outside source.
            role: as for ``Run.use``.
            weight: as for ``Run.use``.
            split: as for ``Run.use``.
            tokens: as for ``Run.use``.
            revision: of a source, when its address does not say.
        """
        place: SourceURI | Location
        if isinstance(target, SourceURI):
            place, revision = SourceURI(self.redactor.text(target.uri)), revision or target.revision
        else:
            place = self.locate(target)
        used = Input(
            target=place, role=role, weight=weight, split=split, tokens=tokens, revision=revision
        ).checked()
        return self._append(Used(run=self.id, input=used))

    def record_deleted(self, path: str | os.PathLike[str], reason: str | None = None) -> str:
        """Record that what lay at a path was seen deleted: one durable append."""
        where = self.locate(path)
        shown = None if reason is None else self.redactor.text(reason)
        return self._append(Deleted(version=where, run=self.id, reason=shown, seen=True))

    def record_described(self, path: str | os.PathLike[str], metadata: Mapping[str, Any]) -> str:
        """Record more metadata of what lies at a path: one durable append."""
        values, non_finite = plain_lenient(metadata)
        event = Described(
            version=self.locate(path), run=self.id, non_finite=non_finite,
            metadata=self.redactor.value(values),
        )  # fmt: skip
        return self._append(event)

    @abstractmethod
    def locate(self, path: str | os.PathLike[str], *, external: bool = False) -> Location:
        """Describe where a path lies and which hosts see it."""

    def record_name(self, mirror: str, facts: Mapping[str, Any]) -> str:
        """Record what an outside system calls this run: one durable append.

        Args:
            mirror: which system, e.g. ``wandb``.
            facts: its name there and what else finds it: entity, project, id, url.
        """
        named = {f"run:{self.id}": self.redactor.value(dict(facts))}
        return self._append(Receipt(mirror=mirror, delivered=named))

    @abstractmethod
    def _append(self, event: Event) -> str:
        """Write one record durably and return its id."""

    def _draft(
        self,
        name: str,
        path: str | os.PathLike[str],
        kind: str,
        metadata: Mapping[str, Any],
        aliases: Iterable[str],
        *,
        inputs: tuple[Input, ...] | None,
        external: bool,
        lenient: bool = False,
    ) -> Published:
        """Describe what lies at a path as a version without a number yet.

        What cannot be read is an error, or goes without a fingerprint: ``lenient``.
        """
        called = identity(name)
        if isinstance(aliases, str):
            raise PublishRefused(f"aliases is a list of names, not the text {aliases!r}")
        aliases = tuple(aliases)
        for alias in aliases:
            fault = grammar.alias_fault(alias)
            if fault is not None:
                raise PublishRefused(f"{alias!r} cannot be an alias of art://{called}: {fault}")
        if not kind or not isinstance(kind, str):
            raise PublishRefused(f"the type of art://{called} is a word such as 'model'")
        location = self.locate(path, external=external)
        try:
            found = None if location.external else fingerprint(path)
        except OSError as error:
            if not os.path.lexists(path):
                raise PathNotFoundError(location.path) from None
            if not lenient:
                raise
            found = None
            _log.warning("%s is recorded without a fingerprint: %s", location.path, error)
        return Published(
            name=called, type=kind, run=self.id, location=location, metadata=metadata,
            fingerprint=found, aliases=aliases, inputs=inputs,
        )  # fmt: skip


def _checked(used: Input) -> Input:
    if not isinstance(used, Input):
        raise PublishRefused(f"an input of a record is an Input, not {used!r}")
    return used.checked()


@lru_cache
def identity(name: str) -> str:
    """Return the identity that a name to publish under means: no selector, digest or path.

    Raises:
        PublishRefused: it names more than an artifact.
    """
    uri = ArtifactURI.parse(name)
    if uri.identity != name.removeprefix(grammar.SCHEME) and (
        uri.version is not None or uri.alias or uri.digest or uri.path or name.endswith(":latest")
    ):
        raise PublishRefused(
            f"{name!r} names more than an artifact; publish as {uri.identity!r}, "
            "its number is given by the store and aliases by aliases=[...]"
        )
    return uri.identity
