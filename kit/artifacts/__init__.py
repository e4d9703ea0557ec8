"""Artifacts as Python objects: a path with typed metadata, saved and loaded by name."""

from __future__ import annotations

from .base import Artifact, TrackingInfo
from .data import (
    DataBlendsArtifact,
    InputDatasetInfo,
    PretrainBlendsArtifact,
    PretrainDataArtifact,
    SFTDataArtifact,
    SplitJsonlDataArtifact,
)
from .model import ModelArtifact

__all__ = [
    "Artifact",
    "DataBlendsArtifact",
    "InputDatasetInfo",
    "ModelArtifact",
    "PretrainBlendsArtifact",
    "PretrainDataArtifact",
    "SFTDataArtifact",
    "SplitJsonlDataArtifact",
    "TrackingInfo",
]
