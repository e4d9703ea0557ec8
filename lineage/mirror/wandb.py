"""W&B's server as its SDK sees it: the one file that knows wandb.

Everything is looked up by pinned names, every fault is turned into ``Retry``, ``Refused`` or
``MirrorUnready``, and nothing waits for ever: what the SDK is given to upload is waited for in a
thread of its own, because a wait of the SDK that was given up cannot be taken up again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ..errors import MirrorUnready
from .base import Refused, Retry
from .content import FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .content import Draft

__all__ = ["LiveRun", "Remote", "RemoteRun", "Server", "Upload", "forget_own_run", "sdk"]

TIMEOUT = 20  # seconds for one question
_PROBE = 5.0
_COMMITTED, _PENDING = "COMMITTED", "PENDING"
_STATUS = re.compile(r"(?:returned error|Error|HTTP|status(?: code)?:?) (\d{3})\b")
_PUBLIC = ("https://api.forge.coreweave.com", "https://api.wandb.ai")
# variables that describe one run of a job, and are none of a run that is resumed
_OF_A_RUN = (
    "MODE", "NAME", "NOTES", "TAGS", "RUN_ID", "RESUME", "RUN_GROUP", "GROUP", "JOB_TYPE",
    "SWEEP_ID", "CONFIG_PATHS", "DISABLED", "PROJECT", "ENTITY",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Remote:
    """An artifact of W&B, as it was when it was looked up.

    Attributes:
        name: its pinned name, ``entity/project/name:v2``.
        id: W&B's own.
        type: its type there.
        state: ``COMMITTED`` once it is whole.
        aliases: without the number.
        tags: its tags.
        description: free text, or None.
        metadata: JSON values.
        digest: of its manifest, by W&B.
        created: when, as W&B says.
        url: where it is shown.
        handle: the SDK's object.
    """

    name: str
    id: str = ""
    type: str = ""
    state: str = _PENDING
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    created: str = ""
    url: str | None = None
    handle: Any = None

    @property
    def is_whole(self) -> bool:
        """Whether it was committed; what was left behind half-way never is."""
        return self.state == _COMMITTED


@dataclass(frozen=True, slots=True)
class RemoteRun:
    """A run of W&B, as it was when it was looked up."""

    path: str  # entity/project/id
    name: str
    state: str
    job_type: str | None
    created: str
    url: str
    handle: Any


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

    def probe(self) -> None:
        """Ask quickly whether it answers: the SDK itself may try for minutes.

        Raises:
            Retry: nothing is there, or it is busy or broken.
        """
        for url in (self._base_url,) if self._base_url else _PUBLIC:
            fault = _fault_of(url)
            if fault is None:
                self._failures = 0
                return
        self._failures += 1
        # a proxy or a certificate may be known to the SDK alone: let it try now and then
        if self._failures % 5:
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
        with asking(name) as question:
            try:
                question.answer = self._remote(api.artifact(name))
            except (wandb.Error, AssertionError) as error:
                # it insists on an id, and a pending artifact has none for it
                if not isinstance(getattr(error, "exc", error), AssertionError):
                    raise
                question.answer = Remote(name)
        return question.answer

    def run(self, path: str) -> RemoteRun | None:
        """Return the run ``entity/project/id``, or None."""
        with asking(path) as question:
            self.api.flush()  # it would answer from what it was told before
            run = self.api.run(path)
            question.answer = RemoteRun(
                path, str(run.name), str(run.state), run.job_type, str(run.created_at),
                str(run.url), run,
            )  # fmt: skip
        return question.answer

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
        return _remote(artifact, self.base_url)

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
            return _remote(artifact, self.base_url or "")

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
        except (Retry, Refused, MirrorUnready) as error:
            self._fault = error

    def result(self, seconds: float) -> Remote:
        """Return the artifact once it is whole.

        Raises:
            Retry: it is still on its way; ask again.
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


@dataclass(slots=True)
class _Question:
    answer: Any = None


