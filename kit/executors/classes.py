"""The executors of nemo-run: which class each is, and what the installed one takes."""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from nemotron.lineage import LineageError

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
    from types import ModuleType

__all__ = ["CLASSES", "INSTALL", "accepted", "construct", "nemo_run", "submodule"]

INSTALL = "pip install 'nemo-run==0.11.1' 'leptonai>=0.26.6,<0.47'"
CLASSES = {
    LOCAL: "LocalExecutor",
    DOCKER: "DockerExecutor",
    SLURM: "SlurmExecutor",
    SKYPILOT: "SkypilotExecutor",
    DGXCLOUD: "DGXCloudExecutor",
    LEPTON: "LeptonExecutor",
    KUBEFLOW: "KubeflowExecutor",
    KUBERAY: "KubeRayExecutor",
}
_EXTRA = {SKYPILOT: "skypilot", KUBEFLOW: "kubeflow", KUBERAY: "ray"}


def nemo_run() -> ModuleType:
    """Import nemo-run.

    Raises:
        ImportError: it is not installed, or it is and its import fails; with what to run.
    """
    try:
        module = import_module("nemo_run")
    except ImportError as error:
        if error.name == "nemo_run":
            raise ImportError(
                f"executors need nemo-run, which is not installed; run: {INSTALL}", name="nemo_run"
            ) from error
        raise ImportError(
            f"nemo-run is installed and fails to import: {error}; run: {INSTALL}", name="nemo_run"
        ) from error
    return module


def submodule(name: str) -> Any:
    """Import a module of nemo-run; ``nemo_run.run`` itself is a function that hides a package."""
    nemo_run()
    return import_module(f"nemo_run.{name}")


@cache
def executor_class(executor: str) -> type:
    """Return the class of an executor.

    Raises:
        ImportError: nemo-run, or what this executor needs besides, is not installed.
    """
    nemo_run()
    if executor == KUBERAY:
        try:
            found = import_module("nemo_run.core.execution.kuberay")
        except ImportError as error:
            raise missing(executor, error) from error
    else:
        found = nemo_run()
    kind: type = getattr(found, CLASSES[executor])
    return kind


def construct(executor: str, arguments: Mapping[str, Any]) -> Any:
    """Make an executor of its class.

    Raises:
        ImportError: as ``executor_class``.
        LineageError: Kubernetes is not configured.
    """
    kind = executor_class(executor)
    faults: tuple[type[Exception], ...] = ()
    if executor == KUBEFLOW and find_spec("kubernetes") is not None:
        faults = (import_module("kubernetes.config").ConfigException,)
    try:
        return kind(**arguments)
    except (AssertionError, ImportError) as error:  # how it says that a package is not there
        raise missing(executor, error) from error
    except faults as error:
        raise LineageError(
            f"the executor {executor} finds no cluster: {error}; set KUBECONFIG, or log in to one"
        ) from error


def missing(executor: str, error: Exception) -> ImportError:
    """Return the error for an executor that lacks a package of its own."""
    extra = _EXTRA.get(executor)
    if extra is None:
        return ImportError(f"the executor {executor} cannot be made: {error}")
    install = INSTALL.replace("nemo-run==", f"nemo-run[{extra}]==")
    return ImportError(f"the executor {executor} needs more than nemo-run; run: {install}")


def accepted(executor: str) -> frozenset[str]:
    """Return the fields that the installed class takes.

    Raises:
        ImportError: as ``executor_class``.
    """
    return frozenset(inspect.signature(executor_class(executor)).parameters)
