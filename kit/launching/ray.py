"""Jobs of a Ray cluster: what they are told travels in a runtime environment.

A running cluster is reached at ``RAY_API_SERVER_ADDRESS`` or ``RAY_ADDRESS``, as Ray itself does;
on Slurm and Kubernetes nemo-run starts one for the job.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from nemotron.lineage import RunStatus

from ..config.remarks import Place
from ..config.schema import KUBERAY, LOCAL, SLURM
from ..executors.building import assemble
from ..executors.classes import submodule
from ..executors.packagers import kind_of
from ..executors.quoting import for_two_shells
from .command import script_of
from .outcome import Outcome
from .slurm import SlurmJob, command_runner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..executors.building import Plan
    from .outcome import Job, LogFile
    from .submission import Task

__all__ = ["ray_job", "runtime_env", "runtime_env_file"]

# A job that calls ray.init(runtime_env=...) itself, as NeMo-RL does, would be refused otherwise
# (ray-project/ray#31123, #39208).
_OVERRIDE = {"RAY_OVERRIDE_JOB_RUNTIME_ENV": "1"}
_ENDED = {"SUCCEEDED": RunStatus.OK, "FAILED": RunStatus.FAILED, "STOPPED": RunStatus.ABORTED}
_TERMINATED = 143


def runtime_env(
    variables: dict[str, str], folder: str | None = None, settings: str = ""
) -> dict[str, Any]:
    """Return the runtime environment of a job.

    Args:
        variables: what its driver, tasks and actors are to see.
        folder: what is uploaded as their working folder; never with env.toml.
        settings: path of the env.toml that is read, whatever it is called.
    """
    found: dict[str, Any] = {"env_vars": {**_OVERRIDE, **variables}}
    if folder is not None:
        found |= {"working_dir": folder, "excludes": ["env.toml", "**/env.toml"]}
        own = _below(folder, settings)
        if own is not None:
            found["excludes"].append(f"/{own}")
    return found


def _below(folder: str, path: str) -> str | None:
    """Return a path relative to a folder that holds it, or None."""
    own = os.path.relpath(os.path.realpath(path), os.path.realpath(folder)) if path else os.pardir
    return None if own.partition(os.sep)[0] == os.pardir else own


@contextmanager
def runtime_env_file(environment: dict[str, Any]) -> Iterator[str]:
    """Give the path of a file with the runtime environment, for the user alone; it does not stay.

    JSON is YAML, so that nemo-run and ``ray job submit --runtime-env`` both take it.
    """
    descriptor, path = tempfile.mkstemp(suffix=".yaml")  # 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(environment, file)
        yield path
    finally:
        os.unlink(path)


@contextmanager
def ray_job(task: Task, plan: Plan, before: Sequence[str] = ()) -> Iterator[Job]:
    """Submit a Ray job, and give what watches it.

    Args:
        task: what is to run.
        plan: where.
        before: shell commands before Ray is started, where nemo-run starts it.
    """
    if plan.config.executor == LOCAL:
        yield _submit(task, plan)
    else:
        with _started(task, plan, before) as job:
            yield job


def _submit(task: Task, plan: Plan) -> Job:
    """Submit a job to a cluster that runs."""
    from ray.job_submission import JobSubmissionClient  # brought along by nemo-run

    config = plan.config
    variables = dict(plan.handover.variables)
    if task.pins is not None:
        variables["LINEAGE_PINS"] = task.pins
    client = JobSubmissionClient()
    script = script_of(
        task.command(shlex.quote), folder=None if config.ray_working_dir else os.getcwd(),
        startup=config.startup_commands or (),
    )  # fmt: skip
    number = client.submit_job(
        entrypoint=script, submission_id=task.identity,
        runtime_env=runtime_env(variables, config.ray_working_dir, plan.settings),
    )  # fmt: skip
    return _Submitted(client, number)


class _Submitted:
    """A job that runs in a Ray cluster."""

    def __init__(self, client: Any, number: str) -> None:
        self._client, self.number = client, number
        self.folder = client.get_address()
        self._log = _RayLog(client, number)

    def outcome(self) -> Outcome | None:
        """Return how it ended, or None while it has not."""
        facts = self._client.get_job_info(self.number)
        state = str(getattr(facts.status, "value", facts.status))
        return _outcome(state, facts.driver_exit_code) if state in _ENDED else None

    def logs(self) -> Iterator[LogFile]:
        """Yield the output of the driver."""
        yield self._log

    def cancel(self) -> None:
        """Stop it."""
        self._client.stop_job(self.number)


class _RayLog:
    is_error = False

    def __init__(self, client: Any, number: str) -> None:
        self._client, self._number, self._at = client, number, 0

    def news(self) -> str:
        text: str = self._client.get_job_logs(self._number)
        added, self._at = text[self._at :], len(text)
        return added


@contextmanager
def _started(task: Task, plan: Plan, before: Sequence[str]) -> Iterator[Job]:
    """Have nemo-run start a cluster for a job."""
    config = plan.config
    name = re.sub(r"[^a-z0-9-]+", "-", task.identity.lower())  # Kubernetes wants it so
    if config.executor == KUBERAY and not config.volume_mounts:
        raise Place(path=("volume_mounts",)).error(
            "is empty, and nemo-run starts no RayJob without", "mount the volume of the code"
        )
    plan.handover.variables |= {} if task.pins is None else {"LINEAGE_PINS": task.pins}
    executor = assemble(plan)
    with ExitStack() as stack:
        folder = config.ray_working_dir
        if folder is not None:
            _refuse_settings(folder, plan.settings)
        elif config.executor != KUBERAY and kind_of(config) == "none":
            folder = stack.enter_context(tempfile.TemporaryDirectory())  # nothing is packaged
        if config.executor == SLURM and config.tunnel != "ssh":
            executor.tunnel.job_dir = os.path.join(submodule("config").get_nemorun_home(), "ray")
        if config.executor == SLURM:  # Slurm makes no folder for the log of a batch script
            executor.tunnel.run(f"mkdir -p {executor.tunnel.job_dir}/{name}/logs")
        made = submodule("run.ray.job").RayJob(name=name, executor=executor, log_level="WARNING")
        variables = dict(plan.handover.variables)
        path = stack.enter_context(runtime_env_file(runtime_env(variables)))
        made.start(
            command=task.command(shlex.quote if config.executor == KUBERAY else for_two_shells),
            workdir=folder or "", runtime_env_yaml=path,
            pre_ray_start_commands=[*before, *(config.startup_commands or ())] or None,
        )  # fmt: skip
    if config.executor == KUBERAY:
        yield _OnKubernetes(made)
        return
    backend = made.backend
    yield SlurmJob(
        str(backend.job_id), command_runner(backend.executor.tunnel),
        os.path.join(backend.cluster_dir, "logs"), is_here=config.tunnel != "ssh",
        logs="ray-job.log",
    )  # fmt: skip


def _refuse_settings(folder: str, settings: str) -> None:
    """Refuse to upload env.toml: nemo-run leaves out only what .gitignore says."""
    ignored = ""
    with suppress(FileNotFoundError), open(os.path.join(folder, ".gitignore")) as file:
        ignored = file.read()
    for name in dict.fromkeys(["env.toml", _below(folder, settings) or "env.toml"]):
        is_ignored = {name, f"/{name}"} & set(ignored.split())
        if os.path.exists(os.path.join(folder, name)) and not is_ignored:
            raise Place(path=("ray_working_dir",)).error(
                f"holds {name}, which would be uploaded", f"add {name} to {folder}/.gitignore"
            )


class _OnKubernetes:
    """A RayJob of KubeRay; ``kubectl logs -l job-name=NUMBER`` has its output."""

    def __init__(self, job: Any) -> None:
        self._job = job
        self.number: str = job.backend.job_name
        self.folder = f"namespace {job.executor.namespace}"

    def outcome(self) -> Outcome | None:
        """Return how it ended, or None while it has not."""
        facts = self._job.status(display=False)
        state = facts["jobStatus"] if facts["jobStatus"] in _ENDED else ""
        if not state and facts["jobDeploymentStatus"] == "Failed":
            state = "FAILED"
        if not state:
            return None
        return _outcome(state, None)

    def logs(self) -> Iterator[LogFile]:
        """Yield nothing."""
        yield from ()

    def cancel(self) -> None:
        """Stop it."""
        self._job.stop()


def _outcome(state: str, code: int | None) -> Outcome:
    status = _ENDED[state]
    if status is RunStatus.OK:
        return Outcome(status, 0, state)
    return Outcome(status, code or (_TERMINATED if status is RunStatus.ABORTED else 1), state)
