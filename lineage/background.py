"""Starts work in a process of its own, which outlives whoever started it; nobody waits for it.

What takes long and holds the interpreter's lock has no place in a thread: every call of a writer
beside it would wait for that lock again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

__all__ = ["start"]


def start(module: str, *words: str) -> None:
    """Run a module of this package with the packages that this process has found.

    It goes on when the caller ends, but not beyond the end of its container or Slurm job step.

    Args:
        module: its name below ``nemotron.lineage``.
        words: its arguments; every user of the host may see them.

    Raises:
        OSError: no process can be started.
    """
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", f"nemotron.lineage.{module}", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd="/", close_fds=True, start_new_session=True, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    # an ended child that nobody waits for would stay in the list of processes
    threading.Thread(target=process.wait, name=f"lineage-{module}", daemon=True).start()
