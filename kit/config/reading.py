"""Finds and reads env.toml: its sections are checked, its profiles wait until one is asked for."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nemotron.lineage import StoreError, find_settings, read_settings

from .masking import line, literals, word
from .remarks import Place, Remark
from .schema import SECTIONS, Table
from .sections import Artifacts, read_artifacts, read_lenient, read_wandb

__all__ = [
    "MAY_BE_SECRET",
    "Settings",
    "WandbState",
    "load_settings",
    "open_file",
    "read",
    "wandb_state",
]

WandbState = Literal["file missing", "section missing", "project missing", "enabled"]

_log = logging.getLogger(__name__)
# Where a secret is meant as one. Elsewhere what looks like a key may be a commit in an image's tag.
MAY_BE_SECRET = ("client_secret", "app_secret", "env_list", "env_vars")
_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Settings:
    """What an env.toml says. It prints without values, since they may be secret.

    Attributes:
        path: the file.
        sections: the names of all its tables, in its order.
        wandb: the section ``[wandb]``, None where there is none; ``name`` stands as ``run_name``,
            ``tags`` is a tuple, a blank ``project`` and unknown keys are left out.
        artifacts: the section ``[artifacts]``, None where there is none.
        cache: the section ``[cache]``.
        cli: the section ``[cli]``.
        profiles: all other tables, as they were written.
        is_open: whether group or others can read the file.
        remarks: what is off, and does no harm.
    """

    path: Path
    sections: tuple[str, ...] = field(repr=False)
    wandb: Table | None = field(repr=False)
    artifacts: Artifacts | None = field(repr=False)
    cache: Table = field(repr=False)
    cli: Table = field(repr=False)
    profiles: dict[str, Table] = field(repr=False)
    is_open: bool = field(repr=False)
    remarks: tuple[Remark, ...] = field(repr=False)


def load_settings(path: str | os.PathLike[str] | None = None) -> Settings | None:
    """Read env.toml. What is off and does no harm is logged.

    Args:
        path: the file; by default ``NEMOTRON_ENV_FILE``, else env.toml in the working folder or
            above it, not beyond a pyproject.toml.

    Returns:
        The settings; None where there is no env.toml and no path was given.

    Raises:
        SettingsError: the file is not there, is no TOML, or a section makes no sense.
    """
    settings = read(path)
    for remark in settings.remarks if settings else ():
        _log.warning("%s", remark)
    return settings


def wandb_state(settings: Settings | None) -> WandbState:
    """Say whether W&B tracking is on, and what is missing where it is off."""
    if settings is None:
        return "file missing"
    if settings.wandb is None:
        return "section missing"
    return "enabled" if settings.wandb.get("project") else "project missing"


def read(path: str | os.PathLike[str] | None = None) -> Settings | None:
    """Read env.toml as ``load_settings`` does, and log nothing."""
    file = _locate(path)
    if file is None:
        return None
    document = _parse(file)
    remarks: list[Remark] = []
    sections: dict[str, Any] = {"wandb": None, "artifacts": None, "cache": {}, "cli": {}}
    for name, table in document.items():
        place = Place(file, name)
        if not isinstance(table, dict):
            raise Place(file, path=(name,)).error(
                "stands outside of the tables", f"move it into one, or write [{word(name)}]"
            )
        if name == "wandb":
            sections[name] = read_wandb(table, place, remarks)
        elif name == "artifacts":
            sections[name] = read_artifacts(table, place)
        elif name in SECTIONS:
            sections[name] = read_lenient(table, place, remarks)
        elif not _PROFILE.fullmatch(name):
            raise place.error(
                "is no name of a profile", "use letters, digits, - and _, but begin with neither"
            )
    is_open = bool(os.stat(file).st_mode & 0o077)
    if is_open:
        remarks += [
            open_file(Place(file, path[0], path[1:]))
            for path in literals(document)
            if path[1] in MAY_BE_SECRET
        ][:1]
    profiles = {name: table for name, table in document.items() if name not in SECTIONS}
    return Settings(
        Path(file), tuple(document), **sections, profiles=profiles, is_open=is_open,
        remarks=tuple(remarks),
    )  # fmt: skip


def open_file(place: Place) -> Remark:
    """Say that others can read the secret at that place."""
    return place.remark(
        "holds a secret itself, in a file that group or others can read",
        f"run: chmod 600 {place.file}",
    )


def _locate(path: str | os.PathLike[str] | None) -> str | None:
    if path is None:
        try:
            return find_settings(os.environ, os.curdir)
        except StoreError as error:
            named = os.environ["NEMOTRON_ENV_FILE"]
            fact = "is not there, and NEMOTRON_ENV_FILE names it"
            raise Place(named).error(fact, "correct that variable, or unset it") from error
    file = os.path.abspath(os.path.expanduser(os.fspath(path)))
    if not os.path.isfile(file):
        raise Place(file).error("is not there", "correct the path of env.toml")
    return file


def _parse(file: str) -> Table:
    try:
        return read_settings(file)
    except StoreError as error:
        cause = error.__cause__
        if isinstance(cause, OSError):
            raise Place(file).error(
                f"cannot be read ({cause.strerror})", "correct its permissions"
            ) from error
        raise Place(file).error(f"is no TOML: {line(str(cause))}", "correct it there") from error
