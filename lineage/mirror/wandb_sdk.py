"""Where the SDK of W&B is imported, and nowhere else; without it there is one sentence."""

from __future__ import annotations

import os
from typing import Any

from ..errors import MirrorUnready

__all__ = ["app_url", "forget_own_run", "own_faults", "reference", "sdk"]

# variables that describe one run of a job, and are none of a run that is resumed
_OF_A_RUN = (
    "MODE", "NAME", "NOTES", "TAGS", "RUN_ID", "RESUME", "RUN_GROUP", "GROUP", "JOB_TYPE",
    "SWEEP_ID", "CONFIG_PATHS", "DISABLED", "PROJECT", "ENTITY",
)  # fmt: skip


def sdk() -> Any:
    """Import wandb, or say what keeps it from being imported.

    Raises:
        MirrorUnready: it is not installed, or broken.
    """
    try:
        import wandb
    except ImportError as error:
        why = "is not installed" if error.name == "wandb" else f"fails to import: {error}"
        raise MirrorUnready(f"wandb {why}. Try: pip install 'nemotron-lineage[wandb]'") from error
    if not hasattr(wandb, "init"):  # a folder of offline runs, `wandb`, can be imported too
        raise MirrorUnready("wandb is not installed. Try: pip install 'nemotron-lineage[wandb]'")
    return wandb


def own_faults() -> tuple[type[Exception], ...]:
    """Return what the SDK raises of its own; some calls let the second through as it is.

    The third means that its helper is gone, or the run it worked for.
    """
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError
    from wandb.sdk.mailbox.mailbox_handle import HandleAbandonedError

    return sdk().Error, WandbApiFailedError, HandleAbandonedError


def app_url(base_url: str) -> str:
    """Return where the pages of a server are."""
    from wandb.util import api_to_app_url

    return str(api_to_app_url(base_url)).rstrip("/")


def reference(inside: str, uri: str, digest: str) -> Any:
    """Return one entry of a manifest, for a whole folder: add_reference() would list its files."""
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

    return ArtifactManifestEntry(path=inside, ref=uri, digest=digest, size=0)


def forget_own_run() -> None:
    """Drop what this process's environment says of a run of its own: it resumes those of others.

    The SDK reads the environment once, when it is first asked.
    """
    for name in _OF_A_RUN:
        os.environ.pop(f"WANDB_{name}", None)
