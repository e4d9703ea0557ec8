"""What the checkpoints of a folder are called."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from typing import TYPE_CHECKING

from nemotron.lineage import ArtifactURI, LineageError, URIError, claim_name

from ..containers import outside

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["artifact_name", "check_name", "experiment_name"]

_log = logging.getLogger(__name__)

# Names of folders that say nothing of what is in them.
_GENERIC = {
    "checkpoint", "checkpoints", "ckpt", "ckpts", "exp", "experiment", "experiments", "log", "logs",
    "model", "models", "nemo_experiments", "non_persistent", "out", "output", "outputs", "result",
    "results", "run", "runs", "save", "saved", "saves", "tmp", "weights", "work", "workspace",
}  # fmt: skip
_MORE = re.compile(r"[:@#].*")  # a selector, digest or path behind a name
_STAMP = re.compile(r"_\d{9,}$")  # nemo-run's experiments end in the second they began


def artifact_name(
    folder: str, *, given: str | None = None, experiment: str | None = None,
    store: str | None = None,
) -> str:  # fmt: skip
    """Return the name of the artifact whose versions are the checkpoints of a folder.

    A given name wins. Else it is the folder's own, in full: ``nano3.v2`` stays ``nano3.v2``. One
    that says nothing, such as ``checkpoints``, is led by that of the experiment, or of the nearest
    folder above that has a name of its own; where another folder came to the same name before, a
    few digits of the path tell them apart.

    Args:
        folder: absolute path of the folder that holds the checkpoints.
        given: what the user called it.
        experiment: the name of the experiment or run.
        store: the store's address.
    """
    if given:
        return given
    parts = [part for part in folder.split(os.sep) if _clean(part)]
    own = parts[-1] if parts and parts[-1] == os.path.basename(folder) else "checkpoints"
    # /nemo_run/checkpoints of two jobs are two folders, and one folder may have several names
    place = folder if "://" in folder else outside(os.path.realpath(folder))
    if own.lower() not in _GENERIC:
        name = _clean(own)
        other = _claim(name, place, store)
        if other not in (None, place):
            _log.warning(
                "art://%s also has the checkpoints of %s; give artifact_name=... to tell the two "
                "apart", name, other,
            )  # fmt: skip
        return name
    above = (part for part in reversed(parts) if part.lower() not in _GENERIC)
    name = _clean(f"{experiment or next(above, 'run')}-{own}")
    if _claim(name, place, store) == place:
        return name
    return f"{name}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:4]}"


def check_name(given: str) -> None:
    """Refuse what no artifact can be called, before training rather than at each checkpoint.

    Raises:
        URIError: it is no name, or names more than an artifact, such as ``nano3:v2``.
    """
    only = ArtifactURI.parse(given).identity
    more = _MORE.search(given.removeprefix("art://"))
    if more is not None:
        rule = f"{more[0]!r} makes it more than an artifact, whose name is {only!r}"
        raise URIError(given, len(given) - len(more[0]), "name", rule)


def experiment_name(
    environ: Mapping[str, str], *, run: str | None = None, config: str | None = None
) -> str | None:
    """Return what the user or the launcher called the experiment, or None.

    Args:
        environ: for ``WANDB_NAME``, ``NEMO_EXPERIMENT_ID`` and ``SLURM_JOB_NAME``.
        run: what the user called the run.
        config: what the framework's configuration calls it.
    """
    names = (
        run, config, environ.get("WANDB_NAME"),
        _STAMP.sub("", environ.get("NEMO_EXPERIMENT_ID", "")),
        environ.get("SLURM_JOB_NAME") if environ.get("SLURM_JOB_NAME") not in _SHELLS else None,
    )  # fmt: skip
    return next((name for name in names if name), None)


_SHELLS = ("bash", "interactive", "sh", "wrap")  # what Slurm calls a job that nobody named


def _claim(name: str, folder: str, store: str | None) -> str | None:
    """Return the folder that has a name; None where nobody can say."""
    try:
        return claim_name(name, folder, store=store)
    except (LineageError, OSError) as error:
        _log.debug("whether art://%s is %s alone cannot be said: %s", name, folder, error)
        return None


def _clean(name: str) -> str:
    """Write a name with the letters that a reference may have."""
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")
    return words[:100]
