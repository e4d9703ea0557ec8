"""The sections of env.toml that are no profiles: ``[wandb]``, ``[artifacts]`` and the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .checking import check_value, with_main_names
from .masking import names_secret
from .remarks import Place, nearest
from .schema import SECTIONS, Key, Table

if TYPE_CHECKING:
    from .remarks import Remark

__all__ = ["Artifacts", "read_artifacts", "read_lenient", "read_wandb"]

_BACKENDS = ("file", "wandb")


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The section ``[artifacts]``, whichever of its spellings was used.

    Attributes:
        store: address or path of the lineage store, as it was written.
        backends: where artifacts also go: ``file``, ``wandb``.
        root: path or address that the backend ``file`` writes to, as it was written.
    """

    store: str | None = None
    backends: tuple[str, ...] = ()
    root: str | None = None


def read_wandb(table: Table, place: Place, remarks: list[Remark]) -> Table:
    """Return the section ``[wandb]`` under its main names; what is ignored becomes a remark.

    Raises:
        SettingsError: a secret, a wrong type or word, or two names of one key.
    """
    for name in table:
        if names_secret(name):
            raise place.below(name).error(
                "is a secret, and this file is no place for it",
                "remove it and run: wandb login",
            )
    section = read_lenient(table, place, remarks)
    project = section.pop("project", "").strip()
    if project:
        section["project"] = project
    elif "project" in table:
        remarks.append(
            place.below("project").remark(
                "is blank, so tracking stays off", "name a project, or remove it"
            )
        )
    elif section.get("entity"):
        remarks.append(
            place.below("entity").remark(
                "stands without a project, so tracking stays off", "add project"
            )
        )
    if "tags" in section:
        section["tags"] = tuple(section["tags"])
    return section


def read_lenient(table: Table, place: Place, remarks: list[Remark]) -> Table:
    """Return a section without the keys that are not known; these become remarks.

    Raises:
        SettingsError: a wrong type or word, or two names of one key.
    """
    keys = SECTIONS[place.table or ""]
    section = with_main_names(table, keys, place)
    for name in list(section):
        here = place.below(name)
        if name in keys:
            check_value(keys[name], section[name], here)
        else:
            del section[name]
            advice = nearest(name, keys, f"the known keys are {', '.join(keys)}")
            remarks.append(here.remark("is not known, and is ignored", advice))
    return section


def read_artifacts(table: Table, place: Place) -> Artifacts:
    """Return the section ``[artifacts]``, from either spelling.

    Raises:
        SettingsError: an unknown key, a wrong type or word, or spellings that contradict.
    """
    keys = SECTIONS["artifacts"]
    for name, value in table.items():
        here = place.below(name)
        if name not in keys:
            raise here.error(
                "is no key of this section",
                nearest(name, keys, f"the known keys are {', '.join(keys)}"),
            )
        check_value(keys[name], value, here)
    _refuse_two_spellings(table, place)
    manifest = table.get("manifest", {})
    for name, value in manifest.items():
        here = Place(place.file, "artifacts.manifest", (name,))
        if name != "root":
            raise here.error("is no key of this section", "the only one is root")
        check_value(Key("path or address"), value, here)
    root = manifest.get("root", table.get("root"))
    backends = [table["backend"]] if "backend" in table else table.get("backends")
    if backends is None:
        backends = ["file"] if root is not None else []
    for each in backends:
        check_value(Key("backend", choices=_BACKENDS), each, place.below("backends"))
    if table.get("wandb"):
        backends = [*backends, "wandb"]
    _refuse_url(table, place)
    return Artifacts(table.get("store"), tuple(dict.fromkeys(backends)), root)


def _refuse_two_spellings(table: Table, place: Place) -> None:
    told = [name for name in ("backend", "backends") if name in table]
    later = {"manifest": "[artifacts.manifest]", "wandb": "wandb"}
    clash = [*told, *(shown for name, shown in later.items() if told and name in table)]
    if len(clash) < 2 and "root" in table and "manifest" in table:
        clash = ["root", "[artifacts.manifest]"]
    if len(clash) > 1:
        raise place.error(
            f"{' and '.join(clash)} are two spellings of one thing", "keep one of them"
        )


def _refuse_url(table: Table, place: Place) -> None:
    root = table.get("root", "")
    if "://" in root and not root.startswith("file://"):
        raise place.below("root").error(
            "is an address, and the backend file writes to a folder",
            "name a folder, or write it as root of [artifacts.manifest]",
        )
