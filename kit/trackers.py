"""Other trackers beside the journal, and how addresses are written for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

if TYPE_CHECKING:
    from .artifacts.base import Artifact

__all__ = [
    "LineageTracker",
    "get_lineage_tracker",
    "set_lineage_tracker",
    "to_wandb_uri",
    "tokenizer_to_uri",
]


class LineageTracker(Protocol):
    """A tracker that is told of every saved artifact, after the journal."""

    def is_active(self) -> bool:
        """Tell whether it wants to be told now."""

    def use_artifact(self, ref: str, artifact_type: str) -> Path:
        """Note the use of an artifact and return where it lies."""

    def log_artifact(self, artifact: Artifact, name: str, used_refs: list[str]) -> dict[str, Any]:
        """Note a saved artifact and what it was made from; return what is known of it there."""

    def get_run_id(self) -> str | None:
        """Return the tracker's own id of the run."""


_tracker: LineageTracker | None = None


def set_lineage_tracker(tracker: LineageTracker | None) -> None:
    """Have another tracker told of saved artifacts, or none."""
    global _tracker  # noqa: PLW0603 - one tracker a process, as documented
    _tracker = tracker


def get_lineage_tracker() -> LineageTracker | None:
    """Return the tracker that was set, or None."""
    return _tracker


def to_wandb_uri(path: str) -> str:
    """Write an address as W&B takes it for a reference.

    >>> to_wandb_uri("hf://nvidia/Nemotron-CC")
    'https://huggingface.co/datasets/nvidia/Nemotron-CC'
    >>> to_wandb_uri("s3://bucket/key")
    's3://bucket/key'
    """
    if path.startswith("hf://"):
        return f"https://huggingface.co/datasets/{path.removeprefix('hf://')}"
    return path if "://" in path else f"file://{Path(path).resolve()}"


def tokenizer_to_uri(model: str, revision: str | None = None) -> str:
    """Write the name or path of a tokenizer as an address.

    >>> tokenizer_to_uri("org/tokenizer", "main")
    'https://huggingface.co/org/tokenizer/tree/main'
    """
    if model.startswith((".", "/")) or "/" not in model:
        return f"file://{Path(model).resolve()}"
    address = f"https://huggingface.co/{quote(model, safe='/')}"
    return f"{address}/tree/{revision}" if revision else address
