"""A W&B run for this process, when a project asks for one; it is one with the lineage run.

Importing this module does not import wandb; starting a run does.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import TYPE_CHECKING, Any

from nemotron.lineage import LineageError, Redactor, RunStatus

from . import session
from .patching import (
    patch_nemo_rl_checkpoint_logging,
    patch_wandb_checkpoint_logging,
    patch_wandb_init_for_lineage,
    patch_wandb_runid_for_seeded_random,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "WandbConfig",
    "add_run_tags",
    "add_wandb_tags",
    "finish_run",
    "finish_wandb",
    "init_wandb_if_configured",
    "log_wandb_config",
    "patch_nemo_rl_checkpoint_logging",
    "patch_wandb_checkpoint_logging",
    "patch_wandb_init_for_lineage",
    "patch_wandb_runid_for_seeded_random",
]


_log = logging.getLogger(__name__)


@dataclass
class WandbConfig:
    """What W&B is to be told about a run. Without a project nothing is.

    Attributes:
        project: name of the W&B project; None or blank turns tracking off.
        entity: team or user; None means the default one of the login.
        run_name: name of the run; None lets W&B choose one.
        tags: to find the run by.
        notes: what the run is about.

    >>> WandbConfig(entity="my-team").enabled
    False
    """

    project: str | None = None
    entity: str | None = None
    run_name: str | None = None
    tags: tuple[str, ...] = ()
    notes: str | None = None

    @property
    def enabled(self) -> bool:
        """Whether there is a project."""
        return bool(self.project and self.project.strip())


def init_wandb_if_configured(
    wandb_config: WandbConfig | None, job_type: str = "data-prep", tags: list[str] | None = None
) -> None:
    """Start a W&B run, if there is a project and no run yet.

    It also opens the lineage run of this process, or joins it, and each then says which the other
    is; what the lineage run records is delivered to the W&B run in the background. A W&B run that
    is active is kept as it is, so that calling this twice is calling it once.

    Args:
        wandb_config: None, or one without a project, does nothing.
        job_type: e.g. ``data-prep``, ``training``.
        tags: in addition to those of the configuration.

    Raises:
        ImportError: there is a project, and wandb is not installed.
        wandb.Error: what the SDK raises when it cannot begin a run: a wrong login, or a server that
            does not answer for 90 seconds. ``WANDB_MODE=offline`` begins one without a server.
    """
    start(wandb_config, job_type, tags=tags or ())


def add_wandb_tags(tags: Iterable[str]) -> None:
    """Add tags to the active W&B run; without one, do nothing.

    Args:
        tags: those that the run has already stay, and are not repeated.
    """
    run = _active()
    if run is not None:
        run.tags = tuple(dict.fromkeys((*(run.tags or ()), *tags)))


def add_run_tags(tags: Iterable[str]) -> None:
    """Add tags to the active W&B run: the later name of ``add_wandb_tags``."""
    add_wandb_tags(tags)


def log_wandb_config(config: object) -> None:
    """Add settings to those that the active W&B run shows; without one, do nothing.

    Args:
        config: a dataclass or a mapping. Secrets are removed.

    Raises:
        TypeError: it is neither.
    """
    run = _active()
    if is_dataclass(config) and not isinstance(config, type):
        values: Mapping[str, Any] = asdict(config)
    elif isinstance(config, Mapping):
        values = config
    else:
        raise TypeError(f"config is a dataclass or a mapping, not {type(config).__name__}")
    if run is not None:
        run.config.update(Redactor(os.environ).value(dict(values)), allow_val_change=True)


def finish_wandb(exit_code: int = 0) -> None:
    """Finish the active W&B run, and the lineage run with it; without one, do nothing.

    What was recorded is delivered first, for at most ``LINEAGE_MIRROR_DRAIN`` seconds (10).

    Args:
        exit_code: 0 for success; any other marks both runs as failed.
    """
    run = _active()
    if run is not None:
        try:
            session.end_run(RunStatus.FAILED if exit_code else RunStatus.OK)
        except (LineageError, OSError) as error:  # a store that is gone keeps no W&B run open
            _log.warning("the end of the lineage run is not recorded: %s", error)
        run.finish(exit_code=exit_code)


def finish_run(exit_code: int = 0) -> None:
    """Finish the active W&B run: the later name of ``finish_wandb``."""
    finish_wandb(exit_code)


def start(
    config: WandbConfig | None,
    job_type: str,
    *,
    tags: Iterable[str] = (),
    group: str | None = None,
) -> None:
    """Start a W&B run as ``init_wandb_if_configured`` does, maybe in a group of runs."""
    if config is None or not config.enabled:
        return
    wandb = _sdk(f"the W&B project {config.project!r}")
    if wandb.run is None:
        wandb.init(
            project=_given(config.project), entity=_given(config.entity),
            name=_given(config.run_name), notes=_given(config.notes), job_type=job_type,
            tags=list(dict.fromkeys((*config.tags, *tags))) or None, group=group,
        )  # fmt: skip
    name = _given(config.run_name) or session.script()
    session.mirroring().begin(wandb.run, name, job_type=job_type)


def _given(text: str | None) -> str | None:
    return (text or "").strip() or None


def _sdk(needed_for: str) -> Any:
    """Import wandb, or say what keeps it from being imported."""
    missing = f"{needed_for} needs wandb, which is not installed; run: pip install 'wandb>=0.26'"
    try:
        import wandb
    except ImportError as error:
        if error.name == "wandb":
            raise ImportError(missing, name="wandb") from error
        broken = f"{needed_for} needs wandb, which is installed and fails to import: {error}"
        raise ImportError(broken, name="wandb") from error
    if not hasattr(wandb, "init"):  # a folder of offline runs, `wandb`, can be imported too
        raise ImportError(missing, name="wandb")
    return wandb


def _active() -> Any:
    """Return the active run; where wandb was never imported there is none."""
    return getattr(sys.modules.get("wandb"), "run", None)
