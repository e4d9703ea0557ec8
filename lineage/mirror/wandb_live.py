"""A W&B run that is live in this process, and the artifacts that are on their way through it.

What the SDK is given to upload is waited for in a thread of its own, because a wait of the SDK that
was given up cannot be taken up again.
"""

from __future__ import annotations

import os
import shutil
import threading
from typing import TYPE_CHECKING, Any

from .base import Retry
from .content import FILE
from .wandb_faults import asking
from .wandb_remote import Remote, remote_of
from .wandb_sdk import reference, sdk

if TYPE_CHECKING:
    from collections.abc import Callable

    from .content import Draft

__all__ = ["LiveRun", "Upload"]

_SMALL = 16 * 1024 * 1024  # bytes of a file that is uploaded; more belongs behind a reference


class LiveRun:
    """A run that is live in this process, through which artifacts are logged.

    Args:
        run: the SDK's run.
        folder: where its files lie, when they are ours to remove.
    """

    def __init__(self, run: Any, *, folder: str | None = None) -> None:
        self.handle, self._folder = run, folder
        self.entity, self.project, self.id = str(run.entity), str(run.project), str(run.id)
        self.url = str(run.url) if run.url else None
        settings = getattr(run, "settings", None)
        self.base_url = getattr(settings, "base_url", None)
        self.api_key = getattr(settings, "api_key", None)

    @property
    def path(self) -> str:
        """``entity/project/id``."""
        return f"{self.entity}/{self.project}/{self.id}"

    @property
    def is_open(self) -> bool:
        """Whether it takes artifacts still."""
        return not getattr(self.handle, "_is_finished", False)

    def log(self, draft: Draft, *, as_input: bool = False) -> Upload:
        """Log an artifact, as an output or as an input that nobody produced."""

        def act() -> Remote:
            artifact = _build(draft)
            aliases = list(dict.fromkeys(draft.aliases))
            if as_input:
                self.handle.use_artifact(artifact, aliases=aliases)
            else:
                self.handle.log_artifact(artifact, aliases=aliases)
                artifact.wait()
            return remote_of(artifact, self.base_url or "")

        return Upload(draft.name, act)

    def finish(self, exit_code: int = 0) -> None:
        """Finish it."""
        try:
            with asking(self.path):
                self.handle.finish(exit_code=exit_code)
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)


class Upload:
    """An artifact on its way; a thread of its own waits for it as long as it takes."""

    def __init__(self, name: str, act: Callable[[], Remote]) -> None:
        self._name, self._act = name, act
        self._remote: Remote | None = None
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="lineage-upload", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with asking(self._name):
                self._remote = self._act()
                return
            self._fault = Retry(f"W&B lost {self._name} on its way")
        except Exception as error:  # noqa: BLE001 - whoever waits for it raises it
            self._fault = error

    def result(self, seconds: float) -> Remote:
        """Return the artifact once it is whole.

        Raises:
            Retry: it is still on its way; ask again.
            Exception: whatever it failed with.
        """
        self._thread.join(seconds)
        if self._remote is not None:
            return self._remote
        if self._fault is not None:
            raise self._fault
        raise Retry(f"{self._name} is still on its way to W&B")

    @property
    def is_over(self) -> bool:
        """Whether it arrived or failed."""
        return not self._thread.is_alive()


def _build(draft: Draft) -> Any:
    artifact = sdk().Artifact(draft.name, type=draft.type, metadata=dict(draft.metadata))
    with artifact.new_file(FILE, mode="xb") as file:
        file.write(draft.lineage)
    for inside, (uri, digest) in draft.references.items():
        artifact.manifest.add_entry(reference(inside, uri, digest))
    for inside, path in draft.files.items():
        # another host may not see it, and it may have grown since
        if os.path.isfile(path) and os.path.getsize(path) <= _SMALL:
            artifact.add_file(path, name=inside, skip_cache=True)
    return artifact