@contextmanager
def asking(what: str, *, unready: bool = False) -> Iterator[_Question]:
    """Turn what the SDK raises into our three kinds; what is not there leaves the answer None.

    Args:
        what: the subject, for the sentence.
        unready: a refusal means that W&B cannot be used from here at all.
    """
    wandb = sdk()
    question = _Question()
    try:
        yield question
    except (*_faults(wandb), ValueError, TypeError, RuntimeError, LookupError, OSError) as error:
        text = str(error).strip() or type(error).__name__
        status = _status(error)
        if status is None and _is_absent(error, text):
            return
        said = f"{what}: {text}"
        if status == 401 or (unready and (status in (403, 404) or _lacks_login(wandb, error))):
            raise MirrorUnready(f"W&B refuses the login ({text}). Try: wandb login") from error
        if isinstance(error, (TypeError, LookupError)):
            raise  # a release that behaves otherwise: the worker logs it with its traceback
        if status is not None and 400 <= status < 500 and status not in (408, 409, 425, 429):
            raise Refused(said) from error
        if status is None and isinstance(error, ValueError) and not _is_silent(text):
            raise Refused(said) from error
        raise Retry(said) from error


def _faults(wandb: Any) -> tuple[type[Exception], ...]:
    """Return what the SDK raises of its own; some calls let the second through as it is."""
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    return wandb.Error, WandbApiFailedError


def _is_absent(error: Exception, text: str) -> bool:
    inner = getattr(error, "exc", None)
    return isinstance(inner, ValueError) and "not found" in text or "Could not find" in text


def _is_silent(text: str) -> bool:
    """Tell whether a ValueError is the SDK's word for an answer that did not come."""
    return any(
        word in text for word in ("timed out", "timeout", "connection", "EOF", "returned error 5")
    )


def _lacks_login(wandb: Any, error: Exception) -> bool:
    return isinstance(error, wandb.errors.UsageError)


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status behind an error, wherever this release of the SDK keeps it."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        response = getattr(error, "response", None)
        for name in ("http_status", "status_code"):
            status = getattr(response, name, None)
            if isinstance(status, int) and status:
                return status
        found = _STATUS.search(str(error))
        if found:
            return int(found[1])
        if "Permission denied" in str(error):  # the word of wandb 0.26
            return 403
        error = getattr(error, "exc", None) or error.__cause__ or error.__context__
    return None


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
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__


def _remote(artifact: Any, base_url: str) -> Remote:
    return Remote(
        name=str(artifact.source_qualified_name), id=str(artifact.id), type=str(artifact.type),
        state=str(getattr(artifact.state, "value", artifact.state)),
        aliases=tuple(artifact.aliases), tags=tuple(artifact.tags),
        description=artifact.description, metadata=dict(artifact.metadata),
        digest=str(artifact.digest), created=str(artifact.created_at), url=_url(artifact, base_url),
        handle=artifact,
    )  # fmt: skip


def _url(artifact: Any, base_url: str) -> str:
    """Return where an artifact is shown; its own ``url`` asks the server for it, twice."""
    from wandb.util import api_to_app_url

    where = f"{artifact.source_entity}/{artifact.source_project}"
    name = artifact.source_name.replace(":", "/")
    return f"{api_to_app_url(base_url).rstrip('/')}/{where}/artifacts/{artifact.type}/{name}"


def _number(remote: Remote) -> int:
    return int(remote.name.rpartition(":v")[2])


def _build(draft: Draft) -> Any:
    wandb = sdk()
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

    artifact = wandb.Artifact(draft.name, type=draft.type, metadata=dict(draft.metadata))
    with artifact.new_file(FILE, mode="xb") as file:
        file.write(draft.lineage)
    for inside, (uri, digest) in draft.references.items():
        # one entry for a whole folder: add_reference() would list every file of it
        artifact.manifest.add_entry(
            ArtifactManifestEntry(path=inside, ref=uri, digest=digest, size=0)
        )
    for inside, path in draft.files.items():
        if os.path.isfile(path):
            artifact.add_file(path, name=inside, skip_cache=True)
    return artifact


def forget_own_run() -> None:
    """Drop what this process's environment says of a run of its own: it resumes those of others.

    The SDK reads the environment once, when it is first asked.
    """
    for name in _OF_A_RUN:
        os.environ.pop(f"WANDB_{name}", None)
