"""Which store is meant: the argument, ``LINEAGE_STORE``, env.toml, or the default."""

from __future__ import annotations

import os

from .errors import StoreError, StoreUnsuitable
from .filesystems import FLEETING, LOCAL, data_home, filesystem

TYPE_CHECKING = False
if TYPE_CHECKING:  # as typing's, without its import: ``lineage resolve`` stands on this module
    from collections.abc import Iterator, Mapping
    from typing import Any

__all__ = ["choose_store", "find_settings", "read_settings", "settings_folders"]

# (address, where it comes from in words, what the user should know about that place or None)
StoreChoice = tuple[str, str, str | None]


def choose_store(
    argument: str | os.PathLike[str] | None,
    environ: Mapping[str, str] | None = None,
    folder: str | os.PathLike[str] = ".",
) -> StoreChoice:
    """Say which store is meant: (address, why this one, warning or None).

    Args:
        argument: what the caller named, or None.
        environ: for ``LINEAGE_STORE``, ``NEMOTRON_ENV_FILE``, ``XDG_DATA_HOME``, ``HOME``.
        folder: where the search for env.toml begins.
    """
    environ = os.environ if environ is None else environ
    if argument is not None:
        return os.fspath(argument), "named by the caller", None
    if environ.get("LINEAGE_STORE"):
        return environ["LINEAGE_STORE"], "LINEAGE_STORE", None
    path = find_settings(environ, folder)
    if path is not None:
        section = read_settings(path).get("artifacts", {})
        if not isinstance(section, dict):
            raise StoreUnsuitable(f"{path}: artifacts must be a section, [artifacts]")
        store = section.get("store")
        if store is not None:
            if not isinstance(store, str) or not store:
                raise StoreUnsuitable(
                    f"{path}: [artifacts] store must be an address or a path, not {store!r}"
                )
            if "://" not in store and store != "memory:":
                store = os.path.join(os.path.dirname(path), os.path.expanduser(store))
            return store, f"[artifacts] store of {path}", None
    return _default(environ)


def find_settings(environ: Mapping[str, str], folder: str | os.PathLike[str]) -> str | None:
    """Find env.toml: ``NEMOTRON_ENV_FILE``, else in the ``settings_folders``.

    Raises:
        StoreError: NEMOTRON_ENV_FILE names a file that is not there.
    """
    named = environ.get("NEMOTRON_ENV_FILE")
    if named:
        path = os.path.abspath(os.path.expanduser(named))
        if not os.path.isfile(path):
            raise StoreError(f"NEMOTRON_ENV_FILE names {named}, which is not there; correct it")
        return path
    for here in settings_folders(folder):
        path = os.path.join(here, "env.toml")
        if os.path.isfile(path):
            return path
    return None


def settings_folders(folder: str | os.PathLike[str]) -> Iterator[str]:
    """Yield where env.toml is searched: upwards, not beyond a folder with a pyproject.toml."""
    here = os.path.abspath(folder)
    while True:
        yield here
        parent = os.path.dirname(here)
        if parent == here or os.path.isfile(os.path.join(here, "pyproject.toml")):
            return
        here = parent


def read_settings(path: str) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        StoreError: it cannot be read; the parser's line and column are in the message.
    """
    import tomllib  # only where there is an env.toml

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError, RecursionError) as error:  # also bytes that are no UTF-8
        raise StoreError(f"{path} cannot be read: {error}") from error


def _default(environ: Mapping[str, str]) -> StoreChoice:
    home = data_home(environ)
    base = os.path.join(home, "nemotron-lineage")
    kind, name = filesystem(base)
    if kind not in (LOCAL, FLEETING):
        path = os.path.join(base, "journal")
        return path, f"the default: a folder, since {home} is on {name}", None
    path = os.path.join(base, "lineage.db")
    warning = None
    if kind is FLEETING:
        warning = (
            f"the store {path} is on {name}, which is thrown away with this container; set "
            "LINEAGE_STORE to a folder that stays"
        )
    return path, "the default: one file on this host", warning
