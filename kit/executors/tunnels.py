"""How Slurm is reached, and the words of a profile that end in a shell on the way there."""

from __future__ import annotations

import functools
import os
import re
import sys
from typing import TYPE_CHECKING, Any

from ..config.remarks import Place
from .classes import nemo_run, submodule
from .quoting import is_plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config.runconfig import RunConfig

__all__ = ["check_words", "tunnel"]

_PATTERN = re.compile(r"[^;&|`$<>()\\\n]*")
# nemo-run joins these into commands without quoting them
_UNQUOTED = (
    "job_name", "host", "user", "identity", "remote_job_dir", "pvc_nemo_run_dir", "nemo_run_dir",
    "array", "workdir_pvc_path",
)  # fmt: skip
_SSH_OPTIONS = "-o StrictHostKeyChecking=accept-new -o BatchMode=yes"
_CALLERS = ("core.tunnel.rsync", "run.experiment", "run.ray.slurm")


def check_words(config: RunConfig) -> None:
    """Refuse what nemo-run would let a shell interpret.

    Raises:
        SettingsError: a value that would not arrive as it is.
    """
    for name in _UNQUOTED:
        value = getattr(config, name)
        if isinstance(value, str) and not is_plain(value):
            raise Place(path=(name,)).error(
                "would be read by a shell", "use letters, digits and _ . / @ : + , = ~ - alone"
            )
    patterns = config.packager_include_pattern or []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if not _PATTERN.fullmatch(pattern):
            raise Place(path=("packager_include_pattern",)).error(
                "would be read by a shell", "leave out ; & | ` $ < > ( ) and \\"
            )


def tunnel(config: RunConfig) -> Any:
    """Return the tunnel to Slurm.

    A local one works in nemo-run's own home, ``NEMORUN_HOME``: elsewhere nothing is copied
    (NVIDIA-NeMo/Run#299).
    """
    if config.tunnel != "ssh":
        return nemo_run().LocalTunnel(job_dir="")
    _accept_new_hosts()
    identity = config.identity and os.path.expanduser(config.identity)
    return nemo_run().SSHTunnel(
        host=config.host, user=config.user, job_dir=config.remote_job_dir, port=config.port,
        identity=identity,
    )  # fmt: skip


def _accept_new_hosts() -> None:
    """Let rsync reach a host that is seen for the first time, as nemo-run's own connection does.

    Where nobody can answer, ssh would wait or fail (exit status 12). Known hosts stay checked.
    """
    rsync = submodule("core.tunnel.rsync").rsync
    if getattr(rsync, "accepts_new_hosts", False):
        return
    wrapped = _with_options(rsync)
    for name in _CALLERS:
        submodule(name)
        # nemo_run.run is a function, which hides the package of that name from import statements
        module = sys.modules[f"nemo_run.{name}"]
        if getattr(module, "rsync", None) is rsync:
            module.rsync = wrapped  # type: ignore[attr-defined]  # just seen


def _with_options(rsync: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(rsync)
    def wrapped(*args: Any, ssh_opts: str = "", **more: Any) -> Any:
        options = ssh_opts if "StrictHostKeyChecking" in ssh_opts else f"{ssh_opts} {_SSH_OPTIONS}"
        return rsync(*args, ssh_opts=options.strip(), **more)

    wrapped.accepts_new_hosts = True  # type: ignore[attr-defined]  # marks what is wrapped
    return wrapped
