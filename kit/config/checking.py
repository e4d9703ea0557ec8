"""Checks single keys: their names, their types, and the words that they may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .masking import word
from .remarks import nearest
from .schema import KINDS, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .remarks import Place
    from .schema import Key

__all__ = ["check_value", "with_main_names"]

_TYPES = {
    str: "a text", bool: "true or false", int: "a whole number", float: "a number",
    list: "a list", dict: "a table",
}  # fmt: skip


def check_value(key: Key, value: Any, place: Place, executor: str = "") -> None:
    """Check type and choice of a value; in a profile, a text with ``${`` is left to OmegaConf.

    Args:
        key: what the value is for.
        value: the value.
        place: where it stands.
        executor: the executor of the profile; empty where the key is none of a profile.

    Raises:
        SettingsError: the value has another type, or is none of the choices.
    """
    if executor and isinstance(value, str) and "${" in value:
        return
    kinds = [KINDS[kind] for kind in key.kinds_for(executor)]
    if not any(kind.holds(value) for kind in kinds):
        wanted = " or ".join(kind.words for kind in kinds)
        found = _TYPES.get(type(value), "a date or time")
        if isinstance(value, (list, dict)) and any(found in kind.words for kind in kinds):
            found = f"{found} of something else"
        raise place.error(
            f"must be {wanted}, not {found}", f"write {word(place.path[-1])} = {kinds[0].example}"
        )
    if key.choices and value not in key.choices:
        raise place.error(
            f"{word(value)} is none of {', '.join(key.choices)}",
            nearest(value, key.choices, "choose one of them"),
        )


def with_main_names(table: Mapping[str, Any], keys: Mapping[str, Key], place: Place) -> Table:
    """Return a table in which keys of other names stand under their main ones.

    Raises:
        SettingsError: one key stands there under two names.
    """
    main = {other: name for name, key in keys.items() for other in key.other_names}
    answer: Table = {}
    said: dict[str, str] = {}
    for name, value in table.items():
        known = main.get(name, name)
        if known in said:
            raise place.below(name).error(
                f"is another name of {said[known]}, which is set too", "keep one of them"
            )
        said[known] = name
        answer[known] = value
    return answer
