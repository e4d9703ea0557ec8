"""Delivers what is left, to every mirror that is on: ``lineage sync``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import MirrorUnready
from ..journal.kinds import open_shelf
from .chosen import MIRRORS, chosen_mirrors, chosen_wandb
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..registry import Lineage
    from .base import Mirror

__all__ = ["open_workers"]


def open_workers(
    store: Lineage,
    *,
    only: str | None = None,
    again: bool = False,
    environ: Mapping[str, str] | None = None,
) -> list[Worker]:
    """Return a worker for each mirror that is on; W&B is always among them, for its own runs.

    Args:
        store: an open store.
        only: one mirror, whether it is on or not.
        again: whether what a mirror lost is delivered anew.
        environ: the environment, by default that of the process.

    Raises:
        MirrorUnready: there is no mirror of that name.
        StoreError: env.toml cannot be read.
    """
    environ = os.environ if environ is None else environ
    if only is not None and only not in MIRRORS:
        raise MirrorUnready(f"{only!r} is no mirror; the known ones are {', '.join(MIRRORS)}")
    names = (only,) if only else dict.fromkeys(("wandb", *chosen_mirrors(environ)))
    return [Worker(store, _mirror(name, store, environ, again=again)) for name in names]


def _mirror(name: str, store: Lineage, environ: Mapping[str, str], *, again: bool) -> Mirror:
    if name == "wandb":
        from .wandb_mirror import WandbMirror
        from .wandb_sdk import forget_own_run

        place = chosen_wandb(environ)
        forget_own_run()
        leases = store.journal.shelf or open_shelf(store.journal.address)
        return WandbMirror(place, leases=leases, again=again)
    from .openlineage import OpenLineageMirror

    return OpenLineageMirror(environ)
