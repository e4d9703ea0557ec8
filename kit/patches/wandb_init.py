"""Tells every W&B run that a process starts what it is made from, and its tags."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from nemotron.lineage import LineageError

from .. import session
from .patch import Call, Patch

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["patch_for"]

_log = logging.getLogger(__name__)


def patch_for(names: Sequence[str], tags: Sequence[str]) -> Patch:
    """Return the patch that tells W&B runs of artifacts and tags.

    Args:
        names: pinned references: ``art://name:v7``, or ``entity/project/name:v7`` of W&B.
        tags: for the W&B run.
    """

    def started(_: Call, __: object, run: Any) -> None:
        if run is None:
            return
        run.tags = tuple(dict.fromkeys((*(run.tags or ()), *tags)))
        ours = [name for name in names if name.startswith("art://")]
        for name in ours:
            try:
                session.remember(name)
            except (LineageError, OSError) as error:
                _log.warning("%s is not recorded as an input: %s", name, error)
        theirs = [name for name in names if name not in ours]
        if theirs and not run.offline:
            # it asks the server, and the training thread never waits for one
            threading.Thread(
                target=_use, args=(run, theirs), name="lineage-wandb-inputs", daemon=True
            ).start()

    return Patch(
        name="wandb-init",
        package="wandb",
        distribution="wandb",
        install="pip install wandb",
        versions=">=0.20",
        target="wandb:init",
        parameters=(),
        after=started,
        why="every W&B run of this process shows what it is made from",
        upstream="https://docs.wandb.ai/ref/python/init",
        remove_when="never: it is asked for",
    )


def _use(run: Any, names: Sequence[str]) -> None:
    import wandb  # it started the run

    for name in names:
        try:
            run.use_artifact(name)
        except (wandb.Error, ValueError, TypeError, OSError) as error:
            _log.warning("W&B was not told that %s is an input: %s", name, error)
