"""Prepared data. A number that was not measured is None, never 0."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from nemotron.lineage import Role

from .base import METADATA, Artifact

__all__ = [
    "DataBlendsArtifact",
    "InputDatasetInfo",
    "PretrainBlendsArtifact",
    "PretrainDataArtifact",
    "SFTDataArtifact",
    "SplitJsonlDataArtifact",
]

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


@dataclass
class InputDatasetInfo:
    """A data set that went into a blend.

    Attributes:
        uri: ``hf://org/name``, ``s3://...``, ``art://...`` or a path.
        name: its name in the blend.
        weight: its share.
        split: e.g. ``train``.
        subset: configuration of a Hugging Face data set.
        text_field: the field that holds the text.
        num_rows, size_bytes, num_files: as far as they are known.
    """

    uri: str
    name: str | None = None
    weight: float = 1.0
    split: str | None = None
    subset: str | None = None
    text_field: str = "text"
    num_rows: int | None = None
    size_bytes: int | None = None
    num_files: int | None = None


class _DataArtifact(Artifact):
    """What all prepared data share.

    Attributes:
        total_sequences: documents, or sequences after packing.
        elapsed_sec: how long the preparation took.
        source_datasets: what it was made from, as addresses or with details.
    """

    artifact_type: ClassVar[str] = "dataset"

    total_sequences: Count | None = None
    elapsed_sec: Seconds | None = None
    source_datasets: list[InputDatasetInfo | str] = Field(default_factory=list)

    def get_input_uris(self) -> list[str]:
        """Return the source data sets."""
        return [each if isinstance(each, str) else each.uri for each in self.source_datasets]

    def _facts(self, uri: str) -> dict[str, Any]:
        for each in self.source_datasets:
            if isinstance(each, InputDatasetInfo) and each.uri == uri:
                return {"weight": each.weight, "split": each.split, "size": each.size_bytes}
        return {}


class _TokenizedArtifact(_DataArtifact):
    """Data that went through a tokenizer.

    Attributes:
        total_tokens: tokens in all splits.
        tokenizer_uri: the tokenizer.
    """

    total_tokens: Count | None = None
    tokenizer_uri: str | None = None

    def get_input_uris(self) -> list[str]:
        """Return the source data sets and the tokenizer."""
        return [*super().get_input_uris(), *([self.tokenizer_uri] if self.tokenizer_uri else [])]

    def _facts(self, uri: str) -> dict[str, Any]:
        return {"role": Role.TOKENIZER} if uri == self.tokenizer_uri else super()._facts(uri)


class _SplitArtifact(_TokenizedArtifact):
    """Tokenized data with tokens counted by split."""

    train_tokens: Count | None = None
    valid_tokens: Count | None = None
    test_tokens: Count | None = None


class DataBlendsArtifact(_SplitArtifact):
    """Tokenized data described by a blend; ``path`` is the ``blend.json``."""

    def _get_output_dir(self) -> Path:
        return self.path.parent

    def get_wandb_files(self) -> list[tuple[str, str]]:
        """Return the blend and the description."""
        return _with(self.path, "blend.json", super().get_wandb_files())


class PretrainDataArtifact(_TokenizedArtifact):
    """Pretraining data of one source as bin/idx files; ``path`` is their folder.

    Attributes:
        num_shards: how many shards, 1 or more.
        blend_path: its ``blend.json``.
    """

    num_shards: Annotated[int, Field(ge=1)] | None = None
    blend_path: str | None = None


class PretrainBlendsArtifact(PretrainDataArtifact, _SplitArtifact):
    """Pretraining data of several sources, counted by split; ``path`` is their folder."""

    def get_wandb_files(self) -> list[tuple[str, str]]:
        """Return the blend and the description."""
        blend = Path(self.blend_path) if self.blend_path else self.path / "blend.json"
        return _with(blend, "blend.json", super().get_wandb_files())


class SFTDataArtifact(_TokenizedArtifact):
    """Packed chat sequences as ``.npy`` files; ``path`` is their folder.

    Attributes:
        pack_size: tokens of a packed sequence at the most.
        training_path, validation_path, test_path: the files of the splits.
        metadata_path: the packing metadata that Megatron-Bridge reads.
    """

    pack_size: Annotated[int, Field(ge=1)] | None = None
    training_path: str | None = None
    validation_path: str | None = None
    test_path: str | None = None
    metadata_path: str | None = None


class SplitJsonlDataArtifact(_DataArtifact):
    """Prompts and answers as JSONL, not tokenized; ``path`` is the ``manifest.json``.

    Attributes:
        train, val, test: the folders of the splits.
    """

    train: str | None = None
    val: str | None = None
    test: str | None = None

    def _get_output_dir(self) -> Path:
        return self.path.parent

    def get_wandb_files(self) -> list[tuple[str, str]]:
        """Return the manifest and the description."""
        return _with(self.path, "manifest.json", super().get_wandb_files())


def _with(path: Path, name: str, files: list[tuple[str, str]]) -> list[tuple[str, str]]:
    assert name != METADATA  # the description comes with the base class
    return [*([(str(path), name)] if path.exists() else []), *files]
