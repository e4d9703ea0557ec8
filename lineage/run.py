"""One attempt of a job, as its scripts see it: it uses, publishes and records."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from .clock import read_time
from .digests import digest as digest_of
from .errors import LineageError, PublishRefused
from .events import Event, Published, RunEnded, Used
from .metadata import plain
from .model import Input, Location, Role, RunStatus, Source, State, Version, VersionId
from .recording import OWN_FOLDER, Recording
from .source import SourceURI
from .starting import describe_start
from .uri import ArtifactURI

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from .intake import Writer
    from .launch import Launch
    from .redact import Redactor
    from .registry import Lineage

__all__ = ["Run", "UseReference"]

_log = logging.getLogger(__name__)

UseReference = str | os.PathLike[str] | ArtifactURI | SourceURI | Version | Source
_ERROR_LENGTH = 2000  # characters of an exception's text


class Run(Recording):
    """A run of a store; make it with ``Lineage.run``, best in a ``with`` block.

    Leaving the block ends it: ok, failed (with the exception, secrets removed) or aborted. When
    nothing ends it, it is shown as lost once its process is known to be gone.

    Attributes:
        id: the same on all ranks of one launch.
        name: what it was called.
        job: id of the job that the launcher started, or None.
        job_type: what kind of work it is, e.g. ``training``.
    """

    def __init__(  # the facts of one run
        self,
        store: Lineage,
        name: str,
        *,
        id: str,
        launch: Launch,
        job_type: str | None = None,
        config: Mapping[str, Any] | None = None,
        parent: str | None = None,
        intake: str | os.PathLike[str] | None = None,
    ) -> None:
        self._store = store
        self.id, self.name, self.job, self.job_type = id, name, launch.job, job_type
        self._intake = None if intake is None else os.path.join(os.path.abspath(intake), OWN_FOLDER)
        self._writer: Writer | None = None
        self.is_open = True
        started = describe_start(
            id, name, launch, store.redactor, job_type=job_type, config=config, parent=parent,
            intake=self._intake,
        )  # fmt: skip
        store.tell(started)

    # ------------------------------------------------------------------- using

    def use(  # the facts of one edge
        self,
        reference: UseReference,
        role: str = Role.DATA,
        *,
        weight: float | None = None,
        split: str | None = None,
        tokens: int | None = None,
        revision: str | None = None,
        digest: str | None = None,
        size: int | None = None,
    ) -> Version | Source:
        """Say that this run uses something; all that it publishes from now on descends from it.

        Args:
            reference: ``art://name:alias`` or ``name:v7``; an outside source such as
                ``hf://org/name@revision`` or ``s3://...``; a path (``Path``, or text that begins
                with ``/`` or ``./``), which means the version that lies there, if any does.
            role: what for: data, init, resume, tokenizer, teacher, reward, reference, merge, eval.
            weight: its share in a data blend, any positive number.
            split: e.g. ``train``.
            tokens: how many tokens of it are used.
            revision: of a source, when its address does not say.
            digest: of a source, ``blake3:`` or ``sha256:``.
            size: bytes of a source.

        Returns:
            The version, pinned (``.uri``, ``.path``, ``.metadata``), or the source.

        Raises:
            URIError: it is no reference.
            ArtifactNotFoundError: there is no such version.
            ArtifactGone: it was deleted or replaced.
            PublishRefused: a weight, tokens or size that is no number from 0 to 2^63-1, or a split,
                revision or digest that is no text.
        """
        found, used = self._refer(reference, role)
        used = replace(
            used, weight=weight, split=split, tokens=tokens, digest=digest, size=size,
            revision=revision or used.revision,
        ).checked()  # fmt: skip
        asked = self._store.redactor.text(_text(reference))
        self._commit(Used(run=self.id, input=used, asked=asked))
        return found

    def input(self, reference: UseReference, role: str = Role.DATA, **facts: Any) -> Input:
        """Return an input for ``publish(inputs=[...])``, without recording a use.

        Args:
            reference: as for ``use``.
            role: as for ``use``.
            facts: weight, split, tokens, revision, digest, size.
        """
        known = _pinned(reference)
        used = Input(target=known, role=role) if known else self._refer(reference, role)[1]
        return replace(used, **facts).checked() if facts else used

    def _refer(self, reference: UseReference, role: str) -> tuple[Version | Source, Input]:
        if not role or not isinstance(role, str):
            raise PublishRefused(f"the role of a use is a word such as 'data', not {role!r}")
        found = self._store.refer(reference)
        if isinstance(found, Version):
            return found, Input(target=found.id, role=role)
        address = SourceURI(self._store.redactor.text(found.uri.uri))
        return found, Input(target=address, role=role, revision=found.uri.revision)

    # -------------------------------------------------------------- publishing

    def publish(  # the facts of one version
        self,
        name: str,
        *,
        path: str | os.PathLike[str],
        type: str,
        metadata: Mapping[str, Any] | None = None,
        inputs: Iterable[UseReference | Input] | None = None,
        aliases: Iterable[str] = (),
        idempotency_key: str | None = None,
        digest: Literal["later", "now"] = "later",
        external: bool = False,
        attach: Mapping[str, str | os.PathLike[str]] | None = None,
    ) -> Version:
        """Publish what lies at a path as a new version, durably, and return it with its number.

        Nothing is copied and no big file is read. The same content published again by this run is
        the same version; other content under the same path is a new version, and the old one is
        marked replaced.

        Args:
            name: the artifact, e.g. ``sft-model`` or ``nano3/sft/data?sample=100``.
            path: a file or folder, or an address such as ``s3://bucket/key``.
            type: ``model``, ``dataset``, ``tokenizer``, ...; fixed by the first version.
            metadata: JSON values, numpy or torch scalars, Path, datetime, Enum; at most 1 MiB.
            inputs: exactly what it was made from; None means what this run used so far.
            aliases: names to move to this version.
            idempotency_key: a publish with a key that was used before gives that version again.
            digest: ``now`` reads all bytes before returning.
            external: the path is seen by another host only; it is not looked at.
            attach: for W&B beside the reference to the path, by the name inside: the path of a
                small file, which is uploaded, or an address, which is referred to.

        Raises:
            PathNotFoundError: there is nothing at the path.
            MetadataError: metadata that JSON cannot hold, with the key.
            PublishRefused: a name, alias or type that cannot be.
            StoreBusy: it is safe in the intake and gets its number later.
        """
        self._check_open()
        values = self._store.redactor.value(plain(metadata))
        draft = self._draft(
            name, path, type, values, aliases, external=external,
            inputs=None if inputs is None else tuple(self._inputs(inputs)),
        )  # fmt: skip
        if digest == "now":
            draft = replace(draft, digest=self._digest(draft.location, path))
        elif digest != "later":
            raise PublishRefused(f"digest is 'later' or 'now', not {digest!r}")
        if idempotency_key is not None:
            draft = replace(draft, key=idempotency_key)
        if attach:
            places = {inside: self.locate(place).path for inside, place in attach.items()}
            draft = replace(draft, attached=self._store.redactor.value(places))
        outcome = self._store.commit(draft)
        assert outcome.version is not None  # a publish always comes to a version
        for entry in outcome.entries:
            event = entry.event
            if isinstance(event, Published) and outcome.head is not None:
                return Version(
                    uri=outcome.version.uri, type=type, location=event.location,
                    metadata=event.metadata, aliases=tuple(sorted(set(event.aliases))),
                    digest=event.digest, fingerprint=event.fingerprint, state=State.LIVE,
                    run=self.id, occurred=read_time(entry.occurred),
                    recorded=read_time(outcome.head.recorded), commit=outcome.head.number,
                )  # fmt: skip
        return self._store.resolve(outcome.version.uri)

    def _inputs(self, inputs: Iterable[UseReference | Input]) -> Iterable[Input]:
        if isinstance(inputs, (str, os.PathLike)):
            raise PublishRefused(f"inputs is a list of references, not the text {inputs!r}")
        for item in inputs:
            yield item.checked() if isinstance(item, Input) else self.input(item)

    def _digest(self, location: Location, path: str | os.PathLike[str]) -> str:
        if location.external:
            raise PublishRefused(f"{location.path} is external: its digest cannot be taken here")
        return digest_of(path).text

    # --------------------------------------------------------------- recording

    @property
    def redactor(self) -> Redactor:
        """What takes secrets out of records."""
        return self._store.redactor

    def locate(self, path: str | os.PathLike[str], *, external: bool = False) -> Location:
        """Describe where a path lies and which hosts see it."""
        return self._store.locate(path, external=external)

    def _append(self, event: Event) -> str:
        self._check_open()
        if self._writer is None:
            self._writer = self._store.intake_writer(self._intake, run=self.id)
        return self._writer.append(event)

    # -------------------------------------------------------------- life cycle

    def end(self, status: RunStatus | str = RunStatus.OK, *, error: str | None = None) -> None:
        """End the run: ok, failed or aborted. Of several ranks the worst end counts."""
        if not self.is_open:
            return
        if status not in (RunStatus.OK, RunStatus.FAILED, RunStatus.ABORTED):
            raise PublishRefused(f"a run ends ok, failed or aborted, not {status!r}")
        shown = None if error is None else self._store.redactor.text(error)[:_ERROR_LENGTH]
        self._commit(RunEnded(run=self.id, status=str(status), error=shown))
        self.is_open = False
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> Self:
        """Return the run itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the run as the block ended."""
        status = RunStatus.of(error)
        if status is RunStatus.OK:
            self.end()
            return
        try:
            self.end(status, error=f"{type(error).__name__}: {error}")
        except (LineageError, OSError):
            # the error of the block itself is the one to see
            _log.exception("the end of run %s could not be recorded", self.id)

    def _commit(self, event: Used | RunEnded) -> None:
        self._check_open()
        self._store.tell(event)

    def _check_open(self) -> None:
        if not self.is_open:
            raise PublishRefused(f"run {self.name!r} has ended; open another one to go on")


def _pinned(reference: UseReference) -> VersionId | None:
    """Return the version that a reference can only mean; that it exists is checked at commit."""
    if isinstance(reference, Version):
        return reference.id
    if isinstance(reference, ArtifactURI) and reference.version is not None:
        return None if reference.digest else VersionId(reference.identity, reference.version)
    return None


def _text(reference: UseReference) -> str:
    """Return what was asked for, as text."""
    if isinstance(reference, (str, os.PathLike)):
        return os.fspath(reference)
    return str(reference.uri if isinstance(reference, (Version, Source)) else reference)
