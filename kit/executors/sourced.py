"""The file that a job sources with tracing off, so that neither its script nor its log holds it."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FOLDER", "NAME", "hold", "put", "setup_lines", "text"]

FOLDER = ".lineage"  # in the job's folder
NAME = "secrets.sh"

# A file of the user holds the value itself, or a line NAME=value; it is read, never run.
_READER = r"""
lineage_read() {
  local line
  if ! [ -r "$2" ]; then
    echo "lineage: $2 is to hold $1, and cannot be read here" >&2
    return 1
  fi
  line=$(grep -m 1 -E "^(export +)?$1=" -- "$2") || line=$(cat -- "$2")
  line=${line#export } line=${line#"$1"=}
  case $line in \"*\") line=${line#\"} line=${line%\"} ;; \'*\') line=${line#\'} line=${line%\'} ;; esac
  printf %s "$line"
}
"""  # noqa: E501 - shell
# -v prints lines as they are read, -x as they are run: both are off while secrets are about.
# Slurm counts a restart when it has decided on it, before the script ends: then the file stays.
_SETUP = r"""
{ set +vx; } 2>/dev/null
lineage_secrets=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *StdOut=//p' | head -n 1)
lineage_secrets=${lineage_secrets%/*}/FILE
if ! [ -r "$lineage_secrets" ]; then
  echo "lineage: $lineage_secrets is gone, and the job's secrets with it; submit it again" >&2
  exit 78
fi
. "$lineage_secrets" || exit 78
lineage_end() {
  { set +vx; } 2>/dev/null
  local again
  again=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/.* Restarts=\([0-9]*\).*/\1/p' | head -n 1)
  if [ "${again:-1000000}" -gt "${SLURM_RESTART_COUNT:-0}" ]; then return; fi
  if [ -n "$SLURM_ARRAY_JOB_ID" ] &&
    [ "$(squeue -h -r -j "$SLURM_ARRAY_JOB_ID" | wc -l)" -gt 1 ]; then return; fi
  rm -f -- "$lineage_secrets"
}
trap lineage_end EXIT
trap 'exit 143' TERM
set -vx
""".strip().replace("FILE", f"{FOLDER}/{NAME}")


def text(values: Mapping[str, str], files: Mapping[str, str]) -> str:
    """Return what is to be sourced.

    Args:
        values: secrets by name.
        files: by name, the paths of files that hold them.
    """
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    if files:
        lines.append(_READER.strip())
    for name, path in files.items():
        lines.append(f"{name}=$(lineage_read {name} {shlex.quote(path)}) || exit 78")
        lines.append(f"export {name}")
    return "\n".join(lines) + "\n"


def setup_lines(more: str | None = None) -> str:
    """Return the lines of a batch script of Slurm that source the file, before the user's own."""
    return f"{_SETUP}\n{more}" if more else _SETUP


def hold(content: str) -> str:
    """Keep a text in memory under a path that this process and its children can read.

    It is on no disk and in nobody else's reach, and gone with the process whatever ends it.
    """
    descriptor = os.memfd_create("lineage")
    os.write(descriptor, content.encode())
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def put(held: str, folder: str) -> str:
    """Write a text that is held into the folder of a job, for the user alone.

    Returns:
        The path of the file.
    """
    with open(held, "rb") as file:
        content = file.read()
    private = os.path.join(folder, FOLDER)
    os.makedirs(private, mode=0o700, exist_ok=True)
    path = os.path.join(private, NAME)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)  # also one that was there
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return path
