"""Environment variables of a job, and how its secrets reach it: the forms and the rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .masking import word
from .remarks import Place, nearest
from .schema import DGXCLOUD, KUBEFLOW, SLURM

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SECRET_FORMS", "as_table", "check_secrets", "checked_variables", "is_safe"]

SECRET_FORMS = {
    "env": "the variable itself is among the job's variables",
    "file": "a file that only the user can read, sourced by the job",
    "netrc": "the path of a netrc file; the key itself is never written",
    "inherit": "the job inherits it",
    "file:/path": "a file that only the user can read, seen by the job; it holds the value, or a "
    "line `NAME=value`",
    "secret:name/key": "a secret of Kubernetes; on Lepton `secret:name`",
}
_NO_NAME = ("is no name of a variable", "use letters, digits and _, and no digit first")
_WORDS = ("env", "file", "netrc", "inherit")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORM = re.compile(r"env|file|netrc|inherit|file:/[^\s\0]+|secret:[\w.-]+(?:/[\w.-]+)?")
# goes into a request and into a shell script at once, so that no quoting serves both
_SAFE = re.compile(r"[A-Za-z0-9_./:@,+=-]*")


def as_table(value: Any, place: Place | None = None) -> dict[str, Any]:
    """Return variables as a table, also those given as a list of ``KEY=value``.

    Raises:
        SettingsError: an entry without ``=``, or another form.
    """
    place = place or Place(path=("env_vars",))
    if isinstance(value, dict):
        return dict(value)
    if not isinstance(value, (list, tuple)):
        raise place.error(
            "must be a table or a list of KEY=value", 'write env_vars = { KEY = "value" }'
        )
    table = {}
    for number, entry in enumerate(value, 1):
        name, is_given, text = entry.partition("=") if isinstance(entry, str) else ("", "", "")
        if not is_given:
            # it may be a secret that was pasted
            shown = word(name) if _NAME.fullmatch(name) else f"number {number}"
            raise place.error(f"entry {shown} has no =", "write it as KEY=value")
        table[name] = text
    return table


def checked_variables(
    table: dict[str, Any], executor: str, place: Callable[[str], Place]
) -> dict[str, str]:
    """Check names and values, and return them as texts.

    Args:
        table: the variables; whole numbers are welcome.
        executor: what will carry them.
        place: where a variable was set.

    Raises:
        SettingsError: a name or a value that would not arrive as it is.
    """
    texts = {}
    for name, value in table.items():
        here = place(name)
        if not _NAME.fullmatch(name):
            raise here.error(*_NO_NAME)
        if executor in (SLURM, DGXCLOUD) and name != name.upper():
            raise here.error(
                f"would arrive as {word(name.upper())}, since {executor} upper-cases names "
                "(NVIDIA-NeMo/Run#234)",
                "write it so, or export it in startup_commands",
            )
        text = str(value) if type(value) is int else value
        if not isinstance(text, str):
            raise here.error("must be a text", f'write {word(name)} = "..."')
        if "\n" in text or "\r" in text or "\0" in text:
            raise here.error("has a newline or a NUL in its value", "remove it")
        if executor in (DGXCLOUD, KUBEFLOW) and not (_SAFE.fullmatch(text) or "${" in text):
            raise here.error(
                f"has a value that {executor} cannot carry as it is",
                "use letters, digits and _ . / : @ , + = - alone",
            )
        texts[name] = text
    return texts


def is_safe(text: str) -> bool:
    """Tell whether a value may go into a request and into a shell script at once."""
    return bool(_SAFE.fullmatch(text))


def check_secrets(value: Any, place: Place) -> None:
    """Check how secrets are to reach the job. What was written instead is never shown.

    Raises:
        SettingsError: it is none of ``SECRET_FORMS``.
    """
    if isinstance(value, str):
        if value not in _WORDS and "${" not in value:
            raise place.error(
                f"is none of {', '.join(_WORDS)}", nearest(value, _WORDS, "choose one of them")
            )
    elif isinstance(value, dict):
        for name, form in value.items():
            here = place.below(name)
            if not _NAME.fullmatch(name):
                raise here.error(*_NO_NAME)
            if not isinstance(form, str) or not (_FORM.fullmatch(form) or "${" in form):
                known = "env, file, netrc, inherit, file:/path or secret:name/key"
                raise here.error(f"is none of {known}", "say where the secret is, not what it is")
    else:
        raise place.error("must be a text or a table", 'write secrets = "env"')
