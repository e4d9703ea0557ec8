"""Model checkpoints."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from .base import Artifact

__all__ = ["ModelArtifact"]


class ModelArtifact(Artifact):
    """A model checkpoint; ``path`` is its folder.

    Attributes:
        step: training step, 0 or more.
        final_loss: loss at the end of training.
    """

    artifact_type: ClassVar[str] = "model"

    step: Annotated[int, Field(ge=0)]
    final_loss: float | None = None
