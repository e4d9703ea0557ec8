"""Tables laid over each other, with a note of where each value came from."""

from __future__ import annotations

import copy
import tomllib
from typing import TYPE_CHECKING, Any

from .checking import with_main_names
from .masking import word
from .remarks import Place, nearest
from .runconfig import KEYS
from .schema import SECTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .masking import Path
    from .schema import Table

__all__ = ["OVERRIDE", "Layers", "override"]

OVERRIDE = ""  # where a value of the command line came from; no profile has this name


class Layers:
    """The values of a profile as they add up.

    Attributes:
        values: by key, under main names.
        origins: path of a value to the profile that said it, or ``OVERRIDE``.
    """

    def __init__(self, file: str, profiles: Mapping[str, Table]) -> None:
        self.values: Table = {}
        self.origins: dict[Path, str] = {}
        self._file = file
        self._profiles = profiles

    def add_profile(self, name: str, below: Path = ()) -> None:
        """Lay the parents of a profile, from left to right, and then itself.

        Raises:
            SettingsError: it is not there, or goes in a circle, or has one key under two names.
        """
        here = Place(self._file, below[-1], ("extends",)) if below else Place(self._file)
        names = ", ".join(map(word, self._profiles))
        there_are = f"the profiles are {names}" if names else "there are no profiles"
        if name in SECTIONS:
            fact = "is reserved and cannot be extended" if below else "is not a profile"
            raise here.error(f"{name} {fact}", there_are)
        if name not in self._profiles:
            near = nearest(name, self._profiles, "")
            advice = f"{near} {there_are}" if near else there_are
            raise here.error(f"there is no profile {word(name)}", advice)
        if name in below:
            chain = " -> ".join(map(word, (*below[below.index(name) :], name)))
            raise here.error(f"goes in a circle: {chain}", "take one of them out")
        table = with_main_names(self._profiles[name], KEYS, Place(self._file, name))
        parents = table.pop("extends", [])
        if isinstance(parents, str):
            parents = [parents]
        if not isinstance(parents, list) or not all(isinstance(each, str) for each in parents):
            raise Place(self._file, name, ("extends",)).error(
                "must be a text or a list of texts", 'write extends = "..."'
            )
        for parent in parents:
            self.add_profile(parent, (*below, name))
        self.lay(table, name)

    def lay(self, table: Table, origin: str) -> None:
        """Lay a table over what is there."""
        self._lay(self.values, table, origin, ())

    def origin(self, *path: str) -> str:
        """Say where a value came from; of a table, where its first value did."""
        found = [at for at in self.origins if at[: len(path)] == path or path[: len(at)] == at]
        return self.origins[found[0]] if found else OVERRIDE

    def place(self, *path: str) -> Place:
        """Return the place where a value was said."""
        origin = self.origin(*path)
        return Place(path=path) if origin == OVERRIDE else Place(self._file, origin, path)

    def _lay(self, values: Table, table: Table, origin: str, above: Path) -> None:
        for key, value in table.items():
            path = (*above, key)
            if isinstance(value, dict) and value:
                if not isinstance(values.get(key), dict):
                    self._forget(path)
                    values[key] = {}
                self._lay(values[key], value, origin, path)
            elif not (isinstance(value, dict) and isinstance(values.get(key), dict)):
                self._forget(path)
                values[key] = copy.deepcopy(value)
                self.origins[path] = origin

    def _forget(self, path: Path) -> None:
        for at in [at for at in self.origins if at[: len(path)] == path]:
            del self.origins[at]


def override(text: str) -> Table:
    """Read ``key=value`` of the command line; a dot leads into a table.

    The value is TOML, or a text where the key is one or TOML cannot read it.

    Raises:
        SettingsError: there is no key, or no ``=``.
    """
    name, is_given, said = text.partition("=")
    if not is_given or not name:
        raise Place(path=(name,) if name else ()).error("is no override", "write it as key=value")
    first, *rest = name.split(".")
    first = next((main for main, key in KEYS.items() if first in key.other_names), first)
    is_text = first in ("env_vars", "secrets") or (first in KEYS and KEYS[first].kind == "str")
    value = said if is_text else _toml(said)
    for key in reversed(rest):
        value = {key: value}
    return {first: value}


def _toml(text: str) -> Any:
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return document["value"] if document.keys() == {"value"} else text
