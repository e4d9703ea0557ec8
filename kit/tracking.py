"""Tracking in two calls: set up from a configuration, then log what was made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nemotron.lineage import write_manifests

from . import session
from .resolvers import clear_artifact_cache, register_resolvers_from_config

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from .artifacts.base import Artifact

__all__ = ["ArtifactTrackingResult", "log_artifact", "setup_artifact_tracking"]


@dataclass
class ArtifactTrackingResult:
    """What ``setup_artifact_tracking`` set up.

    Attributes:
        manifest: whether the manifest layout is written beside the journal.
        wandb: whether the configuration asks for W&B.
        qualified_names: the pinned references of the configuration.
        root: where the manifest layout is written.
    """

    manifest: bool = False
    wandb: bool = False
    qualified_names: list[str] = field(default_factory=list)
    root: str | None = None


def setup_artifact_tracking(
    config: DictConfig, artifacts_key: str = "run"
) -> ArtifactTrackingResult:
    """Read the section ``artifacts`` of a configuration, and resolve its references.

    ::

        artifacts:
          store: /shared/lineage          # else the default store
          manifest: {root: /shared/art}   # also write the manifest layout, for other tools
          wandb: true
        run:
          data: sft-tokens:latest

    Args:
        config: the whole configuration.
        artifacts_key: the section that holds the references.

    Raises:
        TypeError: ``artifacts`` is no mapping.
        URIError, ArtifactNotFoundError, ArtifactGone, PinsFailed: as ``pin_job``.
    """
    from omegaconf import OmegaConf  # only where there is a configuration

    section = OmegaConf.select(config, "artifacts", default=None)
    settings: Any = OmegaConf.to_container(section, resolve=True) if section is not None else {}
    if not isinstance(settings, dict):
        message = f"artifacts: {settings!r} is no mapping; write artifacts: {{store: PATH}}"
        raise TypeError(message)
    if settings.get("store"):
        session.init(root=str(settings["store"]))
    manifest = settings.get("manifest")
    root = manifest.get("root") if isinstance(manifest, dict) else None
    clear_artifact_cache()
    return ArtifactTrackingResult(
        manifest=bool(root), wandb=bool(settings.get("wandb")), root=root,
        qualified_names=register_resolvers_from_config(config, artifacts_key, mode="local"),
    )  # fmt: skip


def log_artifact(
    artifact: Artifact, tracking: ArtifactTrackingResult, name: str | None = None
) -> None:
    """Save an artifact, and write the manifest layout where the configuration asks for it.

    Args:
        artifact: what was made.
        tracking: what ``setup_artifact_tracking`` returned.
        name: as for ``Artifact.save``.

    Raises: as ``Artifact.save``.
    """
    artifact.save(name)
    if tracking.root is not None:
        write_manifests(session.store(), tracking.root)
