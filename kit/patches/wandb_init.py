"""Tells every W&B run that a process starts what it is made from, and its tags."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from nemotron.lineage import LineageError, look_in_wandb

from .. import session
from .patch import Call, Patch

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["patch_for"]

_log = logging.getLogger(__name__)

_SLASHES = 2  # of entity/project/name:v7


def patch_for(names: Sequence[str], tags: Sequence[str]) -> Patch:
    """Return the patch that tells W&B runs of artifacts and tags.

    Args:
        names: pinned references: ``art://name:v7``, or ``entity/project/name:v7`` of W&B.
        tags: for the W&B run.
    """
    known = [each for each in map(_known, names) if each is not None]

    def started(_: Call, __: object, run: Any) -> None:
        if run is None:
            return
        run.tags = tuple(dict.fromkeys((*(run.tags or ()), *tags)))
        for name in known:
            try:
                session.remember(name)
            except (LineageError, OSError) as error:
                _log.warning("%s is not recorded as an input: %s", name, error)
        called = getattr(run, "name", None) or session.script()
        session.mirroring().begin(run, called, job_type=getattr(run, "job_type", None))

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


def _known(name: str) -> str | None:
    """Return the pinned reference of an artifact; one of W&B is brought over when it is new."""
    if name.startswith("art://"):
        return name
    try:
        store = session.store()
        if store.elsewhere is None and name.count("/") == _SLASHES:
            entity, project, _ = name.split("/")
            look_in_wandb(store, project=project, entity=entity)
        return str(store.resolve(name).uri)
    except (LineageError, OSError) as error:
        _log.warning("%s is not recorded as an input: %s", name, error)
        return None
