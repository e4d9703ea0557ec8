"""Removes what jobs of Slurm left behind that could not do it themselves: files of secrets.

A job takes its file along when it ends. One that was killed together with its node cannot.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from ..executors import sourced
from ..executors.classes import submodule

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config.runconfig import RunConfig

__all__ = ["sweep"]

_YOUNG = 60  # minutes; its job may be about to be submitted


def sweep(run: Callable[[str], tuple[int, str]], config: RunConfig) -> None:
    """Remove the files of secrets of jobs that Slurm knows no more; where it is silent, none.

    Args:
        run: runs a command where Slurm is, and returns (exit status, standard output).
        config: the profile.
    """
    over_ssh = config.tunnel == "ssh"
    home = os.path.join(submodule("config").get_nemorun_home(), "experiments")
    folder = config.remote_job_dir if over_ssh else home
    pattern = f"*/{sourced.FOLDER}/{sourced.NAME}"
    # experiments/TITLE/EXPERIMENT/TASK/.lineage/secrets.sh
    _, listed = run(
        f"find {shlex.quote(str(folder))} -mindepth 5 -maxdepth 5 -path {shlex.quote(pattern)} "
        f"-mmin +{_YOUNG} 2>/dev/null"
    )
    found = listed.splitlines()
    if not found:
        return
    status, outputs = run("squeue -h --me -O STDOUT:4096")
    if status != 0:
        return
    in_use = {os.path.dirname(line.strip()) for line in outputs.splitlines()}
    for path in found:
        if os.path.dirname(os.path.dirname(path)) not in in_use:
            run(f"rm -f -- {shlex.quote(path)}")
