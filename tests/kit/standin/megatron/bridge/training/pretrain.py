"""The training loop."""

from typing import Any

from megatron.bridge.training.callbacks import normalize_callbacks


def pretrain(callbacks: Any = None) -> Any:
    """Return the manager that the loop would use."""
    return normalize_callbacks(callbacks)
