"""Paths of this container as all hosts know them, and the way back.

Records name what other hosts can open: a job that saves to ``/nemo_run/ckpt`` is heard of as
``/lustre/me/sft_1/ckpt``. What cannot be known stays as it is, and the record says so.
"""

from __future__ import annotations

import os
from functools import lru_cache

from .paths import NEMO_RUN, HostPath, host_path, in_container, mount_points

__all__ = ["inside", "outside", "remark"]

_MOUNTS = "/proc/self/mountinfo"


def outside(path: str) -> str:
    """Return what a path of this process is called outside, or the path where nobody can say.

    Args:
        path: absolute, or an address, which is the same everywhere.
    """
    if "://" in path:
        return path
    if not _in_container():
        return path  # links stay
    found = _look(os.path.realpath(path))  # a link may lead out of it
    # the name on a file server is no path that anybody could open
    return found.path if found.how != "unknown" and os.path.isabs(found.path) else path


def remark(path: str) -> dict[str, str]:
    """Return what a record should say about the name of a path; empty outside of containers.

    Args:
        path: absolute, as this process sees it, or an address.
    """
    if "://" in path or not _in_container():
        return {}
    found = _look(os.path.realpath(path))
    told = {"path_in_container": path, "path_known_by": found.how, "path_note": found.note}
    return told if os.path.isabs(found.path) else {**told, "path_on_server": found.path}


def inside(path: str) -> str:
    """Return where this process finds a path that is called so outside.

    Args:
        path: as a record names it; the same comes back where it is there, or nothing shows it.
    """
    if not os.path.isabs(path) or os.path.exists(path):
        return path
    for point in (*mount_points(_mountinfo()), NEMO_RUN):
        named = outside(point)
        if named != point and (path == named or path.startswith(f"{named}/")):
            here = f"{point}{path[len(named) :]}"
            if os.path.exists(here):
                return here
    return path


def _in_container() -> bool:
    return in_container(_mountinfo())


def _look(path: str) -> HostPath:
    return host_path(path, mountinfo=_mountinfo())


@lru_cache(maxsize=1)
def _mountinfo() -> str:
    """Read the mounts once a process: they are there before it starts."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:  # nothing is mounted over anything, as far as can be seen
        return ""
