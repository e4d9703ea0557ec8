"""What a training script calls first, in a container that holds no env.toml."""

from __future__ import annotations

import os

from .wandb import WandbConfig, start

__all__ = ["init_wandb_from_env"]


def init_wandb_from_env() -> None:
    """Start a W&B run as the environment says: the variables that a submitted job gets.

    Without ``WANDB_PROJECT`` it does nothing. ``WANDB_ENTITY``, ``WANDB_NAME``, ``WANDB_GROUP``,
    ``WANDB_JOB_TYPE`` (``data-prep`` by default) and ``WANDB_TAGS`` (with commas) describe the
    run; wandb itself reads ``WANDB_API_KEY``, ``WANDB_BASE_URL`` and ``WANDB_MODE``. A run that is
    active is kept as it is, so that calling this twice is calling it once.

    Raises:
        ImportError: there is a project, and wandb is not installed.
    """
    tags = [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",")]
    config = WandbConfig(
        project=os.environ.get("WANDB_PROJECT"),
        entity=os.environ.get("WANDB_ENTITY"),
        run_name=os.environ.get("WANDB_NAME"),
        tags=tuple(tag for tag in tags if tag),
    )
    job_type = os.environ.get("WANDB_JOB_TYPE") or "data-prep"
    start(config, job_type, group=os.environ.get("WANDB_GROUP") or None)
