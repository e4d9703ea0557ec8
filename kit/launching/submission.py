"""Hands a job to nemo-run as an experiment of one task, and gives back what watches it."""

from __future__ import annotations

import os
import shlex
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config.schema import DGXCLOUD, DOCKER, KUBEFLOW, LOCAL, SLURM
from ..executors import sourced
from ..executors.building import assemble
from ..executors.classes import nemo_run, submodule
from ..executors.packagers import kind_of
from ..executors.quoting import for_template, shell_word
from .attached import CloudJob, NemoJob
from .command import script_of
from .slurm import SlurmJob, command_runner, local_folder
from .sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..config.runconfig import RunConfig
    from ..executors.building import Plan
    from .outcome import Job

__all__ = ["Task", "submitted", "task_script"]

# whose logs and states are here, so that nobody has to wait as nemo-run does
_WATCHED = (LOCAL, DOCKER, SLURM)
_LOGS = {
    LOCAL: {"nemo_run/*/*/*/stdout.log": False, "nemo_run/*/*/*/stderr.log": True},
    DOCKER: {"log_*.out": False},
}
_STATUSES = (LOCAL, DOCKER)
_SECRETS = f"/nemo_run/{sourced.FOLDER}/{sourced.NAME}"


@dataclass(frozen=True, slots=True)
class Task:
    """What is to run.

    Attributes:
        words: the words of the command.
        identity: id of the experiment.
        pins: page of the job's pins, or None.
        text: what a shell is to read in place of the words.
    """

    words: Sequence[str]
    identity: str
    pins: str | None = None
    text: str | None = None

    def command(self, quote: Callable[[str], str] = shell_word) -> str:
        """Return the command as text for a shell."""
        return self.text or " ".join(quote(word) for word in self.words)


def task_script(task: Task, plan: Plan) -> str:
    """Return the script that the job runs."""
    config = plan.config
    is_bare = config.executor == SLURM and config.tunnel != "ssh" and not config.container_image
    return script_of(
        task.command(),
        # nothing was packaged, so the job runs where it was submitted, as with sbatch
        folder=os.getcwd() if is_bare and kind_of(config) == "none" else None,
        startup=config.startup_commands or (), pins=task.pins,
        writes_status=config.executor in _STATUSES,
        forgets_pins="LINEAGE_PINS" in os.environ.keys() - plan.handover.variables.keys()
        and config.executor in (LOCAL, SLURM),
        # of several nodes one may come up again when another is done
        removes=_SECRETS if config.executor == DGXCLOUD and (config.nodes or 1) == 1 else None,
    )  # fmt: skip


@contextmanager
def submitted(task: Task, plan: Plan) -> Iterator[Job]:
    """Submit a job, and give what watches it; the connections to it are open in the block."""
    run, config = nemo_run(), plan.config
    submodule("core.frontend.console.api").CONSOLE.stderr = True  # ours is the job's output
    executor = assemble(plan)
    if hasattr(executor, "poll_estimated_start_time"):
        executor.poll_estimated_start_time = False  # it prints among the job's output
    is_watched = config.executor in _WATCHED
    experiment = run.Experiment(
        config.job_name, id=task.identity, log_level="WARNING", clean_mode=True,
        enable_goodbye_message=False, skip_status_at_exit=True,
    )  # fmt: skip
    if config.executor == KUBEFLOW and task.pins is not None and not config.workdir_pvc:
        executor.env_list = [*executor.env_list, {"name": "LINEAGE_PINS", "value": task.pins}]
    with experiment as current:
        current.add(_script(task, plan, run), executor=executor, name=config.job_name)
        try:
            current.run(
                detach=config.detach or config.executor == SLURM,
                tail_logs=not is_watched and not config.detach,
            )
        except (Exception, SystemExit):  # it ends the program where a login over ssh fails
            _take_back(current.jobs[0].executor, config)
            raise
        yield _job(current, plan)


def _script(task: Task, plan: Plan, run: Any) -> Any:
    if plan.config.executor == KUBEFLOW and not plan.config.workdir_pvc:
        # no script gets there; the words themselves are the container's command
        first, *rest = (for_template(word) for word in task.words)
        return run.Script(entrypoint="env", path=first, args=list(rest))
    return run.Script(inline=task_script(task, plan))


def _job(experiment: Any, plan: Plan) -> Job:
    config, executor = plan.config, experiment.jobs[0].executor
    if config.executor == DGXCLOUD and not config.launched_from_cluster:
        _forget(executor.job_dir)
    if config.executor not in _WATCHED:
        return CloudJob(experiment, config.job_name, {})
    if config.executor != SLURM:
        return NemoJob(experiment, config.job_name, _LOGS[config.executor])
    number = experiment.jobs[0].handle.rpartition("/")[2]
    is_here = config.tunnel != "ssh"
    if not is_here:
        _forget(executor.job_dir)
    run = command_runner(executor.tunnel)
    sweep(run, config)
    return SlurmJob(number, run, local_folder(executor), is_here=is_here)


def _take_back(executor: Any, config: RunConfig) -> None:
    """Remove the secrets of a job that was not submitted, here and on the other side."""
    _forget(executor.job_dir)
    if config.executor == SLURM and getattr(executor.tunnel, "session", None) is not None:
        path = os.path.join(local_folder(executor), sourced.FOLDER, sourced.NAME)
        command_runner(executor.tunnel)(f"rm -f -- {shlex.quote(path)}")


def _forget(folder: str) -> None:
    """Remove the local copy of secrets that were brought to the other side."""
    path = os.path.join(folder, sourced.FOLDER, sourced.NAME)
    if os.path.exists(path):
        os.unlink(path)
