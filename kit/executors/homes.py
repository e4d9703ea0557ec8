"""The folder where nemo-run keeps what it was given, closed to others before secrets lie there."""

from __future__ import annotations

import logging
import os
import stat

from ..config.remarks import Place
from .classes import submodule
from .quoting import is_plain

__all__ = ["check_home", "close_home"]

_log = logging.getLogger(__name__)


def check_home() -> None:
    """Refuse a home that a shell would not read as one word: nemo-run does not quote it.

    Raises:
        SettingsError: it is one.
    """
    home: str = submodule("config").get_nemorun_home()
    if not is_plain(home):
        raise Place(path=("NEMORUN_HOME",)).error(
            "would be read by a shell", "use letters, digits and _ . / @ : + , = ~ - alone"
        )


def close_home() -> None:
    """Make nemo-run's home and its experiments a place of this user alone.

    nemo-run writes an executor, with all its variables, into several files that others could read
    (``_TASKS``, ``*_executor.yaml``, the lists of jobs).
    """
    home: str = submodule("config").get_nemorun_home()
    experiments = os.path.join(home, "experiments")
    os.makedirs(home, mode=0o700, exist_ok=True)
    os.makedirs(experiments, mode=0o700, exist_ok=True)
    user = os.path.expanduser("~")
    for folder in (home, experiments):
        state = os.stat(folder)
        # not somebody else's, nor /tmp, nor the user's own home or what lies above it
        is_shared = state.st_mode & stat.S_ISVTX or os.path.commonpath([user, folder]) == folder
        if state.st_mode & 0o077 and not is_shared:
            if state.st_uid == os.geteuid():
                os.chmod(folder, stat.S_IMODE(state.st_mode) & ~0o077)
            else:
                _log.warning("%s belongs to another user, who can read what is run from it", folder)
