"""Repairs the ids of W&B artifacts where a release of wandb draws them twice.

0.23.1 draws them from the random numbers that training scripts seed alike; 0.24.0 to 0.25.1 from
a generator that forked workers share. Either way two artifacts get one id, and the server refuses
the second ("Invalid Client ID digest"). The behaviour is probed, nothing is done where it is right,
and the script's own random numbers are left alone.
"""

from __future__ import annotations

import os
import random
import sys
from typing import TYPE_CHECKING, Any

from .patch import Patch, State, Status
from .source import installed_version

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["PATCH", "look", "repair"]

_COPIES = ("wandb.sdk.artifacts.artifact",)  # modules that took the function by its name
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_FORK_FAULT = ("0.24.0", "0.26.0")

PATCH = Patch(
    name="wandb-artifact-ids",
    package="wandb",
    distribution="wandb",
    install="pip install wandb",
    versions=">=0.23.1,<0.26",
    target="wandb.sdk.lib.runid:generate_fast_id",
    parameters=("length",),
    why="two artifacts of scripts that are seeded alike, or of forked workers, get two ids",
    upstream="https://github.com/wandb/wandb/issues/11064",
    remove_when="wandb below 0.26 is no longer in use",
)


def repair(runid: ModuleType) -> Status:
    """Repair the module that makes ids, and say what was done.

    Args:
        runid: ``wandb.sdk.lib.runid``.
    """
    make = getattr(runid, "generate_fast_id", None)
    if make is None:
        return Status(PATCH, State.ALREADY, "this release draws its ids from the system")
    if make is _fast_id or getattr(runid, "__lineage_reseeded__", False):
        return Status(PATCH, State.ALREADY, "it was repaired before")
    if _follows_the_seed(make):
        runid.generate_fast_id = _fast_id  # type: ignore[attr-defined]  # it has one
        for name in _COPIES:
            copy = sys.modules.get(name)
            if getattr(copy, "generate_fast_id", None) is make:
                copy.generate_fast_id = _fast_id  # type: ignore[union-attr]  # it has one
        return Status(PATCH, State.APPLIED, "ids no longer follow random.seed")
    version = installed_version("wandb", "wandb")
    own = getattr(runid, "_random", None)
    if version is None or not isinstance(own, random.Random):
        return Status(PATCH, State.ALREADY, "ids do not follow random.seed")
    from packaging.version import Version  # only where wandb is

    first, right = map(Version, _FORK_FAULT)
    if first <= Version(version) < right:
        os.register_at_fork(after_in_child=own.seed)
        runid.__lineage_reseeded__ = True  # type: ignore[attr-defined]  # a note of ours
        return Status(PATCH, State.APPLIED, "forked workers draw ids of their own")
    return Status(PATCH, State.ALREADY, f"wandb {version} is right")


def look() -> Status:
    """Say whether the installed wandb has one of the faults, without importing it."""
    from packaging.specifiers import SpecifierSet  # only for the doctor

    version = installed_version("wandb", "wandb")
    if version is None:
        return Status(PATCH, State.ABSENT, "wandb is not installed")
    if version not in SpecifierSet(PATCH.versions, prereleases=True):
        return Status(PATCH, State.ALREADY, f"wandb {version} is right")
    said = f"wandb {version} repeats ids; call patch_wandb_runid_for_seeded_random()"
    return Status(PATCH, State.WAITING, said)


def _follows_the_seed(make: Any) -> bool:
    """Draw twice after the same seed, and put the script's random numbers back as they were."""
    state = random.getstate()
    try:
        random.seed(0)
        first = make(128)
        random.seed(0)
        return bool(make(128) == first)
    finally:
        random.setstate(state)


def _fast_id(length: int = 8) -> str:
    """Draw an id from the system: no seed and no fork repeats it."""
    return "".join(random.SystemRandom().choices(_LETTERS, k=length))
