"""Starts a job: its references are pinned, it is submitted, watched, and recorded as a run."""

from __future__ import annotations

import os
import shlex
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nemotron.lineage import Launch, Pinned, RunStatus, pin_job
from nemotron.lineage import open as open_store

from ..config.schema import DGXCLOUD, KUBERAY, LEPTON, LOCAL, SKYPILOT, SLURM
from ..executors.building import prepare
from ..executors.environment import is_secret
from ..resolvers import ROLES
from .following import follow
from .guard import Guard, LaunchError, Stopped, stoppable
from .inputs import find_inputs, pins_page
from .masks import Mask
from .outcome import Outcome
from .preview import preview
from .ray import ray_job
from .submission import Task, submitted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from nemotron.lineage import Lineage, Run

    from ..config.runconfig import RunConfig
    from ..executors.building import Plan
    from .outcome import Job

__all__ = ["LaunchError", "Request", "launch"]

_NAME = "launch"
_DETACHED = (SLURM, SKYPILOT, DGXCLOUD, LEPTON)  # the others nemo-run cannot leave alone
_FAST, _SLOW = 1.0, 5.0  # seconds between two looks: at a local job, at others
_NOT_OURS = ("LINEAGE_PINS", "LINEAGE_RUN", "TORCHELASTIC_RUN_ID")  # of the job we may be in


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be launched.

    Attributes:
        command: the words of the command.
        config: where it runs.
        profile: name of the profile, for the record.
        arts: references by key, from ``--art.NAME``.
        ray: run it as a job of a Ray cluster.
        store: the lineage store, in place of that of the settings.
        settings: path of env.toml.
        text: the command as text for a shell, in place of its words.
        before_ray: shell commands before Ray is started.
    """

    command: Sequence[str]
    config: RunConfig
    profile: str | None = None
    arts: Mapping[str, str] = field(default_factory=dict)
    ray: bool = False
    store: str | None = None
    settings: str | None = None
    text: str | None = None
    before_ray: Sequence[str] = ()


def launch(request: Request) -> int:
    """Launch a job, and return its exit status; of a detached one 0.

    Raises:
        SettingsError: the profile is not complete, or something would not arrive as it is.
        LaunchError: the job could not be submitted or watched.
        URIError, ArtifactNotFoundError, ArtifactGone: a reference of the command.
        ImportError: nemo-run is not installed.
    """
    config = request.config
    if config.detach and config.executor not in _DETACHED and not request.ray:
        raise LaunchError(f"a {config.executor} job ends with its launcher; leave out detach")
    if config.executor == KUBERAY and not request.ray:
        raise LaunchError("kuberay runs Ray jobs alone; say --ray, or ray=True in Python")
    this = _Launch(request)
    return this.show() if config.dry_run else this.run()


class _Launch:
    """One launch."""

    def __init__(self, request: Request) -> None:
        self._request, self._config = request, request.config
        self._identity = f"{request.config.job_name}_{time.time_ns()}"
        self._job = f"nemo-run:{self._identity}"
        others = {name: text for name, text in os.environ.items() if name not in _NOT_OURS}
        self._environ = {**others, "LINEAGE_JOB": self._job, "LINEAGE_RUN": self._identity}
        # what was said on the command line is no part of a record either
        self._environ |= {
            f"{name}_SECRET": str(value)
            for name, value in request.config.env_vars.items()
            if is_secret(name, str(value), request.config)
        }
        # known before the job starts, which names it as its parent
        self._run_id = Launch.read(self._environ).run_id(_NAME, 0)
        self._inputs = find_inputs(request.command, request.arts)
        _say(*self._inputs.notices)

    def show(self) -> int:
        """Show what would be done, and do nothing."""
        if self._inputs.words or self._inputs.more:
            with open_store(self._request.store, create=False, environ=self._environ) as store:
                self._inputs.pin(
                    lambda asked: {each: Pinned.of(store.resolve(each)) for each in asked},
                    store.resolve,
                )
        plan = self._plan()
        preview(self._task(), plan, self._inputs, Mask(plan.handover.secrets))
        return 0

    def run(self) -> int:
        """Submit the job, watch it unless it is detached, and record it."""
        with open_store(self._request.store, environ=self._environ) as store, _private_files():
            self._inputs.pin(
                lambda asked: pin_job(
                    asked, store=self._request.store, opener=lambda: store, environ=self._environ
                ),
                store.resolve,
            )
            plan = self._plan()
            mask = Mask(plan.handover.secrets)
            outcome: Outcome | None = None  # of a detached job
            run: Run | None = None
            guard = Guard(f"launching on {self._config.executor}", mask.text)
            _say(*plan.notices)
            try:
                with guard, stoppable() as heed, self._submission(plan) as job:
                    run = self._record(store, mask, job)
                    _say(f"job {job.number} of {self._job}, {job.folder}")
                    outcome = self._watched(job, heed)
            except LaunchError as error:
                run = run or self._record(store, mask, None)
                run.end(RunStatus.FAILED, error=str(error))
                raise
            return self._end(store, run, outcome)

    def _watched(self, job: Job, heed: Callable[[], None]) -> Outcome | None:
        """Watch a job to its end, unless it is detached; one that is stopped here is cancelled."""
        try:
            heed()
            if not self._config.detach:
                return follow(job, slowest=_FAST if self._config.executor == LOCAL else _SLOW)
        except Stopped as stopped:
            job.cancel()
            return Outcome(RunStatus.ABORTED, 128 + stopped.number, "stopped by its user")
        _answer(self._job)
        return None

    def _plan(self) -> Plan:
        variables = {
            "LINEAGE_JOB": self._job,
            "LINEAGE_PARENT_RUN": self._run_id,
            "NEMO_EXPERIMENT_ID": self._identity,
        }
        return prepare(
            self._config, variables, store=self._request.store, settings=self._request.settings,
            ray=self._request.ray,
        )  # fmt: skip

    def _task(self) -> Task:
        command, pins = self._inputs.command, self._inputs.pins
        page = pins_page(self._job, pins) if pins else None
        return Task(command, self._identity, page, self._request.text)

    def _submission(self, plan: Plan) -> AbstractContextManager[Job]:
        if self._request.ray:
            return ray_job(self._task(), plan, self._request.before_ray)
        return submitted(self._task(), plan)

    def _record(self, store: Lineage, mask: Mask, job: Job | None) -> Run:
        """Record the launch as a run that uses the inputs of the command."""
        config = {
            "profile": self._request.profile,
            "executor": self._config.executor,
            "command": shlex.join(mask.command(self._inputs.command)),
            "job": None if job is None else job.number,
            "folder": None if job is None else job.folder,
            "ray": self._request.ray or None,
            "detached": self._config.detach or None,
        }
        told = {key: value for key, value in config.items() if value is not None}
        run = store.run(_NAME, job_type=_NAME, config=told)
        for uri in dict.fromkeys(pinned.uri for pinned in self._inputs.pins.values()):
            pinned = next(pin for pin in self._inputs.pins.values() if pin.uri == uri)
            run.use(uri, role=ROLES.get(pinned.type, "data"))
        return run

    def _end(self, store: Lineage, run: Run, outcome: Outcome | None) -> int:
        if outcome is None or outcome.status is RunStatus.OK:
            run.end()  # a detached job was launched, and that is all that is known
            return 0
        error = f"job {self._job} ended as {outcome.said}, exit status {outcome.code}"
        if outcome.advice:
            error += f"; {outcome.advice}"
        run.end(outcome.status, error=error)
        for each in store.runs():
            # its processes are gone, and could not say so themselves
            if each.job == self._job and each.id != run.id and each.ended is None:
                store.end_run(each.id, outcome.status, error=error)
        _say(error)
        return outcome.code


@contextmanager
def _private_files() -> Iterator[None]:
    """Have all files that are made here and by nemo-run readable by the user alone.

    And keep nemo-run from reading what is typed or piped in here, as it does with every command.
    """
    before = os.umask(0o077)
    with open(os.devnull, encoding="utf-8") as nothing:
        typed, sys.stdin = sys.stdin, nothing
        try:
            yield
        finally:
            sys.stdin = typed
            os.umask(before)


def _say(*sentences: str) -> None:
    for sentence in sentences:
        sys.stderr.write(f"lineage: {sentence}\n")
    sys.stderr.flush()


def _answer(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
