"""Shows settings without their secrets, and words without what could break a sentence.

The names of variables are judged more strictly than those of a record: nothing is lost when the
value of ``MY_KEY`` is masked here, while in a record it may be the key of a dictionary.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from nemotron.lineage import Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "HIDDEN",
    "Path",
    "dotted",
    "holds_secret",
    "line",
    "literals",
    "names_secret",
    "shown",
    "word",
]

HIDDEN = "[redacted]"
Path = tuple[str, ...]  # the keys down to a value

_SECRET_WORDS = {"CREDENTIAL", "CREDENTIALS", "KEY", "SECRET", "TOKEN"}
_POINTERS = {"DIR", "FILE", "ID", "NAME", "PATH", "TYPE", "URL"}  # they say where a secret is
_FLAGS = {"", "0", "1", "false", "no", "off", "on", "true", "yes"}
_REFERENCE = re.compile(r"env:[A-Za-z_]\w*|file:/.+|secret:[\w.-]+(?:/[\w.-]+)?")
# their values name secrets and the places of secrets
_ABOUT_SECRETS = {"secret_vars", "secrets"}
_PLAIN = re.compile(r"[\w./:@+~-]+")
_LONG = 80


def names_secret(name: str) -> bool:
    """Tell whether a variable of this name holds a secret."""
    words = [part for part in re.split(r"[^A-Z0-9]+", name.upper()) if part]
    if not words or words[-1] in _POINTERS:
        return False
    if Redactor().value("x", name) != "x":
        return True
    if words[-1] == "TOKEN":  # EOS_TOKEN is a piece of text
        return False
    return bool(_SECRET_WORDS.intersection(words)) or any(w.startswith("PASSW") for w in words)


def holds_secret(name: str, value: str) -> bool:
    """Tell whether a variable is a secret: by its name, or by the look of its value."""
    if value.lower() in _FLAGS:
        return False
    return names_secret(name) or bool(Redactor(os.environ).value(value, name) != value)


def dotted(path: Path) -> str:
    """Return a path for a sentence."""
    return ".".join(map(word, path))


def literals(table: Mapping[str, Any]) -> list[Path]:
    """Return the paths of the values that are secrets themselves."""
    mask = _Mask()
    mask.value(dict(table), "", ())
    return mask.hidden


def shown(value: Any, name: str = "") -> Any:
    """Return a value as JSON, without its secrets; ``name`` is the key it stands under."""
    return _Mask().value(value, name, ())


def line(text: str) -> str:
    """Return a text as one line without secrets."""
    return " ".join(Redactor(os.environ).text(text).split())


def word(text: object) -> str:
    """Return a name or a word for a sentence: in one line, not long, no secret."""
    clean = Redactor(os.environ).text(str(text))
    if len(clean) > _LONG:
        clean = f"{clean[: _LONG - 3]}..."
    return clean if _PLAIN.fullmatch(clean) else repr(clean)


class _Mask:
    """Walks through settings, masks secrets and notes where they stood."""

    def __init__(self) -> None:
        self.hidden: list[Path] = []
        self._redactor = Redactor(os.environ)

    def value(self, value: Any, name: str, path: Path) -> Any:
        """Mask a value that stands under ``name``."""
        if isinstance(value, dict):
            return self._table(value, name, path)
        if isinstance(value, (list, tuple)):
            each = self._assignment if name == "env_vars" else self.value
            return [each(item, name, path) for item in value]
        if value is None or isinstance(value, (bool, int, float)):
            return self._note(value, self._redactor.value(value, name), path)
        if not isinstance(value, str):
            return str(value)  # dates and times
        if _REFERENCE.fullmatch(value) or "${" in value:
            name = ""
        return self._note(value, self._redactor.value(value, name), path)

    def variable(self, name: str, value: Any, path: Path) -> Any:
        """Mask the value of an environment variable."""
        if not isinstance(value, str) or "${" in value:
            return self.value(value, name, path)
        masked = HIDDEN if holds_secret(name, value) else value
        return self._note(value, masked, path)

    def _table(self, table: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
        answer = {}
        for key, item in table.items():
            below = (*path, key)
            if name == "env_vars":
                masked = self.variable(key, item, below)
            elif key == "value" and isinstance(table.get("name"), str):  # as in Kubernetes
                masked = self.variable(table["name"], item, below)
            else:
                masked = self.value(item, "" if name in _ABOUT_SECRETS else key, below)
            answer[self._redactor.text(key)] = masked
        return answer

    def _assignment(self, item: Any, name: str, path: Path) -> Any:
        variable, is_given, value = str(item).partition("=")
        if not is_given:
            return self.value(item, name, path)
        return (
            f"{self._redactor.text(variable)}={self.variable(variable, value, (*path, variable))}"
        )

    def _note(self, value: Any, masked: Any, path: Path) -> Any:
        if masked != value:
            self.hidden.append(path)
        return masked
