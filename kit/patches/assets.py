"""What a framework's settings name: paths of this machine, and assets elsewhere."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemotron.lineage import SourceURI, URIError

__all__ = [
    "LARGEST",
    "Asset",
    "absolute",
    "asset",
    "is_gone",
    "iteration_of",
    "path_asset",
    "read_yaml",
]

_log = logging.getLogger(__name__)

_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+|[A-Za-z0-9][\w-]*")  # org/name, or gpt2
LARGEST = 1 << 20  # bytes; a hook reads no larger file
_ITERATION = re.compile(r"iter_(\d+)")


@dataclass(frozen=True, slots=True)
class Asset:
    """Something that a run uses.

    Attributes:
        target: an absolute path, or the address of an outside source.
        role: what it is used for.
        weight: its share in a blend.
        split: e.g. ``train``.
    """

    target: str | SourceURI
    role: str
    weight: float | None = None
    split: str | None = None


def asset(
    value: object, role: str, *, weight: float | None = None, split: str | None = None
) -> Asset | None:
    """Read a setting that names a data set, a model or a tokenizer.

    Args:
        value: a path, an address, or the name of a repository of the Hugging Face Hub, which is
            what a name means that is no path here.
        role: what it is used for.
        weight: its share in a blend.
        split: which part of it.

    Returns:
        None when the setting names nothing.

    >>> asset("org/tokenizer", "tokenizer").target
    SourceURI(uri='hf://org/tokenizer', revision=None)
    """
    if not isinstance(value, (str, os.PathLike)) or not str(value):
        return None
    text = os.fspath(value)
    target: str | SourceURI = os.path.abspath(text)
    if "://" in text:
        try:
            target = SourceURI.parse(text)
        except URIError as error:  # with a login, say; the text of the error has none
            _log.warning("an input (%s) is not recorded: %s", role, error)
            return None
    elif _HUB.fullmatch(text) and not os.path.exists(text):
        target = SourceURI.parse(f"hf://{text}")
    return Asset(target, role, weight, split)


def path_asset(
    value: object, role: str, *, weight: float | None = None, split: str | None = None
) -> Asset | None:
    """Read a setting that can only be a path, or an address: ``data/tokens`` is no repository."""
    if isinstance(value, (str, os.PathLike)) and str(value) and "://" not in str(value):
        value = os.path.abspath(value)
    return asset(value, role, weight=weight, split=split)


def absolute(path: str | os.PathLike[str]) -> str:
    """Resolve a path as it was configured; an address of an object store stays as it is."""
    text = os.fspath(path)
    return text if "://" in text else os.path.abspath(text)


def is_gone(path: str) -> bool:
    """Tell whether a checkpoint that was there is deleted; a folder out of sight proves nothing.

    Args:
        path: of a checkpoint.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        return os.path.isdir(os.path.dirname(path))
    except OSError:  # it cannot be looked at
        return False
    return False


def iteration_of(path: str) -> int | None:
    """Return the number in the name of a Megatron checkpoint's folder, e.g. 100."""
    found = _ITERATION.fullmatch(Path(path).name)
    return int(found[1]) if found else None


def read_yaml(path: str) -> dict[str, Any] | None:
    """Read a configuration; None when there is none.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no YAML mapping, or too large for a hook.
    """
    import yaml  # OmegaConf brings it; only where there is a configuration

    try:
        if os.path.getsize(path) > LARGEST:
            raise ValueError(f"{path} has more than {LARGEST:,} bytes")
        with open(path, "rb") as file:
            # the C parser takes 4 ms for Megatron-Bridge's, the other one 27
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            found = yaml.load(file, loader)  # noqa: S506 - it is the safe one
    except FileNotFoundError:
        return None
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no mapping")  # noqa: TRY004 - the file is at fault
    return found
