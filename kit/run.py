"""What jobs are submitted with: profiles, executors, the W&B project, and the launcher itself."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from .config import RunConfig, list_run_profiles, load_run_profile, load_settings
from .executors import build_executor
from .executors.arguments import resolve_partition
from .executors.quoting import shell_word
from .launching import Request, launch
from .wandb import WandbConfig

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

__all__ = [
    "RunConfig",
    "build_executor",
    "list_run_profiles",
    "load_run_profile",
    "load_wandb_config",
    "resolve_partition",
    "run_with_nemo_run",
]

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
            "%s [wandb] %s: is no part of a WandbConfig; jobs get it from the launcher, for a run "
            "of this process set WANDB_%s",
            settings.path, name, name.upper(),
        )  # fmt: skip
    return WandbConfig(**{name: settings.wandb[name] for name in _FIELDS if name in settings.wandb})


def run_with_nemo_run(  # noqa: PLR0917 - documented
    script_path: str,
    script_args: Sequence[str],
    run_config: RunConfig,
    ray: bool = False,  # noqa: FBT001, FBT002 - documented
    pre_ray_start_commands: Sequence[str] | None = None,
    packager: str | None = None,
    workdir: str | None = None,
    run_command: str | None = None,
    *,
    profile: str | None = None,
    store: str | None = None,
) -> int:
    """Run a script where a profile says, and return its exit status.

    Its ``art://`` references are pinned, the job gets its variables and secrets, its output is
    printed here, and the launch is recorded as a run that the job's own runs belong to. With
    ``detach`` in the profile it is submitted only; with ``dry_run`` it is only shown.

    Args:
        script_path: the Python script, as the job finds it.
        script_args: its arguments.
        run_config: where it runs.
        ray: run it as a job of a Ray cluster.
        pre_ray_start_commands: shell commands before Ray is started, where nemo-run starts it.
        packager: how the code gets there, in place of what the profile says.
        workdir: folder in the container to go to first.
        run_command: the command as a template for a shell, with ``{script}`` for the script's path.
        profile: name of the profile, for the record.
        store: the lineage store, in place of that of the settings.

    Raises:
        SettingsError: the profile is not complete, or something would not arrive as it is.
        LaunchError: the job could not be submitted or watched.
        URIError, ArtifactNotFoundError, ArtifactGone: a reference of the arguments.
        ImportError: nemo-run is not installed.
    """
    config = run_config
    if packager not in (None, "code"):
        config = replace(config, packager=packager)
    if workdir is not None:
        # with a path of nemo-run's own folder left to it
        lines = [*(config.startup_commands or ()), f"cd -- {shell_word(workdir)}"]
        config = replace(config, startup_commands=lines)
    text = None
    if run_command is not None:
        words = [run_command.format(script=shell_word(script_path), config="").strip()]
        text = " ".join([*words, *map(shell_word, script_args)])
    return launch(
        Request(
            command=["python", script_path, *script_args],
            config=config,
            profile=profile,
            ray=ray,
            store=store,
            text=text,
            before_ray=pre_ray_start_commands or (),
        )
    )
