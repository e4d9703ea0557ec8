"""The functions that the kit documents for checkpoints: each asks for one patch, and is told.

``nemotron.kit.track`` does all of it in one line.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from nemotron.lineage import LineageError

from . import session
from .patches import wandb_ids
from .patches.imports import ImportWatch
from .patches.naming import check_name
from .patches.source import find_module
from .patches.wandb_init import patch_for
from .training import is_helper, observe, patches_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .patches.patch import Status

__all__ = [
    "patch_nemo_rl_checkpoint_logging",
    "patch_wandb_checkpoint_logging",
    "patch_wandb_init_for_lineage",
    "patch_wandb_runid_for_seeded_random",
]

_log = logging.getLogger(__name__)


def patch_wandb_checkpoint_logging(
    artifact_name: str | None = None, *, strict: bool = False
) -> tuple[Status, ...]:
    """Record every checkpoint that Megatron-Bridge saves, linked to what it was made from.

    Call it on every rank, before training; calling it twice is calling it once. Megatron-Bridge is
    not imported by it. Training never fails because of it.

    Args:
        artifact_name: what the checkpoints are called; by default after their folder.
        strict: raise when nothing will be recorded, rather than warn.

    Returns:
        What became of each patch.

    Raises:
        URIError: ``artifact_name`` is no name.
        LineageError: strict, and Megatron-Bridge is absent, not known or has changed.
    """
    return _patch("megatron-bridge", artifact_name, strict=strict)


def patch_nemo_rl_checkpoint_logging(
    artifact_name: str | None = None, *, strict: bool = False
) -> tuple[Status, ...]:
    """Record every checkpoint that NeMo-RL saves, once it has its name, and those it prunes.

    Call it in the driver, before training; calling it twice is calling it once.

    Args, returns and raises: as ``patch_wandb_checkpoint_logging``.
    """
    return _patch("nemo-rl", artifact_name, strict=strict)


def patch_wandb_runid_for_seeded_random() -> Status | None:
    """Have artifacts of wandb get ids that no seed and no fork repeats.

    Where wandb is right already nothing is done; where it is not imported yet, it is looked at
    when it is. The script's own random numbers are left alone.

    Returns:
        What was done; None when wandb is not imported yet.
    """
    module = sys.modules.get("wandb.sdk.lib.runid")
    if module is not None:
        status = wandb_ids.repair(module)
        _log.debug("%s", status)
        return status
    if find_module("wandb") is not None:
        # by a watch of its own: it outlasts the run, and a store that is chosen later
        ImportWatch().when_imported("wandb.sdk.lib.runid", wandb_ids.repair)
    return None


def patch_wandb_init_for_lineage(
    *, artifact_qualified_names: Sequence[str], tags: Sequence[str] | None = None
) -> Status:
    """Have every W&B run that this process starts show its inputs and tags.

    The inputs go the way of all others: into the lineage run, and from there to W&B. An artifact
    of W&B that the store does not know is brought over now.

    Args:
        artifact_qualified_names: pinned references: ``art://name:v7``, as
            ``register_resolvers_from_config`` returns them, or ``entity/project/name:v7``.
        tags: for the W&B run.

    Returns:
        What became of the patch.
    """
    # a spawned helper that imports the script once more asks no store and no W&B
    asked = not is_helper()
    names = tuple(artifact_qualified_names) if asked else ()
    patch = patch_for(names, tuple(tags or ()))
    session.patcher().revert(patch)  # what was asked for last counts
    return session.patcher().apply(patch, asked=asked)


def _patch(framework: str, artifact_name: str | None, *, strict: bool) -> tuple[Status, ...]:
    if is_helper():
        return ()
    if artifact_name is not None:
        check_name(artifact_name)
    patches = patches_of(framework)
    statuses = tuple(session.patcher().apply(patch, asked=True) for patch in patches)
    dead = [each for each in statuses if not each.state.is_live and not each.patch.is_optional]
    if dead and strict:
        raise LineageError(f"no checkpoint would be recorded: {'; '.join(map(str, dead))}")
    if len(dead) < len([each for each in patches if not each.is_optional]):
        observe(artifact_name=artifact_name)
    return statuses
