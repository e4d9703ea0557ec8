"""What a job is submitted with: for now, the W&B project that env.toml names."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .config import load_settings
from .wandb import WandbConfig

if TYPE_CHECKING:
    import os

__all__ = ["load_wandb_config"]

_log = logging.getLogger(__name__)

_FIELDS = ("project", "entity", "run_name", "tags", "notes")


def load_wandb_config(config_path: str | os.PathLike[str] | None = None) -> WandbConfig | None:
    """Read the section ``[wandb]`` of env.toml.

    ::

        [wandb]
        project = "nemotron"      # without it, or blank: tracking is off
        entity = "my-team"
        run_name = "first-try"    # or name
        tags = ["sft", "nano"]
        notes = "what it is about"

    A key that is not known is ignored, with a warning.

    Args:
        config_path: the file; by default ``NEMOTRON_ENV_FILE``, else env.toml in the working
            folder or above it, not beyond a pyproject.toml.

    Returns:
        The configuration, or None where there is no file or no such section.

    Raises:
        SettingsError: as ``load_settings``; also where the section holds a key or a password.
    """
    settings = load_settings(config_path)
    if settings is None or settings.wandb is None:
        return None
    for name in sorted(settings.wandb.keys() - set(_FIELDS)):
        _log.warning(
            "%s [wandb] %s: is no part of a WandbConfig; for a run of this process set WANDB_%s",
            settings.path, name, name.upper(),
        )  # fmt: skip
    return WandbConfig(**{name: settings.wandb[name] for name in _FIELDS if name in settings.wandb})
