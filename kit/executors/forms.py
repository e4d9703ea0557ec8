"""Where each executor carries variables, and where a secret rests on its way.

The first form of an executor is what it does when the profile says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config.schema import (
    DGXCLOUD,
    DOCKER,
    KUBEFLOW,
    KUBERAY,
    LEPTON,
    LOCAL,
    SKYPILOT,
    SLURM,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CARRIAGES", "RAY", "RAY_ON_SLURM", "Carriage", "Rest", "kind_of"]

# jobs of a Ray cluster: one that runs, by way of `local`, and one that nemo-run starts on Slurm
RAY, RAY_ON_SLURM = "local, Ray", "slurm, Ray"
ENV, FILE, NETRC, INHERIT, PATH, SECRET = "env", "file", "netrc", "inherit", "file:", "secret:"
_OWNER = "you"
_HOME = "the experiment's folder, 0700"


@dataclass(frozen=True, slots=True)
class Rest:
    """Where a secret rests that is handed over in one form.

    Attributes:
        place: the files and requests that hold it.
        readers: who can read it there.
        is_told: whether others than the user and the root of the machine can, so that the
            launcher says so.
    """

    place: str
    readers: str
    is_told: bool = False


@dataclass(frozen=True, slots=True)
class Carriage:
    """How an executor carries what a job needs.

    Attributes:
        variables: where variables travel that are no secrets.
        quoting: what is done to their values.
        rests: by form, the default one first.
    """

    variables: str
    quoting: str
    rests: Mapping[str, Rest]

    @property
    def default(self) -> str:
        """The form where the profile says nothing."""
        return next(iter(self.rests))


def kind_of(form: str) -> str:
    """Return what a form is called in ``Carriage.rests``: ``file:/path`` is ``file:``."""
    kind, mark, _ = form.partition(":")
    return kind + mark


_INHERITED = Rest("nowhere", _OWNER)
_OWN_NETRC = Rest("the netrc file that `wandb login` wrote; the job gets its path", _OWNER)

CARRIAGES: dict[str, Carriage] = {
    LOCAL: Carriage(
        "the environment of the child process", "kept from string.Template",
        {
            ENV: Rest(_HOME, _OWNER),
            NETRC: _OWN_NETRC,
            INHERIT: _INHERITED,
        },
    ),
    DOCKER: Carriage(
        "`environment` of the Docker API", "none",
        {
            ENV: Rest(f"{_HOME}; the container's configuration", "you, whoever may use Docker"),
            NETRC: Rest("the netrc file, mounted read-only", "you, whoever may use Docker"),
        },
    ),
    SLURM: Carriage(
        "`export` in the batch script; `container_env` names them", "for the shell",
        {
            FILE: Rest(
                "a 0600 file in the job's folder, sourced with tracing off, removed at its end",
                _OWNER,
            ),
            NETRC: _OWN_NETRC,
            INHERIT: Rest("Slurm's own copy of the job's environment, 0600", "root of Slurm"),
            PATH: Rest("the file that you named", _OWNER),
            ENV: Rest(f"{_HOME}: script and log", _OWNER),
        },
    ),
    SKYPILOT: Carriage(
        "`envs` of the SkyPilot task", "kept from string.Template",
        {
            ENV: Rest(f"{_HOME}; SkyPilot's database", "you, the API server's administrators"),
            NETRC: Rest("the netrc file, copied to `~/.netrc` of the machines", _OWNER),
        },
    ),
    DGXCLOUD: Carriage(
        "the request, and `export` in the launch script", "refused unless harmless",
        {
            FILE: Rest(
                "a 0600 file in the job's folder on the volume, sourced with tracing off; unless "
                "`launched_from_cluster`, on its way there in the request of the data mover",
                "you, whoever mounts the volume as you; whoever may read the project's workloads "
                "while the data mover runs",
            ),
            PATH: Rest("the file on the volume that you named", _OWNER),
            ENV: Rest(
                "the request, the workload, script and log",
                "whoever may read the project's workloads", is_told=True,
            ),
        },
    ),
    LEPTON: Carriage(
        "`envs` of the job's specification", "none",
        {
            ENV: Rest(
                f"{_HOME}; the job's specification", "whoever may read the workspace's jobs",
                is_told=True,
            ),
            SECRET: Rest("the workspace's secret", "whoever may read it"),
        },
    ),
    KUBEFLOW: Carriage(
        "`env` of the TrainJob, and `export` in the launch script", "refused unless harmless",
        {
            ENV: Rest(
                f"{_HOME}; the TrainJob", "whoever may read the namespace's TrainJobs",
                is_told=True,
            ),
            SECRET: Rest("the Kubernetes secret", "whoever may read it"),
        },
    ),
    KUBERAY: Carriage(
        "`env` of the containers", "none",
        {
            ENV: Rest(
                f"{_HOME}; the RayCluster", "whoever may read the namespace's RayClusters",
                is_told=True,
            ),
            SECRET: Rest("the Kubernetes secret", "whoever may read it"),
        },
    ),
    RAY: Carriage(
        "`runtime_env.env_vars` of the Ray job", "none",
        {
            ENV: Rest(
                "Ray's job table and its log folder",
                "every user who can reach the cluster's head", is_told=True,
            ),
            NETRC: _OWN_NETRC,
            INHERIT: Rest("nowhere; what the nodes were started with", _OWNER),
        },
    ),
    # its template prints the environment into Ray's log, so that nothing can be sourced before
    RAY_ON_SLURM: Carriage(
        "`export` in the batch script", "for the shell",
        {
            NETRC: _OWN_NETRC,
            INHERIT: Rest("Slurm's own copy, 0600; Ray's log in the cluster's folder", _OWNER),
            ENV: Rest(
                "the batch script and Ray's log in the cluster's folder",
                "whoever may read that folder", is_told=True,
            ),
        },
    ),
}  # fmt: skip
