"""A W&B server, asked and told through the public API of the SDK.

Everything is looked up by pinned names, every fault is one of ``Retry``, ``Refused`` and
``MirrorUnready``, and nothing waits for ever.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ..errors import MirrorUnready
from .addresses import address_fault
from .base import Refused, Retry
from .wandb_faults import asking
from .wandb_live import LiveRun
from .wandb_remote import Remote, RemoteRun, remote_of
from .wandb_sdk import sdk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["TIMEOUT", "Server"]

TIMEOUT = 20  # seconds for one question
_PROBE = 5.0
_PUBLIC = ("https://api.forge.coreweave.com", "https://api.wandb.ai")


class Server:
    """One W&B server, asked by the public API of the SDK.

    Args:
        base_url: its address; None means what the SDK takes by default.
        api_key: of a live run; None means what the SDK finds.
        timeout: seconds for one question.
    """

    def __init__(
        self, base_url: str | None = None, api_key: str | None = None, timeout: int = TIMEOUT
    ) -> None:
        self._base_url, self._key, self._timeout = base_url, api_key, timeout
        self._api: Any = None
        self._failures = 0

    def probe(self, *, strictly: bool = False) -> None:
        """Ask quickly whether it answers: the SDK itself may try for minutes.

        Args:
            strictly: never let the SDK try where this gets no answer.

        Raises:
            Retry: nothing is there, or it is busy or broken.
            MirrorUnready: its address is none.
        """
        fault = address_fault(self._base_url) if self._base_url else None
        if fault is not None:
            raise MirrorUnready(f"base_url of W&B {fault}")
        for url in (self._base_url,) if self._base_url else _PUBLIC:
            fault = _fault_of(url)
            if fault is None:
                self._failures = 0
                return
        self._failures += 1
        # a proxy or a certificate may be known to the SDK alone: let it try now and then
        if strictly or self._failures % 5:
            raise Retry(f"{url} does not answer: {fault}")

    @property
    def api(self) -> Any:
        """The public API, made when it is first asked."""
        if self._api is None:
            wandb = sdk()
            overrides = {"base_url": self._base_url} if self._base_url else None
            with asking("the login", unready=True):
                self._api = wandb.Api(overrides=overrides, timeout=self._timeout, api_key=self._key)
        return self._api

    @property
    def base_url(self) -> str:
        """Its address."""
        return str(self._base_url or self.api.settings["base_url"])

    def default_entity(self) -> str:
        """Return the team or user that is meant when none is named."""
        with asking("the default entity"):
            return str(self.api.default_entity)

    # ------------------------------------------------------------------------ asking

    def find(self, name: str) -> Remote | None:
        """Return the artifact that ``entity/project/name:alias`` means, or None.

        Of what was left half-way, the SDK tells nothing but that it is there.
        """
        wandb, api = sdk(), self.api
        found: Remote | None = None
        with asking(name):
            try:
                found = self._remote(api.artifact(name))
            except (wandb.Error, AssertionError) as error:
                # it insists on an id, and a pending artifact has none for it
                if not isinstance(getattr(error, "exc", error), AssertionError):
                    raise
                found = Remote(name)
        return found

    def run(self, path: str) -> RemoteRun | None:
        """Return the run ``entity/project/id``, or None."""
        with asking(path):
            self.api.flush()  # it would answer from what it was told before
            run = self.api.run(path)
            return RemoteRun(
                path, str(run.name), str(run.state), run.job_type, str(run.created_at),
                str(run.url), run,
            )  # fmt: skip
        return None

    def config(self, run: RemoteRun) -> dict[str, Any]:
        """Return the settings of a run."""
        with asking(run.path):
            return dict(run.handle.config)

    def inputs(self, path: str) -> list[Remote]:
        """Return what a run used; nothing for an unknown run."""
        run = self.run(path)
        if run is None:
            return []
        with asking(path):
            return [self._remote(each) for each in run.handle.used_artifacts(per_page=100)]

    def producer(self, remote: Remote) -> RemoteRun | None:
        """Return the run that logged an artifact, or None."""
        with asking(remote.name):
            found = remote.handle.logged_by()
        return None if found is None else self.run("/".join(found.path))

    def references(self, remote: Remote) -> dict[str, tuple[str | None, str, int | None]]:
        """Return the manifest: path inside -> (address or None for an upload, digest, size)."""
        with asking(remote.name):
            return {
                str(path): (entry.ref and str(entry.ref), str(entry.digest), entry.size)
                for path, entry in remote.handle.manifest.entries.items()
            }

    def collections(self, project: str, name: str | None) -> Iterator[tuple[str, str]]:
        """Yield (type, name) of the collections of ``entity/project``."""
        with asking(project):
            for kind in self.api.artifact_types(project):
                for each in kind.collections():
                    if name in (None, each.name):
                        yield str(kind.name), str(each.name)

    def versions(self, kind: str, path: str) -> list[Remote]:
        """Return all versions of the collection ``entity/project/name``, oldest first."""
        with asking(path):
            found = [self._remote(each) for each in self.api.artifacts(kind, path)]
        return sorted((each for each in found if each.is_whole), key=_number)

    def _remote(self, artifact: Any) -> Remote:
        return remote_of(artifact, self.base_url)

    # ------------------------------------------------------------------------ telling

    def use(self, run: str, remote: Remote) -> None:
        """Make an artifact an input of the run ``entity/project/id``."""
        found = self.run(run)
        if found is None:
            raise Refused(f"there is no run {run}")
        with asking(f"{remote.name} as an input"):
            found.handle.use_artifact(remote.handle)

    def change(
        self,
        remote: Remote,
        *,
        aliases: Iterable[str],
        tags: Iterable[str],
        description: str | None,
        metadata: Mapping[str, Any],
    ) -> None:
        """Give an artifact other aliases, tags, metadata, or another description."""
        handle = remote.handle
        with asking(remote.name):
            handle.aliases, handle.tags = list(aliases), list(tags)
            handle.metadata = dict(metadata)
            if description is not None:
                handle.description = description
            handle.save()

    def resume(self, path: str, *, told: Mapping[str, Any] | None = None) -> LiveRun:
        """Make a run live in this process: one that is there, or a new one.

        What the run says of itself is left alone: no file, no state and no setting of it is
        written, unless ``told`` says what a new run is to say.

        Args:
            path: ``entity/project/id``.
            told: name, job_type, config, group of a run that is ours alone.
        """
        wandb = sdk()
        entity, project, name = path.split("/")
        folder = tempfile.mkdtemp(prefix="lineage-wandb-")
        wanted: dict[str, Any] = {
            "console": "off", "save_code": False, "disable_git": True, "disable_code": True,
            "silent": True, "x_disable_stats": True, "x_disable_meta": True,
            "x_disable_machine_info": True, "x_save_requirements": False, "finish_timeout": 60.0,
            "init_timeout": 60.0, "mode": "online",
        }  # fmt: skip
        if told is None:
            wanted |= {"mode": "shared", "x_primary": False, "x_update_finish_state": False}
        if self._base_url:
            wanted["base_url"] = self._base_url
        fields = wandb.Settings.model_fields
        settings = wandb.Settings(**{k: v for k, v in wanted.items() if k in fields})
        try:
            with asking(path):
                run = wandb.init(
                    entity=entity, project=project, id=name, resume="allow", dir=folder,
                    settings=settings, reinit="create_new", **(told or {}),
                )  # fmt: skip
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return LiveRun(run, folder=folder)


def _fault_of(url: str) -> str | None:
    """Ask a server for nothing; say what is wrong, or None when it answers."""
    body = json.dumps({"query": "query Viewer { viewer { id } }"}).encode()
    request = Request(  # noqa: S310 - an address of W&B, http on the loopback
        f"{url.rstrip('/')}/graphql", body, {"Content-Type": "application/json"}
    )
    try:
        with urlopen(request, timeout=_PROBE):  # noqa: S310
            return None
    except HTTPError as error:
        busy = error.code == 429 or error.code >= 500
        return f"status {error.code}" if busy else None
    except URLError as error:
        certificate = "CERTIFICATE" in str(error.reason).upper()
        return None if certificate else str(error.reason)
    except (OSError, ValueError, HTTPException) as error:  # the last: no HTTP is spoken there
        return str(error).strip() or type(error).__name__


def _number(remote: Remote) -> int:
    return int(remote.name.rpartition(":v")[2])
