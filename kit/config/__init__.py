"""What env.toml says: where work runs, and where lineage goes."""

from __future__ import annotations

from .profiles import list_run_profiles, load_run_profile
from .reading import Settings, load_settings, wandb_state
from .remarks import SettingsError
from .runconfig import RunConfig

__all__ = [
    "RunConfig",
    "Settings",
    "SettingsError",
    "list_run_profiles",
    "load_run_profile",
    "load_settings",
    "wandb_state",
]
