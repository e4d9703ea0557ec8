"""An artifact: a path with typed metadata, that is saved under a name and found again by it.

The journal is the truth. The ``metadata.json`` beside the data is a copy for people, for other
tools, and for ``load`` from a path.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from nemotron.lineage import ArtifactURI, Role, Version

from .. import session, trackers
from ..containers import inside

__all__ = ["Artifact", "TrackingInfo"]

METADATA = "metadata.json"


def _now() -> str:
    return datetime.now().astimezone().isoformat()


class TrackingInfo(BaseModel):
    """Where an artifact was recorded.

    Attributes:
        artifact_id: ``art://name:vN``, or what another tracker calls it.
        artifact_type: the artifact's ``type``.
        run_id: the run that saved it.
        url: where a tracker shows it.
        used_artifacts: what it was made from.
    """

    artifact_id: str | None = None
    artifact_type: str | None = None
    run_id: str | None = None
    url: str | None = None
    used_artifacts: list[str] = Field(default_factory=list)


class Artifact(BaseModel):
    """A path with metadata. Subclasses add typed fields, which are mirrored into ``metadata``.

    Keywords that are no fields are metadata too, and can be read as attributes::

        >>> model = Artifact(path="/ckpt", loss=2.5)
        >>> model.metadata["loss"], model.loss, model.metrics
        (2.5, 2.5, {'loss': 2.5})

    Attributes:
        path: a file or folder.
        type: by default the name of the class.
        metadata: what is known of it; typed fields are in here under their names.
        created_at: ISO 8601.
        producer: id of the run that saved it, or ``local``.
        tracking: where it was recorded; None until it is saved.
        name: semantic name such as ``nano3/sft/data?sample=100``; ``save`` uses it.
    """

    #: what kind of artifact it is in the lineage graph: ``model``, ``dataset``, ...
    artifact_type: ClassVar[str] = "artifact"

    path: Path
    type: str
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: str = Field(default_factory=_now)
    producer: str | None = None
    tracking: TrackingInfo | None = None
    name: str | None = None

    _uri: ArtifactURI | None = None

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        """Take typed fields from the metadata, and unknown keywords into it."""
        if not isinstance(data, Mapping):
            return data
        values = dict(data)
        metadata = dict(values.get("metadata") or {})
        metadata |= {key: values.pop(key) for key in list(values) if key not in cls.model_fields}
        taken = {key: metadata[key] for key in cls._typed() if key in metadata}
        kind = values.get("type") or cls.__name__
        return {**taken, **values, "metadata": metadata, "type": kind}

    @model_validator(mode="after")
    def _mirror(self) -> Self:
        self._sync()
        return self

    def _sync(self) -> None:
        typed = self.model_dump(mode="json", include=set(self._typed()), exclude_none=True)
        self.metadata.update(typed)

    @classmethod
    def _typed(cls) -> list[str]:
        return [key for key in cls.model_fields if key not in Artifact.model_fields]

    def __getattr__(self, name: str) -> Any:
        """Return metadata that is no field of the class."""
        metadata = self.__dict__.get("metadata", {})
        if name in metadata:
            return metadata[name]
        try:
            return super().__getattr__(name)  # type: ignore[misc]  # pydantic's private attributes
        except AttributeError:
            if name.startswith("_"):
                raise
            known = ", ".join(sorted({*type(self).model_fields, *metadata}))
            message = f"{type(self).__name__} has no {name!r}; it has {known}"
            raise AttributeError(message) from None

    # --------------------------------------------------------- to be overridden

    def get_wandb_files(self) -> list[tuple[str, str]]:
        """Return (path, name inside) of small files that the W&B mirror uploads."""
        path = self._get_output_dir() / METADATA
        return [(str(path), METADATA)] if path.exists() else []

    def get_wandb_references(self) -> list[tuple[str, str]]:
        """Return (address, name inside) of what the W&B mirror refers to and never uploads."""
        return [(f"file://{self._get_output_dir().resolve()}", "output")]

    def _attached(self) -> dict[str, str]:
        """Return what W&B gets beside the reference to the folder, which it always has."""
        own = type(self).get_wandb_references is not Artifact.get_wandb_references
        references = self.get_wandb_references() if own else []
        return {inside: place for place, inside in (*self.get_wandb_files(), *references)}

    def get_input_uris(self) -> list[str]:
        """Return what it was made from: ``art://``, ``hf://``, ``s3://``, ``https://``, paths.

        They become edges of the lineage graph, beside what the run has used.
        """
        return []

    def _get_output_dir(self) -> Path:
        """Return the folder of ``metadata.json``; override it when ``path`` is a file."""
        return self.path

    def _facts(self, uri: str) -> dict[str, Any]:
        """Return what is known of the use of an input: role, weight, split, tokens, ..."""
        del uri
        return {}

    # ------------------------------------------------------------------- naming

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers in the metadata, for logging."""
        return {
            key: float(value)
            for key, value in self.metadata.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }

    @property
    def uri(self) -> str | None:
        """``art://name:vN`` once it is saved or was found by its name, else None."""
        return None if self._uri is None else str(self._uri)

    @property
    def art_path(self) -> str:
        """What to show or hand on: its uri, else its semantic name, else its path."""
        return self.uri or f"art://{self.name or self.path.resolve()}"

    def _identity(self, name: str | None) -> str:
        return name or self.name or self.type

    # ---------------------------------------------------------- saving, loading

    def save(self, name: str | None = None) -> None:
        """Write ``metadata.json`` beside the data, and publish a new version.

        Its inputs are what the run has used so far (everything that was loaded in this process)
        and what ``get_input_uris`` names. Saving the same content again is the same version.

        Args:
            name: e.g. ``sft-model``; by default ``self.name``, else the type.

        Raises:
            PathNotFoundError: there is nothing at ``path``.
            PublishRefused, URIError: the name makes no sense.
        """
        self._sync()
        folder = self._get_output_dir()
        if folder == self.path:
            folder.mkdir(parents=True, exist_ok=True)
        identity = self._identity(name)
        run = session.start_run()
        self.producer = self.producer or run.id
        inputs = self.get_input_uris()
        for uri in inputs:
            session.use(uri, **{"role": Role.DATA, **self._facts(uri)})
        if self.path.exists():
            self._write(folder)
        version = run.publish(
            identity, path=self.path, type=self.artifact_type, metadata=self.metadata,
            attach=self._attached(),
        )  # fmt: skip
        self._uri = version.uri
        self.tracking = TrackingInfo(
            artifact_id=str(version.uri), artifact_type=self.type, run_id=run.id,
            used_artifacts=[str(used.uri) for used in session.used()],
        )  # fmt: skip
        tracker = trackers.get_lineage_tracker()
        if tracker is not None and tracker.is_active():
            tracker.log_artifact(self, identity, self.tracking.used_artifacts)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str] | None = None, tracked_artifact: str | None = None
    ) -> Self:
        """Load an artifact, and record that the run uses it.

        Args:
            path: its folder, with the ``metadata.json`` that ``save`` wrote.
            tracked_artifact: its reference, as for ``from_uri``. With neither, JSON
                ``{"path": ...}`` is read from stdin, as ``print(artifact)`` wrote it.

        Raises:
            FileNotFoundError: there is no ``metadata.json``.
            ValueError: it is damaged, or describes another kind of artifact; or stdin has no path.
        """
        if tracked_artifact is not None:
            return cls.from_uri(tracked_artifact)
        folder = Path(_path_from_stdin() if path is None else path)
        if folder.is_file():
            folder = folder.parent
        artifact = cls._read(folder)
        found = session.use(artifact.path, role=_role(cls.artifact_type))
        if isinstance(found, Version):
            artifact._uri = found.uri
        return artifact

    @classmethod
    def from_uri(cls, uri: str | ArtifactURI) -> Self:
        """Find an artifact by its reference, and record that the run uses it.

        Args:
            uri: ``art://name``, with ``:vN``, ``:N``, ``:latest`` or ``:alias``.

        Raises:
            URIError: it is no reference.
            ArtifactNotFoundError, ArtifactVersionNotFoundError: there is none; near misses are
                named.
            ArtifactGone: it was deleted or replaced.
            ValueError: what was saved is another kind of artifact.
        """
        version = session.store().resolve(uri)
        data = {
            "path": inside(str(version.path)), "metadata": dict(version.metadata),
            "name": version.name,
            "created_at": version.occurred.isoformat(), "producer": version.run or "local",
        }  # fmt: skip
        artifact = cls._build(data, str(version.uri))
        session.use(str(version.uri), role=_role(version.type))
        artifact._uri = version.uri
        return artifact

    @classmethod
    def _build(cls, data: Mapping[str, Any], where: str) -> Self:
        try:
            return cls(**data)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise ValueError(
                f"{where} is no {cls.__name__}: {field}: {first['msg']}; load it as what it was "
                "saved as, or as Artifact"
            ) from None

    @classmethod
    def _read(cls, folder: Path) -> Self:
        path = folder / METADATA
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            message = f"{path} is not there; name the folder that save() wrote it to"
            raise FileNotFoundError(message) from None
        except ValueError as error:
            message = f"{path} is damaged ({error}); find the artifact by its art:// name instead"
            raise ValueError(message) from None
        if not isinstance(data, dict) or "path" not in data:
            raise ValueError(f"{path} describes no artifact: it is no object with a path")
        artifact = cls._build(data, str(path))
        described = artifact._get_output_dir()
        if described.resolve() != folder.resolve():
            # the folder was moved or copied: what was said of its files holds where they are now
            if not artifact.path.is_relative_to(described):
                raise ValueError(f"{path} describes {artifact.path}, which is another artifact")
            artifact.path = folder / artifact.path.relative_to(described)
        return artifact

    def _write(self, folder: Path) -> None:
        """Write the description, wholly or not at all; an equal one is left as it is."""
        path = folder / METADATA
        described = self.model_dump(mode="json")
        if _same(path, described):
            return
        temporary = folder / f".{METADATA}.{os.getpid()}"
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(described, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def to_json(self) -> str:
        """Return the form for a pipe: ``{"path": ..., "type": ...}``."""
        return json.dumps({"path": str(self.path), "type": self.type})

    def __str__(self) -> str:
        """Return the form for a pipe."""
        return self.to_json()


def _role(kind: str) -> str:
    return {"model": Role.INIT, "tokenizer": Role.TOKENIZER}.get(kind, Role.DATA)


def _same(path: Path, described: Mapping[str, Any]) -> bool:
    """Tell whether a description says the same already, whoever wrote it and when."""
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    leave = ("created_at", "producer", "tracking")
    return isinstance(there, dict) and all(
        there.get(key) == value for key, value in described.items() if key not in leave
    )


def _path_from_stdin() -> str:
    if sys.stdin is None or sys.stdin.isatty():
        raise ValueError("nothing to load: give path= or tracked_artifact=, or pipe one in")
    text = sys.stdin.read()
    try:
        return str(json.loads(text)["path"])
    except (ValueError, KeyError, TypeError):
        shown = text.strip()[:80]
        raise ValueError(f'stdin holds no {{"path": ...}} but {shown!r}') from None
