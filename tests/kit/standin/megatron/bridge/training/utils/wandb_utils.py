"""The hooks that are called after a save and after a load."""

from typing import Any

CALLS: list[str] = []


def on_save_checkpoint_success(
    checkpoint_path: str, save_dir: str, iteration: int, wandb_writer: Any
) -> None:
    """Log to W&B, where there is a writer."""
    CALLS.append(f"saved {checkpoint_path} {save_dir} {iteration}")
    if wandb_writer is not None:
        wandb_writer(checkpoint_path)


def on_load_checkpoint_success(checkpoint_path: str, load_dir: str, wandb_writer: Any) -> None:
    """Log to W&B, where there is a writer."""
    CALLS.append(f"loaded {checkpoint_path} {load_dir}")
