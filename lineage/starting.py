"""What is known of a run when it starts: who, where, with which words and settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import MetadataError
from .events import RunStarted
from .launch import Process, code_version, python, user
from .metadata import plain_lenient

if TYPE_CHECKING:
    from .launch import Launch
    from .redact import Redactor

__all__ = ["describe_start"]

_ARGUMENT_LENGTH = 1000  # characters of one word of the command line


def describe_start(
    run: str,
    name: str,
    launch: Launch,
    redactor: Redactor,
    *,
    job_type: str | None = None,
    config: Mapping[str, Any] | None = None,
    parent: str | None = None,
    intake: str | None = None,
    ask_git: bool = True,
) -> RunStarted:
    """Describe the start of a run of this process, secrets removed.

    Args:
        run: its id.
        name: what kind of run it is.
        launch: what the launcher told.
        redactor: takes the secrets out.
        job_type: what kind of work it is.
        config: settings; keys and values that JSON cannot hold are kept as text.
        parent: id of the run that launched this one.
        intake: folder with further records of this run.
        ask_git: whether to ask git for the commit, which takes some milliseconds.
    """
    process = Process.current()
    if config is not None and not isinstance(config, Mapping):
        raise MetadataError("config", f"is a {type(config).__name__}; give a mapping")
    settings, _ = plain_lenient(config, other=repr)
    detail = {
        "folder": _folder(),
        "git": code_version() if ask_git else {},
        "launcher": dict(launch.ids),
        "process": {"pid": process.pid, "boot": process.boot, "started": process.started},
        "python": python(),
    }
    argv = tuple(word[:_ARGUMENT_LENGTH] for word in redactor.argv(sys.orig_argv))
    return RunStarted(
        run=run, name=name, job=launch.job, job_type=job_type, parent=parent,
        config=redactor.value(settings), host=process.host, user=user(), argv=argv, detail=detail,
        intake=intake,
    )  # fmt: skip


def _folder() -> str | None:
    """Return the working folder; None when it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return None
