"""An artifact and a run of W&B, as they were when they were looked up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .wandb_sdk import app_url

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Remote", "RemoteRun", "remote_of"]

_COMMITTED, _PENDING = "COMMITTED", "PENDING"


@dataclass(frozen=True, slots=True)
class Remote:
    """An artifact of W&B, as it was when it was looked up.

    Attributes:
        name: its pinned name, ``entity/project/name:v2``.
        id: W&B's own.
        type: its type there.
        state: ``COMMITTED`` once it is whole.
        aliases: without the number.
        tags: its tags.
        description: free text, or None.
        metadata: JSON values.
        digest: of its manifest, by W&B.
        created: when, as W&B says.
        url: where it is shown.
        handle: the SDK's object.
    """

    name: str
    id: str = ""
    type: str = ""
    state: str = _PENDING
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    created: str = ""
    url: str | None = None
    handle: Any = None

    @property
    def is_whole(self) -> bool:
        """Whether it was committed; what was left behind half-way never is."""
        return self.state == _COMMITTED


@dataclass(frozen=True, slots=True)
class RemoteRun:
    """A run of W&B, as it was when it was looked up."""

    path: str  # entity/project/id
    name: str
    state: str
    job_type: str | None
    created: str
    url: str
    handle: Any


def remote_of(artifact: Any, base_url: str) -> Remote:
    """Return what the SDK holds of an artifact."""
    return Remote(
        name=str(artifact.source_qualified_name), id=str(artifact.id), type=str(artifact.type),
        state=str(getattr(artifact.state, "value", artifact.state)),
        aliases=tuple(artifact.aliases), tags=tuple(artifact.tags),
        description=artifact.description, metadata=dict(artifact.metadata),
        digest=str(artifact.digest), created=str(artifact.created_at), url=_url(artifact, base_url),
        handle=artifact,
    )  # fmt: skip


def _url(artifact: Any, base_url: str) -> str:
    """Return where an artifact is shown; its own ``url`` asks the server for it, twice."""
    where = f"{artifact.source_entity}/{artifact.source_project}"
    name = artifact.source_name.replace(":", "/")
    return f"{app_url(base_url)}/{where}/artifacts/{artifact.type}/{name}"
