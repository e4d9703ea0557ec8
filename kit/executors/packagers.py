"""Packagers of nemo-run that leave env.toml behind, and bring along what the job sources.

They are made when they are first asked for, since nemo-run is imported only then. nemo-run finds
them again by their names, and the job itself gets the plain ones: they need nothing of ours.
"""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from . import sourced
from .classes import nemo_run

if TYPE_CHECKING:
    from pathlib import Path

    from ..config.runconfig import RunConfig

__all__ = ["kind_of", "leave_out", "packager"]

_BASES = ("GitArchivePackager", "HybridPackager", "Packager", "PatternPackager")
_OURS = "Bringing"
_LEFT = "env.toml"


class _Bringing:
    """What is different from the packager of nemo-run."""

    carried: str
    settings: str

    def package(self, path: Path, job_dir: str, name: str) -> str | None:
        os.makedirs(job_dir, exist_ok=True)  # that of a Ray job is not there yet
        archive: str | None = super().package(path, job_dir, name)  # type: ignore[misc]  # a mixin
        if archive is not None:
            leave_out(archive, self.settings)
        if self.carried:
            sourced.put(self.carried, job_dir)
        return archive

    def to_config(self) -> Any:
        """Return the plain packager: a job may have no nemotron-lineage."""
        plain = type(self).__mro__[2]
        return plain(**{each.name: getattr(self, each.name) for each in fields(plain)}).to_config()


def __getattr__(name: str) -> Any:
    base = name.removeprefix(_OURS)
    if base == name or base not in _BASES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    body = {
        "__module__": __name__, "__doc__": f"{base} that leaves env.toml behind.",
        "__annotations__": {"carried": str, "settings": str}, "carried": "", "settings": "",
    }  # fmt: skip
    made: Any = dataclass(kw_only=True)(type(name, (_Bringing, getattr(nemo_run(), base)), body))
    globals()[name] = made
    return made


def packager(config: RunConfig, carried: str = "", settings: str = "") -> Any:
    """Return the packager that a profile asks for.

    Without a word of it: ``git`` inside a repository, else ``none``.

    Args:
        config: the profile.
        carried: what ``sourced.hold`` returned, for the folder of the job.
        settings: path of the env.toml that is read, whatever it is called.
    """
    kind = kind_of(config)
    patterns = config.packager_include_pattern or []
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    ours = {"carried": carried, "settings": settings}
    if kind == "none":
        return __getattr__("BringingPackager")(**ours)
    if kind == "pattern":
        return _pattern("BringingPatternPackager", patterns, **ours)
    if kind == "hybrid":
        parts = {"git": nemo_run().GitArchivePackager()}
        if patterns:
            parts["more"] = _pattern("BringingPatternPackager", patterns)
        return __getattr__("BringingHybridPackager")(
            sub_packagers=parts, extract_at_root=True, **ours
        )
    return __getattr__("BringingGitArchivePackager")(**ours)


def kind_of(config: RunConfig) -> str:
    """Return how the code gets to the job: ``git``, ``pattern``, ``hybrid`` or ``none``."""
    return config.packager or ("git" if _in_repository() else "none")


def _pattern(name: str, patterns: list[str], **ours: str) -> Any:
    here = [os.getcwd()] * len(patterns)
    return __getattr__(name)(include_pattern=patterns, relative_path=here, **ours)


def _in_repository() -> bool:
    folder = os.getcwd()
    while not os.path.exists(os.path.join(folder, ".git")):
        folder, below = os.path.dirname(folder), folder
        if folder == below:
            return False
    return True


def leave_out(archive: str, settings: str = "") -> None:
    """Take env.toml out of an archive of code: it may hold secrets, and no job needs it.

    Args:
        archive: the archive.
        settings: path of one that goes by another name; a file of that name and text is it.
    """
    with tarfile.open(archive, "r:*") as whole:
        members = whole.getmembers()
        kept = [each for each in members if not _is_settings(whole, each, settings)]
        if len(kept) == len(members):
            return
        rest = f"{archive}.{os.getpid()}"
        with tarfile.open(rest, "w:gz") as smaller:
            for member in kept:
                smaller.addfile(member, whole.extractfile(member) if member.isreg() else None)
    os.replace(rest, archive)


def _is_settings(whole: tarfile.TarFile, member: tarfile.TarInfo, settings: str) -> bool:
    name = os.path.basename(member.name)
    if name == _LEFT:
        return True
    file = whole.extractfile(member) if name == os.path.basename(settings) else None
    if file is None:
        return False
    with open(settings, "rb") as own:
        return own.read() == file.read()
