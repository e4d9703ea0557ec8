"""Names of ours under the rules of W&B: letters, digits, ``_``, ``-`` and ``.``, at most 128.

The encoding can be read back, so that two names never meet in one: ``/`` becomes ``..``, and
``?``, ``&``, ``=`` and a dot that would be misread become ``..-q``, ``..-a``, ``..-e``, ``..-d``.
What gets too long is cut and ends in a digest; the artifact's metadata hold the whole name.

>>> encode("nano3/sft/data?sample=100")
'nano3..sft..data..-qsample..-e100'
>>> decode("nano3..sft..data..-qsample..-e100")
'nano3/sft/data?sample=100'
"""

from __future__ import annotations

import hashlib
import re

__all__ = ["MAX_NAME", "decode", "encode", "source_name", "type_name", "version_alias"]

MAX_NAME = 128
_MARK = ".."
_LETTERS = {"?": "q", "&": "a", "=": "e", ".": "d"}
_CHARS = {letter: char for char, letter in _LETTERS.items()}
_ESCAPE = re.compile(r"\.\.(?:-([a-z]))?")
_CUT = "..-h"  # what follows is a digest, 16 digits
_RESERVED = re.compile(r"wandb-.*|job|code|run_table")


def encode(name: str) -> str:
    """Write the identity of an artifact as W&B takes it."""
    parts = []
    for at, char in enumerate(name):
        follows = name[at + 1 : at + 2]
        if char == "/":
            parts.append(_MARK)
        elif char in "?&=" or (char == "." and (not follows or follows in "./?&=")):
            parts.append(f"{_MARK}-{_LETTERS[char]}")
        else:
            parts.append(char)
    return _shortened("".join(parts), name)


def decode(name: str) -> str | None:
    """Read a name back; None when it was cut, or was not written by us."""
    if _CUT in name:
        return None
    try:
        text = _ESCAPE.sub(lambda found: _CHARS[found[1]] if found[1] else "/", name)
    except KeyError:
        return None
    return text if encode(text) == name else None


def source_name(uri: str) -> str:
    """Return a name for an outside source: readable, and told apart by a digest.

    >>> source_name("hf://org/raw-text")
    'hf-org-raw-text-5fc902b3'
    """
    readable = re.sub(r"[^A-Za-z0-9_.]+", "-", uri).strip("-.")[:100]
    return f"{readable}-{hashlib.sha256(uri.encode()).hexdigest()[:8]}"


def type_name(type: str) -> str:
    """Return a type as W&B takes it: some words are its own."""
    text = re.sub(r"[/:]", "-", type)[:MAX_NAME]
    return f"lineage-{text}" if _RESERVED.fullmatch(text) else text


def version_alias(number: int) -> str:
    """Return the alias by which a version of ours is found: W&B counts for itself, from v0."""
    return f"lineage-v{number}"


def _shortened(text: str, name: str) -> str:
    if len(text) <= MAX_NAME:
        return text
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{text[: MAX_NAME - len(_CUT) - 16]}{_CUT}{digest}"
