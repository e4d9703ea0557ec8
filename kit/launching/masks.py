"""Takes the secrets of a job out of all that is shown, recorded or raised."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from nemotron.lineage import Redactor

from ..config.masking import HIDDEN
from ..executors.quoting import for_shell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Mask"]

_SHORT = 4  # below, a value is part of every other word


class Mask:
    """Hides what a job is given in secret, by its values and by its names.

    >>> mask = Mask({"MY_KEY": "not to be seen"})
    >>> print(mask.text("he said: not to be seen"), mask.script("export MY_KEY=5"))
    he said: [redacted] export MY_KEY=[redacted]
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        values = [value for value in secrets.values() if len(value) >= _SHORT]
        forms = {form for value in values for form in (value, for_shell(value))}
        longest_first = sorted(forms, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, longest_first))) if forms else None
        names = "|".join(map(re.escape, secrets))
        self._names = re.compile(rf"(?m)\b(export +)?({names})=.*$") if secrets else None
        self._redactor = Redactor({**os.environ, **{f"{n}_SECRET": v for n, v in secrets.items()}})

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        if self._values is not None:
            text = self._values.sub(HIDDEN, text)
        return self._redactor.text(text)

    def script(self, text: str) -> str:
        """Return a script without secrets, however short they are."""
        if self._names is not None:
            text = self._names.sub(rf"\1\2={HIDDEN}", text)
        return self.text(text)

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the words of a command without secrets."""
        return [self.text(word) for word in self._redactor.argv(command)]
