"""Makes an effective profile: its parents, itself and the command line, laid over each other.

Tables are merged as they were written, before defaults: nested tables key by key, everything else
replaced. Where each value came from is kept, so that what is said about it names its place.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemotron.lineage import settings_folders

from .checking import check_value
from .layers import OVERRIDE, Layers, override
from .masking import literals, word
from .needs import check_needs
from .reading import MAY_BE_SECRET, open_file, read
from .remarks import Place, SettingsError, nearest
from .runconfig import KEYS, RunConfig
from .schema import DGXCLOUD, SLURM
from .variables import as_table, check_secrets, checked_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from .masking import Path
    from .reading import Settings
    from .remarks import Remark
    from .schema import Table

__all__ = ["Profile", "list_run_profiles", "load_run_profile", "resolve"]

_log = logging.getLogger(__name__)
_ADVICE = {
    "client_secret": 'write "env:NAME" or "file:/path"',
    "env_list": "take it from a secret: valueFrom = { secretKeyRef = { ... } }",
}


@dataclass(frozen=True, slots=True)
class Profile:
    """An effective profile, and where its values came from.

    Attributes:
        name: its name.
        config: all its values.
        origins: path of a value to the profile that said it, or ``OVERRIDE``; what is not there
            is a default.
        remarks: what is off, and does no harm.
    """

    name: str
    config: RunConfig
    origins: dict[Path, str]
    remarks: tuple[Remark, ...]


def load_run_profile(
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    overrides: Sequence[str] = (),
    accepts: Callable[[str], Collection[str]] | None = None,
) -> RunConfig:
    """Read a profile of env.toml. What is off and does no harm is logged.

    Args:
        name: the profile.
        path: as for ``load_settings``.
        overrides: ``key=value``, with dots where the key stands in a table: they win.
        accepts: gives the keys that the installed class of an executor takes. It is asked about
            keys that are not known here; those that it names go to ``RunConfig.options``.

    Raises:
        SettingsError: there is no env.toml, no such profile, or it makes no sense.
    """
    profile = resolve(read(path), name, overrides, accepts=accepts)
    for remark in profile.remarks:
        _log.warning("%s", remark)
    return profile.config


def list_run_profiles(path: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the names of all profiles, in the order of the file; none where there is no file.

    Args:
        path: as for ``load_settings``.

    Raises:
        SettingsError: as ``load_settings``.
    """
    settings = read(path)
    return [] if settings is None else list(settings.profiles)


def resolve(
    settings: Settings | None,
    name: str,
    overrides: Sequence[str] = (),
    *,
    accepts: Callable[[str], Collection[str]] | None = None,
) -> Profile:
    """Make a profile as ``load_run_profile`` does, and log nothing."""
    if settings is None:
        raise Place(table=name).error(
            f"there is no env.toml in {', '.join(settings_folders(os.curdir))}",
            "write one there, or set NEMOTRON_ENV_FILE to the path of one",
        )
    layers = Layers(str(settings.path), settings.profiles)
    layers.add_profile(name)
    values = layers.values
    variables = values.get("env_vars", {})
    if not isinstance(variables, dict):
        here = layers.place("env_vars")
        layers.lay({"env_vars": as_table(variables, here)}, layers.origin("env_vars"))
    for text in overrides:
        layers.lay(override(text), OVERRIDE)
    executor = values.setdefault("executor", "local")
    check_value(KEYS["executor"], executor, layers.place("executor"))
    options = _take_options(layers, executor, accepts)
    for key, value in values.items():
        if key not in ("env_vars", "secrets"):
            check_value(KEYS[key], value, layers.place(key), executor)
    check_needs(values, executor, Place(str(settings.path), name))
    if "env_vars" in values:
        values["env_vars"] = checked_variables(
            as_table(values["env_vars"], layers.place("env_vars")), executor,
            lambda variable: layers.place("env_vars", variable),
        )  # fmt: skip
    if "secrets" in values:
        check_secrets(values["secrets"], layers.place("secrets"))
    remarks = _look_for_secrets(layers, is_open=settings.is_open)
    return Profile(name, RunConfig(**values, options=options), layers.origins, remarks)


def _look_for_secrets(layers: Layers, *, is_open: bool) -> tuple[Remark, ...]:
    """Remark on each secret that stands in the profile; refuse those that others can read."""
    remarks = []
    for path in literals(layers.values):
        if path[0] not in MAY_BE_SECRET:
            continue
        here = layers.place(*path)
        if is_open and here.file is not None:
            raise SettingsError(open_file(here))
        form = "file" if layers.values["executor"] in (SLURM, DGXCLOUD) else "env"
        otherwise = f'write secrets = {{ {word(path[-1])} = "{form}" }} instead'
        advice = _ADVICE.get(path[0], otherwise)
        remarks.append(here.remark("holds a secret itself", advice))
    return tuple(remarks)


def _take_options(
    layers: Layers, executor: str, accepts: Callable[[str], Collection[str]] | None
) -> Table:
    """Take out what only the installed class knows; refuse what neither of us knows."""
    values = layers.values
    strange = [key for key in values if key not in KEYS or not KEYS[key].serves(executor)]
    known = frozenset(accepts(executor)) if strange and accepts is not None else frozenset()
    for key in strange:
        if key in known:
            continue
        if key not in KEYS:
            raise layers.place(key).error(
                "is no key of a profile", nearest(key, KEYS, "correct its name, or remove it")
            )
        raise layers.place(key).error(
            f"is a key of {', '.join(KEYS[key].executors)}, and the executor is {executor}",
            "remove it, or choose another executor",
        )
    return {key: values.pop(key) for key in strange}
