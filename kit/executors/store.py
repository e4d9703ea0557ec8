"""Which store the job works in, as the job sees it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nemotron.lineage import choose_store

from ..config.schema import DOCKER, LOCAL, SLURM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..config.runconfig import RunConfig

__all__ = ["store_of_job"]

_LOCAL_SCHEMES = ("file://", "sqlite:///")


def store_of_job(
    config: RunConfig, environ: Mapping[str, str], store: str | None = None
) -> tuple[str | None, str | None]:
    """Return the address of the store for a job, and what the user should know about it.

    Args:
        config: the profile.
        environ: the environment that submits.
        store: the store that was named, in place of the one of the settings.

    Returns:
        (None, why) where the job would not find that store.
    """
    address = choose_store(store, environ)[0]
    scheme = next((each for each in _LOCAL_SCHEMES if address.startswith(each)), "")
    path = address.removeprefix(scheme)
    if address == "memory:":
        return None, "the store memory: is gone with this process; the job gets the default one"
    if "://" in path:
        return address, None
    path = os.path.abspath(os.path.expanduser(path))
    mounts = [*(config.mounts or ()), *(config.volumes or ()), *(config.container_mounts or ())]
    if config.executor == SLURM and config.tunnel != "ssh" and not config.container_image:
        return scheme + path, None
    if config.executor == LOCAL:
        return scheme + path, None
    if config.executor in (DOCKER, SLURM) and config.tunnel != "ssh":
        inside = _inside(path, [each for each in mounts if isinstance(each, str)])
        if inside is not None:
            return scheme + inside, None
        advice = f"add {os.path.dirname(path)} to mounts"
    else:
        advice = "set LINEAGE_STORE in env_vars of the profile to the store as the job sees it"
    return None, f"the job gets no store: {path} is on this side alone; {advice}"


def _inside(path: str, mounts: list[str]) -> str | None:
    """Return where a path is in the container, or None."""
    for mount in mounts:
        source, _, target = mount.partition(":")
        source, target = source.rstrip("/"), target.partition(":")[0].rstrip("/")
        if target and (path == source or path.startswith(f"{source}/")):
            return target + path[len(source) :]
    return None
