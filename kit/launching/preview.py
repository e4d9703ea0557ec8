"""Shows what would be launched, without submitting it and without its secrets."""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from ..config.masking import HIDDEN, shown
from ..executors import sourced
from ..executors.quoting import shell_word
from .submission import task_script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..executors.building import Plan
    from .inputs import Inputs
    from .masks import Mask
    from .submission import Task

__all__ = ["preview"]

_ELSEWHERE = ("executor", "env_vars", "dry_run")


def preview(task: Task, plan: Plan, inputs: Inputs, mask: Mask) -> None:
    """Print the profile, the variables, how secrets travel, and the script of the job."""
    for line in _lines(task, plan, inputs, mask):
        sys.stdout.write(line + "\n")


def _lines(task: Task, plan: Plan, inputs: Inputs, mask: Mask) -> Iterator[str]:
    config, handover = plan.config, plan.handover
    task = replace(task, words=mask.command(task.words))
    yield f"job       nemo-run:{task.identity}"
    yield f"executor  {config.executor}"
    for spec in fields(config):
        value = getattr(config, spec.name)
        if value not in (None, {}, spec.default) and spec.name not in _ELSEWHERE:
            yield f"  {spec.name} = {mask.text(repr(shown(value, spec.name)))}"
    yield "variables"
    for name, value in sorted(handover.variables.items()):
        is_secret = name in handover.secrets
        yield f"  {name}={HIDDEN if is_secret else mask.text(shell_word(value))}"
    for name in sorted(handover.sourced):
        yield f"  {name}: from {sourced.FOLDER}/{sourced.NAME} in the job's folder, 0600"
    named: dict[str, Any] = {**handover.files, **handover.references}
    for name, place in sorted(named.items()):
        yield f"  {name}: from {place}"
    for name in handover.inherited:
        yield f"  {name}: inherited"
    for text, pinned in inputs.pins.items():
        if text != pinned.uri:
            yield f"input     {text} is {pinned.uri}"
    yield "script"
    script = task.command() if plan.ray else task_script(task, plan)
    yield from (f"  {line}" for line in mask.script(script).rstrip("\n").split("\n"))
    for notice in plan.notices:
        yield f"look      {notice}"
