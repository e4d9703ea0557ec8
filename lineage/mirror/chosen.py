"""Which mirrors are on, and where W&B is: ``LINEAGE_MIRRORS``, env.toml, ``WANDB_*``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import StoreError
from ..settings import find_settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MIRRORS", "Wandb", "chosen_mirrors", "chosen_wandb"]

MIRRORS = ("wandb", "openlineage")


@dataclass(frozen=True, slots=True)
class Wandb:
    """Where W&B is, for runs that have no receipt.

    Attributes:
        project: its project, or None.
        entity: team or user; None means that of the login.
        base_url: address of the server; None leaves it to the SDK.
        all_runs: whether every run of the store is mirrored, or those that W&B has a run for.
    """

    project: str | None = None
    entity: str | None = None
    base_url: str | None = None
    all_runs: bool = False


def chosen_mirrors(environ: Mapping[str, str], folder: str = os.curdir) -> tuple[str, ...]:
    """Return the mirrors that are on for all runs of the store.

    Raises:
        StoreError: env.toml cannot be read, or one of them is not known.
    """
    named = [each.strip() for each in environ.get("LINEAGE_MIRRORS", "").split(",")]
    named = [each for each in named if each]
    section = _section(environ, folder, "artifacts")
    backends = section.get("backends") or [section.get("backend")]
    if isinstance(backends, list):
        named += [each for each in backends if each in MIRRORS]
    if section.get("wandb") is True:
        named.append("wandb")
    for each in named:
        if each not in MIRRORS:
            raise StoreError(
                f"LINEAGE_MIRRORS names {each!r}, which is no mirror; the known ones are "
                f"{', '.join(MIRRORS)}"
            )
    return tuple(dict.fromkeys(named))


def chosen_wandb(environ: Mapping[str, str], folder: str = os.curdir) -> Wandb:
    """Return where W&B is: ``[wandb]`` of env.toml, else ``WANDB_*``.

    Raises:
        StoreError: env.toml cannot be read.
    """
    section = _section(environ, folder, "wandb")

    def value(key: str) -> str | None:
        found = section.get(key) or environ.get(f"WANDB_{key.upper()}")
        return found.strip() or None if isinstance(found, str) else None

    return Wandb(
        value("project"), value("entity"), value("base_url"),
        "wandb" in chosen_mirrors(environ, folder),
    )  # fmt: skip


def _section(environ: Mapping[str, str], folder: str, name: str) -> dict[str, Any]:
    path = find_settings(environ, folder)
    found = read_settings(path).get(name, {}) if path is not None else {}
    return found if isinstance(found, dict) else {}
